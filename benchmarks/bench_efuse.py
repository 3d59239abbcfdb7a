"""eFuse work against espefuse, whole processes: `python benchmarks/bench_efuse.py [--json]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from harness import compare, process, report

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.chips.snapshots import virtual
from bootwright.host.efuse_file import store_efuses

TARGET = "≤ 1"


def main() -> None:
    """Measure reading and burning one chip."""
    ours = [sys.executable, "-m", "bootwright", "efuse"]
    with tempfile.TemporaryDirectory() as folder:
        state, file = Path(folder) / "state.json", Path(folder) / "efuses.bin"
        blank = Efuses.blank(load_chip("esp32c3"))
        store_efuses(state, blank)
        file.write_bytes(virtual(blank))
        theirs = [
            str(Path(sys.executable).parent / "espefuse"),
            *("--chip", "esp32c3", "--virt", "--path-efuse-file", str(file), "--do-not-confirm"),
        ]
        work = [
            ("eFuse summary", [*ours, "summary", str(state)], [*theirs, "summary"]),
            (
                "eFuse summary as JSON",
                [*ours, "summary", str(state), "--json"],
                [*theirs, "summary", "--format", "json"],
            ),
            (
                "burn one field",
                [*ours, "burn-efuse", str(state), "DIS_TWAI", "1", "--yes"],
                [*theirs, "burn-efuse", "DIS_TWAI", "1"],
            ),
        ]
        report([compare(name, process(mine), "espefuse", process(peer), target=TARGET) for name, mine, peer in work])


if __name__ == "__main__":
    main()
