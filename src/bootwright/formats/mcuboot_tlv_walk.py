"""Walking the TLVs of an image as they lie, with the bounds that MCUboot's own iterator keeps.

Source: boot/bootutil/src/tlv.c `bootutil_tlv_iter_begin`, `bootutil_tlv_iter_next`. `Image.parse` is stricter: what it
takes apart, this walks too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bootwright.errors import FormatError
from bootwright.formats.mcuboot_image import TLV_INFO_MAGIC, TLV_PROT_INFO_MAGIC, ImageHeader


@dataclass(frozen=True, slots=True)
class TlvAt:
    """One TLV where it lies; the offset is that of its data, from the image's start."""

    type: int
    offset: int
    length: int
    protected: bool


def walk_tlvs(data: bytes | memoryview, header: ImageHeader) -> Iterator[TlvAt]:
    """All TLVs, the protected ones first, with the bounds that MCUboot's own iterator keeps (tlv.c).

    Raises:
        FormatError: an entry overruns its section, or the bytes end before it.
    """
    view = memoryview(data)
    protected_end = header.hashed_size
    _, end = tlv_bounds(view, header)
    at = header.tlv_offset + 4
    while at < end:
        if header.protect_tlv_size > 0 and at == protected_end:
            at += 4
            continue
        if end - at < 4 or at + 4 > len(view):
            raise FormatError(f"found a TLV header at {at:#x}, expected it to end before {min(end, len(view)):#x}")
        type_, length = struct.unpack_from("<HH", view, at)
        if length > end - at - 4 or at + 4 + length > len(view):
            raise FormatError(
                f"found a TLV of type {type_:#06x} and {length} bytes at {at:#x}, "
                f"expected at most {max(min(end, len(view)) - at - 4, 0)} bytes"
            )
        at += 4
        yield TlvAt(type_, at, length, at < protected_end)
        at += length


def tlv_bounds(data: bytes | memoryview, header: ImageHeader) -> tuple[int, int]:
    """Where the TLV areas start and end (`bootutil_tlv_iter_begin`).

    Raises:
        FormatError: an info header is missing, or the header says otherwise.
    """
    at = header.tlv_offset
    magic, total = _info(data, at)
    if magic == TLV_PROT_INFO_MAGIC:
        if total != header.protect_tlv_size:
            raise FormatError(
                f"found {total} bytes of protected TLVs, expected {header.protect_tlv_size} by ih_protect_tlv_size"
            )
        magic, total = _info(data, at + total)
    elif header.protect_tlv_size:
        raise FormatError(
            f"found magic {magic:#06x} at {at:#x}, expected {TLV_PROT_INFO_MAGIC:#06x}: "
            f"ih_protect_tlv_size is {header.protect_tlv_size}"
        )
    if magic != TLV_INFO_MAGIC:
        raise FormatError(f"found TLV magic {magic:#06x}, expected {TLV_INFO_MAGIC:#06x} at {header.hashed_size:#x}")
    return at, at + header.protect_tlv_size + total


def _info(data: bytes | memoryview, at: int) -> tuple[int, int]:
    if at + 4 > len(data):
        raise FormatError(f"found the end of the bytes at {len(data):#x}, expected a TLV area at {at:#x}")
    magic, total = struct.unpack_from("<HH", data, at)
    return magic, total
