"""The codes that guard eFuse blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.chips.coding import check_34, crc8, encode_34, rs_parity, split_34
from bootwright.errors import FormatError

RS_BLOCKS = st.binary(max_size=32)


def test_parity_of_a_known_block() -> None:
    # From `reedsolo.RSCodec(12).encode(bytes(range(32)))`.
    assert rs_parity(bytes(range(32))).hex() == "a04c470d3ffcb203dae9f413"


def test_the_crc_of_a_known_address() -> None:
    # CUSTOM_MAC_CRC as `espefuse --chip esp32 --virt burn-custom-mac aa:bb:cc:dd:ee:02` burns it.
    assert crc8(bytes.fromhex("aabbccddee02")) == 0x9B


def test_an_empty_block_has_empty_parity() -> None:
    assert rs_parity(b"") == bytes(12)


@given(RS_BLOCKS, RS_BLOCKS)
def test_parity_is_linear(a: bytes, b: bytes) -> None:
    both = bytes(x ^ y for x, y in zip(a.ljust(32, b"\0"), b.ljust(32, b"\0"), strict=True))
    assert rs_parity(both) == bytes(x ^ y for x, y in zip(rs_parity(a), rs_parity(b), strict=True))


def test_a_block_of_33_bytes_is_refused() -> None:
    with pytest.raises(FormatError, match=r"found 33 bytes .* expected at most 32"):
        rs_parity(bytes(33))


@given(st.integers(0, 4).flatmap(lambda n: st.binary(min_size=6 * n, max_size=6 * n)))
def test_splitting_undoes_the_3_4_code(data: bytes) -> None:
    assert split_34(encode_34(data)) == (data, check_34(data))


def test_3_4_check_bytes_count_bits_by_position() -> None:
    # XOR of 01 and 80 is 81; one bit at position 1 and one at position 6 weigh 7.
    assert encode_34(bytes.fromhex("010000000080")) == bytes.fromhex("0100000000808107")


@pytest.mark.parametrize("code", [check_34, split_34])
def test_incomplete_3_4_units_are_refused(code: object) -> None:
    assert callable(code)
    with pytest.raises(FormatError, match="found 5 bytes"):
        code(bytes(5))
