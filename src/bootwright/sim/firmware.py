"""What a virtual chip does when it boots from flash: the machine runs, its state comes back into the chip's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bootwright.errors import BootwrightError
from bootwright.finding import Finding, Verdict
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.sim.board import Board, Bootloader, Ended, Outcome, Steps
from bootwright.sim.chip_smp import detect_pin_held, with_smp
from bootwright.sim.console import ConsoleLine
from bootwright.sim.machine import BootReport, Cut, Machine
from bootwright.sim.virtual_chip import Booted, VirtualChip
from bootwright.sim.which_bootloader import bootloader_for, heeded_options


@dataclass(frozen=True, slots=True)
class UnknownBootloader:
    """What the ROM starts when nobody said which build of MCUboot lies in the flash."""

    def run(self, board: Board) -> Steps[Ended]:
        """Nothing: the model stops instead of guessing."""
        yield from ()
        return Ended(
            outcome=Outcome.APP,
            findings=(
                Finding(
                    code="bootloader.unknown",
                    subject="bootloader",
                    verdict=Verdict.NOT_MODELLED,
                    because="the ROM starts the bootloader; which build it is, the flash does not tell",
                    next="say it once: `bootwright chip boot NAME --conf bootloader.conf --key public.pem`, or"
                    " `--conf sdkconfig` for ESP-IDF's bootloader",
                ),
            ),
        )


def bootloader_of(chip: VirtualChip) -> Bootloader:
    """The model of what lies at the bootloader's offset."""
    if not chip.state.conf:
        return UnknownBootloader()
    held = detect_pin_held(chip, BootloaderConf.parse(chip.state.conf))
    return bootloader_for(chip.state.conf, chip.state.keys, detect_pin=held)


def run_boot(chip: VirtualChip, *, cut: Cut | None = None) -> BootReport:
    """Boot the chip from flash once, up to the point where it settles; its eFuses are saved.

    Raises:
        NotModelledError: the chip's state is one that the machine does not cover.
    """
    machine = Machine(chip.chip, flash=chip.file.flash, efuses=chip.efuses)
    try:
        return machine.boot(bootloader_of(chip), cut=cut)
    finally:
        chip.set_efuses(machine.efuses)


def booted_by(report: BootReport) -> Booted:
    """What a boot leaves on the chip's ports."""
    powered = report.outcome is not Outcome.POWER_CUT
    return Booted(_lines(report.console), again=_lines(report.again), powered=powered)


def _lines(console: Sequence[ConsoleLine]) -> str:
    return "".join(f"{line.text}\r\n" for line in console)


def boot_from_flash(chip: VirtualChip) -> Booted:
    """What a reset with normal straps does; a state that is not modelled is said on the console."""
    try:
        report = run_boot(chip)
        return with_smp(chip, report, booted_by(report))
    except BootwrightError as error:
        return Booted(f"(not modelled: {error.message})\r\n")


def boot_and_tell(chip: VirtualChip, *, cut: Cut | None = None) -> dict[str, object]:
    """Boot once for a person: outcome, findings, what changed.

    Whatever the straps say, this boots from flash, and a pin that is held is held for long enough; a chip that is
    strapped for download is reset afterwards, so that tools find its loader again.
    """
    report = run_boot(chip, cut=cut)
    chip.finish_boot(with_smp(chip, report, booted_by(report)))
    chip.end_wait()
    if chip.state.download and chip.state.powered:
        chip.reset()
    return {
        "outcome": report.outcome.value,
        "findings": [finding.as_dict() for finding in report.findings],
        "console": [str(line) for line in report.console],
        "efuses_burned": [change.name for change in report.changes],
        "flash_operations": len(report.flash_ops),
        "reboots": report.reboots,
        "image_offset": report.image_offset,
        "version": report.version,
    }


def describe_bootloader(chip: VirtualChip, conf: str, keys: tuple[bytes, ...]) -> None:
    """Remember which bootloader lies in the flash: MCUboot by its `bootloader.conf`, ESP-IDF's by an sdkconfig.

    Raises:
        FormatError: the conf is not one that its build takes.
    """
    chip.remember(replace(chip.state, conf=heeded_options(conf), keys=keys))
