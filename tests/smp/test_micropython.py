"""The same scripts on CPython and on MicroPython must print the same."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.micropython import NEWEST, OLDEST, SMP, run_micropython
from tests.support.smp_served import served, signed_build

SCRIPTS = Path(__file__).parent / "scripts"


def run_cpython(script: Path) -> str:
    code = f"import sys; sys.path.insert(0, {str(SMP.parent)!r}); exec(open({str(script)!r}).read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", ["frames.py", "upload.py"])
def test_a_script_prints_the_same_on_both(name: str, version: str) -> None:
    ran = run_micropython(SCRIPTS / name, version=version)
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.out
    assert ran.out == run_cpython(SCRIPTS / name)


@pytest.mark.parametrize("module", sorted(path.stem for path in SMP.glob("*.py")))
def test_every_module_has_its_types_beside_it_and_imports_nothing_that_a_board_lacks(module: str) -> None:
    source = (SMP / f"{module}.py").read_text()
    assert (SMP / f"{module}.pyi").exists() or module == "__init__"
    allowed = {"struct", "binascii", "array", "time", "collections"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert node.level or node.module in allowed


def unix_port() -> str:
    """MicroPython's unix port, where somebody has built it."""
    found = os.environ.get("BOOTWRIGHT_MICROPYTHON") or shutil.which("micropython")
    if found is None:
        pytest.skip("MicroPython's unix port is not here (set BOOTWRIGHT_MICROPYTHON); under Node a heap has no limit")
    return found


@pytest.mark.parametrize("profile", ["zephyr", "espressif"])
def test_an_upload_under_a_small_heap_keeps_to_its_buffers(tmp_path: Path, profile: str) -> None:
    (tmp_path / "smp").symlink_to(SMP)
    grown = []
    for size in (50_000, 200_000):
        with served(signed_build(profile=profile), pin=True) as ports:
            done = subprocess.run(
                [unix_port(), "-X", "heapsize=160k", str(SCRIPTS / "small_heap.py"), ports.pty, str(size)],
                capture_output=True,
                text=True,
                timeout=60,
                env={"MICROPYPATH": str(tmp_path)},
                check=False,
            )
        assert done.returncode == 0, done.stdout + done.stderr
        numbers = {key: int(value) for key, value in re.findall(r"(buffers|grown by|kept) (\d+)", done.stdout)}
        assert numbers["buffers"] + numbers["grown by"] < 16 << 10
        grown.append(numbers["grown by"])
    assert grown[1] - grown[0] < 1024, "nothing is allocated in the upload's loop, or it would grow with the image"
