"""Merged images are esptool's, in all three forms."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.peers import run_peer

from bootwright.chips.chip import CHIP_NAMES
from bootwright.chips.memory import uf2_family
from bootwright.formats.flash_image import Part, merge
from bootwright.formats.hexfile import pack_hex, parse_hex
from bootwright.formats.uf2 import pack_uf2

contents = st.lists(st.binary(min_size=1, max_size=300).map(lambda data: data * 3), min_size=3, max_size=3)
PLACES = (0x1000, 0x8000, 0x1_0000)


def esptool(place: Path, data: list[bytes], *options: str, chip: str = "esp32c3") -> bytes:
    words = []
    for number, (address, content) in enumerate(zip(PLACES, data, strict=True)):
        (place / f"{number}.bin").write_bytes(content)
        words += [hex(address), f"{number}.bin"]
    ran = run_peer("esptool", "--chip", chip, "merge-bin", "-o", "out", *options, *words, cwd=place)
    assert ran.code == 0, ran.err
    return (place / "out").read_bytes()


def test_raw_hex_and_uf2_are_esptools(tmp_path: Path) -> None:
    @settings(max_examples=3)
    @given(data=contents)
    def same(data: list[bytes]) -> None:
        parts = [Part(address, content) for address, content in zip(PLACES, data, strict=True)]
        assert merge(parts) == esptool(tmp_path, data)
        assert merge(parts, base=0x1000) == esptool(tmp_path, data, "-t", "0x1000")
        assert merge(parts, pad_to=2 << 20) == esptool(tmp_path, data, "--pad-to-size", "2MB")
        family = uf2_family("esp32c3")
        assert pack_uf2(parts, family) == esptool(tmp_path, data, "-f", "uf2")
        small = esptool(tmp_path, data, "-f", "uf2", "--chunk-size", "0x80", "--md5-disable")
        assert pack_uf2(parts, family, chunk_size=0x80, with_md5=False) == small
        segments = [(part.address, part.data) for part in parts]
        theirs = esptool(tmp_path, data, "-f", "hex")
        assert parse_hex(theirs) == parse_hex(pack_hex(segments)) == tuple(segments)

    same()


@pytest.mark.parametrize("chip", CHIP_NAMES)
def test_uf2_files_name_the_family_that_esptool_names(chip: str, tmp_path: Path) -> None:
    data = [b"\xe9" * 100, b"b", b"c" * 1000]
    parts = [Part(address, content) for address, content in zip(PLACES, data, strict=True)]
    assert pack_uf2(parts, uf2_family(chip)) == esptool(tmp_path, data, "-f", "uf2", chip=chip)
