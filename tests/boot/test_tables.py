"""The decision tables of bootutil and the bounds of its strategies, row by row and at the edge."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from tests.support.scenes import BASE, build, scene, signed

from bootwright.boot import swap_move, swap_offset, swap_scratch
from bootwright.boot.config import ImageSlots, Mode
from bootwright.boot.header import NO_HEADER
from bootwright.boot.layout import PRIMARY, SECONDARY, layout_of
from bootwright.boot.loader import boot_go, set_pending
from bootwright.boot.loader_state import MOVE, SWAP, Loader, Source, Status
from bootwright.boot.outcome import Booted, HaltError
from bootwright.boot.probe import Console
from bootwright.boot.sectors import Sectors
from bootwright.boot.slot_check import STRATEGIES
from bootwright.boot.swap_type import Flag, Magic, SwapState, SwapType, decode_flag, swap_type_of
from bootwright.flash import Area, FlashOp, Write, drive
from bootwright.host.explore_scene import Action

MAGICS, FLAGS = (Magic.GOOD, Magic.BAD, Magic.UNSET), (Flag.SET, Flag.BAD, Flag.UNSET)
STATES = [SwapState(magic, SwapType.NONE, 0, done, ok) for magic, done, ok in product(MAGICS, FLAGS, FLAGS)]


@pytest.mark.parametrize(
    ("byte", "flag"), [(0xFF, Flag.UNSET), (1, Flag.SET), (0, Flag.BAD), (2, Flag.BAD), (0xFE, Flag.BAD)]
)
def test_a_flag_is_set_by_one_unset_when_erased_and_bad_otherwise(byte: int, flag: Flag) -> None:
    assert decode_flag(byte) is flag


@pytest.mark.parametrize("offset", [False, True])
def test_what_two_trailers_ask_for(offset: bool) -> None:
    for primary, secondary in product(STATES, STATES):
        requested = secondary.magic is Magic.GOOD
        expected = SwapType.NONE
        if primary.magic is Magic.GOOD and primary.image_ok is Flag.UNSET and primary.copy_done is Flag.SET:
            expected = SwapType.REVERT
        if requested and secondary.image_ok is Flag.SET:
            expected = SwapType.PERM
        if requested and secondary.image_ok is Flag.UNSET:
            begun = offset and secondary.copy_done is Flag.SET
            expected = SwapType.REVERT if begun else SwapType.TEST
        assert swap_type_of(primary, secondary, offset=offset) is expected, (primary, secondary)


def test_where_swap_scratch_finds_its_status() -> None:
    for primary, scratch in product(STATES, STATES):
        expected = Source.NONE
        if scratch.magic is Magic.GOOD:
            expected = Source.SCRATCH
        elif primary.magic in (Magic.GOOD, Magic.UNSET) and primary.copy_done is Flag.UNSET:
            expected = Source.PRIMARY_SLOT
        assert swap_scratch.source_of(primary, scratch_magic_good=scratch.good) is expected, (primary, scratch)


def test_a_trailer_describes_itself_as_the_console_does() -> None:
    words = {
        Magic.GOOD: "magic=good, swap_type=0x3, copy_done=0x2, image_ok=0x1",
        Magic.UNSET: "magic=unset, swap_type=0x3, copy_done=0x2, image_ok=0x1",
        Magic.BAD: "magic=bad, swap_type=0x3, copy_done=0x2, image_ok=0x1",
    }
    for magic, text in words.items():
        assert SwapState(magic, 3, 1, Flag.BAD, Flag.SET).describe() == text


@pytest.mark.parametrize(
    ("mode", "primary", "secondary", "fits"),
    [
        (Mode.SCRATCH, 16, 16, True),
        (Mode.SCRATCH, 16, 15, False),
        (Mode.SCRATCH, 15, 16, False),
        (Mode.SCRATCH, 17, 17, False),
        (Mode.OVERWRITE, 16, 16, True),
        (Mode.OVERWRITE, 15, 16, False),
        (Mode.OVERWRITE, 16, 15, False),
        (Mode.OVERWRITE, 17, 17, False),
        (Mode.MOVE, 16, 16, True),
        (Mode.MOVE, 16, 15, True),
        (Mode.MOVE, 16, 14, False),
        (Mode.MOVE, 15, 16, False),
        (Mode.MOVE, 17, 16, False),
        (Mode.MOVE, 17, 17, False),
        (Mode.OFFSET, 16, 16, True),
        (Mode.OFFSET, 16, 17, True),
        (Mode.OFFSET, 16, 18, False),
        (Mode.OFFSET, 16, 15, False),
        (Mode.OFFSET, 17, 17, False),
    ],
)
def test_which_slots_an_update_can_go_between(mode: Mode, primary: int, secondary: int, fits: bool) -> None:
    """Sectors of both slots, of at most 16 in the build's tables."""
    config = replace(
        build(mode),
        images=(ImageSlots(Area("primary", 0, primary * 0x1000), Area("secondary", 0x20000, secondary * 0x1000)),),
        max_img_sectors=16,
    )
    console = Console()
    loader = Loader(Sectors.holding(b"\xff" * 0x50000), config, console)
    assert STRATEGIES[mode].slots_compatible(loader) is fits
    assert len(console.lines) == (0 if fits else 1)
    if not fits:
        words = ("more sectors than allowed", "slots are not compatible", "not a compatible amount of sectors")
        assert any(word in console.lines[0] for word in words)


def test_scratch_must_hold_a_sector() -> None:
    for size, fits in ((0x1000, True), (0xFFF, False)):
        loader = Loader(Sectors.holding(b"\xff" * 0x50000), build(Mode.SCRATCH, scratch=size), Console())
        assert swap_scratch.slots_compatible(loader) is fits


def loader_for(mode: Mode, **changes: int) -> Loader:
    config = replace(build(mode), **changes)  # type: ignore[arg-type]  # only numbers are changed
    return Loader(Sectors.holding(b"\xff" * 0x40000), config, Console())


@pytest.mark.parametrize(("size", "sectors"), [(0, 1), (1, 1), (0x1000, 1), (0x1001, 2), (0xFFFFF000, 0xFFFFF)])
def test_how_many_sectors_a_swap_without_scratch_covers(size: int, sectors: int) -> None:
    assert swap_move.sectors_for(loader_for(Mode.MOVE), size) == sectors
    assert swap_offset.last_index(loader_for(Mode.OFFSET), size) == sectors - 1


@pytest.mark.parametrize("size", [0xFFFFF001, 0xFFFFFFFF])
def test_a_swap_size_that_wraps_never_ends(size: int) -> None:
    with pytest.raises(HaltError, match="endless loop"):
        swap_move.sectors_for(loader_for(Mode.MOVE), size)
    with pytest.raises(HaltError, match="endless loop"):
        swap_offset.last_index(loader_for(Mode.OFFSET), size)


def test_swap_move_needs_a_sector_below_the_trailer() -> None:
    loader = loader_for(Mode.MOVE, max_img_sectors=128)
    assert loader.layout.trailer_size <= 0x1000
    assert swap_move.room_for(loader, 14)
    console = Console()
    loader = Loader(loader.flash, loader.config, console)
    assert not swap_move.room_for(loader, 15)
    assert console.lines == [
        "[esp32] [WRN] Not enough free space to run swap upgrade",
        "[esp32] [WRN] required 65536 bytes but only 61440 are available",
    ]


@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.MOVE, Mode.OFFSET, Mode.OVERWRITE, Mode.OVERWRITE_FAST])
def test_each_strategy_says_what_it_does_on_the_console(mode: Mode) -> None:
    made, console = scene(mode, Action.TEST), Console()
    flash = made.flash()
    drive(set_pending(flash, made.config), flash.apply)
    assert isinstance(drive(boot_go(flash, made.config, probe=console), flash.apply), Booted)
    said = {
        Mode.SCRATCH: "Starting swap using scratch algorithm.",
        Mode.MOVE: "Starting swap using move algorithm.",
        Mode.OFFSET: "Starting swap using offset algorithm.",
        Mode.OVERWRITE: "Image 0 copying the secondary slot to the primary slot: 0x10000 bytes",
        Mode.OVERWRITE_FAST: f"Image 0 copying the secondary slot to the primary slot: {20000 + 4:#x} bytes",
    }
    assert f"[esp32] [INF] {said[mode]}" in console.lines
    if mode.overwrites:
        assert "[esp32] [INF] Image 0 upgrade secondary slot -> primary slot" in console.lines


def test_a_larger_secondary_is_swapped_by_offset_and_a_larger_primary_by_move() -> None:
    for mode, primary, secondary in ((Mode.MOVE, 0x11000, 0x10000), (Mode.OFFSET, 0x10000, 0x11000)):
        config = replace(
            build(mode),
            images=(ImageSlots(Area("primary", BASE, primary), Area("secondary", BASE + 0x11000, secondary)),),
        )
        flash = Sectors.holding(b"\xff" * 0x40000)
        flash.load(BASE, signed(1, 20000))
        flash.load(BASE + 0x11000 + (0x1000 if mode is Mode.OFFSET else 0), signed(2, 20000))
        drive(set_pending(flash, config, permanent=True), flash.apply)
        outcome = drive(boot_go(flash, config), flash.apply)
        assert isinstance(outcome, Booted)
        assert outcome.version == "2.0.0+0"


@pytest.mark.parametrize(("images", "source"), [(1, Source.SCRATCH), (2, Source.NONE)])
def test_a_status_in_scratch_of_another_image_counts_only_where_there_is_one_image(images: int, source: Source) -> None:
    config = build(Mode.SCRATCH)
    loader = Loader(Sectors.holding(b"\xff" * 0x40000), replace(config, images=config.images * images), Console())
    place = loader.scratch
    content = bytearray(b"\xff" * place.area.size)
    content[place.magic :] = loader.layout.magic
    content[place.swap_info] = 0x12
    loader = Loader(Sectors.holding(b"\xff" * place.area.address + content), loader.config, Console())
    assert swap_scratch.status_source(loader) is source


def test_a_status_that_is_written_to_its_end_counts_all_entries() -> None:
    config = build(Mode.SCRATCH)
    place = Loader(Sectors.holding(b"\xff" * 0x40000), config, Console()).scratch
    flash = Sectors.holding(b"\xff" * 0x40000)
    flash.load(place.area.address + place.status_offset, b"\x01\xff\xff\xff" * place.status_entries)
    flash.load(place.area.address + place.swap_size, (20000).to_bytes(4, "little"))
    status = Status()
    swap_scratch.read_status_bytes(Loader(flash, config, Console()), place, status)
    assert (status.idx, status.state) == (2, 1)


def test_a_swap_of_an_impossible_size_has_begun_and_stops_where_the_headers_are_read() -> None:
    config = build(Mode.SCRATCH)
    place = Loader(Sectors.holding(b"\xff" * 0x40000), config, Console()).place(PRIMARY)
    flash = Sectors.holding(b"\xff" * 0x40000)
    flash.load(place.area.address + place.status_offset, b"\x01")
    console, status = Console(), Status()
    loader = Loader(flash, config, console)
    swap_scratch.read_status_bytes(loader, place, status)
    assert not status.is_reset
    assert not console.lines
    with pytest.raises(HaltError):
        swap_scratch.read_image_header(loader, PRIMARY, status)
    flash.load(place.area.address + place.status_offset + 8, b"\x01")
    swap_scratch.read_status_bytes(loader, place, status)
    assert "inconsistent" in console.lines[0]


@pytest.mark.parametrize("align", [4, 8, 16, 32])
def test_two_status_entries_move_along_with_a_trailer_in_scratch(align: int) -> None:
    plain = scene(Mode.SCRATCH, Action.PERMANENT)
    config = replace(plain.config, write_align=align, max_align=max(8, align), max_img_sectors=32)
    limit = swap_scratch.max_image_size(Loader(plain.flash(), config, Console()))
    full = replace(scene(Mode.SCRATCH, Action.PERMANENT, size=limit), config=config)
    flash = full.flash()
    ops: list[FlashOp] = []

    def apply(op: FlashOp) -> None:
        ops.append(op)
        flash.apply(op)

    assert isinstance(drive(boot_go(flash, config), apply), Booted)
    assert [len(op.data) for op in ops if isinstance(op, Write) and op.why == "copy status"] == [2 * align]


@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.OFFSET])
def test_room_is_asked_for_only_before_a_swap_begins(mode: Mode) -> None:
    for status, goes_on in ((Status(), False), (Status(1, 2), True)):
        loader = loader_for(mode, max_img_sectors=128)
        run = swap_move.swap_run if mode is Mode.MOVE else swap_offset.swap_run
        assert bool(list(run(loader, status, 0x10000))) is goes_on


def two_images(scratch: int) -> Loader:
    """Two images whose slots have 4 of at most 16 sectors: their tables lie behind each other, scratch's the last."""
    areas = [Area(f"slot {number}", BASE + number * 0x4000, 0x4000) for number in range(4)]
    config = replace(
        build(Mode.SCRATCH),
        images=(ImageSlots(areas[0], areas[1]), ImageSlots(areas[2], areas[3])),
        scratch=Area("scratch", BASE + 0x10000, scratch),
        max_img_sectors=16,
    )
    return Loader(Sectors.holding(b"\xff" * 0x40000), config, Console())


def test_a_corrupt_swap_size_leads_through_the_tables_of_all_slots() -> None:
    """Entries 4 to 15 of a table are empty; the secondary's walk reaches scratch when the primary's ends."""
    loader = two_images(0x5000)
    assert swap_scratch.groups_of(loader, 0) == ()
    assert swap_scratch.groups_of(loader, 1) == ((0, 0x1000),)
    assert swap_scratch.groups_of(loader, 0x4000) == ((0, 0x4000),)
    assert swap_scratch.groups_of(loader, 0x4001) == ((0, 0x5000),)
    assert swap_scratch.groups_of(loader, 0xD000) == ((20, 0x5000), (3, 0x5000), (0, 0x3000))
    with pytest.raises(HaltError, match="walks off"):
        swap_scratch.groups_of(loader, 0xE000)


def test_both_walks_must_reach_a_corrupt_swap_size() -> None:
    loader = two_images(0x3000)
    assert swap_scratch.groups_of(loader, 0xB000)[0] == (20, 0x3000)
    with pytest.raises(HaltError, match="walks off"):
        swap_scratch.groups_of(loader, 0xC000)


@pytest.mark.parametrize(("size", "sectors"), [(0xFFF, 1), (0x1000, 1), (0x1001, 2), (0x1FFF, 2), (0x2000, 2)])
def test_a_swap_by_offset_skips_what_an_image_does_not_use(size: int, sectors: int) -> None:
    """The image with its header and both TLV areas."""
    loader = loader_for(Mode.OFFSET)
    loader.headers[0][SECONDARY] = NO_HEADER._replace(hdr_size=32, protect_tlv_size=60, img_size=size - 192)
    assert swap_offset._used_sectors(loader, SECONDARY, 100) == sectors


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        (0, Status(1, 1, MOVE)),
        (1, Status(2, 1, MOVE)),
        (15, Status(16, 1, MOVE)),
        (16, Status(1, 1, SWAP)),
        (17, Status(1, 2, SWAP)),
        (18, Status(2, 1, SWAP)),
        (33, Status(9, 2, SWAP)),
        (48, Status(17, 1, SWAP)),
    ],
)
def test_how_far_a_swap_by_move_got(entry: int, status: Status) -> None:
    """Of 48 entries, the first 16 count the sectors that moved up."""
    loader = loader_for(Mode.MOVE, max_img_sectors=16)
    place = loader.place(PRIMARY)
    flash = Sectors.holding(b"\xff" * 0x40000)
    flash.load(place.area.address + place.status_offset, b"\x01\xff\xff\xff" * entry)
    read = Status()
    swap_move.read_status_bytes(Loader(flash, loader.config, Console()), place, read)
    assert read == status


def test_swap_scratch_leaves_room_for_the_trailer_in_scratch_only_where_the_sector_of_the_trailer_has_none() -> None:
    for count in range(150, 200):
        config = replace(build(Mode.SCRATCH, slot=0x1000), max_img_sectors=count)
        loader = Loader(Sectors.holding(b"\xff" * 0x40000), config, Console())
        assert swap_scratch.max_image_size(loader) == 0x1000 - loader.layout.trailer_size
    assert swap_scratch.max_image_size(loader_for(Mode.SCRATCH, sector_size=0x8000)) == 0


def test_the_first_group_leaves_the_trailer_in_scratch_alone() -> None:
    """A trailer of a sector and 20 bytes: what it leaves of a sector would not leave room for scratch's own."""
    made = scene(Mode.SCRATCH, Action.TEST, size=0xE000 + 4000, scratch=0x1000)
    config = replace(made.config, max_img_sectors=339)
    layout, flash = layout_of(config), made.flash()
    assert layout.trailer_size == 0x1000 + 20
    assert layout.scratch is not None
    drive(set_pending(flash, config), flash.apply)
    room, ends = layout.scratch.area.address + layout.scratch.status_offset, []

    def perform(op: FlashOp) -> None:
        if isinstance(op, Write) and op.why == "copy secondary to scratch":
            ends.append(op.address + len(op.data))
        flash.apply(op)

    outcome = drive(boot_go(flash, config), perform)
    assert isinstance(outcome, Booted)
    assert outcome.version == "2.0.0+0"
    assert max(ends[:4]) == room, "the first group"
