"""Dependencies between images: which versions fulfil them, and what is none at all."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from tests.support.scenes import BASE, build

from bootwright.boot.config import ImageSlots, Mode
from bootwright.boot.dependencies import dependencies_met, slot_dependencies_met
from bootwright.boot.header import IMAGE_MAGIC
from bootwright.boot.layout import PRIMARY, SECONDARY
from bootwright.boot.loader_state import Loader
from bootwright.boot.probe import Console
from bootwright.boot.sectors import Sectors
from bootwright.boot.slot_check import read_headers
from bootwright.boot.swap_type import SwapType
from bootwright.flash import Area

AREAS = [Area(f"slot {number}", BASE + number * 0x4000, 0x4000) for number in range(4)]
SLOTS = (ImageSlots(AREAS[0], AREAS[1]), ImageSlots(AREAS[2], AREAS[3]))
DEPENDENCY, COUNTER = 0x40, 0x50
RUNNING = (2, 3, 0x0405, 6)  #: what image 1 runs


def tlv(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def needs(major: int, minor: int, revision: int, build_number: int = 0, *, image: int = 1) -> bytes:
    return tlv(DEPENDENCY, struct.pack("<B3xBBHI", image, major, minor, revision, build_number))


def made(version: tuple[int, int, int, int], *protected: bytes) -> bytes:
    """Header, 16 bytes and TLV areas; nobody looks at a hash here."""
    area = b"".join(protected)
    if area:
        area = struct.pack("<HH", 0x6908, len(area) + 4) + area
    header = struct.pack("<IIHHIIBBHII", IMAGE_MAGIC, 0, 32, len(area), 16, 0, *version, 0)
    return header + bytes(16) + area + struct.pack("<HH", 0x6907, 4)


def loader_with(*protected: bytes, update: tuple[int, int, int, int] | None = None) -> Loader:
    """Image 0 with these protected TLVs in both slots; image 1 runs `RUNNING`, with an update beside it."""
    flash = Sectors.holding(b"\xff" * 0x40000)
    for area in AREAS[:2]:
        flash.load(area.address, made((1, 0, 0, 0), *protected))
    flash.load(AREAS[2].address, made(RUNNING))
    if update is not None:
        flash.load(AREAS[3].address, made(update))
    loader = Loader(flash, replace(build(Mode.OVERWRITE), images=SLOTS, max_img_sectors=16), Console())
    for image in (1, 0):
        loader.image = image
        read_headers(loader, None, require_all=False)
    return loader


@pytest.mark.parametrize(
    ("wanted", "met"),
    [
        ((2, 3, 0x0405), True),
        ((2, 3, 0x0405, 7), True),
        ((2, 3, 0x0404), True),
        ((2, 2, 0x0505), True),
        ((1, 4, 0x0505), True),
        ((2, 3, 0x0406), False),
        ((2, 3, 0x0504), False),
        ((2, 4, 0), False),
        ((3, 0, 0), False),
    ],
)
def test_the_other_image_must_have_at_least_this_version_whatever_its_build(wanted: tuple[int, ...], met: bool) -> None:
    assert slot_dependencies_met(loader_with(needs(*wanted)), PRIMARY) is met


def test_the_version_that_counts_is_the_one_that_will_run() -> None:
    loader = loader_with(needs(3, 0, 0), update=(3, 0, 0, 0))
    assert not slot_dependencies_met(loader, SECONDARY)
    loader.swap_types[1] = SwapType.TEST
    assert slot_dependencies_met(loader, SECONDARY)
    loader.swap_types[1] = SwapType.FAIL
    assert not slot_dependencies_met(loader, SECONDARY)


@pytest.mark.parametrize(("image", "met"), [(0, True), (1, True), (2, False), (255, False)])
def test_there_is_no_third_image(image: int, met: bool) -> None:
    assert slot_dependencies_met(loader_with(needs(1, 0, 0, image=image)), PRIMARY) is met


@pytest.mark.parametrize("length", [11, 13])
def test_a_dependency_of_another_length_is_never_met(length: int) -> None:
    assert not slot_dependencies_met(loader_with(tlv(DEPENDENCY, (b"\x01" + bytes(15))[:length])), PRIMARY)


@pytest.mark.parametrize("other", [COUNTER, 0x01])
def test_other_entries_before_a_dependency_do_not_matter(other: int) -> None:
    assert not slot_dependencies_met(loader_with(tlv(other, bytes(4)), needs(9, 0, 0)), PRIMARY)
    assert slot_dependencies_met(loader_with(tlv(other, bytes(4)), needs(1, 0, 0)), PRIMARY)


def test_entries_that_leave_their_area_meet_nothing() -> None:
    broken = struct.pack("<HH", COUNTER, 200)
    assert not slot_dependencies_met(loader_with(broken), PRIMARY)


@pytest.mark.parametrize(
    ("swap_type", "met"), [(SwapType.NONE, True), (SwapType.FAIL, True), (SwapType.TEST, False), (SwapType.PERM, False)]
)
def test_an_image_that_stays_is_asked_for_its_own_dependencies(swap_type: SwapType, met: bool) -> None:
    loader = loader_with()
    loader.flash.load(AREAS[1].address, made((1, 0, 0, 0), needs(9, 0, 0)))  # type: ignore[attr-defined]
    read_headers(loader, None, require_all=False)
    loader.swap_types = [swap_type, SwapType.NONE]
    assert dependencies_met(loader) is met
    assert loader.swap_types == ([swap_type, SwapType.NONE] if met else [SwapType.NONE] * 2)


def test_a_dependency_that_is_not_protected_does_not_count() -> None:
    loader = loader_with()
    entries = needs(9, 0, 0)
    header, area = made((1, 0, 0, 0))[:48], struct.pack("<HH", 0x6907, 4 + len(entries)) + entries
    loader.flash.load(AREAS[1].address, header + area)  # type: ignore[attr-defined]
    read_headers(loader, None, require_all=False)
    assert slot_dependencies_met(loader, SECONDARY)
