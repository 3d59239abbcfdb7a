"""What is in an MCUboot image, as values for JSON and as lines for people."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from bootwright.formats.mcuboot_image import Image, ImageFlags, ImageVersion, Tlv, TlvType
from bootwright.formats.mcuboot_trailer import (
    MAGIC_SIZE,
    TrailerGeometry,
    align_of_magic,
    decode_flag,
)

View = dict[str, object]
_SWAP_TYPES = {1: "none", 2: "test", 3: "perm", 4: "revert"}


def view_image(image: Image) -> View:
    """Everything in an image, ready for JSON; offsets count from its start, a TLV's is that of its data."""
    header = image.header
    rows: list[View] = []
    at = header.tlv_offset
    for area, tlvs in (("protected", image.protected), ("unprotected", image.unprotected)):
        if tlvs is None:
            continue
        at += 4
        for tlv in tlvs:
            rows.append(_view_tlv(tlv, area, at + 4, image))
            at += 4 + len(tlv.data)
    return {
        "version": str(header.ver),
        "byte_order": "little" if image.endian == "<" else "big",
        "header": {
            "magic": f"{header.magic:#010x}",
            "load_addr": header.load_addr,
            "hdr_size": header.hdr_size,
            "protect_tlv_size": header.protect_tlv_size,
            "img_size": header.img_size,
            "flags": [flag.name for flag in ImageFlags if header.flags & flag],
        },
        "size": at,
        "tlvs": rows,
        "trailer": view_trailer(image, at + len(image.rest)),
    }


def view_trailer(image: Image, end: int) -> View | None:
    """The trailer behind an image padded to its slot; None where there is none."""
    align = align_of_magic(image.rest[-MAGIC_SIZE:])
    if align is None:
        return None
    geometry = TrailerGeometry(slot_size=end, max_align=align)
    start = end - len(image.rest)

    def byte(offset: int) -> int:
        return image.rest[offset - start] if offset >= start else 0xFF

    swap_info = byte(geometry.swap_info)
    return {
        "slot_size": end,
        "max_align": align,
        "image_ok": str(decode_flag(byte(geometry.image_ok))),
        "copy_done": str(decode_flag(byte(geometry.copy_done))),
        "swap_info": "unset" if swap_info == 0xFF else _SWAP_TYPES.get(swap_info & 0xF, f"{swap_info:#x}"),
    }


def _view_tlv(tlv: Tlv, area: str, offset: int, image: Image) -> View:
    row: View = {
        "area": area,
        "offset": offset,
        "type": tlv.type,
        "name": tlv.name,
        "length": len(tlv.data),
        "data": tlv.data.hex(),
    }
    reader = _MEANINGS.get(tlv.type)
    if reader is not None and (meaning := reader(tlv.data, image)):
        row["meaning"] = meaning
    return row


def _number(data: bytes, image: Image) -> str:
    return str(int.from_bytes(data, "little" if image.endian == "<" else "big")) if len(data) == 4 else ""


def _dependency(data: bytes, image: Image) -> str:
    if len(data) != 12:
        return ""
    record = type(image.header.ver) if image.endian == ">" else ImageVersion
    return f"image {data[0]} of at least {record.parse(data, 4)}"


def _uuid(data: bytes, image: Image) -> str:
    return str(UUID(bytes=data)) if len(data) == 16 else ""


def _record(data: bytes, image: Image) -> str:
    import cbor2

    try:
        record = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError):
        return ""
    return f"software {record.get(1)!r}, version {record.get(4)!r}" if isinstance(record, dict) else ""


_MEANINGS: dict[int, Callable[[bytes, Image], str]] = {
    TlvType.SEC_CNT: _number,
    TlvType.DECOMP_SIZE: _number,
    TlvType.COMP_DEC_SIZE: _number,
    TlvType.DEPENDENCY: _dependency,
    TlvType.UUID_VID: _uuid,
    TlvType.UUID_CID: _uuid,
    TlvType.BOOT_RECORD: _record,
}


def as_text(image: Image, view: View, name: str) -> str:
    """Lines for people: the header, each TLV where it lies, the trailer."""
    header = image.header
    flags = ", ".join(flag.name or "" for flag in ImageFlags if header.flags & flag) or "none"
    order = "" if image.endian == "<" else ", big-endian"
    lines = [
        f"{name}: MCUboot image, version {header.ver}{order}",
        f"  {0:#08x}  header   {header.hdr_size} bytes, flags {flags}"
        + (f", load address {header.load_addr:#x}" if header.load_addr else ""),
        f"  {header.hdr_size:#08x}  payload  {header.img_size} bytes",
    ]
    at = header.tlv_offset
    for area, tlvs in (("protected", image.protected), ("unprotected", image.unprotected)):
        if tlvs is None:
            continue
        lines.append(f"  {at:#08x}  {area} TLVs")
        at += 4
        for tlv in tlvs:
            reader = _MEANINGS.get(tlv.type)
            meaning = (reader(tlv.data, image) if reader else "") or _short(tlv.data)
            lines.append(f"  {at:#08x}    {tlv.type:#06x} {tlv.name:<17} {len(tlv.data):>4} bytes  {meaning}")
            at += 4 + len(tlv.data)
    lines.append(f"  {at:#08x}  end of the image")
    trailer = view["trailer"]
    if isinstance(trailer, dict):
        fields = ", ".join(f"{key} {trailer[key]}" for key in ("image_ok", "copy_done", "swap_info"))
        lines.append(
            f"  {trailer['slot_size']:#08x}  end of the slot: trailer for alignment {trailer['max_align']}, {fields}"
        )
    elif image.rest:
        lines.append(f"  {at + len(image.rest):#08x}  end of the file: {len(image.rest)} bytes behind the image")
    return "\n".join(lines)


def hex_dump(image: Image) -> str:
    """The header's fields byte by byte."""
    rows = image.header.dump()
    return "\n".join(f"  {offset:#06x}  {raw.hex(' '):<12} {name:<18} {value}" for offset, raw, name, value in rows)


def _short(data: bytes) -> str:
    return data.hex() if len(data) <= 32 else data[:16].hex() + "…"
