"""Swap-scratch: the two images change places through a scratch area, group of sectors by group, from the top down.

Source: boot/bootutil/src/swap_scratch.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from bootwright.boot.copying import copy_region, must_copy
from bootwright.boot.header import U32, Header
from bootwright.boot.layout import PRIMARY, SECONDARY, Layout, Place
from bootwright.boot.loader_state import Loader, Source, Status
from bootwright.boot.outcome import HaltError
from bootwright.boot.status_bytes import anything_behind, first_gap, first_written_part
from bootwright.boot.swap_type import Flag, Magic, SwapType, Trailer, has_magic
from bootwright.finding import Finding
from bootwright.flash import Program

STATES = 3


class StatusRow(NamedTuple):
    """A row of boot_status_tables; None matches anything."""

    scratch_magic_good: bool | None
    primary_magic: Magic | None
    primary_copy_done: Flag | None
    source: Source


#: boot_status_tables; the first row that matches says where the swap status lies
STATUS_TABLE = (
    StatusRow(False, Magic.GOOD, Flag.SET, Source.NONE),
    StatusRow(False, Magic.GOOD, Flag.UNSET, Source.PRIMARY_SLOT),
    StatusRow(True, None, None, Source.SCRATCH),
    StatusRow(None, Magic.UNSET, Flag.UNSET, Source.PRIMARY_SLOT),
)

_SOURCE_WORDS = {Source.NONE: "none", Source.SCRATCH: "scratch", Source.PRIMARY_SLOT: "primary slot"}


def slots_compatible(loader: Loader) -> bool:
    """boot_slots_compatible: equal slots of not too many sectors, each of which fits into scratch."""
    primary, secondary = loader.place(PRIMARY), loader.place(SECONDARY)
    if max(primary.sectors, secondary.sectors) > loader.layout.max_img_sectors:
        loader.probe.log("WRN", "Cannot upgrade: more sectors than allowed")
        return False
    if primary.sectors != secondary.sectors:
        loader.probe.log("WRN", "Cannot upgrade: slots are not compatible")
        return False
    if loader.layout.sector_size > loader.scratch.area.size:
        loader.probe.log("WRN", "Cannot upgrade: not all sectors fit inside scratch")
        return False
    return True


def status_source(loader: Loader) -> Source:
    """swap_status_source."""
    primary, scratch = loader.trailer(loader.place(PRIMARY)), loader.trailer(loader.scratch)
    loader.describe("Primary image", primary)
    loader.describe("Scratch", scratch)
    source = source_of(primary, scratch_magic_good=scratch.good)
    if source is Source.SCRATCH and len(loader.config.images) > 1 and scratch.image_num != loader.image:
        source = Source.NONE
    loader.probe.log("INF", f"Boot source: {_SOURCE_WORDS[source]}")
    return source


def source_of(primary: Trailer, *, scratch_magic_good: bool) -> Source:
    """Where the status lies, by the table; of the primary trailer no more is looked at than it takes."""
    for row in STATUS_TABLE:
        if (
            row.scratch_magic_good in (None, scratch_magic_good)
            and (row.primary_magic is None or has_magic(primary, row.primary_magic))
            and (row.primary_copy_done is None or row.primary_copy_done is primary.copy_done)
        ):
            return row.source
    return Source.NONE


def read_status_bytes(loader: Loader, place: Place, status: Status) -> None:
    """swap_read_status_bytes: the first erased entry behind a written one tells how far the swap got."""
    begun = first_written_part(loader, place)
    if begun is None:
        return
    loader.probe.look("ERR", lambda: _inconsistent(loader, place, begun))
    if isinstance(_groups_or_why_not(loader, loader.read_swap_size(place)), Finding):
        status.state = 2  # however far the swap got, it stops where the headers are read
        return
    found = first_gap(loader, place, begun)
    status.idx, status.state = found // STATES + 1, found % STATES + 1


def _inconsistent(loader: Loader, place: Place, begun: int) -> str | None:
    behind = anything_behind(loader, place, first_gap(loader, place, begun))
    return "Detected inconsistent status!" if behind else None


def groups_of(loader: Loader, copy_size: int) -> tuple[tuple[int, int], ...]:
    """How swap_run cuts the image into groups: (first sector, bytes), the top one first."""
    found = _groups_or_why_not(loader, copy_size)
    if isinstance(found, Finding):
        raise HaltError(found)
    return found


def _groups_or_why_not(loader: Loader, copy_size: int) -> tuple[tuple[int, int], ...] | Finding:
    return _groups(loader.layout, loader.image, loader.filled, loader.scratch.area.size, copy_size)


@lru_cache(maxsize=4096)
def _groups(
    layout: Layout, image: int, filled: int, room: int, copy_size: int
) -> tuple[tuple[int, int], ...] | Finding:
    last = _last_sector(layout, image, filled, copy_size)
    if isinstance(last, Finding):
        return last
    groups = []
    while last >= 0:
        first, size = last + 1, 0
        while first > 0 and (grown := size + layout.sector(image, PRIMARY, first - 1, filled=filled)[1]) <= room:
            first, size = first - 1, grown
        groups.append((first, size))
        last = first - 1
    return tuple(groups)


def _last_sector(layout: Layout, image: int, filled: int, copy_size: int) -> int | Finding:
    """find_last_sector_idx: both slots' sectors are added up until they agree; a corrupt size leads behind them."""
    index = [0, 0]
    size = [0, 0]
    while size[PRIMARY] < copy_size or size[PRIMARY] != size[SECONDARY]:
        for slot, other in ((PRIMARY, SECONDARY), (SECONDARY, PRIMARY)):
            if size[slot] < copy_size or size[slot] < size[other]:
                try:
                    size[slot] += layout.sector(image, slot, index[slot], filled=filled)[1]
                except HaltError as halt:
                    return halt.finding
                index[slot] += 1
    return index[PRIMARY] - 1


def read_image_header(loader: Loader, slot: int, status: Status | None) -> Header | None:
    """boot_read_image_header: during a swap a header may lie in the other slot or in scratch."""
    place = loader.place(slot)
    if status is not None and not status.is_reset:
        count = len(groups_of(loader, loader.read_swap_size(loader.find_status())))
        done = status.idx - 1
        if done >= count:
            place = loader.place(1 - slot)
        elif done == count - 1:
            if slot == SECONDARY and status.state >= 2:
                place = loader.scratch
            elif slot == PRIMARY and status.state >= 3:
                place = loader.place(SECONDARY)
    return loader.read_header(place.area, 0)


def status_offset(loader: Loader, status: Status) -> int:
    """boot_status_internal_off."""
    return ((status.idx - 1) * STATES + status.state - 1) * loader.layout.write_size


def max_image_size(loader: Loader) -> int:
    """app_max_size: what the trailer leaves, less what the trailer in scratch needs of the same sector."""
    layout = loader.layout
    if layout.sector_size > loader.scratch.area.size:
        loader.probe.log("WRN", "Cannot upgrade: not all sectors fit inside scratch")
        return 0
    trailer_offset = loader.place(PRIMARY).sectors * layout.sector_size - layout.trailer_size
    ends = [(layout.first_trailer_sector(loader.image, slot) + 1) * layout.sector_size for slot in (PRIMARY, SECONDARY)]
    return trailer_offset - max(0, layout.scratch_trailer_size - (max(ends) - trailer_offset))


def swap_run(loader: Loader, status: Status, copy_size: int) -> Program[None]:
    """swap_run: exchange the groups that are not done yet."""
    loader.probe.log("INF", "Starting swap using scratch algorithm.")
    for number, (first, size) in enumerate(groups_of(loader, copy_size)):
        if number >= status.idx - 1:
            yield from _swap_group(loader, status, first, size)


def _swap_group(loader: Loader, status: Status, first: int, size: int) -> Program[None]:
    """boot_swap_sectors: secondary to scratch, primary to secondary, scratch to primary.

    Sizes are 32-bit: a corrupt swap size that leads into the trailer wraps them, as in the C code.
    """
    layout = loader.layout
    offset = loader.sector_offset(PRIMARY, first)
    trailer_sector = layout.first_trailer_sector(loader.image, PRIMARY) * layout.sector_size
    copy = size
    if offset + size > trailer_sector:
        copy = (loader.place(PRIMARY).area.size - offset - layout.trailer_size) & U32
        copy = min(copy, loader.scratch.status_offset)
    status.use_scratch = status.idx == 1 and copy != size
    for state, step in ((1, _fill_scratch), (2, _fill_secondary), (3, _fill_primary)):
        if status.state == state:
            yield from step(loader, status, offset, size, copy)


def _fill_scratch(loader: Loader, status: Status, offset: int, size: int, copy: int) -> Program[None]:
    """State 1: secondary → scratch. The first group also lays down the trailer that survives a cut."""
    scratch, primary = loader.scratch, loader.place(PRIMARY)
    loader.mark("scratch 1: erase scratch", status)
    yield from loader.must_erase(scratch, 0, scratch.area.size, "erase scratch")
    if status.idx == 1:
        yield from loader.status_init(scratch, status)
        if not status.use_scratch:
            loader.mark("scratch 1: erase primary trailer", status)
            yield from loader.must_scramble_trailer(primary, "erase primary trailer")
            yield from loader.status_init(primary, status)
            loader.mark("scratch 1: erase scratch again", status)
            yield from loader.must_erase(scratch, 0, scratch.area.size, "erase scratch")
    loader.mark("scratch 1: copy", status)
    yield from must_copy(loader, loader.place(SECONDARY), scratch, offset, 0, copy, "copy secondary to scratch")
    yield from loader.write_status(status, status_offset(loader, status))
    status.state = 2


def _fill_secondary(loader: Loader, status: Status, offset: int, size: int, copy: int) -> Program[None]:
    """State 2: primary → secondary."""
    secondary, layout = loader.place(SECONDARY), loader.layout
    erase = size
    loader.mark("scratch 2: erase secondary", status)
    if status.idx == 1:
        yield from loader.must_scramble_trailer(secondary, "erase secondary trailer")
        if status.use_scratch:
            erase = (layout.first_trailer_sector(loader.image, SECONDARY) * layout.sector_size - offset) & U32
    if erase > 0:
        yield from loader.must_erase(secondary, offset, erase, "erase secondary")
    loader.mark("scratch 2: copy", status)
    yield from must_copy(loader, loader.place(PRIMARY), secondary, offset, offset, copy, "copy primary to secondary")
    yield from loader.write_status(status, status_offset(loader, status))
    status.state = 3


def _fill_primary(loader: Loader, status: Status, offset: int, size: int, copy: int) -> Program[None]:
    """State 3: scratch → primary; a trailer that lived in scratch moves along, its magic last."""
    scratch, primary, layout = loader.scratch, loader.place(PRIMARY), loader.layout
    erase = size
    loader.mark("scratch 3: erase primary", status)
    if status.use_scratch:
        yield from loader.must_scramble_trailer(primary, "erase primary trailer")
        erase = (layout.first_trailer_sector(loader.image, PRIMARY) * layout.sector_size - offset) & U32
    if erase > 0:
        yield from loader.must_erase(primary, offset, erase, "erase primary")
    loader.mark("scratch 3: copy", status)
    yield from must_copy(loader, scratch, primary, 0, offset, copy, "copy scratch to primary")
    moved = status.use_scratch
    if moved:
        yield from _move_trailer(loader, status, offset + copy)
    status.use_scratch = False
    loader.mark("scratch 3: status" if moved else "scratch 3: status in place", status)
    yield from loader.write_status(status, status_offset(loader, status))
    status.idx += 1
    status.state = 1
    if moved:
        loader.mark("scratch 3: erase scratch", status)
        yield from loader.must_erase(scratch, 0, scratch.area.size, "erase scratch", backwards=True)


def _move_trailer(loader: Loader, status: Status, to: int) -> Program[None]:
    """The trailer in scratch is written anew into primary; its status bytes are copied behind the image data."""
    scratch, primary = loader.scratch, loader.place(PRIMARY)
    entries = (STATES - 1) * loader.layout.write_size
    loader.mark("scratch 3: trailer", status)
    yield from copy_region(loader, scratch, primary, scratch.status_offset, to, entries, "copy status")
    trailer = loader.trailer(scratch)
    if trailer.image_ok is Flag.SET:
        yield from loader.write_image_ok(primary)
    swap_type = trailer.swap_type
    if swap_type != SwapType.NONE:
        yield from loader.write_swap_info(primary, swap_type, loader.image)
    yield from loader.write_swap_size(primary, status.swap_size)
    yield from loader.write_keys(primary, status)
    yield from loader.write_magic(primary)
