"""The commands of serial recovery that are compiled in on request: echo, parameters, image state, slot information.

Source: boot/boot_serial/src/boot_serial.c, bs_echo, bs_mcumgr_params, bs_list, bs_set, bs_slot_info (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from bootwright.boot.header import FLAG_NON_BOOTABLE, Header
from bootwright.boot.layout import PRIMARY, SECONDARY
from bootwright.boot.loader_state import Loader
from bootwright.boot.recovery_cbor import CborError, read_first_text, read_map
from bootwright.boot.recovery_options import RecoveryOptions
from bootwright.boot.swap_type import SwapType
from bootwright.boot.tlv import TlvError, tlv_areas, tlvs

HASH_TLVS = {0x10: 32, 0x11: 48, 0x12: 64}
EINVAL, ENOENT = 3, 5


class SetStateError(Exception):
    """bs_set refuses with this code."""

    def __init__(self, rc: int) -> None:
        super().__init__(f"rc {rc}")
        self.rc = rc


def echo(body: bytes) -> dict[str, object]:
    """bs_echo: the text under "d"; the map has to end behind it."""
    try:
        return {"r": read_first_text(body, "d")}
    except (CborError, UnicodeDecodeError):
        return {"rc": EINVAL}


def params(options: RecoveryOptions) -> dict[str, object]:
    """bs_mcumgr_params."""
    return {"buf_size": options.receive_size, "buf_count": 1}


def state_flags(swap_type: SwapType, slot: int, header: Header) -> dict[str, object]:
    """What bs_list says of a slot's state: only what is true, in the code's order."""
    primary = slot == PRIMARY
    flags = {
        "bootable": not header.flags & FLAG_NON_BOOTABLE,
        "confirmed": not primary
        if swap_type is SwapType.REVERT
        else primary and swap_type in (SwapType.NONE, SwapType.TEST, SwapType.PERM),
        "active": primary and swap_type in (SwapType.NONE, SwapType.REVERT),
        "pending": not primary and swap_type in (SwapType.TEST, SwapType.PERM),
        "permanent": not primary and swap_type is SwapType.PERM,
    }
    return {name: True for name, holds in flags.items() if holds}


def image_hash(loader: Loader, slot: int, header: Header) -> bytes | None:
    """boot_serial_get_hash: the image's hash TLV."""
    area = loader.place(slot).area
    start = loader.secondary_offset[loader.image] if slot == SECONDARY else 0
    try:
        areas = tlv_areas(loader, area, header, start)
        for tlv in tlvs(loader, area, header, areas, protected_only=False):
            if HASH_TLVS.get(tlv.type) == tlv.length:
                return loader.esp.read(area, tlv.offset, tlv.length)
    except TlvError:
        return None
    return None


def wanted_state(body: bytes, *, images: int, with_hash: bool) -> tuple[bytes, bool]:
    """What bs_set is asked: a hash, empty for the only image, and whether for good.

    Raises:
        SetStateError: the request is none.
    """
    keys = {"confirm": "bool", "hash": "bytes"} if with_hash else {"confirm": "bool"}
    try:
        wanted = read_map(body, keys)
    except CborError:
        raise SetStateError(EINVAL) from None
    digest = wanted.get("hash", b"")
    if not isinstance(digest, bytes) or len(digest) not in (0, 32) or (not digest and images > 1 and with_hash):
        raise SetStateError(EINVAL)
    return digest, bool(wanted.get("confirm", 0))


def slot_info(loader: Loader, *, images: int, max_size: int, direct: bool) -> dict[str, object]:
    """bs_slot_info: sizes, and which image number an upload to the slot takes."""
    rows: list[dict[str, object]] = []
    for image in range(images):
        loader.image = image
        slots: list[dict[str, object]] = []
        for slot in (PRIMARY, SECONDARY):
            row: dict[str, object] = {"slot": slot, "size": loader.place(slot).area.size}
            if direct:
                row["upload_image_id"] = image * 2 + slot + 1
            elif slot == SECONDARY:
                row["upload_image_id"] = image
            slots.append(row)
        rows.append({"image": image, "slots": slots, "max_image_size": max_size})
    return {"images": rows}
