"""Uploads beside the peers': unthrottled, over a paced wire, over a wire that loses lines; and a whole process.

`python benchmarks/bench_smp.py [fast|paced|loss|list …] [--json]`; each client is a process of its own on the same
server. `paced` takes about ten minutes: three uploads a client at real baud rates.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Figure, compare, process, report

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "PYTHONUNBUFFERED": "1"}

OURS = """
import sys, time
from bootwright.host.smp import Session
from bootwright.smp.upload import Upload
data = open(sys.argv[2], "rb").read()
with Session.open(sys.argv[1]) as session:
    session.negotiate()
    def read_into(offset, view):
        view[:] = data[offset:offset + len(view)]
    start = time.perf_counter()
    session.run(Upload(session.link, read_into, len(data)).run())
    print(time.perf_counter() - start)
"""
SMPCLIENT = """
import asyncio, sys, time
from smpclient import SMPClient
from smpclient.transport.serial import SMPSerialTransport
async def main():
    client = SMPClient(SMPSerialTransport(), sys.argv[1])
    await client.connect()
    data = open(sys.argv[2], "rb").read()
    start = time.perf_counter()
    async for _ in client.upload(data):
        pass
    print(time.perf_counter() - start)
    await client.disconnect()
asyncio.run(main())
"""
TOOLKIT = """
import sys, time
from mcumgr_toolkit import MCUmgrClient
client = MCUmgrClient.serial(sys.argv[1])
client.set_timeout_ms(int(sys.argv[3]))
client.set_retries(20)
try:
    client.use_auto_frame_size()
except Exception:
    pass
data = open(sys.argv[2], "rb").read()
start = time.perf_counter()
client.image_upload(data)
print(time.perf_counter() - start)
"""
CLIENTS = {"bootwright": OURS, "smpclient": SMPCLIENT, "mcumgr-toolkit": TOOLKIT}
FAILED = float("inf")


def upload(client: str, port: str, size: int, timeout_ms: int = 2000) -> float:
    """Seconds of one upload; infinite if the client gives up."""
    with tempfile.NamedTemporaryFile() as image:
        image.write(os.urandom(size))
        image.flush()
        command = [sys.executable, "-c", CLIENTS[client], port, image.name, str(timeout_ms)]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=600, check=False)
    return float(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.strip() else FAILED


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """A server; the last word of its first line is where it listens."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()


@contextmanager
def board(*, recovery: bool) -> Iterator[str]:
    """A neighbour with room for large images."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "board.neighbour")
        making = ["-m", "bootwright", "neighbour", "new", file, "--flash-size", "0x200000", "--slot-size", "0xc0000"]
        subprocess.run([sys.executable, *making], check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        more = ["--recovery"] if recovery else []
        with serving("-m", "bootwright", "neighbour", "serve", file, *more) as port:
            yield port


def figures_of(
    work: str, port: str, size: int, targets: dict[str, str], *, runs: int, timeout_ms: int = 2000
) -> list[Figure]:
    """Our upload beside each peer's, run in turn."""
    seconds: dict[str, list[float]] = {client: [] for client in CLIENTS}
    for _ in range(runs):
        for client in CLIENTS:
            seconds[client].append(upload(client, port, size, timeout_ms))
    medians = {client: statistics.median(times) for client, times in seconds.items()}
    ours = medians["bootwright"]
    return [
        Figure(
            f"{work} ({size / 1024 / ours:.1f} KiB/s)", ours, peer, medians[peer], ours / medians[peer], targets[peer]
        )
        for peer in CLIENTS
        if peer != "bootwright"
    ]


def fast() -> list[Figure]:
    """512 KiB to recovery, nothing throttled, buffer 1024."""
    targets = {"smpclient": "≤ 0.05", "mcumgr-toolkit": "≤ 1.67 (aim 1.25)"}
    with board(recovery=True) as port:
        return figures_of("upload 512 KiB", port, 512 << 10, targets, runs=5)


def paced() -> list[Figure]:
    """128 KiB over a real line rate with real flash times."""
    rows = []
    for profile in ("zephyr", "espressif"):
        for baud in ("115200", "921600"):
            with serving(str(ROOT / "benchmarks" / "smp_device.py"), profile, baud, "0") as port:
                targets = {"smpclient": "< 1", "mcumgr-toolkit": "< 1"}
                rows += figures_of(f"128 KiB, {profile} at {baud}", port, 128 << 10, targets, runs=3)
    return rows


def loss() -> list[Figure]:
    """256 KiB with 1 % of the lines lost in each direction."""
    with serving(str(ROOT / "benchmarks" / "smp_device.py"), "zephyr", "0", "0.01") as port:
        targets = {"smpclient": "completes", "mcumgr-toolkit": "≤ 1.25"}
        return figures_of("256 KiB, 1 % of lines lost", port, 256 << 10, targets, runs=3, timeout_ms=300)


def listing() -> list[Figure]:
    """`image list` as a whole process."""
    bin_dir = Path(sys.executable).parent
    with board(recovery=True) as port:
        ours = process([str(bin_dir / "python"), "-m", "bootwright", "smp", "image", "list", "-p", port])
        theirs = process([str(bin_dir / "smpmgr"), "--port", port, "image", "state-read"])
        return [compare("`smp image list`, whole process", ours, "smpmgr", theirs, target="≤ 0.5", runs=5)]


WORK = {"fast": fast, "list": listing, "loss": loss, "paced": paced}

if __name__ == "__main__":
    os.environ["PYTHONPATH"] = ENVIRONMENT["PYTHONPATH"]
    wanted = [word for word in sys.argv[1:] if word in WORK] or ["fast", "list", "loss"]
    report([figure for name in wanted for figure in WORK[name]()])
