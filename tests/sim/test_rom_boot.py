import pytest
from tests.support.chip_scene import FLASH_ENCRYPTION, RELEASE, SECURE_BOOT, Scene, bootloader, scene
from tests.support.keys import key_of

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.finding import Verdict
from bootwright.formats.esp_flash_encryption import encrypt_esp32, encrypt_xts
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_secure_boot_v1 import bootloader_with_digest
from bootwright.formats.esp_signature_block import key_digest_v2
from bootwright.formats.keys import KeyType
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport
from bootwright.sim.rom_boot import Cause


def closed(*groups: dict[str, str]) -> Scene:
    """A chip after its first boot with Secure Boot."""
    it = scene(SECURE_BOOT, *groups)
    assert it.machine.boot(it.port).booted
    return it


def flip(it: Scene, address: int) -> None:
    it.machine.flash.load(address, bytes([it.machine.flash.read(address, 1)[0] ^ 1]))


def refused(it: Scene) -> BootReport:
    report = it.machine.boot(it.port)
    assert report.outcome is Outcome.ROM_REFUSED
    return report


def code(report: BootReport) -> str:
    assert report.failure is not None
    return report.failure.code


def said(report: BootReport) -> list[str]:
    return [line.text for line in report.console]


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (0, "rom.image.magic"),
        (1, "rom.image.segments"),
        (0x100, "rom.image.checksum"),
        (0x6FF0, "rom.secure_boot.digest"),  # the appended hash: the ROM alone boots on, Secure Boot does not
        (0x7000 + 4, "rom.secure_boot.crc"),
        (0x7000, "rom.secure_boot.unsigned"),
    ],
)
def test_a_flipped_bit_in_the_bootloader_is_caught_by_a_named_check(address: int, wanted: str) -> None:
    it = closed()
    flip(it, address)
    assert code(refused(it)) == wanted


def test_without_secure_boot_a_wrong_hash_is_reported_and_ignored() -> None:
    it = scene()
    flip(it, 0x6FF0)
    report = it.machine.boot(it.port)
    assert report.booted
    assert "Attempting to boot anyway..." in said(report)
    assert [f.verdict for f in report.findings if f.code == "rom.image.hash"] == [Verdict.WARN]


def test_a_bootloader_signed_by_another_key_is_refused() -> None:
    it = closed()
    it.machine.flash.load(0, bootloader(key_number=1))
    report = refused(it)
    assert code(report) == "rom.secure_boot.key"
    assert "secure boot verification failed" in said(report)


def test_an_unsigned_bootloader_is_refused_with_the_rom_s_words() -> None:
    it = closed()
    it.machine.flash.load(0, bootloader(signed=False).ljust(0x9000, b"\xff"))
    report = refused(it)
    assert code(report) == "rom.secure_boot.unsigned"
    assert any(text.startswith("No signature block magic byte found") for text in said(report))


def test_a_bootloader_over_the_limit_is_refused_only_under_secure_boot() -> None:
    it = closed({"CONFIG_ESP_BOOTLOADER_SIZE": "0x18000"})
    large = sign_v2(make_bootloader_image(5, size=0x11000), [key_of(KeyType.RSA_3072, 0)])
    it.machine.flash.load(0, large)
    assert code(refused(it)) == "rom.image.too_large"


def test_secure_boot_without_a_digest_refuses_everything() -> None:
    it = scene()
    it.machine.efuses = it.machine.efuses.burn_fields({"SECURE_BOOT_EN": 1})
    assert code(refused(it)) == "rom.secure_boot.no_digest"


def test_a_read_protected_digest_refuses_everything() -> None:
    it = closed({"CONFIG_SECURE_BOOT_V2_ALLOW_EFUSE_RD_DIS": "1"})
    it.machine.efuses = it.machine.efuses.burn_fields({"RD_DIS.BLOCK_KEY0": 1})
    assert code(refused(it)) == "rom.secure_boot.key"


def test_a_revoked_digest_is_no_longer_trusted() -> None:
    it = closed()
    it.machine.efuses = it.machine.efuses.burn_fields({"SECURE_BOOT_KEY_REVOKE0": 1})
    assert code(refused(it)) == "rom.secure_boot.no_digest"


def test_the_second_of_two_keys_boots_when_the_first_is_revoked() -> None:
    it = scene(SECURE_BOOT)
    signers = [key_of(KeyType.RSA_3072, 0), key_of(KeyType.RSA_3072, 1)]
    it.machine.flash.load(0, sign_v2(bootloader(signed=False), signers))
    assert it.machine.boot(it.port).booted
    it.machine.efuses = it.machine.efuses.burn_fields({"SECURE_BOOT_KEY_REVOKE0": 1})
    report = it.machine.boot(it.port)
    assert report.booted
    assert any("signature block 1 verifies" in finding.because for finding in report.findings)


def test_aggressive_revocation_burns_the_slot_of_a_key_whose_signature_is_wrong() -> None:
    it = closed({"CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE": "1"})
    flip(it, 0x6FF0)
    report = refused(it)
    assert [program.fields for program in report.efuse_programs] == [("SECURE_BOOT_KEY_REVOKE0",)]
    flip(it, 0x6FF0)
    assert code(refused(it)) == "rom.secure_boot.no_digest"


def test_plaintext_over_an_encrypted_bootloader_is_refused() -> None:
    it = scene(SECURE_BOOT, RELEASE)
    assert it.machine.boot(it.port).booted
    it.machine.flash.load(0, bootloader())
    report = refused(it)
    assert code(report) == "rom.image.magic"
    assert any(text.startswith("invalid header: 0x") for text in said(report))


def test_a_counter_of_three_turns_encryption_off() -> None:
    """The field's case: burning SPI_BOOT_CRYPT_CNT from 1 to 3 `to secure the device` (esp32.com 152118)."""
    it = scene(FLASH_ENCRYPTION)
    assert it.machine.boot(it.port).booted
    it.machine.efuses = it.machine.efuses.burn_fields({"SPI_BOOT_CRYPT_CNT": 3})
    assert code(refused(it)) == "rom.image.magic"


def test_a_counter_without_a_key_is_noise() -> None:
    it = scene()
    it.machine.efuses = it.machine.efuses.burn_fields({"SPI_BOOT_CRYPT_CNT": 7})
    assert code(refused(it)) == "rom.image.magic"


def test_a_flash_key_in_the_last_block_is_doubted() -> None:
    it = scene(FLASH_ENCRYPTION)
    fields = {"KEY_PURPOSE_5": 4, "SPI_BOOT_CRYPT_CNT": 1}
    it.machine.efuses = it.machine.efuses.burn_block(9, bytes(range(32))).burn_fields(fields).latched()
    image = bootloader()
    it.machine.flash.load(0, encrypt_xts(image, bytes(range(32))[::-1], 0))
    report = it.machine.boot_once(it.port)
    assert ("rom.flash_encryption.last_block", Verdict.WARN) in [(f.code, f.verdict) for f in report.findings]
    assert report.outcome is not Outcome.ROM_REFUSED


def test_lines_that_no_public_log_shows_are_marked() -> None:
    it = scene(chip="esp32c61")
    line = it.machine.boot(it.port).console[0]
    assert not line.is_verified
    assert str(line).endswith("(wording not verified)")
    it = scene(chip="esp32")
    assert all(line.is_verified for line in it.machine.boot(it.port).console)


def test_the_rom_says_why_the_chip_came_out_of_reset() -> None:
    it = scene(RELEASE)
    lines = [line.text for line in it.machine.boot(it.port).console if line.text.startswith("rst:")]
    assert lines == [
        "rst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)",
        "rst:0x3 (RTC_SW_SYS_RST),boot:0xc (SPI_FAST_FLASH_BOOT)",
    ]


def test_a_reset_loop_goes_on_with_another_reason() -> None:
    it = scene()
    it.machine.flash.load(0, b"\xff" * 16)
    report = it.machine.boot(it.port)
    assert [line.text for line in report.again][2:] == [
        "rst:0x7 (TG0WDT_SYS_RST),boot:0xc (SPI_FAST_FLASH_BOOT)",
        "invalid header: 0xffffffff",
    ]
    assert scene().machine.boot(it.port).again == ()


@pytest.mark.parametrize(
    ("revision", "banner", "words"),
    [
        (100, "ets Jun  8 2016 00:22:57", ["flash read err, 1000", "ets_main.c 371"]),
        (301, "ets Jul 29 2019 12:21:46", ["invalid header: 0xffffffff"]),
    ],
)
def test_the_esp32_has_two_roms_with_words_of_their_own(revision: int, banner: str, words: list[str]) -> None:
    it = scene(chip="esp32")
    it.machine.efuses = Efuses.blank(load_chip("esp32"), revision=revision)
    it.machine.flash.load(0x1000, b"\xff" * 16)
    report = it.machine.boot_once(it.port, cause=Cause.WATCHDOG)
    assert said(report) == [banner, "rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", *words]
    assert report.failure is not None
    assert "flash read err, 1000" in report.failure.because


# Secure Boot V1 and the dark ESP32


def v1_chip(*, digest_encrypted: bool = True, crypt_config: int = 0xF, revision: int = 100) -> Scene:
    """An ESP32 with Secure Boot V1 and flash encryption, flashed from a host."""
    it = scene(chip="esp32", signed=False)
    key, flash_key, iv = bytes(range(32)), bytes(range(32, 64)), bytes(128)
    whole = bootloader_with_digest(bootloader(signed=False, chip="esp32"), key, iv)
    head = whole[:192].ljust(0x1000, b"\xff")
    it.machine.flash.load(0, encrypt_esp32(head, flash_key, 0, 0xF) if digest_encrypted else head)
    it.machine.flash.load(0x1000, encrypt_esp32(whole[0x1000:], flash_key, 0x1000, 0xF))
    new = Efuses.blank(load_chip("esp32"), revision=revision)
    fuses = new.burn_block(1, flash_key[::-1]).burn_block(2, key[::-1])
    fields = {"FLASH_CRYPT_CNT": 1, "RD_DIS": 3, "ABS_DONE_0": 1, "FLASH_CRYPT_CONFIG": crypt_config}
    it.machine.efuses = fuses.burn_fields(fields)
    return it


def test_secure_boot_v1_accepts_the_bootloader_of_its_digest() -> None:
    it = v1_chip()
    report = it.machine.boot_once(it.port)
    assert "rom.secure_boot.v1" in [f.code for f in report.findings if f.verdict is Verdict.PASS]


def test_a_plaintext_digest_is_noise_under_flash_encryption() -> None:
    it = v1_chip(digest_encrypted=False)
    report = refused(it)
    assert code(report) == "rom.secure_boot.v1"
    assert said(report)[-2:] == ["secure boot check fail", "ets_main.c 371"]


def test_a_changed_bootloader_fails_its_one_time_digest() -> None:
    it = v1_chip()
    other = make_bootloader_image(0, size=0x7000, seed=b"other")
    it.machine.flash.load(0x1000, encrypt_esp32(other, bytes(range(32, 64)), 0x1000, 0xF))
    assert code(refused(it)) == "rom.secure_boot.v1"


@pytest.mark.parametrize(("revision", "words"), [(100, "flash read err, 1000"), (301, "invalid header: 0x846ee159")])
def test_the_dark_esp32_of_the_forum_loops_at_the_first_header(revision: int, words: str) -> None:
    """FLASH_CRYPT_CNT is 1 and FLASH_CRYPT_CONFIG was never burned: an image made for 0xF reads as noise."""
    it = v1_chip(crypt_config=0, revision=revision)
    report = refused(it)
    assert code(report) == "rom.image.magic"
    assert words in said(report)
    it.machine.efuses = it.machine.efuses.burn_fields({"FLASH_CRYPT_CONFIG": 0xF})
    repaired = it.machine.boot_once(it.port)
    assert repaired.outcome is not Outcome.ROM_REFUSED


def test_the_dark_esp32_recovers_with_encryption_turned_off_and_plaintext_flashed() -> None:
    it = v1_chip(crypt_config=0)
    it.machine.efuses = it.machine.efuses.burn_fields({"FLASH_CRYPT_CNT": 3})
    whole = bootloader_with_digest(bootloader(signed=False, chip="esp32"), bytes(range(32)), bytes(128))
    it.machine.flash.load(0, whole)
    assert it.machine.boot(it.port).booted


def test_a_host_key_reads_what_the_host_encrypted() -> None:
    it = scene(RELEASE)
    key = bytes(range(32))
    image = bootloader(signed=False) + bytes(-len(bootloader(signed=False)) % 16)
    fuses = it.machine.efuses.burn_block(4, key[::-1])
    purpose = load_chip("esp32c3").purpose("XTS_AES_128_KEY").value
    it.machine.efuses = fuses.burn_fields({"KEY_PURPOSE_0": purpose, "SPI_BOOT_CRYPT_CNT": 1, "RD_DIS.BLOCK_KEY0": 1})
    it.machine.flash.load(0, encrypt_xts(image, key, 0))
    assert it.machine.boot_once(it.port).outcome is not Outcome.ROM_REFUSED
    it.machine.flash.load(0, encrypt_xts(image, key, 0x1000))
    assert code(refused(it)) == "rom.image.magic"


def test_a_digest_pre_burned_as_the_second_slot_bricks_the_chip() -> None:
    """The port counts one digest and revokes slots 1 and 2, the digest's own among them."""
    it = scene(SECURE_BOOT)
    digest = key_digest_v2(key_of(KeyType.RSA_3072, 0).public)
    purpose = load_chip("esp32c3").purpose("SECURE_BOOT_DIGEST1").value
    it.machine.efuses = it.machine.efuses.burn_block(4, digest).burn_fields({"KEY_PURPOSE_0": purpose}).latched()
    first = it.machine.boot(it.port)
    assert first.booted
    assert "port.secure_boot.revokes.used" in [finding.code for finding in first.findings]
    assert code(refused(it)) == "rom.secure_boot.no_digest"
