"""Serving virtual chips on ports: pty, TCP and RFC 2217, all of them in one loop of one thread.

On a pty and on TCP there are no DTR and RTS lines: the client's close is the chip's reset.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import termios
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bootwright.errors import WireError
from bootwright.sim.port_streams import PlainStream, ResetCircuit, Stream, TelnetStream
from bootwright.sim.tty_watch import TerminalWatch
from bootwright.sim.virtual_chip import Uart

_READ = 1 << 16


class Endpoint(Protocol):
    """Something with a file descriptor that the loop waits for."""

    def fileno(self) -> int:
        """The descriptor."""
        ...

    def wants(self) -> int:
        """The epoll events to wait for."""
        ...

    def ready(self, events: int) -> None:
        """Some of them have come."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Loop:
    """Waits for endpoints and deadlines."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._endpoints: dict[int, tuple[Endpoint, int]] = {}
        self._deadlines: list[tuple[float, Callable[[], None]]] = []
        self._stop_read, self._stop_write = os.pipe()
        self._epoll.register(self._stop_read, select.EPOLLIN)

    def add(self, endpoint: Endpoint) -> None:
        """Wait for it, too."""
        mask = endpoint.wants()
        self._endpoints[endpoint.fileno()] = endpoint, mask
        self._epoll.register(endpoint.fileno(), mask)

    def drop(self, endpoint: Endpoint) -> None:
        """Wait for it no longer, and close it."""
        del self._endpoints[endpoint.fileno()]
        self._epoll.unregister(endpoint.fileno())
        endpoint.close()

    def update(self, endpoint: Endpoint) -> None:
        """Its wishes may have changed."""
        known = self._endpoints.get(endpoint.fileno())
        mask = endpoint.wants()
        if known is not None and known[1] != mask:
            self._endpoints[endpoint.fileno()] = endpoint, mask
            self._epoll.modify(endpoint.fileno(), mask)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something after a while."""
        self._deadlines.append((time.monotonic() + delay_s, act))
        self._deadlines.sort(key=lambda pair: pair[0])

    def stop(self) -> None:
        """End `run`; safe in a signal handler."""
        os.write(self._stop_write, b"x")

    def run(self) -> None:
        """Serve until `stop`."""
        while True:
            timeout = max(self._deadlines[0][0] - time.monotonic(), 0) if self._deadlines else -1
            for descriptor, events in self._epoll.poll(timeout):
                if descriptor == self._stop_read:
                    return
                if descriptor in self._endpoints:
                    endpoint = self._endpoints[descriptor][0]
                    endpoint.ready(events)
                    if descriptor in self._endpoints:
                        self.update(self._endpoints[descriptor][0])
            while self._deadlines and self._deadlines[0][0] <= time.monotonic():
                self._deadlines.pop(0)[1]()

    def close(self) -> None:
        """Close every endpoint."""
        for endpoint, _ in list(self._endpoints.values()):
            self.drop(endpoint)
        self._epoll.close()
        os.close(self._stop_read)
        os.close(self._stop_write)


class Pty:
    """A pseudo terminal. Its events are edges: with no client there, a level would never be quiet."""

    def __init__(self, uart: Uart) -> None:
        self._uart = uart
        self._out = b""
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._watch = TerminalWatch(self.path)

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return self.path

    def fileno(self) -> int:
        """The master's descriptor."""
        return self._master

    def wants(self) -> int:
        """Everything, once each."""
        return select.EPOLLIN | select.EPOLLOUT | select.EPOLLET

    def ready(self, events: int) -> None:
        """Move bytes; a hang-up is a reset."""
        gone = bool(events & select.EPOLLHUP)
        while True:
            try:
                data = os.read(self._master, _READ)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                self._hung_up()
                return
            if self._watch.was_reopened():
                self._reset()
            self._uart.host_baud = self._baud()
            self._uart.receive(data)
            if not gone:
                self.flush()
        self.flush()

    def _hung_up(self) -> None:
        if self._watch.hung_up():
            self._reset()

    def _reset(self) -> None:
        self._uart.chip.hung_up()
        self._uart.take()
        self._out = b""

    def flush(self) -> None:
        """Send what the chip has said, as far as the terminal takes it; without a client it is lost."""
        self._out += self._uart.take()
        if self._out and not self._has_client():
            self._out = b""
        while self._out:
            try:
                self._out = self._out[os.write(self._master, self._out[:_READ]) :]
            except BlockingIOError:
                return

    def _has_client(self) -> bool:
        poll = select.poll()
        poll.register(self._master, 0)
        return not poll.poll(0)

    def _baud(self) -> int:
        return _BAUDS.get(termios.tcgetattr(self._master)[4], 0)

    def close(self) -> None:
        """Remove the terminal."""
        self._watch.close()
        os.close(self._master)


_BAUDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()}


class TcpClient:
    """One connection."""

    def __init__(self, connection: socket.socket, closed: Callable[[TcpClient], None]) -> None:
        self._socket = connection
        self._closed = closed
        self._out = b""
        self.stream: Stream | None = None
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self._socket.fileno()

    def wants(self) -> int:
        """Input, and room when something waits to be sent."""
        return select.EPOLLIN | (select.EPOLLOUT if self._out else 0)

    def ready(self, events: int) -> None:
        """Move bytes."""
        if events & ~select.EPOLLOUT:
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._hung_up()
                return
            if self.stream is not None:
                self.stream.received(data)
        self.flush()

    def _hung_up(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.ended()
        self._closed(self)

    def flush(self) -> None:
        """Send what there is, as far as the connection takes it."""
        if self.stream is not None:
            self._out += self.stream.outgoing()
        while self._out:
            try:
                self._out = self._out[self._socket.send(self._out) :]
            except BlockingIOError:
                return
            except OSError:
                self._out = b""

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _plain(uart: Uart, loop: Loop, client: TcpClient) -> Stream:
    return PlainStream(uart)


def _telnet(uart: Uart, loop: Loop, client: TcpClient) -> Stream:
    def flush() -> None:
        client.flush()
        loop.update(client)

    return TelnetStream(uart, ResetCircuit(uart, loop, flush))


@dataclass(frozen=True, slots=True)
class Speech:
    """What a TCP port speaks, and the URL by which pyserial finds it."""

    carry: Callable[[Uart, Loop, TcpClient], Stream]
    url: str


PLAIN = Speech(_plain, "socket://127.0.0.1:{}")
RFC2217 = Speech(_telnet, "rfc2217://127.0.0.1:{}?ign_set_control")


class TcpPort:
    """Waits for clients on a TCP port of this machine; one at a time, as on a cable."""

    def __init__(self, uart: Uart, loop: Loop, port: int, speaks: Speech) -> None:
        self._uart = uart
        self._loop = loop
        self._speaks = speaks
        self._client: TcpClient | None = None
        try:
            self._socket = socket.create_server(("127.0.0.1", port), backlog=5)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise WireError(f"cannot listen on port {port}: {why}", "port 0 takes a free one") from None
        self._socket.setblocking(False)

    @property
    def url(self) -> str:
        """Where a client finds it."""
        port: int = self._socket.getsockname()[1]
        return self._speaks.url.format(port)

    def fileno(self) -> int:
        """The listening descriptor."""
        return self._socket.fileno()

    def wants(self) -> int:
        """New clients, while there is none."""
        return select.EPOLLIN if self._client is None else 0

    def ready(self, events: int) -> None:
        """A client connects."""
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        client = self._client = TcpClient(connection, self._lost)
        client.stream = self._speaks.carry(self._uart, self._loop, client)
        self._loop.add(client)

    def _lost(self, client: TcpClient) -> None:
        self._loop.drop(client)
        self._client = None
        self._loop.update(self)

    def flush(self) -> None:
        """Send what the chip has said; without a client it is lost."""
        if self._client is None:
            self._uart.take()
        else:
            self._client.flush()
            self._loop.update(self._client)

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()


class UdpPort:
    """SMP datagrams for the chip's application."""

    def __init__(self, uart: Uart, number: int, changed: Callable[[], None]) -> None:
        self._chip = uart.chip
        self._changed = changed
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(("127.0.0.1", number))
        except OSError as error:
            self._socket.close()
            raise WireError(
                f"cannot listen on UDP port {number}: {error.strerror}", "port 0 takes a free one"
            ) from None
        self._socket.setblocking(False)

    @property
    def url(self) -> str:
        """Where a client finds it."""
        port: int = self._socket.getsockname()[1]
        return f"udp://127.0.0.1:{port}"

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def wants(self) -> int:
        """Datagrams."""
        return select.EPOLLIN

    def ready(self, events: int) -> None:
        """Answer one."""
        try:
            data, client = self._socket.recvfrom(_READ)
            answer = self._chip.datagram(data)
            if answer:
                self._socket.sendto(answer, client)
        except OSError:
            return
        self._changed()

    def flush(self) -> None:
        """Nothing is said unasked."""

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()
