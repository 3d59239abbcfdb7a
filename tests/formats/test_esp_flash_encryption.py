import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError, SiliconError
from bootwright.formats import esp_flash_encryption as fe
from bootwright.formats.esp_flash_encryption import decrypt_esp32, decrypt_xts, efuse_key, encrypt_esp32, encrypt_xts

blocks = st.integers(1, 40).flatmap(lambda n: st.binary(min_size=16 * n, max_size=16 * n))
addresses = st.integers(0, 0xFF_0000 // 16).map(lambda n: 16 * n)
xts_keys = st.sampled_from(fe.XTS_KEY_SIZES).flatmap(lambda n: st.binary(min_size=n, max_size=n))
esp32_keys = st.sampled_from(fe.ESP32_KEY_SIZES).flatmap(lambda n: st.binary(min_size=n, max_size=n))
crypt_configs = st.integers(0, 15)


@given(data=blocks, key=xts_keys, address=addresses)
def test_xts_decrypts_what_it_encrypted(data: bytes, key: bytes, address: int) -> None:
    assert decrypt_xts(encrypt_xts(data, key, address), key, address) == data


@given(data=blocks, key=esp32_keys, address=addresses, crypt_config=crypt_configs)
def test_esp32_decrypts_what_it_encrypted(data: bytes, key: bytes, address: int, crypt_config: int) -> None:
    assert decrypt_esp32(encrypt_esp32(data, key, address, crypt_config), key, address, crypt_config) == data


@given(data=blocks, address=addresses, key=st.binary(min_size=32, max_size=64).filter(lambda k: len(k) in (32, 64)))
def test_xts_is_the_standards_xts_over_reversed_units_of_128_bytes(data: bytes, address: int, key: bytes) -> None:
    if key[: len(key) // 2] == key[len(key) // 2 :]:
        return  # the standard's library refuses equal halves, the chip does not
    before = address % 128
    padded = bytes(before) + data + bytes(-(before + len(data)) % 128)
    expected = b""
    for at in range(0, len(padded), 128):
        tweak = (address - before + at).to_bytes(16, "little")
        cipher = Cipher(algorithms.AES(key), modes.XTS(tweak)).encryptor()
        expected += cipher.update(padded[at : at + 128][::-1])[::-1]
    assert encrypt_xts(data, key, address) == expected[before : before + len(data)]


@given(address=addresses, crypt_config=crypt_configs, key=esp32_keys, seed=st.binary(min_size=32, max_size=32))
def test_the_esp32_scheme_is_the_same_for_few_and_for_many_units(
    address: int, crypt_config: int, key: bytes, seed: bytes
) -> None:
    data = hashlib.shake_256(seed).digest(fe._ESP32_FEW + 16)
    for cut in (encrypt_esp32, decrypt_esp32):
        whole = cut(data, key, address, crypt_config)
        parts = cut(data[:48], key, address, crypt_config) + cut(data[48:], key, address + 48, crypt_config)
        assert whole == parts


@given(data=blocks, key=xts_keys, address=addresses)
def test_a_piece_is_encrypted_as_it_would_be_within_the_whole(data: bytes, key: bytes, address: int) -> None:
    whole = encrypt_xts(data, key, address)
    for at in range(0, len(data), 16):
        unit_start = max(0, at - (address + at) % 128)
        piece = encrypt_xts(data[unit_start : at + 16], key, address + unit_start)
        assert piece[at - unit_start :] == whole[at : at + 16]


def test_chunks_do_not_show_in_long_data() -> None:
    data = hashlib.shake_128(b"long").digest((1 << 20) + 4096)
    key = bytes(range(64))
    whole = encrypt_xts(data, key, 0xF80)
    assert whole[1 << 20 :] == encrypt_xts(data[1 << 20 :], key, 0xF80 + (1 << 20))
    assert decrypt_xts(whole, key, 0xF80) == data


def test_without_any_tweak_the_address_is_of_no_account() -> None:
    assert encrypt_esp32(bytes(64), bytes(32), 0x1000, 0) == encrypt_esp32(bytes(64), bytes(32), 0x8000, 0)
    assert encrypt_esp32(bytes(64), bytes(32), 0x1000) != encrypt_esp32(bytes(64), bytes(32), 0x8000)


def test_a_derived_key_is_stretched_and_a_coded_one_repeats_its_middle() -> None:
    short = bytes(range(16))
    assert encrypt_xts(bytes(16), short, 0) == encrypt_xts(bytes(16), hashlib.sha256(short).digest(), 0)
    coded = bytes(range(24))
    assert encrypt_esp32(bytes(16), coded, 0) == encrypt_esp32(bytes(16), coded + coded[8:16], 0)


def test_efuses_hold_each_half_of_the_key_backwards() -> None:
    key = bytes(range(64))
    assert efuse_key(key) == key[31::-1] + key[:31:-1]
    assert efuse_key(efuse_key(key)) == key
    assert efuse_key(key[:16]) == key[15::-1]


@pytest.mark.parametrize("size", [0, 1, 15, 17, 24, 33, 65])
def test_a_key_of_another_length_is_named_but_never_shown(size: int) -> None:
    with pytest.raises(FormatError, match=rf"found {size} bytes, expected 16, 32 or 64 for XTS-AES") as caught:
        encrypt_xts(bytes(16), b"\x5a" * size, 0)
    assert "5a5a" not in caught.value.message + caught.value.hint
    if size != 24:
        with pytest.raises(FormatError, match=rf"found {size} bytes, expected 24 or 32 for the ESP32"):
            encrypt_esp32(bytes(16), bytes(size), 0)


@pytest.mark.parametrize(("size", "address"), [(16, 8), (15, 0), (100, 0x1000)])
def test_what_is_not_made_of_blocks_is_refused(size: int, address: int) -> None:
    for encrypt in (encrypt_xts, encrypt_esp32):
        with pytest.raises(SiliconError, match="expected multiples of 16"):
            encrypt(bytes(size), bytes(32), address)


def test_addresses_outside_the_tweak_are_refused() -> None:
    with pytest.raises(SiliconError, match="inside 0x1000000"):
        encrypt_esp32(bytes(32), bytes(32), 0xFF_FFF0)
    with pytest.raises(SiliconError, match="inside 0x100000000"):
        encrypt_xts(bytes(32), bytes(32), 0xFFFF_FFF0)
    with pytest.raises(SiliconError, match="-0x10"):
        encrypt_xts(bytes(32), bytes(32), -16)


def test_flash_crypt_config_has_four_bits() -> None:
    with pytest.raises(FormatError, match=r"found 0x10, expected 0x0\.\.0xf"):
        encrypt_esp32(bytes(16), bytes(32), 0, 0x10)


def test_nothing_encrypts_to_nothing() -> None:
    assert encrypt_xts(b"", bytes(32), 0) == b""
    assert encrypt_esp32(b"", bytes(32), 0) == b""
