"""ESP-IDF's partition table: 32 bytes a partition, an MD5 over them, 0xFF up to 0xC00.

The text form is in `esp_partition_csv`, the rules that a table must keep in `esp_partition_rules`. Source: ESP-IDF
components/esp_partition/include/esp_partition.h, components/partition_table/gen_esp32part.py and
components/bootloader_support/src/flash_partitions.c.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated, ClassVar

from bootwright.errors import FormatError
from bootwright.formats.record import U8, U16, U32, Record, Size

TABLE_OFFSET = 0x8000  #: where ESP-IDF puts it unless told otherwise
TABLE_SIZE = 0x1000  #: of flash, one sector
BINARY_SIZE = 0xC00  #: of the file; the rest of the sector was for a signature
SECTOR_SIZE = 0x1000
APP_ALIGNMENT = 0x10000
LABEL_SIZE = 16


class PartitionType(IntEnum):
    """What a partition is for; other numbers are the application's own."""

    APP = 0
    DATA = 1
    BOOTLOADER = 2
    PARTITION_TABLE = 3


class PartitionFlags(IntFlag):
    """The flags that have a name."""

    ENCRYPTED = 1
    READONLY = 2


#: type → name → subtype, as the text form names them
SUBTYPES: dict[int, dict[str, int]] = {
    PartitionType.APP: {
        "factory": 0x00,
        "test": 0x20,
        **{f"ota_{slot}": 0x10 + slot for slot in range(16)},
        **{f"tee_{slot}": 0x30 + slot for slot in range(2)},
    },
    PartitionType.DATA: {
        "ota": 0x00,
        "phy": 0x01,
        "nvs": 0x02,
        "coredump": 0x03,
        "nvs_keys": 0x04,
        "efuse": 0x05,
        "undefined": 0x06,
        "esphttpd": 0x80,
        "fat": 0x81,
        "spiffs": 0x82,
        "littlefs": 0x83,
        "tee_ota": 0x90,
    },
    PartitionType.BOOTLOADER: {"primary": 0, "ota": 1, "recovery": 2},
    PartitionType.PARTITION_TABLE: {"primary": 0, "ota": 1},
}

_TYPES = frozenset(map(int, PartitionType))
_DATA = SUBTYPES[PartitionType.DATA]
#: data that the chip encrypts whatever the flags say
_ALWAYS_ENCRYPTED = {_DATA["ota"], _DATA["nvs_keys"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionEntry(Record):
    """`esp_partition_info_t`: the bytes of one entry."""

    MAGIC: ClassVar[int] = 0x50AA

    magic: U16 = MAGIC
    type: U8
    subtype: U8
    pos_offset: U32
    pos_size: U32
    label: Annotated[bytes, Size(16)]
    flags: U32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Md5Entry(Record):
    """The entry that closes a table: the MD5 of all entries before it."""

    MAGIC: ClassVar[int] = 0xEBEB

    magic: U16 = MAGIC
    fill: Annotated[bytes, Size(14)] = b"\xff" * 14
    md5: Annotated[bytes, Size(16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition; addresses and sizes in bytes of flash."""

    label: bytes  #: 16 bytes, filled with zeros; more where a text gave more, of which the table keeps 16
    type: int
    subtype: int
    offset: int
    size: int
    flags: int = 0

    @property
    def name(self) -> str:
        """The label as text."""
        return self.label.split(b"\0", 1)[0].decode("utf-8", "replace")

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.offset + self.size

    @property
    def type_name(self) -> str:
        """The type as the text form names it, or its number."""
        return PartitionType(self.type).name.lower() if self.type in _TYPES else str(self.type)

    @property
    def subtype_name(self) -> str:
        """The subtype as the text form names it, or its number."""
        names = SUBTYPES.get(self.type, {})
        return next((name for name, value in names.items() if value == self.subtype), str(self.subtype))

    @property
    def is_encrypted(self) -> bool:
        """Whether a chip with flash encryption reads it through decryption: the flag, or by nature."""
        if self.type == PartitionType.DATA:
            return self.subtype in _ALWAYS_ENCRYPTED or (
                bool(self.flags & PartitionFlags.ENCRYPTED) and self.subtype != _DATA["nvs"]
            )
        return self.type in _TYPES or bool(self.flags & PartitionFlags.ENCRYPTED)

    def entry(self) -> PartitionEntry:
        """The entry of the binary table."""
        return PartitionEntry(
            type=self.type,
            subtype=self.subtype,
            pos_offset=self.offset,
            pos_size=self.size,
            label=self.label[:LABEL_SIZE],
            flags=self.flags,
        )


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """A parsed table; `pack` gives the bytes back that it was parsed from."""

    partitions: tuple[Partition, ...]
    md5: Md5Entry | None = None  #: as stored
    fill: bytes = b""  #: what follows the entries, beginning with the end marker

    @classmethod
    def parse(cls, data: bytes, *, where: str = "partition table") -> PartitionTable:
        """Read a binary table; its MD5 is not judged, see `md5_fits` and `esp_partition_rules`.

        Raises:
            FormatError: an entry without magic, no end marker, or no whole entries.
        """
        entries: list[PartitionEntry] = []
        md5 = None
        for at in range(0, len(data), PartitionEntry.size()):
            row = data[at : at + PartitionEntry.size()]
            if row == b"\xff" * PartitionEntry.size():
                return cls(tuple(map(_partition, entries)), md5, data[at:])
            magic = int.from_bytes(row[:2], "little")
            if magic == Md5Entry.MAGIC and md5 is None:
                md5 = Md5Entry.parse(row, where=where)
            elif magic == PartitionEntry.MAGIC and md5 is None:
                entries.append(PartitionEntry.parse(row, where=where))
            else:
                raise FormatError(
                    f"{where}: found magic {row[:2].hex(' ')} at offset {at:#x}, expected aa 50, eb eb or the end",
                    "this is no partition table, or it is encrypted",
                )
        raise FormatError(
            f"{where}: found {len(data)} bytes without the end marker, expected 32 bytes of 0xff behind the last entry",
            "the file is truncated",
        )

    def pack(self) -> bytes:
        """The bytes of the table."""
        return self._entries() + (self.md5.pack() if self.md5 else b"") + self.fill

    def computed_md5(self) -> bytes:
        """The MD5 that the table should carry."""
        return hashlib.md5(self._entries(), usedforsecurity=False).digest()

    def find(self, name: str) -> Partition:
        """The partition of this name.

        Raises:
            FormatError: there is none.
        """
        for partition in self.partitions:
            if partition.name == name:
                return partition
        known = ", ".join(partition.name for partition in self.partitions)
        raise FormatError(f"partition table: found no partition {name!r}, expected one of {known}", "check the name")

    def __iter__(self) -> Iterator[Partition]:
        return iter(self.partitions)

    def _entries(self) -> bytes:
        return b"".join(partition.entry().pack() for partition in self.partitions)


def make_partition(name: str, type_: int, subtype: int, offset: int, size: int, flags: int = 0) -> Partition:
    """A partition with this name; of a longer one the binary table keeps 16 bytes."""
    return Partition(
        label=name.encode().ljust(LABEL_SIZE, b"\0"), type=type_, subtype=subtype, offset=offset, size=size, flags=flags
    )


def make_table(partitions: Sequence[Partition]) -> PartitionTable:
    """A table with a right MD5, filled up to 0xC00 bytes.

    Raises:
        FormatError: more partitions than fit.
    """
    plain = PartitionTable(tuple(partitions))
    used = PartitionEntry.size() * (len(partitions) + 1)
    if used >= BINARY_SIZE:
        most = BINARY_SIZE // PartitionEntry.size() - 2
        raise FormatError(
            f"partition table: found {len(partitions)} partitions, expected at most {most}", "merge some of them"
        )
    return PartitionTable(plain.partitions, Md5Entry(md5=plain.computed_md5()), b"\xff" * (BINARY_SIZE - used))


def without_md5(table: PartitionTable) -> PartitionTable:
    """The same table without its MD5, for bootloaders from before ESP-IDF 3.1."""
    size = PartitionEntry.size() * len(table.partitions)
    return PartitionTable(table.partitions, None, b"\xff" * (BINARY_SIZE - size))


def _partition(entry: PartitionEntry) -> Partition:
    return Partition(
        label=entry.label,
        type=entry.type,
        subtype=entry.subtype,
        offset=entry.pos_offset,
        size=entry.pos_size,
        flags=entry.flags,
    )
