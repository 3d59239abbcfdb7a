"""Whether joining boots that differ only in doomed sectors was right.

`Runs` with `reduced` joins two boots at the same point of the program when their flashes differ only in sectors that
the earlier boot erases before it reads them. That is sound if no boot after a power cut on the way reads such a sector
either. Whether it is, follows once the graph is closed: a sector is *live* at a position if the boot reads it before it
erases it, or if it is live in a boot after a cut there. The least solution is found by going through all boots
backwards until nothing changes; a join is right if none of the sectors that it did not compare is live where it led.

If two states agree on what is live in one of them, they do the same operations, and after each operation, or a cut,
they agree again on what is live there: the states are bisimilar, whatever the other sectors hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bootwright.boot.runs import Run, Runs, erased_by

#: (run, number of the operation) → fingerprints of what a cut inside that operation leaves behind
Torn = Mapping[tuple[int, int], Sequence[int]]


def joins_hold(runs: Runs, torn: Torn) -> bool:
    """Whether every join of a reduced exploration was right."""
    return not wrongly_dropped(runs, torn)


def wrongly_dropped(runs: Runs, torn: Torn) -> int:
    """The sectors, as a mask, that some join did not compare although they are live there; 0 if all were right."""
    sector_size = runs.flash.sector_size
    everything = (1 << runs.flash.size // sector_size) - 1
    all_runs = list(runs.runs)[::-1]
    heads: dict[int, int] = {run.start.fingerprint: 0 for run in all_runs}
    asked: dict[tuple[int, int], int] = {
        (id(run.joined[0]), run.joined[1]): 0 for run in all_runs if run.joined is not None
    }
    changed = True
    while changed:
        changed = False
        for run in all_runs:
            changed |= _pass(run, heads, asked, torn, everything, sector_size)
    wrong = 0
    for run, at, dropped in runs.merges.values():
        wrong |= asked[id(run), at] & dropped
    return wrong


def _pass(
    run: Run,
    heads: dict[int, int],
    asked: dict[tuple[int, int], int],
    torn: Torn,
    everything: int,
    sector_size: int,
) -> bool:
    """Go through one boot backwards; whether anything became live that was not."""
    changed = False
    total = len(run.ops)
    live = everything if run.joined is None else asked[id(run.joined[0]), run.joined[1]]
    for at in range(total, -1, -1):
        if at < total:
            live &= ~erased_by(run.ops[at], sector_size)
        live |= run.reads[at]
        for fingerprint in torn.get((id(run), at), ()):
            live |= heads.get(fingerprint, 0)
        if at:
            live |= heads.get(run.states[at - 1].fingerprint, 0)
            key = (id(run), at)
            if asked.get(key, live) != live:
                asked[key] = live
                changed = True
    before = heads[run.start.fingerprint]
    heads[run.start.fingerprint] = live | before
    return changed or live | before != before
