"""What the port's CMake makes of a bootloader.conf; every case here was first tried with CMake 3.25."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.formats.bootloader_conf import BootloaderConf, Region, UpgradeMode


def definitions(conf: BootloaderConf) -> list[str]:
    return [f"{line.name}={line.value}" for line in conf.definitions]


def codes(conf: BootloaderConf) -> list[str]:
    return [finding.code for finding in conf.findings]


def parse(*texts: str) -> BootloaderConf:
    conf = BootloaderConf.parse(texts[0], where="a.conf")
    for number, text in enumerate(texts[1:], start=2):
        conf = conf.then(text, where=f"{number}.conf")
    return conf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nA=2\n", ["A=1", "A=2"]),
        ("B=y\nC=Y\n", ["B=1", "C=1"]),
        ("C=y \n", ["C=y "]),
        ("  D=N\nE=n\n", []),
        ("E=0x10 # sixteen\n", []),
        ("#A=1\n", []),
        ("F\n", ["F=F"]),
        ("G=a=b\n", ["G=a=b"]),
        ("H =3\n", ["H =3"]),
        ('I="x y"\r\n', ['I="x y"']),
        ("J=no\nK=\n", ["J=no", "K="]),
        ("=1\n", ["=1"]),
        ("\n\nA=1", ["A=1"]),
    ],
)
def test_a_file_becomes_the_definitions_that_cmake_makes_of_it(text: str, expected: Sequence[str]) -> None:
    assert definitions(parse(text)) == expected


def test_a_later_file_replaces_only_the_last_value_that_the_earlier_one_set() -> None:
    conf = parse("A=1\nA=2\nB=y\n", "A=3\nB=n\n")
    assert definitions(conf) == ["A=1", "A=3"]
    assert conf.value("A") == "3"
    assert dict(conf.variables) == {"A": "3", "B": "1"}
    assert not conf.defined("B")
    assert codes(conf) == ["conf.option.twice", "conf.off.half"]


def test_n_in_a_later_file_leaves_the_first_of_two_earlier_lines_in_force() -> None:
    conf = parse("A=1\nA=2\n", "A=n\n")
    assert conf.value("A") == "1"
    assert codes(conf)[-1] == "conf.off.ineffective"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("CONFIG_ESP_SIGN_EC256=y  # the key\n", "conf.comment.drops_option"),
        ("CONFIG_ESP_SIGN_EC256\n", "conf.line.no_value"),
        ("CONFIG_ESP_SIGN_EC256 =y\n", "conf.name.malformed"),
        ("\tCONFIG_ESP_SIGN_EC256=y\n", "conf.name.malformed"),
        ("CONFIG_ESP_SIGN_EC256=y \n", "conf.value.trailing_blank"),
        ("CONFIG_ESP_SIGN_EC256=0\n", "conf.switch.not_off"),
        ("CONFIG_ESP_SIGN_EC256=false\n", "conf.switch.not_off"),
        ("CONFIG_ESP_SIGN_EC256=y\nCONFIG_ESP_SIGN_EC256=n\n", "conf.off.ineffective"),
    ],
)
def test_a_line_that_does_not_do_what_it_seems_to_is_a_finding(text: str, code: str) -> None:
    found = parse(text).findings
    assert code in [finding.code for finding in found]
    assert all(re.match(r"a\.conf:\d+$", finding.subject) for finding in found)


@pytest.mark.parametrize(
    "text",
    ["# CONFIG_ESP_SIGN_EC256=y\n", "# plain words\n", "CONFIG_ESP_CONSOLE_UART_NUM=0\n", "CONFIG_ESP_SIGN_RSA=n\n"],
)
def test_a_usual_line_is_no_finding(text: str) -> None:
    assert parse(text).findings == ()


@pytest.mark.parametrize("text", ["A=1\n   \nB=2\n", "A=1;2\n"])
def test_what_stops_cmake_stops_here_with_the_line(text: str) -> None:
    with pytest.raises(FormatError, match=r"a\.conf:\d: found"):
        parse(text)


LAYOUT = """
CONFIG_ESP_FLASH_SIZE=4MB
CONFIG_ESP_BOOTLOADER_SIZE=0xF000
CONFIG_ESP_BOOTLOADER_OFFSET=0x0000
CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x20000
CONFIG_ESP_APPLICATION_SIZE=0x1C0000
CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x1E0000
CONFIG_ESP_SCRATCH_OFFSET=0x3E0000
CONFIG_ESP_SCRATCH_SIZE=0x1F000
"""


def test_the_default_layout_of_the_c3_is_read_as_regions() -> None:
    conf = parse(LAYOUT)
    assert conf.flash_size == 4 << 20
    assert conf.mode is UpgradeMode.SCRATCH
    assert conf.regions() == (
        Region("bootloader", 0, 0xF000),
        Region("primary", 0x20000, 0x1C0000),
        Region("secondary", 0x1E0000, 0x1C0000),
        Region("scratch", 0x3E0000, 0x1F000),
    )
    assert [region.sectors for region in conf.regions()] == [15, 448, 448, 31]
    assert (conf.max_align, conf.signature, conf.secure_boot, conf.release_mode) == (8, None, False, False)


def test_two_images_have_four_slots_of_one_size() -> None:
    conf = parse(
        LAYOUT,
        "CONFIG_ESP_IMAGE_NUMBER=2\nCONFIG_ESP_APPLICATION_SIZE=0x80000\n"
        "CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x20000\nCONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0xA0000\n"
        "CONFIG_ESP_IMAGE1_PRIMARY_START_ADDRESS=0x120000\nCONFIG_ESP_IMAGE1_SECONDARY_START_ADDRESS=0x1A0000\n"
        "CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH=1\nCONFIG_EFUSE_VIRTUAL_OFFSET=0x10000\nCONFIG_EFUSE_VIRTUAL_SIZE=0x2000\n",
    )
    names = [region.name for region in conf.regions()]
    assert names == [
        "bootloader",
        "virtual eFuses",
        "primary of image 0",
        "secondary of image 0",
        "primary of image 1",
        "secondary of image 1",
        "scratch",
    ]


@pytest.mark.parametrize(
    ("extra", "signature"),
    [
        ("CONFIG_ESP_SIGN_EC256=y\n", "ecdsa-p256"),
        ("CONFIG_ESP_SIGN_ED25519=y\n", "ed25519"),
        ("CONFIG_ESP_SIGN_RSA=y\nCONFIG_ESP_SIGN_RSA_LEN=3072\n", "rsa-3072"),
        ("CONFIG_ESP_SIGN_EC256=y\nCONFIG_ESP_SIGN_RSA=y\nCONFIG_ESP_SIGN_RSA_LEN=2048\n", "rsa-2048"),
        ("CONFIG_ESP_SIGN_ED25519=y\nCONFIG_ESP_SIGN_EC256=y\n", "ecdsa-p256"),
    ],
)
def test_the_signature_type_follows_the_header_s_order(extra: str, signature: str) -> None:
    assert parse(LAYOUT + extra).signature == signature


def test_an_rsa_length_that_stops_the_build_is_refused() -> None:
    conf = BootloaderConf.parse("CONFIG_ESP_SIGN_RSA=y\nCONFIG_ESP_SIGN_RSA_LEN=1024\n", where="b.conf")
    with pytest.raises(FormatError, match=r"b\.conf:2: found CONFIG_ESP_SIGN_RSA_LEN=1024, expected 2048 or 3072"):
        _ = conf.signature


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        ("CONFIG_ESP_BOOT_SWAP_USING_MOVE=y\nCONFIG_ESP_BOOT_UPGRADE_ONLY=y\n", "mode", "expected one upgrade mode"),
        ("CONFIG_ESP_IMAGE_NUMBER=3\n", "image_count", "found 3 images, expected 1 or 2"),
        ("CONFIG_ESP_FLASH_SIZE=4M\n", "flash_size", "expected a size like 4MB"),
        ("CONFIG_ESP_BOOTLOADER_SIZE=big\n", "bootloader", "expected a number"),
        ("", "bootloader", "found no CONFIG_ESP_BOOTLOADER_SIZE"),
    ],
)
def test_a_value_without_sense_says_what_was_expected(text: str, attribute: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        getattr(parse(text), attribute)


@given(st.integers(0, 2**32 - 1))
def test_numbers_are_read_as_c_reads_them(number: int) -> None:
    for text in (f"{number}", f"{number:#x}", f"({number:#X}UL)", f"0{number:o}"):
        assert parse(f"A={text}\n").integer("A") == number


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=200))
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    try:
        conf = parse(text)
    except FormatError as error:
        problems = [error.message]
    else:
        problems = [finding.because for finding in conf.findings]
    assert all(re.search("expected|a line with a #|blanks|took|set before|in force|asks", text) for text in problems)
