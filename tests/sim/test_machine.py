from dataclasses import dataclass

from tests.support.chip_scene import FLASH_ENCRYPTION, PRIMARY, RELEASE, SECURE_BOOT, application, scene

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.finding import Verdict, overall
from bootwright.sim.board import Board, Ended, Outcome, Steps
from bootwright.sim.machine import Cut, CutKind, Machine, Straps


def test_a_new_chip_boots_a_signed_application() -> None:
    it = scene()
    report = it.machine.boot(it.port)
    assert (report.outcome, report.image_offset, report.version) == (Outcome.APP, PRIMARY, "1.0.0+0")
    assert overall(report.findings) is Verdict.PASS
    assert (report.efuse_programs, report.flash_ops, report.changes) == ((), (), ())


def test_the_first_boot_closes_the_chip_and_the_next_one_is_checked_by_the_rom() -> None:
    it = scene(SECURE_BOOT, RELEASE)
    report = it.machine.boot(it.port)
    assert [boot.outcome for boot in report.boots] == [Outcome.RESET, Outcome.APP]
    assert [program.block for program in report.efuse_programs] == [4, 0, 5, 0, 0]
    assert {"SECURE_BOOT_EN", "SPI_BOOT_CRYPT_CNT", "DIS_DIRECT_BOOT"} <= {change.name for change in report.changes}
    assert "rom.secure_boot.signature" in [finding.code for finding in report.boots[1].findings]
    assert it.machine.flash.read(PRIMARY, 64) != application()[:64]
    assert it.machine.view().read(PRIMARY, 64) == application()[:64]


def test_no_key_shows_in_a_report() -> None:
    it = scene(SECURE_BOOT, FLASH_ENCRYPTION)
    report = it.machine.boot(it.port)
    key = bytes(range(1, 33))
    assert it.machine.efuses.block(5) == key
    shown = repr(report) + repr([finding.as_dict() for finding in report.findings])
    assert key.hex() not in shown
    assert repr(key) not in shown


def test_power_lost_before_block0_spends_a_key_block() -> None:
    it = scene(SECURE_BOOT)
    report = it.machine.boot(it.port, cut=Cut(CutKind.EFUSE, 1))
    assert report.outcome is Outcome.POWER_CUT
    assert [program.block for program in report.efuse_programs] == [4]
    assert [program.block for program in it.machine.boot(it.port).efuse_programs] == [5, 0]


def test_power_lost_while_the_flash_is_encrypted_ends_in_the_rom() -> None:
    it = scene(RELEASE)
    report = it.machine.boot(it.port, cut=Cut(CutKind.FLASH, 3))
    assert (report.outcome, len(report.flash_ops)) == (Outcome.POWER_CUT, 3)
    report = it.machine.boot(it.port)
    assert report.outcome is Outcome.ROM_REFUSED
    assert report.failure is not None
    assert report.failure.code == "rom.image.magic"


def test_a_torn_write_leaves_half_of_it() -> None:
    it = scene(FLASH_ENCRYPTION)
    report = it.machine.boot(it.port, cut=Cut(CutKind.FLASH_TORN, 1))
    assert report.torn
    assert it.machine.flash.read(2048, 2048) == b"\xff" * 2048
    assert it.machine.flash.read(0, 2048) != b"\xff" * 2048


def test_strapped_for_download_nothing_boots_unless_download_mode_is_burned_away() -> None:
    it = scene(SECURE_BOOT, {"CONFIG_SECURE_DISABLE_ROM_DL_MODE": "1"})
    it.machine.straps = Straps.DOWNLOAD
    assert it.machine.boot(it.port).outcome is Outcome.DOWNLOAD
    it.machine.straps = Straps.NORMAL
    assert it.machine.boot(it.port).booted
    it.machine.straps = Straps.DOWNLOAD
    assert it.machine.boot(it.port).booted


def test_an_esp32_heeds_the_end_of_download_mode_from_revision_3_on() -> None:
    for revision, outcome in ((100, Outcome.DOWNLOAD), (300, Outcome.ROM_REFUSED)):
        chip = load_chip("esp32")
        fuses = Efuses.blank(chip, revision=revision).burn_fields({"UART_DOWNLOAD_DIS": 1}).latched()
        machine = Machine(chip, efuses=fuses, straps=Straps.DOWNLOAD)
        assert machine.boot_once(scene().port).outcome is outcome


def test_a_torn_erase_leaves_the_sector_as_it_was() -> None:
    it = scene(FLASH_ENCRYPTION)
    before = it.machine.flash.read(0, 4096)
    report = it.machine.boot(it.port, cut=Cut(CutKind.FLASH_TORN, 0))
    assert (report.outcome, report.flash_ops) == (Outcome.POWER_CUT, ())
    assert it.machine.flash.read(0, 4096) == before


@dataclass
class Restless:
    """A bootloader that only ever resets."""

    def run(self, board: Board) -> Steps[Ended]:
        yield from ()
        return Ended(outcome=Outcome.RESET)


def test_resets_without_end_are_given_up() -> None:
    report = scene().machine.boot(Restless())
    assert report.outcome is Outcome.RESET
    assert report.failure is not None
    assert report.failure.code == "machine.reset.loop"
    assert report.failure.because == f"{len(report.boots)} resets in a row"
