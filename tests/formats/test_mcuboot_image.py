import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.formats.mcuboot_image import (
    HEADER_SIZE,
    Endian,
    Image,
    ImageVersion,
    Tlv,
    endian_of,
    make_header,
    pack_area,
)

tlvs = st.lists(st.builds(Tlv, st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=4).map(tuple)


@st.composite
def images(draw: st.DrawFn) -> Image:
    endian: Endian = draw(st.sampled_from(["<", ">"]))
    protected = draw(st.none() | tlvs)
    payload = draw(st.binary(max_size=100))
    rest = draw(st.binary(max_size=40))
    header = make_header(
        ImageVersion(major=1),
        endian,
        img_size=len(payload),
        hdr_size=HEADER_SIZE + len(rest),
        protect_tlv_size=0 if protected is None else len(pack_area(0, protected)),
    )
    return Image(
        header=header,
        header_rest=bytes(len(rest)),
        payload=payload,
        protected=protected,
        unprotected=draw(tlvs),
        rest=draw(st.binary(max_size=40)),
    )


@given(images())
def test_packing_what_was_parsed_gives_the_same_bytes(image: Image) -> None:
    data = image.pack()
    again = Image.parse(data)
    assert again.pack() == data
    assert again.size == len(data) - len(image.rest)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x3d\xb8\xf3\x96", b"\x96\xf3\xb8\x3d"]))
def test_any_bytes_are_an_image_or_a_format_error(data: bytes, magic: bytes) -> None:
    data = magic + data
    try:
        image = Image.parse(data)
    except FormatError:
        return
    assert image.pack() == data


@given(images(), st.data())
def test_any_flipped_byte_is_an_image_or_a_format_error(image: Image, data: st.DataObject) -> None:
    damaged = bytearray(image.pack())
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FormatError):
        assert Image.parse(bytes(damaged)).pack() == bytes(damaged)


@pytest.mark.parametrize(
    ("text", "version"),
    [("1", (1, 0, 0, 0)), ("1.2", (1, 2, 0, 0)), ("1.2.3", (1, 2, 3, 0)), ("255.255.65535+7", (255, 255, 65535, 7))],
)
def test_a_version_may_leave_out_its_later_parts(text: str, version: tuple[int, int, int, int]) -> None:
    found = ImageVersion.from_text(text)
    assert (found.major, found.minor, found.revision, found.build) == version
    assert ImageVersion.from_text(str(found)) == found


@pytest.mark.parametrize("text", ["", "v1", "01.2", "1.2.3.4", "1.2+3", "256", "1.2.65536", "1.0.0+4294967296"])
def test_a_version_of_another_shape_or_size_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="found"):
        ImageVersion.from_text(text)


def test_the_build_number_makes_no_version_newer() -> None:
    old, new = ImageVersion.from_text("1.2.3+1"), ImageVersion.from_text("1.2.3+2")
    assert not old.precedes(new)
    assert ImageVersion.from_text("1.2.2+9").precedes(old)


def test_the_magic_tells_the_byte_order() -> None:
    assert endian_of(make_header(ImageVersion(), "<", img_size=0).pack()) == "<"
    assert endian_of(make_header(ImageVersion(), ">", img_size=0).pack()) == ">"
    assert endian_of(b"\xff" * 32) is None


def test_a_vendor_tlv_has_a_16_bit_type() -> None:
    image = Image(
        header=make_header(ImageVersion(), img_size=0), payload=b"", unprotected=(Tlv(0x12A0, b"x"), Tlv(0x10, b"y"))
    )
    parsed = Image.parse(image.pack())
    assert [(tlv.type, tlv.name) for tlv in parsed.tlvs] == [(0x12A0, "VENDOR"), (0x10, "SHA256")]
    assert parsed.find(0x12A0) == (Tlv(0x12A0, b"x"),)


def test_an_image_cut_short_says_how_many_bytes_were_expected() -> None:
    data = Image(header=make_header(ImageVersion(), img_size=100), payload=bytes(100)).pack()
    with pytest.raises(FormatError, match="found 60 bytes, expected 132 of header and payload"):
        Image.parse(data[:60])
    with pytest.raises(FormatError, match="expected a TLV area at 0x84"):
        Image.parse(data[:133])
