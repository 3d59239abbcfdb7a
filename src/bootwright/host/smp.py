"""Talking SMP from a PC: one driver for every program of `bootwright.smp`, and its errors in our words."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from bootwright.errors import WireError
from bootwright.smp import header as h
from bootwright.smp.client import Link, console_link, datagram_link, stream_link, write
from bootwright.smp.errors import RefusedByDeviceError, SmpError
from bootwright.smp.negotiate import negotiate
from bootwright.wire.transport import Transport, open_transport

if TYPE_CHECKING:
    from bootwright.smp.client import Talk

T = TypeVar("T")

#: schemes whose messages go without console lines
BARE = {"udp": datagram_link, "ble": stream_link}
LARGEST_MESSAGE = 8188  #: a console buffer of 8 KiB; more brings nothing


class Monotonic:
    """The clock of the link's programs."""

    def now(self) -> int:
        """Milliseconds since some moment."""
        return time.monotonic_ns() // 1_000_000

    def since(self, then: int) -> int:
        """Milliseconds since then."""
        return time.monotonic_ns() // 1_000_000 - then


class Session:
    """A conversation with one device: a transport, a link, and the loop between them."""

    def __init__(self, transport: Transport, link: Link) -> None:
        self.transport = transport
        self.link = link

    @classmethod
    def open(
        cls,
        address: str,
        *,
        baud: int = 115200,
        version: int = h.V2,
        on_text: Callable[[bytes], None] | None = None,
    ) -> Self:
        """Open the way to a device; what it prints between the answers goes to `on_text`, a line at a time."""
        transport = open_transport(address, baud=baud)
        sequence = time.monotonic_ns() >> 10 & 0xFF
        scheme = address.partition("://")[0]
        if scheme in BARE:
            return cls(transport, BARE[scheme](Monotonic(), version=version, sequence=sequence))
        link = console_link(Monotonic(), LARGEST_MESSAGE, 8192, on_text, inbox=4096, version=version, sequence=sequence)
        transport.send(b"\n")  # whatever half a line another program left there ends here
        return cls(transport, link)

    def run(self, program: Talk[T]) -> T:
        """Run a program to its end.

        Raises:
            WireError: the device is silent, refuses, or answers what the protocol does not know.
        """
        try:
            return self.drive(program)
        except SmpError as error:
            raise translated(error, self.transport.address) from None

    def drive(self, program: Generator[memoryview | int, int | None, T]) -> T:
        """Run a program to its end; its errors are `bootwright.smp`'s own."""
        step, send, receive = program.send, self.transport.send, self.transport.receive
        inbox = self.link.inbox
        size = len(inbox)
        count: int | None = None
        try:
            while True:
                want = step(count)
                if isinstance(want, int):
                    data = receive(want / 1000, size)
                    count = len(data)
                    inbox[:count] = data
                else:
                    send(want)
                    count = None
        except StopIteration as end:
            result: T = end.value
            return result

    def contact(self) -> bool:
        """Make sure that somebody answers, within three seconds; returns whether it is MCUboot itself.

        Raises:
            WireError: nobody does.
        """
        return self.run(is_recovery(self.link))

    def negotiate(self) -> bool:
        """Find out how much the device takes at a time; returns whether it told."""
        return self.run(negotiate(self.link))

    def listen(self, duration_s: float) -> None:
        """Let the device talk; text goes to the session's `on_text`."""
        link, reader = self.link, self.link.reader
        while link.at < link.fill:
            link.at = reader.scan(link.inbox, link.at, link.fill)
        end = time.monotonic() + duration_s
        while (left := end - time.monotonic()) > 0:
            data = bytearray(self.transport.receive(left))
            at = 0
            while at < len(data):
                at = reader.scan(data, at, len(data))

    def close(self) -> None:
        """Let go of the port."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def is_recovery(link: Link) -> Talk[bool]:
    """Program: whether MCUboot itself answers.

    It accepts the console echo command, whatever it is asked to do; applications do not have that command.
    """
    try:
        yield from write(link, h.OS, h.OS_CONSOLE_ECHO, {"echo": 0})
    except RefusedByDeviceError:
        return False
    return True


def translated(error: SmpError, address: str) -> WireError:
    """An error of the wire's room in Bootwright's words."""
    return WireError(f"{address}: {error.message}", error.hint)
