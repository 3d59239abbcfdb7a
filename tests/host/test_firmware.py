"""Firmware is read as it is, or refused before anything is played."""

from pathlib import Path

import pytest

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.errors import FormatError
from bootwright.finding import Verdict
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.load_header import parse_load_header, verify_load_header
from bootwright.host.firmware import make_application, read_application, read_bootloader, size_text

C3 = load_chip("esp32c3")


@pytest.mark.parametrize("chip", CHIP_NAMES)
def test_the_made_application_has_a_sound_load_header(chip: str) -> None:
    payload = make_application(load_chip(chip), seed="x")
    found = verify_load_header(bytes(32) + payload)
    assert [finding for finding in found if finding.verdict is not Verdict.PASS] == []
    assert payload == make_application(load_chip(chip), seed="x")
    assert payload != make_application(load_chip(chip), seed="y")


def test_an_application_with_and_without_room_for_its_header_is_the_same_payload(tmp_path: Path) -> None:
    payload = make_application(C3)
    for name, data in (("bare", payload), ("padded", bytes(32) + payload)):
        (tmp_path / name).write_bytes(data)
        read = read_application(tmp_path / name, C3, seed="")
        assert read.data == payload
        assert [finding.code for finding in read.findings] == ["app.load_header"]


def test_a_truncated_application_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(make_application(C3)[:1000])
    with pytest.raises(FormatError, match=r"app\.bin: found a truncated application: the IRAM part"):
        read_application(tmp_path / "app.bin", C3, seed="")


def test_a_load_header_of_2022_is_doubted_and_played(tmp_path: Path) -> None:
    payload = bytearray(make_application(C3))
    payload[84:96] = b"\xaa" * 12
    (tmp_path / "app.bin").write_bytes(payload)
    read = read_application(tmp_path / "app.bin", C3, seed="")
    assert [(f.code, f.verdict) for f in read.findings][1:] == [("load_header.form", Verdict.WARN)]


def test_anything_else_gets_a_load_header_and_a_warning(tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(b"\xe9" + bytes(range(255)) * 300)
    read = read_application(tmp_path / "app.bin", C3, seed="")
    header = parse_load_header(bytes(32) + read.data)
    assert header.iram_size == 0x8000
    assert read.data[96:].startswith(b"\xe9")
    assert [finding.code for finding in read.findings] == ["app.load_header.added"]


def test_a_bootloader_may_be_filled_with_ff_and_nothing_else(tmp_path: Path) -> None:
    image = make_bootloader_image(C3.chip_id, size=0x1000)
    (tmp_path / "b.bin").write_bytes(image + b"\xff" * 100)
    assert read_bootloader(tmp_path / "b.bin", C3, area=0xF000).data == image
    (tmp_path / "b.bin").write_bytes(image + b"\x00")
    with pytest.raises(FormatError, match="found 1 byte behind the image"):
        read_bootloader(tmp_path / "b.bin", C3, area=0xF000)


def test_sizes_are_said_in_whole_kilobytes_or_in_bytes() -> None:
    assert [size_text(size) for size in (0, 1, 1024, 49153)] == ["0 bytes", "1 byte", "1 KB", "49,153 bytes"]
