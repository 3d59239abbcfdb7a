"""The ESP32 of a forum post that stayed dark: every defect of its flash, in the order in which a boot meets them.

Secure Boot V1 with a one-time key, flash encryption with a key of the host. The flash: the bootloader encrypted, the
partition table in plaintext, the application encrypted and then signed. FLASH_CRYPT_CNT is 1, FLASH_CRYPT_CONFIG was
never burned.
"""

from __future__ import annotations

from tests.support.idf_scene import ENCRYPTION, FACTORY, OTA_0, OTA_1, TABLE, V1, WHOLE, Scene, app, code, said, scene
from tests.support.keys import key_of

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.formats.esp_flash_encryption import encrypt_esp32
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot_v1 import sign_v1
from bootwright.formats.keys import KeyType
from bootwright.sim.board import Outcome

KEY = bytes(range(32, 64))
BRIGHT = sign_v1(app("bright", chip="esp32"), key_of(KeyType.ECDSA_P256, 0))


def encrypted(data: bytes, address: int) -> bytes:
    """As espsecure encrypts by default: for FLASH_CRYPT_CONFIG 0xF."""
    return encrypt_esp32(data.ljust(-(-len(data) // 32) * 32, b"\xff"), KEY, address, 0xF)


def dark() -> Scene:
    it = scene(V1, ENCRYPTION, chip="esp32")
    fuses = Efuses.blank(load_chip("esp32"), revision=100).burn_block(1, KEY[::-1])
    it.machine.efuses = fuses.burn_fields({"FLASH_CRYPT_CNT": 1, "RD_DIS.BLOCK1": 1, "WR_DIS.BLOCK1": 1}).latched()
    it.machine.flash.load(0x1000, encrypted(make_bootloader_image(0, size=0x5000), 0x1000))
    wrong = sign_v1(encrypted(app("dark", chip="esp32"), FACTORY), key_of(KeyType.ECDSA_P256, 0))
    for slot in (FACTORY, OTA_0, OTA_1):
        it.machine.flash.load(slot, b"\xff" * 0x8000)
    it.machine.flash.load(FACTORY, wrong)
    return it


def repaired() -> Scene:
    """The same board after its three defects are gone."""
    it = dark()
    it.machine.efuses = it.machine.efuses.burn_fields({"FLASH_CRYPT_CONFIG": 0xF}).latched()
    it.machine.flash.load(TABLE, encrypted(WHOLE.pack(), TABLE))
    it.machine.flash.load(FACTORY, encrypted(BRIGHT, FACTORY))
    return it


def test_defect_after_defect_until_it_boots() -> None:
    it = dark()
    report = it.boot()
    assert (report.outcome, code(report)) == (Outcome.ROM_REFUSED, "rom.image.magic")
    assert "flash read err, 1000\nets_main.c 371" in said(report)

    it.machine.efuses = it.machine.efuses.burn_fields({"FLASH_CRYPT_CONFIG": 0xF}).latched()
    report = it.boot()
    assert (report.outcome, code(report)) == (Outcome.RESET, "idf.partition_table.magic")
    assert "partition 0 invalid magic number 0x" in said(report)

    it.machine.flash.load(TABLE, encrypted(WHOLE.pack(), TABLE))
    report = it.boot()
    assert (report.outcome, report.version) == (Outcome.RESET, "")
    (factory,) = [finding for finding in report.findings if finding.subject == "factory"]
    assert factory.code.startswith("secure_boot.v1.signature"), factory

    it.machine.flash.load(FACTORY, encrypted(BRIGHT, FACTORY))
    report = it.boot()
    assert (report.outcome, report.version) == (Outcome.APP, "bright")
    assert it.machine.efuses.is_set("ABS_DONE_0")
    assert it.boot().booted


def test_or_it_goes_back_to_plaintext_while_the_counter_lasts() -> None:
    it = dark()
    it.machine.efuses = it.machine.efuses.burn_fields({"FLASH_CRYPT_CNT": 3}).latched()
    it.machine.flash.load(0x1000, make_bootloader_image(0, size=0x5000))
    it.machine.flash.load(FACTORY, b"\xff" * 0x8000)
    it.machine.flash.load(FACTORY, BRIGHT)
    report = it.machine.boot_once(it.bootloader)
    assert report.outcome is Outcome.RESET  # the build encrypts again, with the host's key
    assert it.machine.efuses.number("FLASH_CRYPT_CNT") == 7


def test_a_changed_bootloader_under_a_one_time_key_is_lost() -> None:
    it = repaired()
    assert it.boot().booted
    it.machine.flash.load(0x1000, encrypted(make_bootloader_image(0, size=0x5000, seed=b"other"), 0x1000))
    report = it.boot()
    assert (report.outcome, code(report)) == (Outcome.ROM_REFUSED, "rom.secure_boot.v1")
    assert report.failure is not None
    assert "the chip is lost" in report.failure.next
