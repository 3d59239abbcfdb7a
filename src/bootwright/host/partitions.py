"""Partition tables in files, text or binary alike."""

from __future__ import annotations

import os
from pathlib import Path

from bootwright.errors import RefusedError
from bootwright.finding import Verdict
from bootwright.formats.esp_partition_csv import CsvContext, decode_csv, format_csv, parse_csv
from bootwright.formats.esp_partition_rules import verify_partitions
from bootwright.formats.esp_partitions import (
    TABLE_OFFSET,
    Md5Entry,
    PartitionEntry,
    PartitionTable,
    without_md5,
)
from bootwright.host.files import read_bytes

#: how a binary table begins: with an entry, or empty with its MD5 or with nothing
_BINARY = (PartitionEntry.MAGIC.to_bytes(2, "little"), Md5Entry.MAGIC.to_bytes(2, "little"), b"\xff\xff")


def load_table(path: Path, *, table_offset: int = TABLE_OFFSET, bootloader_offset: int | None = None) -> PartitionTable:
    """The table in a file; variables in a text are those of the environment.

    Raises:
        FormatError: no such file, or no table in it.
    """
    data = read_bytes(path, what="partition table", limit=1 << 20)
    if data.startswith(_BINARY):
        return PartitionTable.parse(data, where=str(path))
    context = CsvContext(table_offset=table_offset, bootloader_offset=bootloader_offset, variables=os.environ)
    return parse_csv(decode_csv(data, where=str(path)), context=context, where=str(path))


def convert_table(
    path: Path, *, table_offset: int = TABLE_OFFSET, bootloader_offset: int | None = None, with_md5: bool = True
) -> bytes:
    """A text table as binary, or a binary one as text.

    Raises:
        FormatError: as `load_table`.
        RefusedError: the text breaks a rule that ESP-IDF's build enforces.
    """
    table = load_table(path, table_offset=table_offset, bootloader_offset=bootloader_offset)
    if read_bytes(path).startswith(_BINARY):
        return format_csv(table).encode()
    for finding in verify_partitions(table, table_offset=table_offset):
        if finding.verdict is Verdict.FAIL:
            raise RefusedError(f"{path}: partition {finding.subject}: {finding.because}", finding.next)
    return (table if with_md5 else without_md5(table)).pack()
