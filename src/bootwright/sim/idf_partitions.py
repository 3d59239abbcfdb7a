"""The partition table as ESP-IDF's second-stage bootloader reads it.

Source: ESP-IDF v6.0, components/bootloader_support/src/bootloader_utility.c (`bootloader_utility_load_partition_table`)
and flash_partitions.c (`esp_partition_table_verify`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootwright.errors import FormatError
from bootwright.formats.esp_partitions import (
    BINARY_SIZE,
    SUBTYPES,
    TABLE_OFFSET,
    Partition,
    PartitionTable,
    PartitionType,
)
from bootwright.sim.run import HaltedError, Run, halted

FACTORY = -1  #: FACTORY_INDEX

_APP = SUBTYPES[PartitionType.APP]
_DATA = SUBTYPES[PartitionType.DATA]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootState:
    """`bootloader_state_t`: what the table offers for booting."""

    table: PartitionTable
    factory: Partition | None = None
    test: Partition | None = None
    otadata: Partition | None = None
    slots: tuple[Partition | None, ...] = ()  #: by OTA number

    @property
    def count(self) -> int:
        """`app_count`: how many OTA partitions there are."""
        return sum(slot is not None for slot in self.slots)

    def app(self, index: int) -> Partition | None:
        """`index_to_partition`."""
        if index == FACTORY:
            return self.factory
        return self.slots[index] if 0 <= index < min(self.count, len(self.slots)) else None


def load_table(run: Run) -> BootState:
    """Read and verify the table, through decryption when it is on.

    Raises:
        HaltedError: as the bootloader, which then resets.
    """
    offset = run.conf.integer("CONFIG_PARTITION_TABLE_OFFSET", TABLE_OFFSET)
    table = verify_table(run, run.board.flash.read(offset, BINARY_SIZE), offset)
    apps = [partition for partition in table if partition.type == PartitionType.APP]
    ota = {p.subtype & 0xF: p for p in apps if p.subtype & ~0xF == _APP["ota_0"]}
    return BootState(
        table=table,
        factory=_last(p for p in apps if p.subtype == _APP["factory"]),
        test=_last(p for p in apps if p.subtype == _APP["test"]),
        otadata=_last(p for p in table if (p.type, p.subtype) == (PartitionType.DATA, _DATA["ota"])),
        slots=tuple(ota.get(number) for number in range(max(ota, default=-1) + 1)),
    )


def verify_table(run: Run, data: bytes, offset: int) -> PartitionTable:
    """`esp_partition_table_verify`.

    Raises:
        HaltedError: with the entry that is wrong.
    """
    if data[:2] not in (b"\xaa\x50", b"\xeb\xeb"):
        magic = int.from_bytes(data[:2], "little")
        run.say("ERR", f"[flash_parts] partition 0 invalid magic number {magic:#x}")
        raise _bad_table(run, "magic", f"the first entry at {offset:#x} has magic {magic:#x}, expected 0x50aa")
    try:
        table = PartitionTable.parse(data, where=f"partition table at {offset:#x}")
    except FormatError as error:
        raise _bad_table(run, "entries", error.message) from None
    for index, partition in enumerate(table):
        if partition.end > run.board.raw_flash.size:
            because = f"partition {index} ends at {partition.end:#x}, the flash at {run.board.raw_flash.size:#x}"
            raise _bad_table(run, "bounds", because)
    if table.md5 is not None and table.md5.md5 != table.computed_md5():
        run.say("ERR", "[flash_parts] Incorrect MD5 checksum")
        raise _bad_table(run, "md5", f"the MD5 entry does not fit the {len(table.partitions)} entries before it")
    return table


def _bad_table(run: Run, what: str, because: str) -> HaltedError:
    run.say("ERR", "[boot] Failed to verify partition table")
    return halted(
        f"idf.partition_table.{what}",
        "partition table",
        because,
        "flash the partition table; under flash encryption it must be encrypted for its address",
    )


def _last(found: Iterator[Partition]) -> Partition | None:
    """The table may name a kind twice: the bootloader keeps the last."""
    result = None
    for result in found:  # noqa: B007 - the last one is wanted
        pass
    return result
