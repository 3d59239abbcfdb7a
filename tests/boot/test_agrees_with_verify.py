"""The model of the bootloader and `verify_image` are two pieces of code: they must judge every image alike."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.keys import key_of

from bootwright.boot.config import BootConfig, ImageSlots, Mode, Signature
from bootwright.boot.loader import boot_go
from bootwright.boot.outcome import Booted
from bootwright.finding import Verdict, overall
from bootwright.flash import Area, NorFlash, drive
from bootwright.formats.keys import KeyType
from bootwright.formats.mcuboot_image import Image, ImageVersion, Tlv
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_trailer import UpgradeMode, espressif_geometry
from bootwright.formats.mcuboot_verify import BootRules, verify_image

SLOT = 0x10000
KEYS = {
    Signature.ED25519: key_of(KeyType.ED25519),
    Signature.ECDSA_P256: key_of(KeyType.ECDSA_P256),
    Signature.RSA_2048: key_of(KeyType.RSA_2048),
}
GEOMETRY = espressif_geometry(SLOT)
RULES = BootRules(slot_size=SLOT, max_size=GEOMETRY.max_image_size(UpgradeMode.SWAP_MOVE))


def boots(slot: bytes, signature: Signature) -> bool:
    """Whether the model runs an image that lies in the primary slot, nothing else around."""
    slots = ImageSlots(Area("primary", 0, SLOT), Area("secondary", SLOT, SLOT))
    config = BootConfig(mode=Mode.MOVE, images=(slots,), signature=signature, keys=(KEYS[signature].public.der,))
    flash = NorFlash.holding(slot.ljust(2 * SLOT, b"\xff"))
    return isinstance(drive(boot_go(flash, config), flash.apply), Booted)


def accepted(slot: bytes, signature: Signature) -> bool:
    findings = verify_image(slot.ljust(SLOT, b"\xff"), [KEYS[signature].public], rules=RULES)
    return overall(findings) is Verdict.PASS


@cache
def signed(signature: Signature, protected: bool) -> bytes:
    """One image of its kind for the whole run: ECDSA signatures differ in length."""
    options = SignOptions(version=ImageVersion(major=1), pad_header=True, security_counter=1 if protected else None)
    return sign_image(b"payload" * 3, options, KEYS[signature])


@pytest.mark.parametrize("signature", KEYS)
def test_a_good_image_is_good_to_both(signature: Signature) -> None:
    image = signed(signature, True)
    assert boots(image, signature)
    assert accepted(image, signature)


@settings(max_examples=200)
@given(st.sampled_from(sorted(KEYS)), st.booleans(), st.data())
def test_a_changed_image_is_judged_alike(signature: Signature, protected: bool, data: st.DataObject) -> None:
    image = bytearray(signed(signature, protected))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(image) - 1))
        image[at] = data.draw(st.sampled_from([0, 1, 0x10, 0x22, 0x24, 0x40, 0x7F, 0xFE, 0xFF]))
    if image[0:4] == b"\xff\xff\xff\xff":
        return
    assert boots(bytes(image), signature) == accepted(bytes(image), signature)


tlv_types = st.sampled_from([0x01, 0x10, 0x11, 0x24, 0x22, 0x30, 0x34, 0x40, 0x50, 0xA0])


@settings(max_examples=100)
@given(st.lists(st.builds(Tlv, tlv_types, st.binary(max_size=70)), max_size=3), st.data())
def test_added_and_moved_tlvs_are_judged_alike(extra: list[Tlv], data: st.DataObject) -> None:
    signature = Signature.ED25519
    made = Image.parse(sign_image(b"payload", SignOptions(version=ImageVersion(), pad_header=True), KEYS[signature]))
    tlvs = data.draw(st.permutations([*made.unprotected, *extra]))
    image = Image(header=made.header, payload=made.payload, unprotected=tuple(tlvs)).pack()
    assert boots(image, signature) == accepted(image, signature)
