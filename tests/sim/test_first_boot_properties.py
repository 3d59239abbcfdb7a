"""What holds for a first boot whatever was burned before, whatever is built, and wherever power is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.chip_scene import FLASH_ENCRYPTION, RELEASE, SECURE_BOOT, scene

from bootwright.chips.efuses import Efuses
from bootwright.finding import Verdict
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport, Cut, CutKind

BUILDS = [(SECURE_BOOT,), (FLASH_ENCRYPTION,), (SECURE_BOOT, RELEASE)]
SWITCHES = [
    "CONFIG_SECURE_BOOT_ALLOW_JTAG",
    "CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC",
    "CONFIG_SECURE_BOOT_V2_ALLOW_EFUSE_RD_DIS",
    "CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE",
    "CONFIG_SECURE_DISABLE_ROM_DL_MODE",
    "CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE",
    "CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_ENC",
    "CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_CACHE",
    "CONFIG_SECURE_FLASH_SKIP_WRITE_PROTECTION_CACHE",
]
BURNED = ["KEY_PURPOSE_0", "KEY_PURPOSE_1", "SECURE_BOOT_KEY_REVOKE0", "SPI_BOOT_CRYPT_CNT", "SECURE_BOOT_EN", "RD_DIS"]


def lost(before: Efuses, after: Efuses) -> list[int]:
    """Blocks in which a burned bit reads 0 afterwards."""
    return [at for at, (old, new) in enumerate(zip(before.bits, after.bits, strict=True)) if old & ~new]


@settings(deadline=None, max_examples=40)
@given(
    build=st.sampled_from(BUILDS),
    switches=st.sets(st.sampled_from(SWITCHES)),
    write_disable=st.integers(0, 2**32 - 1),
    sparse=st.booleans(),
    values=st.dictionaries(st.sampled_from(BURNED), st.integers(0, 15), max_size=3),
    cut=st.none() | st.builds(Cut, st.sampled_from(CutKind), st.integers(0, 40)),
)
def test_no_bit_is_lost_and_every_end_has_its_reason(
    build: tuple[dict[str, str], ...],
    switches: set[str],
    write_disable: int,
    sparse: bool,
    values: dict[str, int],
    cut: Cut | None,
) -> None:
    it = scene(*build, dict.fromkeys(switches, "1"))
    fields = {name: value & (1 << it.machine.chip.field(name).width) - 1 for name, value in values.items()}
    fields["WR_DIS"] = write_disable & 0x0F0F_0F0F if sparse else 0
    it.machine.efuses = before = Efuses.blank(it.machine.chip).burn_fields(fields).latched()
    for power in (cut, None):
        report = it.machine.boot(it.port, cut=power)
        assert lost(before, it.machine.efuses) == []
        assert report.booted or report.outcome is Outcome.POWER_CUT or (report.failure and report.failure.next)
        before = it.machine.efuses


def settled(report: BootReport) -> tuple[Outcome, list[int]]:
    return report.outcome, [program.block for program in report.efuse_programs]


@pytest.mark.parametrize("at", range(2))
def test_secure_boot_alone_survives_every_power_cut(at: int) -> None:
    it = scene(SECURE_BOOT)
    assert it.machine.boot(it.port, cut=Cut(CutKind.EFUSE, at)).outcome is Outcome.POWER_CUT
    assert it.machine.boot(it.port).booted


def test_each_cut_between_key_and_block0_costs_a_key_block_until_none_is_left() -> None:
    it = scene(SECURE_BOOT)
    for block in range(4, 10):
        assert settled(it.machine.boot(it.port, cut=Cut(CutKind.EFUSE, 1))) == (Outcome.POWER_CUT, [block])
    report = it.machine.boot(it.port)
    assert settled(report) == (Outcome.PANIC, [])
    assert report.failure is not None
    assert report.failure.code == "port.secure_boot.digest.write"


@pytest.mark.parametrize("at", range(4))
def test_with_both_a_cut_before_the_flash_is_touched_is_made_up_for_at_the_next_boot(at: int) -> None:
    it = scene(SECURE_BOOT, FLASH_ENCRYPTION)
    it.machine.boot(it.port, cut=Cut(CutKind.EFUSE, at))
    report = it.machine.boot(it.port)
    assert report.booted
    assert all(finding.verdict is not Verdict.FAIL for finding in report.findings)
