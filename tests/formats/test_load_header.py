import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict
from bootwright.formats.esp_image import Segment
from bootwright.formats.load_header import (
    LoaderMemory,
    LoadHeader,
    ShortLoadHeader,
    make_application,
    parse_load_header,
    verify_load_header,
)

C3 = LoaderMemory(
    iram=(range(0x4037_C000, 0x403E_0000),),
    dram=(range(0x3FC8_0000, 0x3FCE_0000),),
    rtc_iram=(range(0x5000_0000, 0x5000_2000),),
)
CODE, DATA = Segment(0x4038_0000, b"code" * 10), Segment(0x3FC8_1000, b"data!")


def codes(findings: tuple[Finding, ...], verdict: Verdict = Verdict.FAIL) -> list[str]:
    return [finding.code for finding in findings if finding.verdict is verdict]


def slot(**changes: int) -> bytes:
    payload = make_application(0x4038_0004, CODE, DATA)
    header = LoadHeader.parse(payload)
    words = {field.name: getattr(header, field.name) for field in LoadHeader.layout()}
    return bytes(0x20) + LoadHeader(**{**words, **changes}).pack() + payload[LoadHeader.size() :]


@given(data=st.binary(min_size=96, max_size=96))
def test_the_long_form_is_96_bytes_and_the_short_form_its_first_32(data: bytes) -> None:
    assert LoadHeader.parse(data).pack() == data
    assert ShortLoadHeader.parse(data).pack() == data[:32]


def test_a_made_application_satisfies_the_loader() -> None:
    whole = slot()
    findings = verify_load_header(whole, memory=C3)
    assert not codes(findings)
    assert codes(findings, Verdict.PASS) == [
        "load_header.magic",
        "load_header.form",
        "load_header.iram",
        "load_header.dram",
        "load_header.entry",
    ]
    header = parse_load_header(whole)
    assert whole[header.iram_flash_offset :][: header.iram_size] == CODE.data
    assert whole[header.dram_flash_offset :][: header.dram_size] == DATA.data


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"header_magic": 0}, "load_header.magic"),
        ({"entry_addr": 0x4200_0000}, "load_header.entry"),
        ({"iram_dest_addr": 0x3FC8_0000}, "load_header.iram"),
        ({"iram_size": 0x10_0000}, "load_header.iram"),
        ({"dram_dest_addr": 0x4038_0000}, "load_header.dram"),
        ({"lp_rtc_iram_size": 4, "lp_rtc_iram_dest_addr": 0x6000_0000}, "load_header.lp_iram"),
        ({"dram_flash_offset": 0x100_0000}, "load_header.bounds"),
    ],
)
def test_what_the_loader_refuses_has_a_name(changes: dict[str, int], code: str) -> None:
    assert code in codes(verify_load_header(slot(**changes), memory=C3))


def test_a_header_of_2022_with_code_behind_it_is_recognised() -> None:
    short = ShortLoadHeader.parse(slot()[0x20:]).pack()
    old = bytes(0x20) + short + b"\x13\x05\x40\x00" * 40
    assert codes(verify_load_header(old)) == ["load_header.form", "load_header.bounds", "load_header.bounds"]


def test_another_header_size_is_warned_of_because_first_boot_would_not_encrypt_the_slot() -> None:
    moved = bytes(0x1E0) + slot()
    assert codes(verify_load_header(moved, 0x200), Verdict.WARN) == ["load_header.hdr_size"]


@given(data=st.binary(max_size=200))
def test_garbage_is_named(data: bytes) -> None:
    assert codes(verify_load_header(data)) == ["load_header.magic"]
    with pytest.raises(FormatError, match="load header: found"):
        parse_load_header(data)
