# mypy: ignore-errors
# ruff: noqa: T201 - a script for MicroPython as well: it prints, names are the board's, types stay at home
# Runs unchanged on CPython and MicroPython: a whole upload against a device in this process, and what it allocates.
import gc
import sys

from smp.cbor import Reader
from smp.client import console_link
from smp.negotiate import negotiate
from smp.upload import Upload

from smp import console, messages, server


class Clock:
    def __init__(self):
        self.ms = 0

    def now(self):
        return self.ms

    def since(self, then):
        return self.ms - then


class Device:
    def __init__(self, size):
        self.reader = console.DeviceReader(1025, 128)
        self.flash = bytearray(size)
        self.off = 0

    def feed(self, data):
        out = b""
        for head, body in server.requests(self.reader, data):
            if (head.group, head.command) == (1, 1):
                asked = dict(Reader(body).pairs())
                if asked["off"] == 0:
                    self.off = 0
                if asked["off"] == self.off:
                    self.flash[self.off : self.off + len(asked["data"])] = asked["data"]
                    self.off += len(asked["data"])
                out += server.answer_lines(head, {"rc": 0, "off": self.off})
            elif (head.group, head.command) == (0, 6):
                out += server.answer_lines(head, {"buf_size": 1024, "buf_count": 1})
            elif (head.group, head.command) == (1, 0):
                out += server.answer_lines(head, {"images": [{"slot": 0, "version": "1.2.3"}]})
            else:
                out += server.answer_lines(head, {"rc": 8})
        return out


image = bytes([i * 7 & 255 for i in range(251)]) * 80
device = Device(len(image))
link = console_link(Clock(), 1020, 512)
source = memoryview(image)
allocated = [0, 0]
can_count = hasattr(gc, "mem_alloc")


def read_into(offset, view):
    view[:] = source[offset : offset + len(view)]


def run(program):
    waiting = b""
    count = None
    try:
        while True:
            before = gc.mem_alloc() if can_count else 0
            want = program.send(count)
            if can_count:
                allocated[0] += gc.mem_alloc() - before
                allocated[1] += 1
            if isinstance(want, int):
                count = min(len(waiting), len(link.inbox))
                link.inbox[:count] = waiting[:count]
                waiting = waiting[count:]
                if count == 0:
                    link.clock.ms += want
            else:
                waiting += device.feed(bytes(want))
                count = None
    except StopIteration as end:
        return end.value


print(run(negotiate(link)), link.largest, link.credit_cap)
upload = Upload(link, read_into, len(image))
allocated[0] = allocated[1] = 0
gc.collect()
gc.disable()
print(run(upload.run()) == len(image), bytes(device.flash) == image, upload.chunk, upload.losses)
if can_count and sys.implementation.name == "micropython":
    print("allocated", allocated[0], "in", allocated[1], "steps", file=sys.stderr)
    print("next to nothing is allocated:", allocated[0] < 4096)
else:
    print("next to nothing is allocated:", True)
gc.enable()
print(run(messages.image_list(link)))
