import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict
from bootwright.formats.esp_image import (
    AppDesc,
    BootloaderDesc,
    EspImage,
    EspImageHeader,
    Segment,
    make_bootloader_image,
    make_image,
    segments_checksum,
    verify_esp_image,
)

C3 = 5
segments = st.lists(
    st.builds(Segment, st.integers(0, 2**32 - 1), st.binary(min_size=0, max_size=100)), min_size=1, max_size=16
)


def header(**values: int) -> EspImageHeader:
    return EspImageHeader(**{"segment_count": 0, "entry_addr": 0x4038_0000, "chip_id": C3, **values})  # type: ignore[arg-type]  # only integers are given


def failures(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings if finding.verdict is Verdict.FAIL]


@given(segments=segments, hashed=st.integers(0, 1), trailing=st.binary(max_size=20))
def test_packing_what_was_parsed_gives_the_file_back(segments: list[Segment], hashed: int, trailing: bytes) -> None:
    data = make_image(header(hash_appended=hashed), segments).pack() + trailing
    image = EspImage.parse(data)
    assert image.pack() == data
    assert image.trailing == trailing
    assert image.length == len(data) - len(trailing)
    assert not failures(verify_esp_image(data, chip_id=C3))


@given(data=st.binary(max_size=200).map(lambda tail: b"\xe9\x02" + tail))
def test_any_bytes_give_an_image_or_a_format_error(data: bytes) -> None:
    try:
        assert EspImage.parse(data).pack() == data
    except FormatError:
        assert failures(verify_esp_image(data)) == ["esp.image.segments"]


def test_an_image_is_laid_out_as_the_loader_reads_it() -> None:
    data = make_image(header(), [Segment(0x3FC8_0000, b"\x01\x02\x03\x04"), Segment(0x4038_0000, b"\xff" * 8)]).pack()
    assert data[:8] == bytes.fromhex("e9 02 02 20 00 00 38 40")
    assert data[24:36] == bytes.fromhex("00 00 c8 3f 04 00 00 00 01 02 03 04")
    assert data[36:52] == bytes.fromhex("00 00 38 40 08 00 00 00 ff ff ff ff ff ff ff ff")
    assert data[52:63] == bytes(11)
    assert data[63] == 0xEF ^ 1 ^ 2 ^ 3 ^ 4
    assert data[64:] == hashlib.sha256(data[:64]).digest()


@given(data=st.binary(max_size=300))
def test_the_checksum_is_the_xor_of_all_bytes(data: bytes) -> None:
    expected = 0xEF
    for byte in data:
        expected ^= byte
    assert segments_checksum([Segment(0, data)]) == expected


def test_every_flipped_byte_of_an_image_with_a_hash_is_found_by_a_named_check() -> None:
    data = make_bootloader_image(C3, size=0x100)
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x40
        assert failures(verify_esp_image(bytes(broken), chip_id=C3)), f"the flip at {at:#x} went unseen"
    # Whoever clears `hash_appended` takes the hash out of the image; only Secure Boot minds that.
    unhashed = data[:0x17] + b"\0" + data[0x18:]
    assert [f.code for f in verify_esp_image(unhashed) if f.verdict is Verdict.WARN] == ["esp.image.hash"]


def test_the_synthetic_bootloader_has_the_size_asked_for_and_describes_itself() -> None:
    for size in (0xA0, 0x1000, 0x8000):
        data = make_bootloader_image(C3, size=size, version=7)
        assert len(data) == size
        description = EspImage.parse(data).bootloader_desc
        assert isinstance(description, BootloaderDesc)
        assert description.version == 7
    assert make_bootloader_image(C3) == make_bootloader_image(C3)
    assert make_bootloader_image(C3, seed=b"other") != make_bootloader_image(C3)


@pytest.mark.parametrize("size", [0, 0x20, 0x90, 0x1001])
def test_a_synthetic_bootloader_of_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(FormatError, match="multiple of 16 from 0xa0"):
        make_bootloader_image(C3, size=size)


def test_the_checks_have_names() -> None:
    good = make_bootloader_image(C3, size=0x200)
    assert failures(verify_esp_image(b"")) == ["esp.image.magic"]
    assert failures(verify_esp_image(b"\xff" + good[1:])) == ["esp.image.magic"]
    assert failures(verify_esp_image(good[:0x100])) == ["esp.image.segments"]
    assert failures(verify_esp_image(good, chip_id=9)) == ["esp.image.chip"]
    assert failures(verify_esp_image(good[:-1] + b"\0")) == ["esp.image.hash"]
    assert failures(verify_esp_image(good[:-33] + bytes([good[-33] ^ 1]) + good[-32:])) == [
        "esp.image.checksum",
        "esp.image.hash",
    ]


def test_a_chip_too_old_or_too_new_is_named() -> None:
    data = make_image(header(min_chip_rev_full=3, max_chip_rev_full=199), [Segment(0, bytes(4))]).pack()
    assert not failures(verify_esp_image(data, revision=101))
    assert failures(verify_esp_image(data, revision=2)) == ["esp.image.revision"]
    assert failures(verify_esp_image(data, revision=200)) == ["esp.image.revision"]
    bootloader = make_image(header(max_chip_rev_full=199), [Segment(0, BootloaderDesc().pack())]).pack()
    assert not failures(verify_esp_image(bootloader, revision=300)), "bootloaders are held to no maximum"
    unlimited = make_image(header(min_chip_rev_full=3), [Segment(0, bytes(4))]).pack()
    assert not failures(verify_esp_image(unlimited, revision=9999))


def test_an_image_without_hash_is_accepted_with_a_warning() -> None:
    findings = verify_esp_image(make_image(header(hash_appended=0), [Segment(0, bytes(4))]).pack())
    assert [f.code for f in findings if f.verdict is Verdict.WARN] == ["esp.image.hash"]


def test_a_segment_that_is_not_made_of_words_is_named() -> None:
    data = bytearray(make_image(header(), [Segment(0, bytes(4))]).pack())
    data[28] = 3
    assert "esp.image.segment.length" in failures(verify_esp_image(bytes(data)))


def test_an_application_is_described_by_its_first_segment() -> None:
    description = AppDesc(version=b"1.2.3".ljust(32, b"\0"), secure_version=4)
    image = make_image(header(), [Segment(0x3C00_0020, description.pack())])
    assert image.app_desc == description
    assert image.bootloader_desc is None
    assert EspImage.parse(make_bootloader_image(C3)).app_desc is None
    assert AppDesc.size() == 256
    assert BootloaderDesc.size() == 80


def test_too_many_segments_are_refused() -> None:
    with pytest.raises(FormatError, match="found 17 segments, expected 1 to 16"):
        make_image(header(), [Segment(0, b"")] * 17)
    with pytest.raises(FormatError, match="found 0 segments"):
        make_image(header(), [])
    with pytest.raises(FormatError, match=r"b\.bin: found 17 segments"):
        EspImage.parse(b"\xe9\x11" + bytes(100), where="b.bin")


def test_a_segment_beyond_the_file_says_what_it_claims() -> None:
    data = bytearray(make_bootloader_image(C3, size=0x200))
    data[28:32] = (0xFFFF_FFFF).to_bytes(4, "little")
    with pytest.raises(FormatError, match="segment 0 at offset 0x20 claims 0xffffffff bytes, found 0x1e0"):
        EspImage.parse(bytes(data))
