"""Records: a binary structure is declared once, and parse, pack, dump and reference page follow.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Version(Record):
        major: U8
        minor: U8
        revision: U16
        build: U32

Integers are little-endian unless the class sets `BYTE_ORDER = ">"`. Fields are `U8` … `U64`, raw bytes
declared as `Annotated[bytes, Size(n)]`, or another `Record`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from bootwright.errors import FormatError


@dataclass(frozen=True, slots=True)
class Width:
    """An unsigned integer of this many bytes."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Size:
    """Raw bytes, exactly this many."""

    bytes: int


U8 = Annotated[int, Width(1)]
U16 = Annotated[int, Width(2)]
U32 = Annotated[int, Width(4)]
U64 = Annotated[int, Width(8)]

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class FieldLayout:
    """Where one field lies in its record: offset and size in bytes."""

    name: str
    offset: int
    size: int
    kind: Literal["int", "bytes", "record"]


@dataclass(frozen=True, slots=True)
class _Layout:
    codec: struct.Struct
    fields: tuple[FieldLayout, ...]
    records: dict[str, type[Record]]


@dataclass(frozen=True, slots=True)
class Record:
    """Base of all binary structures: a frozen dataclass with a layout."""

    BYTE_ORDER: ClassVar[Literal["<", ">"]] = "<"

    @classmethod
    def layout(cls) -> tuple[FieldLayout, ...]:
        """The fields in order, with offsets from the record's start."""
        return _layout(cls).fields

    @classmethod
    def size(cls) -> int:
        """Bytes that the packed record takes."""
        return _layout(cls).codec.size

    @classmethod
    def parse(cls, data: bytes | memoryview, offset: int = 0, *, where: str = "") -> Self:
        """Read the record at `offset` of `data`; values are not judged.

        Raises:
            FormatError: the data end before the record does.
        """
        layout = _layout(cls)
        if offset < 0 or offset + layout.codec.size > len(data):
            raise FormatError(
                f"{where or cls.__name__}: found {max(len(data) - offset, 0)} bytes at offset {offset:#x}, "
                f"expected {layout.codec.size}",
                "the file is truncated or is of another format",
            )
        values: dict[str, Any] = {}
        for field, value in zip(layout.fields, layout.codec.unpack_from(data, offset), strict=True):
            inner = layout.records.get(field.name)
            values[field.name] = value if inner is None else inner.parse(value)
        return cls(**values)

    def pack(self) -> bytes:
        """The bytes of the record.

        Raises:
            FormatError: a value does not fit its field.
        """
        layout = _layout(type(self))
        values: list[Any] = []
        for field in layout.fields:
            value = getattr(self, field.name)
            if field.kind == "record":
                value = value.pack()
            elif field.kind == "bytes" and len(value) != field.size:
                raise FormatError(
                    f"{type(self).__name__}.{field.name}: found {len(value)} bytes, expected {field.size}",
                    "pad or cut the value to the size of its field",
                )
            elif field.kind == "int" and not 0 <= value < 1 << 8 * field.size:
                raise FormatError(
                    f"{type(self).__name__}.{field.name}: found {value}, expected 0..{(1 << 8 * field.size) - 1}",
                    "choose a value that fits the field",
                )
            values.append(value)
        return layout.codec.pack(*values)

    def dump(self, *, base: int = 0, prefix: str = "") -> list[tuple[int, bytes, str, str]]:
        """Rows `(offset, bytes, dotted field name, value)` for an annotated hex dump."""
        packed = self.pack()
        rows: list[tuple[int, bytes, str, str]] = []
        for field in self.layout():
            value = getattr(self, field.name)
            name = prefix + field.name
            if isinstance(value, Record):
                rows += value.dump(base=base + field.offset, prefix=name + ".")
                continue
            raw = packed[field.offset : field.offset + field.size]
            rows.append((base + field.offset, raw, name, f"{value:#x}" if field.kind == "int" else raw.hex()))
        return rows


_LAYOUTS: dict[type[Record], _Layout] = {}


def _layout(cls: type[Record]) -> _Layout:
    known = _LAYOUTS.get(cls)
    if known is None:
        known = _LAYOUTS[cls] = _compile(cls)
    return known


def _compile(cls: type[Record]) -> _Layout:
    hints = get_type_hints(cls, include_extras=True)
    code: str = cls.BYTE_ORDER
    at = 0
    rows: list[FieldLayout] = []
    records: dict[str, type[Record]] = {}
    for field in fields(cls):
        size, kind, letter = _field(hints[field.name], cls, field.name)
        if kind == "record":
            records[field.name] = hints[field.name]
        rows.append(FieldLayout(field.name, at, size, kind))
        code += letter
        at += size
    return _Layout(struct.Struct(code), tuple(rows), records)


def _field(hint: Any, cls: type[Record], name: str) -> tuple[int, Literal["int", "bytes", "record"], str]:
    if get_origin(hint) is Annotated:
        mark = get_args(hint)[1]
        if isinstance(mark, Width):
            return mark.bytes, "int", _CODES[mark.bytes]
        if isinstance(mark, Size):
            return mark.bytes, "bytes", f"{mark.bytes}s"
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.size(), "record", f"{hint.size()}s"
    raise TypeError(f"{cls.__name__}.{name} declares no width")
