"""Reading status bytes whose area lies in several flash sectors, entry by entry as the C code does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scenes import build

from bootwright.boot.config import BootConfig, ImageSlots, Mode
from bootwright.boot.layout import PRIMARY, layout_of
from bootwright.boot.loader_state import Loader
from bootwright.boot.probe import UNWATCHED
from bootwright.boot.sectors import Sectors
from bootwright.boot.status_bytes import anything_behind, first_gap, first_written_part, last_written_entry
from bootwright.flash import Area

SIZE = 32


def config_at(address: int) -> BootConfig:
    slots = ImageSlots(Area("primary", address, 0x20000), Area("secondary", 0x30000, 0x20000))
    plain = replace(build(Mode.SCRATCH), images=(slots,))
    return replace(plain, max_align=SIZE, write_align=SIZE, max_img_sectors=128)


ALIGNED, ODD = config_at(0x10000), config_at(0x10010)  #: in the odd one, entries lie across sectors
PLACE = layout_of(ALIGNED).slots[0][PRIMARY]
IN_FIRST = (0x1000 - PLACE.status_offset % 0x1000) // SIZE  #: entries in the first sector of the area


def loader_with(written: set[int], config: BootConfig) -> Loader:
    loader = Loader(Sectors.holding(b"\xff" * 0x60000), config, UNWATCHED)
    place = loader.place(PRIMARY)
    flash = Sectors.holding(b"\xff" * 0x60000)
    for entry in written:
        flash.load(place.area.address + place.status_offset + entry * SIZE, b"\x01")
    return Loader(flash, config, UNWATCHED)


def gap_in(written: set[int]) -> int | None:
    """swap_read_status_bytes of swap_scratch.c, byte by byte."""
    begun = False
    for entry in range(PLACE.status_entries):
        if entry in written:
            begun = True
        elif begun:
            return entry
    return PLACE.status_entries if begun else None


def check(written: set[int], config: BootConfig = ALIGNED) -> None:
    loader = loader_with(written, config)
    place = loader.place(PRIMARY)
    begun = first_written_part(loader, place)
    expected = gap_in(written)
    assert (begun is None) == (expected is None)
    if begun is not None:
        found = first_gap(loader, place, begun)
        assert found == expected
        assert anything_behind(loader, place, found) == any(entry > found for entry in written)
    assert last_written_entry(loader, place) == max(written, default=-1) + 1


def test_the_area_of_these_tests_lies_in_four_sectors() -> None:
    assert PLACE.status_entries == 3 * 128
    assert 0 < IN_FIRST < 128 <= PLACE.status_entries - 2 * 128 + IN_FIRST


@pytest.mark.parametrize(
    "written",
    [
        set(),
        {0},
        {IN_FIRST - 1},
        {IN_FIRST},
        set(range(IN_FIRST)),
        set(range(IN_FIRST + 1)),
        set(range(IN_FIRST + 128)),
        set(range(IN_FIRST, IN_FIRST + 128)),
        set(range(IN_FIRST + 5, IN_FIRST + 128 + 7)) | {IN_FIRST + 140},
        set(range(IN_FIRST + 128, PLACE.status_entries)),
        set(range(PLACE.status_entries)),
        {PLACE.status_entries - 1},
    ],
    ids=len,
)
def test_a_gap_is_found_in_whichever_sector_it_lies(written: set[int]) -> None:
    check(written)
    check(written, ODD)


@given(st.sets(st.integers(0, PLACE.status_entries - 1), max_size=6), st.lists(st.integers(0, 384), max_size=4))
def test_any_status_is_read_as_the_c_code_reads_it(single: set[int], ends: list[int]) -> None:
    ranges = zip(ends[::2], ends[1::2], strict=False)
    entries = single.union(*(range(min(pair), min(max(pair), PLACE.status_entries)) for pair in ranges))
    check(set(entries))
