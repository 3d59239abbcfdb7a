"""A virtual chip that boots what an ESP-IDF project built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.chip_scene import LAYOUT
from tests.support.idf_scene import V2, scene

from bootwright.cli.main import main
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.sim.chip_file import chip_path, open_chip_file
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.idf_boot import IdfBootloader
from bootwright.sim.which_bootloader import bootloader_for, heeded_options, is_sdkconfig

SDKCONFIG = """#
# Automatically generated file. DO NOT EDIT.
#
CONFIG_SOC_ADC_SUPPORTED=y
CONFIG_IDF_TARGET="esp32c3"
CONFIG_BOOTLOADER_OFFSET_IN_FLASH=0x0
# CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE is not set
CONFIG_PARTITION_TABLE_OFFSET=0x8000
CONFIG_SECURE_BOOT=y
CONFIG_SECURE_BOOT_V2_ENABLED=y
CONFIG_SECURE_SIGNED_ON_BOOT=y
CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME=y
# CONFIG_SECURE_FLASH_ENC_ENABLED is not set
"""


def test_an_sdkconfig_is_told_from_a_bootloader_conf() -> None:
    assert isinstance(bootloader_for(SDKCONFIG, ()), IdfBootloader)
    assert isinstance(bootloader_for("\n".join(f"{k}={v}" for k, v in LAYOUT.items()), ()), McubootPort)


def test_of_an_sdkconfig_only_what_a_boot_asks_for_is_kept() -> None:
    kept = heeded_options(SDKCONFIG)
    assert "SOC_ADC" not in kept
    assert is_sdkconfig(BootloaderConf.parse(kept))
    assert set(BootloaderConf.parse(kept).variables) >= set(V2)
    assert heeded_options("CONFIG_ESP_FLASH_SIZE=4MB\n") == "CONFIG_ESP_FLASH_SIZE=4MB\n"


def test_a_chip_boots_an_esp_idf_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(main, ["chip", "new", "esp32c3", "--flash", "4MB", "dev1"]).exit_code == 0
    flashed = scene(signed="v2").machine.flash.snapshot()
    with open_chip_file(chip_path("dev1")) as file:
        file.flash.load(0, flashed)
    Path("sdkconfig").write_text(SDKCONFIG)
    ran = runner.invoke(main, ["chip", "boot", "dev1", "--conf", "sdkconfig", "--json"])
    details = json.loads(ran.output)
    assert (details["outcome"], details["version"]) == ("app", "factory")
    assert "SECURE_BOOT_EN" in details["efuses_burned"]
