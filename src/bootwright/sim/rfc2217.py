"""The server's side of RFC 2217: a serial port's baud rate and lines inside a telnet stream.

No I/O: `feed` takes what the client sent and says what it means; `wrap` prepares bytes for the client.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

IAC, DONT, DO, WONT, WILL, SB, SE = 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA, 0xF0
BINARY, ECHO, SUPPRESS_GO_AHEAD, COM_PORT = 0x00, 0x01, 0x03, 0x2C
_OPTIONS = (BINARY, ECHO, SUPPRESS_GO_AHEAD, COM_PORT)

SET_BAUDRATE, SET_DATASIZE, SET_PARITY, SET_STOPSIZE, SET_CONTROL, NOTIFY_MODEMSTATE, PURGE_DATA = 1, 2, 3, 4, 5, 7, 12
MODEM_READY = b"\xb0"  #: CTS, DSR and CD are on
_FROM_SERVER = 100
_ASK_DTR, _DTR_ON, _DTR_OFF, _ASK_RTS, _RTS_ON, _RTS_OFF = 7, 8, 9, 10, 11, 12
_DEFAULTS = {SET_DATASIZE: 8, SET_PARITY: 1, SET_STOPSIZE: 1}


@dataclass(frozen=True, slots=True)
class Lines:
    """DTR and RTS as the client set them; True is asserted, which pulls a pin low behind the usual transistors."""

    dtr: bool = False
    rts: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What a piece of the stream meant, in the order in which things happened."""

    data: bytes = b""
    lines: tuple[Lines, ...] = ()  #: every change of the control lines
    baud: int | None = None
    purge: bool = False  #: forget what was not delivered yet


class ComPort:
    """One client's view of the port."""

    def __init__(self) -> None:
        self.lines = Lines()
        self.baud = 115200
        self._settings = dict(_DEFAULTS)
        self._pending = b""
        self._answered: set[tuple[int, int]] = set()
        self._out: list[bytes] = []

    def feed(self, data: bytes) -> list[Heard]:
        """What the client sent: payload and changes, in order."""
        heard: list[Heard] = []
        stream, self._pending = self._pending + data, b""
        while stream:
            at = stream.find(IAC)
            if at < 0:
                heard.append(Heard(stream))
                break
            if at:
                heard.append(Heard(stream[:at]))
            used = self._command(stream[at:], heard)
            if not used:
                self._pending = stream[at:]
                break
            stream = stream[at + used :]
        return heard

    def replies(self) -> bytes:
        """What the negotiation wants sent, already a telnet stream."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    @staticmethod
    def wrap(data: bytes) -> bytes:
        """Payload for the client."""
        return data.replace(b"\xff", b"\xff\xff")

    def _command(self, stream: bytes, heard: list[Heard]) -> int:
        """Handle the command at the start; returns its length, 0 when it is not complete."""
        if len(stream) < 2:
            return 0
        kind = stream[1]
        if kind == IAC:
            heard.append(Heard(b"\xff"))
            return 2
        if kind in (DO, DONT, WILL, WONT):
            if len(stream) < 3:
                return 0
            self._negotiate(kind, stream[2])
            return 3
        if kind == SB:
            end = _end_of_subnegotiation(stream)
            if end:
                self._subnegotiation(stream[2 : end - 2].replace(b"\xff\xff", b"\xff"), heard)
            elif len(stream) > 4096:
                return len(stream)
            return end
        return 2

    def _negotiate(self, kind: int, option: int) -> None:
        known = option in _OPTIONS
        answer = {DO: WILL if known else WONT, DONT: WONT, WILL: DO if known else DONT, WONT: DONT}[kind]
        if (answer, option) not in self._answered:
            self._answered.add((answer, option))
            self._out.append(bytes([IAC, answer, option]))
            if (answer, option) == (WILL, COM_PORT):
                self._reply(NOTIFY_MODEMSTATE, MODEM_READY)

    def _subnegotiation(self, body: bytes, heard: list[Heard]) -> None:
        if len(body) < 2 or body[0] != COM_PORT:
            return
        command, value = body[1], body[2:]
        if command == SET_BAUDRATE and len(value) == 4:
            (baud,) = struct.unpack(">I", value)
            if baud:
                self.baud = baud
                heard.append(Heard(baud=baud))
            self._reply(command, struct.pack(">I", self.baud))
        elif command in self._settings and value:
            self._settings[command] = value[0] or self._settings[command]
            self._reply(command, bytes([self._settings[command]]))
        elif command == SET_CONTROL and value:
            self._control(value[0], heard)
        elif command == NOTIFY_MODEMSTATE:
            self._reply(command, MODEM_READY)
        elif command == PURGE_DATA and value:
            heard.append(Heard(purge=True))
            self._reply(command, value[:1])
        else:
            self._reply(command, value)

    def _control(self, value: int, heard: list[Heard]) -> None:
        before = self.lines
        if value in (_DTR_ON, _DTR_OFF):
            self.lines = Lines(value == _DTR_ON, before.rts)
        elif value in (_RTS_ON, _RTS_OFF):
            self.lines = Lines(before.dtr, value == _RTS_ON)
        elif value == _ASK_DTR:
            value = _DTR_ON if before.dtr else _DTR_OFF
        elif value == _ASK_RTS:
            value = _RTS_ON if before.rts else _RTS_OFF
        if self.lines != before:
            heard.append(Heard(lines=(self.lines,)))
        self._reply(SET_CONTROL, bytes([value]))

    def _reply(self, command: int, value: bytes) -> None:
        body = bytes([COM_PORT, command + _FROM_SERVER & 0xFF]) + self.wrap(value)
        self._out.append(bytes([IAC, SB]) + body + bytes([IAC, SE]))


def _end_of_subnegotiation(stream: bytes) -> int:
    """Where the subnegotiation at the start ends, 0 when its end has not come yet."""
    at = 2
    while (at := stream.find(IAC, at)) >= 0 and at + 1 < len(stream):
        if stream[at + 1] == SE:
            return at + 2
        at += 2
    return 0
