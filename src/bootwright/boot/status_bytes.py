"""Reading swap status bytes: how far a swap got, looking at no more of the flash than the answer depends on.

The C code reads byte after byte of the status area (swap_read_status_bytes of swap_scratch.c and swap_move.c, MCUboot
2d4bacc3). The answer depends on a few facts of each flash sector; to observe those, not the bytes, lets an explorer
see that two boots go on alike although what lies behind the answer differs.
"""

from __future__ import annotations

from collections.abc import Iterator

from bootwright.boot.layout import Place
from bootwright.boot.loader_state import Loader


def first_written_part(loader: Loader, place: Place) -> int | None:
    """Number of the first part of the status area, sector by sector, with a written entry; None without one."""
    size = loader.layout.write_size
    for number, (offset, length) in enumerate(_parts(loader, place)):
        blank = loader.esp.observe(place.area, offset, length, "blank", lambda data: not _written(data, size))
        if blank is None:
            return None
        if not blank:
            return number
    return None


def first_gap(loader: Loader, place: Place, begun: int) -> int:
    """Number of the first erased entry behind a written one; `begun` is the first part with a written one."""
    size, esp, area = loader.layout.write_size, loader.esp, place.area
    done = 0
    for number, (offset, length) in enumerate(_parts(loader, place)):
        gap: int | None = -1
        if number == begun:
            gap = esp.observe(area, offset, length, "gap behind entry", lambda data: _gap_behind_entry(data[::size]))
        elif number > begun:
            gap = esp.observe(area, offset, length, "gap", lambda data: data[::size].find(b"\xff"))
        if gap is not None and gap >= 0:
            return done + gap
        done += length // size
    return done


def anything_behind(loader: Loader, place: Place, entry: int) -> bool:
    """Whether an entry behind `entry` is written; the bootloader complains."""
    size = loader.layout.write_size
    offset, end = place.status_offset + entry * size, place.status_offset + place.status_entries * size
    data = loader.esp.read(place.area, offset, end - offset)
    return data is not None and bool(_written(data, size))


def last_written_entry(loader: Loader, place: Place) -> int:
    """Number (from 1) of the highest entry that is written; 0 for none."""
    size = loader.layout.write_size
    before = place.status_entries
    for offset, length in reversed(list(_parts(loader, place))):
        before -= length // size
        last = loader.esp.observe(place.area, offset, length, "last entry", lambda data: _written(data, size))
        if last is None:
            return 0
        if last:
            return before + last
    return 0


def _parts(loader: Loader, place: Place) -> Iterator[tuple[int, int]]:
    """Offset and length of the part of the status area in each flash sector; one piece if entries lie across."""
    size, sector = loader.layout.write_size, loader.layout.sector_size
    at, end = place.status_offset, place.status_offset + place.status_entries * size
    start = place.area.address
    if (start + at) % size or sector % size or end > place.area.size:
        yield at, end - at
        return
    while at < end:
        step = min(end, at + sector - (start + at) % sector) - at
        yield at, step
        at += step


def _written(data: bytes, size: int) -> int:
    """Number (from 1) of the last written entry; 0 for none."""
    return len(data[::size].rstrip(b"\xff"))


def _gap_behind_entry(entries: bytes) -> int:
    """Index of the first erased entry behind a written one, -1 for none."""
    return entries.find(b"\xff", len(entries) - len(entries.lstrip(b"\xff")))
