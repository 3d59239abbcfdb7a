import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.formats.flash_image import Part, merge, split_at_gaps, split_by_layout
from bootwright.formats.uf2 import BLOCK_SIZE, pack_uf2, parse_uf2


@st.composite
def apart(draw: st.DrawFn) -> list[Part]:
    """Parts in no order that do not overlap."""
    parts, at = [], 0
    for _ in range(draw(st.integers(1, 4))):
        at += draw(st.integers(0, 5)) * 0x800
        data = draw(st.binary(min_size=1, max_size=40)) * draw(st.sampled_from([1, 100]))
        parts.append(Part(at, data))
        at += len(data)
    return draw(st.permutations(parts))


@given(parts=apart(), base=st.integers(0, 16).map(lambda n: n * 0x1000))
def test_merging_what_was_split_gives_the_image_back(parts: list[Part], base: int) -> None:
    moved = [Part(base + part.address, part.data) for part in parts]
    image = merge(moved, base=base)
    end = base + len(image)
    for part in moved:
        assert image[part.address - base : part.end - base] == part.data
    areas = [("first", base, 0x1234), ("far", base + 0x5000, 0x900), ("away", end + 1, 0x1000)]
    for split in (split_at_gaps(image, base=base), split_by_layout(image, areas, base=base)):
        if split:
            assert merge(split, base=base, pad_to=end) == image
        else:
            assert set(image) <= {0xFF}


def test_splitting_cuts_at_erased_sectors_and_drops_erased_tails() -> None:
    image = merge([Part(0x1000, b"boot\xff\xff"), Part(0x8000, b"table"), Part(0x9000, b"next")], pad_to=0x10000)
    assert [(part.address, part.data[:4], len(part.data)) for part in split_at_gaps(image)] == [
        (0x1000, b"boot", 4),
        (0x8000, b"tabl", 0x1004),
    ]
    layout = [("table", 0x8000, 0x1000), ("nvs", 0x9000, 0x1000), ("empty", 0xA000, 0x1000)]
    assert [str(part) for part in split_by_layout(image, layout)] == [
        "part at 0x1000",
        "table at 0x8000",
        "nvs at 0x9000",
    ]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(FormatError, match="a at 0x1000 reaches up to 0x1010, b at 0x100f overlaps it"):
        merge([Part(0x100F, b"x", "b"), Part(0x1000, bytes(16), "a")])
    with pytest.raises(FormatError, match="part at 0x1000 lies before the image's start 0x2000"):
        merge([Part(0x1000, b"x")], base=0x2000)
    with pytest.raises(FormatError, match="part at 0x1000 ends at 0x1001, behind the flash of 0x1000"):
        merge([Part(0x1000, b"x")], pad_to=0x1000)
    with pytest.raises(FormatError, match="found no part"):
        merge([])


@given(parts=apart(), chunk=st.sampled_from([None, 256, 4]), with_md5=st.booleans())
def test_uf2_blocks_give_their_parts_back(parts: list[Part], chunk: int | None, with_md5: bool) -> None:
    data = pack_uf2(sorted(parts, key=lambda part: part.address), 0xD42BA06C, chunk_size=chunk, with_md5=with_md5)
    found, family = parse_uf2(data)
    assert family == 0xD42BA06C
    assert merge(found) == merge(parts)


def test_damaged_uf2_is_refused() -> None:
    data = pack_uf2([Part(0, bytes(1000))], 7)
    for at, words in ((0, "magic"), (511, "magic"), (40, "MD5"), (12, "MD5"), (17, "payload")):
        with pytest.raises(FormatError, match=words):
            parse_uf2(data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :])
    with pytest.raises(FormatError, match="expected blocks of 512"):
        parse_uf2(data[:-1])
    with pytest.raises(FormatError, match="families 0x7, 0x8"):
        parse_uf2(data + pack_uf2([Part(0, b"x")], 8))
    with pytest.raises(FormatError, match="found a chunk size of 456, expected a multiple of 4 up to 452"):
        pack_uf2([Part(0, b"x")], 7, chunk_size=456)
    assert len(data) == 3 * BLOCK_SIZE


@given(data=st.binary(max_size=BLOCK_SIZE))
def test_garbage_is_no_uf2(data: bytes) -> None:
    for given_data in (data, data.ljust(BLOCK_SIZE, b"\0")):
        with pytest.raises(FormatError):
            parse_uf2(given_data)
