# mypy: ignore-errors
# ruff: noqa: T201, SIM115 - a script for MicroPython: it prints, and the file stays open
# For MicroPython's unix port with a small heap: an upload to a real pty, and how the heap stands before and after.
import gc
import select
import sys
import time

gc.collect()
empty = gc.mem_alloc()
from smp.client import console_link  # noqa: E402 - what the package takes is measured
from smp.negotiate import negotiate  # noqa: E402
from smp.uart import Ticks, run  # noqa: E402
from smp.upload import Upload  # noqa: E402

gc.collect()
code = gc.mem_alloc()
SIZE = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000


class Uart:
    def __init__(self, path):
        self.file = open(path, "r+b")
        self.poll = select.poll()
        self.poll.register(self.file, select.POLLIN)

    def any(self):
        for _ in self.poll.ipoll(0):
            return 1
        return 0

    def readinto(self, buf, nbytes):
        return self.file.readinto(buf, nbytes)

    def write(self, buf):
        return self.file.write(buf)


def read_into(offset, view):
    for i in range(len(view)):
        view[i] = (offset + i) * 7 & 0xFF


def finish(program):
    return run(program, link, uart)


uart = Uart(sys.argv[1])
link = console_link(Ticks(), capacity=1020, replies=512)
finish(negotiate(link))
gc.collect()
before = gc.mem_alloc()
start = time.ticks_ms()
print("uploaded", finish(Upload(link, read_into, SIZE).run()))
took = time.ticks_diff(time.ticks_ms(), start)
grown = gc.mem_alloc() - before
gc.collect()
print("code", code - empty, "buffers", before - code, "grown by", grown, "kept", gc.mem_alloc() - before, "ms", took)
