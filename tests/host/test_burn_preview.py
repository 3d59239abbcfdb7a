"""Whether a chip boots before a burn and after each of its steps."""

from pathlib import Path

import pytest
from tests.support.chip_scene import FLASH_ENCRYPTION, LAYOUT, Scene, scene
from tests.support.keys import key_of
from tests.support.peers import run_bootwright

from bootwright.chips.burning import BurnPlan, KeyWish, key_values, plan_burn
from bootwright.chips.efuses import Efuses
from bootwright.finding import Finding, Verdict
from bootwright.formats.keys import KeyType
from bootwright.host import burn_preview
from bootwright.host.burn_preview import foresee, scene_of
from bootwright.host.efuse_file import store_efuses
from bootwright.sim.chip_file import create_chip_file, open_chip_file
from bootwright.sim.firmware import UnknownBootloader

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def plain() -> Scene:
    """A chip with everything in plaintext that boots without burning anything."""
    return scene()


@pytest.fixture(scope="module")
def encrypted() -> Scene:
    """A chip after its first boot with flash encryption in development mode."""
    it = scene(FLASH_ENCRYPTION)
    assert it.machine.boot(it.port).booted
    return it


def preview(it: Scene, plan: BurnPlan, **options: tuple[str, ...]) -> tuple[Finding, ...]:
    return foresee(plan, burn_preview.Scene(it.machine.flash.snapshot(), it.port), **options)


def with_key(efuses: Efuses, **values: int) -> BurnPlan:
    return plan_burn(efuses, {**key_values(efuses, [KeyWish("KEY0", KEY, "XTS_AES_128_KEY")]), **values})


def test_a_harmless_burn_boots_before_and_after(plain: Scene) -> None:
    findings = preview(plain, plan_burn(plain.machine.efuses, {"SECURE_VERSION": 1}))
    assert [(f.subject, f.verdict) for f in findings] == [("now", "pass"), ("after step 1 of 1", "pass")]
    assert findings[0].because == "boots (app)"


def test_encryption_on_under_plaintext_does_not_boot_and_the_key_alone_does(plain: Scene) -> None:
    findings = preview(plain, with_key(plain.machine.efuses, SPI_BOOT_CRYPT_CNT=1))
    assert [f.verdict for f in findings] == ["pass", "pass", "pass", "warn"]
    assert "does not boot from the flash as it is" in findings[-1].because


def test_with_the_rom_loader_closed_as_well_it_is_a_brick(plain: Scene) -> None:
    plan = with_key(plain.machine.efuses, SPI_BOOT_CRYPT_CNT=1, DIS_DOWNLOAD_MODE=1)
    assert preview(plain, plan)[-1].code == "efuse.mistake.brick"
    assert preview(plain, plan)[-1].verdict is Verdict.FAIL
    assert preview(plain, plan, allow=("brick",))[-1].verdict is Verdict.PASS


def test_the_counter_from_1_to_3_stops_an_encrypted_chip(encrypted: Scene) -> None:
    findings = preview(encrypted, plan_burn(encrypted.machine.efuses, {"SPI_BOOT_CRYPT_CNT": 3}))
    assert [f.verdict for f in findings] == ["pass", "warn"]


def test_a_hidden_key_that_nobody_told_makes_no_verdict(encrypted: Scene) -> None:
    findings = preview(encrypted, plan_burn(encrypted.machine.efuses.hiding(), {"SECURE_VERSION": 1}))
    assert {f.verdict for f in findings} == {Verdict.NOT_MODELLED}


def test_without_the_bootloaders_build_the_roms_verdict_remains(plain: Scene) -> None:
    plan = plan_burn(plain.machine.efuses, {"SECURE_VERSION": 1})
    findings = foresee(plan, burn_preview.Scene(plain.machine.flash.snapshot(), UnknownBootloader()))
    assert findings[-1].because == "the ROM starts the bootloader"


def test_a_first_boot_to_come_says_what_it_will_burn() -> None:
    it = scene(FLASH_ENCRYPTION)
    findings = preview(it, plan_burn(it.machine.efuses, {"SECURE_VERSION": 1}))
    assert "and burns " in findings[-1].because
    assert "SPI_BOOT_CRYPT_CNT" in findings[-1].because


def test_a_virtual_chip_brings_its_flash_and_a_snapshot_has_none(plain: Scene, tmp_path: Path) -> None:
    path = tmp_path / "dev.chip"
    create_chip_file(path, plain.machine.efuses, plain.machine.flash.size)
    with open_chip_file(path) as file:
        file.flash.load(0, plain.machine.flash.snapshot())
    found = scene_of(path, flash=None, conf=None, keys=())
    assert found is not None
    assert found.flash == plain.machine.flash.snapshot()
    assert scene_of(tmp_path / "state.json", flash=None, conf=None, keys=()) is None


def test_warnings_come_before_the_question(plain: Scene, tmp_path: Path) -> None:
    path = tmp_path / "dev.chip"
    create_chip_file(path, plain.machine.efuses, plain.machine.flash.size)
    ran = run_bootwright("efuse", "burn-efuse", path, "DIS_TWAI", "1", stdin="no\n")
    assert ran.code == 7
    assert "[efuse.boot]" in ran.out
    assert "Type BURN" in ran.err


def test_the_command_line_foresees_on_a_snapshot_with_a_flash_dump(plain: Scene, tmp_path: Path) -> None:
    store_efuses(tmp_path / "state.json", plain.machine.efuses)
    (tmp_path / "flash.bin").write_bytes(plain.machine.flash.snapshot())
    (tmp_path / "conf").write_text("".join(f"{name}={value}\n" for name, value in LAYOUT.items()))
    (tmp_path / "pub.pem").write_bytes(key_of(KeyType.ED25519, 0).public.pem)
    (tmp_path / "key").write_bytes(KEY)
    given = ("--flash", "flash.bin", "--conf", "conf", "--key", "pub.pem", "--dry-run")
    command = ("efuse", "burn-key", "state.json", "KEY0", "key", "XTS_AES_128_KEY", *given)
    ran = run_bootwright(*command, cwd=tmp_path)
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.count("[efuse.boot]") == 4
    assert "boots (app)" in ran.out
