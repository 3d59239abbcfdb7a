"""ESP-IDF's second-stage bootloader, with the symptoms that the field knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.idf_scene import (
    ANTI_ROLLBACK,
    ENCRYPTION,
    FACTORY,
    NO_FACTORY,
    NVS,
    OTA_0,
    OTA_1,
    ROLLBACK,
    TABLE,
    V1,
    V2,
    WHOLE,
    Scene,
    app,
    code,
    said,
    scene,
)
from tests.support.keys import key_of

from bootwright.errors import NotModelledError
from bootwright.finding import Verdict
from bootwright.flash import Area
from bootwright.formats.esp_flash_encryption import efuse_key, encrypt_xts
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_otadata import OtaData, OtaSelectEntry, OtaState, choose_slot, erased_otadata, sequence_crc
from bootwright.formats.esp_partitions import make_partition, make_table
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_secure_boot_v1 import sign_v1
from bootwright.formats.keys import KeyType
from bootwright.sim.board import Outcome
from bootwright.sim.virtual_efuse import read_virtual

# Choosing


def test_without_a_choice_the_factory_application_boots() -> None:
    report = scene().boot()
    assert (report.outcome, report.image_offset, report.version) == (Outcome.APP, FACTORY, "factory")


def test_otadata_chooses_the_slot() -> None:
    it = scene()
    it.load_otadata(choose_slot(erased_otadata(), 1, 2))
    assert it.boot().version == "one"


def test_without_a_factory_application_the_first_slot_boots_and_is_noted() -> None:
    it = scene(table=NO_FACTORY.pack())
    assert it.boot().version == "zero"
    assert it.otadata().slot(2) == 0
    assert it.otadata().entries[0].ota_state == OtaState.VALID
    assert it.boot().flash_ops == ()


def test_a_damaged_application_is_passed_over_for_the_next() -> None:
    it = scene()
    it.load_otadata(choose_slot(erased_otadata(), 1, 2))
    it.machine.flash.load(OTA_1 + 0x130, b"\0")
    report = it.boot()
    assert report.version == "zero"
    assert [f.code for f in report.findings if f.verdict is Verdict.WARN] == ["idf.app.checksum"]


def test_with_nothing_bootable_it_resets_for_ever() -> None:
    it = scene()
    for slot in (FACTORY, OTA_0, OTA_1):
        it.machine.flash.load(slot, b"\xff" * 0x1000)
    report = it.boot()
    assert (report.outcome, report.reboots) == (Outcome.RESET, 0)
    assert code(report) == "idf.app.image"
    assert "No bootable app partitions" in said(report)


def test_otadata_that_does_not_count_falls_back_to_factory() -> None:
    it = scene()
    entry = OtaSelectEntry(ota_seq=2, crc=0)
    it.load_otadata(replace(erased_otadata(), entries=(entry, entry)))
    report = it.boot()
    assert report.version == "factory"
    assert "ota data partition invalid, falling back to factory" in said(report)


# The partition table


@pytest.mark.parametrize(
    ("at", "wanted"), [(0, "magic"), (33, "entries"), (4, "md5"), (0xC0 + 20, "md5"), (7, "bounds")]
)
def test_a_damaged_partition_table_is_caught_by_a_named_check(at: int, wanted: str) -> None:
    it = scene()
    it.machine.flash.load(TABLE + at, bytes([it.machine.flash.read(TABLE + at, 1)[0] ^ 0x40]))
    report = it.boot()
    assert report.outcome is Outcome.RESET
    assert code(report) == f"idf.partition_table.{wanted}"
    assert "Failed to verify partition table" in said(report)


# Rollback


def pending(state: OtaState, *, sequence: int = 2) -> OtaData:
    """ota_1 chosen after ota_0, in this state."""
    older = OtaSelectEntry(ota_seq=sequence - 1, ota_state=OtaState.VALID, crc=sequence_crc(sequence - 1))
    newer = OtaSelectEntry(ota_seq=sequence, ota_state=state, crc=sequence_crc(sequence))
    return replace(erased_otadata(), entries=(older, newer))


def test_a_new_application_is_tried_once_and_given_up_unless_it_confirms() -> None:
    it = scene(ROLLBACK)
    it.load_otadata(pending(OtaState.NEW))
    assert it.boot().version == "one"
    assert it.otadata().entries[1].ota_state == OtaState.PENDING_VERIFY
    report = it.boot()
    assert report.version == "zero"
    assert it.otadata().entries[1].ota_state == OtaState.ABORTED
    assert "idf.rollback" in [finding.code for finding in report.findings]


def test_a_confirmed_application_stays() -> None:
    it = scene(ROLLBACK)
    it.load_otadata(pending(OtaState.VALID))
    assert [it.boot().version for _ in range(2)] == ["one", "one"]


def test_without_the_option_a_new_application_just_boots() -> None:
    it = scene()
    it.load_otadata(pending(OtaState.NEW))
    assert [it.boot().version for _ in range(2)] == ["one", "one"]


def test_anti_rollback_burns_the_version_of_a_confirmed_application_and_refuses_older_ones() -> None:
    it = scene(ANTI_ROLLBACK, table=NO_FACTORY.pack())
    it.machine.flash.load(OTA_1, app("one", secure_version=3))
    it.load_otadata(pending(OtaState.VALID))
    report = it.boot()
    assert report.version == "one"
    assert [program.fields for program in report.efuse_programs] == [("SECURE_VERSION",)]
    assert it.machine.efuses.number("SECURE_VERSION") == 0b111
    it.load_otadata(choose_slot(erased_otadata(), 0, 2))
    report = it.boot()
    assert report.version == "one"
    assert "idf.anti_rollback" in [finding.code for finding in report.findings]


# First boots


def test_the_first_boot_encrypts_what_the_table_says_and_leaves_nvs_alone() -> None:
    it = scene(V2, ENCRYPTION, signed="v2")
    it.machine.flash.load(NVS, b"nvs as the application wrote it")
    report = it.boot()
    assert [boot.outcome for boot in report.boots] == [Outcome.RESET, Outcome.APP]
    assert [program.block for program in report.efuse_programs] == [4, 0, 5, 0, 0]
    regions = {op.address & ~0xFFFF for op in report.boots[0].flash_ops}
    assert {0, FACTORY, OTA_0, OTA_1} <= regions
    assert it.machine.flash.read(NVS, 15) == b"nvs as the appl"
    assert it.machine.flash.read(TABLE, 2) != b"\xaa\x50"
    assert it.machine.view().read(TABLE, 2) == b"\xaa\x50"


def test_an_application_that_is_not_valid_stays_in_plaintext() -> None:
    it = scene(ENCRYPTION)
    it.machine.flash.load(OTA_1, b"\xff" * 0x1000)
    report = it.boot()
    assert report.booted
    assert it.machine.flash.read(OTA_1, 16) == b"\xff" * 16
    assert "idf.encrypt.skipped" in [finding.code for finding in report.findings]


def test_bootloader_and_application_need_a_key_in_common() -> None:
    it = scene(V2, signed="v2")
    for slot in (FACTORY, OTA_0, OTA_1):
        it.machine.flash.load(slot, sign_v2(app("other"), [key_of(KeyType.RSA_3072, 1)]))
    report = it.boot()
    assert code(report) == "idf.secure_boot.app_key"
    assert report.efuse_programs == ()


def test_where_the_first_application_s_key_does_not_fit_the_next_one_closes_the_chip() -> None:
    it = scene(V2, signed="v2")
    it.machine.flash.load(FACTORY, sign_v2(app("other"), [key_of(KeyType.RSA_3072, 1)]))
    it.machine.flash.load(OTA_0, app("mine", signed="v2"))
    report = it.boot()
    assert report.version == "mine"
    assert it.machine.efuses.is_set("SECURE_BOOT_EN")
    assert "Factory app partition is not bootable" in said(report)
    assert "idf.secure_boot.app_key" in [finding.code for finding in report.findings]


def test_a_burn_that_failed_with_one_application_is_tried_with_the_next_and_the_first_reason_is_told() -> None:
    it = scene(ENCRYPTION)
    it.machine.efuses = it.machine.efuses.burn_fields({"WR_DIS.RD_DIS": 1}).latched()
    report = it.boot()
    assert [program.block for program in report.efuse_programs] == [4, 0, 0, 0]
    assert code(report) == "port.flash_encryption.burn"
    assert "port.flash_encryption.key.open" in [finding.code for finding in report.findings]


def test_the_test_application_is_the_last_resort() -> None:
    table = make_table([*WHOLE, make_partition("test", 0, 0x20, 0x310000, 0x10000)])
    it = scene(table=table.pack())
    for slot in (FACTORY, OTA_0, OTA_1):
        it.machine.flash.load(slot, bytes(16))
    it.machine.flash.load(0x310000, app("last"))
    report = it.boot()
    assert report.version == "last"
    assert "Falling back to test app as only bootable partition" in said(report)


def test_an_unsigned_application_does_not_boot_under_secure_boot() -> None:
    it = scene(V2, signed="v2")
    for slot in (FACTORY, OTA_0, OTA_1):
        it.machine.flash.load(slot, app("unsigned").ljust(0x3000, b"\xff"))
    report = it.boot()
    assert code(report) == "idf.app.signature"
    assert "Secure boot signature verification failed" in said(report)


def test_the_c2_burns_both_keys_together_before_it_encrypts() -> None:
    options = {
        "CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME": "n",
        "CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": "y",
        "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER": "y",
        "CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED": "y",
        "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE": "y",
    }
    it = scene(V2, ENCRYPTION, options, chip="esp32c2")
    signer = key_of(KeyType.ECDSA_P256, 0)
    it.machine.flash.load(0, sign_v2(make_bootloader_image(12, size=0x5000), [signer]))
    for slot in (FACTORY, OTA_0, OTA_1):
        it.machine.flash.load(slot, sign_v2(app("app", chip="esp32c2"), [signer]))
    report = it.boot()
    assert report.booted
    assert [program.block for program in report.efuse_programs] == [3, 0, 0, 0]
    assert it.machine.efuses.is_set("WR_DIS.SPI_BOOT_CRYPT_CNT")


def test_secure_boot_v1_writes_a_digest_and_the_rom_accepts_it() -> None:
    it = scene(V1, ENCRYPTION, chip="esp32", signed="v1")
    report = it.boot()
    assert [boot.outcome for boot in report.boots] == [Outcome.RESET, Outcome.APP]
    assert [program.block for program in report.efuse_programs] == [2, 1, 0, 0, 0]
    assert report.efuse_programs[-1].fields == ("WR_DIS.BLOCK2", "RD_DIS.BLOCK2", "ABS_DONE_0")
    codes = [finding.code for finding in report.boots[1].findings if finding.verdict is Verdict.PASS]
    assert "rom.secure_boot.v1" in codes


def test_an_application_signed_by_another_key_fails_under_v1() -> None:
    it = scene(V1, chip="esp32", signed="v1")
    for slot in (FACTORY, OTA_0, OTA_1):
        it.machine.flash.load(slot, sign_v1(app("x", chip="esp32"), key_of(KeyType.ECDSA_P256, 1)))
    assert code(it.boot()) == "secure_boot.v1.signature.invalid"


# The symptom table: what is in plaintext where ciphertext is expected, and the other way round


def encrypted_chip() -> Scene:
    it = scene(ENCRYPTION)
    assert it.boot().booted
    return it


@pytest.mark.parametrize(
    ("address", "data", "wanted", "words"),
    [
        (0, make_bootloader_image(5, size=0x5000), "rom.image.magic", "invalid header: 0x"),
        (TABLE, WHOLE.pack(), "idf.partition_table.magic", "partition 0 invalid magic number 0x"),
        (FACTORY, app("factory"), "idf.app.image", "No bootable app partitions"),
        (FACTORY, app("factory"), "idf.app.image", "image at 0x10000 has invalid magic byte"),
    ],
)
def test_plaintext_over_an_encrypted_chip_has_its_symptom(address: int, data: bytes, wanted: str, words: str) -> None:
    it = encrypted_chip()
    if address == FACTORY:
        for slot in (OTA_0, OTA_1):
            it.machine.flash.load(slot, app("plain"))
    it.machine.flash.load(address, data)
    report = it.boot()
    assert code(report) == wanted
    assert words in said(report)


def test_plaintext_otadata_is_noise_and_factory_boots() -> None:
    it = encrypted_chip()
    it.load_otadata(choose_slot(erased_otadata(), 1, 2))
    report = it.boot()
    assert report.version == "factory"
    assert "ota data partition invalid, falling back to factory" in said(report)


def test_ciphertext_at_another_address_is_noise() -> None:
    it = encrypted_chip()
    key = efuse_key(it.machine.efuses.block(4))
    table = WHOLE.pack()
    it.machine.flash.load(TABLE, encrypt_xts(table, key, TABLE))
    assert it.boot().booted
    it.machine.flash.load(TABLE, encrypt_xts(table, key, 0x10000))
    assert code(it.boot()) == "idf.partition_table.magic"


# Virtual eFuses

VIRTUAL = {"CONFIG_EFUSE_VIRTUAL": "y", "CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH": "y"}
FUSES = 0x310000


def test_virtual_efuses_live_in_a_partition_and_close_nothing() -> None:
    table = make_table([*WHOLE, make_partition("efuse_em", 1, 5, FUSES, 0x2000)])
    it = scene(V2, ENCRYPTION, VIRTUAL, signed="v2", table=table.pack())
    report = it.boot()
    assert report.booted
    assert report.efuse_programs == ()
    assert it.machine.flash.read(TABLE, 2) == b"\xaa\x50"
    copy = read_virtual(it.machine.flash, Area("efuse_em", FUSES, 0x2000), it.machine.efuses)
    assert copy is not None
    assert copy.is_set("SECURE_BOOT_EN")


@pytest.mark.parametrize("options", [VIRTUAL, {"CONFIG_EFUSE_VIRTUAL": "y"}])
def test_virtual_efuses_without_a_partition_are_not_modelled(options: dict[str, str]) -> None:
    it = scene(options)
    with pytest.raises(NotModelledError, match="not kept in a partition"):
        it.boot()
