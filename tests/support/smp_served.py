"""Virtual boards for SMP's tests: signed images, a board in this process, and one that is served on real ports."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from tests.support.smp_line import VirtualClock

from bootwright.boot.config import Signature
from bootwright.formats.keys import KeyType, PrivateKey, generate_key
from bootwright.formats.mcuboot_encrypt import new_encryption
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.sim.neighbour import Build, Neighbour
from bootwright.sim.smp_port import Station
from bootwright.smp.client import Link, console_link, datagram_link

T = TypeVar("T")


@cache
def board_key() -> PrivateKey:
    """The key that the boards' bootloaders trust."""
    return generate_key(KeyType.ED25519)


@cache
def other_key() -> PrivateKey:
    """A key that they do not."""
    return generate_key(KeyType.ED25519)


@cache
def reader_key() -> PrivateKey:
    """The key that the images of boards with encryption are encrypted for."""
    return generate_key(KeyType.X25519)


@cache
def signed(
    version: str = "1.0.0", size: int = 30_000, *, trusted: bool = True, reader: PrivateKey | None = None
) -> bytes:
    """An image; its payload depends on the version. With a `reader` it is encrypted."""
    options = SignOptions(
        version=ImageVersion.from_text(version),
        header_size=0x200,
        pad_header=True,
        slot_size=208 << 10,
        align=8,
        max_sectors=128,
        encryption=None if reader is None else new_encryption(reader.public, random=bytes),
    )
    payload = bytes((i * 7 + sum(version.encode())) & 0xFF for i in range(size))
    return sign_image(payload, options, board_key() if trusted else other_key())


def signed_build(**changes: object) -> Build:
    """A board whose bootloader checks signatures."""
    known: dict[str, object] = {"signature": Signature.ED25519, "keys": (board_key().public.der,), **changes}
    return Build(**known)  # type: ignore[arg-type]  # the fields' names and types are the caller's


class Clock(VirtualClock):
    """The link's clock and the board's."""

    def now_s(self) -> float:
        return self.ms / 1000


class Bench:
    """A board and a link to it in one process, in virtual time."""

    def __init__(self, build: Build | None = None, *, primary: bytes = b"", pin: bool = False) -> None:
        self.clock = Clock()
        self.board = Neighbour(build or signed_build(), now_s=self.clock.now_s)
        if primary:
            for image in self.board.config.images:
                self.board.flash.load(image.primary.address, primary)
        self.board.recovery_pin = pin
        self.board.power_on()
        self.link = console_link(self.clock, 4092, 8192)
        self.datagrams = datagram_link(self.clock)

    def run(self, program: Generator[memoryview | int, int | None, T]) -> T:
        """Run a program over the board's UART."""
        return self._drive(program, self.link, self.board.feed)

    def run_udp(self, program: Generator[memoryview | int, int | None, T]) -> T:
        """Run a program over UDP."""
        return self._drive(program, self.datagrams, self.board.datagram)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.ms += seconds * 1000
        self.board.act()

    def _drive(self, program: Generator[memoryview | int, int | None, T], link: Link, feed: object) -> T:
        waiting = b""
        count: int | None = None
        try:
            while True:
                want = program.send(count)
                if isinstance(want, int):
                    count = min(len(waiting), len(link.inbox))
                    link.inbox[:count] = waiting[:count]
                    waiting = waiting[count:]
                    if not count:
                        self.wait(want / 1000)
                        waiting += self.board.take()
                else:
                    assert callable(feed)
                    waiting += feed(bytes(want))
                    count = None
        except StopIteration as end:
            result: T = end.value
            return result


@dataclass
class Served:
    """A board on real ports, served by a thread."""

    board: Neighbour
    pty: str
    tcp: str
    udp: str
    station: Station


@contextmanager
def served(build: Build | None = None, *, primary: bytes = b"", pin: bool = False) -> Iterator[Served]:
    """Power a board and serve it until the end."""
    board = Neighbour(build or signed_build(), now_s=time.monotonic)
    if primary:
        board.flash.load(board.config.images[0].primary.address, primary)
    board.recovery_pin = pin
    station = Station(board)
    ports = Served(board, station.add_pty(), station.add_tcp(0), station.add_udp(0), station)
    board.power_on()
    thread = threading.Thread(target=station.run)
    thread.start()
    try:
        yield ports
    finally:
        station.stop()
        thread.join()
        station.close()
