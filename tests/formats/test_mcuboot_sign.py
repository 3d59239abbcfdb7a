from dataclasses import replace

import pytest
from tests.support.keys import SIGNING_TYPES, key_of

from bootwright.errors import FormatError, TrustError
from bootwright.finding import Finding, Verdict, overall
from bootwright.formats.keys import KeyType, PublicKey
from bootwright.formats.mcuboot_image import Image, ImageVersion, Tlv, TlvType
from bootwright.formats.mcuboot_sign import (
    Dependency,
    SignOptions,
    attach_signature,
    draft_image,
    sign_draft,
    sign_image,
)
from bootwright.formats.mcuboot_trailer import boot_magic
from bootwright.formats.mcuboot_verify import BootRules, verify_image

V1 = ImageVersion(major=1, minor=2, revision=3, build=4)
OPTIONS = SignOptions(version=V1, pad_header=True, slot_size=0x20000, security_counter=7)
PAYLOAD = bytes(range(256)) * 20
KEY = key_of(KeyType.ED25519)


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


@pytest.mark.parametrize("key_type", SIGNING_TYPES)
def test_a_signed_image_passes_every_check_with_its_key_and_no_other(key_type: KeyType) -> None:
    key, other = key_of(key_type), key_of(key_type, 1)
    image = sign_image(PAYLOAD, OPTIONS, key)
    assert codes(verify_image(image, [key.public])) == [
        "image.header.valid",
        "image.hash.match",
        "image.signature.valid",
    ]
    assert codes(verify_image(image, [other.public]))[-1] == "image.key.unknown"
    assert overall(verify_image(image, [other.public, key.public])) is Verdict.PASS


def test_without_keys_only_integrity_is_judged_and_that_is_said() -> None:
    findings = verify_image(sign_image(PAYLOAD, OPTIONS, KEY), [])
    assert codes(findings)[-1] == "image.signature.unchecked"
    assert findings[-1].verdict is Verdict.WARN


def test_an_unsigned_image_lacks_a_signature_where_one_is_expected() -> None:
    image = sign_image(PAYLOAD, OPTIONS, None)
    assert codes(verify_image(image, [KEY.public]))[-1] == "image.signature.missing"
    assert overall(verify_image(image, [])) is Verdict.PASS


def test_padding_fills_the_slot_and_marks_the_upgrade() -> None:
    test = sign_image(PAYLOAD, replace(OPTIONS, pad=True), KEY)
    permanent = sign_image(PAYLOAD, replace(OPTIONS, confirm=True), KEY)
    assert len(test) == len(permanent) == OPTIONS.slot_size
    assert test[-16:] == permanent[-16:] == boot_magic(8)
    assert (test[-24], permanent[-24]) == (0xFF, 0x01)
    assert permanent[:-24] == test[:-24]


def test_protected_tlvs_come_in_imgtools_order() -> None:
    options = replace(
        OPTIONS,
        boot_record="app",
        dependencies=(Dependency(1, V1),),
        vid=bytes(16),
        cid=bytes(16),
        custom_tlvs=(Tlv(0x12A0, b"custom"),),
    )
    image = Image.parse(sign_image(PAYLOAD, options, KEY))
    assert [tlv.name for tlv in image.protected or ()] == [
        "SEC_CNT",
        "BOOT_RECORD",
        "DEPENDENCY",
        "UUID_VID",
        "UUID_CID",
        "VENDOR",
    ]
    assert image.find(TlvType.DEPENDENCY)[0].data == bytes([1, 0, 0, 0]) + V1.pack()


def test_an_image_that_leaves_no_room_for_its_trailer_is_refused_with_the_figures() -> None:
    fits = OPTIONS.max_image_size - len(sign_image(b"", OPTIONS, KEY))
    assert sign_image(bytes(fits), OPTIONS, KEY)
    with pytest.raises(FormatError, match="0x1e7d1 bytes, expected at most 0x1e7d0"):
        sign_image(bytes(fits + 1), OPTIONS, KEY)


def test_a_key_for_encryption_signs_nothing() -> None:
    with pytest.raises(FormatError, match="found x25519"):
        sign_image(PAYLOAD, OPTIONS, key_of(KeyType.X25519))


def test_an_external_signature_is_verified_before_it_is_attached() -> None:
    draft = draft_image(PAYLOAD, OPTIONS, KEY.public)
    signature = KEY.sign_digest(draft.digest)
    assert attach_signature(PAYLOAD, OPTIONS, KEY.public, signature) == sign_image(PAYLOAD, OPTIONS, KEY)
    with pytest.raises(TrustError, match="not the ed25519 key's"):
        attach_signature(PAYLOAD + b"x", OPTIONS, KEY.public, signature)


def test_a_pure_signature_covers_the_image_and_the_espressif_port_refuses_it() -> None:
    options = replace(OPTIONS, pure=True)
    draft = draft_image(PAYLOAD, options, KEY.public)
    assert KEY.public.verify(sign_draft(draft, KEY), draft.message)
    image = sign_image(PAYLOAD, options, KEY)
    assert Image.parse(image).find(TlvType.SHA512)
    assert codes(verify_image(image, [KEY.public]))[-1] == "image.tlv.not_allowed"


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_any_flipped_byte_fails_a_named_check(at: int) -> None:
    image = bytearray(sign_image(bytes(200), replace(OPTIONS, slot_size=0), KEY))
    at = min(at, len(image) - 1)
    image[at] ^= 0x10
    assert overall(verify_image(bytes(image), [KEY.public])) is Verdict.FAIL


def test_the_public_key_may_be_in_the_image_whole() -> None:
    image = sign_image(PAYLOAD, replace(OPTIONS, full_public_key=True), KEY)
    [tlv] = Image.parse(image).find(TlvType.PUBKEY)
    assert PublicKey.from_der(tlv.data) == KEY.public
    assert overall(verify_image(image, [KEY.public], rules=BootRules(hardware_key=True))) is Verdict.PASS
    assert codes(verify_image(image, [KEY.public]))[-1] == "image.signature.missing"
