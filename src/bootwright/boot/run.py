"""One boot of a flash state: what it did, what it looked at, how it ended, and which other boot it goes on as."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from bootwright.boot.outcome import Booted, BootOutcome, Panic
from bootwright.boot.run_probe import Flow
from bootwright.boot.sectors import PAGE, Pages
from bootwright.finding import failed
from bootwright.flash import Erase, FlashOp

DEEP = 100_000  #: joins in a row; more means that a boot runs in a circle


@dataclass(slots=True)
class State:
    """A flash content between two operations."""

    pages: Pages
    fingerprint: int

    def number(self, sector: int) -> int:
        """The content of a sector."""
        return self.pages[sector // PAGE][sector % PAGE]


class Way(Enum):
    """What becomes of a boot; those in which all is right are told apart from the others first."""

    RIGHT = auto()
    ASTRAY = auto()  #: something runs that should, and something else was lost
    BAD = auto()


def runs_at_all(outcome: BootOutcome, _end: State) -> Way:
    """The plainest judgement."""
    return Way.RIGHT if isinstance(outcome, Booted) else Way.BAD


class Need(NamedTuple):
    """Facts as masks."""

    flash: int  #: of what the flash holds
    ram: int  #: of the sector that is being written anew, which only RAM holds


NOTHING = Need(0, 0)


class Step(NamedTuple):
    """What counts of some operations of a boot whose operations were not kept."""

    reads: int  #: facts read before
    first: int = 0  #: sector from which on the operation erases
    sectors: int = 0
    flow: Flow | None = None  #: of a sector that is erased and written again
    wrote: tuple[int, int] | None = None  #: address and length of a write to a sector that the boot did not erase


class Brief:
    """The steps of a boot whose operations are not kept; `known` has each step once, of all such boots."""

    def __init__(self, sector_size: int, known: dict[Step, Step]) -> None:
        self.steps: list[Step] = []
        self._known = known
        self._size = sector_size
        self._erased = 0  #: sectors, as a mask

    def add(self, op: FlashOp, reads: int, flow: Flow | None) -> None:
        """Note what counts of an operation."""
        first = op.address // self._size
        if isinstance(op, Erase):
            count = op.length // self._size
            self._erased |= (1 << first + count) - (1 << first)
            self._add(Step(reads, first, count, flow))
        elif not self._erased >> first & 1:
            self._add(Step(reads, wrote=(op.address, len(op.data))))
        elif reads:
            self._add(Step(reads))

    def end(self, reads: int) -> None:
        """Note what the boot looked at after its last operation."""
        self._add(Step(reads))

    def _add(self, step: Step) -> None:
        self.steps.append(self._known.setdefault(step, step))


@dataclass(slots=True)
class Run:
    """One boot from power-on, up to its end or to where it joins an earlier one."""

    start: State
    ops: list[FlashOp] = field(default_factory=list)
    states: list[State] = field(default_factory=list)  #: after each operation
    reads: list[int] = field(default_factory=list)  #: facts read before each operation, and before the end
    marks: list[int] = field(default_factory=list)  #: number of the last mark after each operation
    outcome: BootOutcome | None = None
    joined: tuple[Run, int] | None = None  #: the run that this one goes on as, and after how many of its operations
    end: tuple[BootOutcome, State] | None = None  #: how the whole boot ends, once `final` was asked
    flows: dict[int, Flow] = field(default_factory=dict)  #: operation n and the one after it write a sector anew
    needs: list[Need] | None = None  #: what the rest of the boot and the next one look at, at each position
    brief: list[Step] | None = None  #: what is left of a boot whose operations were not kept


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
    while (joined := chain[-1].joined) is not None and joined[0].end is None and len(chain) < DEEP:
        chain.append(joined[0])
    if joined is not None and joined[0].end is not None:
        return joined[0].end
    last = chain[-1]
    if last.end is not None:
        return last.end
    if last.outcome is None:
        circle = failed("mcuboot.endless", "boot", "the boot comes back to the same point: endless loop")
        return Panic((circle,)), last.start
    if last.states:
        return last.outcome, last.states[-1]
    return last.outcome, last.start
