"""A chip with its flash, eFuses and straps: reset it, and it does what the silicon and its code would do.

    machine = Machine(load_chip("esp32c3"), flash_size=4 << 20)
    machine.flash.load(0, bootloader)
    report = machine.boot(McubootPort(conf=conf, keys=(public_der,)))
    report.outcome, report.findings

`boot` goes on through deliberate resets until something settles; `boot_once` stops at the first end. Nothing here
depends on a clock; randomness comes from `entropy`, which a test or a trace can replace.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses, FieldChange, diff
from bootwright.chips.release import download_mode_off
from bootwright.finding import Finding, failed, passed
from bootwright.flash import Erase, FlashOp, NorFlash, Write
from bootwright.sim.board import Bootloader, BurnEfuse, Ended, Outcome, Steps, T
from bootwright.sim.console import ConsoleLine
from bootwright.sim.encrypted_flash import EncryptedFlash, cipher_of, is_encryption_on
from bootwright.sim.rom_boot import Cause, RomRun, boot_rom, reset_line

#: deliberate resets in a row before the machine calls it a loop
MOST_RESETS = 8
#: what wakes a chip next when a boot ended so
_NEXT_CAUSE = {Outcome.ROM_REFUSED: Cause.WATCHDOG, Outcome.PANIC: Cause.WATCHDOG, Outcome.RESET: Cause.SOFTWARE}


class Straps(StrEnum):
    """What the strapping pins ask for at reset."""

    NORMAL = "normal"
    DOWNLOAD = "download"


class CutKind(StrEnum):
    """Where power goes away; counted from 0 over one boot."""

    EFUSE = "efuse"  #: just before eFuse program n
    FLASH = "flash"  #: just before flash operation n
    FLASH_TORN = "flash-torn"  #: in the middle of flash operation n: half a write; an erase did not happen


@dataclass(frozen=True, slots=True)
class Cut:
    """A loss of power in one boot."""

    kind: CutKind
    at: int


@dataclass(frozen=True, slots=True)
class EfuseProgram:
    """One program command as it happened."""

    order: int  #: from 0 over one boot
    block: int
    data: bytes = field(repr=False)  #: what was asked for; may be a key
    new_bits: tuple[int, ...] = field(repr=False)  #: what newly became 1
    fields: tuple[str, ...]  #: the names of these bits; empty when the silicon changed nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class BootReport:
    """One run from reset, or several up to the point where they settle."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    console: tuple[ConsoleLine, ...]
    efuse_programs: tuple[EfuseProgram, ...] = ()
    flash_ops: tuple[FlashOp, ...] = field(default=(), repr=False)
    torn: bool = False  #: power went away in the middle of the last of `flash_ops`
    changes: tuple[FieldChange, ...] = ()  #: eFuse fields, before against after
    image_offset: int | None = None
    version: str = ""
    again: tuple[ConsoleLine, ...] = field(default=(), repr=False)  #: each further round of a chip that resets for ever
    boots: tuple[BootReport, ...] = field(default=(), repr=False)  #: the single runs, when there were several

    @property
    def reboots(self) -> int:
        """Deliberate resets on the way."""
        return max(len(self.boots) - 1, 0)

    @property
    def booted(self) -> bool:
        """Whether an application runs."""
        return self.outcome is Outcome.APP

    @property
    def failure(self) -> Finding | None:
        """The check that stopped the boot."""
        return next((f for f in reversed(self.findings) if f.verdict == "fail"), None)


class PowerLost(Exception):  # noqa: N818 - an event, and nobody's error
    """Thrown inside the machine when the cut is reached."""


class Machine:
    """One chip on its board."""

    def __init__(
        self,
        chip: Chip,
        *,
        flash: NorFlash | None = None,
        flash_size: int = 4 << 20,
        efuses: Efuses | None = None,
        straps: Straps = Straps.NORMAL,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.chip = chip
        self.flash = NorFlash(flash_size) if flash is None else flash
        self.efuses = Efuses.blank(chip) if efuses is None else efuses
        self.straps = straps
        self.entropy = entropy

    def view(self) -> EncryptedFlash:
        """The flash as the CPU would see it after a reset now."""
        return EncryptedFlash.at_reset(self.flash, self.efuses)

    def boot_once(self, bootloader: Bootloader, *, cut: Cut | None = None, cause: Cause = Cause.POWER_ON) -> BootReport:
        """Power on and run to the first end: application, reset, panic, refusal or loss of power."""
        self.efuses = self.efuses.latched()
        before = self.efuses
        powered = _Powered(self, cut, cause)
        try:
            ended = powered.run(bootloader)
        except PowerLost:
            ended = Ended(outcome=Outcome.POWER_CUT, findings=(_cut_finding(cut),))
        return BootReport(
            outcome=ended.outcome,
            findings=(*powered.rom_findings, *ended.findings),
            console=tuple(powered.console),
            efuse_programs=tuple(powered.programs),
            flash_ops=tuple(powered.ops),
            torn=powered.torn,
            changes=diff(before, self.efuses),
            image_offset=ended.image_offset,
            version=ended.version,
            again=self._again(ended.outcome, cause, powered.console),
        )

    def _again(self, outcome: Outcome, cause: Cause, console: Sequence[ConsoleLine]) -> tuple[ConsoleLine, ...]:
        """The same lines with another reason for the reset, where the boot will only be tried again."""
        if outcome not in _NEXT_CAUSE:
            return ()
        first, then = reset_line(self.chip, cause), reset_line(self.chip, _NEXT_CAUSE[outcome])
        return tuple(then if line == first else line for line in console)

    def boot(self, bootloader: Bootloader, *, cut: Cut | None = None) -> BootReport:
        """Power on and follow deliberate resets; `cut` applies to the first run only.

        A reset with a failed finding is a bootloader that will find the same again: it is not followed.
        """
        boots = [self.boot_once(bootloader, cut=cut)]
        while boots[-1].outcome is Outcome.RESET and boots[-1].failure is None and len(boots) < MOST_RESETS:
            boots.append(self.boot_once(bootloader, cause=Cause.SOFTWARE))
        return _joined(boots)


class _Powered:
    """The machine between power-on and its first end: performs, records and cuts what the code yields."""

    def __init__(self, machine: Machine, cut: Cut | None, cause: Cause) -> None:
        self._machine = machine
        self._cut = cut
        self._cause = cause
        self._decrypting = is_encryption_on(machine.efuses)
        self._view = EncryptedFlash(machine.flash, cipher_of(machine.efuses), decrypting=self._decrypting)
        self.rom_findings: list[Finding] = []
        self.console: list[ConsoleLine] = []
        self.programs: list[EfuseProgram] = []
        self.ops: list[FlashOp] = []
        self.torn = False

    # What boot code sees (`Board`)

    @property
    def chip(self) -> Chip:
        return self._machine.chip

    @property
    def flash(self) -> EncryptedFlash:
        return self._view

    @property
    def raw_flash(self) -> NorFlash:
        return self._machine.flash

    @property
    def efuses(self) -> Efuses:
        return self._machine.efuses

    def random(self, length: int) -> bytes:
        return self._machine.entropy(length)

    def log(self, text: str) -> None:
        self.console.append(ConsoleLine("bootloader", f"[{self.chip.name}] {text}"))

    # Running

    def run(self, bootloader: Bootloader) -> Ended:
        if self._machine.straps is Straps.DOWNLOAD and not download_mode_off(self.efuses):
            return Ended(outcome=Outcome.DOWNLOAD)
        rom = RomRun(self.chip, self._view, self.efuses, self._cause, self.rom_findings, self.console)
        if not self._drive(boot_rom(rom)):
            return Ended(outcome=Outcome.ROM_REFUSED)
        return self._drive(bootloader.run(self))

    def _drive(self, steps: Steps[T]) -> T:
        try:
            while True:
                step = next(steps)
                if isinstance(step, BurnEfuse):
                    self._burn(step)
                else:
                    self._change(step)
        except StopIteration as end:
            result: T = end.value
            return result

    def _burn(self, step: BurnEfuse) -> None:
        if self._cut == Cut(CutKind.EFUSE, len(self.programs)):
            raise PowerLost
        before = self.efuses
        self._machine.efuses = before.program(step.block, step.data).latched()
        new = self.efuses.bits[step.block] & ~before.bits[step.block]
        bits = tuple(bit for bit in range(new.bit_length()) if new >> bit & 1)
        names = self.efuses.names_of(step.block, new)
        self.programs.append(EfuseProgram(len(self.programs), step.block, step.data, bits, names))
        self._view = EncryptedFlash(self._machine.flash, cipher_of(self.efuses), decrypting=self._decrypting)

    def _change(self, op: FlashOp) -> None:
        at = len(self.ops)
        if self._cut == Cut(CutKind.FLASH, at):
            raise PowerLost
        if self._cut == Cut(CutKind.FLASH_TORN, at):
            self._tear(op)
            raise PowerLost
        self._view.apply(op)
        self.ops.append(op)

    def _tear(self, op: FlashOp) -> None:
        """Half of a write reaches the cells; the list shows the whole of what was under way."""
        if isinstance(op, Erase):
            return
        self.ops.append(op)
        self.torn = True
        half = op.data[: len(op.data) // 2]
        self._view.apply(Write(op.address, half, op.why, op.encrypted))


def _cut_finding(cut: Cut | None) -> Finding:
    kind = "" if cut is None else f"{cut.kind} {cut.at}"
    return passed("machine.power.cut", "power", f"power was cut as asked, at {kind}")


def _joined(boots: list[BootReport]) -> BootReport:
    last = boots[-1]
    if len(boots) == 1:
        return last
    findings = tuple(finding for boot in boots for finding in boot.findings)
    if last.outcome is Outcome.RESET and last.failure is None:
        loop = failed("machine.reset.loop", "boot", f"{len(boots)} resets in a row", "see the console")
        findings = (*findings, loop)
    return replace(
        last,
        findings=findings,
        console=tuple(line for boot in boots for line in boot.console),
        efuse_programs=tuple(program for boot in boots for program in boot.efuse_programs),
        flash_ops=tuple(op for boot in boots for op in boot.flash_ops),
        changes=tuple(change for boot in boots for change in boot.changes),
        boots=tuple(boots),
    )
