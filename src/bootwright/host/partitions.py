"""Partition tables in files, text or binary alike."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from bootwright.errors import FormatError, RefusedError
from bootwright.finding import Finding, Verdict
from bootwright.formats.esp_partition_csv import CsvContext, decode_csv, parse_csv
from bootwright.formats.esp_partition_rules import check_md5, verify_partitions
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


def load_table(path: Path, context: CsvContext | None = None) -> PartitionTable:
    """The table in a file; variables in a text are those of the environment, beside what `context` says.

    Raises:
        FormatError: no such file, or no table in it.
    """
    data = read_bytes(path, what="partition table", limit=1 << 20)
    if data.startswith(_BINARY):
        return PartitionTable.parse(data, where=str(path))
    around = replace(context or CsvContext(), variables=os.environ)
    return parse_csv(decode_csv(data, where=str(path)), context=around, where=str(path))


def is_binary(path: Path) -> bool:
    """Whether the file holds the binary form.

    Raises:
        FormatError: no such file.
    """
    return read_bytes(path, what="partition table", limit=1 << 20).startswith(_BINARY)


def pack_table(
    table: PartitionTable,
    where: str,
    *,
    table_offset: int = TABLE_OFFSET,
    flash_size: int | None = None,
    secure_boot: int | None = None,
    with_md5: bool = True,
) -> tuple[bytes, tuple[Finding, ...]]:
    """The binary form of a table, and what deserves attention in it.

    Raises:
        RefusedError: the table breaks a rule that ESP-IDF's build enforces.
    """
    findings = verify_partitions(
        table, table_offset=table_offset, flash_size=flash_size, secure_boot=secure_boot, subject=where
    )
    for finding in findings:
        if finding.verdict is Verdict.FAIL:
            subject = where if finding.subject == where else f"{where}: partition {finding.subject}"
            raise RefusedError(f"{subject}: {finding.because}", finding.next)
    return (table if with_md5 else without_md5(table)).pack(), findings


def refuse_damaged(table: PartitionTable, where: str) -> tuple[Finding, ...]:
    """What deserves attention in the MD5 of a binary table.

    Raises:
        FormatError: the MD5 is not that of the entries.
    """
    findings = tuple(check_md5(table, where))
    for finding in findings:
        if finding.verdict is Verdict.FAIL:
            raise FormatError(f"{where}: {finding.because}", "read the table again; a bit of it has flipped")
    return findings
