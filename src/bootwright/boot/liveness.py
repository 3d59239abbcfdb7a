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

from collections.abc import Container, Mapping, Sequence

from bootwright.boot.outcome import Booted
from bootwright.boot.runs import Merge, Run, Runs, State
from bootwright.boot.sectors import PAGE

#: (run, number of the operation) → fingerprints of what a cut inside that operation leaves behind
Torn = Mapping[tuple[int, int], Sequence[int]]


def joins_hold(runs: Runs, torn: Torn) -> bool:
    """Whether every join of a reduced exploration was right."""
    return not wrongly_dropped(runs, torn)


def wrongly_dropped(runs: Runs, torn: Torn, ends: Container[int] | None = None) -> int:
    """The sectors, as a mask, that some join did not compare although they are live there; 0 if all were right.

    `ends` are the fingerprints of the states in which something else begins: all of them is live. Without it, that is
    so wherever an image runs.
    """
    everything = 0
    for bits in runs.probe.of_sector:
        everything |= bits
    all_runs = list(runs.runs)[::-1]
    heads: dict[int, int] = {run.start.fingerprint: 0 for run in all_runs}
    asked: dict[tuple[int, int], int] = {
        (id(run.joined[0]), run.joined[1]): 0 for run in all_runs if run.joined is not None
    }
    for merge in runs.merges.values():
        asked.setdefault((id(merge.run), merge.at), 0)
    changed = True
    while changed:
        changed = False
        for run in all_runs:
            changed |= _pass(runs, run, heads, asked, torn, everything if _matters(run, ends) else 0)
    wrong = 0
    for merge in runs.merges.values():
        wrong |= _wrong(runs, merge, asked[id(merge.run), merge.at])
    return wrong


def _matters(run: Run, ends: Container[int] | None) -> bool:
    """Whether the state that a boot ends in is gone on from."""
    if not isinstance(run.outcome, Booted):
        return False
    return ends is None or (run.states[-1] if run.states else run.start).fingerprint in ends


def _wrong(runs: Runs, merge: Merge, live: int) -> int:
    """The dropped sectors of which something live differs."""
    whole = len(runs.probe.of_sector)
    here = merge.run.states[merge.at - 1] if merge.at else merge.run.start
    wrong = 0
    for sector in _bits(merge.dropped):
        facts = live & runs.probe.of_sector[sector]
        if not facts:
            continue
        mine = _number(here, sector)
        for number in {_number(other, sector) for other in merge.others} - {mine}:
            if facts >> sector & 1 or _differs(runs, facts >> whole, mine, number):
                wrong |= 1 << sector
    return wrong


def _differs(runs: Runs, facts: int, first: int, second: int) -> bool:
    """Whether two contents differ in one of some facts."""
    value, flash = runs.probe.value, runs.flash
    return any(value(fact, flash, first) != value(fact, flash, second) for fact in _bits(facts))


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        found.append((mask & -mask).bit_length() - 1)
        mask &= mask - 1
    return found


def _number(state: State, sector: int) -> int:
    return state.pages[sector // PAGE][sector % PAGE]


def _pass(
    runs: Runs, run: Run, heads: dict[int, int], asked: dict[tuple[int, int], int], torn: Torn, at_end: int
) -> bool:
    """Go through one boot backwards; whether anything became live that was not."""
    changed = False
    total = len(run.ops)
    live = at_end if run.joined is None else asked[id(run.joined[0]), run.joined[1]]
    if run.brief is not None:
        return _raise(heads, run.start.fingerprint, live & ~run.brief.erases | run.brief.reads)
    for at in range(total, -1, -1):
        if at < total:
            live &= ~runs.erased_by(run.ops[at])
        live |= run.reads[at]
        for fingerprint in torn.get((id(run), at), ()):
            live |= heads.get(fingerprint, 0)
        if at:
            live |= heads.get(run.states[at - 1].fingerprint, 0)
        key = (id(run), at)
        if asked.get(key, live) != live:
            asked[key] = live
            changed = True
    return _raise(heads, run.start.fingerprint, live) or changed


def _raise(heads: dict[int, int], start: int, live: int) -> bool:
    """Note what is live at the beginning of a boot; whether that is more than was known."""
    before = heads[start]
    heads[start] = live | before
    return live | before != before
