"""The boot model and the explorer on a full-size update: one boot, single cuts, the closed graph, growth with the slot.

With the word `encrypted`: the closed graph with flash encryption active, which takes minutes.

The peer figures are those of the real bootutil at -O2 on one core (uninterrupted boot 7.4 ms and 7.1 ms; every single
clean cut and the boot after it 28.8 s and 30.9 s); they were measured elsewhere and are printed beside ours.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.scenes import scene

from bootwright.boot.config import Mode
from bootwright.boot.runs import Runs
from bootwright.host.explore import Question, explore
from bootwright.host.explore_graph import Closure, Cuts, Limits
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
    begin = time.perf_counter()
    result = explore(Question(scene=place, remedies=False))
    spent = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{row}  closed {spent:6.2f} s, {len(result.phases[0].closure.nodes)} states, {memory} MB so far")


#: slot, image, scratch area, in bytes; strategy, action, cuts
ENCRYPTED = (
    (0x18000, 20_000, 0x3000, Mode.SCRATCH, Action.TEST, Cuts.CLEAN),
    (0x18000, 20_000, 0, Mode.MOVE, Action.TEST, Cuts.CLEAN),
    (0x18000, 5_000, 0x3000, Mode.SCRATCH, Action.PERMANENT, Cuts.CLEAN),
    (0x18000, 5_000, 0, Mode.MOVE, Action.PERMANENT, Cuts.CLEAN),
    (0x18000, 20_000, 0x3000, Mode.SCRATCH, Action.PERMANENT, Cuts.TORN),
    (0x18000, 20_000, 0, Mode.MOVE, Action.PERMANENT, Cuts.TORN),
    (0x1D000, 60_000, 0x3000, Mode.SCRATCH, Action.PERMANENT, Cuts.TORN),
    (0x1D000, 60_000, 0, Mode.MOVE, Action.PERMANENT, Cuts.TORN),
    (1 << 20, 943_718, 31 << 12, Mode.SCRATCH, Action.TEST, Cuts.CLEAN),
    (1 << 20, 943_718, 0, Mode.MOVE, Action.PERMANENT, Cuts.CLEAN),
    (0x1C0000, 1 << 20, 64 << 12, Mode.SCRATCH, Action.PERMANENT, Cuts.CLEAN),
    (0x1C0000, 1 << 20, 0, Mode.MOVE, Action.PERMANENT, Cuts.CLEAN),
    (1 << 20, 943_718, 0, Mode.MOVE, Action.TEST, Cuts.CLEAN),
)


def measure_encrypted(slot: int, size: int, scratch: int, mode: Mode, action: Action, cuts: Cuts) -> None:
    plain = scene(mode, action, size=size, slot=slot, scratch=scratch)
    config = replace(plain.config, max_align=32, write_align=32, flash_encryption_active=True)
    begin = time.process_time()
    result = explore(Question(scene=replace(plain, config=config), cuts=cuts, remedies=False, max_spoilt=0))
    spent = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    states = ", ".join(f"{phase.name} {len(phase.closure.nodes)}" for phase in result.phases)
    name = f"encrypted {mode.value:9} {slot >> 10:5} KiB, {size} bytes, {action.value:9} {cuts.value}"
    print(f"{name} {spent:6.1f} s, {memory} MB so far: {states}", flush=True)
    for bound in result.bounds:
        print(f"  {bound}")


def main() -> None:
    if "encrypted" in sys.argv:
        for row in ENCRYPTED:
            measure_encrypted(*row)
        return
    for mode in (Mode.SCRATCH, Mode.MOVE, Mode.OFFSET, Mode.OVERWRITE):
        for slot in (64 << 10, 256 << 10, 512 << 10, 1 << 20):
            measure(mode, slot)


if __name__ == "__main__":
    main()
