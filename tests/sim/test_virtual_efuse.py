import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.chip_scene import PRIMARY, RELEASE, SECURE_BOOT, Scene, application, scene

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import NotModelledError
from bootwright.flash import Area, NorFlash
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport
from bootwright.sim.virtual_efuse import pack_virtual, read_virtual

REGION = Area("virtual eFuses", 0x10000, 0x2000)
VIRTUAL = {
    "CONFIG_EFUSE_VIRTUAL": "1",
    "CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH": "1",
    "CONFIG_EFUSE_VIRTUAL_OFFSET": "0x10000",
    "CONFIG_EFUSE_VIRTUAL_SIZE": "0x2000",
}


def virtual(it: Scene) -> Efuses:
    found = read_virtual(it.machine.flash, REGION, it.machine.efuses)
    assert found is not None
    return found


def code(report: BootReport) -> str:
    assert report.failure is not None
    return report.failure.code


def test_a_first_boot_burns_the_copy_and_no_real_fuse() -> None:
    it = scene(SECURE_BOOT, RELEASE, VIRTUAL)
    before = it.machine.efuses
    report = it.machine.boot(it.port)
    assert [boot.outcome for boot in report.boots] == [Outcome.RESET, Outcome.APP]
    assert report.efuse_programs == ()
    assert it.machine.efuses.bits == before.bits
    assert virtual(it).number("SPI_BOOT_CRYPT_CNT") == 7
    assert virtual(it).is_set("SECURE_BOOT_EN")


def test_the_flash_stays_plaintext() -> None:
    it = scene(SECURE_BOOT, RELEASE, VIRTUAL)
    it.machine.boot(it.port)
    assert it.machine.flash.read(PRIMARY, len(application())) == application()


def test_the_next_boot_takes_the_copy_and_the_rom_checks_nothing() -> None:
    it = scene(SECURE_BOOT, RELEASE, VIRTUAL)
    it.machine.boot(it.port)
    report = it.machine.boot(it.port)
    assert report.booted
    assert report.flash_ops == ()
    assert "rom.secure_boot.signature" not in [finding.code for finding in report.findings]
    assert any("secure boot v2 is already enabled" in line.text for line in report.console)


def test_erasing_the_region_makes_the_chip_new() -> None:
    it = scene(SECURE_BOOT, VIRTUAL)
    it.machine.boot(it.port)
    it.machine.flash.erase(REGION.address, REGION.size)
    report = it.machine.boot(it.port)
    assert any("Loading virtual efuse blocks from real efuses" in line.text for line in report.console)


def test_every_batch_rewrites_the_region() -> None:
    it = scene(SECURE_BOOT, VIRTUAL)
    report = it.machine.boot(it.port)
    assert [op.address for op in report.flash_ops] == [0x10000] * 4  # made, then burned: each an erase and a write


def test_a_region_at_zero_aborts() -> None:
    it = scene(SECURE_BOOT, VIRTUAL, {"CONFIG_EFUSE_VIRTUAL_OFFSET": "0x0"})
    assert code(it.machine.boot(it.port)) == "port.virtual_efuse.offset"


def test_virtual_efuses_in_ram_are_not_modelled() -> None:
    it = scene({"CONFIG_EFUSE_VIRTUAL": "1"})
    with pytest.raises(NotModelledError, match="without CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH is not modelled"):
        it.machine.boot(it.port)


@given(chip=st.sampled_from(CHIP_NAMES), noise=st.binary(min_size=8, max_size=8))
def test_the_copy_reads_back_as_it_was_written(chip: str, noise: bytes) -> None:
    real = Efuses.blank(load_chip(chip))
    block = real.chip.keys.blocks[0]
    fuses = Efuses.holding(real.chip, {block: noise.ljust(real.chip.blocks[block].size, b"\0")}, revision=real.revision)
    flash = NorFlash(0x20000)
    assert read_virtual(flash, REGION, real) is None
    flash.write(REGION.address, pack_virtual(fuses))
    found = read_virtual(flash, REGION, real)
    assert found is not None
    assert found.bits == fuses.bits
