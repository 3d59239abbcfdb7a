"""Booting many flash states and sharing what they have in common.

Two boots that come to the same flash at the same point of the program go on alike; the second one is linked to the
first and not continued. A point of the program is the last mark, the operations since, and bytes held in RAM.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from bootwright.boot.config import BootConfig
from bootwright.boot.layout import layout_of
from bootwright.boot.loader import boot_go, look_around
from bootwright.boot.outcome import Booted, BootOutcome, Panic
from bootwright.boot.run import DEEP, NOTHING, Brief, Need, Run, State, Step, Way, final, runs_at_all
from bootwright.boot.run_probe import RunProbe, bits_of
from bootwright.boot.sectors import PAGE, Sectors
from bootwright.errors import SiliconError
from bootwright.finding import failed
from bootwright.flash import Erase, FlashOp, Program

Position = tuple[int, int, int, int]  #: fingerprint, and a point of the program
Point = tuple[int, int, int]  #: mark, operations since, bytes held
#: number of a mark → facts as a mask, whole sectors among them, that are compared behind it all the same
Kept = Mapping[int, int]

LONG = 256  #: operations of its own that a boot may keep that is not right
RECENT = 8  #: groups of sectors that a boot is compared under before it begins
_POWER_ON: Point = (-2, 0, 0)
_WHOLE_PAGE = (1 << PAGE) - 1


class Group(NamedTuple):
    """How two flashes are compared: not at all in some sectors, but for a few facts."""

    dropped: int  #: sectors, as a mask
    facts: tuple[int, ...]  #: of them: what is compared all the same


@dataclass(slots=True)
class Merge:
    """Boots that were joined to one position although some sectors differ there."""

    run: Run
    at: int
    dropped: int  #: the sectors that were not compared, as a mask
    others: list[State]  #: what the joined boots had there
    mark: int  #: number of the mark before


class Runs:
    """All boots of one build over one flash, each distinct stretch run once."""

    __slots__ = (
        "_all",
        "_groups",
        "_looks",
        "_parts",
        "_passed",
        "_positions",
        "_ranges",
        "_runs",
        "_steps",
        "_watched",
        "config",
        "flash",
        "judge",
        "kept",
        "longest",
        "merges",
        "probe",
        "reduced",
        "spare",
    )

    def __init__(
        self,
        config: BootConfig,
        flash: Sectors,
        *,
        reduced: bool = False,
        kept: Kept | None = None,
        probe: RunProbe | None = None,
    ) -> None:
        self.config = config
        self.flash = flash
        self.reduced = reduced  #: join boots that differ only in what nothing depends on
        self.kept = kept or {}  #: facts of `probe`, an earlier exploration's, that are compared all the same
        #: a boot that went astray is joined only where all is equal; long ones that are not right keep no notes
        self.judge: Callable[[BootOutcome, State], Way] = runs_at_all
        self.spare = 0  #: sectors, as a mask, that the judgement looks at where a boot ends
        self.longest = LONG  #: operations of its own that a boot keeps before it is known how it ends
        self.merges: dict[tuple[int, int], Merge] = {}
        #: who came by a point of the program: by what is compared, and by what it was
        self._passed: dict[Point, dict[Group, dict[Hashable, tuple[Run, int]]]] = {}
        self._steps: dict[Step, Step] = {}
        self._groups: dict[tuple[int, int], Group] = {}
        self._ranges = _ranges(config)
        self._all = (1 << flash.size // flash.sector_size) - 1
        self._positions: dict[Position, tuple[Run, int]] = {}
        self._runs: dict[int, Run] = {}
        self.probe = RunProbe(flash.size // flash.sector_size, probe)
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
        """As `boot`, with the operations of a long boot that kept no notes."""
        run = self.boot(start)
        if run.brief is not None:
            run.brief = run.joined = run.outcome = run.end = run.needs = None
            run.ops, run.marks = [], []
            run.joined = self._alike(start, _POWER_ON, newest=RECENT) if self.reduced else None
            if run.joined is None:
                self._boot(run, keep=True)
            else:
                run.reads.append(0)
        return run

    def boot_root(self, start: State) -> Run:
        """As `boot`, of a state that everything begins with: all of it is worth keeping."""
        known = self._runs.get(start.fingerprint)
        if known is None:
            known = self._runs[start.fingerprint] = Run(start)
            self._boot(known, keep=True)
        return self.boot_in_full(start)

    def adopt(self, start: State, outcome: BootOutcome, end: State, stray: FlashOp | None) -> None:
        """Take over how a state boots from another process; whoever needs its operations boots it in full."""
        if start.fingerprint not in self._runs:
            run = self._runs[start.fingerprint] = Run(start, end=(outcome, end), brief=[])
            run.ops += [] if stray is None else [stray]

    def stray_of(self, run: Run) -> FlashOp | None:
        """An operation outside of the slots and scratch, where the bootloader and with it serial recovery live."""
        return next((op for op in run.ops if self._strays(op)), None)

    def _strays(self, op: FlashOp) -> bool:
        end = op.address + (op.length if isinstance(op, Erase) else len(op.data))
        return not any(first <= op.address and end <= last for first, last in self._ranges)

    def _boot(self, run: Run, *, keep: bool = False) -> None:
        self.enter(run.start)
        flash, probe, positions = self.flash, self.probe, self._positions
        probe.reset()
        flash.seen = 0
        points: list[Point] = []
        program = boot_go(flash, self.config, probe=probe)
        ops, states, reads, marks = run.ops, run.states, run.reads, run.marks
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
            if probe.flow is not None:
                run.flows[len(ops)], probe.flow = probe.flow, None
            ops.append(op)
            marks.append(probe.point)
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
            if len(ops) == self.longest and not keep:
                self._end_quietly(run, program, passed)
                return
        reads.append(flash.seen | probe.observed)
        if self.reduced and self.judge(*final(run)) is not Way.ASTRAY:
            self._remember(run, points)

    def _end_quietly(self, run: Run, program: Program[BootOutcome], passed: list[Position]) -> None:
        """Go on without notes; they are missed only where all is right in the end, and there the boot begins again."""
        flash, probe = self.flash, self.probe
        brief, stray = self._brief(run), self.stray_of(run)
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
            stray = op if stray is None and self._strays(op) else stray
            brief.add(op, flash.seen | probe.observed, probe.flow)
            flash.seen = probe.observed = 0
            probe.flow = None
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
        brief.end(flash.seen | probe.observed)
        outcome, last = (run.outcome, self.state()) if run.joined is None else final(run)
        redo = outcome is None or self.judge(outcome, last) is Way.RIGHT
        if not redo and outcome is not None:
            run.end = outcome, last
            run.brief = brief.steps
            for position in passed:
                del self._positions[position]
        run.ops, run.states, run.reads, run.marks, run.flows = [], [], [], [], {}
        if not redo and stray is not None:
            run.ops.append(stray)
        if redo:
            run.joined, run.outcome = None, None
            self._boot(run, keep=True)

    def _brief(self, run: Run) -> Brief:
        """What counts of the operations so far."""
        brief = Brief(self.flash.sector_size, self._steps)
        for at, (op, read) in enumerate(zip(run.ops, run.reads, strict=True)):
            brief.add(op, read, run.flows.get(at))
        return brief

    def erased_by(self, op: FlashOp) -> int:
        """The facts that an erase makes an end of, as a mask; a write ends none."""
        if not isinstance(op, Erase):
            return 0
        return self._facts_of(op.address // self.flash.sector_size, op.length // self.flash.sector_size)

    def _facts_of(self, first: int, count: int) -> int:
        mask = 0
        for bits in self.probe.of_sector[first : first + count]:
            mask |= bits
        return mask

    def before(self, run: Run, at: int, after: Need) -> Need:
        """What is needed before operation `at` of a boot, of what is needed after it; without what it reads."""
        op = run.ops[at]
        if not isinstance(op, Erase):
            flow = run.flows.get(at - 1)
            if flow is None:
                return Need(self._before_write(op.address, len(op.data), after.flash), after.ram)
            new = self.probe.of_sector[flow.sector]
            return Need(after.flash & ~new, after.flash & new)
        flow = run.flows.get(at)
        if flow is not None:
            kept = after.flash & ~self.probe.of_sector[flow.sector]
            return Need(kept | self.probe.sources(flow, after.ram), 0)
        return Need((after.flash | after.ram) & ~self.erased_by(op), 0)

    def _before_write(self, address: int, length: int, needed: int) -> int:
        """What is needed before a write that carries nothing from elsewhere."""
        size = self.flash.sector_size
        for sector in range(address // size, (address + length - 1) // size + 1):
            mine = needed & self.probe.of_sector[sector]
            if mine:
                inside = address - sector * size
                needed |= self.probe.written(mine, inside, inside + length)
        return needed

    def before_all(self, steps: list[Step], after: Need) -> Need:
        """What is needed before a boot whose operations were not kept."""
        live = after.flash | after.ram
        for reads, first, count, flow, wrote in reversed(steps):
            if wrote is not None:
                live = self._before_write(*wrote, live) | reads
                continue
            gone = self._facts_of(first, count)
            found = live & ~gone
            if flow is not None:
                found |= self.probe.sources(flow, live & gone)
            live = found | reads
        return Need(live, 0)

    def _alike(self, state: State, point: Point, *, newest: int | None = None) -> tuple[Run, int] | None:
        """An earlier boot at the same point that differs only in what the rest of it does not look at."""
        groups = self._passed.get(point)
        if groups is None:
            return None
        for group in islice(reversed(groups), newest):
            earlier = groups[group].get(self._without(state, group))
            if earlier is not None:
                merge = self.merges.get((id(earlier[0]), earlier[1]))
                if merge is None:
                    merge = self.merges[id(earlier[0]), earlier[1]] = Merge(*earlier, group.dropped, [], point[0])
                merge.others.append(state)
                groups[group] = groups.pop(group)
                return earlier
        return None

    def _remember(self, run: Run, points: list[Point]) -> None:
        """Let later boots join this one where they differ only in what is not needed any more."""
        needs = self._needs(run)
        last, mark, group = NOTHING, -1, self._group(0, -1)
        for at, point in enumerate((_POWER_ON, *points)):
            if needs[at] is not last or point[0] != mark:
                last, mark = needs[at], point[0]
                group = self._group(last.flash, mark)
            if group.dropped:
                state = run.states[at - 1] if at else run.start
                groups = self._passed.setdefault(point, {})
                groups.setdefault(group, {}).setdefault(self._without(state, group), (run, at))

    def _group(self, needed: int, mark: int) -> Group:
        """What is compared where some facts are needed."""
        kept = self.kept.get(mark, 0)
        group = self._groups.get((needed, kept))
        if group is None:
            whole = len(self.probe.of_sector)
            dropped = ~needed & self._all & ~kept
            facts = [bit - whole for bit in bits_of((needed | kept) >> whole << whole)]
            own = tuple(fact for fact in facts if dropped >> self.probe.facts[fact].sector & 1)
            group = self._groups[needed, kept] = Group(dropped, own)
        return group

    def _needs(self, run: Run) -> list[Need]:
        """At each position of a boot, what the rest of it and the next boot look at; cuts are not thought of."""
        chain = [run]
        while chain[-1].needs is None and (joined := chain[-1].joined) is not None and len(chain) < DEEP:
            chain.append(joined[0])
        for piece in reversed(chain):
            if piece.needs is None:
                piece.needs = [NOTHING] * (len(piece.ops) + 1)  # for a next boot that comes back here
                piece.needs = self._needs_of(piece)
        return run.needs or []

    def _needs_of(self, run: Run) -> list[Need]:
        need = self._needs_behind(run)
        if run.brief is not None:
            return [self.before_all(run.brief, need)]
        needs = [need] * (len(run.ops) + 1)
        for at in range(len(run.ops), -1, -1):
            if at < len(run.ops):
                need = self.before(run, at, need)
            if run.reads[at] & ~need.flash:
                need = Need(need.flash | run.reads[at], need.ram)
            needs[at] = need
        return needs

    def _needs_behind(self, run: Run) -> Need:
        """What is needed at the end: what the next boot looks at; nothing comes after one that fails."""
        if run.joined is not None:
            needs = run.joined[0].needs
            return NOTHING if needs is None else needs[run.joined[1]]
        outcome, end = final(run)
        if not isinstance(outcome, Booted):
            return NOTHING
        following = self.boot(end)
        return Need(self._needs(following)[0].flash | self.spare, 0)

    def spare_nothing(self) -> None:
        """From here on no judgement looks at more than what runs."""
        self.spare = 0
        for run in self.runs:
            run.needs = None

    def _without(self, state: State, group: Group) -> Hashable:
        """The fingerprint of all that is compared: sectors, facts, and how headers and trailers in others read."""
        dropped = group.dropped
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
        facts, value, flash = self.probe.facts, self.probe.value, self.flash
        compared = tuple([value(fact, flash, state.number(facts[fact].sector)) for fact in group.facts])
        if not dropped & self._watched[0]:
            return total, compared
        return total, compared, self._look(state)

    def _weigh(self, page_at: int, some: int, page: tuple[int, ...]) -> int:
        """What some sectors of a page add to a fingerprint."""
        weights, marks = self.flash.contents.weights, self.flash.contents.marks
        base = page_at * PAGE
        return sum(weights[base + at] * marks[number] for at, number in enumerate(page) if some >> at & 1)

    def _look(self, state: State) -> Hashable:
        """What a boot learns from headers, trailers and status bytes, fact by fact."""
        pages = state.pages
        key = tuple([pick(pages[page_at]) for page_at, pick in self._watched[1]])
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


def _ranges(config: BootConfig) -> list[tuple[int, int]]:
    """Where boots may change the flash: first address and the one behind the last; neighbours are one range."""
    ranges: list[tuple[int, int]] = []
    for area in sorted(config.areas, key=lambda area: area.address):
        first, last = ranges.pop() if ranges and ranges[-1][1] == area.address else (area.address, area.address)
        ranges.append((first, max(last, area.end)))
    return ranges


def _watched(config: BootConfig, sector_size: int) -> tuple[int, list[tuple[int, itemgetter[Any]]]]:
    """The sectors with headers and trailers, as a mask, and what takes them out of each page."""
    layout = layout_of(config)
    places = [place for pair in layout.slots for place in pair]
    if layout.scratch is not None:
        places.append(layout.scratch)
    sectors: set[int] = set()
    for place in places:
        first, last = place.area.address // sector_size, (place.area.end - 1) // sector_size
        status = (place.area.address + max(place.status, 0)) // sector_size
        sectors.update((first, min(first + 1, last)), range(status, last + 1))
    of_page: dict[int, list[int]] = {}
    for index in sorted(sectors):
        of_page.setdefault(index // PAGE, []).append(index % PAGE)
    return sum(1 << index for index in sectors), [(at, itemgetter(*inside)) for at, inside in of_page.items()]
