from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.formats.record import U8, U16, U32, U64, Record, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(Record):
    major: U8
    minor: U8
    revision: U16
    build: U32


@dataclass(frozen=True, slots=True, kw_only=True)
class Header(Record):
    BYTE_ORDER: ClassVar[Literal["<", ">"]] = ">"
    magic: U32
    version: Version
    name: Annotated[bytes, Size(5)]
    serial: U64


def test_the_layout_follows_from_the_declaration() -> None:
    assert [(f.name, f.offset, f.size) for f in Header.layout()] == [
        ("magic", 0, 4),
        ("version", 4, 8),
        ("name", 12, 5),
        ("serial", 17, 8),
    ]
    assert Header.size() == 25


@given(st.binary(min_size=25, max_size=25))
def test_packing_what_was_parsed_gives_the_same_bytes(data: bytes) -> None:
    assert Header.parse(data).pack() == data


def test_byte_order_is_the_records_own() -> None:
    header = Header.parse(bytes(range(25)))
    assert header.magic == 0x00010203
    assert header.version.revision == 0x0706


def test_a_truncated_record_says_how_much_was_found() -> None:
    with pytest.raises(FormatError, match=r"x\.bin: found 20 bytes at offset 0x5, expected 25"):
        Header.parse(bytes(25), 5, where="x.bin")


def test_a_value_that_does_not_fit_its_field_is_refused() -> None:
    version = Version(major=256, minor=0, revision=0, build=0)
    with pytest.raises(FormatError, match=r"Version\.major: found 256, expected 0\.\.255"):
        version.pack()
    header = Header(magic=1, version=Version.parse(bytes(8)), name=b"toolong", serial=0)
    with pytest.raises(FormatError, match=r"Header\.name: found 7 bytes, expected 5"):
        header.pack()


def test_the_dump_names_every_byte_once() -> None:
    header = Header.parse(bytes(range(25)))
    rows = header.dump()
    assert b"".join(raw for _, raw, _, _ in rows) == bytes(range(25))
    assert [name for _, _, name, _ in rows][1] == "version.major"
