"""Layouts that nobody should build, and what the bootloader does with them."""

from __future__ import annotations

from dataclasses import replace

from tests.support.scenes import BASE, build, signed

from bootwright.boot.config import ImageSlots, Mode
from bootwright.boot.loader import boot_go, set_pending
from bootwright.boot.outcome import Booted, Panic
from bootwright.boot.sectors import Sectors
from bootwright.flash import Area, drive


def test_a_leftover_request_in_a_slot_smaller_than_its_trailer_is_left_where_it_is() -> None:
    config = build(Mode.MOVE, slot=0x1000)
    flash = Sectors.holding(b"\xff" * 0x12000)
    flash.load(BASE, signed(1, 0x400))
    drive(set_pending(flash, config), flash.apply)
    before = flash.raw()
    assert isinstance(drive(boot_go(flash, config), flash.apply), Booted)
    assert flash.raw() == before


def test_a_request_whose_magic_would_leave_the_slot_is_refused_with_the_code_of_a_flash_error() -> None:
    config = replace(build(Mode.OVERWRITE, slot=0x11010), max_align=32)
    flash = Sectors.holding(b"\xff" * 0x40000)
    assert drive(set_pending(flash, config), flash.apply) == 1
    assert flash.raw() == b"\xff" * 0x40000


def test_slots_with_equally_many_sectors_but_not_bytes_end_an_overwrite_in_an_assertion() -> None:
    """Both count as 17 sectors; the last one of the secondary cannot be read whole."""
    config = replace(
        build(Mode.OVERWRITE),
        images=(ImageSlots(Area("primary", BASE, 0x11000), Area("secondary", BASE + 0x11000, 0x10800)),),
    )
    flash = Sectors.holding(b"\xff" * 0x40000)
    flash.load(BASE, signed(1, 0x400))
    flash.load(BASE + 0x11000, signed(2, 0x400))
    drive(set_pending(flash, config), flash.apply)
    outcome = drive(boot_go(flash, config), flash.apply)
    assert isinstance(outcome, Panic)
    assert outcome.why[0].code == "mcuboot.copy.refused"
