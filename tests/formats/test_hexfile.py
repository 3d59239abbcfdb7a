from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.formats.hexfile import LARGEST_SPAN, Segment, flatten, pack_hex, parse_hex


@st.composite
def segments(draw: st.DrawFn) -> tuple[Segment, ...]:
    at = draw(st.sampled_from([0, 0xFFF0, 0x42000000, 0xFFFF0000]))
    found: list[Segment] = []
    for _ in range(draw(st.integers(0, 4))):
        at += draw(st.integers(1, 100))
        data = draw(st.binary(min_size=1, max_size=100))
        found.append((at, data))
        at += len(data)
    return tuple(found)


@given(segments())
def test_reading_what_was_written_gives_the_same_segments(found: tuple[Segment, ...]) -> None:
    assert parse_hex(pack_hex(found)) == found


@given(segments())
def test_the_intelhex_package_reads_what_we_write_and_writes_the_same(found: tuple[Segment, ...]) -> None:
    import io

    import intelhex

    theirs = intelhex.IntelHex()
    for address, data in found:
        theirs.puts(address, data)
    text = io.StringIO()
    theirs.write_hex_file(text)
    assert text.getvalue().encode() == pack_hex(found)


@given(st.binary(max_size=200) | st.text(":0123456789ABCDEF\n", max_size=200).map(str.encode))
def test_any_bytes_are_segments_or_a_format_error(data: bytes) -> None:
    with suppress(FormatError):
        flatten(parse_hex(data))


def test_gaps_are_filled_with_erased_bytes() -> None:
    assert flatten(((0x100, b"ab"), (0x104, b"c"))) == b"ab\xff\xffc"
    assert flatten(()) == b""


def test_adjoining_segments_share_a_record() -> None:
    assert pack_hex([(8, b"b" * 8), (0, b"a" * 8)]).count(b"\n") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"hello", "line 1: found b'hello', expected an Intel HEX record"),
        (b":0000000\n", "expected an Intel HEX record"),
        (b"\n:0300000001020305\n", "line 2: found checksum 0x05"),
        (b":04000000010203F6\n", "found a record of 8 bytes, expected 9 by its length byte"),
        (b":0100000001FF\n", "found checksum 0xff, expected 0xfe"),
        (b":00000006FA\n", "found a record of type 6"),
        (b":0100000100FE\n", "found a record of type 1 with 1 bytes"),
        (b":0100000001FE\n:0100000002FD\n", "found two records for address 0x0"),
    ],
)
def test_a_bad_line_is_named(text: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_hex(text)


def test_addresses_too_far_apart_are_no_flash_image() -> None:
    with pytest.raises(FormatError, match="bytes apart"):
        flatten(((0, b"a"), (LARGEST_SPAN, b"b")))
