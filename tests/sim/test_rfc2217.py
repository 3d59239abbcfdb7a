import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.sim.rfc2217 import COM_PORT, DO, IAC, SB, SE, WILL, ComPort, Heard, Lines


def command(number: int, value: bytes) -> bytes:
    return bytes([IAC, SB, COM_PORT, number]) + value.replace(b"\xff", b"\xff\xff") + bytes([IAC, SE])


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(1, 9))
def test_payload_survives_the_telnet_stream_however_it_is_cut(pieces: list[bytes], step: int) -> None:
    stream = b"".join(ComPort.wrap(piece) + command(1, struct.pack(">I", 115200)) for piece in pieces)
    port = ComPort()
    heard = [one for at in range(0, len(stream), step) for one in port.feed(stream[at : at + step])]
    assert b"".join(one.data for one in heard) == b"".join(pieces)


@given(st.binary(max_size=300))
def test_no_stream_breaks_the_port(stream: bytes) -> None:
    port = ComPort()
    port.feed(stream)
    port.replies()


def test_baud_rate_and_lines_are_heard_and_confirmed() -> None:
    port = ComPort()
    heard = port.feed(command(1, struct.pack(">I", 921600)) + command(5, b"\x08") + command(5, b"\x0b"))
    assert heard == [Heard(baud=921600), Heard(lines=(Lines(dtr=True),)), Heard(lines=(Lines(dtr=True, rts=True),))]
    assert port.replies() == command(101, struct.pack(">I", 921600)) + command(105, b"\x08") + command(105, b"\x0b")


@pytest.mark.parametrize("option", [0, 1, 3, COM_PORT])
def test_options_are_agreed_to_once(option: int) -> None:
    port = ComPort()
    port.feed(bytes([IAC, DO, option, IAC, DO, option, IAC, WILL, option]))
    state = command(107, b"\xb0") if option == COM_PORT else b""
    assert port.replies() == bytes([IAC, WILL, option]) + state + bytes([IAC, DO, option])
