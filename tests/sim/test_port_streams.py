"""The lines of RFC 2217 as a board's transistors take them, with a clock in the test's hand."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootwright.chips.chip import load_chip
from bootwright.sim.chip_file import create_chip_file, open_chip_file
from bootwright.sim.factory import factory_efuses
from bootwright.sim.port_streams import PlainStream, ResetCircuit, TelnetStream
from bootwright.sim.rfc2217 import COM_PORT, IAC, SB, SE, Lines
from bootwright.sim.virtual_chip import Booted, Mode, Uart, VirtualChip


class Clock:
    """Does later what is due, when the test says so."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        self.due.append(act)

    def pass_on(self) -> None:
        due, self.due = self.due, []
        for act in due:
            act()


@pytest.fixture
def uart(tmp_path: Path) -> Iterator[Uart]:
    path = tmp_path / "chip.chip"
    create_chip_file(path, factory_efuses(load_chip("esp32c3"), mac=bytes(6)), 1 << 18)
    with open_chip_file(path) as file:
        chip = VirtualChip(file, boot=lambda chip: Booted("booted\r\n"), asleep=True)
        chip.strap(download=False)
        yield chip.uart("uart0")


NEITHER, DTR, RTS, BOTH = Lines(), Lines(dtr=True), Lines(rts=True), Lines(dtr=True, rts=True)


@pytest.mark.parametrize(
    ("sequence", "mode"),
    [
        ((RTS, BOTH, DTR), Mode.DOWNLOAD),
        ((RTS, DTR), Mode.DOWNLOAD),
        ((RTS, NEITHER), Mode.BOOTED),
        ((DTR, NEITHER), Mode.OFF),
        ((RTS,), Mode.OFF),
    ],
)
def test_a_reset_sequence_ends_in_the_mode_that_its_lines_ask_for(
    uart: Uart, sequence: tuple[Lines, ...], mode: Mode
) -> None:
    clock = Clock()
    circuit = ResetCircuit(uart, clock, lambda: None)
    for lines in sequence:
        circuit.change(lines)
    clock.pass_on()
    assert uart.chip.mode is mode


def test_lines_baud_and_payload_reach_the_chip_through_the_telnet_stream(uart: Uart) -> None:
    clock = Clock()
    stream = TelnetStream(uart, ResetCircuit(uart, clock, lambda: None))

    def command(number: int, value: bytes) -> bytes:
        return bytes([IAC, SB, COM_PORT, number]) + value + bytes([IAC, SE])

    stream.received(command(1, struct.pack(">I", 230400)))
    stream.received(command(5, b"\x0b") + command(5, b"\x08") + command(5, b"\x0c"))
    clock.pass_on()
    assert (uart.host_baud, uart.chip.mode) == (230400, Mode.DOWNLOAD)
    assert b"waiting for download" in stream.outgoing()
    uart.send(b"old")
    stream.received(command(12, b"\x01"))
    assert b"old" not in stream.outgoing()


def test_without_lines_the_end_of_the_connection_is_the_reset(uart: Uart) -> None:
    uart.chip.strap(download=True)
    stream = PlainStream(uart)
    stream.ended()
    assert uart.chip.mode is Mode.DOWNLOAD
    assert stream.outgoing() == b""
