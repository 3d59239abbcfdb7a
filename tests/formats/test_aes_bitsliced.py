import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from bootwright.formats.aes_bitsliced import (
    Planes,
    bytes_from_planes,
    decrypt,
    encrypt,
    expand_keys,
    planes_from_bytes,
)

KEYS = 64  # the fewest: one word


def key_planes(keys: bytes) -> Planes:
    halves = planes_from_bytes(np.frombuffer(keys, np.uint8).reshape(KEYS, 2, 16).transpose(2, 1, 0))
    return np.concatenate((halves[:, :, :, 0], halves[:, :, :, 1]), axis=2)


def blocks_of(data: bytes) -> Planes:
    return planes_from_bytes(np.frombuffer(data, np.uint8).reshape(KEYS, 1, 16).transpose(2, 1, 0))


def data_of(planes: Planes) -> bytes:
    return bytes_from_planes(planes).transpose(2, 1, 0).tobytes()


def test_fips_197_appendix_c_3_holds_in_every_lane() -> None:
    round_keys = expand_keys(key_planes(bytes(range(32)) * KEYS))
    plaintext = bytes.fromhex("00112233445566778899aabbccddeeff")
    ciphertext = bytes.fromhex("8ea2b7ca516745bfeafc49904b496089")
    assert data_of(encrypt(blocks_of(plaintext * KEYS), round_keys)) == ciphertext * KEYS
    assert data_of(decrypt(blocks_of(ciphertext * KEYS), round_keys)) == plaintext * KEYS


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_each_lane_is_aes_256_under_its_own_key(seed: int) -> None:
    random = np.random.default_rng(seed)
    keys, data = random.bytes(32 * KEYS), random.bytes(16 * KEYS)
    round_keys = expand_keys(key_planes(keys))
    ciphers = [Cipher(algorithms.AES(keys[32 * i : 32 * i + 32]), modes.ECB()) for i in range(KEYS)]
    blocks = [data[16 * i : 16 * i + 16] for i in range(KEYS)]
    encrypted = b"".join(cipher.encryptor().update(block) for cipher, block in zip(ciphers, blocks, strict=True))
    decrypted = b"".join(cipher.decryptor().update(block) for cipher, block in zip(ciphers, blocks, strict=True))
    assert data_of(encrypt(blocks_of(data), round_keys)) == encrypted
    assert data_of(decrypt(blocks_of(data), round_keys)) == decrypted


def test_bytes_and_planes_are_the_same_data() -> None:
    data = np.random.default_rng(1).integers(0, 256, (16, 2, 128), np.uint8)
    planes = planes_from_bytes(data)
    assert planes.shape == (8, 4, 4, 2, 2)
    assert (bytes_from_planes(planes) == data).all()
    assert int(planes[3, 2, 1, 1, 0]) & 1 == int(data[4 * 1 + 2, 1, 0]) >> 3 & 1
