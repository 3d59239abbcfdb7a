"""Swap-offset: the new image waits one sector up in the secondary, so that sectors can change places directly.

The Espressif port cannot link it at this commit; bootutil has it. Source: boot/bootutil/src/swap_offset.c
(MCUboot 2d4bacc3).
"""

from __future__ import annotations

from struct import unpack

from bootwright.boot.copying import must_copy
from bootwright.boot.header import IMAGE_MAGIC, U32, Header
from bootwright.boot.layout import PRIMARY, SECONDARY, Place
from bootwright.boot.loader_state import Loader, Source, Status
from bootwright.boot.outcome import halted
from bootwright.boot.status_bytes import last_written_entry
from bootwright.boot.swap_move import room_for, status_source
from bootwright.boot.swap_type import Magic, SwapType
from bootwright.flash import Program
from bootwright.formats.mcuboot_trailer import align_up

__all__ = ["status_source"]

STATES = 2


def last_index(loader: Loader, copy_size: int) -> int:
    """find_last_idx: index of the last sector, counted from 0; a size near 4 GiB wraps and never ends."""
    step = loader.layout.sector_size
    if copy_size > U32 - U32 % step:
        raise halted("mcuboot.swap_size", "primary", f"the swap size {copy_size:#x} is never reached: endless loop")
    return max(1, -(-copy_size // step)) - 1


def slots_compatible(loader: Loader) -> bool:
    """boot_slots_compatible: equal slots, or a secondary with one sector more."""
    primary, secondary = loader.place(PRIMARY).sectors, loader.place(SECONDARY).sectors
    if secondary not in (primary, primary + 1):
        loader.probe.log("WRN", "Cannot upgrade: not a compatible amount of sectors")
        return False
    if primary > loader.layout.max_img_sectors:
        loader.probe.log("WRN", "Cannot upgrade: more sectors than allowed")
        return False
    return True


def read_status_bytes(loader: Loader, place: Place, status: Status) -> None:
    """swap_read_status_bytes: the highest written entry tells how far the swap got."""
    found = last_written_entry(loader, place)
    if found:
        status.idx, status.state = found // STATES + 1, found % STATES + 1


def status_offset(loader: Loader, status: Status) -> int:
    """boot_status_internal_off."""
    return ((status.idx - 1) * STATES + status.state - 1) * loader.layout.write_size


def max_image_size(loader: Loader) -> int:
    """app_max_size: the secondary also needs one sector before the image."""
    layout = loader.layout
    trailer = align_up(layout.trailer_size, layout.sector_size)
    primary = loader.place(PRIMARY).sectors * layout.sector_size - trailer
    secondary = loader.place(SECONDARY).sectors * layout.sector_size - trailer - layout.sector_size
    return min(primary & U32, secondary & U32)


def _reverts(loader: Loader, status: Status) -> bool:
    return status.swap_type == SwapType.REVERT or loader.requested_swap() is SwapType.REVERT


def read_image_header(loader: Loader, slot: int, status: Status | None) -> Header | None:
    """boot_read_image_header: where it looks depends on the direction and on how far the swap got."""
    step = loader.layout.sector_size
    if status is None:
        offset = step if slot == SECONDARY and loader.requested_swap() is not SwapType.REVERT else 0
    elif status.is_reset:
        offset = 0 if _reverts(loader, status) or slot == PRIMARY else step
    else:
        slot, offset = _resumed_header(loader, slot, status)
    area = loader.place(slot).area
    header = loader.read_header(area, offset)
    if header is None:
        return None
    if header.magic != IMAGE_MAGIC and slot == SECONDARY and (status is None or status.is_reset):
        offset = step if loader.requested_swap() is SwapType.REVERT else 0
        header = loader.read_header(area, offset)
        if header is None:
            return None
    if header.magic == IMAGE_MAGIC and status is not None and slot == SECONDARY:
        loader.secondary_offset[loader.image] = offset
    return header


def _resumed_header(loader: Loader, slot: int, status: Status) -> tuple[int, int]:
    """Slot and offset of a header while a swap is under way."""
    last = last_index(loader, loader.read_swap_size(loader.find_status()))
    step, done = loader.layout.sector_size, status.idx - 1
    if _reverts(loader, status):
        if slot == PRIMARY:
            moved = done > last or (done == last and status.state == 2)
            return (SECONDARY, step) if moved else (PRIMARY, 0)
        moved = done > last or (done == last and status.state == 3)
        return (PRIMARY, 0) if moved else (SECONDARY, 0)
    if slot == PRIMARY:  # a status that is not reset has moved sector 0 at least
        return (SECONDARY, 0) if status.idx <= last else (PRIMARY, 0)
    return (PRIMARY, 0) if done > 0 else (SECONDARY, step)


def swap_run(loader: Loader, status: Status, copy_size: int) -> Program[None]:
    """swap_run: upwards for an upgrade, downwards for a revert."""
    loader.probe.log("INF", "Starting swap using offset algorithm.")
    last = last_index(loader, copy_size)
    if status.is_reset and not room_for(loader, last):
        return
    primary, secondary = loader.place(PRIMARY), loader.place(SECONDARY)
    yield from _fixup_revert(loader, status)
    if status.idx == 1:
        if status.source is not Source.PRIMARY_SLOT:
            loader.mark("offset: erase primary trailer", status)
            yield from loader.must_scramble_trailer(primary, "erase primary trailer")
            yield from loader.status_init(primary, status)
        loader.mark("offset: erase secondary trailer", status)
        yield from loader.must_scramble_trailer(secondary, "erase secondary trailer")
    sizes = loader.esp.read(primary.area, primary.tlv_sizes, 4) or b"\xff\xff\xff\xff"
    used = [_used_sectors(loader, slot, size) for slot, size in enumerate(unpack("<HH", sizes))]
    if not _reverts(loader, status):
        for index in range(last + 1):
            if index >= status.idx - 1:
                yield from _swap_sector(loader, status, index, used)
        return
    for index in range(last + 1):
        if index >= status.idx - 1:
            yield from _swap_sector_back(loader, status, last - index, used)
    loader.mark("offset: erase first secondary sector", status)
    yield from loader.must_erase(secondary, 0, loader.layout.sector_size, "erase secondary")
    yield from loader.must_scramble_trailer(secondary, "erase secondary trailer")


def _used_sectors(loader: Loader, slot: int, unprotected: int) -> int:
    header, step = loader.header(slot), loader.layout.sector_size
    size = (header.hdr_size + unprotected + header.protect_tlv_size + header.img_size + step - 1) & U32
    return size // step


def _fixup_revert(loader: Loader, status: Status) -> Program[None]:
    """fixup_revert: give the secondary a trailer with copy_done, so that a cut revert is known as one."""
    if status.swap_type != SwapType.REVERT or status.idx != 1:
        return
    secondary = loader.place(SECONDARY)
    trailer = loader.trailer(secondary)
    loader.describe("Secondary image", trailer)
    if trailer.magic is Magic.UNSET:
        loader.mark("offset: prepare revert", status)
        yield from loader.must_scramble_trailer(secondary, "erase secondary trailer")
        yield from loader.write_copy_done(secondary)
        yield from loader.status_init(secondary, status)


def _swap_sector(loader: Loader, status: Status, index: int, used: list[int]) -> Program[None]:
    """boot_swap_sectors: primary → secondary, then the secondary's next sector → primary."""
    here = loader.sector_offset(PRIMARY, index)
    there = loader.sector_offset(SECONDARY, index)
    up = loader.sector_offset(PRIMARY, index + 1)
    skip = index > used[PRIMARY], index > used[SECONDARY]
    yield from _exchange(loader, status, here, there, up, skip, up=0)


def _swap_sector_back(loader: Loader, status: Status, index: int, used: list[int]) -> Program[None]:
    """boot_swap_sectors_revert: primary → the secondary's next sector, then the secondary's sector → primary."""
    here = loader.sector_offset(PRIMARY, index)
    there = loader.sector_offset(SECONDARY, index + 1)
    skip = index > used[PRIMARY], index > used[SECONDARY]
    yield from _exchange(loader, status, here, there, here, skip, up=loader.layout.sector_size)


def _exchange(
    loader: Loader, status: Status, primary_offset: int, to: int, back: int, skip: tuple[bool, bool], *, up: int
) -> Program[None]:
    """Primary sector → secondary `to`, then secondary `back` → primary; unused sectors only count."""
    primary, secondary, step = loader.place(PRIMARY), loader.place(SECONDARY), loader.layout.sector_size
    if status.state == 1:
        loader.mark("offset: to secondary", status)
        if not skip[PRIMARY]:
            yield from loader.must_erase(secondary, to, step, "erase secondary")
            yield from must_copy(
                loader, primary, secondary, primary_offset, to, step, "copy primary to secondary", up=up
            )
        yield from loader.write_status(status, status_offset(loader, status))
        status.state = 2
    if status.state == 2:
        loader.mark("offset: to primary", status)
        if not skip[SECONDARY]:
            yield from loader.must_erase(primary, primary_offset, step, "erase primary")
            yield from must_copy(loader, secondary, primary, back, primary_offset, step, "copy secondary to primary")
        yield from loader.write_status(status, status_offset(loader, status))
        status.idx += 1
        status.state = 1
