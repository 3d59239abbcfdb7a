"""Every byte of a signed bootloader and of a signed application is covered by a named check, or listed with why not."""

from collections.abc import Callable, Iterator

import pytest

from bootwright.boot.config import BootConfig, ImageSlots, Mode, Signature
from bootwright.boot.loader import boot_go
from bootwright.boot.outcome import NoImage, Panic
from bootwright.chips.burning import KeyWish, key_values, plan_burn
from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.finding import Finding, Verdict
from bootwright.flash import Area, Erase, FlashOp, NorFlash, drive
from bootwright.formats.esp_image import EspImage, make_bootloader_image
from bootwright.formats.esp_secure_boot import key_digest_v2, sign_v2
from bootwright.formats.keys import KeyType, generate_key
from bootwright.formats.mcuboot_image import Image, ImageVersion, TlvType
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_tlv_walk import walk_tlvs
from bootwright.host.firmware import make_application
from bootwright.sim.rom_boot import RomRun, boot_rom

CHIP = load_chip("esp32c3")
FLIPS = (0x01, 0xFF)

Ranges = dict[tuple[int, int], str]  #: [from, to) → why no check covers it
Refuses = Callable[[bytes], str | None]  #: the code of the check that refused these bytes, None where none did


def failing_check(findings: tuple[Finding, ...]) -> str | None:
    return next((finding.code for finding in findings if finding.verdict is Verdict.FAIL), None)


def each_flip(data: bytes, flip: int) -> Iterator[bytes]:
    changed = bytearray(data)
    for at in range(len(data)):
        changed[at] ^= flip
        yield bytes(changed)
        changed[at] ^= flip


def uncovered(data: bytes, flip: int, refuses: Refuses) -> list[int]:
    return [at for at, flipped in enumerate(each_flip(data, flip)) if refuses(flipped) is None]


def positions(ranges: Ranges) -> list[int]:
    return [at for start, end in ranges for at in range(start, end)]


class Holding:
    """A flash with these bytes at its start."""

    sector_size = 4096

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, address: int, length: int) -> bytes:
        return self.data[address : address + length]


def rom_with(digest: bytes) -> Refuses:
    """The ROM of a chip on which Secure Boot trusts this key."""
    blank = Efuses.blank(CHIP)
    values = key_values(blank, [KeyWish("BLOCK_KEY0", digest, "SECURE_BOOT_DIGEST0")])
    efuses = plan_burn(blank, {**values, "SECURE_BOOT_EN": 1}).after

    def refuses(data: bytes) -> str | None:
        run = RomRun(CHIP, Holding(data), efuses)
        try:
            next(boot_rom(run))
        except StopIteration as end:
            return None if end.value else failing_check(tuple(run.findings))
        raise AssertionError("the ROM burned something")

    return refuses


@pytest.mark.parametrize("flip", FLIPS)
def test_every_byte_of_a_signed_bootloader_is_covered_or_listed(flip: int) -> None:
    key = generate_key(KeyType.RSA_3072)
    signed = sign_v2(make_bootloader_image(CHIP.chip_id, size=0x400), [key])
    sector = len(signed) - 4096
    refuses = rom_with(key_digest_v2(key.public))
    assert refuses(signed) is None
    assert refuses(signed[: sector + 1216] + b"\xe7" + signed[sector + 1217 :]) is None
    listed: Ranges = {
        (sector + 1200, sector + 1216): "the last 16 bytes of a block are zero by convention; no check reads them",
        (sector + 1216, sector + 4096): "fill of the signature sector behind the last block; what is no valid block "
        "there is passed over",
    }
    assert uncovered(signed, flip, refuses) == positions(listed)


def mcuboot_with(key_type: KeyType, public_der: bytes) -> Refuses:
    """MCUboot with this key, deciding on the image in its primary slot."""
    primary, secondary = Area("primary", 0, 0x4000), Area("secondary", 0x4000, 0x4000)
    config = BootConfig(
        mode=Mode.OVERWRITE,
        images=(ImageSlots(primary, secondary),),
        signature=Signature(key_type.value),
        keys=(public_der,),
    )

    def refuses(data: bytes) -> str | None:
        flash = NorFlash.holding(data.ljust(0x8000, b"\xff"))

        def perform(op: FlashOp) -> None:
            assert isinstance(op, Erase)
            assert op.address >= secondary.address

        outcome = drive(boot_go(flash, config), perform)
        return failing_check(outcome.why) if isinstance(outcome, NoImage | Panic) else None

    return refuses


def ignored_by_tinycrypt(signed: bytes, flip: int) -> Ranges:
    """What MCUboot's reader of DER signatures passes over (`bootutil_decode_sig`, crypto/ecdsa.h)."""
    at = next(tlv.offset for tlv in walk_tlvs(signed, Image.parse(signed).header) if tlv.type == TlvType.ECDSASIG)
    listed: Ranges = {}
    if signed[at + 1] ^ flip < signed[at + 1]:
        listed[at + 1, at + 2] = "the outer length: it must not be too large, and nobody compares it with the content"
    r = at + 4
    s = r + signed[r - 1] + 2
    for number in (r, s):
        if signed[number - 1] == 33:
            listed[number, number + 1] = "the sign byte of an integer of 33 bytes: only the last 32 are taken"
    return listed


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.ECDSA_P256, KeyType.RSA_2048, KeyType.RSA_3072])
@pytest.mark.parametrize("flip", FLIPS)
def test_every_byte_of_a_signed_application_is_covered_or_listed(key_type: KeyType, flip: int) -> None:
    key = generate_key(key_type)
    options = SignOptions(version=ImageVersion.from_text("1.2.3+4"), pad_header=True, security_counter=7)
    signed = sign_image(make_application(CHIP, size=0x200), options, key)
    refuses = mcuboot_with(key_type, key.public.der)
    assert refuses(signed) is None
    listed = ignored_by_tinycrypt(signed, flip) if key_type is KeyType.ECDSA_P256 else {}
    assert uncovered(signed, flip, refuses) == positions(listed)


def test_the_parts_add_up_to_the_whole() -> None:
    key = generate_key(KeyType.ED25519)
    options = SignOptions(version=ImageVersion.from_text("1.0.0"), pad_header=True)
    signed = sign_image(make_application(CHIP, size=0x200), options, key)
    assert Image.parse(signed).pack() == signed
    image = make_bootloader_image(CHIP.chip_id, size=0x400)
    assert EspImage.parse(image).length == len(image)
