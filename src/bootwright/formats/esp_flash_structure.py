"""Known structures at the start of bytes of flash: what tells plaintext from anything else."""

from __future__ import annotations

import zlib

from bootwright.errors import FormatError
from bootwright.formats.esp_image import EspImage, EspImageHeader, segments_checksum
from bootwright.formats.esp_otadata import SECTOR_SIZE, OtaSelectEntry
from bootwright.formats.esp_partitions import PartitionEntry, PartitionTable
from bootwright.formats.load_header import LoadHeader
from bootwright.formats.mcuboot_image import MAGIC as MCUBOOT_MAGIC

_CHIP_IDS = {0, 2, 5, 9, 12, 13, 16, 18, 20, 23, 25, 28, 31, 32}  # ESP-IDF esp_app_format.h, and esptool's e22
_NVS_KEYS_SIZE = 68
_LOAD_MAGIC = LoadHeader.MAGIC.to_bytes(4, "little")  # at the start, or behind room for MCUboot's header
_TRAILER_MAGIC = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")


def structure_of_head(head: bytes) -> str | None:
    """What the first bytes begin, judged by fields that random bytes would not have; needs 32 bytes or more."""
    if len(head) < EspImageHeader.size():
        return None
    if _is_esp_header(EspImageHeader.parse(head)):
        return "an ESP image"
    if head[:4] == MCUBOOT_MAGIC.to_bytes(4, "little"):
        return "an MCUboot image"
    if len(head) < PartitionEntry.size():
        return None
    if _LOAD_MAGIC in (head[:4], head[32:36]) and (head[:4] == _LOAD_MAGIC or not any(head[:32])):
        return "an application for MCUboot"
    entry = PartitionEntry.parse(head)
    if entry.magic == PartitionEntry.MAGIC and entry.label.split(b"\0")[0].isascii() and entry.pos_size:
        return "a partition table"
    ota = OtaSelectEntry.parse(head)
    if ota.crc_fits and ota.ota_seq not in (0, 0xFFFF_FFFF):
        return "otadata"
    if len(head) >= _NVS_KEYS_SIZE and zlib.crc32(head[:64], 0xFFFF_FFFF) == int.from_bytes(head[64:68], "little"):
        return "NVS keys"
    return None


def structure_of(data: bytes) -> str | None:
    """What the bytes are, looking past the header where there is more to check; `None` if nothing is recognised."""
    kind = structure_of_head(data)
    if kind == "an ESP image":
        return _esp_image(data)
    if kind == "a partition table":
        return _partition_table(data)
    if kind is None and len(data) == 2 * SECTOR_SIZE:
        kind = structure_of_head(data[SECTOR_SIZE:])
        return kind if kind == "otadata" else None
    if kind is None and data[-16:] == _TRAILER_MAGIC:
        return "an MCUboot trailer"
    return kind


def _is_esp_header(header: EspImageHeader) -> bool:
    return (
        header.magic == EspImageHeader.MAGIC
        and 1 <= header.segment_count <= 16
        and header.spi_mode <= 5
        and header.spi_size <= 7
        and header.chip_id in _CHIP_IDS
        and header.hash_appended <= 1
    )


def _esp_image(data: bytes) -> str:
    try:
        image = EspImage.parse(data)
    except FormatError:
        return "the beginning of an ESP image"
    if image.checksum != segments_checksum(image.segments):
        return "an ESP image with a wrong checksum"
    return f"an ESP image for chip id {image.header.chip_id} of {image.length:#x} bytes"


def _partition_table(data: bytes) -> str:
    try:
        table = PartitionTable.parse(data)
    except FormatError:
        return "the beginning of a partition table"
    return f"a partition table of {len(table.partitions)} partitions"
