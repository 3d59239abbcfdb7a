import base64
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.keys import key_of

from bootwright.errors import BootwrightError, FormatError, TrustError
from bootwright.finding import Verdict, overall
from bootwright.formats.keys import KeyType, PrivateKey, PublicKey
from bootwright.formats.mcuboot_encrypt import (
    KEY_TLVS,
    Encryption,
    WrappingKey,
    apply_keystream,
    decrypt_image,
    image_key,
    new_encryption,
    tlv_size,
    unwrap,
    wrap,
)
from bootwright.formats.mcuboot_image import ENCRYPTED, Image, ImageVersion, Tlv, TlvType
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_verify import BootRules, verify_image

KEK = WrappingKey(bytes(range(16)))
KEK_256 = WrappingKey(bytes(range(32)))
P256, X25519, RSA = (key_of(kind) for kind in (KeyType.ECDSA_P256, KeyType.X25519, KeyType.RSA_2048))
#: recipient, private side, bits, HMAC, and the sizes that MCUboot's encrypted_images.md and encrypted.c give
WAYS: list[tuple[PublicKey | WrappingKey, PrivateKey | WrappingKey, int, str, TlvType, int]] = [
    (P256.public, P256, 128, "sha256", TlvType.ENCEC256, 113),
    (P256.public, P256, 256, "sha256", TlvType.ENCEC256, 129),
    (X25519.public, X25519, 128, "sha256", TlvType.ENCX25519, 80),
    (X25519.public, X25519, 256, "sha256", TlvType.ENCX25519, 96),
    (X25519.public, X25519, 128, "sha512", TlvType.ENCX25519_SHA512, 112),
    (X25519.public, X25519, 256, "sha512", TlvType.ENCX25519_SHA512, 128),
    (RSA.public, RSA, 128, "sha256", TlvType.ENCRSA2048, 256),
    (RSA.public, RSA, 256, "sha256", TlvType.ENCRSA2048, 256),
    (KEK, KEK, 128, "sha256", TlvType.ENCKW, 24),
    (KEK_256, KEK_256, 256, "sha256", TlvType.ENCKW, 40),
]
OTHERS: list[PrivateKey | WrappingKey] = [
    key_of(KeyType.ECDSA_P256, 1),
    key_of(KeyType.X25519, 1),
    key_of(KeyType.RSA_2048, 1),
    WrappingKey(bytes(16)),
]


@pytest.mark.parametrize(("recipient", "private", "bits", "hmac_name", "type_", "size"), WAYS)
def test_a_wrapped_key_has_its_type_and_length_and_opens_with_its_private_half_only(
    recipient: PublicKey | WrappingKey,
    private: PrivateKey | WrappingKey,
    bits: int,
    hmac_name: str,
    type_: TlvType,
    size: int,
) -> None:
    encryption = new_encryption(recipient, bits=bits, hmac_name=hmac_name, random=os.urandom)
    tlv = wrap(encryption)
    assert (tlv.type, len(tlv.data), tlv_size(encryption)) == (type_, size, size)
    assert unwrap(tlv, private) == encryption.key
    for other in OTHERS:
        with pytest.raises((TrustError, FormatError)):
            unwrap(tlv, other)


@pytest.mark.parametrize(("recipient", "private", "bits", "hmac_name", "type_", "size"), WAYS)
def test_decrypting_an_encrypted_image_gives_the_payload_and_a_valid_signature(
    recipient: PublicKey | WrappingKey,
    private: PrivateKey | WrappingKey,
    bits: int,
    hmac_name: str,
    type_: TlvType,
    size: int,
) -> None:
    encryption = new_encryption(recipient, bits=bits, hmac_name=hmac_name, random=os.urandom)
    signer = key_of(KeyType.ED25519)
    options = SignOptions(version=ImageVersion(major=1), pad_header=True, encryption=encryption)
    payload = bytes(range(100))
    image = Image.parse(sign_image(payload, options, signer))
    assert image.header.flags & ENCRYPTED == encryption.flag
    assert image.header.img_size == 112  # in whole cipher blocks
    assert payload not in image.pack()
    plain = decrypt_image(image, private)
    assert plain.payload == payload + bytes(12)
    rules = BootRules(encrypted=True)
    assert overall(verify_image(plain.pack(), [signer.public], rules=rules)) is Verdict.PASS
    assert overall(verify_image(image.pack(), [signer.public], rules=rules)) is Verdict.FAIL
    clear = Image.parse(sign_image(payload, replace(options, encryption=replace(encryption, clear=True)), signer))
    assert clear.payload == plain.payload
    assert image_key(clear, private) == encryption.key


def test_aes_key_wrap_gives_the_bytes_of_rfc_3394() -> None:
    """RFC 3394, 4.1: 128 bits of key data with a 128-bit KEK."""
    key = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    tlv = wrap(Encryption(recipient=KEK, key=key))
    assert tlv.data.hex().upper() == "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"
    assert unwrap(tlv, KEK) == key


def test_the_keystream_counts_blocks_from_zero() -> None:
    """FIPS 197, C.1: the block that encrypts to 69c4e0… is its counter's here, so the payload's start is AES of 0."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = bytes(range(16))
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    counters = b"".join(number.to_bytes(16, "big") for number in range(3))
    assert apply_keystream(key, bytes(48)) == ecb.update(counters)


@given(st.binary(max_size=200), st.sampled_from([16, 32]))
def test_encrypting_twice_gives_the_data_back(data: bytes, size: int) -> None:
    key = bytes(range(size))
    assert apply_keystream(key, apply_keystream(key, data)) == data


@given(st.sampled_from(KEY_TLVS), st.binary(max_size=300), st.sampled_from([P256, X25519, RSA, KEK]))
def test_any_bytes_for_a_wrapped_key_are_refused_or_opened_never_a_traceback(
    type_: TlvType, data: bytes, key: PrivateKey | WrappingKey
) -> None:
    with pytest.raises((TrustError, FormatError)):
        unwrap(Tlv(type_, data), key)


def test_a_wrapping_key_is_raw_or_base64() -> None:
    raw = bytes(range(16))
    assert WrappingKey.load(raw) == WrappingKey.load(base64.b64encode(raw) + b"\n") == WrappingKey(raw)
    with pytest.raises(FormatError, match=r"kw\.b64: found 15 bytes, expected a wrapping key of 16 or 32"):
        WrappingKey.load(raw[:15], where="kw.b64")
    assert "0x" not in repr(WrappingKey(raw))
    assert raw.hex() not in repr(new_encryption(WrappingKey(raw), random=lambda size: raw[:size]))


@pytest.mark.parametrize(
    ("recipient", "bits", "hmac_name", "sentence"),
    [
        (P256.public, 192, "sha256", "found 192 bits, expected 128 or 256"),
        (P256.public, 128, "sha512", "expected x25519"),
        (KEK, 256, "sha256", "found 128 bits, expected 256"),
        (KEK, 128, "sha512", "expected x25519"),
        (key_of(KeyType.ED25519).public, 128, "sha256", "found ed25519, expected rsa-2048, ecdsa-p256 or x25519"),
        (key_of(KeyType.ECDSA_P384).public, 128, "sha256", "found ecdsa-p384, expected rsa-2048"),
    ],
)
def test_keys_that_cannot_encrypt_an_image_are_refused(
    recipient: PublicKey | WrappingKey, bits: int, hmac_name: str, sentence: str
) -> None:
    with pytest.raises(FormatError, match=sentence):
        new_encryption(recipient, bits=bits, hmac_name=hmac_name, random=os.urandom)


def test_what_is_not_encrypted_is_not_decrypted() -> None:
    plain = Image.parse(sign_image(b"", SignOptions(version=ImageVersion(), pad_header=True), None))
    with pytest.raises(FormatError, match="found no ENCRYPTED flag"):
        decrypt_image(plain, KEK)
    flagged = replace(plain, header=replace(plain.header, flags=4))
    with pytest.raises(FormatError, match="found no encrypted key among its TLVs"):
        decrypt_image(flagged, KEK)


def test_a_key_for_several_devices_opens_with_each() -> None:
    encryption = new_encryption(P256.public, random=lambda size: bytes(size))
    options = SignOptions(version=ImageVersion(), pad_header=True, encryption=encryption)
    image = Image.parse(sign_image(b"", options, None))
    second = wrap(replace(encryption, recipient=KEK))
    both = replace(image, unprotected=(*image.unprotected, second))
    assert image_key(both, KEK) == image_key(both, P256) == bytes(16)
    with pytest.raises(BootwrightError):
        image_key(both, key_of(KeyType.ECDSA_P256, 1))


def test_an_encrypted_image_leaves_room_for_its_keys_in_the_trailer() -> None:
    plain = SignOptions(version=ImageVersion(), slot_size=0x20000)
    saved = replace(plain, encryption=new_encryption(P256.public, bits=256, random=os.urandom))
    assert plain.max_image_size - saved.max_image_size == 64
    assert plain.max_image_size - replace(saved, save_enctlv=True).max_image_size == 2 * 136
