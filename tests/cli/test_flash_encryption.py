"""`bootwright flash-encryption` from the outside."""

from pathlib import Path

import pytest
from tests.support.here import answer, bootwright, complaint

from bootwright.formats.esp_flash_encryption import encrypt_esp32, encrypt_xts
from bootwright.formats.esp_image import make_bootloader_image

IMAGE = make_bootloader_image(5, size=0x1230)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for size in (16, 24, 32, 64):
        (tmp_path / f"k{size}").write_bytes(bytes(range(1, size + 1)))
    (tmp_path / "image").write_bytes(IMAGE)
    return tmp_path


@pytest.mark.parametrize(
    ("chip", "key"), [("esp32c3", "k32"), ("esp32s3", "k64"), ("esp32c5", "k64"), ("esp32c2", "k16")]
)
def test_xts_chips_get_xts(place: Path, chip: str, key: str) -> None:
    said = answer(place, f"flash-encryption encrypt --chip {chip} -k {key} -a 64K -o out image")
    assert said["bytes"] == len(IMAGE)
    assert said["address"] == 0x10000
    assert (place / "out").read_bytes() == encrypt_xts(IMAGE, (place / key).read_bytes(), 0x10000)
    answer(place, f"flash-encryption decrypt --chip {chip} -k {key} -a 0x10000 -o back out")
    assert (place / "back").read_bytes() == IMAGE


def test_the_esp32_gets_its_own_scheme_and_its_crypt_config(place: Path) -> None:
    answer(place, "flash-encryption encrypt --chip esp32 -k k24 -a 0x1000 --crypt-config 5 -o out image")
    assert (place / "out").read_bytes() == encrypt_esp32(IMAGE, bytes(range(1, 25)), 0x1000, 5)
    answer(place, "flash-encryption decrypt --algorithm esp32 -k k24 -a 0x1000 --crypt-config 5 -o back out")
    assert (place / "back").read_bytes() == IMAGE


def test_a_key_is_made_for_its_chip_and_its_owner_and_never_overwritten(place: Path) -> None:
    for chip, size in (("esp32", 32), ("esp32s3", 64), ("esp32c6", 32)):
        assert answer(place, f"flash-encryption keygen --chip {chip} {chip}.bin")["bits"] == 8 * size
        assert (place / f"{chip}.bin").stat().st_size == size
        assert (place / f"{chip}.bin").stat().st_mode & 0o777 == 0o600
    assert "overwritten is lost" in complaint(place, "flash-encryption keygen esp32.bin", code=7)
    assert "the ESP32-C3 takes 256" in complaint(place, "flash-encryption keygen --chip esp32c3 --bits 512 n", code=7)
    assert answer(place, "flash-encryption keygen --bits 128 short")["bits"] == 128


def test_what_is_encrypted_already_is_refused_unless_it_is_meant(place: Path) -> None:
    line = "flash-encryption encrypt --chip esp32c3 -k k32 -a 0x1000 -o {} {}"
    answer(place, line.format("once", "image"))
    assert "ciphertext of this key for address 0x1000 already" in complaint(place, line.format("twice", "once"), code=7)
    assert not (place / "twice").exists()
    answer(place, line.format("twice", "once") + " --force")
    found = answer(place, "flash-encryption detect -k k32 -a 0x1000 twice", code=1)
    assert found["findings"][0]["code"] == "flash.encrypted_twice"


def test_ciphertext_moves_to_another_slot_and_key(place: Path) -> None:
    answer(place, "flash-encryption encrypt --chip esp32s3 -k k64 -a 0x20000 -o there image")
    answer(place, "flash-encryption reencrypt --chip esp32s3 -k k64 -a 0x20000 --new-address 0x170000 -o moved there")
    assert (place / "moved").read_bytes() == encrypt_xts(IMAGE, bytes(range(1, 65)), 0x170000)
    answer(place, "flash-encryption reencrypt --chip esp32s3 -k k64 -a 0x20000 --new-key k32 -o rekeyed there")
    assert (place / "rekeyed").read_bytes() == encrypt_xts(IMAGE, bytes(range(1, 33)), 0x20000)


def test_detection_names_the_key_and_the_mistake(place: Path) -> None:
    answer(place, "flash-encryption encrypt --algorithm esp32 -k k32 -a 0x1000 -o out image")
    assert answer(place, "flash-encryption detect image")["findings"][0]["code"] == "flash.plaintext"
    found = answer(place, "flash-encryption detect -k k64 -k k32 -a 0x1000 --chip esp32c3 out", code=1)["findings"][0]
    assert found["code"] == "flash.wrong_algorithm"
    assert "k32" in found["because"]
    assert bootwright(place, "flash-encryption", "detect", "out").code == 1


def test_a_dump_is_mapped_sector_by_sector(place: Path) -> None:
    key = bytes(range(1, 33))
    dump = bytearray(b"\xff" * 0x10000)
    dump[0 : len(IMAGE)] = encrypt_xts(IMAGE, key, 0)
    dump[0x4000:0x5000] = b"noise" * 819 + b"!"
    dump[0x8000 : 0x8000 + len(IMAGE)] = IMAGE
    dump[0xA000:0xC000] = encrypt_xts(b"\xff" * 0x2000, key, 0xA000)
    (place / "dump").write_bytes(dump)
    known = "an ESP image for chip id 5 of 0x1230 bytes"
    said = answer(place, "flash-encryption map --chip esp32c3 -k k32 dump")["stretches"]
    assert [(one["start"], one["end"], one["content"], one["what"]) for one in said] == [
        (0, 0x2000, "ciphertext", known),
        (0x2000, 0x4000, "erased", ""),
        (0x4000, 0x5000, "unknown", ""),
        (0x5000, 0x8000, "erased", ""),
        (0x8000, 0xA000, "plaintext", known),
        (0xA000, 0xC000, "erased, then encrypted", ""),
        (0xC000, 0x10000, "erased", ""),
    ]
    bare = answer(place, "flash-encryption map dump")["stretches"]
    assert [one["content"] for one in bare][:2] == ["unknown", "erased"]
    assert "0xc000  plaintext" in bootwright(place, "flash-encryption", "map", "dump").out


def test_short_tails_are_filled_only_on_request(place: Path) -> None:
    (place / "odd").write_bytes(b"x" * 100)
    line = "flash-encryption encrypt --chip esp32c3 -k k32 -a 0 -o out odd"
    assert "found 100 bytes at 0x0, expected multiples of 16" in complaint(place, line, code=5)
    answer(place, line + " --fill")
    assert (place / "out").read_bytes() == encrypt_xts(b"x" * 100 + b"\xff" * 12, bytes(range(1, 33)), 0)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("encrypt --chip esp32c3 -k k64 -a 0 -o out image", 5, "found 64 bytes, the ESP32-C3 takes 32"),
        ("encrypt --chip esp32c3 -k image -a 0 -o out image", 3, "image: found more than 0x40 bytes"),
        ("encrypt --chip esp32c3 -k none -a 0 -o out image", 3, "none: found nothing, expected a key file"),
        ("encrypt -k k32 -a 0 -o out image", 7, "neither chip nor algorithm is known"),
        ("encrypt --algorithm esp32 -k k16 -a 0 -o out image", 3, "found 16 bytes, expected 24 or 32"),
        ("encrypt --chip esp99 -k k32 -a 0 -o out image", 7, "unknown chip 'esp99'"),
        ("encrypt --chip esp32c3 -k k32 -a 8 -o out image", 5, "at 0x8, expected multiples of 16"),
        ("encrypt --chip esp32c3 -k k32 -a 0 -o no/out image", 7, "no: found nothing"),
        ("decrypt --chip esp32 -k k32 -a 16M -o out image", 5, "expected them inside 0x1000000"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(place: Path, line: str, code: int, words: str) -> None:
    said = complaint(place, f"flash-encryption {line}", code=code)
    assert words in said
    assert bytes(range(1, 17)).hex() not in said
    assert not (place / "out").exists()


def test_a_word_that_is_no_number_is_a_usage_error(place: Path) -> None:
    line = "flash-encryption encrypt --chip esp32c3 -k k32 -a zero -o out image"
    ran = bootwright(place, *line.split())
    assert ran.code == 2
    assert "'zero' is no number" in ran.err


def test_what_the_system_refuses_is_one_sentence(place: Path) -> None:
    name = "n" * 300
    assert f"{name}: File name too long" in complaint(place, f"flash-encryption keygen {name}", code=7)
    said = answer(place, f"flash-encryption keygen {name}", code=7)
    assert (said["verdict"], said["error"]["exit"]) == ("fail", 7)
