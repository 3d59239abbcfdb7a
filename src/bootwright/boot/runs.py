"""Booting many flash states and sharing what they have in common.

Two boots that come to the same flash at the same point of the program go on alike; the second one is linked to the
first and not continued. A point of the program is the last mark, the operations since, and bytes held in RAM.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from bootwright.boot.config import BootConfig
from bootwright.boot.layout import layout_of
from bootwright.boot.loader import boot_go, look_around
from bootwright.boot.outcome import Booted, BootOutcome, Panic
from bootwright.boot.probe import Unwatched
from bootwright.boot.sectors import PAGE, Pages, Sectors
from bootwright.errors import SiliconError
from bootwright.finding import failed
from bootwright.flash import SECTOR_SIZE, Erase, Flash, FlashOp, Program

Position = tuple[int, int, int, int]  #: fingerprint, and a point of the program
Point = tuple[int, int, int]  #: mark, operations since, bytes held

_DEEP = 100_000  #: joins in a row; more means that a boot runs in a circle
LONG = 256  #: operations of its own that a boot after which nothing runs may keep
RECENT = 8  #: sets of doomed sectors that a boot is compared under before it begins
_POWER_ON: Point = (-2, 0, 0)
_WHOLE_PAGE = (1 << PAGE) - 1

T = TypeVar("T")


@dataclass(slots=True)
class State:
    """A flash content between two operations."""

    pages: Pages
    fingerprint: int


class Brief(NamedTuple):
    """What a boot reads and erases, of one whose operations were not kept."""

    reads: int  #: facts that it reads before it erases their sector
    erases: int  #: facts that it makes an end of


_ELSEWHERE = Brief(0, 0)  #: of a boot that another process did


@dataclass(slots=True)
class Run:
    """One boot from power-on, up to its end or to where it joins an earlier one."""

    start: State
    ops: list[FlashOp] = field(default_factory=list)
    states: list[State] = field(default_factory=list)  #: after each operation
    reads: list[int] = field(default_factory=list)  #: facts read before each operation, and before the end
    outcome: BootOutcome | None = None
    joined: tuple[Run, int] | None = None  #: the run that this one goes on as, and after how many of its operations
    end: tuple[BootOutcome, State] | None = None  #: how the whole boot ends, once `final` was asked
    doomed: list[int] | None = None  #: sectors that are erased before they are read again, at each position
    brief: Brief | None = None  #: what is left of a boot whose operations were not kept


@dataclass(slots=True)
class Merge:
    """Boots that were joined to one position although some sectors differ there."""

    run: Run
    at: int
    dropped: int  #: the sectors that were not compared, as a mask
    others: list[State]  #: what the joined boots had there


class Fact(NamedTuple):
    """Something that boots look at: what `decode` makes of a few bytes of a sector."""

    sector: int
    inside: int
    length: int
    decode: Callable[[bytes], Hashable]


class RunProbe(Unwatched):
    """Follows a boot for `Runs`, and notes what it looks at."""

    __slots__ = ("_marks", "_names", "_values", "facts", "held", "observed", "of_sector", "point", "since", "trail")

    def __init__(self, marks: dict[Hashable, int], sectors: int) -> None:
        self._marks = marks
        self._names: dict[tuple[str, int, int], int] = {}
        self._values: dict[tuple[int, int], Any] = {}
        self.facts: list[Fact] = []  #: fact n is bit `sectors + n` of a mask; the bits below are whole sectors
        self.of_sector = [1 << index for index in range(sectors)]  #: all bits of a sector
        self.trail: list[tuple[int, Hashable]] | None = None  #: what was observed, for whoever asks
        self.reset()

    def reset(self) -> None:
        """A new boot begins."""
        self.point, self.since, self.held, self.observed = -1, 0, 0, 0

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

    def observe(self, flash: Flash, address: int, length: int, what: str, decode: Callable[[bytes], T]) -> T:
        """Note the fact, not the bytes; decode each content once."""
        size = flash.sector_size
        index, inside = divmod(address, size)
        if not isinstance(flash, Sectors) or inside + length > size or not 0 <= index < len(self.of_sector):
            return decode(flash.read(address, length))
        name = (what, address, length)
        fact = self._names.get(name)
        if fact is None:
            fact = self._names[name] = len(self.facts)
            self.facts.append(Fact(index, inside, length, decode))
            self.of_sector[index] |= 1 << len(self.of_sector) + fact
        self.observed |= 1 << len(self.of_sector) + fact
        number = flash.number(index)
        key = (fact, number)
        value: T
        if key in self._values:
            value = self._values[key]
        else:
            value = self._values[key] = decode(flash.contents.blobs[number][inside : inside + length])
        if self.trail is not None:
            self.trail.append((fact, value))
        return value

    def value(self, fact: int, flash: Sectors, number: int) -> Hashable:
        """What a content makes of a fact."""
        key = (fact, number)
        if key not in self._values:
            _, inside, length, decode = self.facts[fact]
            self._values[key] = decode(flash.contents.blobs[number][inside : inside + length])
        found: Hashable = self._values[key]
        return found


class Runs:
    """All boots of one build over one flash, each distinct stretch run once."""

    __slots__ = (
        "_looks",
        "_marks",
        "_parts",
        "_passed",
        "_positions",
        "_runs",
        "_watched",
        "config",
        "flash",
        "kept",
        "merges",
        "probe",
        "reduced",
    )

    def __init__(self, config: BootConfig, flash: Sectors, *, reduced: bool = False, kept: int = 0) -> None:
        self.config = config
        self.flash = flash
        self.reduced = reduced  #: join boots that differ only in sectors that are about to be erased
        self.kept = kept  #: sectors, as a mask, that are compared even where they are about to be erased
        self.merges: dict[tuple[int, int], Merge] = {}
        #: who came by a point of the program: by the sectors not compared, and by what was compared
        self._passed: dict[Point, dict[int, dict[Hashable, tuple[Run, int]]]] = {}
        self._marks: dict[Hashable, int] = {}
        self._positions: dict[Position, tuple[Run, int]] = {}
        self._runs: dict[int, Run] = {}
        self.probe = RunProbe(self._marks, flash.size // flash.sector_size)
        self._watched = _watched(config, flash.sector_size)
        self._looks: dict[tuple[int, ...], Hashable] = {}
        self._parts: dict[tuple[int, int, tuple[int, ...]], int] = {}

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
        run.joined = self._alike(start, _POWER_ON, newest=RECENT) if self.reduced else None
        if run.joined is None:
            self._boot(run)
        else:
            run.reads.append(0)
        return run

    def boot_in_full(self, start: State) -> Run:
        """As `boot`, with the operations of a long boot that leads nowhere."""
        run = self.boot(start)
        if run.brief is not None:
            run.brief = run.joined = run.outcome = run.end = None
            run.ops = []
            self._boot(run, keep=True)
        return run

    def boot_root(self, start: State) -> Run:
        """As `boot`, of a state that everything begins with: all of it is worth keeping."""
        known = self._runs.get(start.fingerprint)
        if known is None:
            known = self._runs[start.fingerprint] = Run(start)
            self._boot(known, keep=True)
        return self.boot_in_full(start) if known.brief is _ELSEWHERE else known

    def adopt(self, start: State, outcome: BootOutcome, end: State, stray: FlashOp | None) -> None:
        """Take over how a state boots from another process; whoever needs its operations boots it in full."""
        if start.fingerprint not in self._runs:
            run = self._runs[start.fingerprint] = Run(start, end=(outcome, end), brief=_ELSEWHERE)
            run.ops += [] if stray is None else [stray]

    def stray_of(self, run: Run) -> FlashOp | None:
        """An operation outside of the slots and scratch, where the bootloader and with it serial recovery live."""
        areas = self.config.areas
        for op in run.ops:
            end = op.address + (op.length if isinstance(op, Erase) else len(op.data))
            if not any(area.address <= op.address and end <= area.end for area in areas):
                return op
        return None

    def _boot(self, run: Run, *, keep: bool = False) -> None:
        self.enter(run.start)
        flash, probe, positions = self.flash, self.probe, self._positions
        probe.reset()
        flash.seen = 0
        points: list[Point] = []
        program = boot_go(flash, self.config, probe=probe)
        ops, states, reads = run.ops, run.states, run.reads
        passed: list[Position] = []
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
            reads.append(flash.seen | probe.observed)
            flash.seen = probe.observed = 0
            probe.since += 1
            ops.append(op)
            states.append(State(tuple(flash.pages), flash.fingerprint))
            position = (flash.fingerprint, probe.point, probe.since, probe.held)
            joined = positions.setdefault(position, (run, len(ops)))
            if joined[0] is run and joined[1] == len(ops) and self.reduced:
                joined = self._alike(states[-1], position[1:]) or joined
                positions[position] = joined
            if joined[0] is not run or joined[1] != len(ops):
                run.joined = joined
                program.close()
                break
            points.append(position[1:])
            passed.append(position)
            if len(ops) == LONG and not keep:
                self._end_quietly(run, program, passed)
                return
        reads.append(flash.seen | probe.observed)
        if self.reduced:
            self._remember(run, points)

    def _end_quietly(self, run: Run, program: Program[BootOutcome], passed: list[Position]) -> None:
        """Go on without notes; they are not missed where nothing runs in the end, else the boot begins again."""
        flash, probe = self.flash, self.probe
        first, gone = self._reads_first(run)
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
            first |= (flash.seen | probe.observed) & ~gone
            flash.seen = probe.observed = 0
            if isinstance(op, Erase):
                gone |= self.erased_by(op)
            probe.since += 1
            if probe.since == 1:
                point = (probe.point, 1, probe.held)
                joined = self._positions.get((flash.fingerprint, *point))
                if joined is None and self.reduced:
                    joined = self._alike(self.state(), point)
                if joined is not None and joined[0] is not run:
                    run.joined = joined
                    program.close()
                    break
        first |= (flash.seen | probe.observed) & ~gone
        outcome, last = (run.outcome, self.state()) if run.joined is None else final(run)
        redo = outcome is None or isinstance(outcome, Booted)
        if not redo and outcome is not None:
            run.end = outcome, last
            run.brief = Brief(first, gone)
            for position in passed:
                del self._positions[position]
        run.ops, run.states, run.reads = [], [], []
        if redo:
            run.joined, run.outcome = None, None
            self._boot(run, keep=True)

    def _reads_first(self, run: Run) -> Brief:
        """What the operations so far looked at before they erased it, and what they erased."""
        first = gone = 0
        for op, read in zip(run.ops, run.reads, strict=True):
            first |= read & ~gone
            gone |= self.erased_by(op)
        return Brief(first, gone)

    def erased_by(self, op: FlashOp) -> int:
        """The facts that an erase makes an end of, as a mask; a write ends none."""
        if not isinstance(op, Erase):
            return 0
        first, count = op.address // self.flash.sector_size, op.length // self.flash.sector_size
        mask = 0
        for bits in self.probe.of_sector[first : first + count]:
            mask |= bits
        return mask

    def _alike(self, state: State, point: Point, *, newest: int | None = None) -> tuple[Run, int] | None:
        """An earlier boot at the same point of the program that differs only in sectors erased before they are read."""
        masks = self._passed.get(point)
        if masks is None:
            return None
        for dropped in islice(reversed(masks), newest):
            earlier = masks[dropped].get(self._without(state, dropped))
            if earlier is not None:
                merge = self.merges.get((id(earlier[0]), earlier[1]))
                if merge is None:
                    merge = self.merges[id(earlier[0]), earlier[1]] = Merge(*earlier, dropped, [])
                merge.others.append(state)
                masks[dropped] = masks.pop(dropped)
                return earlier
        return None

    def _remember(self, run: Run, points: list[Point]) -> None:
        """Let later boots join this one where they differ only in doomed sectors."""
        doomed = doomed_sectors(run, len(self.probe.of_sector))
        for at, point in enumerate((_POWER_ON, *points)):
            dropped = doomed[at] & ~self.kept
            if dropped:
                state = run.states[at - 1] if at else run.start
                masks = self._passed.setdefault(point, {})
                masks.setdefault(dropped, {}).setdefault(self._without(state, dropped), (run, at))

    def _without(self, state: State, dropped: int) -> Hashable:
        """The fingerprint of all sectors but the dropped ones, and how headers and trailers among those read."""
        total, pages, parts = state.fingerprint, state.pages, self._parts
        rest, page_at = dropped, 0
        while rest:
            some = rest & _WHOLE_PAGE
            if some:
                key = (page_at, some, pages[page_at])
                part = parts.get(key)
                if part is None:
                    part = parts[key] = self._weigh(*key)
                total -= part
            rest >>= PAGE
            page_at += 1
        if not dropped & self._watched[0]:
            return total
        return total, self._look(state)

    def _weigh(self, page_at: int, some: int, page: tuple[int, ...]) -> int:
        """What some sectors of a page add to a fingerprint."""
        weights, marks = self.flash.contents.weights, self.flash.contents.marks
        base = page_at * PAGE
        return sum(weights[base + at] * marks[number] for at, number in enumerate(page) if some >> at & 1)

    def _look(self, state: State) -> Hashable:
        """What a boot learns from headers, trailers and status bytes, fact by fact."""
        pages = state.pages
        key = tuple([pages[index // PAGE][index % PAGE] for index in self._watched[1]])
        known = self._looks.get(key)
        if known is None:
            flash, probe = self.flash, self.probe
            before, seen, observed = self.state(), flash.seen, probe.observed
            self.enter(state)
            trail: list[tuple[int, Hashable]] = []
            probe.trail = trail
            look_around(flash, self.config, probe)
            probe.trail = None
            self.enter(before)
            flash.seen, probe.observed = seen, observed
            known = self._looks[key] = tuple(trail)
        return known

    @property
    def runs(self) -> Iterable[Run]:
        """All boots so far."""
        return self._runs.values()

    def known(self, fingerprint: int) -> Run | None:
        """The boot of a state, if there was one."""
        return self._runs.get(fingerprint)


def _watched(config: BootConfig, sector_size: int) -> tuple[int, tuple[int, ...]]:
    """The sectors with headers and trailers, as a mask and in order."""
    layout = layout_of(config)
    places = [place for pair in layout.slots for place in pair]
    if layout.scratch is not None:
        places.append(layout.scratch)
    sectors: set[int] = set()
    for place in places:
        first, last = place.area.address // sector_size, (place.area.end - 1) // sector_size
        status = (place.area.address + max(place.status, 0)) // sector_size
        sectors.update((first, min(first + 1, last)), range(status, last + 1))
    return sum(1 << index for index in sectors), tuple(sorted(sectors))


def doomed_sectors(run: Run, sectors: int) -> list[int]:
    """At each position of a boot, the sectors that it is going to erase before it reads more of them than facts."""
    chain = [run]
    while chain[-1].doomed is None and (joined := chain[-1].joined) is not None and len(chain) < _DEEP:
        chain.append(joined[0])
    for piece in reversed(chain):
        if piece.doomed is None:
            piece.doomed = _doomed(piece, sectors)
    return run.doomed or []


def _doomed(run: Run, sectors: int) -> list[int]:
    behind = None if run.joined is None else run.joined[0].doomed
    mask = 0 if behind is None or run.joined is None else behind[run.joined[1]]
    masks = [0] * (len(run.ops) + 1)
    whole = (1 << sectors) - 1
    for at in range(len(run.ops), -1, -1):
        if at < len(run.ops):
            op = run.ops[at]
            if isinstance(op, Erase):
                mask |= (1 << op.length // SECTOR_SIZE) - 1 << op.address // SECTOR_SIZE
        mask &= ~(run.reads[at] & whole)
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
    if last.end is not None:
        return last.end
    if last.outcome is None:
        circle = failed("mcuboot.endless", "boot", "the boot comes back to the same point: endless loop")
        return Panic((circle,)), last.start
    if last.states:
        return last.outcome, last.states[-1]
    return last.outcome, last.start
