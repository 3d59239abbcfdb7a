"""Which curve and which hash a chip's Secure Boot takes, and what a first boot burns for them.

ESP-IDF v6.0 components/efuse/src/esp_efuse_fields.c (`esp_efuse_enable_ecdsa_p192_curve_mode`), bootloader_support/src/
secure_boot_v2/secure_boot_signatures_bootloader.c; MCUboot 2d4bacc3, boot/espressif/hal/src/secure_boot.c.
"""

from tests.support import idf_scene
from tests.support.chip_scene import SECURE_BOOT, Scene, scene
from tests.support.keys import key_of

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_signature_block import key_digest_v2
from bootwright.formats.keys import KeyType
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport

ECDSA = {"CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME": "n", "CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": "y"}
LONG = {**ECDSA, "CONFIG_SECURE_BOOT_ECDSA_KEY_LEN_384_BITS": "1"}
DIGEST0 = 9


def signed_by(kind: KeyType, chip: str, options: dict[str, str] | None = None, *, revision: int | None = None) -> Scene:
    it = scene(SECURE_BOOT, ECDSA if options is None else options, chip=chip)
    facts = load_chip(chip)
    image = make_bootloader_image(facts.chip_id, size=0x7000)
    it.machine.flash.load(facts.bootloader_offset, sign_v2(image, [key_of(kind)]))
    if revision is not None:
        it.machine.efuses = Efuses.blank(facts, revision=revision)
    return it


def with_digest(it: Scene, kind: KeyType) -> Scene:
    digest = key_digest_v2(key_of(kind).public)
    fields: dict[str, int | bytes] = {
        "KEY0": digest,
        "KEY_PURPOSE_0": DIGEST0,
        "WR_DIS.BLOCK_KEY0": 1,
        "WR_DIS.KEY_PURPOSE_0": 1,
    }
    it.machine.efuses = it.machine.efuses.burn_fields(fields).latched()
    return it


def code(report: BootReport) -> str:
    assert report.failure is not None
    return report.failure.code


def test_a_p_192_key_opens_its_curve_together_with_secure_boot() -> None:
    it = signed_by(KeyType.ECDSA_P192, "esp32h2")
    report = it.machine.boot(it.port)
    assert report.booted
    assert it.machine.efuses.number("ECDSA_CURVE_MODE") == 2
    block0 = [program.fields for program in report.efuse_programs if program.block == 0]
    assert ["ECDSA_CURVE_MODE" in fields and "SECURE_BOOT_EN" in fields for fields in block0] == [True]
    assert it.machine.boot(it.port).booted


def test_a_p_256_key_opens_nothing() -> None:
    it = signed_by(KeyType.ECDSA_P256, "esp32h2")
    assert it.machine.boot(it.port).booted
    assert not it.machine.efuses.is_set("ECDSA_CURVE_MODE")


def test_silicon_without_the_choice_knows_both_curves() -> None:
    it = signed_by(KeyType.ECDSA_P192, "esp32h2", revision=101)
    assert it.machine.boot(it.port).booted


def test_a_curve_that_is_locked_keeps_the_key_out_and_nothing_is_burned() -> None:
    for locked in ({"ECDSA_CURVE_MODE": 3}, {"WR_DIS.ECDSA_CURVE_MODE": 1}):
        it = signed_by(KeyType.ECDSA_P192, "esp32h2")
        it.machine.efuses = it.machine.efuses.burn_fields(locked).latched()
        report = it.machine.boot(it.port)
        assert code(report) == "port.bootloader.signature"
        assert report.efuse_programs == ()


def test_esp_idf_opens_the_curve_for_the_application_before_all_else() -> None:
    options = {**idf_scene.V2, **ECDSA}
    it = idf_scene.scene(options, chip="esp32h2")
    signer = key_of(KeyType.ECDSA_P192)
    it.machine.flash.load(0, sign_v2(make_bootloader_image(load_chip("esp32h2").chip_id, size=0x5000), [signer]))
    it.machine.flash.load(idf_scene.FACTORY, sign_v2(idf_scene.app("one", chip="esp32h2"), [signer]))
    report = it.boot()
    assert report.booted
    assert report.efuse_programs[0].fields == ("ECDSA_CURVE_MODE",)


def test_the_port_takes_no_digest_from_a_p_384_block() -> None:
    it = signed_by(KeyType.ECDSA_P384, "esp32c5", LONG)
    report = it.machine.boot(it.port)
    assert report.outcome is Outcome.PANIC
    assert code(report) == "port.secure_boot.unsigned"
    assert report.efuse_programs == ()


def test_with_a_host_s_digest_the_port_takes_a_p_384_key_and_switches_the_rom() -> None:
    it = with_digest(signed_by(KeyType.ECDSA_P384, "esp32c5", LONG), KeyType.ECDSA_P384)
    assert it.machine.boot(it.port).booted
    assert it.machine.efuses.is_set("SECURE_BOOT_SHA384_EN")
    assert it.machine.boot(it.port).booted


def test_esp_idf_takes_the_digest_of_a_p_384_key_itself() -> None:
    it = idf_scene.scene({**idf_scene.V2, **LONG}, chip="esp32c5")
    chip, signer = load_chip("esp32c5"), key_of(KeyType.ECDSA_P384)
    it.machine.flash.load(chip.bootloader_offset, sign_v2(make_bootloader_image(chip.chip_id, size=0x5000), [signer]))
    it.machine.flash.load(idf_scene.FACTORY, sign_v2(idf_scene.app("one", chip="esp32c5"), [signer]))
    assert it.boot().booted
    assert it.machine.efuses.is_set("SECURE_BOOT_SHA384_EN")
    assert it.boot().booted


def test_the_rom_asks_for_the_hash_that_its_efuse_says() -> None:
    it = with_digest(signed_by(KeyType.ECDSA_P384, "esp32c5", LONG), KeyType.ECDSA_P384)
    it.machine.efuses = it.machine.efuses.burn_fields({"SECURE_BOOT_EN": 1}).latched()
    report = it.machine.boot(it.port)
    assert report.outcome is Outcome.ROM_REFUSED
    assert code(report) == "rom.secure_boot.hash"


def test_a_build_for_the_other_hash_refuses_the_signature() -> None:
    it = signed_by(KeyType.ECDSA_P256, "esp32c5", LONG)
    assert code(it.machine.boot(it.port)) == "port.bootloader.signature"
