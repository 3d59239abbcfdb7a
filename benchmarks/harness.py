"""Measuring two things side by side in one run: figures are ratios of medians, never absolute times alone."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One comparison: medians in seconds, their ratio, and the target it is held against."""

    work: str
    ours_s: float
    peer: str
    peer_s: float
    ratio: float  #: ours / peer
    target: str

    def row(self) -> str:
        """A row of the Markdown table in the docs."""
        ours, theirs = f"{self.ours_s * 1e3:.1f} ms", f"{self.peer_s * 1e3:.1f} ms"
        return f"| {self.work} | {ours} | {self.peer} {theirs} | {self.ratio:.2f} | {self.target} |"


def process(command: Sequence[str], *, cwd: Path | None = None) -> Callable[[], None]:
    """A whole process, start-up included; a failing one stops the benchmark."""

    def once() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd)

    return once


def seconds(once: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    once()
    return time.perf_counter() - start


def compare(
    work: str, ours: Callable[[], object], peer: str, theirs: Callable[[], object], *, target: str, runs: int = 7
) -> Figure:
    """Run both in turn, warm, and compare their medians."""
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(runs)]
    mine = statistics.median(a for a, _ in pairs)
    other = statistics.median(b for _, b in pairs)
    return Figure(work, mine, peer, other, mine / other, target)


def report(figures: Sequence[Figure]) -> None:
    """Print the table, or JSON with `--json`."""
    if "--json" in sys.argv:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
        return
    print("| work | ours | peer | ratio | target |\n|---|---|---|---|---|")
    for figure in figures:
        print(figure.row())
