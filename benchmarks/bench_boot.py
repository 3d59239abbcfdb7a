"""The boot model and the explorer on a full-size update: one boot, single cuts, the closed graph, growth with the slot.

The peer figures are those of the real bootutil at -O2 on one core (uninterrupted boot 7.4 ms and 7.1 ms; every single
clean cut and the boot after it 28.8 s and 30.9 s); they were measured elsewhere and are printed beside ours.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.scenes import scene

from bootwright.boot.config import Mode
from bootwright.boot.liveness import joins_hold
from bootwright.boot.runs import Runs
from bootwright.host.explore_graph import Closure, Limits
from bootwright.host.explore_scene import Action

REAL_SINGLE_S = {Mode.SCRATCH: 28.8, Mode.MOVE: 30.9}


def measure(mode: Mode, slot: int, *, single: bool = True) -> None:
    place = scene(mode, Action.PERMANENT, size=slot * 9 // 10, slot=slot, scratch=31 * 4096)
    flash = place.flash()
    runs = Runs(place.config, flash)
    start = runs.state()
    begin = time.perf_counter()
    run = runs.boot(start)
    one = time.perf_counter() - begin
    row = f"{mode.value:9} {slot >> 10:5} KiB  {len(run.ops):5} operations  one boot {one:5.2f} s"
    if single:
        begin = time.perf_counter()
        closure = Closure(runs, Limits(max_level=1))
        closure.close([(start, 0)])
        for node in closure.nodes.values():
            closure.outcome(node)
        real = f" (real code {REAL_SINGLE_S[mode]} s)" if slot == 1 << 20 and mode in REAL_SINGLE_S else ""
        row += f"  single cuts {time.perf_counter() - begin:5.2f} s{real}"
    runs.enter(start)
    reduced = Runs(place.config, flash, reduced=True)
    closure = Closure(reduced, Limits())
    begin = time.perf_counter()
    closure.close([(start, 0)])
    held = joins_hold(reduced, closure.torn)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    spent = time.perf_counter() - begin
    print(f"{row}  closed {spent:6.2f} s, {len(closure.nodes)} states, joins hold: {held}, {memory} MB")


if __name__ == "__main__":
    for mode in (Mode.SCRATCH, Mode.MOVE, Mode.OFFSET, Mode.OVERWRITE):
        for slot in (64 << 10, 256 << 10, 512 << 10, 1 << 20):
            measure(mode, slot)
