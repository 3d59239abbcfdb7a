"""Several files as one image of a flash, and back: raw, Intel HEX, UF2.

A raw image starts at a base address and has 0xFF wherever no part lies. Splitting cuts at erased sectors, or along a
layout; either way merging the parts gives the image back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bootwright.errors import FormatError

SECTOR_SIZE = 0x1000
ERASED = b"\xff"


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes and where in flash they go."""

    address: int
    data: bytes
    name: str = ""

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + len(self.data)

    def __str__(self) -> str:
        return f"{self.name or 'part'} at {self.address:#x}"


def in_order(parts: Sequence[Part]) -> list[Part]:
    """The parts by address.

    Raises:
        FormatError: no part, or two that share a byte.
    """
    if not parts:
        raise FormatError("flash image: found no part, expected one or more", "give addresses and files")
    ordered = sorted(parts, key=lambda part: part.address)
    for one, other in pairwise(ordered):
        if other.address < one.end:
            raise FormatError(
                f"flash image: {one} reaches up to {one.end:#x}, {other} overlaps it",
                "move one of them or make it smaller",
            )
    return ordered


def merge(parts: Sequence[Part], *, base: int = 0, pad_to: int | None = None) -> bytes:
    """One raw image from address `base` on; `pad_to` is the address at which it ends.

    Raises:
        FormatError: parts overlap, or lie before `base` or behind `pad_to`.
    """
    ordered = in_order(parts)
    if ordered[0].address < base:
        raise FormatError(
            f"flash image: {ordered[0]} lies before the image's start {base:#x}", "choose a lower start address"
        )
    end = ordered[-1].end
    if pad_to is not None and pad_to < end:
        raise FormatError(f"flash image: {ordered[-1]} ends at {end:#x}, behind the flash of {pad_to:#x}", "make room")
    image = bytearray(ERASED) * (max(end, pad_to or 0) - base)
    for part in ordered:
        image[part.address - base : part.end - base] = part.data
    return bytes(image)


def split_at_gaps(image: bytes, *, base: int = 0) -> tuple[Part, ...]:
    """The runs of sectors that are not erased; erased bytes at a run's end are cut off."""
    return tuple(_runs(image, base))


def split_by_layout(image: bytes, areas: Sequence[tuple[str, int, int]], *, base: int = 0) -> tuple[Part, ...]:
    """The areas `(name, address, size)` that the image holds, each without the erased bytes at its end.

    Areas that are erased, or that the image does not reach, are left out. What lies in no area is given as parts
    without a name, so that nothing is lost.
    """
    parts: list[Part] = []
    seen = 0
    for name, address, size in sorted(areas, key=lambda area: area[1]):
        start, end = max(address - base, seen), min(address + size - base, len(image))
        if start >= end:
            continue
        parts += _runs(image[seen:start], base + seen)
        data = image[start:end].rstrip(ERASED)
        if data:
            parts.append(Part(base + start, data, name))
        seen = end
    return (*parts, *_runs(image[seen:], base + seen))


def _runs(image: bytes, base: int) -> Iterator[Part]:
    start = None
    for at in range(0, len(image) + SECTOR_SIZE, SECTOR_SIZE):
        erased = not image[at : at + SECTOR_SIZE].rstrip(ERASED)
        if erased and start is not None:
            yield Part(base + start, image[start:at].rstrip(ERASED))
            start = None
        elif not erased and start is None:
            start = at
