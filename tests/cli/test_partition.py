"""`bootwright partition` from the outside."""

from pathlib import Path

import pytest
from tests.support.here import answer, bootwright, complaint

from bootwright.formats.esp_nvs_keys import parse_nvs_keys
from bootwright.formats.esp_otadata import OtaData

TABLE = "nvs,data,nvs,,24K\notadata,data,ota,,8K\nota_0,app,ota_0,,1M\nota_1,app,ota_1,,1M\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path


def test_a_table_goes_from_text_to_binary_and_back(place: Path) -> None:
    assert answer(place, "partition convert table.csv -o table.bin")["bytes"] == 0xC00
    answer(place, "partition convert table.bin -o back.csv")
    answer(place, "partition convert back.csv -o again.bin")
    assert (place / "again.bin").read_bytes() == (place / "table.bin").read_bytes()
    answer(place, "partition convert --without-md5 table.csv -o bare.bin")
    assert b"\xeb\xeb" not in (place / "bare.bin").read_bytes()


@pytest.mark.parametrize("name", ["table.csv", "table.bin"])
def test_a_table_is_shown_and_judged_in_either_form(place: Path, name: str) -> None:
    answer(place, "partition convert table.csv -o table.bin")
    said = answer(place, f"partition check --flash-size 4M {name}")
    assert [one["name"] for one in said["partitions"]] == ["nvs", "otadata", "ota_0", "ota_1"]
    assert [one["encrypted"] for one in said["partitions"]] == [False, True, True, True]
    assert answer(place, f"partition find {name} ota_1")["offset"] == 0x120000
    assert bootwright(place, "partition", "find", name, "ota_1").out == "0x120000 0x100000\n"
    small = answer(place, f"partition check --flash-size 2M {name}", code=1)
    assert small["findings"][0]["code"] == "partition.flash_size"
    assert "under flash encryption" in bootwright(place, "partition", "check", name).out


def test_a_table_that_breaks_a_rule_is_not_made(place: Path) -> None:
    (place / "bad.csv").write_text("otadata,data,ota,,4K\n")
    said = complaint(place, "partition convert bad.csv -o bad.bin", code=7)
    assert "partition otadata: it has 0x1000 bytes, expected exactly 0x2000" in said
    assert not (place / "bad.bin").exists()
    (place / "worse.csv").write_text("a,data,what,,4K\n")
    assert "worse.csv:1: subtype: found 'what'" in complaint(place, "partition check worse.csv", code=3)
    complaint(place, "partition find table.csv none", code=3)


def test_the_project_around_a_table_is_given_as_options(place: Path) -> None:
    rows = "boot,bootloader,primary\nnext,bootloader,recovery\ntable,partition_table,primary\nmine,data,my_data,,4K\n"
    (place / "full.csv").write_text(rows)
    around = "--chip esp32p4 --recovery-bootloader-offset 0x3f0000 --extra-subtype data,my_data,0x99"
    said = answer(place, f"partition check full.csv {around} --table-offset 0x10000")
    assert [(one["offset"], one["size"]) for one in said["partitions"]] == [
        (0x2000, 0xE000),
        (0x3F0000, 0xE000),
        (0x10000, 0x1000),
        (0x3FE000, 0x1000),
    ]
    assert answer(place, f"partition find full.csv mine {around}")["subtype"] == "153"
    assert "the bootloader's offset is not known" in complaint(place, "partition check full.csv", code=3)
    wrong = "partition check full.csv --chip esp32 --extra-subtype data,x"
    assert "expected TYPE,NAME,NUMBER" in complaint(place, wrong, code=3)


def test_convert_holds_to_flash_size_and_secure_boot_where_it_is_told_them(place: Path) -> None:
    complaint(place, "partition convert table.csv -o small.bin --flash-size 2M", code=7)
    (place / "odd.csv").write_text("app,app,factory,,0x11000\n")
    complaint(place, "partition convert odd.csv -o odd.bin --secure-boot 1", code=7)
    answer(place, "partition convert odd.csv -o odd.bin --secure-boot 2")


def test_of_a_long_name_the_table_keeps_16_bytes_and_says_so(place: Path) -> None:
    (place / "long.csv").write_text("seventeen_letters,data,fat,,4K\n")
    said = answer(place, "partition convert long.csv -o long.bin")
    assert [one["code"] for one in said["findings"]] == ["partition.name.cut"]
    assert answer(place, "partition find long.bin seventeen_letter")["size"] == 0x1000
    (place / "twins.csv").write_text("seventeen_letters,data,fat,,4K\nseventeen_letterz,data,fat,,4K\n")
    assert "expected one" in complaint(place, "partition convert twins.csv -o twins.bin", code=7)


def test_a_damaged_binary_table_is_not_made_into_text(place: Path) -> None:
    answer(place, "partition convert table.csv -o table.bin")
    data = bytearray((place / "table.bin").read_bytes())
    data[6] ^= 1
    (place / "table.bin").write_bytes(data)
    assert "the MD5 is" in complaint(place, "partition convert table.bin -o back.csv", code=3)
    assert not (place / "back.csv").exists()


def test_otadata_is_chosen_and_read(place: Path) -> None:
    answer(place, "partition otadata ota.bin --slots 2 --choose 1")
    said = answer(place, "partition otadata ota.bin --slots 2")
    assert (said["slot"], said["active"]) == (1, 0)
    answer(place, "partition otadata ota.bin --slots 2 --choose 0 -o next.bin")
    assert OtaData.parse((place / "next.bin").read_bytes()).slot(2) == 0
    assert OtaData.parse((place / "ota.bin").read_bytes()).slot(2) == 1
    complaint(place, "partition otadata none.bin --slots 2", code=3)
    complaint(place, "partition otadata ota.bin --slots 2 --choose 2", code=3)


def test_nvs_keys_are_made_once_and_for_their_owner(place: Path) -> None:
    assert answer(place, "partition nvs-keys -o keys.bin")["derived"] is False
    parse_nvs_keys((place / "keys.bin").read_bytes())
    assert (place / "keys.bin").stat().st_mode & 0o777 == 0o600
    assert "overwritten are lost" in complaint(place, "partition nvs-keys -o keys.bin", code=7)
    (place / "hmac").write_bytes(bytes(range(32)))
    assert answer(place, "partition nvs-keys --hmac-key hmac -o derived.bin")["derived"] is True
    (place / "short").write_bytes(bytes(16))
    assert "found 16 bytes, expected 32" in complaint(place, "partition nvs-keys --hmac-key short -o x.bin", code=3)
