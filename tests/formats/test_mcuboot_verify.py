from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.keys import SIGNING_TYPES, key_of

from bootwright.finding import Finding, Verdict, overall
from bootwright.formats.keys import KeyType, PublicKey
from bootwright.formats.mcuboot_image import Image, ImageFlags, ImageVersion, Tlv, TlvType
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_verify import BootRules, verify_image

PASS = Verdict.PASS
KEY, OTHER = key_of(KeyType.ED25519), key_of(KeyType.ED25519, 1)
OPTIONS = SignOptions(version=ImageVersion(major=1), pad_header=True, security_counter=1)
GOOD = sign_image(b"payload", OPTIONS, KEY)
IMAGE = Image.parse(GOOD)
SHA, KEYHASH, SIGNATURE = IMAGE.unprotected


def last(data: bytes, *keys: PublicKey, rules: BootRules | None = None) -> Finding:
    return verify_image(data, keys or [KEY.public], rules=rules)[-1]


def with_tlvs(*tlvs: Tlv) -> bytes:
    return replace(IMAGE, unprotected=tlvs).pack()


def with_header(
    *, img_size: int = IMAGE.header.img_size, flags: int = 0, protect_tlv_size: int = IMAGE.header.protect_tlv_size
) -> bytes:
    header = replace(IMAGE.header, img_size=img_size, flags=flags, protect_tlv_size=protect_tlv_size)
    return replace(IMAGE, header=header).pack()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "image.header.short"),
        (GOOD[:31], "image.header.short"),
        (b"\xff" * 100, "image.header.erased"),
        (b"\xe9" + GOOD[1:], "image.header.magic"),
        (sign_image(b"", replace(OPTIONS, endian=">"), KEY), "image.header.magic"),
        (with_header(img_size=0xFFFFFFFF), "image.header.size"),
        (with_header(img_size=len(GOOD)), "image.header.size"),
        (with_header(flags=ImageFlags.NON_BOOTABLE), "image.header.non_bootable"),
        (with_header(flags=ImageFlags.ENCRYPTED_AES128), "image.header.encrypted"),
        (with_header(flags=ImageFlags.COMPRESSED_LZMA2), "image.header.compressed"),
        (with_header(img_size=8), "image.tlv.area"),
        (with_header(protect_tlv_size=0), "image.tlv.area"),
        (with_header(protect_tlv_size=16), "image.tlv.area"),
        (GOOD[: IMAGE.header.hashed_size + 2], "image.tlv.area"),
        (GOOD[:-1], "image.tlv.overrun"),
        (with_tlvs(SHA, KEYHASH, SIGNATURE, Tlv(0xA0, b"vendor")), "image.tlv.not_allowed"),
        (with_tlvs(SHA, KEYHASH, SIGNATURE, Tlv(TlvType.SEC_CNT, bytes(4))), "image.tlv.not_allowed"),
        (with_tlvs(Tlv(TlvType.SHA256, SHA.data[:31]), KEYHASH, SIGNATURE), "image.hash.length"),
        (with_tlvs(Tlv(TlvType.SHA256, bytes(32)), KEYHASH, SIGNATURE), "image.hash.mismatch"),
        (with_tlvs(KEYHASH, SIGNATURE), "image.hash.missing"),
        (with_tlvs(Tlv(TlvType.SHA512, bytes(64)), KEYHASH, SIGNATURE), "image.hash.missing"),
        (with_tlvs(SHA, Tlv(TlvType.KEYHASH, bytes(33)), SIGNATURE), "image.key.length"),
        (with_tlvs(SHA, Tlv(TlvType.KEYHASH, bytes(32)), SIGNATURE), "image.key.unknown"),
        (with_tlvs(SHA, KEYHASH, Tlv(TlvType.ED25519, bytes(63))), "image.signature.length"),
        (with_tlvs(SHA, KEYHASH, Tlv(TlvType.ED25519, bytes(64))), "image.signature.invalid"),
        (with_tlvs(SHA, KEYHASH), "image.signature.missing"),
        (with_tlvs(SHA, SIGNATURE), "image.signature.missing"),
        (with_tlvs(SHA, KEYHASH, Tlv(TlvType.RSA2048, bytes(256))), "image.signature.missing"),
    ],
)
def test_each_check_has_its_name(data: bytes, code: str) -> None:
    finding = last(data)
    assert (finding.code, finding.verdict) == (code, Verdict.FAIL)
    assert finding.because.startswith(("found", "header, payload", "the "))


def test_the_slot_and_the_trailer_limit_an_image_to_the_byte() -> None:
    size = len(GOOD)
    assert last(GOOD, rules=BootRules(max_size=size)).verdict is Verdict.PASS
    assert last(GOOD, rules=BootRules(max_size=size - 1)).code == "image.slot.too_large"
    hashed = IMAGE.header.hashed_size
    assert last(GOOD, rules=BootRules(slot_size=hashed + 1)).verdict is Verdict.PASS
    assert last(GOOD, rules=BootRules(slot_size=hashed)).code == "image.header.size"


def test_flags_that_exclude_each_other_are_refused_by_every_build() -> None:
    rules = BootRules(encrypted=True, compressed=True)
    both = ImageFlags.ENCRYPTED_AES128 | ImageFlags.ENCRYPTED_AES256
    assert last(with_header(flags=both), rules=rules).code == "image.header.flags"
    both = ImageFlags.COMPRESSED_LZMA1 | ImageFlags.COMPRESSED_LZMA2
    assert last(with_header(flags=both), rules=rules).code == "image.header.flags"


def test_of_several_signatures_the_last_by_a_known_key_decides() -> None:
    twice = Image.parse(sign_image(b"payload", OPTIONS, OTHER)).unprotected
    bad = Tlv(TlvType.ED25519, bytes(64))
    for tlvs, code in (
        ((SHA, KEYHASH, SIGNATURE, *twice[1:]), "image.signature.valid"),
        ((SHA, *twice[1:], KEYHASH, SIGNATURE), "image.signature.valid"),
        ((SHA, KEYHASH, bad, KEYHASH, SIGNATURE), "image.signature.valid"),
        ((SHA, KEYHASH, SIGNATURE, KEYHASH, bad), "image.signature.invalid"),
        ((SHA, KEYHASH, SIGNATURE, bad), "image.signature.valid"),  # a signature without a key before it is skipped
    ):
        assert last(with_tlvs(*tlvs)).code == code
    both = with_tlvs(SHA, KEYHASH, SIGNATURE, *twice[1:])
    assert "signed it" in last(both, KEY.public, OTHER.public).because


def test_a_cut_or_empty_key_hash_still_names_the_key_as_in_mcuboot() -> None:
    for size in (0, 5, 32):
        cut = Tlv(TlvType.KEYHASH, KEYHASH.data[:size])
        assert last(with_tlvs(SHA, cut, SIGNATURE)).code == "image.signature.valid"


@pytest.mark.parametrize("key_type", SIGNING_TYPES)
def test_every_byte_of_a_signed_image_is_covered_by_a_check(key_type: KeyType) -> None:
    """All but two kinds of byte in ECDSA's DER, which MCUboot reads leniently: the outer length, and sign bytes."""
    key = key_of(key_type)
    image = sign_image(b"payload", OPTIONS, key)
    uncovered = [at for at in range(len(image)) if overall(verify_image(flipped(image, at), [key.public])) is PASS]
    if not key_type.is_ecdsa:
        assert uncovered == []
        return
    signature = Image.parse(image).find(TlvType.ECDSASIG)[0].data
    start = len(image) - len(signature)
    s_at = 4 + signature[3]
    lenient = {start + 1, start + 4, start + s_at + 2}
    assert set(uncovered) <= lenient
    assert all(signature[at - start] == 0 for at in uncovered if at != start + 1)


def flipped(image: bytes, at: int) -> bytes:
    return image[:at] + bytes([image[at] ^ 0x81]) + image[at + 1 :]


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_bytes_get_findings(data: bytes, magic: bool, plausible: bool) -> None:
    head = GOOD[:32] if plausible else GOOD[:4]
    findings = verify_image(head + data if magic else data, [KEY.public])
    assert findings
    assert overall(findings) is Verdict.FAIL


def test_a_sha512_image_passes_where_the_bootloader_computes_it() -> None:
    image = sign_image(b"payload", replace(OPTIONS, hash_name="sha512"), KEY)
    refused = last(image)
    assert (refused.code, "64 bytes, expected at most 32 of sha256" in refused.because) == ("image.key.length", True)
    assert last(image, rules=BootRules(hash_name="sha512")).code == "image.signature.valid"


def test_a_pure_image_passes_where_the_bootloader_expects_it() -> None:
    image = sign_image(b"payload", replace(OPTIONS, pure=True), KEY)
    assert last(image, rules=BootRules(pure=True)).code == "image.signature.valid"
    assert last(GOOD, rules=BootRules(pure=True)).code == "image.signature.not_pure"
    damaged = image.replace(b"payload", b"Payload")
    assert last(damaged, rules=BootRules(pure=True)).code == "image.signature.invalid"
