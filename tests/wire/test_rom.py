from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import WireError
from bootwright.wire.rom import Opcode, Request, Response, checksum, data_request


@given(st.binary(max_size=300))
def test_the_checksum_is_the_xor_of_all_bytes_seeded_with_ef(data: bytes) -> None:
    assert checksum(data) == reduce(xor, data, 0xEF)


@given(st.integers(0, 255), st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_a_request_is_read_back_as_it_was_packed(op: int, data: bytes, check: int) -> None:
    assert Request.parse(Request(op, data, check).pack()) == Request(op, data, check)


@given(st.integers(0, 255), st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_a_response_is_read_back_as_it_was_packed(op: int, data: bytes, value: int) -> None:
    assert Response.parse(Response(op, data, value).pack()) == Response(op, data, value)


@pytest.mark.parametrize("packet", [b"", b"\x00\x08", b"\x01\x08\0\0\0\0\0\0", b"\x00\x08\x05\0\0\0\0\0abcd"])
def test_what_is_no_request_is_a_wire_error(packet: bytes) -> None:
    with pytest.raises(WireError):
        Request.parse(packet)


def test_a_data_request_carries_length_sequence_and_checksum() -> None:
    request = data_request(Opcode.MEM_DATA, b"abc", 7)
    assert request.words(2) == (3, 7)
    assert request.checksum == checksum(b"abc")
    with pytest.raises(WireError, match="expected at least 20"):
        request.words(5)
