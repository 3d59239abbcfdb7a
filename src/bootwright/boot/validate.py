"""Whether MCUboot would run the image in a slot: the checks in the order of the C code.

Sources: boot/bootutil/src/image_validate.c, tlv.c, bootutil_img_hash.c, bootutil_find_key.c,
bootutil_img_security_cnt.c, bootutil_loader.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from bootwright.boot.config import BootConfig, Signature
from bootwright.boot.header import FLAG_COMPRESSED, FLAG_ENCRYPTED, IMAGE_MAGIC, U32, Header
from bootwright.boot.loader_state import Loader
from bootwright.boot.signature import verify
from bootwright.finding import Finding, failed
from bootwright.flash import Area

INFO_MAGIC, PROTECTED_INFO_MAGIC = 0x6907, 0x6908
TLV_KEYHASH, TLV_SHA256 = 0x01, 0x10
TLV_DEPENDENCY, TLV_SEC_CNT = 0x40, 0x50

#: what an unprotected area may hold (MCUBOOT_USE_TLV_ALLOW_LIST)
ALLOWED_UNPROTECTED = frozenset({0x01, 0x02, 0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x23, 0x24, 0x30, 0x31, 0x32, 0x33})


class SignatureTlv(NamedTuple):
    """The TLV of a signature type, and the lengths that it may have."""

    tlv: int
    length: int | None  #: None: any up to the buffer
    buffer: int


SIGNATURE_TLVS = {
    Signature.RSA_2048: SignatureTlv(0x20, 256, 256),
    Signature.RSA_3072: SignatureTlv(0x23, 384, 384),
    Signature.ECDSA_P256: SignatureTlv(0x22, None, 128),
    Signature.ED25519: SignatureTlv(0x24, 64, 64),
}

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


def read_image_size(loader: Loader, slot: int, *, start: int = 0) -> int | None:
    """boot_read_image_size: header, payload and all TLVs; None where it fails."""
    header = loader.header(slot)
    try:
        areas = tlv_areas(loader, loader.place(slot).area, header, start)
    except TlvError:
        return None
    return (areas.end - start) & U32


def header_fault(header: Header, area: Area, *, in_plain: bool = False) -> str:
    """boot_check_header_valid: what is wrong with a header, or nothing.

    `in_plain` is for a primary slot of a build with encryption: the flag stays when the image has been decrypted.
    """
    if header.magic != IMAGE_MAGIC:
        return f"the magic is {header.magic:#010x}, expected {IMAGE_MAGIC:#010x}"
    size = header.hdr_size + header.img_size + header.protect_tlv_size
    if size > U32 or size >= area.size:
        return f"the header announces {size:#x} bytes, the slot has {area.size:#x}"
    if header.flags & FLAG_ENCRYPTED and not in_plain:
        return "the image is encrypted, which this build does not support"
    if header.flags & FLAG_COMPRESSED:
        return "the image is compressed, which this build does not support"
    return ""


def validate_image(loader: Loader, slot: int, *, max_size: int) -> Finding | None:
    """bootutil_img_validate: None for a valid image, else the reason against it.

    `max_size` is bootutil_max_image_size of the strategy.
    """
    area, header = loader.place(slot).area, loader.header(slot)
    start = loader.secondary_offset[loader.image] if slot else 0
    signed = (header.hdr_size + header.img_size + header.protect_tlv_size) & U32
    if start + signed > area.size:
        return _refused("size", area, f"the image would end at {start + signed:#x}, behind the slot")
    try:
        areas = tlv_areas(loader, area, header, start)
        if (areas.end - start) & U32 > max_size:
            size = (areas.end - start) & U32
            return _refused(
                "too_large", area, f"the image with its TLVs takes {size:#x} bytes, at most {max_size:#x} leave room"
            )
        digest = loader.probe.sha256(loader.flash, area.address + start, signed)
        return _walk(loader, area, header, areas, digest)
    except TlvError as error:
        return _refused("tlv", area, str(error))


def _walk(loader: Loader, area: Area, header: Header, areas: TlvAreas, digest: bytes) -> Finding | None:
    """The loop over all TLVs: the last signature that was evaluated decides."""
    config = loader.config
    wanted = SIGNATURE_TLVS[config.signature] if config.signature is not None else None
    key: bytes | None = None
    hashed = verified = False
    for tlv in tlvs(loader, area, header, areas, protected_only=False):
        if tlv.offset >= areas.protected_end and tlv.type not in ALLOWED_UNPROTECTED:
            return _refused("not_allowed", area, f"TLV {tlv.type:#x} is not allowed among the unprotected ones")
        if tlv.type == TLV_SHA256:
            if tlv.length != 32 or _data(loader, area, tlv) != digest:
                return _refused("hash", area, "the SHA-256 TLV differs from the digest of the image")
            hashed = True
        elif wanted is not None and tlv.type == TLV_KEYHASH:
            if tlv.length > 32:
                return _refused("keyhash", area, f"the key hash has {tlv.length} bytes, at most 32 fit")
            key = find_key(config, _data(loader, area, tlv))
        elif wanted is not None and tlv.type == wanted.tlv and key is not None and config.signature is not None:
            if tlv.length > wanted.buffer or wanted.length not in (None, tlv.length):
                return _refused("signature_length", area, f"the signature has {tlv.length} bytes")
            verified = verify(config.signature, key, digest, _data(loader, area, tlv))
            key = None
    if not hashed:
        return _refused("no_hash", area, "the image has no SHA-256 TLV")
    if wanted is not None and not verified:
        return _refused("signature", area, "no signature by a key of this bootloader was found")
    return None


def _data(loader: Loader, area: Area, tlv: Tlv) -> bytes:
    data = loader.esp.read(area, tlv.offset, tlv.length)
    if data is None:
        raise TlvError(f"TLV {tlv.type:#x} at {tlv.offset:#x} leaves {area.name}")
    return data


def find_key(config: BootConfig, keyhash: bytes) -> bytes | None:
    """bootutil_find_key: the first key whose hash begins with `keyhash`; an empty hash fits any key."""
    for key in config.keys:
        if _sha256(key).startswith(keyhash):
            return key
    return None


@lru_cache(maxsize=64)
def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def security_counter(loader: Loader, slot: int) -> int | None:
    """bootutil_get_img_security_cnt: the first SEC_CNT among the protected TLVs, None where there is none."""
    area, header = loader.place(slot).area, loader.header(slot)
    if header.protect_tlv_size == 0:
        return None
    start = loader.secondary_offset[loader.image] if slot else 0
    try:
        areas = tlv_areas(loader, area, header, start)
        for tlv in tlvs(loader, area, header, areas, protected_only=True):
            if tlv.type == TLV_SEC_CNT:
                return int.from_bytes(_data(loader, area, tlv), "little") if tlv.length == 4 else None
    except TlvError:
        pass
    return None


def _refused(reason: str, area: Area, because: str) -> Finding:
    return failed(f"mcuboot.image.{reason}", area.name, because, "sign the image again for this slot and this build")
