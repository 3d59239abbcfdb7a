"""Where a header lies while a swap is under way: boot_read_image_header of the three strategies, row by row."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from tests.support.scenes import build

from bootwright.boot.config import Mode
from bootwright.boot.header import IMAGE_MAGIC
from bootwright.boot.layout import PRIMARY, SECONDARY, Place, layout_of
from bootwright.boot.loader_state import MOVE, SWAP, Loader, Status
from bootwright.boot.probe import Console
from bootwright.boot.sectors import Sectors
from bootwright.boot.slot_check import STRATEGIES
from bootwright.boot.swap_type import SwapType

STEP = 0x1000
SIZE = 2 * STEP + 1  #: what is swapped: three sectors
P0, P1, S0, S1, SCRATCH = 1, 2, 3, 4, 5  #: major version of the header at each place: primary, one sector up, …


def header(major: int, magic: int = IMAGE_MAGIC) -> bytes:
    return struct.pack("<IIHHIIBBHII", magic, 0, 32, 0, 100, 0, major, 0, 0, 0, 0)


def ask(flash: Sectors, place: Place, magic: bytes, **fields: int) -> None:
    """A trailer with these fields."""
    flash.load(place.area.end - 16, magic)
    for name, value in fields.items():
        flash.load(place.area.address + getattr(place, name), bytes((value,)))


def loader_in_a_swap(mode: Mode, *, requested: SwapType = SwapType.NONE, bad: int = 0) -> Loader:
    """Another header at every place; `bad` has no magic."""
    config = replace(build(mode), max_img_sectors=16)
    layout = layout_of(config)
    ((primary, secondary),) = layout.slots
    flash = Sectors.holding(b"\xff" * 0x40000)
    places = {P0: primary.area.address, P1: primary.area.address + STEP}
    places |= {S0: secondary.area.address, S1: secondary.area.address + STEP}
    if layout.scratch is not None:
        places[SCRATCH] = layout.scratch.area.address
    for major, at in places.items():
        flash.load(at, header(major, 0x12345678 if major == bad else IMAGE_MAGIC))
    flash.load(primary.area.address + primary.swap_size, SIZE.to_bytes(4, "little"))
    if requested is SwapType.REVERT:
        ask(flash, primary, layout.magic, copy_done=1)
    elif requested is SwapType.TEST:
        ask(flash, secondary, layout.magic)
    return Loader(flash, config, Console())


def found(loader: Loader, slot: int, status: Status | None) -> int:
    got = STRATEGIES[loader.config.mode].read_image_header(loader, slot, status)
    assert got is not None
    return got.major


FORWARD = {  # index and state: where the primary's and the secondary's header lie
    (1, 2): (S0, S1),
    (2, 1): (S0, P0),
    (2, 2): (S0, P0),
    (3, 1): (P0, P0),
    (3, 2): (P0, P0),
    (4, 1): (P0, P0),
}
BACK = {
    (1, 2): (P0, S0),
    (2, 1): (P0, S0),
    (2, 2): (P0, S0),
    (3, 1): (P0, S0),
    (3, 2): (S1, S0),
    (4, 1): (S1, P0),
    (4, 2): (S1, P0),
}


@pytest.mark.parametrize("at", FORWARD)
def test_an_upgrade_by_offset_moves_headers_down(at: tuple[int, int]) -> None:
    for requested in (SwapType.NONE, SwapType.TEST):
        loader = loader_in_a_swap(Mode.OFFSET, requested=requested)
        status = Status(*at, swap_type=SwapType.TEST)
        assert (found(loader, PRIMARY, status), found(loader, SECONDARY, status)) == FORWARD[at]


@pytest.mark.parametrize("at", BACK)
def test_a_revert_by_offset_moves_them_up_again(at: tuple[int, int]) -> None:
    """Either the status says that it is one, or the trailers do."""
    for requested, noted in ((SwapType.NONE, SwapType.REVERT), (SwapType.REVERT, SwapType.TEST)):
        loader = loader_in_a_swap(Mode.OFFSET, requested=requested)
        status = Status(*at, swap_type=noted)
        assert (found(loader, PRIMARY, status), found(loader, SECONDARY, status)) == BACK[at]


@pytest.mark.parametrize(
    ("requested", "status", "primary", "secondary"),
    [
        (SwapType.NONE, None, P0, S1),
        (SwapType.TEST, None, P0, S1),
        (SwapType.REVERT, None, P0, S0),
        (SwapType.NONE, Status(), P0, S1),
        (SwapType.TEST, Status(), P0, S1),
        (SwapType.REVERT, Status(), P0, S0),
        (SwapType.NONE, Status(swap_type=SwapType.REVERT), P0, S0),
        (SwapType.NONE, Status(swap_type=SwapType.FAIL), P0, S1),
    ],
)
def test_before_a_swap_by_offset_an_update_lies_one_sector_up(
    requested: SwapType, status: Status | None, primary: int, secondary: int
) -> None:
    loader = loader_in_a_swap(Mode.OFFSET, requested=requested)
    assert found(loader, PRIMARY, status) == primary
    assert loader.secondary_offset == [0]
    assert found(loader, SECONDARY, status) == secondary
    assert loader.secondary_offset == [STEP if secondary == S1 and status is not None else 0]


@pytest.mark.parametrize("status", [None, Status()])
def test_a_secondary_without_a_header_where_it_should_be_is_looked_for_at_the_other_place(
    status: Status | None,
) -> None:
    upgrade = loader_in_a_swap(Mode.OFFSET, requested=SwapType.TEST, bad=S1)
    assert found(upgrade, SECONDARY, status) == S0
    revert = loader_in_a_swap(Mode.OFFSET, requested=SwapType.REVERT, bad=S0)
    assert found(revert, SECONDARY, status) == S1
    assert revert.secondary_offset == [0 if status is None else STEP]


def test_the_primary_is_looked_for_at_one_place_only() -> None:
    for requested in (SwapType.TEST, SwapType.REVERT):
        loader = loader_in_a_swap(Mode.OFFSET, requested=requested, bad=P0)
        assert found(loader, PRIMARY, Status()) == P0


def test_and_so_is_the_secondary_during_a_swap() -> None:
    loader = loader_in_a_swap(Mode.OFFSET, bad=S1)
    assert found(loader, SECONDARY, Status(1, 2, swap_type=SwapType.TEST)) == S1
    assert loader.secondary_offset == [0]


MOVED = {  # operation, index and state
    (MOVE, 2, 1): (P0, S0),
    (MOVE, 3, 1): (P0, S0),
    (MOVE, 4, 1): (P1, S0),
    (MOVE, 5, 1): (P1, S0),
    (SWAP, 1, 1): (P1, S0),
    (SWAP, 1, 2): (P1, P0),
    (SWAP, 2, 1): (S0, P0),
    (SWAP, 2, 2): (S0, P0),
    (SWAP, 3, 1): (S0, P0),
    (SWAP, 3, 2): (S0, P0),
    (SWAP, 4, 1): (P0, S0),
    (SWAP, 4, 2): (P0, S0),
}


@pytest.mark.parametrize("at", MOVED)
def test_a_swap_by_move_has_them_one_sector_up_and_then_in_the_other_slot(at: tuple[int, int, int]) -> None:
    op, index, state = at
    loader = loader_in_a_swap(Mode.MOVE)
    status = Status(index, state, op)
    assert (found(loader, PRIMARY, status), found(loader, SECONDARY, status)) == MOVED[at]


@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.SCRATCH, Mode.OVERWRITE])
@pytest.mark.parametrize("status", [None, Status()])
def test_before_a_swap_headers_lie_where_their_slots_begin(mode: Mode, status: Status | None) -> None:
    loader = loader_in_a_swap(mode)
    assert (found(loader, PRIMARY, status), found(loader, SECONDARY, status)) == (P0, S0)


SCRATCHED = {  # three sectors, and a scratch area of one: three groups, the first sector in the last of them
    (1, 2): (P0, S0),
    (2, 3): (P0, S0),
    (3, 1): (P0, S0),
    (3, 2): (P0, SCRATCH),
    (3, 3): (S0, SCRATCH),
    (4, 1): (S0, P0),
    (4, 2): (S0, P0),
}


@pytest.mark.parametrize("at", SCRATCHED)
def test_a_swap_through_scratch_has_them_there_only_in_the_last_group(at: tuple[int, int]) -> None:
    loader = loader_in_a_swap(Mode.SCRATCH)
    small = replace(build(Mode.SCRATCH, scratch=STEP), max_img_sectors=16)
    loader = Loader(loader.flash, small, Console())
    status = Status(*at)
    assert (found(loader, PRIMARY, status), found(loader, SECONDARY, status)) == SCRATCHED[at]
