"""Whether MCUboot would run the image in a slot: the checks in the order of the C code.

Sources: boot/bootutil/src/image_validate.c, tlv.c, bootutil_img_hash.c, bootutil_find_key.c,
bootutil_img_security_cnt.c, bootutil_loader.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

from bootwright.boot.config import BootConfig, Mode, Signature
from bootwright.boot.encrypted import is_encrypted, plain_digest
from bootwright.boot.header import FLAG_COMPRESSED, FLAG_ENCRYPTED, IMAGE_MAGIC, U32, Header
from bootwright.boot.image_key import KeyTlv
from bootwright.boot.loader_state import Loader
from bootwright.boot.signature import verify
from bootwright.boot.tlv import Tlv, TlvAreas, TlvError, tlv_areas, tlvs
from bootwright.finding import Finding, failed
from bootwright.flash import Area

TLV_KEYHASH, TLV_SHA256 = 0x01, 0x10
TLV_DEPENDENCY, TLV_SEC_CNT = 0x40, 0x50

#: what an unprotected area may hold (MCUBOOT_USE_TLV_ALLOW_LIST)
ALLOWED_UNPROTECTED = frozenset({0x01, 0x02, 0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x23, 0x24, 0x30, 0x31, 0x32, 0x33})


def allowed_unprotected(config: BootConfig) -> frozenset[int]:
    """allowed_unprot_tlvs; a build with MCUBOOT_HMAC_SHA512 has another X25519 TLV in it."""
    sha512 = config.encryption is not None and config.encryption.tlv is KeyTlv.X25519_SHA512
    return ALLOWED_UNPROTECTED - {KeyTlv.X25519} | {KeyTlv.X25519_SHA512} if sha512 else ALLOWED_UNPROTECTED


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


def read_image_size(loader: Loader, slot: int, *, start: int = 0) -> int | None:
    """boot_read_image_size: header, payload and all TLVs; None where it fails."""
    header = loader.header(slot)
    try:
        areas = tlv_areas(loader, loader.place(slot).area, header, start)
    except TlvError:
        return None
    return (areas.end - start) & U32


def header_fault(header: Header, area: Area, config: BootConfig) -> str:
    """boot_check_header_valid: what is wrong with a header, or nothing."""
    if header.magic != IMAGE_MAGIC:
        return f"the magic is {header.magic:#010x}, expected {IMAGE_MAGIC:#010x}"
    size = header.hdr_size + header.img_size + header.protect_tlv_size
    if size > U32 or size >= area.size:
        return f"the header announces {size:#x} bytes, the slot has {area.size:#x}"
    if config.encryption is not None:
        if header.flags & FLAG_ENCRYPTED == FLAG_ENCRYPTED:
            return "the image is marked as encrypted with AES-128 and with AES-256"
    elif header.flags & FLAG_ENCRYPTED:
        return "the image is encrypted, which this build does not support"
    if header.flags & FLAG_COMPRESSED:
        return "the image is compressed, which this build does not support"
    return ""


def validate_image(loader: Loader, slot: int, *, max_size: int) -> Finding | None:
    """bootutil_img_validate: None for a valid image, else the reason against it.

    `max_size` is bootutil_max_image_size of the strategy.
    """
    area, header = loader.place(slot).area, loader.header(slot)
    start = loader.start_of(slot)
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
        digest = _digest(loader, slot, start, signed)
        if digest is None:
            return _refused("key", area, "the image is encrypted and its key is not known")
        return _walk(loader, area, header, areas, digest)
    except TlvError as error:
        return _refused("tlv", area, str(error))


def _digest(loader: Loader, slot: int, start: int, signed: int) -> bytes | None:
    """bootutil_img_hash; only the secondary slot, or RAM, holds an image that was encrypted."""
    mode = loader.config.mode
    decrypts = loader.config.encryption is not None and mode is not Mode.SINGLE and (slot or mode.loads_to_ram)
    if decrypts and is_encrypted(loader.header(slot)):
        return plain_digest(loader, slot, start, signed)
    return loader.probe.sha256(loader.flash, loader.place(slot).area.address + start, signed)


def _walk(loader: Loader, area: Area, header: Header, areas: TlvAreas, digest: bytes) -> Finding | None:
    """The loop over all TLVs: the last signature that was evaluated decides."""
    config = loader.config
    wanted = SIGNATURE_TLVS[config.signature] if config.signature is not None else None
    key: bytes | None = None
    hashed = verified = False
    for tlv in tlvs(loader, area, header, areas, protected_only=False):
        if tlv.offset >= areas.protected_end and tlv.type not in allowed_unprotected(config):
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
    start = loader.start_of(slot)
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
