"""Swap-move: the primary image moves up one sector, then both images change places sector by sector.

Source: boot/bootutil/src/swap_move.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from bootwright.boot.copying import must_copy
from bootwright.boot.header import U32, Header
from bootwright.boot.layout import PRIMARY, SECONDARY, Place
from bootwright.boot.loader_state import MOVE, SWAP, Loader, Source, Status
from bootwright.boot.outcome import halted
from bootwright.boot.status_bytes import last_written_entry
from bootwright.boot.swap_type import Flag, Magic, SwapType
from bootwright.flash import Program
from bootwright.formats.mcuboot_trailer import align_up

SWAP_STATES = 2


def sectors_for(loader: Loader, copy_size: int) -> int:
    """find_last_idx: at least one sector; a size near 4 GiB wraps and never ends."""
    step = loader.layout.sector_size
    if copy_size > U32 - U32 % step:
        raise halted("mcuboot.swap_size", "primary", f"the swap size {copy_size:#x} is never reached: endless loop")
    return max(1, -(-copy_size // step))


def slots_compatible(loader: Loader) -> bool:
    """boot_slots_compatible: equal slots, or a primary with one sector more."""
    primary, secondary = loader.place(PRIMARY).sectors, loader.place(SECONDARY).sectors
    if primary not in (secondary, secondary + 1):
        loader.probe.log("WRN", "Cannot upgrade: not a compatible amount of sectors")
        return False
    if primary > loader.layout.max_img_sectors:
        loader.probe.log("WRN", "Cannot upgrade: more sectors than allowed")
        return False
    return True


def status_source(loader: Loader) -> Source:
    """swap_status_source: a begun swap has a good primary trailer without copy_done and no secondary trailer."""
    primary = loader.trailer(loader.place(PRIMARY))
    loader.describe("Primary image", primary)
    secondary = loader.trailer(loader.place(SECONDARY))
    loader.describe("Secondary image", secondary)
    begun = primary.good and primary.copy_done is Flag.UNSET and not secondary.good
    loader.probe.log("INF", f"Boot source: {'primary slot' if begun else 'none'}")
    return Source.PRIMARY_SLOT if begun else Source.NONE


def read_status_bytes(loader: Loader, place: Place, status: Status) -> None:
    """swap_read_status_bytes: the highest written entry tells how far the swap got."""
    found, moves = last_written_entry(loader, place), loader.layout.max_img_sectors
    if found < moves:
        status.op, status.idx, status.state = MOVE, found + 1, 1
    else:
        done, state = divmod(found - moves, SWAP_STATES)
        status.op, status.idx, status.state = SWAP, done + 1, state + 1


def read_image_header(loader: Loader, slot: int, status: Status | None) -> Header | None:
    """boot_read_image_header: during a swap a header may lie one sector up or in the other slot."""
    offset = 0
    if status is not None and not status.is_reset:
        last = sectors_for(loader, loader.read_swap_size(loader.find_status()))
        step = loader.layout.sector_size
        if status.op == MOVE and slot == PRIMARY and status.idx > last:
            offset = step
        elif status.op == SWAP:
            if 1 < status.idx <= last:
                slot = 1 - slot
            elif status.idx == 1 and slot == PRIMARY:
                offset = step
            elif status.idx == 1 and status.state == 2:
                slot = PRIMARY
    return loader.read_header(loader.place(slot).area, offset)


def status_offset(loader: Loader, status: Status) -> int:
    """boot_status_internal_off: one entry a sector for the move, then two a sector for the swap."""
    if status.op == MOVE:
        entry = status.idx - 1 + status.state - 1
    else:
        entry = loader.layout.max_img_sectors + (status.idx - 1) * SWAP_STATES + status.state - 1
    return entry * loader.layout.write_size


def max_image_size(loader: Loader) -> int:
    """app_max_size: the primary also needs one sector to move into."""
    layout = loader.layout
    trailer = align_up(layout.trailer_size, layout.sector_size)
    primary = loader.place(PRIMARY).sectors * layout.sector_size - trailer - layout.sector_size
    secondary = loader.place(SECONDARY).sectors * layout.sector_size - trailer
    return min(primary & U32, secondary & U32)


def swap_run(loader: Loader, status: Status, copy_size: int) -> Program[None]:
    """swap_run."""
    loader.probe.log("INF", "Starting swap using move algorithm.")
    last = sectors_for(loader, copy_size)
    if status.is_reset and not room_for(loader, last):
        return
    yield from _fixup_revert(loader, status)
    if status.op == MOVE:
        for index in range(last, 0, -1):
            if index <= (last - status.idx + 1) & U32:
                yield from _move_up(loader, status, index)
        status.idx = 1
    status.op = SWAP
    for index in range(1, last + 1):
        if index >= status.idx:
            yield from _swap_sector(loader, status, index)


def room_for(loader: Loader, last: int) -> bool:
    """Whether the sector that the image needs beside its own lies below the trailer."""
    layout = loader.layout
    first_trailer = (loader.place(PRIMARY).sectors - -(-layout.trailer_size // layout.sector_size)) & U32
    if last < first_trailer:
        return True
    step = layout.sector_size
    loader.probe.log("WRN", "Not enough free space to run swap upgrade")
    loader.probe.log("WRN", f"required {(last + 1) * step} bytes but only {first_trailer * step} are available")
    return False


def _fixup_revert(loader: Loader, status: Status) -> Program[None]:
    """fixup_revert: give the secondary a trailer, so that a revert cut before its first status byte is resumed."""
    if status.swap_type != SwapType.REVERT or status.op != MOVE or status.idx != 1:
        return
    secondary = loader.place(SECONDARY)
    trailer = loader.trailer(secondary)
    loader.describe("Secondary image", trailer)
    if trailer.magic is Magic.UNSET:
        loader.mark("move: prepare revert", status)
        yield from loader.must_scramble_trailer(secondary, "erase secondary trailer")
        yield from loader.write_image_ok(secondary)
        yield from loader.write_swap_size(secondary, status.swap_size)
        yield from loader.write_magic(secondary)


def _move_up(loader: Loader, status: Status, index: int) -> Program[None]:
    """boot_move_sector_up: primary sector `index - 1` goes to `index`."""
    layout, primary = loader.layout, loader.place(PRIMARY)
    to = loader.sector_offset(PRIMARY, index)
    offset = loader.sector_offset(PRIMARY, index - 1)
    if status.idx == 1:
        if status.source is not Source.PRIMARY_SLOT:
            loader.mark("move: erase primary trailer", status)
            yield from loader.must_scramble_trailer(primary, "erase primary trailer")
            yield from loader.status_init(primary, status)
        loader.mark("move: erase secondary trailer", status)
        yield from loader.must_scramble_trailer(loader.place(SECONDARY), "erase secondary trailer")
    loader.mark(f"move: move {index} up", status)  # a status that went wrong tells not which sector is next
    yield from loader.must_erase(primary, to, layout.sector_size, "erase primary")
    yield from must_copy(loader, primary, primary, offset, to, layout.sector_size, "move primary up")
    yield from loader.write_status(status, status_offset(loader, status))
    status.idx += 1


def _swap_sector(loader: Loader, status: Status, index: int) -> Program[None]:
    """boot_swap_sectors: secondary `index - 1` → primary, then the moved primary sector `index` → secondary."""
    layout, primary, secondary = loader.layout, loader.place(PRIMARY), loader.place(SECONDARY)
    step = layout.sector_size
    up = loader.sector_offset(PRIMARY, index)
    primary_offset = loader.sector_offset(PRIMARY, index - 1)
    secondary_offset = loader.sector_offset(SECONDARY, index - 1)
    if status.state == 1:
        loader.mark("move: to primary", status)
        yield from loader.must_erase(primary, primary_offset, step, "erase primary")
        yield from must_copy(
            loader, secondary, primary, secondary_offset, primary_offset, step, "copy secondary to primary"
        )
        yield from loader.write_status(status, status_offset(loader, status))
        status.state = 2
    if status.state == 2:
        loader.mark("move: to secondary", status)
        yield from loader.must_erase(secondary, secondary_offset, step, "erase secondary")
        yield from must_copy(loader, primary, secondary, up, secondary_offset, step, "copy moved primary to secondary")
        yield from loader.write_status(status, status_offset(loader, status))
        status.idx += 1
        status.state = 1
