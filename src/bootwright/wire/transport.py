"""Ways to a device: serial ports, what stands in for them, and UDP. Everything else in the corridor does no I/O.

An address is a port (`/dev/ttyUSB0`, `COM3`, a pty), `socket://host:port` or `tcp://host:port` for the bytes of a port
over TCP, `rfc2217://host:port`, `udp://host[:1337]`, or `ble://address`. Waiting is done
on the file descriptor, never by sleeping.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

from bootwright.errors import WireError

READ_SIZE = 4096
WRITE_TIMEOUT_S = 10.0
SMP_UDP_PORT = 1337


class Transport(Protocol):
    """A way to a device."""

    @property
    def address(self) -> str:
        """Where it leads, for messages."""
        ...

    def send(self, data: bytes | memoryview) -> None:
        """Send everything; raises `WireError` when the way is gone or blocked."""
        ...

    def receive(self, timeout_s: float, limit: int = READ_SIZE) -> bytes:
        """What comes within the time, at most `limit` bytes; empty if nothing does."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def open_transport(address: str, *, baud: int = 115200) -> Transport:
    """Open the way to `address`.

    Raises:
        WireError: no such port, no permission, or somebody else holds it; the hint says what to do.
    """
    scheme = address.partition("://")[0] if "://" in address else ""
    return _OPENERS.get(scheme, open_serial)(address, baud)


class SerialTransport:
    """A serial port by its file descriptor; pyserial only sets it up."""

    def __init__(self, address: str, port: Any) -> None:
        self.address = address
        self._port = port
        self._fd: int = port.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def send(self, data: bytes | memoryview) -> None:
        """Write in as few calls as the driver lets us."""
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            raise _gone(self.address, error) from None
        if written < len(data):
            self._send_rest(memoryview(data)[written:])

    def _send_rest(self, rest: memoryview) -> None:
        while rest:
            _, writable, _ = select.select([], [self._fd], [], WRITE_TIMEOUT_S)
            if not writable:
                raise _blocked(self.address)
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise _gone(self.address, error) from None

    def receive(self, timeout_s: float, limit: int = READ_SIZE) -> bytes:
        """Wait on the descriptor."""
        if not self._poll.poll(timeout_s * 1000):
            return b""
        try:
            data = os.read(self._fd, limit)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise _gone(self.address, error) from None
        if not data:
            raise _gone(self.address, None)
        return data

    def close(self) -> None:
        """Close the port."""
        with suppress(OSError):
            self._port.close()


class PortTransport:
    """Any other pyserial port (RFC 2217): through its own read and write."""

    def __init__(self, address: str, port: Any) -> None:
        self.address = address
        self._port = port

    def send(self, data: bytes | memoryview) -> None:
        """Write it all."""
        try:
            self._port.write(bytes(data))
        except OSError as error:
            raise _gone(self.address, error) from None

    def receive(self, timeout_s: float, limit: int = READ_SIZE) -> bytes:
        """Wait for one byte, then take what else is there."""
        try:
            self._port.timeout = timeout_s
            first: bytes = self._port.read(1)
            if not first:
                return b""
            rest: bytes = self._port.read(min(self._port.in_waiting, limit - 1))
        except OSError as error:
            raise _gone(self.address, error) from None
        return first + rest

    def close(self) -> None:
        """Close the port."""
        with suppress(OSError):
            self._port.close()


class SocketTransport:
    """A connected socket: TCP carries a port's bytes, UDP one message a datagram."""

    def __init__(self, address: str, connection: socket.socket, *, ends_empty: bool) -> None:
        self.address = address
        self._socket = connection
        self._ends_empty = ends_empty  #: an empty read is the end of a stream, but no more than a datagram
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def send(self, data: bytes | memoryview) -> None:
        """Send it all."""
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise _blocked(self.address) from None
        except OSError as error:
            raise _gone(self.address, error) from None

    def receive(self, timeout_s: float, limit: int = READ_SIZE) -> bytes:
        """Wait on the descriptor."""
        if not self._poll.poll(timeout_s * 1000):
            return b""
        try:
            data = self._socket.recv(limit)
        except OSError as error:
            raise _gone(self.address, error) from None
        if not data and self._ends_empty:
            raise _gone(self.address, None)
        return data

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def open_serial(address: str, baud: int) -> Transport:
    """Open a serial port or a pty, for us alone."""
    import serial

    try:
        port = serial.Serial(address, baud, timeout=0, exclusive=True)
    except serial.SerialException as error:
        raise _cannot_open(address, error) from None
    except (ValueError, OverflowError) as error:
        raise WireError(f"{address} cannot be opened: {error}", "check the port's name and the baud rate") from None
    if hasattr(port, "set_low_latency_mode"):
        with suppress(Exception):
            port.set_low_latency_mode(True)
    return SerialTransport(address, port)


def open_rfc2217(address: str, baud: int) -> Transport:
    """Open a serial port that a server offers over RFC 2217."""
    import serial

    try:
        port = serial.serial_for_url(address, baud, timeout=0)
    except serial.SerialException as error:
        raise WireError(f"{address} cannot be opened: {error}", "is the RFC 2217 server running there?") from None
    return PortTransport(address, port)


def open_tcp(address: str, baud: int) -> Transport:
    """Connect to a port's bytes over TCP."""
    host, port = _host_and_port(address, None)
    try:
        connection = socket.create_connection((host, port), timeout=WRITE_TIMEOUT_S)
    except OSError as error:
        raise _unreachable(address, error, "is the server running there?") from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketTransport(address, connection, ends_empty=True)


def open_udp(address: str, baud: int) -> Transport:
    """Address a device by UDP."""
    host, port = _host_and_port(address, SMP_UDP_PORT)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(WRITE_TIMEOUT_S)
        connection.connect(target)
    except OSError as error:
        raise _unreachable(address, error, "check the device's address") from None
    return SocketTransport(address, connection, ends_empty=False)


def _host_and_port(address: str, default: int | None) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or (port is None and default is None):
        raise WireError(f"{address} does not name a host and a port", "write it as socket://host:port")
    return host, port if port is not None else default or 0


def _open_ble(address: str, baud: int) -> Transport:
    from bootwright.wire.ble import open_ble

    return open_ble(address, baud)


_OPENERS: dict[str, Callable[[str, int], Transport]] = {
    "socket": open_tcp,
    "tcp": open_tcp,
    "rfc2217": open_rfc2217,
    "udp": open_udp,
    "ble": _open_ble,
}


def _cannot_open(address: str, error: Any) -> WireError:
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.ENOENT or "No such file" in text:
        return WireError(f"there is no port {address}", _ports_here())
    if number == errno.EACCES or "Permission denied" in text:
        return WireError(
            f"no permission for {address}",
            f"add yourself to the group that owns it (ls -l {address}; often dialout), then log in again",
        )
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text or "busy" in text:
        return WireError(f"{address} is in use by another program", f"close it (lsof {address} names it)")
    if number in (errno.ENOTTY, errno.EINVAL) or "Inappropriate ioctl" in text:
        return WireError(f"{address} is no serial port", _ports_here())
    return WireError(f"{address} cannot be opened: {text}", "is it a serial port?")


def _unreachable(address: str, error: OSError, hint: str) -> WireError:
    return WireError(f"{address} cannot be reached: {error.strerror or error}", hint)


def _ports_here() -> str:
    from serial.tools.list_ports import comports

    ports = sorted(port.device for port in comports())
    return f"ports here: {', '.join(ports)}" if ports else "no serial port is connected; is the cable a data cable?"


def _gone(address: str, error: OSError | None) -> WireError:
    why = "it was closed" if error is None else error.strerror or str(error)
    return WireError(f"the connection to {address} broke: {why}", "was the device unplugged, or its server stopped?")


def _blocked(address: str) -> WireError:
    return WireError(
        f"{address} has taken no byte for {WRITE_TIMEOUT_S:.0f} s", "is flow control on, or nobody at the other end?"
    )
