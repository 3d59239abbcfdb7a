"""The ways in which a first boot stops: each a named check, and what is burned by then."""

from __future__ import annotations

import pytest
from tests.support.chip_scene import FLASH_ENCRYPTION, PRIMARY, SECURE_BOOT, Scene, application, scene
from tests.support.keys import key_of

from bootwright.chips.chip import load_chip
from bootwright.errors import NotModelledError
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_signature_block import key_digest_v2
from bootwright.formats.keys import KeyType
from bootwright.sim.board import Outcome
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.machine import BootReport

KEY = bytes(range(0x40, 0x60))
DIGEST = bytes(range(0x60, 0x80))
ECDSA = {"CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": "1", "CONFIG_SECURE_BOOT": "1"}
TOGETHER = {
    "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER": "1",
    "CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED": "1",
}
AES256 = {"CONFIG_SECURE_FLASH_ENCRYPTION_AES256": "1"}
TWO_IMAGES = {
    "CONFIG_ESP_IMAGE_NUMBER": "2",
    "CONFIG_ESP_APPLICATION_SIZE": "0xE0000",
    "CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS": "0x100000",
    "CONFIG_ESP_IMAGE1_PRIMARY_START_ADDRESS": "0x1E0000",
    "CONFIG_ESP_IMAGE1_SECONDARY_START_ADDRESS": "0x2C0000",
}


def halted(it: Scene, code: str) -> BootReport:
    report = it.machine.boot_once(it.port)
    assert report.outcome is Outcome.PANIC
    assert report.failure is not None
    assert report.failure.code == code, report.failure
    assert report.failure.next
    return report


def burn(it: Scene, blocks: dict[int, bytes] | None = None, /, **fields: int) -> None:
    fuses = it.machine.efuses
    for number, data in (blocks or {}).items():
        fuses = fuses.burn_block(number, data)
    it.machine.efuses = fuses.burn_fields({name.replace("__", "."): value for name, value in fields.items()}).latched()


def own_digest() -> bytes:
    return key_digest_v2(key_of(KeyType.RSA_3072, 0).public)


# The bootloader's own header


def test_a_bootloader_for_another_chip_is_refused_by_its_own_start() -> None:
    it = scene()
    it.machine.flash.load(12, (load_chip("esp32s3").chip_id).to_bytes(2, "little"))
    halted(it, "port.init.chip")


def test_a_bootloader_for_newer_silicon_stops() -> None:
    it = scene()
    it.machine.flash.load(15, (900).to_bytes(2, "little"))
    halted(it, "port.init.revision")


# Secure Boot


def test_a_digest_that_is_read_protected_can_never_be_compared() -> None:
    it = scene(SECURE_BOOT)
    burn(it, {4: own_digest(), 5: DIGEST}, KEY_PURPOSE_0=9, KEY_PURPOSE_1=10)
    burn(it, RD_DIS=2)
    assert halted(it, "port.secure_boot.digest.hidden").efuse_programs == ()


def test_a_digest_slot_without_a_digest_stops() -> None:
    it = scene(SECURE_BOOT)
    burn(it, {4: own_digest()}, KEY_PURPOSE_0=9, KEY_PURPOSE_1=10)
    assert halted(it, "port.secure_boot.digest.empty").efuse_programs == ()


def test_another_digest_than_the_bootloader_s_stops_at_its_signature() -> None:
    it = scene(SECURE_BOOT)
    burn(it, {4: DIGEST}, KEY_PURPOSE_0=9)
    assert halted(it, "port.bootloader.signature").efuse_programs == ()


def test_all_digests_revoked_leave_nothing_to_trust() -> None:
    it = scene(SECURE_BOOT)
    burn(it, {4: own_digest()}, KEY_PURPOSE_0=9, SECURE_BOOT_KEY_REVOKE0=1)
    assert halted(it, "port.secure_boot.digest.revoked").efuse_programs == ()


def test_a_chip_without_free_key_blocks_takes_no_digest() -> None:
    it = scene(SECURE_BOOT)
    burn(it, dict.fromkeys(range(4, 10), KEY))
    assert halted(it, "port.secure_boot.digest.write").efuse_programs == ()


def test_a_frozen_enable_bit_fails_before_or_while_burning() -> None:
    it = scene(SECURE_BOOT)
    burn(it, WR_DIS__SECURE_BOOT_EN=1)
    halted(it, "port.secure_boot.burn")


def test_an_esp32_with_3_4_coding_has_no_secure_boot_v2() -> None:
    it = scene(SECURE_BOOT, chip="esp32")
    burn(it, CODING_SCHEME=1)
    assert halted(it, "port.secure_boot.coding").efuse_programs == ()


# Flash encryption


def test_an_esp32_of_unknown_coding_takes_no_flash_key() -> None:
    it = scene(FLASH_ENCRYPTION, chip="esp32")
    burn(it, CODING_SCHEME=2)
    assert halted(it, "port.flash_encryption.coding").efuse_programs == ()


def test_an_esp32_with_3_4_coding_draws_24_bytes() -> None:
    it = scene(FLASH_ENCRYPTION, chip="esp32")
    burn(it, CODING_SCHEME=1)
    report = it.machine.boot(it.port)
    assert report.booted
    assert it.machine.efuses.block(1)[:24] == bytes(range(1, 25))


def test_a_key_for_128_bits_excludes_one_for_256() -> None:
    it = scene(FLASH_ENCRYPTION, AES256, chip="esp32s3")
    burn(it, {4: KEY}, KEY_PURPOSE_0=4)
    halted(it, "port.flash_encryption.both")


def test_half_a_key_is_no_key() -> None:
    it = scene(FLASH_ENCRYPTION, AES256, chip="esp32s3")
    burn(it, {4: KEY}, KEY_PURPOSE_0=2)
    halted(it, "port.flash_encryption.half")


def test_two_keys_make_one_of_256_bits() -> None:
    it = scene(FLASH_ENCRYPTION, AES256, chip="esp32s3")
    report = it.machine.boot(it.port)
    assert report.booted
    assert [program.block for program in report.efuse_programs] == [5, 4, 0, 0]
    assert it.machine.efuses.key_purpose(4) == "XTS_AES_256_KEY_1"
    assert it.machine.efuses.key_purpose(5) == "XTS_AES_256_KEY_2"


def test_two_keys_of_a_host_are_used_when_all_their_protections_are_there() -> None:
    it = scene(FLASH_ENCRYPTION, AES256, chip="esp32s3")
    burn(it, {4: KEY, 5: DIGEST}, KEY_PURPOSE_0=2, KEY_PURPOSE_1=3)
    halted(it, "port.flash_encryption.key.open")
    fuses = it.machine.efuses
    frozen = fuses.number("WR_DIS") | 3 << 23  # the two blocks
    it.machine.efuses = fuses.burn_fields(
        {"WR_DIS": frozen, "RD_DIS": 3, "WR_DIS.KEY_PURPOSE_0": 1, "WR_DIS.KEY_PURPOSE_1": 1}
    ).latched()
    report = it.machine.boot(it.port)
    assert report.booted
    assert "port.flash_encryption.key" in [finding.code for finding in report.findings]
    assert all(program.block == 0 for program in report.efuse_programs)


def test_a_chip_without_free_key_blocks_draws_no_flash_key() -> None:
    it = scene(FLASH_ENCRYPTION)
    burn(it, dict.fromkeys(range(4, 10), KEY))
    assert halted(it, "port.flash_encryption.key.write").efuse_programs == ()


def test_a_build_that_asks_for_encryption_to_be_on_already_only_stops() -> None:
    it = scene(FLASH_ENCRYPTION, {"CONFIG_SECURE_FLASH_REQUIRE_ALREADY_ENABLED": "1"})
    assert halted(it, "port.flash_encryption.required").efuse_programs == ()


def test_a_layout_beside_the_sectors_stops_in_the_middle() -> None:
    it = scene(FLASH_ENCRYPTION, {"CONFIG_ESP_SCRATCH_OFFSET": "0x3E0800", "CONFIG_ESP_SCRATCH_SIZE": "0x1E000"})
    report = halted(it, "port.flash_encryption.align")
    assert report.flash_ops


def test_a_layout_beyond_the_flash_stops_at_its_end() -> None:
    it = scene(FLASH_ENCRYPTION, {"CONFIG_ESP_BOOTLOADER_SIZE": "0x400800"})
    report = halted(it, "port.flash_encryption.bounds")
    assert report.flash_ops[-1].address == 0x3FF000


def test_two_images_are_encrypted_slot_by_slot() -> None:
    it = scene(FLASH_ENCRYPTION, TWO_IMAGES)
    it.machine.flash.load(0x1E0000, application(seed=b"two"))
    report = it.machine.boot_once(it.port)
    assert report.outcome is Outcome.RESET
    assert it.machine.view().read(0x2C0000, 32) == b"\xff" * 32
    assert it.machine.flash.read(0x2C0000, 32) != b"\xff" * 32


def test_a_chip_that_was_opened_again_takes_one_more_bit() -> None:
    it = scene(FLASH_ENCRYPTION)
    burn(it, SPI_BOOT_CRYPT_CNT=0b011)
    report = it.machine.boot_once(it.port)
    assert (report.outcome, it.machine.efuses.number("SPI_BOOT_CRYPT_CNT")) == (Outcome.RESET, 0b111)


def test_a_bootloader_that_reaches_the_partition_table_s_place_stops_the_encryption_after_the_key_is_spent() -> None:
    it = scene(FLASH_ENCRYPTION)
    it.machine.flash.load(0, make_bootloader_image(5, size=0x11000))
    report = halted(it, "port.flash_encryption.bootloader")
    assert [program.block for program in report.efuse_programs] == [4, 0]
    assert report.flash_ops == ()


def test_a_slot_without_a_plaintext_load_header_stays_as_it_is() -> None:
    it = scene(FLASH_ENCRYPTION, app=application(header_size=0x40))
    report = it.machine.boot_once(it.port)
    assert report.outcome is Outcome.RESET
    assert "port.flash_encryption.primary" in [finding.code for finding in report.findings]
    assert not it.machine.boot_once(it.port).booted


def test_an_unsigned_bootloader_without_signed_on_boot_is_noticed_before_anything_is_burned() -> None:
    options = {name: value for name, value in SECURE_BOOT.items() if name != "CONFIG_SECURE_SIGNED_ON_BOOT"}
    it = scene(options)
    assert halted(it, "port.secure_boot.unsigned").efuse_programs == ()


# Both keys in one block


def test_together_means_both_or_none() -> None:
    it = scene(SECURE_BOOT, FLASH_ENCRYPTION, ECDSA, TOGETHER, chip="esp32c2")
    burn(it, SPI_BOOT_CRYPT_CNT=3)
    assert halted(it, "port.together.half").efuse_programs == ()


def test_together_fails_together() -> None:
    it = scene(
        {k: v for k, v in SECURE_BOOT.items() if "RSA" not in k}, FLASH_ENCRYPTION, ECDSA, TOGETHER, chip="esp32c2"
    )
    burn(it, WR_DIS__RD_DIS=1)
    halted(it, "port.together.burn")


# Recovery


def test_a_held_pin_enters_serial_recovery_before_any_image_is_looked_at() -> None:
    it = scene({"CONFIG_ESP_MCUBOOT_SERIAL": "y"}, app=b"\xff" * 64)
    held = McubootPort(conf=it.conf, keys=(key_of(KeyType.ED25519, 0).public.der,), detect_pin=True)
    assert it.machine.boot_once(held).outcome is Outcome.RECOVERY


@pytest.mark.parametrize("progressive", ["y", ""])
def test_without_the_pin_the_image_boots(progressive: str) -> None:
    options = {"CONFIG_ESP_MCUBOOT_SERIAL": "y"}
    if progressive:
        options["CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY"] = progressive
    it = scene(options)
    assert it.machine.boot(it.port).image_offset == PRIMARY


# The build


@pytest.mark.parametrize("mode", ["CONFIG_ESP_BOOT_RAM_LOAD", "CONFIG_ESP_SINGLE_APPLICATION_SLOT"])
def test_a_mode_that_the_port_does_not_build_is_not_modelled(mode: str) -> None:
    it = scene({mode: "y"})
    with pytest.raises(NotModelledError, match="upgrade mode"):
        it.machine.boot_once(it.port)


def test_with_two_processors_both_images_are_started() -> None:
    it = scene(TWO_IMAGES, {"CONFIG_ESP_MULTI_PROCESSOR_BOOT": "y"}, chip="esp32")
    it.machine.flash.load(0x1E0000, application(chip="esp32", seed=b"two"))
    report = it.machine.boot_once(it.port)
    assert [finding.subject for finding in report.findings if finding.code == "port.load_header"] == [
        "image 1",
        "image 0",
    ]
