"""`bootwright chip` and `bootwright flash` as commands, on files that nobody serves."""

import json
from pathlib import Path

import pytest

from bootwright.cli.main import run
from bootwright.formats.esp_image import make_bootloader_image

APP = b"\x3d\xb8\xf3\x96" + bytes(4000)


@pytest.fixture
def chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert code("chip", "new", "esp32c3", "--flash", "1MB", "dev1", "--mac", "24:0a:c4:01:02:03") == 0
    (tmp_path / "bootloader.bin").write_bytes(make_bootloader_image(5, size=0x4000))
    (tmp_path / "app.bin").write_bytes(APP)
    return tmp_path / "dev1.chip"


def code(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        run(words)
    assert isinstance(end.value.code, int)
    return end.value.code


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    code(*words, "--json")
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_chip_is_made_once(chip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("chip", "new", "esp32c3", "--flash", "1MB", "dev1") == 7
    assert code("chip", "new", "esp32", "--flash", "2M", "dev1", "--force") == 0
    assert answer(capsys, "chip", "state", "dev1")["chip"] == "esp32"


@pytest.mark.parametrize("size", ["3MB", "large", "128KB", "1GB"])
def test_a_flash_has_a_size_that_flashes_have(chip: Path, size: str) -> None:
    assert code("chip", "new", "esp32", "--flash", size, "other") == 2


def test_the_switches_of_a_chip_that_nobody_serves_act_on_its_file(
    chip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(capsys, "chip", "strap", "dev1", "normal")["strap"] == "normal"
    assert answer(capsys, "chip", "gpio", "dev1", "9=0", "3=1")["strap"] == "download"
    assert answer(capsys, "chip", "state", "dev1")["gpio"] == {"3": 1, "9": 0}
    assert answer(capsys, "chip", "power", "dev1", "off")["powered"] is False
    assert code("chip", "boot", "dev1") == 7
    assert answer(capsys, "chip", "renew", "dev1")["strap"] == "download"
    assert code("chip", "gpio", "dev1", "9") == 2
    assert code("chip", "state", "nobody") == 7


def test_ports_that_do_not_exist_are_a_usage_error(chip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("chip", "serve", "dev1", "dev2", "--tcp", "65535") == 2
    assert "beyond 65535" in capsys.readouterr().err
    assert code("chip", "serve", "dev1", "--uart0", "tcp:65536") == 2


def test_a_boot_gives_its_verdict_and_says_what_is_not_modelled(chip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = answer(capsys, "chip", "boot", "dev1")
    assert (empty["verdict"], empty["outcome"]) == ("fail", "rom-refused")
    assert "invalid header: 0xffffffff" in str(answer(capsys, "chip", "console", "dev1")["console"])
    assert code("flash", "write", "dev1", "0", "bootloader.bin") == 0
    assert answer(capsys, "chip", "boot", "dev1")["verdict"] == "not_modelled"


def test_what_differs_from_a_new_chip_is_told_by_field_and_sector(
    chip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(capsys, "chip", "diff", "dev1")["efuses"] == []
    assert code("flash", "write", "dev1", "0x10000", "app.bin") == 0
    assert answer(capsys, "chip", "diff", "dev1")["flash"] == [[0x10000, 0x1000]]
    assert code("chip", "new", "esp32c3", "--flash", "1MB", "dev2") == 0
    fields = answer(capsys, "chip", "diff", "dev1", "dev2")["efuses"]
    assert isinstance(fields, list)
    assert [row["field"] for row in fields] == ["MAC"]


def test_a_dry_run_tells_and_writes_nothing(chip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = chip.read_bytes()
    told = answer(capsys, "flash", "write", "dev1", "0x10000", "app.bin", "--dry-run")
    assert (told["written"], told["verdict"]) == (False, "pass")
    assert chip.read_bytes() == before


def test_what_was_written_is_read_and_verified(chip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("flash", "write", "dev1", "0x10000", "app.bin") == 0
    assert code("flash", "read", "dev1", "64K", "4004", "back.bin") == 0
    assert Path("back.bin").read_bytes() == APP
    assert code("flash", "verify", "dev1", "0x10000", "app.bin") == 0
    assert code("flash", "verify", "dev1", "0x11000", "app.bin") == 1
    assert code("flash", "erase", "dev1", "0x10000", "0x1000") == 0
    assert code("flash", "verify", "dev1", "0x10000", "app.bin") == 1
    assert answer(capsys, "flash", "id", "dev1")["flash_size"] == 1 << 20


def burn(field: str) -> None:
    insisted = ("--allow", "closed-early", "--allow", "brick")
    assert code("efuse", "burn-efuse", "dev1.chip", field, "1", "--yes", *insisted) == 0


def test_a_chip_in_secure_download_mode_gives_nothing_out_but_can_be_written(
    chip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code("flash", "write", "dev1", "0x10000", "app.bin") == 0
    burn("ENABLE_SECURITY_DOWNLOAD")
    capsys.readouterr()
    for words in (("read", "dev1", "0x10000", "4004", "back.bin"), ("verify", "dev1", "0x10000", "app.bin")):
        assert code("flash", *words) == 5
        said = capsys.readouterr().err
        assert "ENABLE_SECURITY_DOWNLOAD of dev1 is burned: its ROM loader does not read flash" in said
        assert "--allow closed-port" in said
        assert not Path("back.bin").exists()
        assert code("flash", *words, "--decrypted") == 5
    told = answer(capsys, "flash", "id", "dev1")
    assert (told["mac"], told["flash_size"], told["secure_download_mode"]) == (None, None, True)
    whole = answer(capsys, "flash", "id", "dev1", "--allow", "closed-port")
    assert (whole["mac"], whole["flash_size"], whole["secure_download_mode"]) == ("24:0a:c4:01:02:03", 1 << 20, True)
    assert code("flash", "erase", "dev1") == 7
    assert code("flash", "erase", "dev1", "0x20000", "0x1000") == 0
    assert code("flash", "write", "dev1", "0x10000", "app.bin") == 0
    assert code("flash", "verify", "dev1", "0x10000", "app.bin", "--allow", "closed-port") == 0


def test_a_chip_without_a_rom_loader_neither_tells_nor_takes_anything(
    chip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    burn("DIS_DOWNLOAD_MODE")
    capsys.readouterr()
    for words in (
        ("id", "dev1"),
        ("read", "dev1", "0", "16", "back.bin"),
        ("verify", "dev1", "0x10000", "app.bin"),
    ):
        assert code("flash", *words) == 5
        assert "DIS_DOWNLOAD_MODE of dev1 is burned: it has no ROM loader any more" in capsys.readouterr().err
    for words in (("write", "dev1", "0x10000", "app.bin"), ("erase", "dev1", "0x10000", "0x1000")):
        assert "flash.loader_closed" in str(answer(capsys, "flash", *words)["findings"])
    assert code("flash", "read", "dev1", "0", "16", "back.bin", "--allow", "closed-port") == 0


def test_a_refusal_has_a_name_by_which_one_insists(chip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("flash", "write", "dev1", "0x0", "app.bin")
    refused = answer(capsys, *words)
    assert (refused["verdict"], refused["written"]) == ("fail", False)
    assert "--allow rejected-bootloader" in str(refused["findings"])
    assert answer(capsys, *words, "--allow", "rejected-bootloader")["written"] is True


def test_a_whole_set_is_written_from_idfs_list(chip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {
        "flash_files": {"0x0": "bootloader.bin", "0x10000": "app.bin"},
        "bootloader": {"offset": "0x0", "file": "bootloader.bin", "encrypted": "false"},
        "app": {"offset": "0x10000", "file": "app.bin", "encrypted": "false"},
        "extra_esptool_args": {"chip": "esp32c3"},
    }
    Path("flasher_args.json").write_text(json.dumps(listed))
    writes = answer(capsys, "flash", "write", "dev1", "--from", "flasher_args.json")["writes"]
    assert isinstance(writes, list)
    assert [row["role"] for row in writes] == ["bootloader", "app"]
    Path("flasher_args.json").write_text(json.dumps({**listed, "extra_esptool_args": {"chip": "esp32"}}))
    assert code("flash", "write", "dev1", "--from", "flasher_args.json") == 7


@pytest.mark.parametrize(
    "words",
    [
        ("0x0",),
        ("zero", "app.bin"),
        (),
        ("0x0", "app.bin", "--encrypt", "--key", "k"),
        ("0x0", "app.bin", "--allow", "all"),
        ("--", "-16", "app.bin"),
    ],
)
def test_a_line_that_makes_no_sense_is_a_usage_error(chip: Path, words: tuple[str, ...]) -> None:
    assert code("flash", "write", "dev1", *words) == 2


def test_sizes_of_nothing_and_half_an_area_are_usage_errors(chip: Path) -> None:
    assert code("flash", "read", "dev1", "0", "0", "back.bin") == 2
    assert code("flash", "erase", "dev1", "0x1000") == 2


def test_neither_chip_nor_port_is_a_refusal(chip: Path) -> None:
    assert code("flash", "id", "nobody") == 7
