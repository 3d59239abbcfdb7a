"""Serving a board on a pty, on TCP and on UDP: one loop, one thread. A client that hangs up changes nothing."""

from __future__ import annotations

import os
import selectors
import socket
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from bootwright.errors import WireError

READ_SIZE = 1 << 16
LOCAL = "127.0.0.1"


class Board(Protocol):
    """What is served."""

    def feed(self, data: bytes) -> bytes:
        """Bytes on the UART, and its answer."""
        ...

    def datagram(self, data: bytes) -> bytes:
        """A datagram, and its answer."""
        ...

    def take(self) -> bytes:
        """Console text since."""
        ...

    def due(self) -> float | None:
        """When `act` is wanted."""
        ...

    def act(self) -> None:
        """Time has passed."""
        ...


class Station:
    """The ports of one board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._selector = selectors.DefaultSelector()
        self._writers: list[Callable[[bytes], None]] = []
        self._closers: list[Callable[[], object]] = []
        self._stop_read, self._stop_write = os.pipe()
        self._stopped = False
        self._selector.register(self._stop_read, selectors.EVENT_READ, self._stop_asked)

    def add_pty(self) -> str:
        """Serve the UART on a pseudo terminal; returns its path."""
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        path = os.ttyname(slave)

        def write(data: bytes) -> None:
            with suppress(BlockingIOError):  # nobody reads: a UART does not wait either
                while data:
                    data = data[os.write(master, data) :]

        def ready() -> None:
            with suppress(BlockingIOError):
                write(self._board.feed(os.read(master, READ_SIZE)))

        self._selector.register(master, selectors.EVENT_READ, ready)
        self._writers.append(write)
        self._closers += [lambda: os.close(master), lambda: os.close(slave)]
        return path

    def add_tcp(self, port: int) -> str:
        """Serve the UART on a TCP port of this machine, 0 for a free one; returns its address."""
        try:
            server = socket.create_server((LOCAL, port))
        except OSError as error:
            raise WireError(f"cannot listen on port {port}: {error.strerror}", "port 0 takes a free one") from None
        clients: list[socket.socket] = []

        def write(data: bytes) -> None:
            for client in list(clients):
                try:
                    client.sendall(data)
                except OSError:
                    gone(client)

        def gone(client: socket.socket) -> None:
            self._selector.unregister(client)
            clients.remove(client)
            client.close()

        def accept() -> None:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            clients.append(client)

            def ready() -> None:
                try:
                    data = client.recv(READ_SIZE)
                except OSError:
                    data = b""
                if data:
                    write(self._board.feed(data))
                else:
                    gone(client)

            self._selector.register(client, selectors.EVENT_READ, ready)

        self._selector.register(server, selectors.EVENT_READ, accept)
        self._writers.append(write)

        def close() -> None:
            server.close()
            for client in clients:
                client.close()

        self._closers.append(close)
        return f"socket://{LOCAL}:{server.getsockname()[1]}"

    def add_udp(self, port: int) -> str:
        """Serve the application's SMP on UDP, port 0 for a free one; returns its address."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            server.bind((LOCAL, port))
        except OSError as error:
            server.close()
            raise WireError(f"cannot listen on UDP port {port}: {error.strerror}", "port 0 takes a free one") from None

        def ready() -> None:
            data, client = server.recvfrom(READ_SIZE)
            answer = self._board.datagram(data)
            if answer:
                server.sendto(answer, client)

        self._selector.register(server, selectors.EVENT_READ, ready)
        self._closers.append(server.close)
        return f"udp://{LOCAL}:{server.getsockname()[1]}"

    def watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever there is something to read: a bench's switches, say."""
        self._selector.register(descriptor, selectors.EVENT_READ, ready)

    def on_close(self, close: Callable[[], object]) -> None:
        """Do this as well when the ports are closed."""
        self._closers.append(close)

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopped:
            due = self._board.due()
            timeout = None if due is None else max(due - time.monotonic(), 0)
            for key, _ in self._selector.select(timeout):
                key.data()
            self._board.act()
            said = self._board.take()
            if said:
                for write in self._writers:
                    write(said)

    def stop(self) -> None:
        """End `run`; safe in a signal handler and from another thread."""
        with suppress(OSError):
            os.write(self._stop_write, b"x")

    def _stop_asked(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Close the ports."""
        self._selector.close()
        for close in self._closers:
            close()
        os.close(self._stop_read)
        os.close(self._stop_write)
