from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.smp import cbor
from bootwright.smp.errors import MalformedError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=300)
    | st.text(max_size=40)
    | st.floats(allow_nan=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_encoded_is_decoded(value: object) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@given(VALUES)
def test_what_zcbor_would_write_is_decoded(value: object) -> None:
    assert cbor.decode(cbor.encode_indefinite(value)) == value


@given(VALUES)
def test_the_other_library_reads_what_we_write_and_we_read_what_it_writes(value: object) -> None:
    assert cbor2.loads(cbor.encode(value)) == value
    assert cbor2.loads(cbor.encode_indefinite(value)) == value
    assert cbor.decode(cbor2.dumps(value)) == value
    assert cbor.decode(cbor2.dumps(value, canonical=True)) == value


@given(VALUES, st.data())
def test_every_truncation_is_refused(value: object, data: st.DataObject) -> None:
    whole = cbor.encode_indefinite(value)
    with pytest.raises(MalformedError):
        cbor.decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_decode_or_raise_the_one_error(junk: bytes) -> None:
    reader = cbor.Reader(junk)
    for read in (lambda: cbor.decode(junk), reader.skip, cbor.Reader(junk).pairs):
        try:
            read()
        except MalformedError as error:
            assert "CBOR" in error.message  # noqa: PT017 - most bytes are no CBOR, some are


@given(VALUES)
def test_skipping_ends_where_reading_ends(value: object) -> None:
    whole = cbor.encode_indefinite(value) + b"more"
    skipping, reading = cbor.Reader(whole), cbor.Reader(whole)
    skipping.skip()
    reading.value()
    assert skipping.at == reading.at == len(whole) - 4


def test_strings_of_unknown_length_are_joined() -> None:
    assert cbor.decode(bytes.fromhex("5f42010243030405ff")) == bytes([1, 2, 3, 4, 5])
    assert cbor.decode(bytes.fromhex("7f61616162ff")) == "ab"


def test_a_map_keeps_its_order_and_its_duplicates_as_pairs() -> None:
    whole = bytes.fromhex("bf636f666600636f666601ff")
    assert cbor.Reader(whole).pairs() == [("off", 0), ("off", 1)]
    with pytest.raises(MalformedError, match="the key 'off' twice"):
        cbor.decode(whole)


@pytest.mark.parametrize(
    ("hex_bytes", "why"),
    [
        ("", "ends before its value"),
        ("19ff", "ends inside a number"),
        ("1c", "reserved length code 28"),
        ("1f", "number without a length"),
        ("ff", "simple value"),
        ("a1", "ends before its value"),
        ("bf6161", "ends before its value"),
        ("9f01", "end mark"),
        ("5f6161ff", "pieces of another kind"),
        ("5f5f4100ffff", "pieces of another kind"),
        ("42aa", "string of 2 bytes where only 1 are left"),
        ("61ff", "no UTF-8"),
        ("a18000", "key is a list"),
        ("f800", "simple value 0"),
        ("81" * 40 + "00", "nested deeper than 12"),
        ("0000", "1 bytes behind the CBOR value"),
    ],
)
def test_malformed_cbor_is_refused_with_its_reason(hex_bytes: str, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        cbor.decode(bytes.fromhex(hex_bytes))


def test_pairs_wants_a_map() -> None:
    with pytest.raises(MalformedError, match="kind 4 where a map is expected"):
        cbor.Reader(b"\x80").pairs()


@pytest.mark.parametrize("value", [0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1])
def test_a_head_put_in_place_is_the_head_that_encode_writes(value: int) -> None:
    buffer = bytearray(8)
    end = cbor.put_head(buffer, 1, cbor.UINT, value)
    assert bytes(buffer[1:end]) == cbor.encode(value)


def test_floats_of_every_width_are_read() -> None:
    for hex_bytes in ("f93c00", "fa3f800000", "fb3ff0000000000000"):
        assert cbor.decode(bytes.fromhex(hex_bytes)) == 1.0
    for bits in ("0001", "8000", "7bff", "7c00", "fc00", "c4b0"):
        assert cbor.decode(bytes.fromhex("f9" + bits)) == cbor2.loads(bytes.fromhex("f9" + bits))


def test_a_tag_is_dropped() -> None:
    assert cbor.decode(bytes.fromhex("c11a514b67b0")) == 0x514B67B0
    reader = cbor.Reader(bytes.fromhex("c10001"))
    reader.skip()
    assert reader.at == 2
