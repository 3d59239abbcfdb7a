"""Power cuts during the first boot with Secure Boot and flash encryption: which of them stop the chip, and for good?

Cut points are every eFuse program (before it, and inside it), and flash operations of the in-place encryption. What a
cut inside an eFuse program leaves behind is not documented: any subset of the new bits, without check bits of a
Reed-Solomon block, is assumed and a few are drawn. After each cut the chip is powered on again; where nothing runs,
bootloader and application are flashed again in plaintext, as an engineer would, if download mode still allows it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bootwright.chips.efuses import Efuses
from bootwright.errors import BootwrightError
from bootwright.finding import Answer, Finding, failed, passed, warned
from bootwright.host.bench import Bench
from bootwright.host.project import load_project
from bootwright.host.rehearse import prepare, set_the_stage
from bootwright.host.rehearse_chain import flash, keys, sign_app, sign_bootloader
from bootwright.host.rehearse_world import Notes, World, how_it_ended
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport, Cut, CutKind

ASSUMPTION = (
    "inside an eFuse program any subset of the new bits is assumed, drawn by lot; the silicon is not documented"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One cut, the boot after it, and what flashing again did."""

    point: str
    kind: str  #: efuse, partial or flash
    outcome: Outcome
    why: str
    recovered: bool | None = None  #: by flashing again; None: it was not needed


def explore_provisioning(
    project: Path | None,
    *,
    flash_points: int = 24,
    draws: int = 2,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Answer:
    """Cut the first boot of a project at many points, each on a chip of its own.

    Raises:
        BootwrightError: the project cannot be played.
    """
    world = set_the_stage(prepare(load_project(project)))
    for act in (keys, sign_app, sign_bootloader, flash):
        act(world, Notes())
    whole = world.bench.copy().boot()
    if whole.outcome is not Outcome.APP:
        because = f"without a power cut the first boot ends like this: {how_it_ended(whole)}"
        return Answer(command="explore", findings=(failed("explore.provisioning.baseline", "first boot", because),))
    points = list(_points(whole, flash_points, draws, seed))
    trials = []
    for number, (name, kind, trial) in enumerate(points, 1):
        trials.append(_try(world, name, kind, trial))
        if progress is not None:
            progress("first boot", number, len(points) - number)
    bounds = [f"{flash_points} of {len(whole.flash_ops)} flash operations", ASSUMPTION, "one power cut"]
    return Answer(
        command="explore",
        findings=tuple(_findings(trials)),
        details={
            "mode": "provisioning",
            "efuse_programs": len(whole.efuse_programs),
            "flash_operations": len(whole.flash_ops),
            "bounds": bounds,
            "trials": [
                {
                    "point": trial.point,
                    "kind": trial.kind,
                    "outcome": trial.outcome.value,
                    "why": trial.why,
                    "recovered_by_flashing_again": trial.recovered,
                }
                for trial in trials
            ],
        },
    )


Interrupt = Callable[[Bench], None]


def _points(whole: BootReport, flash_points: int, draws: int, seed: int) -> Iterator[tuple[str, str, Interrupt]]:
    """Every cut: a name, its kind, and what does it to a bench."""
    first = whole.boots[0] if whole.boots else whole
    for number, program in enumerate(first.efuse_programs):
        what = f"eFuse program {number} (block {program.block}: {', '.join(program.fields[:2])})"
        yield f"before {what}", "efuse", _cutting(Cut(CutKind.EFUSE, number))
        for lot in range(draws):
            yield f"inside {what}, draw {lot}", "partial", _partly(number, program.block, program.new_bits, seed + lot)
    total = len(first.flash_ops)
    count = min(flash_points, total)
    for at in sorted({round(index * (total - 1) / max(count - 1, 1)) for index in range(count)}):
        op = first.flash_ops[at]
        yield (
            f"before flash operation {at} ({op.why or type(op).__name__} at {op.address:#x})",
            "flash",
            _cutting(Cut(CutKind.FLASH, at)),
        )


def _cutting(cut: Cut) -> Interrupt:
    def interrupt(bench: Bench) -> None:
        bench.machine.boot_once(bench.port, cut=cut)

    return interrupt


def _partly(number: int, block: int, new_bits: tuple[int, ...], seed: int) -> Interrupt:
    """Some of the new bits are burned, none of the check bits."""

    def interrupt(bench: Bench) -> None:
        bench.machine.boot_once(bench.port, cut=Cut(CutKind.EFUSE, number))
        chance = random.Random(f"{seed} {number}")  # noqa: S311 - a draw, no secret
        burned = sum(1 << bit for bit in new_bits if chance.random() < 0.5)
        efuses: Efuses = bench.machine.efuses
        bits = list(efuses.bits)
        bits[block] |= burned
        bench.machine.efuses = replace(efuses, bits=tuple(bits)).latched()

    return interrupt


def _try(world: World, name: str, kind: str, interrupt: Interrupt) -> Trial:
    """Cut, power on, and if nothing runs flash again and power on once more."""
    bench = world.bench.copy()
    interrupt(bench)
    report = bench.boot()
    if report.outcome is Outcome.APP:
        return Trial(name, kind, report.outcome, how_it_ended(report))
    return Trial(name, kind, report.outcome, how_it_ended(report), _recovers(world, bench))


def _recovers(world: World, bench: Bench) -> bool:
    """Whether writing bootloader and application again in plaintext brings the chip back."""
    efuses = bench.machine.efuses
    closed = ("DIS_DOWNLOAD_MODE", "UART_DOWNLOAD_DIS")
    known = {field.name for field in bench.machine.chip.fields}
    if any(efuses.is_set(name) for name in closed if name in known):
        return False
    try:
        flash(replace(world, bench=bench), Notes())
        return bench.boot().outcome is Outcome.APP
    except BootwrightError:
        return False


def _findings(trials: list[Trial]) -> Iterator[Finding]:
    """One finding for each kind of cut."""
    subjects = {
        "efuse": "cuts between eFuse programs",
        "partial": "cuts inside eFuse programs",
        "flash": "cuts during in-place encryption",
    }
    for kind, subject in subjects.items():
        mine = [trial for trial in trials if trial.kind == kind]
        stopped = [trial for trial in mine if trial.outcome is not Outcome.APP]
        lost = [trial for trial in stopped if not trial.recovered]
        code = f"explore.provisioning.{kind}"
        if not mine:
            continue
        if not stopped:
            yield passed(
                code, subject, f"after each of {len(mine)} cuts the next boot went on and the application runs"
            )
            continue
        reasons = Counter(trial.why for trial in stopped)
        told = "; ".join(f"{why} ({count})" for why, count in reasons.most_common(3))
        share = f"{len(stopped)} of {len(mine)} cuts stop the chip: {told}"
        if lost:
            because = f"{share}; {len(lost)} of them for good, the first {lost[0].point}"
            yield failed(
                code, subject, because, "keep power safe during the first boot: a full battery or a bench supply"
            )
        else:
            advice = "after a cut, flash bootloader and application again in plaintext"
            yield warned(code, subject, f"{share}; flashing again in plaintext brought every one back", advice)
