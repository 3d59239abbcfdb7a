"""Each trap of a bootloader.conf is named; a sound configuration is not bothered."""

import pytest

from bootwright.chips.chip import load_chip
from bootwright.finding import Verdict
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.conf_options import DEAD, OPTIONS
from bootwright.host.conf_lint import lint

LAYOUT = """
CONFIG_ESP_FLASH_SIZE=4MB
CONFIG_ESP_BOOTLOADER_SIZE=0xF000
CONFIG_ESP_BOOTLOADER_OFFSET=0x0000
CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x20000
CONFIG_ESP_APPLICATION_SIZE=0x1C0000
CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x1E0000
CONFIG_ESP_SCRATCH_OFFSET=0x3E0000
CONFIG_ESP_SCRATCH_SIZE=0x1F000
"""
SIGNED = """
CONFIG_ESP_SIGN_ED25519=y
CONFIG_ESP_USE_TINYCRYPT=y
CONFIG_ESP_SIGN_KEY_FILE=/keys/ours.pem
"""
SECURE = """
CONFIG_SECURE_BOOT=1
CONFIG_SECURE_BOOT_V2_ENABLED=1
CONFIG_SECURE_SIGNED_ON_BOOT=1
CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME=1
CONFIG_SECURE_BOOT_SUPPORTS_RSA=1
CONFIG_SECURE_FLASH_ENC_ENABLED=1
"""
RELEASE = "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE=1\n"


def codes(text: str) -> list[str]:
    return [finding.code for finding in lint(BootloaderConf.parse(text))]


@pytest.mark.parametrize("extra", ["", SECURE + RELEASE, "CONFIG_ESP_BOOT_SWAP_USING_MOVE=y\n"])
def test_a_sound_configuration_is_clean(extra: str) -> None:
    (finding,) = lint(BootloaderConf.parse(LAYOUT + SIGNED + extra))
    assert (finding.code, finding.verdict) == ("conf.clean", Verdict.PASS)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("CONFIG_ESP_FLASH_SIZE=2MB\n", "conf.layout.outside"),
        ("CONFIG_ESP_SCRATCH_SIZE=0x1F001\n", "conf.layout.unaligned"),
        ("CONFIG_ESP_APPLICATION_SIZE=0x1000\n", "conf.slot.no_room"),
        ("CONFIG_ESP_APPLICATION_SIZE=0xC000\n" + SECURE + RELEASE, "conf.slot.no_room"),
        ("CONFIG_ESP_SCRATCH_SIZE=0\n", "conf.layout.unaligned"),
        ("CONFIG_ESP_FLASH_SIZE=16MB\nCONFIG_ESP_APPLICATION_SIZE=0x201000\n", "conf.slot.too_many_sectors"),
        ("CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x1D0000\n", "conf.layout.overlap"),
        (
            "CONFIG_EFUSE_VIRTUAL=1\nCONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH=1\nCONFIG_EFUSE_VIRTUAL_OFFSET=0x250000\n"
            "CONFIG_EFUSE_VIRTUAL_SIZE=0x2000\n",
            "conf.layout.overlap",
        ),
        ("CONFIG_ESP_BOOT_SWAP_USING_OFFSET=y\n", "conf.mode.unsupported"),
        ("CONFIG_ESP_BOOT_DIRECT_XIP=y\n", "conf.mode.unsupported"),
        ("CONFIG_ESP_BOOT_RAM_LOAD=y\n", "conf.mode.unsupported"),
        ("CONFIG_ESP_SINGLE_APPLICATION_SLOT=y\n", "conf.mode.unsupported"),
        ("CONFIG_ESP_BOOT_SWAP_USING_MOVE=y\nCONFIG_ESP_BOOT_UPGRADE_ONLY=y\n", "conf.value.unusable"),
        ("CONFIG_ESP_MULTI_PROCESSOR_BOOT=y\n", "conf.images.multi_processor"),
        ("CONFIG_ESP_SIGN_EC256=y\n", "conf.signature.several"),
        ("CONFIG_ESP_USE_MBEDTLS=y\n", "conf.signature.library"),
        ("CONFIG_ESP_SIGN_KEY_FILE=root-ed25519.pem\n", "conf.signature.sample_key"),
        ("CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER=y\n", "conf.downgrade.counter_alone"),
        (
            "CONFIG_ESP_BOOT_UPGRADE_ONLY=y\nCONFIG_ESP_DOWNGRADE_PREVENTION=y\n"
            "CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER=y\n",
            "conf.downgrade.counter_ignored",
        ),
        ("CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY=y\n", "conf.serial.off"),
        (
            "CONFIG_ESP_MCUBOOT_SERIAL=y\nCONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY=y\n"
            "CONFIG_SECURE_FLASH_ENC_ENABLED=1\n",
            "conf.serial.progressive_encrypted",
        ),
        (
            "CONFIG_ESP_MCUBOOT_SERIAL=y\nCONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY=y\n",
            "conf.serial.progressive_trailer",
        ),
        ("CONFIG_ESP_MCUBOOT_SERIAL=y\nCONFIG_ESP_SERIAL_BOOT_UART_NUM=2\n", "conf.serial.uart"),
        (
            "CONFIG_ESP_MCUBOOT_SERIAL=y\nCONFIG_ESP_SERIAL_BOOT_UART_NUM=0\nCONFIG_ESP_CONSOLE_UART=y\n",
            "conf.serial.shares_console",
        ),
        (
            "CONFIG_ESP_MCUBOOT_SERIAL=y\nCONFIG_ESP_MCUBOOT_SERIAL_USB_SERIAL_JTAG=y\n"
            "CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG=y\n",
            "conf.serial.shares_console",
        ),
        ("CONFIG_ESP_CONSOLE_UART=y\nCONFIG_ESP_CONSOLE_USB_SERIAL_JTAG=y\n", "conf.console.both"),
        ("CONFIG_SECURE_BOOT_V2_ENABLED=1\n", "conf.secure_boot.off"),
        ("CONFIG_SECURE_BOOT=1\n", "conf.secure_boot.version"),
        ("CONFIG_SECURE_BOOT=1\n", "conf.secure_boot.scheme"),
        ("CONFIG_SECURE_BOOT=1\n", "conf.secure_boot.signed_on_boot"),
        (SECURE + "CONFIG_SECURE_BOOT_SUPPORTS_RSA=n\n", "conf.off.ineffective"),
        (RELEASE, "conf.flash_encryption.off"),
        (SECURE + RELEASE + "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_DEVELOPMENT=1\n", "conf.flash_encryption.both_modes"),
        (SECURE, "conf.flash_encryption.no_mode"),
        (SECURE + "CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC_STRENGTH=2\n", "conf.flash_encryption.pseudo_rounds"),
        (
            SECURE + "CONFIG_SECURE_DISABLE_ROM_DL_MODE=1\nCONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE=1\n",
            "conf.download.both",
        ),
        ("CONFIG_SECURE_DISABLE_ROM_DL_MODE=1\n", "conf.download.without_secure_boot"),
        (SECURE + RELEASE + "CONFIG_SECURE_BOOT_ALLOW_JTAG=1\n", "conf.release.door_open"),
        (
            "CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH=1\nCONFIG_EFUSE_VIRTUAL_OFFSET=0x10000\n"
            "CONFIG_EFUSE_VIRTUAL_SIZE=0x2000\n",
            "conf.efuse.kept_not_virtual",
        ),
        ("CONFIG_EFUSE_VIRTUAL=1\n", "conf.efuse.virtual"),
        ("CONFIG_ESP_MCUBOOT_WDT_ENABLE=y\n", "conf.option.dead"),
        ("CONFIG_ESP_SIGN_EC265=y\n", "conf.option.unknown"),
    ],
)
def test_a_trap_is_named(extra: str, expected: str) -> None:
    assert expected in codes(LAYOUT + SIGNED + extra)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LAYOUT, "conf.signature.none"),
        (LAYOUT + "CONFIG_ESP_SIGN_EC256=y\nCONFIG_ESP_USE_TINYCRYPT=y\n", "conf.signature.no_key"),
        (LAYOUT + "CONFIG_ESP_SIGN_EC256=y\nCONFIG_ESP_SIGN_KEY_FILE=k.pem\n", "conf.signature.library"),
        (LAYOUT + "CONFIG_ESP_SIGN_RSA=y\nCONFIG_ESP_SIGN_RSA_LEN=4096\n", "conf.signature.rsa_length"),
        ("CONFIG_ESP_FLASH_SIZE=4MB\n", "conf.value.unusable"),
    ],
)
def test_what_is_missing_is_named(text: str, expected: str) -> None:
    assert expected in codes(text)


def test_a_misspelt_option_gets_a_suggestion() -> None:
    found = lint(BootloaderConf.parse(LAYOUT + SIGNED + "CONFIG_ESP_SING_EC256=y\n"))
    assert [finding.next for finding in found] == ["did you mean CONFIG_ESP_SIGN_EC256?"]


def test_one_problem_is_said_once() -> None:
    found = lint(BootloaderConf.parse("CONFIG_ESP_BOOTLOADER_SIZE=0xF000\n"))
    assert len({finding.because for finding in found}) == len(found)


def test_every_dead_option_is_a_known_one() -> None:
    assert set(DEAD) <= set(OPTIONS)


@pytest.mark.parametrize(
    ("chip", "extra", "expected"),
    [
        ("esp32", "", "conf.chip.bootloader_offset"),
        ("esp32", SECURE + RELEASE, "conf.chip.bootloader_size"),
        ("esp32", "CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG=y\n", "conf.chip.usb"),
        ("esp32c2", SECURE + RELEASE, "conf.chip.scheme"),
        ("esp32c2", SECURE + RELEASE, "conf.chip.keys_together"),
        ("esp32c3", "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER=1\n", "conf.chip.keys_together"),
        ("esp32c3", "CONFIG_SECURE_FLASH_ENCRYPTION_AES256=1\n", "conf.chip.flash_encryption"),
        ("esp32c3", "CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED=1\n", "conf.chip.flash_encryption"),
        ("esp32c3", "CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC=1\n", "conf.chip.flash_encryption"),
        ("esp32", SECURE + RELEASE + "CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE=1\n", "conf.chip.download"),
        ("esp32", SECURE + RELEASE + "CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE=1\n", "conf.chip.revoke"),
        ("esp32c3", "CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME=1\n", "conf.chip.scheme"),
        ("esp32c3", "CONFIG_ESP_MULTI_PROCESSOR_BOOT=y\n", "conf.chip.multi_processor"),
        ("esp32c5", "CONFIG_ESP_CONSOLE_UART_CUSTOM=1\n", "conf.chip.console"),
        ("esp32s2", "CONFIG_ESP_CONSOLE_UART_CUSTOM=1\n", "conf.chip.console"),
    ],
)
def test_what_a_chip_cannot_do_is_named(chip: str, extra: str, expected: str) -> None:
    conf = BootloaderConf.parse(LAYOUT + SIGNED + extra)
    assert expected in [finding.code for finding in lint(conf, chip=load_chip(chip))]


@pytest.mark.parametrize("extra", ["", SECURE + RELEASE])
def test_what_the_c3_can_do_is_clean(extra: str) -> None:
    (finding,) = lint(BootloaderConf.parse(LAYOUT + SIGNED + extra), chip=load_chip("esp32c3"))
    assert finding.code == "conf.clean"
