"""What esptool lets pass on a chip in which state, as it was verified on real and fake chips: the same on ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
from tests.support.virtual import ServedChip, make_chip, served

from bootwright.formats.esp_image import make_bootloader_image
from bootwright.sim.chip_file import chip_path, open_chip_file

KEY = bytes(range(32))
Fields = Mapping[str, int]

#: name of a chip → (model, key blocks, fields)
STATES: dict[str, tuple[str, Mapping[int, bytes], Fields]] = {
    "blank32": ("esp32", {}, {}),
    "key32": ("esp32", {1: KEY}, {"RD_DIS.BLOCK1": 1, "FLASH_CRYPT_CNT": 1}),
    "ready32": ("esp32", {1: KEY}, {"RD_DIS.BLOCK1": 1, "FLASH_CRYPT_CNT": 1, "FLASH_CRYPT_CONFIG": 15}),
    "closed32": ("esp32", {1: KEY}, {"FLASH_CRYPT_CNT": 1, "FLASH_CRYPT_CONFIG": 15, "DISABLE_DL_ENCRYPT": 1}),
    "v1": ("esp32", {2: KEY}, {"ABS_DONE_0": 1}),
    "dev": ("esp32c3", {4: KEY}, {"KEY_PURPOSE_0": 4, "SPI_BOOT_CRYPT_CNT": 1}),
    "release": (
        "esp32c3",
        {4: KEY},
        {"KEY_PURPOSE_0": 4, "SPI_BOOT_CRYPT_CNT": 7, "DIS_DOWNLOAD_MANUAL_ENCRYPT": 1},
    ),
    "sb": ("esp32c3", {4: KEY}, {"KEY_PURPOSE_0": 9, "SECURE_BOOT_EN": 1}),
    "sdm": ("esp32c3", {4: KEY}, {"KEY_PURPOSE_0": 4, "SPI_BOOT_CRYPT_CNT": 1, "ENABLE_SECURITY_DOWNLOAD": 1}),
    "manager": ("esp32c5", {}, {"FORCE_USE_KEY_MANAGER_KEY": 2, "SPI_BOOT_CRYPT_CNT": 1}),
    "nodl": ("esp32c3", {}, {"DIS_DOWNLOAD_MODE": 1}),
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A command on a chip, and what becomes of it."""

    chip: str
    command: str
    code: int
    words: str = ""


GATES = [
    Gate("blank32", "write-flash --encrypt 0x10000 some.bin", 2, "Flash encryption key is not programmed"),
    Gate("key32", "write-flash --encrypt 0x10000 some.bin", 2, "Unexpected FLASH_CRYPT_CONFIG value: 0x0"),
    Gate("key32", "write-flash --encrypt --ignore-flash-enc-efuse 0x10000 some.bin", 0, ""),
    Gate("ready32", "write-flash --encrypt 0x10000 some.bin", 0, ""),
    Gate("ready32", "write-flash --encrypt 0x10010 some.bin", 2, "is not 32 byte aligned, can't flash encrypted"),
    Gate("dev", "write-flash --encrypt 0x10010 some.bin", 0, ""),
    Gate("dev", "write-flash --encrypt 0x10008 some.bin", 2, "is not 16 byte aligned, can't flash encrypted"),
    Gate(
        "ready32",
        "--no-stub write-flash --encrypt 0x10000 some.bin",
        2,
        "does not support encrypted writes",
    ),
    Gate("closed32", "write-flash --encrypt 0x10000 some.bin", 2, "Production mode"),
    Gate("release", "write-flash --encrypt 0x10000 some.bin", 2, "Production mode"),
    Gate("dev", "write-flash --encrypt --compress 0x10000 some.bin", 0, ""),
    Gate("dev", "write-flash 0x10000 some.bin", 0, "Hash of data verified"),
    Gate(
        "release",
        "write-flash 0x10000 some.bin",
        2,
        "download manual encrypt disabled",
    ),
    Gate("release", "write-flash --force 0x10000 some.bin", 0, ""),
    Gate("v1", "write-flash 0x1000 some.bin", 2, "flash regions < 0x8000 is disabled"),
    Gate("v1", "write-flash --force 0x1000 some.bin", 0, ""),
    Gate("sb", "write-flash 0x0 bootloader.bin", 0, ""),
    Gate("dev", "erase-flash", 2, "Active security features detected"),
    Gate("sb", "erase-region 0x10000 0x1000", 2, "Active security features detected"),
    Gate("sb", "erase-region --force 0x10000 0x1000", 0, ""),
    Gate("sb", "flash-id", 0, "Stub flasher is not supported on ESP32-C3 with Secure Boot"),
    Gate("sdm", "flash-id", 2, "not available in Secure Download Mode"),
    Gate("sdm", "read-flash 0 0x1000 out.bin", 2, "not available in Secure Download Mode"),
    Gate("sdm", "erase-flash", 2, "not available in Secure Download Mode"),
    Gate("sdm", "get-security-info", 0, ""),
    Gate("sdm", "erase-region 0x10000 0x1000", 0, ""),
    Gate("sdm", "write-flash 0x10000 some.bin", 2, "Detected flash encryption and secure download mode enabled"),
    Gate("sdm", "write-flash --encrypt 0x10000 some.bin", 0, ""),
    Gate("manager", "write-flash 0x1000 some.bin", 2, "key recovery info"),
    Gate("dev", "write-flash 0x0 other-chip.bin", 2, "is not an ESP32-C3 image. Use --force"),
    Gate("dev", "write-flash 0x20000 other-chip.bin", 0, "NOTE: 'other-chip.bin' is not an ESP32-C3 image"),
]


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServedChip]]:
    folder = tmp_path_factory.mktemp("gates")
    (folder / "some.bin").write_bytes(bytes(range(256)) * 16)
    (folder / "bootloader.bin").write_bytes(make_bootloader_image(5, size=0x1000))
    (folder / "other-chip.bin").write_bytes(make_bootloader_image(9, size=0x1000))
    for name, (model, blocks, fields) in STATES.items():
        make_chip(folder, model, name=name)
        with open_chip_file(chip_path(str(folder / name))) as file:
            fuses = file.state.efuses
            for number, data in blocks.items():
                fuses = fuses.burn_block(number, data)
            file.save(replace(file.state, efuses=fuses.burn_fields(fields).latched()))
    with ExitStack() as stack:
        chips = stack.enter_context(served(folder, *STATES))
        yield {chip.name: chip for chip in chips}


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: f"{gate.chip}: {gate.command}")
def test_a_gate_is_where_it_is_on_silicon(rack: dict[str, ServedChip], gate: Gate) -> None:
    model = STATES[gate.chip][0]
    ran = rack[gate.chip].esptool("--chip", model, "--after", "no-reset", *gate.command.split())
    assert ran.code == gate.code
    assert gate.words in ran.out + ran.err


@pytest.mark.parametrize(("name", "words"), [("sdm", "Secure Download Mode"), ("nodl", "Failed to connect")])
def test_espefuse_is_shut_out(rack: dict[str, ServedChip], name: str, words: str) -> None:
    ran = rack[name].espefuse("--chip", "esp32c3", "summary")
    assert ran.code == 2
    assert words in ran.out + ran.err


def test_esptool_does_not_even_connect_where_download_mode_is_gone(rack: dict[str, ServedChip]) -> None:
    ran = rack["nodl"].esptool("--chip", "esp32c3", "--connect-attempts", "1", "flash-id")
    assert ran.code == 2
    assert "Failed to connect" in ran.out + ran.err
