from hypothesis import given
from hypothesis import strategies as st

from bootwright.smp import header


@given(
    op=st.integers(0, 7),
    version=st.integers(0, 3),
    flags=st.integers(0, 255),
    length=st.integers(0, 65535),
    group=st.integers(0, 65535),
    sequence=st.integers(0, 255),
    command=st.integers(0, 255),
)
def test_what_is_packed_is_parsed(
    op: int, version: int, flags: int, length: int, group: int, sequence: int, command: int
) -> None:
    value = header.Header(op, version, flags, length, group, sequence, command)
    assert header.parse(header.pack(value)) == value


def test_a_version_2_parameter_request_has_the_bytes_of_the_field() -> None:
    value = header.Header(header.READ, header.V2, 0, 1, header.OS, 0, header.OS_PARAMS)
    assert header.pack(value).hex() == "0800000100000006"


def test_pack_into_writes_the_same_bytes_where_it_is_told() -> None:
    buffer = bytearray(12)
    header.pack_into(buffer, 2, header.WRITE, header.V1, 25, header.IMAGE, 4, header.IMAGE_UPLOAD)
    assert buffer.hex() == "0000" + "0200001900010401" + "0000"
