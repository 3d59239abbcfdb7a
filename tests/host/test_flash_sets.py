import json
from pathlib import Path

import pytest

from bootwright.chips.chip import load_chip
from bootwright.errors import FormatError, RefusedError
from bootwright.formats.esp_partition_csv import parse_csv
from bootwright.host.flash_sets import pieces_of_flasher_args, pieces_of_pairs, pieces_of_project
from bootwright.host.flashing import Role
from bootwright.host.project import load_project

C3 = load_chip("esp32c3")
TABLE = parse_csv("nvs,data,nvs,0x9000,24K\notadata,data,ota,0xf000,8K\nfactory,app,factory,0x20000,1M\n").pack()
IMAGE = b"\x3d\xb8\xf3\x96" + bytes(100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in {"boot": b"\xe9" + bytes(99), "table": TABLE, "app": IMAGE, "nvs": b"n", "ota": b"o"}.items():
        (tmp_path / f"{name}.bin").write_bytes(data)
    return tmp_path


def test_a_partition_table_among_the_files_says_what_is_encrypted(folder: Path) -> None:
    places = {0x0: "boot", 0x8000: "table", 0x9000: "nvs", 0xF000: "ota", 0x20000: "app", 0x300000: "nvs"}
    pieces = pieces_of_pairs(C3, tuple((at, folder / f"{name}.bin") for at, name in places.items()))
    assert [piece.role for piece in pieces] == [
        Role.BOOTLOADER,
        Role.PARTITION_TABLE,
        Role.PLAIN_DATA,
        Role.ENCRYPTED_DATA,
        Role.APP,
        Role.UNKNOWN,
    ]


@pytest.mark.parametrize("table", ["no json", "[]", {}, {"flash_files": {"zero": "app.bin"}}])
def test_a_list_that_idf_did_not_write_is_refused(folder: Path, table: object) -> None:
    text = table if isinstance(table, str) else json.dumps(table)
    (folder / "flasher_args.json").write_text(text)
    with pytest.raises(FormatError, match=r"flasher_args\.json"):
        pieces_of_flasher_args(folder / "flasher_args.json", C3)


@pytest.mark.parametrize(("flag", "role"), [("true", Role.ENCRYPTED_DATA), ("false", Role.PLAIN_DATA)])
def test_where_no_table_decides_the_list_says_what_is_encrypted(folder: Path, flag: str, role: Role) -> None:
    listed = {
        "flash_files": {"0x0": "boot.bin", "0x300000": "nvs.bin"},
        "bootloader": {"offset": "0x0", "file": "boot.bin", "encrypted": "true"},
        "storage": {"offset": "0x300000", "file": "nvs.bin", "encrypted": flag},
    }
    (folder / "flasher_args.json").write_text(json.dumps(listed))
    pieces = pieces_of_flasher_args(folder / "flasher_args.json", C3)
    assert [piece.role for piece in pieces] == [Role.BOOTLOADER, role]


def test_a_projects_bootloader_and_signed_application_lie_where_its_conf_says(folder: Path) -> None:
    project = folder / "bootwright.toml"
    project.write_text(
        '[project]\nchip = "esp32c3"\n[bootloader]\nfile = "boot.bin"\n[app]\nfile = "app.bin"\n[layout]\n'
    )
    pieces = pieces_of_project(load_project(project))
    assert [(piece.address, piece.role) for piece in pieces] == [(0, Role.BOOTLOADER), (0x20000, Role.APP)]
    (folder / "app.bin").write_bytes(b"\xe9 not signed")
    with pytest.raises(RefusedError, match="expected an MCUboot image"):
        pieces_of_project(load_project(project))
    with pytest.raises(RefusedError, match="names no"):
        pieces_of_project(load_project(None))
