"""Whether joining boots that differ only in doomed sectors was right.

`Runs` with `reduced` joins two boots at the same point of the program when their flashes differ only in sectors that
the earlier boot erases before it reads them. That is sound if no boot after a power cut on the way reads such a sector
either, or at least nothing of it in which the two differ. Whether it is, follows once the graph is closed. What boots
read are *facts*: a whole sector, or what is decoded from a few bytes of one (a trailer, a status area, a header). A
fact is *live* at a position if the boot reads it before it erases the sector, or if it is live in a boot after a cut
there. The least solution is found by going through all boots backwards until nothing changes; a join is right if every
live fact of the sectors that it did not compare is the same in both flashes.

A write that a fact lies in makes all of its sector live before it; a torn erase or write leaves a fact that lies across
its middle half as it was, and what that half made of the fact is a fact of its own.

If two states agree on what is live in one of them, they do the same operations, and after each operation, or a cut,
they agree again on what is live there: the states are bisimilar, whatever else the other sectors hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bootwright.boot.outcome import Booted
from bootwright.boot.run import NOTHING, Need, Run, final
from bootwright.boot.run_probe import bits_of
from bootwright.boot.runs import Merge, Runs
from bootwright.boot.sectors import half_of
from bootwright.flash import Erase

#: (run, number of the operation) → fingerprints of what a cut inside that operation leaves behind
Torn = Mapping[tuple[int, int], Sequence[int]]
#: fingerprint of a state that a boot ends in → what it is gone on from in another state than that: the fingerprint, and
#: the sectors in which the two differ, as a mask
Ends = Mapping[int, Sequence[tuple[int, int]]]


def joins_hold(runs: Runs, torn: Torn) -> bool:
    """Whether every join of a reduced exploration was right."""
    return not wrongly_dropped(runs, torn)


def wrongly_dropped(runs: Runs, torn: Torn, ends: Ends | None = None, *, halves: bool = True) -> dict[int, int]:
    """The facts that some join did not compare although they are live there, by mark; none if all were right.

    Without `ends` all of the flash is live wherever an image runs. With `halves` a torn operation did its first half,
    otherwise any bits of it.
    """
    flow = _Backwards(runs, torn, ends, halves=halves)
    flow.settle()
    found: dict[int, int] = {}
    for merge in runs.merges.values():
        wrong = flow.wrong(merge)
        for sector, facts in enumerate(runs.probe.of_sector if wrong else ()):
            for mark in _marks_before_erase(merge, sector, runs.flash.sector_size) if wrong & facts else ():
                found[mark] = found.get(mark, 0) | wrong & facts
    return found


def _marks_before_erase(merge: Merge, sector: int, size: int) -> set[int]:
    """The marks from a join on to where the boot erases a sector: up to there it would be joined wrongly again."""
    run, at, marks = merge.run, merge.at, {merge.mark}
    seen: set[tuple[int, int]] = set()
    while (id(run), at) not in seen:
        seen.add((id(run), at))
        for number in range(at, min(len(run.ops), len(run.marks))):
            op, flow = run.ops[number], run.flows.get(number)
            inside = isinstance(op, Erase) and op.address <= sector * size < op.address + op.length
            if inside and (flow is None or flow.sector != sector):
                return marks
            marks.add(run.marks[number])
        if run.joined is not None:
            run, at = run.joined
    return marks


class _Backwards:
    """What is live, at the beginning of every boot and wherever something was joined."""

    def __init__(self, runs: Runs, torn: Torn, ends: Ends | None, *, halves: bool) -> None:
        self._runs = runs
        self._halves = halves
        self._torn = torn
        self._ends = ends
        self._all = list(runs.runs)[::-1]
        self._heads = {run.start.fingerprint: 0 for run in self._all}
        joined = [run.joined for run in self._all if run.joined is not None]
        self._asked = {(id(run), at): NOTHING for run, at in joined}
        self._asked |= dict.fromkeys(runs.merges, NOTHING)

    def settle(self) -> None:
        """Go through all boots backwards until nothing changes."""
        changed = True
        while changed:
            changed = False
            for run in self._all:
                changed |= self._through_brief(run) if run.brief is not None else self._through(run)

    def wrong(self, merge: Merge) -> int:
        """The live facts that differ, in sectors that were dropped."""
        runs, live = self._runs, self._asked[id(merge.run), merge.at].flash
        whole = len(runs.probe.of_sector)
        here = merge.run.states[merge.at - 1] if merge.at else merge.run.start
        wrong = 0
        sectors = {runs.probe.facts[fact].sector for fact in bits_of(live >> whole)}
        for sector in sectors.union(bits_of(live & merge.dropped & (1 << whole) - 1)):
            if not merge.dropped >> sector & 1:
                continue
            facts = live & runs.probe.of_sector[sector]
            mine = here.number(sector)
            for number in {other.number(sector) for other in merge.others} - {mine}:
                wrong |= facts & 1 << sector or self._differing(facts >> whole, mine, number) << whole
        return wrong

    def _differing(self, facts: int, first: int, second: int) -> int:
        """Those of some facts in which two contents differ."""
        value, flash = self._runs.probe.value, self._runs.flash
        return sum(1 << fact for fact in bits_of(facts) if value(fact, flash, first) != value(fact, flash, second))

    def _behind(self, run: Run) -> Need:
        """What is live at the end of a boot."""
        if run.joined is not None:
            return self._asked[id(run.joined[0]), run.joined[1]]
        outcome, last = final(run)
        if not isinstance(outcome, Booted):
            return NOTHING
        if self._ends is None:
            return Need((1 << len(self._runs.probe.of_sector) + len(self._runs.probe.facts)) - 1, 0)
        end = last.fingerprint
        live = self._heads.get(end, 0)
        for state, changed in self._ends.get(end, ()):
            live |= self._mixed(self._heads.get(state, 0), changed) | changed
        return Need(live, 0)

    def _mixed(self, live: int, sectors: int) -> int:
        """Of sectors of which only a part will be as it is now, all or nothing is live."""
        for sector in bits_of(sectors):
            if live & self._runs.probe.of_sector[sector]:
                live |= 1 << sector
        return live

    def _through_brief(self, run: Run) -> bool:
        live = self._runs.before_all(run.brief or [], self._behind(run)).flash
        return self._raise(run.start.fingerprint, live)

    def _through(self, run: Run) -> bool:
        """Go through one boot backwards; whether anything became live that was not."""
        changed = False
        runs, heads, asked, torn = self._runs, self._heads, self._asked, self._torn
        need = self._behind(run)
        for at in range(len(run.ops), -1, -1):
            if at < len(run.ops):
                need = runs.before(run, at, need)
            live = need.flash | run.reads[at]
            for fingerprint in torn.get((id(run), at), ()):
                need = self._torn_into(run, at, heads.get(fingerprint, 0), need)
            live |= need.flash
            if at:
                live |= heads.get(run.states[at - 1].fingerprint, 0)
            need = Need(live, need.ram)
            key = (id(run), at)
            if asked.get(key, need) != need:
                asked[key] = need
                changed = True
        return self._raise(run.start.fingerprint, need.flash) or changed

    def _torn_into(self, run: Run, at: int, live: int, need: Need) -> Need:
        """What a boot looks at that finds an operation half done: a part as it was, a part as it should be."""
        if self._halves:
            half = self._half(run, at, live)
            return Need(need.flash | half.flash, need.ram | half.ram)
        op, size = run.ops[at], self._runs.flash.sector_size
        length = op.length if isinstance(op, Erase) else len(op.data)
        first, last = op.address // size, (op.address + length - 1) // size
        touched = (1 << last + 1) - (1 << first)
        live = self._mixed(live, touched)
        return Need(need.flash | live, need.ram | live & touched if at - 1 in run.flows else need.ram)

    def _half(self, run: Run, at: int, live: int) -> Need:
        """What is needed before the first half of an operation, of what is needed after it."""
        op, probe, size = run.ops[at], self._runs.probe, self._runs.flash.sector_size
        end = op.address + (op.length if isinstance(op, Erase) else len(op.data))
        split, ram = op.address + half_of(op), 0
        for sector in range(op.address // size, (end - 1) // size + 1):
            mine = live & probe.of_sector[sector]
            if not mine:
                continue
            live &= ~mine
            inside = split - sector * size
            if isinstance(op, Erase):
                live |= probe.half(self._runs.flash, mine, inside, first=False)
            elif at - 1 in run.flows:
                ram |= probe.half(self._runs.flash, mine, inside, first=True)
            else:
                live |= probe.written(mine, op.address - sector * size, inside)
        return Need(live, ram)

    def _raise(self, start: int, live: int) -> bool:
        """Note what is live at the beginning of a boot; whether that is more than was known."""
        before = self._heads[start]
        self._heads[start] = live | before
        return live | before != before
