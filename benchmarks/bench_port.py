"""Virtual chips on a pty: esptool's whole processes, against esptool's own start-up and against rates."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import Figure, compare, process, report, seconds

ESPTOOL = str(Path(sys.executable).parent / "esptool")
SIZE = 4 << 20


@dataclass(frozen=True, slots=True)
class Start:
    """What esptool takes to start, on the wall and of a processor."""

    wall_s: float
    cpu_s: float


@contextmanager
def served(folder: Path, *names: str) -> Iterator[tuple[list[str], int]]:
    """ESP32-C3s on ptys; their ports, and the server's process."""
    bootwright = [sys.executable, "-m", "bootwright", "chip"]
    subprocess.run([*bootwright, "new", "esp32c3", "--flash", "8MB", names[0]], cwd=folder, check=True)
    for name in names[1:]:
        shutil.copy(folder / f"{names[0]}.chip", folder / f"{name}.chip")
    with subprocess.Popen([*bootwright, "serve", *names], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        lines = [server.stdout.readline() if server.stdout else "" for _ in names]
        yield [line.split()[3] for line in lines], server.pid
        server.send_signal(signal.SIGINT)


def firmware_like() -> bytes:
    """4 MiB that halve under compression."""
    draw = random.Random(1)
    return b"".join(draw.randbytes(31) + bytes(33) for _ in range(SIZE // 64))


def transfer(work: str, command: list[str], target: float, server: int, start: Start) -> list[Figure]:
    """Seconds for 4 MiB, esptool's start-up apart: on the wall, and of both processors, against what `target` allows.

    A busy machine delays every answer; processor time it changes little. The server's share is what is ours to change.
    """
    once = process(command)
    before = _children_s(), _cpu_s(f"/proc/{server}/stat", 13)
    wall = seconds(once) - start.wall_s
    theirs, ours = _children_s() - before[0], _cpu_s(f"/proc/{server}/stat", 13) - before[1]
    allowed = SIZE / target / 1e6
    both = theirs + ours - start.cpu_s
    return [
        Figure(f"{work}, on the wall", wall, f"{target} MB/s", allowed, wall / allowed, "≤ 1.00"),
        Figure(f"{work}, processor time of both", both, f"{target} MB/s", allowed, both / allowed, "≤ 1.00"),
        Figure(f"{work}, processor time of the server", ours, "esptool", theirs, ours / theirs, "≤ 0.10"),
    ]


def _cpu_s(stat: str, at: int) -> float:
    ticks = Path(stat).read_text().rsplit(")", 1)[1].split()[at - 2 : at]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def start_up() -> Start:
    """What `esptool version` takes: the same work before anything is sent."""
    version = process([ESPTOOL, "version"])
    before = _children_s()
    wall = min(seconds(version) for _ in range(3))
    return Start(wall, (_children_s() - before) / 3)


def many(folder: Path) -> Figure:
    """The last of fifty chips in one process, beside a chip alone."""
    with served(folder, *(f"chip{at}" for at in range(50))) as (fifty, _), served(folder, "alone") as (one, _):
        last, alone = (
            process([ESPTOOL, "--chip", "esp32c3", "--port", port, "flash-id"]) for port in (fifty[-1], one[0])
        )
        return compare("flash-id, one of 50 chips", last, "a chip alone", alone, target="≤ 1.10")


def main() -> None:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "random.bin").write_bytes(os.urandom(SIZE))
        (folder / "firmware.bin").write_bytes(firmware_like())
        with served(folder, "c3") as ((port,), server):
            esptool = [ESPTOOL, "--chip", "esp32c3", "--port", port]
            version = process([ESPTOOL, "version"])
            figures = [
                compare("flash-id", process([*esptool, "flash-id"]), "esptool version", version, target="+0.12 s")
            ]
            start = start_up()
            for work, words, target in (
                ("write 4 MiB that halve", ["write-flash", "-p", "0", str(folder / "firmware.bin")], 2.0),
                ("write 4 MiB, random", ["write-flash", "-p", "0", str(folder / "random.bin")], 1.0),
                ("read 4 MiB", ["read-flash", "-p", "0", str(SIZE), str(folder / "back.bin")], 1.0),
            ):
                figures += transfer(work, [*esptool, *words], target, server, start)
        figures.append(many(folder))
    report(figures)


if __name__ == "__main__":
    main()
