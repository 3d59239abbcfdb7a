"""A device with a paced wire, line buffers and flash times, on a pty in real time; for the upload benchmarks.

`python benchmarks/smp_device.py zephyr|espressif BAUD LOSS` prints the path of the pty and serves until it is killed.
LOSS is the probability that a line is lost, in each direction. The model is tests/support/smp_line.py.
"""

from __future__ import annotations

import os
import random
import select
import sys
import time
import tty
from dataclasses import replace
from heapq import heappop

from tests.support.smp_line import ESPRESSIF, ZEPHYR, Device, Fault, VirtualClock, intact

PROFILES = {"zephyr": ZEPHYR, "espressif": ESPRESSIF}


def losing(probability: float, seed: int) -> Fault:
    """Lose lines at random, the same ones in every run."""
    dice = random.Random(seed)
    return (lambda line: [] if dice.random() < probability else [(line, 0.0)]) if probability else intact


def main(profile: str, baud: str, loss: str) -> None:
    """Serve."""
    unpaced = int(baud) == 0
    facts = PROFILES[profile]
    pace = replace(facts, byte_ms=0.0, latency_ms=0.0, write_ms=0.0, erase_ms=0.0)
    facts = pace if unpaced else replace(facts, byte_ms=10_000 / int(baud))
    clock = VirtualClock()
    device = Device(clock, facts, losing(float(loss), 1), losing(float(loss), 2))
    master, slave = os.openpty()
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    start = time.monotonic()
    rest = b""
    while True:
        clock.ms = (time.monotonic() - start) * 1000
        wait = _next_event(device)
        timeout = None if wait is None else max(wait - clock.ms, 0) / 1000
        if select.select([master], [], [], timeout)[0]:
            rest += os.read(master, 4096)
            clock.ms = (time.monotonic() - start) * 1000
            whole, _, rest = rest.rpartition(b"\n")
            if whole:
                device.send(whole + b"\n")
        clock.ms = (time.monotonic() - start) * 1000
        while (data := _due(device)) is not None:
            os.write(master, data)


def _next_event(device: Device) -> float | None:
    times = [queue[0][0] for queue in (device.arriving, device.leaving) if queue]
    return min(times) if times else None


def _due(device: Device) -> bytes | None:
    device._work(device.clock.ms)
    if device.leaving and device.leaving[0][0] <= device.clock.ms:
        return heappop(device.leaving)[2]
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
