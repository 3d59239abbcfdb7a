"""Our images from ELF files are esptool's, byte for byte."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.elf import INIT_ARRAY, NOBITS, RISC_V, XTENSA, Section, make_elf
from tests.support.peers import run_peer

from bootwright.chips.chip import CHIP_NAMES
from bootwright.chips.memory import image_target
from bootwright.errors import BootwrightError
from bootwright.formats.esp_elf import ElfOptions, image_from_elf
from bootwright.formats.esp_elf_ram_only import ram_only_image_from_elf
from bootwright.formats.esp_image import AppDesc, SpiMode, verify_esp_image

XTENSA_CHIPS = ("esp32", "esp32s2", "esp32s3")


def esptool(place: Path, chip: str, elf: bytes, *options: str) -> bytes | None:
    """What elf2image makes, or nothing if it refuses."""
    (place / "in.elf").write_bytes(elf)
    ran = run_peer("esptool", "--chip", chip, "elf2image", "-o", "out.bin", *options, "in.elf", cwd=place)
    return (place / "out.bin").read_bytes() if ran.code == 0 else None


def ours(chip: str, elf: bytes, options: ElfOptions) -> bytes | None:
    try:
        return image_from_elf(elf, image_target(chip), options)
    except BootwrightError:
        return None


@st.composite
def elves(draw: st.DrawFn, chip: str) -> bytes:
    """Sections in RAM and in mapped flash, some adjoining, some in one page, in any order."""
    target = image_target(chip)
    sections: list[Section] = []
    content = st.binary(min_size=1, max_size=40)

    def bulk(data: bytes) -> bytes:
        return data * draw(st.sampled_from([1, 1, 7, 900, 3000]))

    for part in target.flash:
        address = part.start + draw(st.sampled_from([0x20, 0x20, 0, 0x120, 0x10020]))
        for number in range(draw(st.integers(0, 2))):
            name = ".flash.appdesc" if draw(st.booleans()) and not number else f".flash.{number}"
            description = AppDesc(mmu_page_size=draw(st.sampled_from([0, 15, 16]))).pack()
            data = description if name == ".flash.appdesc" else bulk(draw(content))
            data += bytes(-len(data) % 4)
            sections.append(Section(name, address, data))
            address += len(data) + draw(st.sampled_from([0, 0, 0x10000, 0x24]))
    for border in draw(st.lists(st.sampled_from([one for one in target.borders if one > 0x3F00_0000]), max_size=3)):
        if not target.is_flash(border):
            address = border + draw(st.sampled_from([0, 0x40]))
            for _ in range(draw(st.integers(1, 2))):
                name = draw(st.sampled_from([".iram0.text", ".dram0.data", ".dram0.bootdesc"]))
                kind = draw(st.sampled_from([1, 1, 1, INIT_ARRAY, NOBITS]))
                data = bulk(draw(content))
                sections.append(Section(name, address, data, kind))
                address += len(data) + -len(data) % 4
    sections.append(Section(".iram0.vectors", target.borders[-2], b"vectors!"))
    machine = XTENSA if chip in XTENSA_CHIPS else RISC_V
    return make_elf(0x4037_0000, draw(st.permutations(sections)), machine=machine)


@pytest.mark.parametrize("chip", CHIP_NAMES)
def test_sections_are_chosen_joined_and_placed_as_elf2image_does(chip: str, tmp_path: Path) -> None:
    target = image_target(chip)
    frequency = next(iter(target.flash_frequencies))

    @settings(max_examples=5)
    @given(elf=elves(chip), by_segments=st.booleans(), secure=st.booleans())
    def same(elf: bytes, by_segments: bool, secure: bool) -> None:
        flags = ["--flash-mode", "dio", "--flash-size", "4MB", "--flash-freq", frequency]
        flags += ["--use-segments"] if by_segments else []
        flags += ["--secure-pad-v2"] if secure else []
        options = ElfOptions(
            spi_mode=SpiMode.DIO,
            flash_size="4MB",
            flash_frequency=frequency,
            by_segments=by_segments,
            secure_pad=2 if secure else None,
        )
        made = ours(chip, elf, options)
        assert made == esptool(tmp_path, chip, elf, *flags)
        if made is not None:
            assert all(finding.verdict != "fail" for finding in verify_esp_image(made, chip_id=target.chip_id))

    same()


@pytest.mark.parametrize("chip", ["esp32", "esp32c3", "esp32c6", "esp32p4"])
def test_ram_only_images_are_elf2images(chip: str, tmp_path: Path) -> None:
    target = image_target(chip)

    def made(elf: bytes) -> bytes | None:
        try:
            return ram_only_image_from_elf(elf, target, ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB"))
        except BootwrightError:
            return None

    @settings(max_examples=4)
    @given(elf=elves(chip))
    def same(elf: bytes) -> None:
        assert made(elf) == esptool(tmp_path, chip, elf, "--ram-only-header")

    same()
    start = next(one for one in target.borders if one > 0x3F00_0000 and not target.is_flash(one))
    aligned = [Section("a", start, b"12345"), Section("b", start + 64, b"67", alignment=64)]
    aligned.append(Section(".flash.text", target.flash[-1].start + 0x30, b"code" * 99))
    elf = make_elf(start, aligned, machine=XTENSA if chip in XTENSA_CHIPS else RISC_V)
    assert made(elf) is not None
    assert made(elf) == esptool(tmp_path, chip, elf, "--ram-only-header")


APPLICATION = make_elf(
    0x4200_0020,
    [
        Section(".flash.appdesc", 0x3C00_0020, AppDesc(version=b"1".ljust(32, b"\0")).pack()),
        Section(".flash.rodata", 0x3C00_0120, b"read only data " * 100),
        Section(".flash.text", 0x4201_0020, b"code" * 5000),
        Section(".dram0.data", 0x3FC8_8000, b"data" * 999),
        Section(".iram0.text", 0x4038_0000, b"fast" * 20_000),
        Section(".dram0.bss", 0x3FC9_0000, bytes(100), NOBITS),
    ],
)


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ((), ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB")),
        (
            ("-fm", "qout", "-fs", "16MB", "-ff", "80m"),
            ElfOptions(spi_mode=SpiMode.QOUT, flash_size="16MB", flash_frequency="80m"),
        ),
        (("--dont-append-digest",), ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB", append_hash=False)),
        (
            ("--min-rev-full", "3", "--max-rev-full", "199", "--min-rev", "3"),
            ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB", min_rev=3, min_rev_full=3, max_rev_full=199),
        ),
        (("--pad-to-size", "1MB"), ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB", pad_to_size=1 << 20)),
        (("--secure-pad-v2",), ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB", secure_pad=2)),
        (("--use-segments",), ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB", by_segments=True)),
    ],
)
def test_every_option_does_what_elf2images_does(flags: tuple[str, ...], options: ElfOptions, tmp_path: Path) -> None:
    made = ours("esp32c3", APPLICATION, options)
    assert made is not None
    assert made == esptool(tmp_path, "esp32c3", APPLICATION, *flags)


def test_the_elfs_hash_goes_where_it_is_told(tmp_path: Path) -> None:
    elf = make_elf(0x4038_0000, [Section(".iram0.text", 0x4038_0000, bytes(300))])
    made = ours("esp32c3", elf, ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB", elf_sha256_offset=0x80))
    assert made == esptool(tmp_path, "esp32c3", elf, "--elf-sha256-offset", "0x80")


def test_version_1_padding_is_the_esp32s(tmp_path: Path) -> None:
    elf = make_elf(0x400D_0020, [Section(".flash.text", 0x400D_0020, b"code" * 5000)], machine=XTENSA)
    made = ours("esp32", elf, ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB", secure_pad=1))
    assert made == esptool(tmp_path, "esp32", elf, "--secure-pad")


@pytest.mark.parametrize("page", [0x2000, 0x4000, 0x8000, 0x10000])
def test_page_sizes_can_be_chosen_where_the_chip_has_several(page: int, tmp_path: Path) -> None:
    sections = [
        Section(".flash.rodata", 0x4200_0020, b"data" * 999),
        Section(".flash.text", 0x4202_0020, b"code" * 5000),
    ]
    elf = make_elf(0x4202_0020, sections)
    made = ours("esp32c6", elf, ElfOptions(spi_mode=SpiMode.QIO, flash_size="1MB", mmu_page_size=page))
    assert made == esptool(tmp_path, "esp32c6", elf, "--flash-mmu-page-size", f"{page >> 10}KB")
