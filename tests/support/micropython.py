"""MicroPython's WebAssembly build under Node: the same interpreter as on a board, without the board."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from tests.support.peers import ROOT, Ran

PACKAGE = "@micropython/micropython-webassembly-pyscript"
OLDEST, NEWEST = "1.22.0-224", "1.29.0-6"
SMP = ROOT / "src" / "bootwright" / "smp"


@cache
def interpreter(version: str) -> Path:
    """The interpreter's module, fetched once a machine; skips the test where Node or npm is missing."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed here: MicroPython's WebAssembly build needs it")
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache_home / "bootwright" / f"micropython-{version}"
    module = folder / "node_modules" / PACKAGE / "micropython.mjs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not module.exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"{PACKAGE}@{version}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode or not module.exists():
                pytest.skip(f"npm cannot fetch {PACKAGE}@{version} here: {done.stderr.strip().splitlines()[-1:]}")
    return module


def run_micropython(
    script: Path,
    *argv: str,
    version: str = NEWEST,
    folders: dict[str, Path] | None = None,
    descriptors: tuple[int, ...] = (),
    timeout_s: float = 60,
) -> Ran:
    """Run a script to its end; `bootwright.smp` is importable there as `smp`, as on a board."""
    command = micropython_command(script, *argv, version=version, folders=folders)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, pass_fds=descriptors, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def micropython_command(
    script: Path, *argv: str, version: str = NEWEST, folders: dict[str, Path] | None = None
) -> list[str]:
    """The command line that runs a script under MicroPython."""
    mounted = {"/smp": SMP, **(folders or {})}
    wish = {"folders": {at: str(path) for at, path in mounted.items()}, "script": str(script), "argv": list(argv)}
    runner = Path(__file__).with_suffix(".mjs")
    return ["node", str(runner), str(interpreter(version)), json.dumps(wish)]
