"""Work of an exploration in several processes: forked, so that nothing is sent to them and only results come back.

A worker has everything that was explored before it began, and takes one task after another. What the tasks return is
put together in the order of the tasks, so that it does not depend on how many workers there were.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bootwright.boot.outcome import BootOutcome
from bootwright.boot.run import State, final
from bootwright.boot.runs import Runs
from bootwright.errors import BootwrightError
from bootwright.flash import FlashOp

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")

MOST = 4  #: processes unless asked for more; each has a memory of its own
WORTH = 2048  #: boots below which a process costs more than it saves
REMEDIES_WORTH = 500  #: states of an exploration below which its remedies are not worth a process either
PIECE = 256  #: boots that a worker takes at once; neighbours have most in common
_WIDTH = 4  #: bytes of a task's number
_MOST_TASKS = 4096  #: whose numbers fit a pipe

#: how a boot ended, in which state, and what it did outside of the slots and scratch
Ended = tuple[BootOutcome, State, FlashOp | None]


class Contents(NamedTuple):
    """What another process calls the contents that it came by."""

    known: int  #: numbers below this one are the same in every process
    blobs: dict[int, bytes]  #: the others

    @classmethod
    def of(cls, runs: Runs, known: int, states: Iterable[State]) -> Contents:
        """The contents of some states."""
        pages = {page for state in states for page in state.pages}
        used = {number for page in pages for number in page if number >= known}
        return cls(known, {number: runs.flash.contents.blobs[number] for number in sorted(used)})

    def translate(self, runs: Runs) -> Callable[[State], State]:
        """What turns a state of the other process into one of this process."""
        numbers = {number: runs.flash.contents.number(blob) for number, blob in self.blobs.items()}
        same: dict[tuple[int, ...], tuple[int, ...]] = {}

        def page_here(page: tuple[int, ...]) -> tuple[int, ...]:
            if page not in same:
                same[page] = tuple(numbers.get(number, number) for number in page)
            return same[page]

        return lambda state: State(tuple(map(page_here, state.pages)), state.fingerprint)


def usable_cores() -> int:
    """How many processes there are when nobody says."""
    if sys.platform != "linux":
        return 1
    return max(1, min(MOST, len(os.sched_getaffinity(0))))


def in_processes(tasks: Sequence[Callable[[], T]], jobs: int) -> Iterator[T]:
    """What each task returns, in their order; in this process if there is nothing to share out.

    Raises:
        BootwrightError: a worker was ended from outside.
        Exception: whatever a task raised; the other workers are ended.
    """
    workers = min(jobs, len(tasks))
    if workers < 2 or not hasattr(os, "fork"):
        yield from (task() for task in tasks)
        return
    from multiprocessing import get_context

    context = get_context("fork")
    pipes, processes = [], []
    numbers, fill = os.pipe()
    os.write(fill, b"".join(number.to_bytes(_WIDTH, "big") for number in range(len(tasks))))
    os.close(fill)
    try:
        with _interrupts_wait():
            for _ in range(workers):
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(there, numbers, tasks), daemon=True)
                process.start()
                there.close()
                pipes.append(here)
                processes.append(process)
        yield from _in_order(pipes, len(tasks))
    finally:
        os.close(numbers)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """An interrupt is taken up only when all workers are known: one that has just begun would never be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if came:
        signal.raise_signal(signal.SIGINT)


def _in_order(pipes: list[Connection], total: int) -> Iterator[T]:
    """Results as soon as all those before them are there."""
    from multiprocessing.connection import Connection, wait

    early: dict[int, T] = {}
    due = 0
    while due < total:
        for pipe in wait(pipes):
            assert isinstance(pipe, Connection)  # wait returns what it was given
            try:
                number, result, error = pipe.recv()
            except EOFError:
                pipes.remove(pipe)
                continue
            if error is not None:
                raise error
            early[number] = result
        while due in early:
            yield early.pop(due)
            due += 1
        if not pipes and due < total:
            raise BootwrightError(
                "found a process of the exploration ended from outside, expected its result",
                "give --jobs 1: one process needs less memory",
            )


def _work(pipe: Connection, numbers: int, tasks: Sequence[Callable[[], object]]) -> None:
    """A worker's life: the numbers of the tasks come out of a pipe that all workers read, each number once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(BrokenPipeError):
        while read := os.read(numbers, _WIDTH):
            number = int.from_bytes(read, "big")
            try:
                result = tasks[number]()
            except Exception as error:  # whatever it is, the parent raises it
                pipe.send((number, None, error))
                return
            pipe.send((number, result, None))


def boot_ahead(runs: Runs, states: Sequence[State], jobs: int, progress: Callable[[int], None]) -> None:
    """Boot states in several processes and note how each boot ends; joins must be exact, so that the ends are.

    `progress` is told how many states are left.
    """
    if jobs < 2 or runs.reduced or len(states) < WORTH:
        return
    known = len(runs.flash.contents.blobs)
    piece = max(PIECE, -(-len(states) // _MOST_TASKS))
    tasks = [_Boots(runs, states[at : at + piece], known) for at in range(0, len(states), piece)]
    at = 0
    for contents, ends in in_processes(tasks, jobs):
        here = contents.translate(runs)
        for outcome, end, stray in ends:
            runs.adopt(states[at], outcome, here(end), stray)
            at += 1
        progress(len(states) - at)


class _Boots:
    """A task: some states to boot."""

    __slots__ = ("_known", "_runs", "_states")

    def __init__(self, runs: Runs, states: Sequence[State], known: int) -> None:
        self._runs = runs
        self._states = states
        self._known = known  #: contents that every process has

    def __call__(self) -> tuple[Contents, list[Ended]]:
        """How the boots ended."""
        runs = self._runs
        ends: list[Ended] = []
        for state in self._states:
            run = runs.boot(state)
            outcome, end = final(run)
            ends.append((outcome, end, runs.stray_of(run)))
        return Contents.of(runs, self._known, (end for _, end, _ in ends)), ends
