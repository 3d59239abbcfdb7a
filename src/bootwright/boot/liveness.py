"""Whether joining boots that differ only in doomed sectors was right.

`Runs` with `reduced` joins two boots at the same point of the program when their flashes differ only in sectors that
the earlier boot erases before it reads them. That is sound if no boot after a power cut on the way reads such a sector
either, or at least nothing of it in which the two differ. Whether it is, follows once the graph is closed. What boots
read are *facts*: a whole sector, or what is decoded from a few bytes of one (a trailer, a status area, a header). A
fact is *live* at a position if the boot reads it before it erases the sector, or if it is live in a boot after a cut
there. The least solution is found by going through all boots backwards until nothing changes; a join is right if every
live fact of the sectors that it did not compare is the same in both flashes.

If two states agree on what is live in one of them, they do the same operations, and after each operation, or a cut,
they agree again on what is live there: the states are bisimilar, whatever else the other sectors hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bootwright.boot.outcome import Booted
from bootwright.boot.run import NOTHING, Need, Run, bits_of, final
from bootwright.boot.runs import Merge, Runs
from bootwright.flash import Erase

#: (run, number of the operation) → fingerprints of what a cut inside that operation leaves behind
Torn = Mapping[tuple[int, int], Sequence[int]]
#: fingerprint of a state that a boot ends in → what it is gone on from in another state than that: the fingerprint, and
#: the sectors in which the two differ, as a mask
Ends = Mapping[int, Sequence[tuple[int, int]]]


def joins_hold(runs: Runs, torn: Torn) -> bool:
    """Whether every join of a reduced exploration was right."""
    return not wrongly_dropped(runs, torn)


def wrongly_dropped(runs: Runs, torn: Torn, ends: Ends | None = None) -> int:
    """The sectors, as a mask, that some join did not compare although they are live there; 0 if all were right.

    Without `ends` all of the flash is live wherever an image runs.
    """
    flow = _Backwards(runs, torn, ends)
    flow.settle()
    wrong = 0
    for merge in runs.merges.values():
        wrong |= flow.wrong(merge)
    return wrong


class _Backwards:
    """What is live, at the beginning of every boot and wherever something was joined."""

    def __init__(self, runs: Runs, torn: Torn, ends: Ends | None) -> None:
        self._runs = runs
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
        """The dropped sectors of which something live differs."""
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
                if facts >> sector & 1 or self._differs(facts >> whole, mine, number):
                    wrong |= 1 << sector
        return wrong

    def _differs(self, facts: int, first: int, second: int) -> bool:
        """Whether two contents differ in one of some facts."""
        value, flash = self._runs.probe.value, self._runs.flash
        return any(value(fact, flash, first) != value(fact, flash, second) for fact in bits_of(facts))

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
        op, size = run.ops[at], self._runs.flash.sector_size
        length = op.length if isinstance(op, Erase) else len(op.data)
        first, last = op.address // size, (op.address + length - 1) // size
        touched = (1 << last + 1) - (1 << first)
        live = self._mixed(live, touched)
        return Need(need.flash | live, need.ram | live & touched if at - 1 in run.flows else need.ram)

    def _raise(self, start: int, live: int) -> bool:
        """Note what is live at the beginning of a boot; whether that is more than was known."""
        before = self._heads[start]
        self._heads[start] = live | before
        return live | before != before
