"""The rules that a partition table must keep, each with its name.

Source: ESP-IDF components/partition_table/gen_esp32part.py (what the build refuses) and
docs/en/api-guides/partition-tables.rst.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bootwright.finding import Finding, failed, passed, warned
from bootwright.formats.esp_partitions import (
    APP_ALIGNMENT,
    LABEL_SIZE,
    SECTOR_SIZE,
    SUBTYPES,
    TABLE_OFFSET,
    TABLE_SIZE,
    Partition,
    PartitionFlags,
    PartitionTable,
    PartitionType,
)

OTADATA_SIZE = 0x2000
NVS_KEYS_SIZE = 0x1000
SMALLEST_WRITABLE_NVS = 0x3000

_DATA = SUBTYPES[PartitionType.DATA]
_KNOWN_FLAGS = int(PartitionFlags.ENCRYPTED | PartitionFlags.READONLY)


def verify_partitions(
    table: PartitionTable,
    *,
    table_offset: int = TABLE_OFFSET,
    flash_size: int | None = None,
    secure_boot: int | None = None,
    subject: str = "partition table",
) -> tuple[Finding, ...]:
    """What ESP-IDF's build, its bootloader and its manual say of a table.

    `secure_boot` is the version of Secure Boot that the applications are signed for: under version 1 they fill whole
    64 KiB.
    """
    complaints = [
        *check_md5(table, subject),
        *(finding for partition in table for finding in _check_alignment(partition, secure_boot)),
        *(finding for partition in table for finding in _check_kind(partition)),
        *(finding for partition in table for finding in _check_name(partition)),
        *_check_names(table),
        *_check_places(table, table_offset),
        *_check_single(table, "ota"),
        *_check_single(table, "tee_ota"),
        *_check_flash_size(table, flash_size, subject),
    ]
    if complaints:
        return tuple(complaints)
    return (passed("partition.rules", subject, f"{len(table.partitions)} partitions keep all rules"),)


def check_md5(table: PartitionTable, subject: str) -> Iterator[Finding]:
    """What is wrong with the MD5 of a table, if anything."""
    if table.md5 is None:
        why = "the table carries no MD5, so that a flipped bit goes unseen"
        yield warned("partition.md5.missing", subject, why, "make the table with its MD5")
    elif table.md5.md5 != table.computed_md5():
        why = f"the MD5 is {table.md5.md5.hex()}, the entries give {table.computed_md5().hex()}"
        yield failed("partition.md5", subject, why, "make the table again")


def _check_alignment(partition: Partition, secure_boot: int | None) -> Iterator[Finding]:
    is_app = partition.type == PartitionType.APP
    alignment = APP_ALIGNMENT if is_app else SECTOR_SIZE
    if partition.offset % alignment:
        why = f"the offset {partition.offset:#x} is no multiple of {alignment:#x}"
        yield failed("partition.offset.aligned", partition.name, why, "leave the offset out, or align it")
    unit = APP_ALIGNMENT if secure_boot == 1 else SECTOR_SIZE
    if is_app and partition.size % unit:
        why = f"the size {partition.size:#x} is no multiple of {unit:#x}"
        yield failed("partition.size.aligned", partition.name, why, "round the size up")
    if partition.size == 0:
        yield warned("partition.size.zero", partition.name, "the size is 0", "give it a size")


def _check_kind(partition: Partition) -> Iterator[Finding]:
    if partition.type != PartitionType.DATA:
        return
    read_only = bool(partition.flags & PartitionFlags.READONLY)
    if read_only and partition.subtype in (_DATA["ota"], _DATA["coredump"]):
        why = f"a {partition.subtype_name} partition is written at run time, expected no flag readonly"
        yield failed("partition.readonly", partition.name, why, "drop the flag readonly")
    if partition.subtype == _DATA["nvs"]:
        if not read_only and partition.size < SMALLEST_WRITABLE_NVS:
            why = f"a writable nvs of {partition.size:#x} bytes is too small, expected {SMALLEST_WRITABLE_NVS:#x}"
            yield failed("partition.nvs.size", partition.name, why, "make it larger, or flag it readonly")
        if partition.flags & PartitionFlags.ENCRYPTED:
            why = "the flag encrypted does nothing to nvs, which has an encryption of its own"
            yield warned("partition.nvs.encrypted", partition.name, why, "use an nvs_keys partition instead")
    if partition.subtype == _DATA["nvs_keys"] and partition.size < NVS_KEYS_SIZE:
        why = f"nvs_keys has {partition.size:#x} bytes, expected {NVS_KEYS_SIZE:#x}"
        yield failed("partition.nvs_keys.size", partition.name, why, "make it one sector")


def _check_name(partition: Partition) -> Iterator[Finding]:
    if partition.flags & ~_KNOWN_FLAGS:
        why = f"the flags {partition.flags:#x} hold bits that no version of ESP-IDF names"
        yield warned("partition.flags", partition.name, why, "the table is of a newer format, or damaged")
    if len(partition.label) > LABEL_SIZE:
        why = f"the name has {len(partition.label)} bytes, the table keeps {partition.label[:LABEL_SIZE]!r}"
        yield warned("partition.name.cut", partition.name, why, f"shorten it to {LABEL_SIZE} bytes")
    types = {type_.name.lower(): int(type_) for type_ in PartitionType}
    means = [
        (type_, value) for type_, names in SUBTYPES.items() for name, value in names.items() if name == partition.name
    ]
    if partition.name in types and types[partition.name] != partition.type:
        why = f"its name is that of a type, and its type is {partition.type_name}"
        yield warned("partition.name.misleading", partition.name, why, "is the line mistaken?")
    if means and (partition.type, partition.subtype) not in means:
        why = f"its name is that of a subtype, and it is {partition.type_name}/{partition.subtype_name}"
        yield warned("partition.name.misleading", partition.name, why, "is the line mistaken?")


def _check_names(table: PartitionTable) -> Iterator[Finding]:
    for label, count in Counter(partition.label[:LABEL_SIZE] for partition in table).items():
        if count > 1:
            name = label.rstrip(b"\0").decode("utf-8", "replace")
            why = f"{count} partitions have this name, expected one"
            yield failed("partition.name.duplicate", name, why, "name them apart")


def _check_places(table: PartitionTable, table_offset: int) -> Iterator[Finding]:
    behind_table = table_offset + TABLE_SIZE
    last: Partition | None = None
    for partition in sorted(table, key=lambda one: one.offset):
        primary = partition.type in (PartitionType.BOOTLOADER, PartitionType.PARTITION_TABLE) and partition.subtype == 0
        if partition.offset < behind_table and not primary:
            why = f"it starts at {partition.offset:#x}, the partition table ends at {behind_table:#x}"
            yield failed("partition.below_table", partition.name, why, f"start at {behind_table:#x} or higher")
        if last is not None and partition.offset < last.end:
            why = f"it starts at {partition.offset:#x}, {last.name} reaches up to {last.end:#x}"
            yield failed("partition.overlap", partition.name, why, "move one of them")
        last = partition


def _check_single(table: PartitionTable, subtype_name: str) -> Iterator[Finding]:
    found = [one for one in table if one.type == PartitionType.DATA and one.subtype == _DATA[subtype_name]]
    if len(found) > 1:
        names = ", ".join(partition.name for partition in found)
        yield failed(
            "partition.otadata.duplicate", names, f"{len(found)} {subtype_name} partitions, expected one", "keep one"
        )
    for partition in found[:1]:
        if partition.size != OTADATA_SIZE:
            why = f"it has {partition.size:#x} bytes, expected exactly {OTADATA_SIZE:#x}: two sectors"
            yield failed("partition.otadata.size", partition.name, why, f"make it {OTADATA_SIZE:#x}")


def _check_flash_size(table: PartitionTable, flash_size: int | None, subject: str) -> Iterator[Finding]:
    end = max((partition.end for partition in table), default=0)
    if flash_size is not None and end > flash_size:
        why = f"the partitions reach up to {end:#x}, the flash has {flash_size:#x}"
        yield failed("partition.flash_size", subject, why, "make partitions smaller, or use a larger flash")
