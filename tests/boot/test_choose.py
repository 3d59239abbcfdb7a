"""Direct-xip, ram-load and single slot: what runs, what is erased, and what an application asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.scenes import signing_key

from bootwright.boot.config import BootConfig, ImageSlots, Mode, Signature, single_slot
from bootwright.boot.loader import boot_go, set_confirmed, set_pending
from bootwright.boot.outcome import Booted, BootOutcome, NoImage
from bootwright.boot.probe import Console
from bootwright.boot.sectors import Sectors
from bootwright.errors import FormatError
from bootwright.flash import Area, FlashOp, drive
from bootwright.formats.mcuboot_image import ImageFlags, ImageVersion
from bootwright.formats.mcuboot_sign import Dependency, SignOptions, sign_image

SLOT = 0x8000
PRIMARY, SECONDARY, OTHER_PRIMARY, OTHER_SECONDARY = (0x10000 + at * SLOT for at in range(4))
RAM = Area("RAM", 0x20000000, 0x10000)
XIP = (Mode.DIRECT_XIP, Mode.DIRECT_XIP_REVERT)
REVERT = (Mode.DIRECT_XIP_REVERT, Mode.RAM_LOAD_REVERT)
EQUAL = (*XIP, Mode.RAM_LOAD, Mode.RAM_LOAD_REVERT)


def build(mode: Mode, *, images: int = 1) -> BootConfig:
    pairs = [
        ImageSlots(Area("primary", PRIMARY, SLOT), Area("secondary", SECONDARY, SLOT)),
        ImageSlots(Area("other primary", OTHER_PRIMARY, SLOT), Area("other secondary", OTHER_SECONDARY, SLOT)),
    ]
    return BootConfig(
        mode=mode,
        images=(single_slot(pairs[0].primary),) if mode is Mode.SINGLE else tuple(pairs[:images]),
        signature=Signature.ED25519,
        keys=(signing_key().public.der,),
        max_img_sectors=8,
        ram=RAM if mode.loads_to_ram else None,
    )


def image(version: str, *, load: int | None = 0x20000000, rom: int = 0, needs: str = "") -> bytes:
    flags = 0 if load is None or rom else int(ImageFlags.RAM_LOAD)
    options = SignOptions(
        version=ImageVersion.from_text(version),
        pad_header=True,
        load_addr=load if load is not None and not rom else 0,
        rom_fixed=rom,
        extra_flags=flags,
        dependencies=(Dependency(image=1, version=ImageVersion.from_text(needs)),) if needs else (),
    )
    return sign_image(version.encode() * 300, options, signing_key())


class Chip:
    """A flash with images in it, and everything that was done to it."""

    def __init__(self, config: BootConfig, **contents: bytes) -> None:
        self.config = config
        self.flash = Sectors.holding(b"\xff" * (PRIMARY + 4 * SLOT))
        for name, data in contents.items():
            self.flash.load({"primary": PRIMARY, "secondary": SECONDARY, "other": OTHER_PRIMARY}[name], data)
        self.ops: list[FlashOp] = []
        self.lines: list[str] = []

    def perform(self, op: FlashOp) -> None:
        self.ops.append(op)
        self.flash.apply(op)

    def boot(self) -> BootOutcome:
        console = Console("esp32c3")
        self.ops.clear()
        outcome = drive(boot_go(self.flash, self.config, probe=console), self.perform)
        self.lines = [line.removeprefix("[esp32c3] [INF] ") for line in console.lines]
        return outcome

    def runs(self) -> tuple[int, str]:
        outcome = self.boot()
        assert isinstance(outcome, Booted), outcome
        return outcome.image_offset, outcome.version

    def pending(self, *, permanent: bool = False) -> int:
        return drive(set_pending(self.flash, self.config, permanent=permanent), self.perform)

    def empty(self, address: int) -> bool:
        return self.flash.read(address, SLOT) == b"\xff" * SLOT


@pytest.mark.parametrize("mode", [Mode.DIRECT_XIP, Mode.RAM_LOAD])
def test_the_newer_image_runs_where_it_lies_and_nothing_is_written(mode: Mode) -> None:
    chip = Chip(build(mode), primary=image("1.0.0"), secondary=image("1.0.1"))
    assert chip.runs() == (SECONDARY, "1.0.1+0")
    assert chip.ops == []
    assert chip.lines[:2] == ["Primary   slot: version=1.0.0+0", "Secondary slot: version=1.0.1+0"]
    assert chip.lines[-1] == "Image 0 loaded from the secondary slot"


@pytest.mark.parametrize("mode", [Mode.DIRECT_XIP, Mode.RAM_LOAD])
def test_of_equal_versions_the_primary_runs_whatever_the_build_numbers(mode: Mode) -> None:
    chip = Chip(build(mode), primary=image("1.0.0"), secondary=image("1.0.0+9"))
    assert chip.runs() == (PRIMARY, "1.0.0+0")


@pytest.mark.parametrize("mode", [Mode.DIRECT_XIP, Mode.RAM_LOAD])
@pytest.mark.parametrize(("damaged", "left"), [("primary", SECONDARY), ("secondary", PRIMARY)])
def test_a_damaged_image_is_erased_in_either_slot_and_the_other_one_runs(mode: Mode, damaged: str, left: int) -> None:
    images = {"primary": image("2.0.0"), "secondary": image("2.0.0")} | {damaged: image("3.0.0")}
    images[damaged] = images[damaged][:40] + b"!" + images[damaged][41:]
    chip = Chip(build(mode), **images)
    assert chip.runs() == (left, "2.0.0+0")
    assert chip.empty(SECONDARY if damaged == "secondary" else PRIMARY)
    assert len(chip.ops) == SLOT // 0x1000


@pytest.mark.parametrize("mode", EQUAL)
def test_without_any_image_nothing_runs_and_every_reason_is_told(mode: Mode) -> None:
    outcome = Chip(build(mode)).boot()
    assert isinstance(outcome, NoImage)
    assert [finding.subject for finding in outcome.why] == ["image 0", "primary", "secondary"]


@pytest.mark.parametrize("mode", XIP)
def test_an_image_built_for_another_address_is_passed_over_and_kept(mode: Mode) -> None:
    chip = Chip(build(mode), primary=image("1.0.0"), secondary=image("2.0.0", rom=PRIMARY))
    chip.pending(permanent=True)
    drive(set_confirmed(chip.flash, chip.config), chip.perform)
    if mode is Mode.DIRECT_XIP_REVERT:
        assert chip.pending() == 0
    assert chip.runs() == (PRIMARY, "1.0.0+0")
    assert not chip.empty(SECONDARY)


@pytest.mark.parametrize("mode", REVERT)
def test_an_image_that_nobody_asked_for_is_erased(mode: Mode) -> None:
    chip = Chip(build(mode), primary=image("1.0.0"), secondary=image("2.0.0"))
    drive(set_confirmed(chip.flash, chip.config), chip.perform)
    assert chip.runs() == (PRIMARY, "1.0.0+0")
    assert chip.empty(SECONDARY)


@pytest.mark.parametrize("mode", REVERT)
def test_an_update_runs_once_and_goes_unless_it_confirms_itself(mode: Mode) -> None:
    chip = Chip(build(mode), primary=image("1.0.0"), secondary=image("2.0.0"))
    drive(set_confirmed(chip.flash, chip.config), chip.perform)
    assert chip.pending() == 0
    assert chip.runs() == (SECONDARY, "2.0.0+0")
    assert [op.why for op in chip.ops] == ["write copy_done"]
    assert chip.runs() == (PRIMARY, "1.0.0+0")
    assert chip.empty(SECONDARY)


@pytest.mark.parametrize("mode", REVERT)
def test_a_permanent_update_stays_and_its_boots_write_nothing(mode: Mode) -> None:
    chip = Chip(build(mode), primary=image("1.0.0"), secondary=image("2.0.0"))
    chip.pending(permanent=True)
    for _ in range(3):
        assert chip.runs() == (SECONDARY, "2.0.0+0")
        assert chip.ops == []


def test_a_request_over_a_foreign_trailer_is_refused() -> None:
    chip = Chip(build(Mode.DIRECT_XIP_REVERT), primary=image("1.0.0"), secondary=image("2.0.0"))
    chip.flash.load(SECONDARY + SLOT - 16, b"not a magic word")
    assert chip.pending() == 3
    assert chip.ops == []


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (None, "does not ask to be loaded"),
        (0x1FFFFFF0, "leave the executable RAM"),
        (0x2000FF00, "leave the executable RAM"),
        (0xFFFFFFF0, "leave the executable RAM"),
    ],
)
def test_an_image_that_ram_cannot_take_is_removed_from_the_flash(load: int | None, reason: str) -> None:
    chip = Chip(build(Mode.RAM_LOAD), primary=image("1.0.0", load=load))
    outcome = chip.boot()
    assert isinstance(outcome, NoImage)
    assert any(reason in finding.because for finding in outcome.why)
    assert chip.empty(PRIMARY)


def test_images_that_overlap_in_ram_do_not_run_together() -> None:
    other = image("1.0.0", load=0x20000100)
    chip = Chip(build(Mode.RAM_LOAD, images=2), primary=image("1.0.0"), other=other)
    assert isinstance(chip.boot(), NoImage)
    assert chip.empty(OTHER_PRIMARY)
    chip = Chip(build(Mode.RAM_LOAD, images=2), primary=image("1.0.0"), other=image("1.0.0", load=0x20008000))
    assert chip.runs() == (PRIMARY, "1.0.0+0")


@pytest.mark.parametrize("mode", [Mode.DIRECT_XIP, Mode.RAM_LOAD])
def test_an_image_whose_dependency_is_not_there_gives_way_to_the_other_slot(mode: Mode) -> None:
    chip = Chip(
        build(mode, images=2),
        primary=image("1.0.0"),
        secondary=image("2.0.0", needs="5.0.0"),
        other=image("1.0.0", load=0x20008000),
    )
    assert chip.runs() == (PRIMARY, "1.0.0+0")
    assert not chip.empty(SECONDARY)
    chip.flash.load(OTHER_SECONDARY, image("5.0.0", load=0x20008000))
    assert chip.runs() == (SECONDARY, "2.0.0+0")


def test_a_single_slot_runs_what_is_good_and_changes_nothing() -> None:
    good, config = image("1.0.0"), build(Mode.SINGLE)
    assert Chip(config, primary=good).runs() == (PRIMARY, "1.0.0+0")
    for bad, line in (
        (b"", "[esp32c3] [ERR] Bad image magic 0xffffffff"),
        (good[:16] + b"\x30" + good[17:], "[esp32c3] [ERR] Image not bootable"),
        (good[:12] + b"\xff\xff" + good[14:], "Image size bigger than designated area"),
        (good[:40] + b"!" + good[41:], ""),
    ):
        chip = Chip(config, primary=bad)
        assert isinstance(chip.boot(), NoImage)
        assert chip.ops == []
        assert line in "".join(chip.lines)


def test_a_single_slot_has_room_up_to_the_flags_of_its_trailer() -> None:
    config = build(Mode.SINGLE)
    room = SLOT - 48 - len(image("1.0.0")) + 1500
    options = SignOptions(version=ImageVersion(major=1), pad_header=True)
    for more, outcome in ((0, Booted), (1, NoImage)):
        fitting = sign_image(bytes(room), options, signing_key())
        surplus = len(fitting) - (SLOT - 48)
        exact = sign_image(bytes(room - surplus + more), options, signing_key())
        assert isinstance(Chip(config, primary=exact).boot(), outcome)


def test_ram_load_without_ram_is_refused() -> None:
    with pytest.raises(FormatError, match="without a range of RAM"):
        replace(build(Mode.RAM_LOAD), ram=None)
