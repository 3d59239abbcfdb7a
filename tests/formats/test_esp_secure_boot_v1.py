import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError, TrustError
from bootwright.finding import Verdict
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot_v1 import (
    BootloaderDigest,
    SignatureV1,
    attach_v1,
    bootloader_with_digest,
    digest_v1,
    public_key_from_raw,
    raw_public_key,
    reflashable_key,
    sign_v1,
    verify_digest_v1,
    verify_v1,
)
from bootwright.formats.keys import KeyType, generate_key

ESP32 = 0
KEY = generate_key(KeyType.ECDSA_P256)
BOOTLOADER = make_bootloader_image(ESP32, size=0x1050)
IV = bytes(range(128))


@given(data=st.binary(max_size=300))
def test_signed_data_verify_and_end_in_68_bytes(data: bytes) -> None:
    signed = sign_v1(data, KEY)
    assert signed[: len(data)] == data
    assert len(signed) == len(data) + 68
    if data:
        assert [finding.verdict for finding in verify_v1(signed, KEY.public)] == [Verdict.PASS]


def test_a_key_in_this_process_signs_the_same_way_each_time() -> None:
    assert sign_v1(b"data", KEY) == sign_v1(b"data", KEY)


def test_any_flipped_byte_is_found() -> None:
    signed = sign_v1(b"application", KEY)
    for at in range(len(signed)):
        broken = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        (finding,) = verify_v1(broken, KEY.public)
        version = len(signed) - 68 <= at < len(signed) - 64
        assert finding.code == f"secure_boot.v1.signature.{'version' if version else 'invalid'}"
    (finding,) = verify_v1(signed, generate_key(KeyType.ECDSA_P256).public)
    assert finding.code == "secure_boot.v1.signature.invalid"
    (finding,) = verify_v1(bytes(68), KEY.public)
    assert finding.code == "secure_boot.v1.signature.missing"


def test_only_p256_will_do() -> None:
    for key in (generate_key(KeyType.ECDSA_P384), generate_key(KeyType.ED25519)):
        with pytest.raises(FormatError, match=f"found key type {key.key_type}, expected ecdsa-p256"):
            sign_v1(b"data", key)
        with pytest.raises(FormatError, match="expected ecdsa-p256"):
            reflashable_key(key)


def test_a_signature_made_elsewhere_must_fit() -> None:
    der = KEY.sign(b"data")
    assert verify_v1(attach_v1(b"data", KEY.public, der), KEY.public)[0].verdict is Verdict.PASS
    with pytest.raises(TrustError, match="not this key's over the 0x5 bytes"):
        attach_v1(b"other", KEY.public, der)


def test_the_raw_public_key_is_its_point() -> None:
    raw = raw_public_key(KEY.public)
    assert len(raw) == 64
    assert public_key_from_raw(raw) == KEY.public
    for bad in (b"", bytes(64), raw[:-1]):
        with pytest.raises(FormatError, match=f"found {len(bad)} raw bytes"):
            public_key_from_raw(bad)


@pytest.mark.parametrize("size", range(0x1000, 0x10A0, 0x10))
@pytest.mark.parametrize("key_size", [24, 32])
def test_a_digest_fits_its_bootloader_and_no_other(size: int, key_size: int) -> None:
    bootloader, key = make_bootloader_image(ESP32, size=size), bytes(range(key_size))
    flash = bootloader_with_digest(bootloader, key, IV)
    assert flash[:128] == IV
    assert set(flash[192:0x1000]) == {0xFF}
    assert verify_digest_v1(flash, key).verdict is Verdict.PASS
    assert verify_digest_v1(flash + b"\xff" * 0x2000, key).verdict is Verdict.PASS
    wrong = verify_digest_v1(flash, key[::-1])
    assert (wrong.code, wrong.verdict) == ("secure_boot.v1.digest.mismatch", Verdict.FAIL)
    for at in (0, 128, 0x1030):
        broken = flash[:at] + bytes([flash[at] ^ 1]) + flash[at + 1 :]
        assert verify_digest_v1(broken, key).verdict is Verdict.FAIL


def test_the_digest_is_192_bytes_and_the_signature_68() -> None:
    assert (BootloaderDigest.size(), SignatureV1.size()) == (192, 68)


def test_keys_and_ivs_of_other_lengths_are_refused() -> None:
    with pytest.raises(FormatError, match="IV: found 16 bytes, expected 128"):
        digest_v1(BOOTLOADER, bytes(32), bytes(16))
    with pytest.raises(FormatError, match="secure-boot key: found 16 bytes, expected 24 or 32"):
        digest_v1(BOOTLOADER, bytes(16), IV)
    with pytest.raises(FormatError, match="expected 0xe9"):
        digest_v1(bytes(100), bytes(32), IV)
