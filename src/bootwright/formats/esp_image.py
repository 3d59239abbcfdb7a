"""The image format that the ROM and the second-stage bootloaders of Espressif chips load.

A header of 24 bytes, segments that each name their load address, zeros up to a checksum in the last byte of a 16-byte
row, and, where the header says so, the SHA-256 of all that came before. What follows the image (a signature sector,
fill) is none of it. Sources: ESP-IDF components/bootloader_support/include/esp_app_format.h and
src/esp_image_format.c; components/esp_app_format and esp_bootloader_format for the descriptions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from operator import xor
from typing import Annotated, ClassVar

from bootwright.errors import FormatError
from bootwright.finding import Finding, failed, passed, warned
from bootwright.formats.record import U8, U16, U32, Record, Size

CHECKSUM_SEED = 0xEF  #: ESP_ROM_CHECKSUM_INITIAL
MAX_SEGMENTS = 16  #: ESP_IMAGE_MAX_SEGMENTS
MAX_SEGMENT_SIZE = 1 << 24
ROW = 16  #: the checksum is the last byte of a row of this size
HASH_SIZE = 32
ANY_CHIP = 0xFFFF  #: ESP_CHIP_ID_INVALID
WP_PIN_DISABLED = 0xEE


class SpiMode(IntEnum):
    """`esp_image_spi_mode_t`: how the flash is read."""

    QIO = 0
    QOUT = 1
    DIO = 2
    DOUT = 3
    FAST_READ = 4
    SLOW_READ = 5


FLASH_SIZES = ("1MB", "2MB", "4MB", "8MB", "16MB", "32MB", "64MB", "128MB")  #: by `spi_size`


@dataclass(frozen=True, slots=True, kw_only=True)
class EspImageHeader(Record):
    """`esp_image_header_t`."""

    MAGIC: ClassVar[int] = 0xE9

    magic: U8 = MAGIC
    segment_count: U8
    spi_mode: U8 = SpiMode.DIO
    spi_speed_size: U8 = 0x20  #: the low half is `spi_speed`, a code whose meaning differs by chip
    entry_addr: U32
    wp_pin: U8 = WP_PIN_DISABLED
    spi_pin_drv: Annotated[bytes, Size(3)] = bytes(3)
    chip_id: U16
    min_chip_rev: U8 = 0  #: superseded by `min_chip_rev_full`
    min_chip_rev_full: U16 = 0  #: major · 100 + minor
    max_chip_rev_full: U16 = 0xFFFF
    reserved: Annotated[bytes, Size(4)] = bytes(4)
    hash_appended: U8 = 1  #: anything but 0 announces the hash

    @property
    def spi_speed(self) -> int:
        """The code of the flash frequency."""
        return self.spi_speed_size & 0xF

    @property
    def spi_size(self) -> int:
        """The code of the flash size, an index of `FLASH_SIZES`."""
        return self.spi_speed_size >> 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader(Record):
    """`esp_image_segment_header_t`."""

    load_addr: U32
    data_len: U32


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDesc(Record):
    """`esp_app_desc_t`, the first 256 bytes of an application's first segment."""

    MAGIC: ClassVar[int] = 0xABCD5432

    magic_word: U32 = MAGIC
    secure_version: U32 = 0
    reserv1: Annotated[bytes, Size(8)] = bytes(8)
    version: Annotated[bytes, Size(32)] = bytes(32)
    project_name: Annotated[bytes, Size(32)] = bytes(32)
    time: Annotated[bytes, Size(16)] = bytes(16)
    date: Annotated[bytes, Size(16)] = bytes(16)
    idf_ver: Annotated[bytes, Size(32)] = bytes(32)
    app_elf_sha256: Annotated[bytes, Size(32)] = bytes(32)
    min_efuse_blk_rev_full: U16 = 0
    max_efuse_blk_rev_full: U16 = 0xFFFF
    mmu_page_size: U8 = 16  #: as a power of two
    spi_flash_mode: U8 = 0
    reserv3: Annotated[bytes, Size(2)] = bytes(2)
    reserv2: Annotated[bytes, Size(72)] = bytes(72)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootloaderDesc(Record):
    """`esp_bootloader_desc_t`, the first 80 bytes of a bootloader's first segment."""

    MAGIC: ClassVar[int] = 0x50

    magic_byte: U8 = MAGIC
    reserved: Annotated[bytes, Size(2)] = bytes(2)
    secure_version: U8 = 0
    version: U32 = 1
    idf_ver: Annotated[bytes, Size(32)] = bytes(32)
    date_time: Annotated[bytes, Size(24)] = bytes(24)
    reserved2: Annotated[bytes, Size(16)] = bytes(16)


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes and the address that they are loaded to, or mapped at."""

    load_addr: int
    data: bytes

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.load_addr + len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class EspImage:
    """A parsed image; every byte of the file is in one of its fields, so that packing gives the file back."""

    header: EspImageHeader
    segments: tuple[Segment, ...]
    padding: bytes  #: between the last segment and the checksum; zeros
    checksum: int  #: as stored
    hash: bytes | None  #: the appended SHA-256 as stored, or `None` where the header announces none
    trailing: bytes = b""  #: what the file holds behind the image

    @classmethod
    def parse(cls, data: bytes, *, where: str = "ESP image") -> EspImage:
        """Read an image; checksum and hash are not judged, see `verify_esp_image`.

        Raises:
            FormatError: no magic byte, more than 16 segments, or the file ends before the image does.
        """
        header = EspImageHeader.parse(data, where=where)
        if header.magic != EspImageHeader.MAGIC:
            raise FormatError(
                f"{where}: found magic byte {header.magic:#04x}, expected {EspImageHeader.MAGIC:#04x}",
                "this is no ESP image, or it is encrypted",
            )
        if not 1 <= header.segment_count <= MAX_SEGMENTS:
            raise FormatError(
                f"{where}: found {header.segment_count} segments, expected 1 to {MAX_SEGMENTS}",
                "the header is damaged, or this is no ESP image",
            )
        segments = tuple(_parse_segments(data, header.segment_count, where))
        at = EspImageHeader.size() + sum(SegmentHeader.size() + len(segment.data) for segment in segments)
        checksum_at = at | ROW - 1
        end = checksum_at + 1 + (HASH_SIZE if header.hash_appended else 0)
        if end > len(data):
            raise FormatError(
                f"{where}: found {len(data)} bytes, expected {end} up to the end of the "
                + ("appended hash" if header.hash_appended else "checksum"),
                "the file is truncated",
            )
        return cls(
            header=header,
            segments=segments,
            padding=data[at:checksum_at],
            checksum=data[checksum_at],
            hash=data[checksum_at + 1 : end] if header.hash_appended else None,
            trailing=data[end:],
        )

    @property
    def length(self) -> int:
        """Bytes of the image itself: up to and with the checksum, and the hash if there is one."""
        rows = sum(SegmentHeader.size() + len(segment.data) for segment in self.segments)
        return EspImageHeader.size() + rows + len(self.padding) + 1 + len(self.hash or b"")

    @property
    def app_desc(self) -> AppDesc | None:
        """The description of an application, where the first segment begins with one."""
        data = self.segments[0].data
        if len(data) < AppDesc.size() or int.from_bytes(data[:4], "little") != AppDesc.MAGIC:
            return None
        return AppDesc.parse(data)

    @property
    def bootloader_desc(self) -> BootloaderDesc | None:
        """The description of a bootloader (ESP-IDF 5 or later), where the first segment begins with one."""
        data = self.segments[0].data
        if len(data) < BootloaderDesc.size() or data[0] != BootloaderDesc.MAGIC or any(data[1:3]):
            return None
        return BootloaderDesc.parse(data)

    def body(self) -> bytes:
        """Everything that the appended hash covers."""
        parts = [self.header.pack()]
        for segment in self.segments:
            parts += (SegmentHeader(load_addr=segment.load_addr, data_len=len(segment.data)).pack(), segment.data)
        return b"".join((*parts, self.padding, bytes([self.checksum])))

    def pack(self) -> bytes:
        """The bytes of the file."""
        return self.body() + (self.hash or b"") + self.trailing


def make_image(header: EspImageHeader, segments: Sequence[Segment]) -> EspImage:
    """An image of these segments with a right checksum and, as the header announces it, hash.

    The header's `segment_count` is set; segments are filled up with zeros to whole words.

    Raises:
        FormatError: no segment, or more than 16.
    """
    if not 1 <= len(segments) <= MAX_SEGMENTS:
        raise FormatError(f"ESP image: found {len(segments)} segments, expected 1 to {MAX_SEGMENTS}", "merge segments")
    filled = tuple(Segment(one.load_addr, one.data + bytes(-len(one.data) % 4)) for one in segments)
    size = EspImageHeader.size() + sum(SegmentHeader.size() + len(one.data) for one in filled)
    values = {field.name: getattr(header, field.name) for field in EspImageHeader.layout()}
    plain = EspImage(
        header=EspImageHeader(**{**values, "segment_count": len(filled)}),
        segments=filled,
        padding=bytes((size | ROW - 1) - size),
        checksum=segments_checksum(filled),
        hash=None,
    )
    return with_hash(plain) if header.hash_appended else plain


def with_hash(image: EspImage) -> EspImage:
    """The same image with a right appended hash."""
    return EspImage(
        header=image.header,
        segments=image.segments,
        padding=image.padding,
        checksum=image.checksum,
        hash=hashlib.sha256(image.body()).digest(),
        trailing=image.trailing,
    )


def make_bootloader_image(
    chip_id: int,
    *,
    size: int = 0x8000,
    load_addr: int = 0x403C_8000,
    flash_size: str = "4MB",
    version: int = 1,
    seed: bytes = b"bootwright",
) -> bytes:
    """A synthetic bootloader: a valid image of `size` bytes whose code is a fixed pseudo-random pattern.

    It stands in for a real one wherever only its bytes matter: checks, signatures, encryption.

    Raises:
        FormatError: `size` is no multiple of 16, or too small to hold headers, description and hash.
    """
    overhead = EspImageHeader.size() + SegmentHeader.size() + HASH_SIZE
    smallest = -(-(overhead + BootloaderDesc.size() + 1) // ROW) * ROW
    if size % ROW or size < smallest:
        raise FormatError(
            f"synthetic bootloader: found a size of {size:#x}, expected a multiple of {ROW} from {smallest:#x} on",
            "choose another size",
        )
    description = BootloaderDesc(version=version, idf_ver=b"synthetic".ljust(32, b"\0")).pack()
    code_size = size - overhead - 4 - len(description)
    code = description + hashlib.shake_128(seed).digest(code_size)
    header = EspImageHeader(
        segment_count=1,
        spi_speed_size=FLASH_SIZES.index(flash_size) << 4,
        entry_addr=load_addr + len(description),
        chip_id=chip_id,
    )
    return make_image(header, [Segment(load_addr, code)]).pack()


def segments_checksum(segments: Sequence[Segment]) -> int:
    """All bytes of all segments, XORed onto 0xEF."""
    return reduce(xor, (_fold(segment.data) for segment in segments), CHECKSUM_SEED)


def verify_esp_image(
    data: bytes, *, chip_id: int | None = None, revision: int | None = None, subject: str = "ESP image"
) -> tuple[Finding, ...]:
    """What a loader that checks magic, chip, segments, checksum and hash would say of the image in `data`.

    `revision` is the chip's, major · 100 + minor. Without `chip_id` any chip will do.
    """
    if not data or data[0] != EspImageHeader.MAGIC:
        found = f"{data[0]:#04x}" if data else "nothing"
        why = f"the image begins with {found}, expected {EspImageHeader.MAGIC:#04x}"
        return (failed("esp.image.magic", subject, why, "flash a plaintext ESP image, or look for its encryption"),)
    magic = passed("esp.image.magic", subject, "the magic byte is 0xe9")
    try:
        image = EspImage.parse(data, where=subject)
    except FormatError as error:
        return magic, failed("esp.image.segments", subject, error.message, error.hint)
    number = len(image.segments)
    count = f"{number} segments lie inside the file" if number > 1 else "1 segment lies inside the file"
    checks = [magic, passed("esp.image.segments", subject, count), _check_lengths(image, subject)]
    if chip_id is not None:
        checks.append(_check_chip(image.header, chip_id, subject))
    if revision is not None:
        checks.append(_check_revision(image, revision, subject))
    checks += (_check_checksum(image, subject), _check_hash(image, subject))
    return tuple(checks)


def _parse_segments(data: bytes, count: int, where: str) -> Iterator[Segment]:
    at = EspImageHeader.size()
    for index in range(count):
        header = SegmentHeader.parse(data, at, where=f"{where}, header of segment {index}")
        at += SegmentHeader.size()
        end = at + header.data_len
        if end > len(data):
            raise FormatError(
                f"{where}: segment {index} at offset {at:#x} claims {header.data_len:#x} bytes, "
                f"found {len(data) - at:#x} to the end of the file",
                "the file is truncated or its header is damaged",
            )
        yield Segment(header.load_addr, data[at:end])
        at = end


def _fold(data: bytes) -> int:
    """XOR of all bytes: halve the number as long as it is wide."""
    width = 1
    while width < len(data):
        width *= 2
    number = int.from_bytes(data, "little")
    while width > 1:
        width //= 2
        number = (number >> 8 * width) ^ (number & (1 << 8 * width) - 1)
    return number


def _check_lengths(image: EspImage, subject: str) -> Finding:
    odd = [i for i, one in enumerate(image.segments) if len(one.data) % 4 or len(one.data) >= MAX_SEGMENT_SIZE]
    if odd:
        size = len(image.segments[odd[0]].data)
        why = f"segment {odd[0]} has {size:#x} bytes, expected a multiple of 4 below {MAX_SEGMENT_SIZE:#x}"
        return failed("esp.image.segment.length", subject, why, "build the image again")
    return passed("esp.image.segment.length", subject, "all segment lengths are multiples of 4 below 16 MiB")


def _check_chip(header: EspImageHeader, chip_id: int, subject: str) -> Finding:
    if header.chip_id != chip_id:
        why = f"the image is for chip id {header.chip_id:#06x}, expected {chip_id:#06x}"
        return failed("esp.image.chip", subject, why, "build for this chip")
    return passed("esp.image.chip", subject, f"the image is for chip id {chip_id:#06x}")


def _check_revision(image: EspImage, revision: int, subject: str) -> Finding:
    """As `bootloader_common_check_chip_validity`: a maximum of 0 or 0xffff is none; bootloaders are held to none."""
    header = image.header
    most = header.max_chip_rev_full if image.bootloader_desc is None else 0xFFFF
    limit = str(most) if most not in (0, 0xFFFF) else "any"
    wanted = f"the image wants chip revision {header.min_chip_rev_full} to {limit}, the chip has {revision}"
    if revision < header.min_chip_rev_full or (limit != "any" and revision > most):
        return failed("esp.image.revision", subject, wanted, "build for this chip revision")
    return passed("esp.image.revision", subject, wanted)


def _check_checksum(image: EspImage, subject: str) -> Finding:
    computed = segments_checksum(image.segments)
    if image.checksum != computed:
        why = f"the checksum is {image.checksum:#04x}, the segments give {computed:#04x}"
        return failed("esp.image.checksum", subject, why, "build or copy the image again")
    return passed("esp.image.checksum", subject, f"the checksum {computed:#04x} is that of the segments")


def _check_hash(image: EspImage, subject: str) -> Finding:
    if image.hash is None:
        why = "the header announces no appended SHA-256, only the checksum guards the image"
        return warned("esp.image.hash", subject, why, "let elf2image append the hash, its default")
    computed = hashlib.sha256(image.body()).digest()
    if image.hash != computed:
        why = f"the appended SHA-256 begins with {image.hash[:4].hex()}, the image gives {computed[:4].hex()}"
        return failed("esp.image.hash", subject, why, "build the image again; nothing may be patched after elf2image")
    return passed("esp.image.hash", subject, "the appended SHA-256 is that of the image")
