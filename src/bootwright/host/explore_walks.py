"""Random series of power cuts; each has a seed of its own and depends neither on the others nor on the processes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from bootwright.boot.outcome import BootOutcome
from bootwright.boot.run import Run, State, final, operations, stretches
from bootwright.boot.runs import Runs
from bootwright.flash import FlashOp
from bootwright.host.explore_graph import Closure, Cut, Cuts, Limits, Node
from bootwright.host.explore_jobs import Contents, Ended, in_processes

WORTH = 500  #: series below which a process costs more than it saves
PIECE = 125  #: series that a worker takes at once

#: the cuts of a series with the state that each left behind, and the boot after the last
Series = tuple[list[tuple[Cut, State]], Ended]


def walks(runs: Runs, root: State, *, seeds: Sequence[int], cuts: Cuts, jobs: int) -> Iterator[Node]:
    """The last node of each random series from a root, in the order of the seeds; joins must be exact."""
    if jobs < 2 or len(seeds) < WORTH:
        for seed in seeds:
            yield walk(runs, root, seed=seed, cuts=cuts)[0]
        return
    known = len(runs.flash.contents.blobs)
    tasks = [_Walks(runs, root, seeds[at : at + PIECE], cuts, known) for at in range(0, len(seeds), PIECE)]
    for contents, found in in_processes(tasks, jobs):
        here = contents.translate(runs)
        for series, (outcome, end, stray) in found:
            node = Node(root, 0)
            for cut, state in series:
                node = Node(here(state), node.level + 1, node, cut)
            runs.adopt(node.state, outcome, here(end), stray)
            yield node


class _Walks:
    """A task: some series."""

    __slots__ = ("_cuts", "_known", "_root", "_runs", "_seeds")

    def __init__(self, runs: Runs, root: State, seeds: Sequence[int], cuts: Cuts, known: int) -> None:
        self._runs = runs
        self._root = root
        self._seeds = seeds
        self._cuts = cuts
        self._known = known  #: contents that every process has

    def __call__(self) -> tuple[Contents, list[Series]]:
        """The series and how they ended."""
        runs = self._runs
        found: list[Series] = []
        states: list[State] = []
        for seed in self._seeds:
            node, _ = walk(runs, self._root, seed=seed, cuts=self._cuts)
            series = _series(node)
            way = [runs.boot(state) for state in (self._root, *(state for _, state in series))]
            stray = next((op for run in way if (op := runs.stray_of(run)) is not None), None)
            outcome, end = final(way[-1])
            found.append((series, (outcome, end, stray)))
            states += [*(state for _, state in series), end]
        return Contents.of(runs, self._known, states), found


def _series(node: Node) -> list[tuple[Cut, State]]:
    found: list[tuple[Cut, State]] = []
    while node.parent is not None and node.cut is not None:
        found.append((node.cut, node.state))
        node = node.parent
    return found[::-1]


def walk(runs: Runs, root: State, *, seed: int, cuts: Cuts, longest: int = 8) -> tuple[Node, BootOutcome]:
    """One random series of cuts from a root, and how the boot after it ends."""
    chance = random.Random(seed)  # noqa: S311 - a draw, no secret
    closure = Closure(runs, Limits(cuts=cuts, seed=seed))
    node = Node(root, 0)
    for _ in range(chance.randint(1, longest)):
        run = runs.boot_in_full(node.state)
        total = len(operations(run))
        if not total:
            break
        after = chance.randrange(total)
        op, before = _operation(run, after)
        kind, lot, state = chance.choice(list(closure.left_behind(node, before, op)))
        node = Node(state, node.level + 1, node, Cut(after, kind, lot))
    return node, final(runs.boot(node.state))[0]


def _operation(run: Run, number: int) -> tuple[FlashOp, State]:
    """Operation `number` (from 0) of a whole boot, and the state before it."""
    for piece, skipped in stretches(run):
        inside = number + skipped
        if inside < len(piece.ops):
            return piece.ops[inside], piece.states[inside - 1] if inside else piece.start
        number -= len(piece.ops) - skipped
    raise IndexError(number)
