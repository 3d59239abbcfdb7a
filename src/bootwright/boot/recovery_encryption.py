"""Encrypted images in serial recovery: decrypted in place, once the last chunk has come.

That is not safe against a power cut: a sector that was decrypted is not told from one that was not. The flags in the
header stay. Source: boot/boot_serial/src/boot_serial_encryption.c, `boot_handle_enc_fw` (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from bootwright.boot.header import FLAG_ENCRYPTED, HEADER_SIZE, IMAGE_MAGIC, Header, parse_header
from bootwright.boot.layout import Place
from bootwright.boot.loader_state import Loader
from bootwright.boot.tlv import TlvError, tlv_areas, tlvs
from bootwright.errors import BootwrightError
from bootwright.flash import Program
from bootwright.formats.keys import PrivateKey
from bootwright.formats.mcuboot_encrypt import KEY_TLVS, apply_keystream, unwrap
from bootwright.formats.mcuboot_image import Tlv


def decrypt_in_place(loader: Loader, place: Place, key: PrivateKey) -> Program[bool]:
    """Decrypt the image at the start of a slot; false where it cannot be. A plain image is left alone."""
    area = place.area
    data = loader.esp.read(area, 0, HEADER_SIZE)
    if data is None:
        return False
    header = parse_header(data)
    if header.magic != IMAGE_MAGIC:
        return False
    if not header.flags & FLAG_ENCRYPTED:
        return True
    opened = _opened(loader, place, header, key)
    if opened is None:
        return False
    image_key, size = opened
    payload = loader.esp.read(area, header.hdr_size, header.img_size)
    step = loader.layout.sector_size
    before, after = loader.esp.read(area, 0, header.hdr_size), loader.esp.read(area, 0, -(-size // step) * step)
    if payload is None or before is None or after is None:
        return False
    plain = before + apply_keystream(image_key, payload) + after[header.tlv_offset :]
    for at in range(0, size, step):
        yield from loader.erase_region(place, at, step, "decrypt in place")
        ops = loader.esp.write(area, at, plain[at : at + step], "decrypt in place")
        if ops is None:
            return False
        yield from ops
    return True


def _opened(loader: Loader, place: Place, header: Header, key: PrivateKey) -> tuple[bytes, int] | None:
    """The image's own key, and the bytes of the image with its TLVs."""
    try:
        areas = tlv_areas(loader, place.area, header, 0)
        for tlv in tlvs(loader, place.area, header, areas, protected_only=False):
            if tlv.type in KEY_TLVS:
                data = loader.esp.read(place.area, tlv.offset, tlv.length)
                return None if data is None else (unwrap(Tlv(tlv.type, data), key), areas.end)
    except (TlvError, BootwrightError):
        return None
    return None
