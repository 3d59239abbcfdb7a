"""Virtual chips on a pty: esptool's whole processes, against esptool's own start-up and against rates."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Figure, compare, process, report, seconds

ESPTOOL = str(Path(sys.executable).parent / "esptool")
SIZE = 4 << 20


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """An ESP32-C3 on a pty; the port, and the server's process."""
    bootwright = [sys.executable, "-m", "bootwright", "chip"]
    subprocess.run([*bootwright, "new", "esp32c3", "--flash", "8MB", "c3"], cwd=folder, check=True)
    with subprocess.Popen([*bootwright, "serve", "c3"], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline() if server.stdout else ""
        yield line.split()[-1], server.pid
        server.send_signal(signal.SIGINT)


def firmware_like() -> bytes:
    """4 MiB that halve under compression."""
    draw = random.Random(1)
    return b"".join(draw.randbytes(31) + bytes(33) for _ in range(SIZE // 64))


def rate(work: str, command: list[str], target: float, version_s: float) -> Figure:
    """Seconds for 4 MiB, esptool's start-up apart, against the seconds that the target allows."""
    took = min(seconds(process(command)) for _ in range(3)) - version_s
    return Figure(work, took, f"{target} MB/s", SIZE / target / 1e6, took / (SIZE / target / 1e6), "≤ 1.00")


def share(work: str, command: list[str], server: int) -> Figure:
    """Processor time of the server against esptool's, which a busy machine does not change much."""
    ours, theirs = _cpu_s(f"/proc/{server}/stat", 13), _children_s()
    process(command)()
    ours, theirs = _cpu_s(f"/proc/{server}/stat", 13) - ours, _children_s() - theirs
    return Figure(work, ours, "esptool", theirs, ours / theirs, "≤ 0.10")


def _cpu_s(stat: str, at: int) -> float:
    ticks = Path(stat).read_text().rsplit(")", 1)[1].split()[at - 2 : at]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "random.bin").write_bytes(os.urandom(SIZE))
        (folder / "firmware.bin").write_bytes(firmware_like())
        with served(folder) as (port, server):
            esptool = [ESPTOOL, "--chip", "esp32c3", "--port", port]
            version = process([ESPTOOL, "version"])
            figures = [
                compare("flash-id", process([*esptool, "flash-id"]), "esptool version", version, target="+0.12 s")
            ]
            start_s = figures[0].peer_s
            for work, words, target in (
                ("write 4 MiB that halve", ["write-flash", "-p", "0", str(folder / "firmware.bin")], 2.0),
                ("write 4 MiB, random", ["write-flash", "-p", "0", str(folder / "random.bin")], 1.0),
                ("read 4 MiB", ["read-flash", "-p", "0", str(SIZE), str(folder / "back.bin")], 1.0),
            ):
                figures.append(rate(work, [*esptool, *words], target, start_s))
                figures.append(share(f"{work}: processor time of the server", [*esptool, *words], server))
    report(figures)


if __name__ == "__main__":
    main()
