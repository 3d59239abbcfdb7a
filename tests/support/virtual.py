"""Virtual chips served by a process of their own, for tools to talk to."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.peers import ROOT, Ran, run_bootwright, run_peer

from bootwright.chips.chip import load_chip
from bootwright.sim.chip_file import create_chip_file, open_chip_file
from bootwright.sim.factory import factory_efuses


@dataclass(frozen=True, slots=True)
class ServedChip:
    """A chip behind a port."""

    name: str
    port: str
    directory: Path
    process: int

    def esptool(self, *arguments: str | Path, timeout_s: float = 120) -> Ran:
        """Run esptool on it."""
        return run_peer("esptool", "--port", self.port, *arguments, cwd=self.directory, timeout_s=timeout_s)

    def espefuse(self, *arguments: str | Path, timeout_s: float = 120) -> Ran:
        """Run espefuse on it, without its question."""
        return run_peer(
            "espefuse", "--port", self.port, "--do-not-confirm", *arguments, cwd=self.directory, timeout_s=timeout_s
        )

    def efuses(self) -> dict[str, object]:
        """What espefuse reads of every field."""
        ran = self.espefuse("summary", "--format", "json")
        assert ran.code == 0, ran.err
        summary = json.loads(ran.out[ran.out.index("{") :])
        return {name: row["value"] for name, row in summary.items()}

    def switch(self, verb: str, *words: str) -> Ran:
        """Handle one of its switches."""
        return run_bootwright("chip", verb, self.name, *words, cwd=self.directory)


def make_chip(directory: Path, model: str, *, name: str = "chip", flash: str = "4MB") -> str:
    """A new chip in `directory`."""
    ran = run_bootwright("chip", "new", model, "--flash", flash, name, cwd=directory)
    assert ran.code == 0, ran.err
    return name


@contextmanager
def served(directory: Path, *names: str, options: tuple[str, ...] = ("--pty",)) -> Iterator[list[ServedChip]]:
    """Serve existing chips until the block ends, then check that the server saved and left in peace."""
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, "-m", "bootwright", "chip", "serve", *names, *options],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            chips = []
            for name in names:
                line = server.stdout.readline()
                found = re.match(r"uart0 listening on (\S+)", line)
                assert found is not None, f"{line}{server.stderr.read() if server.stderr else ''}"
                chips.append(ServedChip(name, found[1], directory, server.pid))
            yield chips
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=20)
    assert server.returncode in (0, -signal.SIGKILL), errors


@contextmanager
def new_served_chip(
    directory: Path, model: str, *, burned: Mapping[str, int | bytes] | None = None
) -> Iterator[ServedChip]:
    """Make one chip with these eFuses burned, and serve it on a pty."""
    create_chip_file(directory / "chip.chip", factory_efuses(load_chip(model), mac=b"\x24\x0a\xc4\1\2\3"), 4 << 20)
    if burned:
        with open_chip_file(directory / "chip.chip") as file:
            file.save(replace(file.state, efuses=file.state.efuses.burn_fields(burned).latched()))
    with served(directory, "chip") as chips:
        yield chips[0]
