"""The text form of a partition table: `name, type, subtype, offset, size, flags`, one partition a line.

What is left out is filled in as ESP-IDF does: an empty offset is the next aligned one, a negative size reaches up to
that address, sizes take K and M. Source: ESP-IDF components/partition_table/gen_esp32part.py.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bootwright.errors import FormatError
from bootwright.formats.esp_partitions import (
    APP_ALIGNMENT,
    SECTOR_SIZE,
    SUBTYPES,
    TABLE_OFFSET,
    TABLE_SIZE,
    Partition,
    PartitionFlags,
    PartitionTable,
    PartitionType,
    make_partition,
    make_table,
)

_TYPES = {type_.name.lower(): int(type_) for type_ in PartitionType}
_FLAGS = {flag.name.lower(): flag for flag in PartitionFlags if flag.name}
_UNITS = {"k": 1 << 10, "m": 1 << 20}
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvContext:
    """What a text table takes from the project around it."""

    table_offset: int = TABLE_OFFSET
    bootloader_offset: int | None = None  #: where the primary bootloader lies, for tables that name it
    recovery_bootloader_offset: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)  #: for `$NAME` and `${NAME}` in the text
    extra_subtypes: Mapping[tuple[int, str], int] = field(default_factory=dict)  #: (type, name) → subtype


@dataclass(frozen=True, slots=True)
class _Row:
    """A line as it stands, before gaps are filled; its size may be negative."""

    number: int
    name: str
    type: int
    subtype: int
    offset: int | None
    size: int
    flags: PartitionFlags


def decode_csv(data: bytes, *, where: str = "partition table") -> str:
    """Text of a file that may begin with a byte order mark.

    Raises:
        FormatError: neither UTF-8 nor what its mark says.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{where}: found byte {data[error.start]:#04x} at offset {error.start:#x}, expected text in {encoding}",
            "this is neither a text nor a binary partition table",
        ) from None


def parse_csv(text: str, *, context: CsvContext | None = None, where: str = "partition table") -> PartitionTable:
    """Read a text table and fill its gaps; the rules are not checked, see `esp_partition_rules`.

    Raises:
        FormatError: a line that cannot be read, or partitions that overlap; with the line's number.
    """
    around = context or CsvContext()
    rows = [
        _parse_line(_expand(line, around.variables, f"{where}:{number}").strip(), number, around, f"{where}:{number}")
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    ]
    return make_table(tuple(_placed(rows, around.table_offset, where)))


def format_csv(table: PartitionTable) -> str:
    """The text form of a table, as ESP-IDF writes it."""
    lines = ["# ESP-IDF Partition Table", "# Name, Type, SubType, Offset, Size, Flags", *map(_format_line, table)]
    return "\n".join(lines) + "\n"


def parse_extra_subtype(text: str) -> tuple[tuple[int, str], int]:
    """`TYPE,NAME,NUMBER`, a subtype that the project adds: (type, name) and its number.

    Raises:
        FormatError: other than three fields, or no type, name or number of 8 bits.
    """
    where = f"subtype {text!r}"
    fields = [part.strip() for part in text.split(",")]
    if len(fields) != 3 or not fields[1]:
        raise FormatError(f"{where}: expected TYPE,NAME,NUMBER", "for example data,my_data,0x99")
    number = _number(fields[2], where)
    if not 0 <= number < 256:
        raise FormatError(f"{where}: found {number:#x}, expected 8 bits", "choose a number below 0x100")
    return (_keyword(fields[0], _TYPES, f"{where}: type"), fields[1].lower()), number


def parse_number(text: str) -> int | None:
    """A number in any base of Python's, with `K` or `M` behind; `None` if it is none."""
    text = text.strip().lower()
    if text[-1:] in _UNITS:
        inner = parse_number(text[:-1])
        return None if inner is None else inner * _UNITS[text[-1]]
    try:
        return int(text, 0)
    except ValueError:
        return None


def _parse_line(line: str, number: int, around: CsvContext, where: str) -> _Row:
    name, type_text, subtype_text, offset, size, flags, *_ = [part.strip() for part in (line + ",,,,,").split(",")]
    type_ = _keyword(type_text, _TYPES, f"{where}: type")
    extra = {name: value for (of, name), value in around.extra_subtypes.items() if of == type_}
    if subtype_text:
        subtype = _keyword(subtype_text, {**SUBTYPES.get(type_, {}), **extra}, f"{where}: subtype")
    elif type_ == PartitionType.APP:
        raise FormatError(f"{where}: found no subtype, expected one for an app partition", "factory, test or ota_N")
    else:
        subtype = SUBTYPES[PartitionType.DATA]["undefined"]
    row = _Row(
        number,
        name,
        type_,
        subtype,
        _number(offset, f"{where}: offset") if offset else None,
        _number(size, f"{where}: size") if size else 0,
        _flags(flags, where),
    )
    return _of_the_project(row, around, where, has_size=bool(size))


def _of_the_project(row: _Row, around: CsvContext, where: str, *, has_size: bool) -> _Row:
    """Bootloaders and tables lie where the project says, whatever the line says."""
    offset, size = row.offset, row.size
    if row.type == PartitionType.BOOTLOADER:
        primary = _known(around.bootloader_offset, "the bootloader's offset", where)
        size = around.table_offset - primary
        places = {0: primary, 2: around.recovery_bootloader_offset}
        if row.subtype in places:
            offset = _known(places[row.subtype], "that bootloader's offset", where)
    elif row.type == PartitionType.PARTITION_TABLE:
        size = TABLE_SIZE
        offset = around.table_offset if row.subtype == 0 else offset
    elif not has_size:
        raise FormatError(f"{where}: found no size, expected one", "give a size in bytes, or with K or M")
    return _Row(row.number, row.name, row.type, row.subtype, offset, size, row.flags)


def _known(value: int | None, what: str, where: str) -> int:
    if value is None:
        raise FormatError(f"{where}: {what} is not known", "give --chip or the offset itself")
    return value


def _placed(rows: list[_Row], table_offset: int, where: str) -> Iterator[Partition]:
    """Fill in offsets and negative sizes, from the sector behind the table upwards."""
    at = table_offset + TABLE_SIZE
    for row in rows:
        primary = row.type in (PartitionType.BOOTLOADER, PartitionType.PARTITION_TABLE) and row.subtype == 0
        offset, size = row.offset, row.size
        if not primary:
            if offset is not None and offset < at:
                behind = "the partition table" if at == table_offset + TABLE_SIZE else "the partition before"
                raise FormatError(
                    f"{where}:{row.number}: partition {row.name!r} starts at {offset:#x}, {behind} ends at {at:#x}",
                    f"use {at:#x} or higher, or leave the offset out",
                )
            if offset is None:
                alignment = APP_ALIGNMENT if row.type == PartitionType.APP else SECTOR_SIZE
                offset = -(-at // alignment) * alignment
            if size < 0:
                size = -size - offset
            at = offset + size
        yield _sized(row, offset or 0, size, where)


def _sized(row: _Row, offset: int, size: int, where: str) -> Partition:
    if not (0 <= offset < 1 << 32 and 0 <= size < 1 << 32 and 0 <= row.type < 256 and 0 <= row.subtype < 256):
        raise FormatError(
            f"{where}:{row.number}: partition {row.name!r} has offset {offset:#x} and size {size:#x}, "
            f"type {row.type} and subtype {row.subtype}, expected 32 and 8 bits",
            "correct the numbers of this line",
        )
    return make_partition(row.name, row.type, row.subtype, offset, size, row.flags)


def _keyword(text: str, keywords: Mapping[str, int], where: str) -> int:
    if not text:
        raise FormatError(f"{where}: found nothing, expected one of {', '.join(keywords)}", "fill the field in")
    number = parse_number(text)
    if number is None:
        number = keywords.get(text.lower())
    if number is None:
        raise FormatError(f"{where}: found {text!r}, expected a number or one of {', '.join(keywords)}", "correct it")
    return number


def _number(text: str, where: str) -> int:
    number = parse_number(text)
    if number is None:
        raise FormatError(f"{where}: found {text!r}, expected a number", "write bytes, in hex or with K or M")
    return number


def _flags(text: str, where: str) -> PartitionFlags:
    flags = PartitionFlags(0)
    for name in filter(None, text.split(":")):
        if name not in _FLAGS:
            raise FormatError(f"{where}: found flag {name!r}, expected {' or '.join(_FLAGS)}", "separate flags by ':'")
        flags |= _FLAGS[name]
    return flags


def _expand(line: str, variables: Mapping[str, str], where: str) -> str:
    def value(found: re.Match[str]) -> str:
        name = found.group(1) or found.group(2)
        if name not in variables:
            raise FormatError(
                f"{where}: found variable {name!r}, expected one that is set", "set it or write the value"
            )
        return variables[name]

    return re.sub(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", value, line)


def _format_line(partition: Partition) -> str:
    flags = ":".join(name for name, flag in _FLAGS.items() if partition.flags & flag)
    size = next(
        (
            f"{partition.size // unit}{letter.upper()}"
            for letter, unit in reversed(_UNITS.items())
            if partition.size % unit == 0
        ),
        f"{partition.size:#x}",
    )
    fields = (partition.name, partition.type_name, partition.subtype_name, f"{partition.offset:#x}", size, flags)
    return ",".join(fields)
