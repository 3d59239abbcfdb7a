import struct
from typing import Any

import pytest
from tests.support.chip_scene import PRIMARY, SLOT_SIZE, scene
from tests.support.keys import key_of

from bootwright.formats.keys import KeyType
from bootwright.formats.load_header import LoadHeader
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport

GOOD: dict[str, Any] = {
    "entry_addr": 0x4038_0000,
    "iram_dest_addr": 0x4038_0000,
    "iram_flash_offset": 0xC0,
    "iram_size": 64,
    "dram_dest_addr": 0x3FC8_4000,
    "dram_flash_offset": 0x80,
    "dram_size": 64,
}


def boot_with(header: bytes) -> BootReport:
    options = SignOptions(version=ImageVersion(major=1), pad_header=True, slot_size=SLOT_SIZE, max_align=32)
    it = scene(app=sign_image(header + b"\x13" * 128, options, key_of(KeyType.ED25519, 0)))
    return it.machine.boot(it.port)


def test_a_good_load_header_starts() -> None:
    report = boot_with(LoadHeader(**GOOD).pack())
    assert report.image_offset == PRIMARY
    console = [line.text.removeprefix("[esp32c3] [INF] ") for line in report.console]
    at = next(number for number, line in enumerate(console) if "br_image_off" in line)
    assert console[at : at + 6] == [
        f"br_image_off = {PRIMARY:#x}",
        "ih_hdr_size = 0x20",
        "Loading image 0 - slot 0 from flash, area id: 1",
        f"DRAM segment: start={PRIMARY + 0x80:#x}, size=0x40, vaddr=0x3fc84000",
        f"IRAM segment: start={PRIMARY + 0xC0:#x}, size=0x40, vaddr=0x40380000",
        "start=0x40380000",
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"header_magic": 0xACE637D2}, "magic"),
        ({"iram_dest_addr": 0x3FC8_0000}, "iram"),
        ({"iram_size": 0x10_0000}, "iram"),
        ({"dram_dest_addr": 0x4038_0000}, "dram"),
        ({"entry_addr": 0x4200_0000}, "entry"),
        ({"lp_rtc_iram_size": 4}, "rtc_iram"),
    ],
)
def test_the_loader_stops_at_the_first_thing_it_does_not_take(change: dict[str, int], code: str) -> None:
    report = boot_with(LoadHeader(**{**GOOD, **change}).pack())
    assert report.outcome is Outcome.PANIC
    assert report.failure is not None
    assert report.failure.code == f"port.load_header.{code}"


def test_a_segment_that_ends_where_the_memory_ends_is_refused_though_it_fits() -> None:
    """The loader asks for the end address itself to be inside."""
    report = boot_with(LoadHeader(**{**GOOD, "iram_dest_addr": 0x403D_FFC0}).pack())
    assert report.outcome is Outcome.PANIC


def test_an_application_for_another_bootloader_has_no_load_header() -> None:
    report = boot_with(struct.pack("<24I", *range(24)))
    assert report.failure is not None
    assert report.failure.code == "port.load_header.magic"
