"""The field's own tools, run as separate processes; and ours, run the same way."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a process ended."""

    code: int
    out: str
    err: str
    raw: bytes = field(default=b"", repr=False, compare=False)  #: stdout before it was read as text


def peer_path(name: str) -> str:
    """The executable of a peer, beside this Python or on the PATH; skips the test where there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here (pip install -e '.[dev]' brings the Python peers)")
    return found


def run_peer(
    name: str, *arguments: str | Path, stdin: str = "", timeout_s: float = 120, cwd: Path | None = None
) -> Ran:
    """Run a peer to its end."""
    return _run([peer_path(name), *map(str, arguments)], stdin, timeout_s, cwd)


def run_bootwright(*arguments: str | Path, stdin: str = "", timeout_s: float = 120, cwd: Path | None = None) -> Ran:
    """Run our own command line in a process of its own."""
    return _run([sys.executable, "-m", "bootwright", *map(str, arguments)], stdin, timeout_s, cwd)


def _run(command: list[str], stdin: str, timeout_s: float, cwd: Path | None) -> Ran:
    source = str(ROOT / "src")
    path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run(
        command,
        input=stdin.encode(),
        capture_output=True,
        timeout=timeout_s,
        cwd=cwd,
        env=environment,
        check=False,
    )
    return Ran(done.returncode, _text(done.stdout), _text(done.stderr), done.stdout)


def _text(said: bytes) -> str:
    """As a terminal shows it: a carriage return ends a line, too."""
    return io.TextIOWrapper(io.BytesIO(said), "utf-8", errors="replace").read()
