"""What a first boot burns on each chip, as the C functions name it.

ESP-IDF components/bootloader_support/src/<chip>/secure_boot_secure_features.c, flash_encryption_secure_features.c.
"""

import pytest
from tests.support.chip_scene import FLASH_ENCRYPTION, RELEASE, SECURE_BOOT, Scene, scene

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.sim.board import Outcome

ECDSA = {"CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": "1"}
TOGETHER = {
    "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER": "1",
    "CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED": "1",
}
USB = {"DIS_DIRECT_BOOT", "DIS_PAD_JTAG", "DIS_USB_JTAG", "SECURE_BOOT_EN"}

#: chip → (fields of Secure Boot, fields of flash encryption) with no ALLOW option at all
EXPECTED: dict[str, tuple[set[str], set[str]]] = {
    "esp32": (
        {"ABS_DONE_1", "JTAG_DISABLE", "CONSOLE_DEBUG_DISABLE"},
        {"FLASH_CRYPT_CONFIG", "DISABLE_DL_ENCRYPT", "DISABLE_DL_DECRYPT", "DISABLE_DL_CACHE", "FLASH_CRYPT_CNT"},
    ),
    "esp32s2": (
        {"DIS_BOOT_REMAP", "DIS_LEGACY_SPI_BOOT", "HARD_DIS_JTAG", "SOFT_DIS_JTAG", "SECURE_BOOT_EN"},
        {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "DIS_DOWNLOAD_DCACHE", "DIS_DOWNLOAD_ICACHE"},
    ),
    "esp32s3": (
        USB | {"SOFT_DIS_JTAG"},
        {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "DIS_DOWNLOAD_DCACHE", "DIS_DOWNLOAD_ICACHE"},
    ),
    "esp32c2": (
        {"DIS_DIRECT_BOOT", "DIS_PAD_JTAG", "SECURE_BOOT_EN"},
        {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "DIS_DOWNLOAD_ICACHE"},
    ),
    "esp32c3": (USB | {"SOFT_DIS_JTAG"}, {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "DIS_DOWNLOAD_ICACHE"}),
    "esp32c5": (USB | {"SOFT_DIS_JTAG"}, {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "SPI_DOWNLOAD_MSPI_DIS"}),
    "esp32c6": (USB | {"SOFT_DIS_JTAG"}, {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "DIS_DOWNLOAD_ICACHE"}),
    "esp32c61": (USB, {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "SPI_DOWNLOAD_MSPI_DIS"}),
    "esp32h2": (USB | {"SOFT_DIS_JTAG"}, {"DIS_DOWNLOAD_MANUAL_ENCRYPT"}),
    "esp32p4": (USB | {"SOFT_DIS_JTAG"}, {"DIS_DOWNLOAD_MANUAL_ENCRYPT", "SPI_DOWNLOAD_MSPI_DIS"}),
}
NO_CACHE_TO_PROTECT = ("esp32c2", "esp32p4")


def options(chip: str, *groups: dict[str, str]) -> Scene:
    facts = load_chip(chip)
    scheme: dict[str, str] = {} if "rsa-3072" in facts.secure_boot.schemes else ECDSA
    together = TOGETHER if facts.keys.purpose_by == "halves" else {}
    chosen = [{k: v for k, v in g.items() if not (scheme and "RSA" in k)} for g in groups]
    return scene(*chosen, scheme, together, chip=chip)


def burned(it: Scene) -> set[str]:
    """The fields of BLOCK0 that the first boot set, keys and protections aside."""
    report = it.machine.boot_once(it.port)
    names = {name for program in report.efuse_programs if program.block == 0 for name in program.fields}
    return {name for name in names if not name.startswith(("WR_DIS", "RD_DIS", "KEY_PURPOSE", "SECURE_BOOT_KEY_REV"))}


@pytest.mark.parametrize("chip", EXPECTED)
def test_a_release_first_boot_closes_every_door(chip: str) -> None:
    secure_boot, encryption = EXPECTED[chip]
    it = options(chip, SECURE_BOOT, RELEASE)
    counter = {load_chip(chip).flash_encryption.counter_field}
    assert burned(it) == secure_boot | encryption | counter
    fuses = it.machine.efuses
    assert fuses.is_set("WR_DIS.RD_DIS")
    assert chip in NO_CACHE_TO_PROTECT or fuses.is_set("WR_DIS.DIS_ICACHE") or fuses.is_set("WR_DIS.DIS_CACHE")


@pytest.mark.parametrize("chip", EXPECTED)
def test_the_chip_boots_after_its_first_boot(chip: str) -> None:
    it = options(chip, SECURE_BOOT, FLASH_ENCRYPTION)
    report = it.machine.boot(it.port)
    wanted = Outcome.ROM_REFUSED if chip == "esp32c2" else Outcome.APP  # the C2: see the next test
    assert report.outcome is wanted


def test_on_the_c2_the_port_encrypts_before_the_key_is_burned() -> None:
    it = options("esp32c2", SECURE_BOOT, RELEASE)
    report = it.machine.boot(it.port)
    assert [program.block for program in report.efuse_programs] == [3, 0]
    assert "port.together.key" in [finding.code for finding in report.findings]
    assert report.failure is not None
    assert report.failure.code == "rom.image.magic"


@pytest.mark.parametrize(
    ("option", "kept_open"),
    [
        ("CONFIG_SECURE_BOOT_ALLOW_JTAG", {"DIS_PAD_JTAG", "DIS_USB_JTAG", "SOFT_DIS_JTAG"}),
        ("CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_ENC", {"DIS_DOWNLOAD_MANUAL_ENCRYPT"}),
        ("CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_CACHE", {"DIS_DOWNLOAD_ICACHE"}),
        ("CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_DEC", set()),
        ("CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC", set()),
    ],
)
def test_an_allow_option_keeps_its_door_open(option: str, kept_open: set[str]) -> None:
    closed = burned(scene(SECURE_BOOT, RELEASE))
    assert burned(scene(SECURE_BOOT, RELEASE, {option: "1"})) == closed - kept_open


@pytest.mark.parametrize(
    ("option", "fields"),
    [
        ("CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE", {"ENABLE_SECURITY_DOWNLOAD"}),
        ("CONFIG_SECURE_DISABLE_ROM_DL_MODE", {"DIS_DOWNLOAD_MODE"}),
        ("CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE", {"SECURE_BOOT_AGGRESSIVE_REVOKE"}),
    ],
)
def test_an_option_burns_its_field(option: str, fields: set[str]) -> None:
    assert burned(scene(SECURE_BOOT, {option: "1"})) - burned(scene(SECURE_BOOT)) == fields


def test_secure_download_wins_over_no_download() -> None:
    both = {"CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE": "1", "CONFIG_SECURE_DISABLE_ROM_DL_MODE": "1"}
    assert "DIS_DOWNLOAD_MODE" not in burned(scene(SECURE_BOOT, both))


@pytest.mark.parametrize(
    ("option", "bit"),
    [
        ("CONFIG_SECURE_BOOT_V2_ALLOW_EFUSE_RD_DIS", "WR_DIS.RD_DIS"),
        ("CONFIG_SECURE_FLASH_SKIP_WRITE_PROTECTION_CACHE", "WR_DIS.DIS_ICACHE"),
    ],
)
def test_an_option_leaves_a_protection_out(option: str, bit: str) -> None:
    it = scene(SECURE_BOOT, RELEASE, {option: "1"})
    it.machine.boot(it.port)
    assert not it.machine.efuses.is_set(bit)


def test_pseudo_rounds_need_their_switch_and_not_only_their_strength() -> None:
    strength = {"CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC_STRENGTH": "2"}
    assert "XTS_DPA_PSEUDO_LEVEL" not in burned(options("esp32h2", RELEASE, strength))
    switch = {"CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC": "1"}
    it = options("esp32h2", RELEASE, strength, switch)
    assert "XTS_DPA_PSEUDO_LEVEL" in burned(it)
    assert it.machine.efuses.number("XTS_DPA_PSEUDO_LEVEL") == 2


def test_an_h2_before_revision_1_2_has_no_pseudo_rounds() -> None:
    options_ = {
        "CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC": "1",
        "CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC_STRENGTH": "1",
    }
    it = options("esp32h2", RELEASE, options_)
    it.machine.efuses = Efuses.blank(load_chip("esp32h2"), revision=100)
    assert it.machine.boot(it.port).booted
    assert not it.machine.efuses.is_set("XTS_DPA_PSEUDO_LEVEL")


def test_the_esp32_closes_download_mode_only_before_its_counter_is_frozen() -> None:
    option = {"CONFIG_SECURE_DISABLE_ROM_DL_MODE": "1"}
    assert "UART_DOWNLOAD_DIS" in burned(scene(SECURE_BOOT, option, chip="esp32"))
    it = scene(SECURE_BOOT, option, chip="esp32")
    it.machine.efuses = it.machine.efuses.burn_fields({"WR_DIS.FLASH_CRYPT_CNT": 1})
    report = it.machine.boot(it.port)
    assert report.failure is not None
    assert report.failure.code == "port.secure_boot.features"
    assert report.efuse_programs == ()


def test_an_esp32_with_a_tweak_of_its_own_keeps_it() -> None:
    it = scene(RELEASE, chip="esp32")
    it.machine.efuses = it.machine.efuses.burn_fields({"FLASH_CRYPT_CONFIG": 0x7}).latched()
    report = it.machine.boot(it.port)
    assert report.booted
    assert it.machine.efuses.number("FLASH_CRYPT_CONFIG") == 0x7
    assert any("should be set 0xF" in line.text for line in report.console)


def test_an_esp32_before_revision_3_cannot_close_download_mode() -> None:
    it = scene(SECURE_BOOT, {"CONFIG_SECURE_DISABLE_ROM_DL_MODE": "1"}, chip="esp32")
    it.machine.efuses = Efuses.blank(load_chip("esp32"), revision=100)
    report = it.machine.boot_once(it.port)
    assert report.failure is not None
    assert report.efuse_programs == ()


def test_an_esp32_whose_download_mode_is_closed_already_goes_on() -> None:
    it = scene(SECURE_BOOT, {"CONFIG_SECURE_DISABLE_ROM_DL_MODE": "1"}, chip="esp32")
    it.machine.efuses = it.machine.efuses.burn_fields({"UART_DOWNLOAD_DIS": 1}).latched()
    assert it.machine.boot(it.port).booted


def test_secure_download_is_moot_when_download_mode_is_gone() -> None:
    it = scene(SECURE_BOOT, {"CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE": "1"})
    it.machine.efuses = it.machine.efuses.burn_fields({"DIS_DOWNLOAD_MODE": 1}).latched()
    assert it.machine.boot(it.port).booted
    assert not it.machine.efuses.is_set("ENABLE_SECURITY_DOWNLOAD")
