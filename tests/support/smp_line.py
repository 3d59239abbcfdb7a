"""A device on a line in virtual time: pace, receive buffers, flash times, and whatever a test lets go wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TypeVar

from bootwright.smp import console, server
from bootwright.smp.cbor import Reader
from bootwright.smp.client import Link
from bootwright.smp.errors import MalformedError
from bootwright.smp.header import Header

T = TypeVar("T")
Fault = Callable[[bytes], list[tuple[bytes, float]]]  #: a line → what arrives of it, and how many ms late


class VirtualClock:
    """Time that passes only when a driver waits."""

    def __init__(self) -> None:
        self.ms = 0.0

    def now(self) -> int:
        return int(self.ms)

    def since(self, then: int) -> int:
        return int(self.ms) - then


def intact(line: bytes) -> list[tuple[bytes, float]]:
    """The fault that is none."""
    return [(line, 0.0)]


@dataclass
class Profile:
    """What the wire and the device are like."""

    buffer: int = 1025
    line_limit: int = 128
    line_buffers: int = 8  #: lines kept while the device works (0: a FIFO of `fifo` bytes)
    fifo: int = 0
    byte_ms: float = 10_000 / 115_200 / 10 * 10
    latency_ms: float = 1.0
    write_ms: float = 4.0  #: per KiB
    erase_ms: float = 45.0  #: per 4 KiB
    params: bool = True
    align: int = 4


ZEPHYR = Profile(byte_ms=10_000 / 115_200)
ESPRESSIF = Profile(buffer=513, line_limit=513, line_buffers=0, fifo=128, byte_ms=10_000 / 115_200, params=False)


@dataclass
class Device:
    """A serial recovery with one slot, on a `Profile`; counts what it saw."""

    clock: VirtualClock
    profile: Profile = field(default_factory=Profile)
    to_device: Fault = intact
    to_host: Fault = intact
    slot: int = 1 << 20

    def __post_init__(self) -> None:
        self.flash = bytearray(b"\xff" * self.slot)
        self.expected = self.total = self.erased = 0
        self.reader = console.DeviceReader(self.profile.buffer, self.profile.line_limit)
        self.busy_until = self.wire_free = self.back_free = 0.0
        self.starts: deque[tuple[float, int]] = deque()
        self.arriving: list[tuple[float, int, bytes]] = []
        self.leaving: list[tuple[float, int, bytes]] = []
        self.serial = self.dropped = self.handled = self.wire_bytes = 0
        self.silent = False

    def send(self, data: bytes) -> None:
        for line in data.splitlines(keepends=True):
            self.wire_bytes += len(line)
            self.wire_free = max(self.wire_free, self.clock.ms) + len(line) * self.profile.byte_ms
            for piece, late in self.to_device(line):
                self.serial += 1
                heappush(self.arriving, (self.wire_free + late, self.serial, piece))

    def receive(self, limit_ms: float) -> bytes:
        """What comes within `limit_ms`; time passes until it does."""
        deadline = self.clock.ms + limit_ms
        while True:
            self._work(self.leaving[0][0] if self.leaving else deadline)
            if self.leaving and self.leaving[0][0] <= deadline:
                at, _, data = heappop(self.leaving)
                self.clock.ms = max(self.clock.ms, at)
                return data
            if not self.arriving or self.arriving[0][0] > deadline:
                self.clock.ms = deadline
                return b""

    def _work(self, until: float) -> None:
        while self.arriving and self.arriving[0][0] <= until:
            at, _, line = heappop(self.arriving)
            while self.starts and self.starts[0][0] <= at:
                self.starts.popleft()
            if self.silent or self._no_room(len(line)):
                self.dropped += 1
                continue
            begin = max(at, self.busy_until)
            self.starts.append((begin, len(line)))
            self.busy_until = begin
            for header, body in server.requests(self.reader, line):
                self.handled += 1
                self._reply(header, self._answer(header, body))
            until = min(until, self.leaving[0][0]) if self.leaving else until

    def _no_room(self, length: int) -> bool:
        if self.profile.line_buffers:
            return len(self.starts) >= self.profile.line_buffers
        return sum(waiting for _, waiting in self.starts) + length > self.profile.fifo and bool(self.starts)

    def _reply(self, header: Header, value: dict[str, object]) -> None:
        self.busy_until += self.profile.latency_ms
        for line in server.answer_lines(header, value).splitlines(keepends=True):
            self.back_free = max(self.back_free, self.busy_until) + len(line) * self.profile.byte_ms
            for piece, late in self.to_host(line):
                self.serial += 1
                heappush(self.leaving, (self.back_free + late, self.serial, piece))

    def _answer(self, header: Header, body: bytes) -> dict[str, object]:
        if (header.group, header.command) == (0, 6) and self.profile.params:
            return {"buf_size": self.profile.buffer - 1, "buf_count": 1}
        if (header.group, header.command) == (0, 1):
            return {"rc": 0}
        if (header.group, header.command) == (1, 1):
            return self._upload(body)
        return {"rc": 8}

    def _upload(self, body: bytes) -> dict[str, object]:
        try:
            fields = dict(Reader(body).pairs())
        except MalformedError:
            return {"rc": 3}
        off, data = fields.get("off"), fields.get("data")
        if not isinstance(off, int) or not isinstance(data, bytes):
            return {"rc": 3}
        if off == 0:
            total = fields.get("len")
            if not isinstance(total, int) or total > self.slot:
                return {"rc": 3}
            self.total, self.expected, self.erased = total, 0, 0
            self.flash[:] = b"\xff" * self.slot
        elif off != self.expected:
            return {"rc": 0, "off": self.expected}
        elif off + len(data) > self.total:
            return {"rc": 3}
        self._write(data)
        return {"rc": 0, "off": self.expected}

    def _write(self, data: bytes) -> None:
        if self.expected + len(data) < self.total:
            data = data[: len(data) // self.profile.align * self.profile.align]
        while self.erased < self.expected + len(data):
            self.erased += 4096
            self.busy_until += self.profile.erase_ms
        self.busy_until += len(data) / 1024 * self.profile.write_ms
        self.flash[self.expected : self.expected + len(data)] = data
        self.expected += len(data)


def drive(program: Generator[memoryview | int, int | None, T], link: Link, device: Device) -> T:
    """Run a program against the device."""
    count: int | None = None
    waiting = b""
    try:
        while True:
            want = program.send(count)
            if isinstance(want, int):
                waiting = waiting or device.receive(want)
                count = min(len(waiting), len(link.inbox))
                link.inbox[:count] = waiting[:count]
                waiting = waiting[count:]
            else:
                device.send(bytes(want))
                count = None
    except StopIteration as end:
        result: T = end.value
        return result
