"""The graph that power cuts span: every flash content that a boot can be interrupted in, and what boots from it.

A node is a whole flash content. From a node the chip boots; power may be lost between any two operations, or inside
one, and the content left behind is the next node. The graph is closed over any number of cuts, in breadth-first order,
so that the first path to a node has the fewest cuts.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bootwright.boot.outcome import BootOutcome
from bootwright.boot.run import Run, State, Way, final, operations, runs_at_all, stretches
from bootwright.boot.runs import LONG, Runs
from bootwright.flash import Erase, FlashOp
from bootwright.host.explore_jobs import boot_ahead


class Cuts(StrEnum):
    """What may happen to the operation that a power cut falls on."""

    CLEAN = "clean"  #: it is not executed
    TORN = "torn"  #: or its first half is
    BITS = "bits"  #: or some of its bits are, drawn by lot


class Cut(NamedTuple):
    """One boot of a path that loses power."""

    after: int  #: operations that were executed
    kind: Cuts  #: what became of the next one
    lot: int = 0  #: which draw, for BITS


@dataclass(slots=True, eq=False)
class Node:
    """A flash content, and the shortest way to it."""

    state: State
    level: int  #: power cuts up to here
    parent: Node | None = None
    cut: Cut | None = None
    torn: int = 0  #: cuts on the way that fell inside an operation
    root: int = 0  #: which of the roots the way begins at

    def way(self) -> list[Cut]:
        """The cuts from the root to here."""
        cuts: list[Cut] = []
        node: Node | None = self
        while node is not None and node.cut is not None:
            cuts.append(node.cut)
            node = node.parent
        return cuts[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far the graph is followed."""

    cuts: Cuts = Cuts.CLEAN
    max_level: int | None = None  #: power cuts in a row; None: any number
    max_torn: int | None = None  #: of them inside an operation; None: any number
    max_states: int | None = None  #: found states after which no new ones are looked for
    max_spoilt: int | None = None  #: states found behind those that boot badly
    max_astray: int | None = None  #: states found behind those that boot well and lost something on the way
    draws: int = 2  #: for BITS: how many partial results of each operation
    seed: int = 0


Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Closure:
    """The nodes reachable from some roots."""

    runs: Runs
    limits: Limits
    jobs: int = 1  #: processes, where a boot tells nothing to the others
    nodes: dict[int, Node] = field(default_factory=dict)
    points: list[tuple[Cut, Node]] = field(default_factory=list)  #: every cut of the first root's boot
    operations: int = 0  #: of the model, in all
    torn: dict[tuple[int, int], list[int]] = field(default_factory=dict)  #: what cuts inside operations left behind
    stopped: bool = False  #: whether the limit of states was reached
    spoilt: list[Node] = field(default_factory=list)  #: that boot badly; their cuts are not followed yet
    left: int = 0  #: states that boot badly and whose cuts were not followed
    astray: list[Node] = field(default_factory=list)  #: that boot well and another way; followed behind all others
    left_astray: int = 0  #: of those: states whose cuts were not followed
    given_up: int = 0  #: states that were found and not booted when the limit was reached
    judge: Callable[[BootOutcome, State], Way] = runs_at_all
    _first: Node | None = None
    _visited: int = 0
    _walked: dict[tuple[int, bool], int] = field(default_factory=dict)

    def close(self, roots: Iterable[tuple[State, int]], progress: Progress | None = None) -> None:
        """Find every node; each root comes with the cuts that lie before it."""
        self.runs.judge = self.judge
        todo: deque[Node] = deque()
        for number, (state, level) in enumerate(roots):
            if state.fingerprint not in self.nodes:
                node = self.nodes[state.fingerprint] = Node(state, level, root=number)
                todo.append(node)
                self._first = self._first or node
                if not number:
                    self.runs.boot_root(state)
        roots_left = len(todo)
        while todo:
            node = todo.popleft()
            todo += self._visit(node)
            roots_left -= 1
            if not roots_left and self.limits.max_level == 1:
                self._boot_the_last(todo, progress)
            self._report(progress, todo)
            if self.limits.max_states is not None and len(self.nodes) >= self.limits.max_states:
                self._stop(todo)
        if not self.stopped:
            self._go_astray(progress)

    def _report(self, progress: Progress | None, todo: deque[Node]) -> None:
        if progress is not None and not self._visited & 0xFF:
            progress(len(self.nodes), len(todo))
        self._visited += 1

    def _go_astray(self, progress: Progress | None) -> None:
        """Follow what is behind states that boot well another way, as far as the limits go."""
        todo, self.astray = deque(self.astray), []
        limits, before = self.limits, len(self.nodes)
        if limits.max_level is not None or not todo:
            return
        if limits.max_astray is not None and 2 * self.longest_way > limits.max_astray:
            self.left_astray = len(todo)
            return
        self.runs.spare_nothing()
        self.runs.judge, self.runs.longest = self._bad_or_right, limits.max_astray or LONG
        while todo:
            full = limits.max_states is not None and len(self.nodes) >= limits.max_states
            if full or (limits.max_astray is not None and len(self.nodes) - before > limits.max_astray):
                self.left_astray = len(todo)
                break
            node = todo.popleft()
            run = self.runs.boot(node.state)
            self.operations += len(run.ops)
            if self.judge(*final(run)) is Way.BAD:
                self.spoilt.append(node)
            else:
                todo += self._children(node, self.runs.boot_in_full(node.state))
            self._report(progress, todo)
        self.runs.longest = LONG

    def _bad_or_right(self, outcome: BootOutcome, end: State) -> Way:
        way = self.judge(outcome, end)
        return Way.RIGHT if way is Way.ASTRAY else way

    def _boot_the_last(self, todo: Iterable[Node], progress: Progress | None) -> None:
        """After the only cut each boot goes its own way: several processes share them out."""

        def report(left: int) -> None:
            if progress is not None:
                progress(len(self.nodes), left)

        boot_ahead(self.runs, [node.state for node in todo], self.jobs, report)

    def _visit(self, node: Node) -> list[Node]:
        """Boot a node, and follow the cuts of one that boots well; `go_behind` follows those of the others."""
        run = self.runs.boot(node.state)
        self.operations += len(run.ops)
        if self._is_last(node):
            return []
        way = self.judge(*final(run))
        if way is Way.RIGHT:
            return self._children(node, self.runs.boot_in_full(node.state))
        (self.spoilt if way is Way.BAD else self.astray).append(node)
        return []

    def go_behind(self, progress: Progress | None = None) -> list[Node]:
        """Follow the cuts of states that boot badly, and of whatever lies behind them: the nodes that are new."""
        todo, self.spoilt = deque(self.spoilt), []
        most = self.limits.max_spoilt
        fresh: list[Node] = []
        while todo:
            if self.stopped or (most is not None and len(fresh) >= most):
                self.left += len(todo)
                break
            node = todo.popleft()
            run = self.runs.boot_in_full(node.state)
            self.operations += len(run.ops)
            found = self._children(node, run)
            if most is not None:
                self._forget(found, keep=max(most - len(fresh), 0))
            fresh += found
            todo.extend(found)
            self._report(progress, todo)
        return fresh

    def _forget(self, found: list[Node], *, keep: int) -> None:
        """Leave what was found beyond a limit."""
        for node in found[keep:]:
            self.nodes.pop(node.state.fingerprint, None)
        self.left += len(found[keep:])
        del found[keep:]

    @property
    def longest_way(self) -> int:
        """Operations of the first root's boot."""
        return 0 if self._first is None else len(operations(self.runs.boot_root(self._first.state)))

    def _is_last(self, node: Node) -> bool:
        limits = self.limits
        if self.stopped and node.level >= 1:
            return True
        return limits.max_level is not None and node.level >= limits.max_level

    def _stop(self, todo: deque[Node]) -> None:
        """The limit is reached: every single cut is still booted, states behind further cuts are given up."""
        if self.stopped:
            return
        self.stopped = True
        later = [node for node in todo if node.level > 1]
        self.given_up = len(later)
        for node in later:
            del self.nodes[node.state.fingerprint]
        near = [node for node in todo if node.level <= 1]
        todo.clear()
        todo.extend(near)

    def outcome(self, node: Node) -> tuple[BootOutcome, State]:
        """How the node boots without a further cut."""
        return final(self.runs.boot(node.state))

    def _children(self, node: Node, run: Run) -> list[Node]:
        """New nodes of one boot; what another boot went through already is not gone through again."""
        fresh: list[Node] = []
        executed = 0
        tears = self._may_tear(node)
        for piece, skipped in stretches(run):
            known = self._walked.get((id(piece), tears))
            end = len(piece.ops) if known is None or node is self._first else known
            if known is None or skipped < known:
                self._walked[id(piece), tears] = skipped
            before = piece.states[skipped - 1] if skipped else piece.start
            for index in range(skipped, max(end, skipped)):
                op, after = piece.ops[index], piece.states[index]
                for kind, lot, state in self.left_behind(node, before, op):
                    if kind is not Cuts.CLEAN:
                        self.torn.setdefault((id(piece), index), []).append(state.fingerprint)
                    found = self._node(node, Cut(executed, kind, lot), state, fresh)
                    if node is self._first:
                        self.points.append((Cut(executed, kind, lot), found))
                before = after
                executed += 1
            if end < len(piece.ops):
                break
        return fresh

    def _node(self, parent: Node, cut: Cut, state: State, fresh: list[Node]) -> Node:
        torn = parent.torn + (cut.kind is not Cuts.CLEAN)
        node = self.nodes.get(state.fingerprint)
        if node is None:
            node = self.nodes[state.fingerprint] = Node(state, parent.level + 1, parent, cut, torn, parent.root)
            fresh.append(node)
        elif self.limits.max_torn is not None and torn < node.torn:
            node.level, node.parent, node.cut, node.torn, node.root = parent.level + 1, parent, cut, torn, parent.root
            fresh.append(node)
        return node

    def _may_tear(self, node: Node) -> bool:
        limits = self.limits
        return limits.cuts is not Cuts.CLEAN and (limits.max_torn is None or node.torn < limits.max_torn)

    def left_behind(self, node: Node, before: State, op: FlashOp) -> Iterator[tuple[Cuts, int, State]]:
        """What a cut at `op` can leave behind."""
        yield Cuts.CLEAN, 0, before
        if not self._may_tear(node):
            return
        limits, flash = self.limits, self.runs.flash
        if limits.cuts is Cuts.TORN:
            self.runs.enter(before)
            flash.apply_torn(op)
            yield Cuts.TORN, 0, self.runs.state()
            return
        for lot in range(limits.draws):
            self.runs.enter(before)
            apply_some_bits(self.runs, op, seed=limits.seed + lot)
            yield Cuts.BITS, lot, self.runs.state()


def apply_some_bits(runs: Runs, op: FlashOp, *, seed: int) -> None:
    """Some bits of a write were programmed, or some bits of an erase already read 1; the same lot, the same bits."""
    flash = runs.flash
    address = op.address
    length = op.length if isinstance(op, Erase) else len(op.data)
    chance = random.Random(f"{seed} {address} {length} {flash.fingerprint}")  # noqa: S311 - a draw, no secret
    old = int.from_bytes(flash.raw_at(address, length), "little")
    some = chance.getrandbits(8 * length)
    if isinstance(op, Erase):
        new = old | some
    else:
        new = old & (int.from_bytes(flash.stored(op), "little") | some)
    flash.load(address, new.to_bytes(length, "little"))
