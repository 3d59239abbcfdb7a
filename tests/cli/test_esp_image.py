"""`bootwright esp-image` from the outside."""

import hashlib
from pathlib import Path

import pytest
from tests.support.elf import Section, make_elf
from tests.support.here import answer, bootwright, complaint

from bootwright.formats.esp_image import AppDesc, EspImage, Segment, make_bootloader_image
from bootwright.formats.load_header import make_application

IMAGE = make_bootloader_image(5, size=0x1230)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "image").write_bytes(IMAGE)
    description = AppDesc(version=b"1.2".ljust(32, b"\0"), project_name=b"demo".ljust(32, b"\0")).pack()
    sections = [Section(".flash.appdesc", 0x3C00_0020, description), Section(".iram0.text", 0x4038_0000, b"code" * 25)]
    (tmp_path / "app.elf").write_bytes(make_elf(0x4038_0000, sections))
    return tmp_path


def test_an_image_is_made_shown_and_verified(place: Path) -> None:
    line = "esp-image make app.elf --chip esp32c3 --flash-freq 80m --min-revision 0.3 --max-revision 1.99 -o app.bin"
    made = answer(place, line)
    assert made["bytes"] == (place / "app.bin").stat().st_size
    shown = answer(place, "esp-image info app.bin")
    assert (shown["version"], shown["project"], shown["chip_id"]) == ("1.2", "demo", 5)
    assert (shown["min_revision"], shown["max_revision"], shown["spi_speed"]) == (3, 199, 15)
    assert [one["load_addr"] for one in shown["segments"]] == [0x3C00_0020, 0x4038_0000]
    assert "project       demo" in bootwright(place, "esp-image", "info", "app.bin").out
    answer(place, "esp-image verify --chip esp32c3 --revision 0.4 app.bin")
    old = answer(place, "esp-image verify --chip esp32c3 --revision v0.2 app.bin", code=1)
    assert [one["code"] for one in old["findings"] if one["verdict"] == "fail"] == ["esp.image.revision"]
    wrong = answer(place, "esp-image verify --chip esp32s3 app.bin", code=1)
    assert [one["code"] for one in wrong["findings"] if one["verdict"] == "fail"] == ["esp.image.chip"]


def test_options_of_the_image_reach_it(place: Path) -> None:
    answer(place, "esp-image make app.elf --chip esp32c3 --flash-mode qio --no-hash --segments -o app.bin")
    image = EspImage.parse((place / "app.bin").read_bytes())
    assert (image.header.spi_mode, image.hash) == (0, None)
    answer(place, "esp-image make app.elf --chip esp32c3 --secure-pad 2 -o padded.bin")
    assert (place / "padded.bin").stat().st_size % 0x10000 == 0
    answer(place, "esp-image make app.elf --chip esp32c3 --ram-only -o ram.bin")
    image = EspImage.parse((place / "ram.bin").read_bytes())
    assert [one.load_addr for one in image.segments] == [0x4038_0000]
    assert AppDesc.MAGIC.to_bytes(4, "little") in image.trailing
    complaint(place, "esp-image make app.elf --chip esp32c3 --ram-only --secure-pad 2 -o x.bin", code=3)


def test_what_a_chip_does_not_have_is_left_out_with_a_word(place: Path) -> None:
    plain = "esp-image make app.elf --chip esp32c3 -o plain.bin"
    assert "findings" in answer(place, plain)
    said = answer(place, "esp-image make app.elf --chip esp32c3 --secure-pad 1 --mmu-page-size 16K -o other.bin")
    assert [one["code"] for one in said["findings"]] == ["esp.image.secure_pad", "esp.image.mmu_page_size"]
    assert (place / "other.bin").read_bytes() == (place / "plain.bin").read_bytes()


def test_the_elfs_hash_and_the_files_size_can_be_chosen(place: Path) -> None:
    elf = make_elf(0x4038_0000, [Section(".iram0.text", 0x4038_0000, bytes(300))])
    (place / "bare.elf").write_bytes(elf)
    line = "esp-image make bare.elf --chip esp32c3 --elf-sha256-offset 0x80 --pad-to-size 64K -o bare.bin"
    assert answer(place, line)["bytes"] == 0x10000
    assert (place / "bare.bin").read_bytes()[0x80:0xA0] == hashlib.sha256(elf).digest()


def test_a_damaged_image_is_not_accepted(place: Path) -> None:
    (place / "bad").write_bytes(IMAGE[:-1] + b"\0")
    assert answer(place, "esp-image verify bad", code=1)["findings"][-1]["code"] == "esp.image.hash"
    assert "expected 0xe9" in complaint(place, "esp-image info app.elf", code=3)


def test_a_load_header_is_judged_by_the_chips_memory(place: Path) -> None:
    app = bytes(32) + make_application(0x4038_0004, Segment(0x4038_0000, b"code" * 9), Segment(0x3FC8_1000, b"data"))
    (place / "app").write_bytes(app)
    said = answer(place, "esp-image load-header --chip esp32c3 app")
    assert said["header"]["entry_addr"] == 0x4038_0004
    wrong = answer(place, "esp-image load-header --chip esp32p4 app", code=1)
    assert "load_header.iram" in [one["code"] for one in wrong["findings"]]
    assert answer(place, "esp-image load-header image", code=1)["findings"][0]["code"] == "load_header.magic"


@pytest.mark.parametrize("form", ["raw", "hex", "uf2"])
def test_files_are_merged_and_split_again(place: Path, form: str) -> None:
    (place / "table").write_bytes(b"\xaa\x50" * 40)
    line = f"esp-image merge --format {form} --chip esp32c3 -o flash 0x0 image 32K table"
    assert [one["address"] for one in answer(place, line)["parts"]] == [0, 0x8000]
    parts = answer(place, "esp-image split --into parts flash")["parts"]
    assert [one["address"] for one in parts] == [0, 0x8000]
    assert (place / "parts" / "0x00000000-part.bin").read_bytes() == IMAGE
    assert (place / "parts" / "0x00008000-part.bin").read_bytes() == b"\xaa\x50" * 40


def test_a_flash_is_split_along_its_table(place: Path) -> None:
    (place / "table.csv").write_text("nvs,data,nvs,,24K\nmy app,app,factory,,1M\n")
    answer(place, "esp-image merge -o flash --pad-to 2M 0x1000 image 0x10000 image 0x9000 table.csv")
    assert (place / "flash").stat().st_size == 2 << 20
    parts = answer(place, "esp-image split --into parts --table table.csv flash")["parts"]
    assert [Path(one["file"]).name for one in parts] == [
        "0x00001000-part.bin",
        "0x00009000-nvs.bin",
        "0x00010000-my_app.bin",
    ]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("merge -o out 0x0 image 0x1000 image", 3, "image at 0x0 reaches up to 0x1230, image at 0x1000 overlaps it"),
        ("merge -o out --base 0x1000 0x0 image", 3, "lies before the image's start 0x1000"),
        ("merge -o out --format uf2 0x0 image", 7, "names the chip"),
        ("make image --chip esp32c3 -o out", 3, "found no ELF that can be read"),
        ("make app.elf --chip esp32c3 --flash-freq 48m -o out", 5, "found '48m', the ESP32-C3 has 80m"),
        ("make app.elf --chip esp32c3 --flash-size 5MB -o out", 3, "found '5MB'"),
        ("make none.elf --chip esp32c3 -o out", 3, "none.elf: found nothing"),
        ("split --into parts --table image image", 3, "image"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(place: Path, line: str, code: int, words: str) -> None:
    assert words in complaint(place, f"esp-image {line}", code=code)
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    "line", ["merge -o out 0x0", "merge -o out here image", "verify --revision new image", "make app.elf -o out"]
)
def test_words_that_make_no_sense_are_usage_errors(place: Path, line: str) -> None:
    assert bootwright(place, "esp-image", *line.split()).code == 2
