"""The rehearsal as a whole, and how fast the door opens, beside imgtool."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from harness import compare, process, report


def main() -> None:
    """Compare whole processes."""
    beside = Path(sys.executable).parent / "imgtool"
    imgtool = str(beside) if beside.exists() else shutil.which("imgtool")
    if imgtool is None:
        sys.exit("imgtool is not installed here")
    ours = [sys.executable, "-m", "bootwright"]
    report(
        [
            compare(
                "--help", process([*ours, "--help"]), "imgtool", process([imgtool, "--help"]), target="1.0 or less"
            ),
            compare(
                "built-in rehearsal, 18 steps",
                process([*ours, "rehearse"]),
                "imgtool --help",
                process([imgtool, "--help"]),
                target="under 5 s",
                runs=5,
            ),
        ]
    )


if __name__ == "__main__":
    main()
