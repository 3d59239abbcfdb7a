"""Playing traces on the model: every step is done again and every result compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from bootwright.boot.loader import boot_go, set_confirmed, set_pending
from bootwright.boot.outcome import Booted, BootOutcome, NoImage, Panic, Recovery
from bootwright.boot.recovery import RecoveryState, SerialRecovery
from bootwright.boot.run import Run, State, final, stretches
from bootwright.boot.runs import Runs
from bootwright.boot.sectors import Sectors, stand_in_cipher
from bootwright.boot.trace import MALFORMED, Trace, compact, malformed, unpack
from bootwright.boot.trace_ops import OpRow, describe_op, op_row, without_data
from bootwright.errors import FormatError
from bootwright.flash import FlashOp, Program, drive

#: how a trace names what the model calls a `Panic`
PANICS = frozenset({"assert", "crash", "hang"})


def outcome_word(outcome: BootOutcome) -> str:
    """The trace's word for an outcome; the model's panics all count as assertions."""
    return {Booted: "boot", NoImage: "boot_failed", Panic: "assert", Recovery: "recovery"}[type(outcome)]


def one_panic(word: str) -> str:
    """A trace's outcome, with the three ways to panic made one."""
    return "assert" if word in PANICS else word


def play(trace: Trace) -> tuple[str, ...]:
    """Play a trace; each difference is a line, none means that model and trace agree.

    Raises:
        FormatError: a step is malformed.
        SiliconError: the trace's layout leaves its flash.
    """
    try:
        return tuple(Player(trace).play())
    except MALFORMED as error:
        raise malformed(error, trace.name) from error


class Player:
    """The model in the middle of a trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        cipher = stand_in_cipher if trace.config.flash_encryption_active else None
        self.flash = Sectors.holding(trace.flash, cipher=cipher, sector_size=trace.config.sector_size)
        self.runs = Runs(trace.config, self.flash)
        self._do: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
            "boot": self._boot,
            "set_pending": self._set_pending,
            "set_confirmed": self._set_confirmed,
            "flash_put": self._flash_put,
            "sweep": self._sweep,
            "serial": self._serial,
        }
        self._recovery: SerialRecovery | None = None

    def play(self) -> Iterator[str]:
        """All differences, in order."""
        for number, step in enumerate(self.trace.steps, 1):
            does = self._do.get(step.get("do", ""))
            if does is None:
                raise FormatError(
                    f"step {number}: {step.get('do')!r} is no step of schema 1", "see the trace reference"
                )
            for difference in does(step):
                yield f"step {number} ({step['do']}): {difference}"
        yield from self._flash_differs(self.trace.final_sha256, "at the end")

    def _flash_differs(self, expected: str, when: str = "afterwards") -> Iterator[str]:
        found = hashlib.sha256(self.flash.raw()).hexdigest()
        if found != expected:
            yield f"the flash {when} hashes to {found[:16]}…, the trace has {expected[:16]}…"

    def _flash_put(self, step: Mapping[str, Any]) -> Iterator[str]:
        self.flash.load(step["addr"], unpack(step["zlib_b64"]))
        yield from ()

    def _set_pending(self, step: Mapping[str, Any]) -> Iterator[str]:
        program = set_pending(self.flash, self.trace.config, image=step["image"], permanent=step["permanent"])
        yield from self._called(program, step)

    def _set_confirmed(self, step: Mapping[str, Any]) -> Iterator[str]:
        yield from self._called(set_confirmed(self.flash, self.trace.config, image=step["image"]), step)

    def _called(self, program: Program[int], step: Mapping[str, Any]) -> Iterator[str]:
        rc = drive(program, self.flash.apply)
        if rc != step["rc"]:
            yield f"returned {rc}, the trace has {step['rc']}"
        yield from self._flash_differs(step["sha256"])

    def _serial(self, step: Mapping[str, Any]) -> Iterator[str]:
        if self._recovery is None or self._recovery.state is not RecoveryState.WAITING:
            self._recovery = SerialRecovery(self.flash, self.trace.config, probe=self.runs.probe)
        rows: list[OpRow] = []

        def perform(op: FlashOp) -> None:
            rows.append(without_data(op_row(op, self.flash)))
            self.flash.apply(op)

        sent = drive(self._recovery.receive(bytes.fromhex(step["rx_hex"])), perform)
        yield from _ops_differ(rows, step["ops"])
        if sent.hex() != step["tx_hex"]:
            yield f"answered {sent!r}, the trace has {bytes.fromhex(step['tx_hex'])!r}"
        expected = "panic" if step["state"] in PANICS else step["state"]
        if self._recovery.state != expected:
            yield f"is {self._recovery.state.value} afterwards, the trace has {step['state']}"
        yield from self._flash_differs(step["sha256"])

    def _boot(self, step: Mapping[str, Any]) -> Iterator[str]:
        self._recovery = None
        stop = step.get("stop_before_op")
        program = boot_go(self.flash, self.trace.config, probe=self.runs.probe)
        rows: list[OpRow] = []
        outcome: BootOutcome | None = None
        try:
            while True:
                op = next(program)
                if len(rows) + 1 == stop:
                    if step.get("cut") == "torn":
                        rows.append(op_row(op, self.flash, torn=True))
                        self.flash.apply_torn(op)
                    break
                rows.append(op_row(op, self.flash))
                self.flash.apply(op)
        except StopIteration as end:
            outcome = end.value
        yield from _ops_differ(rows, step["ops"])
        yield from _outcome_differs(outcome, step)
        if step["nops"] != len(rows):
            yield f"{len(rows)} operations, the trace has {step['nops']}"
        yield from self._flash_differs(step["sha256"])

    def _sweep(self, step: Mapping[str, Any]) -> Iterator[str]:
        yield from Sweep(self.runs, self.flash, torn=step["cut"] == "torn").compare(step)


def _ops_differ(found: list[OpRow], expected: list[OpRow]) -> Iterator[str]:
    for number in range(max(len(found), len(expected))):
        ours = found[number] if number < len(found) else None
        theirs = expected[number] if number < len(expected) else None
        if ours != theirs:
            yield f"operation {number + 1}: model {describe_op(ours)}, trace {describe_op(theirs)}"
            return


def _outcome_differs(outcome: BootOutcome | None, step: Mapping[str, Any]) -> Iterator[str]:
    found = "power_cut" if outcome is None else outcome_word(outcome)
    if found != one_panic(step["outcome"]):
        yield f"outcome {found}{_reason(outcome)}, the trace has {step['outcome']}"
    elif isinstance(outcome, Booted):
        ours = outcome.version, outcome.image_offset
        theirs = step["version"], step["image_off"]
        if ours != theirs:
            yield f"runs {ours[0]} at {ours[1]:#x}, the trace has {theirs[0]} at {theirs[1]:#x}"


def _reason(outcome: BootOutcome | None) -> str:
    return f" ({outcome.why[0].because})" if isinstance(outcome, NoImage | Panic) and outcome.why else ""


class Sweep:
    """Power lost at every operation of one boot, and the boot after it."""

    def __init__(self, runs: Runs, flash: Sectors, *, torn: bool) -> None:
        self.runs = runs
        self.flash = flash
        self.torn = torn
        self._rows: dict[int, list[str]] = {}
        self._hashes: dict[int, str] = {}

    def compare(self, step: Mapping[str, Any]) -> Iterator[str]:
        """Differences to the rows of a sweep; the flash is left as it was before."""
        start = self.runs.state()
        total = sum(len(piece.ops) - skip for piece, skip in stretches(self.runs.boot(start)))
        if total != step["full_nops"]:
            yield f"{total} operations without a cut, the trace has {step['full_nops']}"
        wanted = {row[0]: row for row in step["results"]}
        for ours in self.rows(start, only=wanted.keys()):
            number, cut_hash, word, *rest = wanted.pop(ours[0])
            theirs = [number, cut_hash, one_panic(word), *rest]
            if ours != theirs:
                columns = zip(step["columns"], ours, theirs, strict=True)
                pairs = ", ".join(f"{name} {a} (trace {b})" for name, a, b in columns if a != b)
                yield f"cut {ours[0]}: {pairs}"
        for number in wanted:
            yield f"cut {number}: the model has only {total} operations"

    def rows(
        self, start: State, *, only: Container[int] | None = None, progress: Callable[[int, int], None] | None = None
    ) -> list[list[object]]:
        """A row for every operation of the boot from `start`, or for those in `only`."""
        pieces = stretches(self.runs.boot(start))
        whole = [pair for piece, skip in pieces for pair in zip(piece.ops[skip:], piece.states[skip:], strict=True)]
        before = [start, *(state for _, state in whole)]
        rows: list[list[object]] = []
        for number, (op, _) in enumerate(whole, 1):
            if only is not None and number not in only:
                continue
            self.runs.enter(before[number - 1])
            if self.torn:
                self.flash.apply_torn(op)
            rows.append([number, *self._after_cut()])
            if progress is not None:
                progress(number, len(whole))
        self.runs.enter(start)
        return rows

    def _after_cut(self) -> list[object]:
        state = self.runs.state()
        cut_hash = self._hash(state.fingerprint)
        run = self.runs.boot(state)
        outcome, end = final(run)
        pieces = stretches(run)
        rows = [row for piece, skip in pieces for row in self._rows_of(piece)[skip:]]
        word = outcome_word(outcome)
        version = outcome.version if isinstance(outcome, Booted) else None
        ops_hash = hashlib.sha256(f"[{','.join(rows)}]".encode()).hexdigest()[:16]
        self.runs.enter(end)
        return [cut_hash, word, version, len(rows), ops_hash, self._hash(end.fingerprint)]

    def _rows_of(self, run: Run) -> list[str]:
        known = self._rows.get(run.start.fingerprint)
        if known is None:
            self.runs.enter(run.start)
            known = []
            for op in run.ops:
                known.append(compact(op_row(op, self.flash)))
                self.flash.apply(op)
            self._rows[run.start.fingerprint] = known
        return known

    def _hash(self, fingerprint: int) -> str:
        known = self._hashes.get(fingerprint)
        if known is None:
            known = self._hashes[fingerprint] = hashlib.sha256(self.flash.raw()).hexdigest()[:16]
        return known
