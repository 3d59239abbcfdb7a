"""Walking the TLV areas of an image where it lies in a slot.

Source: boot/bootutil/src/tlv.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from bootwright.boot.header import U32, Header
from bootwright.boot.loader_state import Loader
from bootwright.flash import Area

INFO_MAGIC, PROTECTED_INFO_MAGIC = 0x6907, 0x6908

_TWO_SHORTS = Struct("<HH")


class TlvError(Exception):
    """The TLV areas cannot be walked."""


class Tlv(NamedTuple):
    """One TLV where it lies in the slot."""

    type: int
    offset: int  #: of its data
    length: int


class TlvAreas(NamedTuple):
    """`struct image_tlv_iter`: where the TLV areas begin and end."""

    start: int  #: first TLV
    protected_end: int
    end: int


def tlv_areas(loader: Loader, area: Area, header: Header, start: int) -> TlvAreas:
    """bootutil_tlv_iter_begin for an image that begins at `start` of the area.

    Raises:
        TlvError: an info header is missing or contradicts the image header.
    """
    at = (header.tlv_offset + start) & U32
    magic, total = _two_shorts(loader, area, at)
    if magic == PROTECTED_INFO_MAGIC:
        if header.protect_tlv_size != total:
            raise TlvError(f"protected TLVs take {total} bytes, the header says {header.protect_tlv_size}")
        magic, total = _two_shorts(loader, area, (at + total) & U32)
    elif header.protect_tlv_size:
        raise TlvError(f"the header says {header.protect_tlv_size} bytes of protected TLVs, none found at {at:#x}")
    if magic != INFO_MAGIC:
        raise TlvError(f"TLV info magic {magic:#06x} at {at:#x}, expected 0x6907")
    protected_end = at + header.protect_tlv_size
    return TlvAreas((at + 4) & U32, protected_end & U32, (protected_end + total) & U32)


def tlvs(loader: Loader, area: Area, header: Header, areas: TlvAreas, *, protected_only: bool) -> Iterator[Tlv]:
    """bootutil_tlv_iter_next until it ends.

    Raises:
        TlvError: a TLV overruns its area.
    """
    at, end = areas.start, areas.protected_end if protected_only else areas.end
    while at < areas.end:
        if protected_only and at >= areas.protected_end:
            return
        if header.protect_tlv_size > 0 and at == areas.protected_end:
            at += 4
            continue
        if at > end or end - at < 4:
            raise TlvError(f"a TLV header at {at:#x} overruns the area's end {end:#x}")
        kind, length = _two_shorts(loader, area, at)
        if length > end - at - 4:
            raise TlvError(f"TLV {kind:#x} at {at:#x} has {length} bytes and overruns the area's end {end:#x}")
        yield Tlv(kind, at + 4, length)
        at += 4 + length


def _two_shorts(loader: Loader, area: Area, offset: int) -> tuple[int, int]:
    data = loader.esp.read(area, offset, 4)
    if data is None:
        raise TlvError(f"offset {offset:#x} lies outside of {area.name}")
    first, second = _TWO_SHORTS.unpack(data)
    return first, second
