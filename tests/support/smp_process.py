"""A virtual board as its users have it: made and served by our command line, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.peers import ROOT, run_bootwright
from tests.support.smp_served import board_key, signed


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a served board listens."""

    pty: str
    tcp: str
    udp: str

    @property
    def udp_port(self) -> int:
        """The number of the UDP port."""
        return int(self.udp.rpartition(":")[2])


@contextmanager
def board_process(folder: Path, *options: str, version: str = "1.0.0", recovery: bool = False) -> Iterator[Ports]:
    """Make a board with an image and serve it until the end."""
    key, image, board = folder / "key.pem", folder / "first.bin", folder / "board.neighbour"
    key.write_bytes(board_key().public.pem)
    making = ["neighbour", "new", str(board), "--force", "--key", str(key), *options]
    if version:
        image.write_bytes(signed(version))
        making += ["--image", str(image)]
    assert run_bootwright(*making).code == 0
    command = [sys.executable, "-m", "bootwright", "neighbour", "serve", str(board)]
    command += ["--uart", "pty", "--uart", "tcp:0", "--udp", "0", *(["--recovery"] if recovery else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        yield Ports(*(process.stdout.readline().split()[-1] for _ in range(3)))
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
