"""The MCUboot image at rest: header, payload, TLV areas (MCUboot boot/bootutil/include/bootutil/image.h).

    header | payload | [protected TLV area] | TLV area | [whatever follows: erased bytes, a trailer]

`Image.parse` keeps every byte, so `Image.parse(x).pack() == x`; what does not hang together is a `FormatError`.
Judging an image as the bootloader does is `bootwright.formats.mcuboot_verify`.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Literal, Self

from bootwright.errors import FormatError
from bootwright.formats.record import U8, U16, U32, Record

MAGIC = 0x96F3B83D
MAGIC_V1 = 0x96F3B83C  #: images of MCUboot before 1.0; no bootloader of today reads them
HEADER_SIZE = 32
TLV_INFO_MAGIC = 0x6907
TLV_PROT_INFO_MAGIC = 0x6908
VENDOR_TLV_MIN, VENDOR_TLV_MAX = 0x00A0, 0xFFFE  # imgtool image.py TLV_VENDOR_RES_MIN, _MAX

Endian = Literal["<", ">"]


class ImageFlags(IntFlag):
    """`ih_flags`."""

    PIC = 0x1
    ENCRYPTED_AES128 = 0x4
    ENCRYPTED_AES256 = 0x8
    NON_BOOTABLE = 0x10
    RAM_LOAD = 0x20
    ROM_FIXED = 0x100
    COMPRESSED_LZMA1 = 0x200
    COMPRESSED_LZMA2 = 0x400
    COMPRESSED_ARM_THUMB = 0x800


ENCRYPTED = ImageFlags.ENCRYPTED_AES128 | ImageFlags.ENCRYPTED_AES256
COMPRESSED = ImageFlags.COMPRESSED_LZMA1 | ImageFlags.COMPRESSED_LZMA2  # image.h COMPRESSIONFLAGS


class TlvType(IntEnum):
    """`IMAGE_TLV_*`, by imgtool's names."""

    KEYHASH = 0x01
    PUBKEY = 0x02
    SHA256 = 0x10
    SHA384 = 0x11
    SHA512 = 0x12
    RSA2048 = 0x20
    ECDSA224 = 0x21  #: gone from MCUboot, still on its allow list
    ECDSASIG = 0x22
    RSA3072 = 0x23
    ED25519 = 0x24
    SIG_PURE = 0x25
    ENCRSA2048 = 0x30
    ENCKW = 0x31
    ENCEC256 = 0x32
    ENCX25519 = 0x33
    ENCX25519_SHA512 = 0x34
    DEPENDENCY = 0x40
    SEC_CNT = 0x50
    BOOT_RECORD = 0x60
    DECOMP_SIZE = 0x70
    DECOMP_SHA = 0x71
    DECOMP_SIGNATURE = 0x72
    COMP_DEC_SIZE = 0x73
    UUID_VID = 0x74
    UUID_CID = 0x75


_OWN_TYPES = frozenset(TlvType)
HASH_TLVS = {TlvType.SHA256: "sha256", TlvType.SHA384: "sha384", TlvType.SHA512: "sha512"}


def tlv_name(type_: int) -> str:
    """The name of a TLV type, `UNKNOWN` for one that MCUboot does not know, `VENDOR` for a vendor's."""
    try:
        return TlvType(type_).name
    except ValueError:
        return "VENDOR" if VENDOR_TLV_MIN <= type_ <= VENDOR_TLV_MAX else "UNKNOWN"


#: `major.minor.revision+build`, later parts optional, none with a leading zero
VERSION_TEXT = re.compile(r"(0|[1-9]\d*)(?:\.(0|[1-9]\d*)(?:\.(0|[1-9]\d*)(?:\+(0|[1-9]\d*))?)?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVersion(Record):
    """`struct image_version`: `major.minor.revision+build`."""

    major: U8 = 0
    minor: U8 = 0
    revision: U16 = 0
    build: U32 = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}+{self.build}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `1`, `1.2`, `1.2.3` or `1.2.3+4`.

        Raises:
            FormatError: another shape, or a part that does not fit its field.
        """
        match = VERSION_TEXT.fullmatch(text)
        if match is None:
            raise FormatError(
                f"version: found {text!r}, expected major[.minor[.revision[+build]]] without leading zeros",
                "for example 1.2.3+4",
            )
        major, minor, revision, build = (int(part or 0) for part in match.groups())
        version = cls(major=major, minor=minor, revision=revision, build=build)
        version.pack()
        return version

    def precedes(self, other: ImageVersion) -> bool:
        """Say whether this is the older one as MCUboot compares: the build number does not count."""
        return (self.major, self.minor, self.revision) < (other.major, other.minor, other.revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader(Record):
    """`struct image_header`, the first 32 bytes of an image."""

    magic: U32 = MAGIC  #: ih_magic
    load_addr: U32 = 0  #: ih_load_addr: address in RAM (RAM_LOAD) or flash (ROM_FIXED), else 0
    hdr_size: U16 = HEADER_SIZE  #: ih_hdr_size: where the payload starts
    protect_tlv_size: U16 = 0  #: ih_protect_tlv_size: bytes of the protected TLV area with its info header
    img_size: U32  #: ih_img_size: bytes of payload, without header and TLVs
    flags: U32 = 0  #: ih_flags, see `ImageFlags`
    ver: ImageVersion  #: ih_ver
    pad1: U32 = 0

    @property
    def tlv_offset(self) -> int:
        """Where the TLV areas start, counted from the image's start (`BOOT_TLV_OFF`)."""
        return self.hdr_size + self.img_size

    @property
    def hashed_size(self) -> int:
        """Bytes that hash and signature cover: header, payload and protected TLVs."""
        return self.tlv_offset + self.protect_tlv_size


def make_header(version: ImageVersion, endian: Endian = "<", **fields: int) -> ImageHeader:
    """A header of either byte order."""
    if endian == "<":
        return ImageHeader(ver=version, **fields)
    from bootwright.formats.mcuboot_big_endian import BigEndianImageHeader, BigEndianImageVersion

    swapped = BigEndianImageVersion(
        major=version.major, minor=version.minor, revision=version.revision, build=version.build
    )
    return BigEndianImageHeader(ver=swapped, **fields)


def endian_of(data: bytes | memoryview) -> Endian | None:
    """The byte order that the magic tells, None where there is no magic."""
    start = bytes(data[:4])
    if start == MAGIC.to_bytes(4, "little"):
        return "<"
    return ">" if start == MAGIC.to_bytes(4, "big") else None


def parse_header(data: bytes | memoryview, *, where: str = "image") -> ImageHeader:
    """Read the header in the byte order that its magic tells; no magic reads as little-endian.

    Raises:
        FormatError: fewer than 32 bytes.
    """
    if endian_of(data) == ">":
        from bootwright.formats.mcuboot_big_endian import BigEndianImageHeader

        return BigEndianImageHeader.parse(data, where=where)
    return ImageHeader.parse(data, where=where)


@dataclass(frozen=True, slots=True)
class Tlv:
    """One type-length-value entry."""

    type: int  #: 16 bits; see `TlvType`, vendors have 0xA0 to 0xFFFE
    data: bytes
    byte_first: bool = False  #: big-endian images of imgtool hold MCUboot's own types as a byte and a zero

    @property
    def name(self) -> str:
        """imgtool's name of the type."""
        return tlv_name(self.type)

    def pack(self, endian: Endian = "<") -> bytes:
        """Type, length and data.

        Raises:
            FormatError: type or length do not fit their 16 bits.
        """
        if not 0 <= self.type <= 0xFFFF or len(self.data) > 0xFFFF:
            raise FormatError(
                f"TLV: found type {self.type:#x} and {len(self.data)} bytes of data, expected at most 0xffff of each"
            )
        if self.byte_first:
            return struct.pack(endian + "BBH", self.type, 0, len(self.data)) + self.data
        return struct.pack(endian + "HH", self.type, len(self.data)) + self.data


def pack_area(magic: int, tlvs: tuple[Tlv, ...], endian: Endian = "<") -> bytes:
    """A TLV area: the info header, whose size counts itself, and the entries.

    Raises:
        FormatError: the entries are too many for a size of 16 bits.
    """
    body = b"".join(tlv.pack(endian) for tlv in tlvs)
    if len(body) > 0xFFFF - 4:
        raise FormatError(f"TLV area: found {len(body)} bytes, expected at most {0xFFFF - 4}", "leave TLVs out")
    return struct.pack(endian + "HH", magic, 4 + len(body)) + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A whole image, taken apart without losing a byte."""

    header: ImageHeader
    header_rest: bytes = b""  #: what lies between the 32 bytes and `hdr_size`
    payload: bytes
    protected: tuple[Tlv, ...] | None = None  #: None: there is no such area
    unprotected: tuple[Tlv, ...] = ()
    rest: bytes = b""  #: what follows the TLVs: erased bytes, a trailer

    @property
    def endian(self) -> Endian:
        """The byte order of all its numbers."""
        return self.header.BYTE_ORDER

    @property
    def size(self) -> int:
        """Bytes from the header to the end of the TLVs: what must fit in front of the trailer."""
        return len(self.pack()) - len(self.rest)

    @property
    def tlvs(self) -> tuple[Tlv, ...]:
        """All entries, the protected ones first, as MCUboot walks them."""
        return (self.protected or ()) + self.unprotected

    def find(self, type_: int) -> tuple[Tlv, ...]:
        """All entries of one type."""
        return tuple(tlv for tlv in self.tlvs if tlv.type == type_)

    @classmethod
    def parse(cls, data: bytes | memoryview, *, where: str = "image") -> Image:
        """Take an image apart.

        Raises:
            FormatError: no image, or one whose sizes contradict each other or the file.
        """
        view = memoryview(data)
        header = parse_header(view, where=where)
        if endian_of(view) is None:
            raise FormatError(
                f"{where}: found magic {header.magic:#010x}, expected {MAGIC:#010x} at offset 0",
                "this is no MCUboot image; sign it first, or check the offset",
            )
        if header.hdr_size < HEADER_SIZE:
            raise FormatError(f"{where}: found ih_hdr_size {header.hdr_size}, expected at least {HEADER_SIZE}")
        if header.tlv_offset > len(view):
            raise FormatError(
                f"{where}: found {len(view)} bytes, expected {header.tlv_offset} of header and payload by ih_img_size",
                "the file is truncated, or its header is damaged",
            )
        at = header.tlv_offset
        protected: tuple[Tlv, ...] | None = None
        magic, total = _info(view, at, header.BYTE_ORDER, where)
        if magic == TLV_PROT_INFO_MAGIC:
            _expect_protected(header.protect_tlv_size, total, where)
            protected = _entries(view, at, total, header.BYTE_ORDER, where)
            at += total
            magic, total = _info(view, at, header.BYTE_ORDER, where)
        else:
            _expect_protected(header.protect_tlv_size, 0, where)
        if magic != TLV_INFO_MAGIC:
            raise FormatError(f"{where}: found TLV magic {magic:#06x} at {at:#x}, expected {TLV_INFO_MAGIC:#06x}")
        return cls(
            header=header,
            header_rest=bytes(view[HEADER_SIZE : header.hdr_size]),
            payload=bytes(view[header.hdr_size : header.tlv_offset]),
            protected=protected,
            unprotected=_entries(view, at, total, header.BYTE_ORDER, where),
            rest=bytes(view[at + total :]),
        )

    def pack(self) -> bytes:
        """The bytes of the image, whatever they say."""
        parts = [self.header.pack(), self.header_rest, self.payload]
        if self.protected is not None:
            parts.append(pack_area(TLV_PROT_INFO_MAGIC, self.protected, self.endian))
        parts += [pack_area(TLV_INFO_MAGIC, self.unprotected, self.endian), self.rest]
        return b"".join(parts)


def _info(view: memoryview, at: int, endian: Endian, where: str) -> tuple[int, int]:
    if at + 4 > len(view):
        raise FormatError(
            f"{where}: found the end of the file at {len(view):#x}, expected a TLV area at {at:#x}",
            "the file is truncated, or it was never signed",
        )
    magic, total = struct.unpack_from(endian + "HH", view, at)
    if magic in (TLV_INFO_MAGIC, TLV_PROT_INFO_MAGIC) and (total < 4 or at + total > len(view)):
        raise FormatError(
            f"{where}: found a TLV area of {total} bytes at {at:#x}, expected 4 to {len(view) - at}",
            "the file is truncated, or its TLV area is damaged",
        )
    return magic, total


def _expect_protected(declared: int, found: int, where: str) -> None:
    if declared != found:
        raise FormatError(
            f"{where}: found {found} bytes of protected TLVs, expected {declared} by ih_protect_tlv_size",
            "header and TLV area contradict each other; MCUboot refuses such an image",
        )


def _entries(view: memoryview, at: int, total: int, endian: Endian, where: str) -> tuple[Tlv, ...]:
    end = at + total
    at += 4
    tlvs: list[Tlv] = []
    while at < end:
        if at + 4 > end:
            raise FormatError(f"{where}: found {end - at} bytes at {at:#x}, expected a TLV header of 4")
        type_, length, byte_first = _entry(view, at, endian)
        if at + 4 + length > end:
            raise FormatError(
                f"{where}: found a TLV of {length} bytes at {at:#x}, expected at most {end - at - 4}",
                "the entry overruns its area; MCUboot refuses such an image",
            )
        tlvs.append(Tlv(type_, bytes(view[at + 4 : at + 4 + length]), byte_first))
        at += 4 + length
    return tuple(tlvs)


def _entry(view: memoryview, at: int, endian: Endian) -> tuple[int, int, bool]:
    type_, length = struct.unpack_from(endian + "HH", view, at)
    if endian == ">" and view[at + 1] == 0 and view[at] in _OWN_TYPES:
        return view[at], length, True
    return type_, length, False
