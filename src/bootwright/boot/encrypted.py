"""Encrypted images in the flash: keys found, kept in trailers, and payloads changed on their way between the slots.

In the secondary slot (and in scratch) the payload is encrypted, in the primary slot it is plain, under one and the
same header. Sources: boot/bootutil/src/encrypted.c, boot_copy_region and boot_swap_image of loader.c, bootutil_misc.c
(MCUboot 2d4bacc3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from bootwright.boot.header import FLAG_ENCRYPTED, Header
from bootwright.boot.image_key import ImageEncryption
from bootwright.boot.layout import PRIMARY, SECONDARY, Place
from bootwright.boot.loader_state import Loader, Status
from bootwright.boot.outcome import halted
from bootwright.boot.tlv import TlvError, tlv_areas, tlvs

#: what boot_enc_load returns: loaded now; known before, or not there at all; refused
LOADED, NOTHING_NEW, REFUSED = 0, 1, -1


def load_key(loader: Loader, slot: int, status: Status) -> int:
    """boot_enc_load and boot_enc_set_key: the image key of a slot, from its TLV.

    An image that says to be encrypted and has no key TLV counts as one whose key is known: what decrypts it asserts.
    """
    encryption = loader.config.encryption
    if encryption is None or loader.image_keys[loader.image][slot] is not None:
        return NOTHING_NEW
    area, start = loader.place(slot).area, loader.start_of(slot)
    try:
        header = loader.header(slot)
        for tlv in tlvs(loader, area, header, tlv_areas(loader, area, header, start), protected_only=False):
            if tlv.type == encryption.tlv:
                data = loader.esp.read(area, tlv.offset, tlv.length)
                return REFUSED if data is None else _take_key(loader, slot, status, data, encryption)
    except TlvError:
        return REFUSED
    return NOTHING_NEW


def _take_key(loader: Loader, slot: int, status: Status, data: bytes, encryption: ImageEncryption) -> int:
    if len(data) != encryption.tlv_size:
        return REFUSED
    size = encryption.stored_size(loader.layout.max_align)
    if encryption.saves_tlv:
        status.stored_keys[slot] = data.ljust(size, b"\xff")
    key = encryption.open(data)
    if key is None:
        return REFUSED
    if not encryption.saves_tlv:
        status.stored_keys[slot] = key.ljust(size, b"\xff")
    loader.image_keys[loader.image][slot] = key
    return LOADED


def is_encrypted(header: Header) -> bool:
    """IS_ENCRYPTED."""
    return bool(header.flags & FLAG_ENCRYPTED)


def load_keys_for_swap(loader: Loader, slot: int, status: Status) -> None:
    """boot_swap_image of a swap that begins: a slot's key, or none for a plain image."""
    encryption = loader.config.encryption
    if encryption is None:
        return
    if is_encrypted(loader.header(slot)):
        if load_key(loader, slot, status) == REFUSED:
            name = loader.place(slot).area.name
            because = f"the image in {name} is encrypted and its key cannot be opened: assertion in boot_swap_image"
            raise halted("mcuboot.image.key", name, because)
    elif not encryption.saves_tlv:
        status.stored_keys[slot] = b"\xff" * encryption.stored_size(loader.layout.max_align)


def resume_keys(loader: Loader, place: Place, status: Status) -> None:
    """boot_swap_image of a swap that goes on: both keys from the trailer that tells how far it got."""
    encryption = loader.config.encryption
    if encryption is None:
        return
    size = encryption.stored_size(loader.layout.max_align)
    for slot in (PRIMARY, SECONDARY):
        data = loader.esp.read(place.area, place.keys[slot], size)
        if data is None:
            continue
        status.stored_keys[slot] = data
        if data == b"\xff" * size:
            loader.probe.log("ERR", "boot_read_enc_key: No key, read all 0xFF")
            continue
        key = encryption.open(data[: encryption.tlv_size]) if encryption.saves_tlv else data[: encryption.key_size]
        if key is not None:
            loader.image_keys[loader.image][slot] = key


def recoder(loader: Loader, source: Place, target: Place) -> Callable[[bytes, int], bytes] | None:
    """How boot_copy_region changes bytes between these areas, given their offset in the image; None: it does not."""
    if loader.config.encryption is None:
        return None
    primary = loader.place(PRIMARY)
    if (source is primary) == (target is primary):
        return None
    slot = PRIMARY if source is primary else SECONDARY
    header = loader.header(slot)
    if not is_encrypted(header):
        return None
    key, name = loader.image_keys[loader.image][slot], loader.place(slot).area.name

    def recode(data: bytes, at: int) -> bytes:
        begin, end = max(header.hdr_size - at, 0), min(header.tlv_offset - at, len(data))
        if begin >= end:
            return data
        if key is None:
            raise halted("mcuboot.image.key", name, f"the image of {name} is encrypted and has no key: assertion")
        payload = apply_keystream_at(key, at + begin - header.hdr_size, data[begin:end])
        return data[:begin] + payload + data[end:]

    return recode


def plain_digest(loader: Loader, slot: int, start: int, signed: int) -> bytes | None:
    """bootutil_img_hash of an encrypted image: over its plain form; None without a key."""
    header, area = loader.header(slot), loader.place(slot).area
    key = loader.image_keys[loader.image][slot]
    if key is None and (slot == SECONDARY or header.img_size):
        return None
    data = loader.flash.read(area.address + start, signed)
    payload = data[header.hdr_size : header.tlv_offset]
    plain = payload if key is None else apply_keystream_at(key, 0, payload)
    return hashlib.sha256(data[: header.hdr_size] + plain + data[header.tlv_offset :]).digest()


def apply_keystream_at(key: bytes, offset: int, data: bytes) -> bytes:
    """boot_enc_encrypt and _decrypt: AES-CTR, its counter the number of the 16-byte block of the payload."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CTR

    block, inside = divmod(offset, 16)
    cipher = Cipher(AES(key), CTR(block.to_bytes(16, "big"))).encryptor()
    return cipher.update(bytes(inside) + data)[inside:]
