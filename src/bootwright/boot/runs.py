"""Booting many flash states and sharing what they have in common.

Two boots that come to the same flash at the same point of the program go on alike; the second one is linked to the
first and not continued. A point of the program is the last mark, the operations since, and bytes held in RAM.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from bootwright.boot.config import BootConfig
from bootwright.boot.loader import boot_go
from bootwright.boot.outcome import BootOutcome, Panic
from bootwright.boot.probe import Unwatched
from bootwright.boot.sectors import PAGE, Pages, Sectors
from bootwright.errors import SiliconError
from bootwright.finding import failed
from bootwright.flash import SECTOR_SIZE, Erase, Flash, FlashOp

Position = tuple[int, int, int, int]  #: fingerprint, and a point of the program
Point = tuple[int, int, int]  #: mark, operations since, bytes held

_DEEP = 100_000  #: joins in a row; more means that a boot runs in a circle


@dataclass(slots=True)
class State:
    """A flash content between two operations."""

    pages: Pages
    fingerprint: int


@dataclass(slots=True)
class Run:
    """One boot from power-on, up to its end or to where it joins an earlier one."""

    start: State
    ops: list[FlashOp] = field(default_factory=list)
    states: list[State] = field(default_factory=list)  #: after each operation
    reads: list[int] = field(default_factory=list)  #: sectors read before each operation, and before the end
    outcome: BootOutcome | None = None
    joined: tuple[Run, int] | None = None  #: the run that this one goes on as, and after how many of its operations
    end: tuple[BootOutcome, State] | None = None  #: how the whole boot ends, once `final` was asked
    doomed: list[int] | None = None  #: sectors that are erased before they are read again, at each position


class RunProbe(Unwatched):
    """Follows a boot for `Runs`."""

    __slots__ = ("_marks", "held", "point", "since")

    def __init__(self, marks: dict[Hashable, int]) -> None:
        self._marks = marks
        self.reset()

    def reset(self) -> None:
        """A new boot begins."""
        self.point, self.since, self.held = -1, 0, 0

    def mark(self, key: Hashable) -> None:
        """Begin a new stretch of the program."""
        self.point = self._marks.setdefault(key, len(self._marks))
        self.since = 0
        self.held = 0

    def hold(self, data: bytes) -> None:
        """Bytes in RAM tell two stretches apart."""
        self.held = hash(data) if data else 0

    def sha256(self, flash: Flash, address: int, length: int) -> bytes:
        """Digests are kept by content."""
        return flash.sha256(address, length) if isinstance(flash, Sectors) else super().sha256(flash, address, length)


class Runs:
    """All boots of one build over one flash, each distinct stretch run once."""

    __slots__ = ("_marks", "_passed", "_positions", "_runs", "config", "flash", "kept", "merges", "probe", "reduced")

    def __init__(self, config: BootConfig, flash: Sectors, *, reduced: bool = False, kept: int = 0) -> None:
        self.config = config
        self.flash = flash
        self.reduced = reduced  #: join boots that differ only in sectors that are about to be erased
        self.kept = kept  #: sectors, as a mask, that are compared even where they are about to be erased
        self.merges: dict[tuple[int, int], tuple[Run, int, int]] = {}  #: (run, position, sectors not compared)
        #: who came by a point of the program: by the sectors not compared, and by the fingerprint of all others
        self._passed: dict[Point, dict[int, dict[int, tuple[Run, int]]]] = {}
        self._marks: dict[Hashable, int] = {}
        self._positions: dict[Position, tuple[Run, int]] = {}
        self._runs: dict[int, Run] = {}
        self.probe = RunProbe(self._marks)

    def state(self) -> State:
        """The present content of the flash."""
        return State(tuple(self.flash.pages), self.flash.fingerprint)

    def enter(self, state: State) -> None:
        """Put a state into the flash."""
        self.flash.pages = list(state.pages)
        self.flash.fingerprint = state.fingerprint

    def boot(self, start: State) -> Run:
        """Boot a state, or find the boot of the same state."""
        known = self._runs.get(start.fingerprint)
        if known is not None:
            return known
        run = self._runs[start.fingerprint] = Run(start)
        self.enter(start)
        flash, probe, positions = self.flash, self.probe, self._positions
        probe.reset()
        flash.seen = 0
        points: list[Point] = []
        program = boot_go(flash, self.config, probe=probe)
        ops, states, reads = run.ops, run.states, run.reads
        while True:
            try:
                op = next(program)
                flash.apply(op)
            except StopIteration as end:
                run.outcome = end.value
                break
            except SiliconError as error:
                run.outcome = Panic((failed("mcuboot.flash", "flash", error.message),))
                break
            reads.append(flash.seen)
            flash.seen = 0
            probe.since += 1
            ops.append(op)
            states.append(State(tuple(flash.pages), flash.fingerprint))
            position = (flash.fingerprint, probe.point, probe.since, probe.held)
            joined = positions.setdefault(position, (run, len(ops)))
            if joined[0] is run and joined[1] == len(ops) and self.reduced:
                joined = self._alike(run, position) or joined
            if joined[0] is not run or joined[1] != len(ops):
                run.joined = joined
                program.close()
                break
            points.append(position[1:])
        reads.append(flash.seen)
        if self.reduced:
            self._remember(run, points)
        return run

    def _alike(self, run: Run, position: Position) -> tuple[Run, int] | None:
        """An earlier boot at the same point of the program that differs only in sectors erased before they are read."""
        state = run.states[-1]
        for dropped, found in self._passed.get(position[1:], {}).items():
            earlier = found.get(self._without(state, dropped))
            if earlier is not None:
                self.merges[id(earlier[0]), earlier[1]] = (*earlier, dropped)
                self._positions[position] = earlier
                return earlier
        return None

    def _remember(self, run: Run, points: list[Point]) -> None:
        """Let later boots join this one where they differ only in doomed sectors."""
        doomed = doomed_sectors(run)
        never = run.reads[0] | self.kept
        for at, point in enumerate(points, 1):
            dropped = doomed[at] & ~never
            if dropped:
                masks = self._passed.setdefault(point, {})
                masks.setdefault(dropped, {}).setdefault(self._without(run.states[at - 1], dropped), (run, at))

    def _without(self, state: State, dropped: int) -> int:
        """The fingerprint of all sectors but the dropped ones."""
        weights, marks = self.flash.contents.weights, self.flash.contents.marks
        total, pages = state.fingerprint, state.pages
        while dropped:
            index = (dropped & -dropped).bit_length() - 1
            total -= weights[index] * marks[pages[index // PAGE][index % PAGE]]
            dropped &= dropped - 1
        return total

    @property
    def runs(self) -> Iterable[Run]:
        """All boots so far."""
        return self._runs.values()

    def known(self, fingerprint: int) -> Run | None:
        """The boot of a state, if there was one."""
        return self._runs.get(fingerprint)


def erased_by(op: FlashOp, sector_size: int) -> int:
    """The sectors that an operation erases, as a mask."""
    if not isinstance(op, Erase):
        return 0
    first, count = op.address // sector_size, op.length // sector_size
    return (1 << count) - 1 << first


def doomed_sectors(run: Run) -> list[int]:
    """At each position of a boot, the sectors that it is going to erase before it reads them again."""
    chain = [run]
    while chain[-1].doomed is None and (joined := chain[-1].joined) is not None and len(chain) < _DEEP:
        chain.append(joined[0])
    for piece in reversed(chain):
        if piece.doomed is None:
            piece.doomed = _doomed(piece)
    return run.doomed or []


def _doomed(run: Run) -> list[int]:
    behind = None if run.joined is None else run.joined[0].doomed
    mask = 0 if behind is None or run.joined is None else behind[run.joined[1]]
    masks = [0] * (len(run.ops) + 1)
    for at in range(len(run.ops), -1, -1):
        if at < len(run.ops):
            mask |= erased_by(run.ops[at], SECTOR_SIZE)
        mask &= ~run.reads[at]
        masks[at] = mask
    return masks


def stretches(run: Run) -> list[tuple[Run, int]]:
    """The pieces that a whole boot consists of: a run, and how many of its operations are skipped.

    The last piece has an outcome, unless the boot runs in a circle.
    """
    pieces = [(run, 0)]
    seen = {(id(run), 0)}
    while (joined := pieces[-1][0].joined) is not None:
        key = (id(joined[0]), joined[1])
        if key in seen:
            break
        seen.add(key)
        pieces.append(joined)
    return pieces


def operations(run: Run) -> list[FlashOp]:
    """Every operation of a boot to its end."""
    ops: list[FlashOp] = []
    for piece, skipped in stretches(run):
        ops += piece.ops[skipped:]
    return ops


def final(run: Run) -> tuple[BootOutcome, State]:
    """How a boot ends, and in which state."""
    if run.end is None:
        run.end = _final(run)
    return run.end


def _final(run: Run) -> tuple[BootOutcome, State]:
    chain = [run]
    while (joined := chain[-1].joined) is not None and joined[0].end is None and len(chain) < _DEEP:
        chain.append(joined[0])
    if joined is not None and joined[0].end is not None:
        return joined[0].end
    last = chain[-1]
    if last.outcome is None:
        circle = failed("mcuboot.endless", "boot", "the boot comes back to the same point: endless loop")
        return Panic((circle,)), last.start
    if last.states:
        return last.outcome, last.states[-1]
    return last.outcome, last.start
