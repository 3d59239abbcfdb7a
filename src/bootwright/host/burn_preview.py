"""What a burn does to the next boot: the virtual chip boots a copy of the flash before the burn and after each step.

A burn that stops the chip is no mistake as such (keys come before the images that are encrypted with them). It is one
when the ROM loader is closed as well: nothing can be put right any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bootwright.chips.burning import BurnPlan
from bootwright.chips.efuses import Efuses
from bootwright.chips.release import download_closed
from bootwright.errors import NotModelledError
from bootwright.finding import Finding, Verdict, failed, passed, warned
from bootwright.flash import NorFlash
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.host.files import read_bytes
from bootwright.sim.board import Bootloader, Outcome
from bootwright.sim.firmware import UnknownBootloader
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.machine import BootReport, Machine

BRICK = "brick"  #: the name by which this mistake is insisted on
_SETTLED = (Outcome.APP, Outcome.RECOVERY, Outcome.DOWNLOAD)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the eFuses are burned under: a flash's content and the bootloader that lies in it."""

    flash: bytes = field(repr=False)
    bootloader: Bootloader


def scene_of(path: Path, *, flash: Path | None, conf: str | None, keys: Sequence[bytes]) -> Scene | None:
    """The scene of a flash that was read out, or of a virtual chip that nobody serves; none where there is no flash."""
    if flash is not None:
        return Scene(read_bytes(flash, what="flash dump"), _bootloader(conf or "", keys))
    if path.suffix != ".chip":
        return None
    from bootwright.sim.chip_file import open_chip_file
    from bootwright.sim.control import ask_server

    if ask_server(path, "state", {}) is not None:
        return None
    with open_chip_file(path) as file:
        state = file.state
        return Scene(file.flash.snapshot(), _bootloader(conf or state.conf, keys or state.keys))


def _bootloader(conf: str, keys: Sequence[bytes]) -> Bootloader:
    return McubootPort(conf=BootloaderConf.parse(conf), keys=tuple(keys)) if conf else UnknownBootloader()


def foresee(plan: BurnPlan, scene: Scene, *, allow: Collection[str] = ()) -> tuple[Finding, ...]:
    """One finding for the state now and one for the state after each program command."""
    findings = [_finding("now", plan.before, scene)]
    for number, state in enumerate(_states(plan), 1):
        findings.append(_finding(f"after step {number} of {len(plan.steps)}", state, scene))
    closed = download_closed(plan.after)
    if findings[-1].verdict is Verdict.WARN and closed and closed != "ENABLE_SECURITY_DOWNLOAD":
        because = f"{plan.after.chip.title} would not boot, and with {closed} nothing can be flashed any more"
        if BRICK in allow:
            findings.append(passed(f"efuse.mistake.{BRICK}", closed, f"{because}; allowed by --allow {BRICK}"))
        else:
            advice = f"make it boot before it is closed; or insist with --allow {BRICK}"
            findings.append(failed(f"efuse.mistake.{BRICK}", closed, because, advice))
    return tuple(findings)


def _states(plan: BurnPlan) -> Iterator[Efuses]:
    state = plan.before
    for step in plan.steps:
        state = state.burn_block(step.block, step.data(state.chip)).latched()
        yield state


def _finding(when: str, efuses: Efuses, scene: Scene) -> Finding:
    machine = Machine(efuses.chip, flash=NorFlash.holding(scene.flash), efuses=efuses)
    try:
        report = machine.boot(scene.bootloader)
    except NotModelledError as error:
        return Finding(
            code="efuse.boot",
            subject=when,
            verdict=Verdict.NOT_MODELLED,
            because=error.message,
            next=error.hint,
        )
    if report.outcome in _SETTLED:
        return passed("efuse.boot", when, _how(report))
    failure = report.failure
    because = failure.because if failure else f"the boot ends in {report.outcome.value}"
    return warned("efuse.boot", when, f"the chip does not boot from the flash as it is: {because}")


def _how(report: BootReport) -> str:
    if any(finding.code == "bootloader.unknown" for finding in report.findings):
        return "the ROM starts the bootloader"
    burned = ", ".join(change.name for change in report.changes)
    return f"boots ({report.outcome.value})" + (f", and burns {burned} itself" if burned else "")
