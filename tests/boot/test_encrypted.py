"""Encrypted images: plain in the primary slot, encrypted in the secondary one, through swaps, cuts and reverts."""

from __future__ import annotations

import random
from functools import cache

import pytest
from tests.support.keys import key_of
from tests.support.scenes import signing_key

from bootwright.boot.config import BootConfig, ImageSlots, Mode, Signature
from bootwright.boot.image_key import ImageEncryption, KeyTlv
from bootwright.boot.layout import layout_of
from bootwright.boot.loader import boot_go, set_confirmed, set_pending
from bootwright.boot.outcome import Booted, BootOutcome, NoImage, Panic
from bootwright.boot.run import operations
from bootwright.boot.runs import Runs
from bootwright.boot.sectors import Sectors
from bootwright.errors import FormatError
from bootwright.flash import Area, drive
from bootwright.formats.keys import KeyType, PrivateKey
from bootwright.formats.mcuboot_encrypt import WrappingKey, new_encryption
from bootwright.formats.mcuboot_image import ImageFlags, ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image

SLOT, BASE = 0x8000, 0x10000
SECONDARY = BASE + SLOT
UPDATES = (Mode.SCRATCH, Mode.MOVE, Mode.OFFSET, Mode.OVERWRITE, Mode.OVERWRITE_FAST)
SWAPS = UPDATES[:3]
KINDS = [
    (KeyTlv.RSA_2048, 16),
    (KeyTlv.RSA_2048, 32),
    (KeyTlv.KW, 16),
    (KeyTlv.KW, 32),
    (KeyTlv.EC256, 16),
    (KeyTlv.EC256, 32),
    (KeyTlv.X25519, 16),
    (KeyTlv.X25519, 32),
    (KeyTlv.X25519_SHA512, 16),
    (KeyTlv.X25519_SHA512, 32),
]
KEY_TYPES = {KeyTlv.RSA_2048: KeyType.RSA_2048, KeyTlv.EC256: KeyType.ECDSA_P256}


@cache
def encryption(tlv: KeyTlv, size: int, *, saves_tlv: bool = False) -> ImageEncryption:
    wraps = WrappingKey(bytes(range(size)))
    key = wraps if tlv is KeyTlv.KW else key_of(KEY_TYPES.get(tlv, KeyType.X25519))
    return ImageEncryption(tlv=tlv, key=key, key_size=size, saves_tlv=saves_tlv)


def build(mode: Mode, kind: ImageEncryption | None) -> BootConfig:
    return BootConfig(
        mode=mode,
        images=(ImageSlots(Area("primary", BASE, SLOT), Area("secondary", SECONDARY, SLOT)),),
        scratch=Area("scratch", SECONDARY + SLOT, 0x2000) if mode is Mode.SCRATCH else None,
        signature=Signature.ED25519,
        keys=(signing_key().public.der,),
        max_img_sectors=8,
        encryption=kind,
        ram=Area("RAM", 0x20000000, SLOT) if mode.loads_to_ram else None,
    )


def image(
    version: int, kind: ImageEncryption | None, *, clear: bool = False, load: int = 0, size: int | None = None
) -> bytes:
    """An image with a payload of `size` bytes; encrypted ones for the key of the build, or in the clear."""
    secret = None
    if kind is not None:
        recipient = kind.key.public if isinstance(kind.key, PrivateKey) else kind.key
        secret = new_encryption(
            recipient,
            bits=kind.key_size * 8,
            hmac_name="sha512" if kind.tlv is KeyTlv.X25519_SHA512 else "sha256",
            clear=clear,
            random=random.Random(version).randbytes,
        )
    options = SignOptions(
        version=ImageVersion(major=version),
        pad_header=True,
        encryption=secret,
        load_addr=load,
        extra_flags=int(ImageFlags.RAM_LOAD) if load else 0,
    )
    size = 9000 + version * 16 if size is None else size
    return sign_image(random.Random(version).randbytes(size), options, signing_key())


def flash_of(config: BootConfig, primary: bytes, secondary: bytes) -> Sectors:
    flash = Sectors.holding(b"\xff" * (SECONDARY + SLOT + 0x2000))
    flash.load(BASE, primary)
    flash.load(SECONDARY + (0x1000 if config.mode is Mode.OFFSET else 0), secondary)
    return flash


def boot(flash: Sectors, config: BootConfig) -> BootOutcome:
    return drive(boot_go(flash, config), flash.apply)


def version_of(outcome: BootOutcome) -> str:
    assert isinstance(outcome, Booted), outcome
    return outcome.version


@pytest.mark.parametrize("mode", UPDATES)
@pytest.mark.parametrize(("tlv", "size"), KINDS)
def test_an_encrypted_update_is_decrypted_on_its_way_into_the_primary_slot(mode: Mode, tlv: KeyTlv, size: int) -> None:
    config = build(mode, encryption(tlv, size))
    sealed = image(2, config.encryption)
    flash = flash_of(config, image(1, None), sealed)
    drive(set_pending(flash, config, permanent=True), flash.apply)
    assert version_of(boot(flash, config)) == "2.0.0+0"
    running = flash.read(BASE, len(sealed))
    at = next(at for at, (one, other) in enumerate(zip(running, sealed, strict=True)) if one != other)
    assert at == 32, "only the payload was encrypted"
    assert random.Random(2).randbytes(9032) == running[32 : 32 + 9032]


@pytest.mark.parametrize("mode", SWAPS)
@pytest.mark.parametrize("saves_tlv", [False, True])
def test_a_revert_encrypts_the_update_again_with_its_own_key(mode: Mode, saves_tlv: bool) -> None:
    config = build(mode, encryption(KeyTlv.X25519, 16, saves_tlv=saves_tlv))
    sealed = image(2, config.encryption)
    flash = flash_of(config, image(1, None), sealed)
    drive(set_pending(flash, config), flash.apply)
    assert version_of(boot(flash, config)) == "2.0.0+0"
    assert version_of(boot(flash, config)) == "1.0.0+0"
    up = 0x1000 if mode is Mode.OFFSET else 0
    assert flash.read(SECONDARY + up, len(sealed)) == sealed


@pytest.mark.parametrize("mode", SWAPS)
def test_the_image_that_was_replaced_is_encrypted_with_its_own_key_until_it_comes_back(mode: Mode) -> None:
    config = build(mode, encryption(KeyTlv.X25519, 16))
    clear, sealed = image(1, config.encryption, clear=True), image(1, config.encryption)
    flash = flash_of(config, clear, image(2, config.encryption))
    drive(set_pending(flash, config), flash.apply)
    assert version_of(boot(flash, config)) == "2.0.0+0"
    assert flash.read(SECONDARY, 32 + 9016) == sealed[: 32 + 9016], "header and payload"
    assert version_of(boot(flash, config)) == "1.0.0+0"
    assert flash.read(BASE, len(clear)) == clear


@pytest.mark.parametrize("mode", UPDATES)
@pytest.mark.parametrize("saves_tlv", [False, True])
def test_between_two_encrypted_images_power_may_be_lost_at_any_operation(mode: Mode, saves_tlv: bool) -> None:
    config = build(mode, encryption(KeyTlv.EC256, 32, saves_tlv=saves_tlv))
    flash = flash_of(config, image(1, config.encryption, clear=True), image(2, config.encryption))
    drive(set_pending(flash, config), flash.apply)
    runs = Runs(config, flash)
    start = runs.state()
    total = len(operations(runs.boot(start)))
    finals = set()
    for cut in range(1, total + 1, 7):
        runs.enter(start)
        program = boot_go(flash, config)
        for _ in range(cut - 1):
            flash.apply(next(program))
        program.close()
        assert version_of(boot(flash, config)) == "2.0.0+0", f"cut {cut} of {total}"
        finals.add(flash.read(BASE, 9500))
    assert len(finals) == 1


def test_keys_move_with_the_trailer_from_scratch_into_the_primary_slot() -> None:
    """The image reaches into the sector of the trailer, so that the swap begins with its status in scratch."""
    config = build(Mode.SCRATCH, encryption(KeyTlv.X25519, 16))
    flash = flash_of(config, image(1, None), image(2, config.encryption, size=0x7400))
    drive(set_pending(flash, config), flash.apply)
    key, place = random.Random(2).randbytes(16), layout_of(config).slots[0][0]
    program = boot_go(flash, config)
    while flash.read(BASE + place.magic, 16) == b"\xff" * 16:
        flash.apply(next(program))
    program.close()
    assert flash.read(BASE + place.keys[1], 16) == key
    assert version_of(boot(flash, config)) == "2.0.0+0"


@pytest.mark.parametrize(("saves_tlv", "stored"), [(False, 16), (True, 80)])
def test_both_keys_lie_below_swap_size_while_a_swap_is_under_way(saves_tlv: bool, stored: int) -> None:
    config = build(Mode.MOVE, encryption(KeyTlv.X25519, 16, saves_tlv=saves_tlv))
    place = layout_of(config).slots[0][0]
    assert place.keys == (place.swap_size - stored, place.swap_size - 2 * stored)
    assert layout_of(config).trailer_size == 8 * 3 * 4 + 2 * stored + 48
    flash = flash_of(config, image(1, None), image(2, config.encryption))
    drive(set_pending(flash, config), flash.apply)
    boot(flash, config)
    assert config.encryption is not None
    kept = flash.read(BASE + place.keys[1], stored)
    key = config.encryption.open(kept) if saves_tlv else kept
    assert key == random.Random(2).randbytes(16)
    assert flash.read(BASE + place.keys[0], stored) == b"\xff" * stored


@pytest.mark.parametrize("mode", UPDATES)
def test_an_update_for_another_key_is_erased(mode: Mode) -> None:
    config = build(mode, encryption(KeyTlv.X25519, 16))
    sealed = bytearray(image(2, config.encryption))
    tag = bytes(sealed).rindex(b"\x33\x00\x50\x00") + 4 + 32
    sealed[tag] ^= 1
    flash = flash_of(config, image(1, None), bytes(sealed))
    drive(set_pending(flash, config), flash.apply)
    assert version_of(boot(flash, config)) == "1.0.0+0"
    assert flash.read(SECONDARY, SLOT) == b"\xff" * SLOT


def test_an_encrypted_primary_without_its_key_stops_every_boot_at_the_swap() -> None:
    config = build(Mode.MOVE, encryption(KeyTlv.X25519, 16))
    plain = bytearray(image(1, None))
    plain[16] |= ImageFlags.ENCRYPTED_AES128
    flash = flash_of(config, bytes(plain), image(2, config.encryption))
    drive(set_pending(flash, config), flash.apply)
    for _ in range(2):
        outcome = boot(flash, config)
        assert isinstance(outcome, Panic)
        assert "encrypted" in outcome.why[0].because


@pytest.mark.parametrize("slot", [BASE, SECONDARY])
def test_ram_load_decrypts_from_either_slot(slot: int) -> None:
    config = build(Mode.RAM_LOAD, encryption(KeyTlv.X25519_SHA512, 32))
    flash = flash_of(config, b"", b"")
    sealed = image(2, config.encryption, load=0x20000000)
    flash.load(slot, sealed)
    assert version_of(boot(flash, config)) == "2.0.0+0"
    assert flash.read(slot, len(sealed)) == sealed
    flash.load(slot + 200, b"!")
    assert isinstance(boot(flash, config), NoImage)


def test_a_build_without_encryption_refuses_what_one_with_it_runs() -> None:
    with_keys, without = (build(Mode.OVERWRITE, kind) for kind in (encryption(KeyTlv.X25519, 16), None))
    sealed = image(2, with_keys.encryption)
    for config, version in ((with_keys, "2.0.0+0"), (without, "1.0.0+0")):
        flash = flash_of(config, image(1, None), sealed)
        drive(set_pending(flash, config), flash.apply)
        drive(set_confirmed(flash, config), flash.apply)
        assert version_of(boot(flash, config)) == version


def test_key_kinds_and_keys_must_go_together() -> None:
    with pytest.raises(FormatError, match="expected a wrapping key"):
        ImageEncryption(tlv=KeyTlv.KW, key=key_of(KeyType.X25519))
    with pytest.raises(FormatError, match="expected rsa-2048"):
        ImageEncryption(tlv=KeyTlv.RSA_2048, key=key_of(KeyType.X25519))
    with pytest.raises(FormatError, match="the build stops at it"):
        build(Mode.DIRECT_XIP, encryption(KeyTlv.X25519, 16))
