import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.elf import NOBITS, Section, make_elf

from bootwright.errors import BootwrightError, FormatError, SiliconError
from bootwright.formats.esp_elf import ElfOptions, ImageTarget, image_from_elf
from bootwright.formats.esp_image import AppDesc, EspImage, Segment, verify_esp_image

C3 = ImageTarget(
    title="ESP32-C3",
    chip_id=5,
    flash=(range(0x3C00_0000, 0x3C80_0000), range(0x4200_0000, 0x4280_0000)),
    borders=(0x3C00_0000, 0x3C80_0000, 0x3FC8_0000, 0x3FCE_0000, 0x4037_C000, 0x403E_0000, 0x4200_0000, 0x4280_0000),
    mmu_page_sizes=(0x10000,),
    flash_frequencies={"80m": 0xF, "40m": 0},
)
RAM = Section(".iram0.text", 0x4038_0000, b"fast" * 10)


def segments(*sections: Section, options: ElfOptions | None = None) -> list[Segment]:
    image = image_from_elf(make_elf(0x4038_0000, sections), C3, options)
    assert all(finding.verdict != "fail" for finding in verify_esp_image(image, chip_id=5))
    return list(EspImage.parse(image).segments)


def test_mapped_flash_lies_in_the_file_where_it_lies_in_its_page() -> None:
    text = Section(".flash.text", 0x4201_0040, b"code" * 4000)
    image = image_from_elf(make_elf(0, [text, RAM]), C3)
    at = image.index(text.data)
    assert at % 0x10000 == 0x40
    assert EspImage.parse(image).segments[-1].load_addr == text.address


def test_ram_fills_the_room_before_mapped_flash() -> None:
    large = Section(".iram0.text", 0x4038_0000, bytes(range(256)) * 600)
    found = segments(Section(".flash.text", 0x4200_0020, b"code"), Section(".flash.more", 0x4201_0020, b"more"), large)
    assert [one.load_addr for one in found] == [0x4200_0020, 0x4038_0000, 0x4201_0020, 0x4038_0000 + len(found[1].data)]
    assert found[1].data + found[3].data == large.data


def test_adjoining_sections_of_one_memory_are_joined_and_others_kept_apart() -> None:
    joined = segments(
        Section("a", 0x3FC8_0000, b"1234"), Section("b", 0x3FC8_0004, b"56"), Section("c", 0x3FC8_000C, b"7890")
    )
    assert joined == [Segment(0x3FC8_0000, b"123456\0\0"), Segment(0x3FC8_000C, b"7890")]


def test_what_is_not_stored_in_the_elf_is_left_out() -> None:
    assert segments(RAM, Section(".bss", 0x3FC8_0000, bytes(64), NOBITS)) == [Segment(0x4038_0000, RAM.data)]


def test_the_application_is_described_first_with_the_elfs_hash() -> None:
    description = AppDesc(version=b"7".ljust(32, b"\0")).pack()
    sections = [Section(".flash.text", 0x4200_0020, b"code"), Section(".flash.appdesc", 0x4201_0020, description)]
    elf = make_elf(0, sections)
    image = EspImage.parse(image_from_elf(elf, C3))
    assert image.app_desc is not None
    assert image.app_desc.version.startswith(b"7\0")
    assert image.app_desc.app_elf_sha256 == hashlib.sha256(elf).digest()


def test_secure_padding_ends_the_image_on_a_page() -> None:
    text = Section(".flash.text", 0x4200_0020, b"code" * 100)
    image = image_from_elf(make_elf(0, [text]), C3, ElfOptions(secure_pad=2))
    assert len(image) % 0x10000 == 0
    with pytest.raises(FormatError, match="no hash to append"):
        image_from_elf(make_elf(0, [text]), C3, ElfOptions(secure_pad=2, append_hash=False))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (ElfOptions(flash_size="3MB"), FormatError, "found '3MB', expected one of 1MB"),
        (ElfOptions(flash_frequency="48m"), SiliconError, "found '48m', the ESP32-C3 has 80m, 40m"),
        (ElfOptions(mmu_page_size=0x8000), SiliconError, "found 0x8000, the ESP32-C3 has 0x10000"),
        (ElfOptions(elf_sha256_offset=0x20), FormatError, "found other bytes than zeros at 0x20"),
        (ElfOptions(elf_sha256_offset=0x19), FormatError, "would cross a segment's border"),
    ],
)
def test_options_that_cannot_be_are_refused(options: ElfOptions, error: type[BootwrightError], words: str) -> None:
    with pytest.raises(error, match=words):
        image_from_elf(make_elf(0, [RAM]), C3, options)


def test_sections_in_one_page_and_other_machines_are_refused() -> None:
    with pytest.raises(FormatError, match=r"b at 0x42000100 and a at 0x42000020 share a page"):
        segments(Section("a", 0x4200_0020, b"1234"), Section("b", 0x4200_0100, b"5678"))
    with pytest.raises(FormatError, match="found an ELF for EM_ARM of 32 bits, expected 32 bits of Xtensa or RISC-V"):
        image_from_elf(make_elf(0, [RAM], machine=40), C3)
    with pytest.raises(FormatError, match="nothing that is loaded"):
        segments(Section("debug", 0, b"1234"))


@given(
    at=st.lists(st.tuples(st.integers(0, 499), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 500),
    junk=st.binary(max_size=60),
)
def test_a_damaged_elf_gives_an_image_or_an_error_of_ours(at: list[tuple[int, int]], cut: int, junk: bytes) -> None:
    elf = bytearray(make_elf(0x4038_0000, [RAM, Section(".flash.text", 0x4200_0020, b"code" * 9)]))
    for place, value in at:
        elf[place % len(elf)] = value
    for damaged in (bytes(elf), bytes(elf[:cut]), junk, bytes(elf[:52]) + junk):
        try:
            image_from_elf(damaged, C3)
        except BootwrightError as error:
            assert error.message  # noqa: PT017 - either outcome is right, a traceback is not
