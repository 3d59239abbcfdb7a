"""A bootwright.toml is read whole or refused in one sentence."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bootwright.errors import BootwrightError, FormatError
from bootwright.formats.bootloader_conf import UpgradeMode
from bootwright.formats.keys import PasswordError
from bootwright.host.project import Project, given_values, load_project, parse_project
from bootwright.host.settings import SETTINGS, TABLES, FlashKey, Mode, print_project

PORT_CONF = """
CONFIG_ESP_FLASH_SIZE=4MB
CONFIG_ESP_BOOTLOADER_SIZE=0xF000
CONFIG_ESP_BOOTLOADER_OFFSET=0x0000
CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x10000
CONFIG_ESP_APPLICATION_SIZE=0x100000
CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x110000
CONFIG_ESP_SCRATCH_OFFSET=0x210000
CONFIG_ESP_SCRATCH_SIZE=0x40000
CONFIG_ESP_SIGN_EC256=y
CONFIG_ESP_USE_TINYCRYPT=y
CONFIG_ESP_SIGN_KEY_FILE=root.pem
"""


def parse(text: str, folder: Path = Path("/project"), **overrides: str) -> Project:
    return parse_project(text, folder=folder, where="bootwright.toml", **overrides)


def test_the_built_in_project_is_the_port_s_default_for_the_c3() -> None:
    project = load_project(None)
    assert (project.chip.name, project.key_type, project.mode) == ("esp32c3", "ed25519", Mode.DEVELOPMENT)
    assert project.fe_key is FlashKey.DEVICE
    assert [(region.name, region.address, region.size) for region in project.conf.regions()] == [
        ("bootloader", 0, 0xF000),
        ("primary", 0x20000, 0x1C0000),
        ("secondary", 0x1E0000, 0x1C0000),
        ("scratch", 0x3E0000, 0x1F000),
    ]
    assert project.conf.secure_boot
    assert project.conf.flash_encryption
    assert project.conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION")


def test_an_empty_file_is_the_built_in_project_by_another_name() -> None:
    assert [line.name for line in parse("").conf.definitions] == [
        line.name for line in load_project(None).conf.definitions
    ]


def test_the_printed_project_reads_back_as_the_built_in_one() -> None:
    printed = parse(print_project())
    built_in = load_project(None)
    assert (printed.app, printed.update, printed.keys) == (built_in.app, built_in.update, built_in.keys)
    assert [(d.name, d.value) for d in printed.conf.definitions] == [
        (d.name, d.value) for d in built_in.conf.definitions
    ]


def test_what_is_given_stands_in_the_printed_project_in_place_of_the_default(tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text(PORT_CONF)
    given = (
        '[app]\nfile = "a \\"b\\" ü.bin"\n[bootloader]\nconf = ["b.conf"]\n[security]\ndowngrade_prevention = false\n'
    )
    (tmp_path / "bootwright.toml").write_text(given)
    values = given_values(tmp_path / "bootwright.toml", keys_type="ecdsa-p256", security_fe_key="host")
    printed = print_project(values)
    assert tomllib.loads(printed)["app"]["file"] == 'a "b" ü.bin'
    project = parse(printed, tmp_path)
    assert (project.key_type, project.fe_key) == ("ecdsa-p256", FlashKey.HOST)
    assert not project.conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION")
    values = given_values(None, layout_slot_size=0x100000)
    assert "slot_size = 0x100000\n" in print_project(values)


def test_the_printed_project_shows_every_key_and_each_example_is_valid() -> None:
    text = print_project()
    for row in SETTINGS:
        assert re.search(rf"^#? ?{row.name} = {re.escape(row.example)}$", text, re.MULTILINE)
        row.read(tomllib.loads(f"x = {row.example}")["x"])
    assert {row.table for row in SETTINGS} == set(TABLES)


def test_paths_count_from_the_file_and_those_of_the_command_line_from_here() -> None:
    project = parse('[app]\nfile = "a.bin"\n[bootloader]\nfile = "b.bin"\n', bootloader_file="other.bin")
    assert project.app.file == Path("/project/a.bin")
    assert project.update.file == Path("/project/a.bin")
    assert project.bootloader == Path("other.bin")


def test_the_command_line_wins() -> None:
    project = parse('[security]\nmode = "development"\n', security_mode="release", keys_type="rsa-3072")
    assert (project.mode, project.key_type) == (Mode.RELEASE, "rsa-3072")
    assert project.conf.value("CONFIG_ESP_SIGN_RSA_LEN") == "3072"


def test_a_bootloader_conf_decides_layout_and_key_type(tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text(PORT_CONF)
    project = parse('[bootloader]\nconf = "b.conf"\n', tmp_path)
    assert project.key_type == "ecdsa-p256"
    assert project.conf.slots()[0].address == 0x10000
    assert project.conf.mode is UpgradeMode.SCRATCH
    assert project.conf.secure_boot
    assert all(line.where.startswith("rehearsal:") for line in project.conf.definitions if "SECURE" in line.name)


def test_a_mode_other_than_the_conf_s_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text(
        PORT_CONF + "CONFIG_SECURE_BOOT=1\nCONFIG_SECURE_FLASH_ENC_ENABLED=1\n"
        "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE=1\n"
    )
    text = '[bootloader]\nconf = ["b.conf"]\n'
    assert parse(text, tmp_path).mode is Mode.RELEASE
    assert parse(text, tmp_path, security_mode="development").mode is Mode.DEVELOPMENT


@pytest.mark.parametrize(
    ("chip", "slot", "flash"),
    [("esp32", 0x150000, 4 << 20), ("esp32c2", 0xC0000, 2 << 20), ("esp32h2", 0x1C0000, 4 << 20)],
)
def test_each_chip_has_the_layout_of_its_port(chip: str, slot: int, flash: int) -> None:
    conf = parse(f'[project]\nchip = "{chip}"\n').conf
    assert (conf.slots()[0].size, conf.flash_size) == (slot, flash)


def test_the_password_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_PASSWORD", "correct horse")
    project = parse('[keys]\npassword_env = "OUR_PASSWORD"\n')
    assert project.keys.password == b"correct horse"
    assert "horse" not in repr(project)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[app\n", r"bootwright.toml: found no valid TOML: .*line 1"),
        ("[apps]\n", r"found the unknown key \[apps\], expected one of project, app"),
        ("name = 1\n", r"found the unknown key name, expected one of project"),
        ('[app]\nfil = "a"\n', r"found the unknown key app.fil, expected one of file, version"),
        ("app = 1\n", r"found app = 1, expected a table"),
        ("[app]\nfile = 1\n", r"found app.file = 1, expected the name of a file"),
        ('[app]\nfile = ""\n', r"expected the name of a file"),
        ('[app]\nversion = "1.0"\n', r"found app.version = '1.0', expected a version such as 1.0.0"),
        ('[app]\nversion = "256.0.0"\n', r"expected a version such as 1.0.0"),
        ("[app]\nsecurity_counter = -1\n", r"expected a number of 32 bits"),
        ("[app]\nsecurity_counter = true\n", r"found app.security_counter = true, expected a number"),
        ('[keys]\ntype = "rsa-4096"\n', r"found keys.type = 'rsa-4096', expected ed25519 \| ecdsa-p256"),
        ('[security]\nmode = "prod"\n', r"expected development \| release"),
        ('[security]\ndowngrade_prevention = "yes"\n', r"expected true or false"),
        ('[layout]\nslot_size = "big"\n', r"expected bytes"),
        ("[layout]\nsecondary = 0x1D0000\n", r"primary \(0x20000..0x1e0000\) and secondary .* share flash"),
        ("[layout]\nbootloader_size = 0x30000\n", r"bootloader .* and primary .* share flash"),
        ('[layout]\nflash_size = "2MB"\n', r"ends at 0x3a0000, the flash at 0x200000"),
        ("[layout]\nprimary = 0x20001\n", r"expected whole sectors"),
        ('[layout]\nflash_size = "16MB"\nslot_size = "3MB"\nsecondary = "4MB"\nscratch = "8MB"\n', r"has 768 sectors"),
        ("[bootloader]\nconf = []\n", r"expected the name of a bootloader.conf, or a list of them"),
        ('[app]\nfile = "a\\u0000"\n', r"expected the name of a file"),
        ("[layout]\nflash_size = 0x3FF000\n", r"expected whole megabytes"),
        ('[keys]\nflash_encryption = "k.bin"\n', r"found keys.flash_encryption with a key that the device makes"),
    ],
)
def test_what_cannot_be_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        parse(text)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_an_unknown_key_gets_a_suggestion() -> None:
    with pytest.raises(FormatError) as caught:
        parse('[security]\nmod = "release"\n')
    assert caught.value.hint == "did you mean mode?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[bootloader]\nconf = "none.conf"\n', "none.conf: found nothing, expected a bootloader.conf"),
        ('[bootloader]\nconf = "b.conf"\n[layout]\nprimary = 0\n', "found layout.primary beside bootloader.conf"),
        (
            '[bootloader]\nconf = "b.conf"\n[keys]\ntype = "ed25519"\n',
            "found keys of type ed25519, expected ecdsa-p256",
        ),
    ],
)
def test_a_conf_that_contradicts_the_project_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b.conf").write_text(PORT_CONF)
    with pytest.raises(FormatError, match=message):
        parse(text, tmp_path)


def test_unknown_chips_and_missing_passwords_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    with pytest.raises(PasswordError, match="found no environment variable NO_SUCH"):
        parse('[keys]\npassword_env = "NO_SUCH"\n')
    with pytest.raises(BootwrightError, match="esp99"):
        parse('[project]\nchip = "esp99"\n')


def test_the_reference_pages_are_what_the_tables_say() -> None:
    tool = Path(__file__).resolve().parents[2] / "tools" / "document_project.py"
    ran = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("text", "found", "hint"),
    [
        ('[project]\nchip = "esp8266"\n', "found project.chip = 'esp8266', expected esp32 | esp32c2 | ", '"esp32c3"'),
        ("[app]\nversion = 1.0\n", "found app.version = 1.0, expected a version such as 1.0.0", '"1.0.0"'),
        ('[security]\nmode = "relase"\n', "found security.mode = 'relase', expected development", '"development"'),
    ],
)
def test_a_value_that_cannot_be_is_told_with_one_that_can(text: str, found: str, hint: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(text)
    assert found in caught.value.message
    assert f"write {hint}, for example" in caught.value.hint


def test_a_bootloader_conf_is_named_in_the_printed_project_by_taking_the_hash_away(tmp_path: Path) -> None:
    (tmp_path / "bootloader.conf").write_text(PORT_CONF)
    printed = print_project().replace("# conf =", "conf =")
    assert parse(printed, tmp_path).conf.slots()[0].address == 0x10000
