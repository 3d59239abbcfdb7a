"""What a TCP connection to a chip carries: the UART's bytes alone, or RFC 2217 with its lines and its baud rate.

The lines do what the two transistors of a development board do: RTS alone holds the chip in reset, DTR alone holds the
boot pin low.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bootwright.sim.rfc2217 import ComPort, Heard, Lines
from bootwright.sim.virtual_chip import Uart

#: How long after its release from reset the ROM samples the boot pin: the delay of a board's RC element, shorter than
#: the 50 ms for which tools hold the pin.
SAMPLING_DELAY_S = 0.03
#: While both lines are asserted a reset sequence is under way; pyserial takes 0.1 s for each line over RFC 2217.
SEQUENCE_TIME_S = 0.3


class Later(Protocol):
    """What can do something after a while: the loop."""

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do it then."""
        ...


class ResetCircuit:
    """The transistors between DTR, RTS and the chip: RTS alone pulls reset low, DTR alone the boot pin."""

    def __init__(self, uart: Uart, loop: Later, flush: Callable[[], None]) -> None:
        self._chip = uart.chip
        self._loop = loop
        self._flush = flush
        self._lines = Lines()
        self._held = False
        self._change = 0

    def change(self, lines: Lines) -> None:
        """The client set its lines."""
        self._lines = lines
        self._change += 1
        if lines.rts and not lines.dtr:
            self._held = True
            self._chip.hold()
        elif self._held:
            change = self._change
            delay_s = SEQUENCE_TIME_S if lines.rts else SAMPLING_DELAY_S
            self._loop.later(delay_s, lambda: self._sample(change))

    def _sample(self, change: int) -> None:
        if change != self._change:
            return
        self._held = False
        self._chip.reset(boot_pin_low=self._lines.dtr and not self._lines.rts)
        self._flush()


class Stream(Protocol):
    """What a connection carries."""

    def received(self, data: bytes) -> None:
        """Bytes from the client."""
        ...

    def outgoing(self) -> bytes:
        """Bytes for the client."""
        ...

    def ended(self) -> None:
        """The client hung up."""
        ...


class PlainStream:
    """The UART's bytes and nothing else; without lines the client's close is the reset."""

    def __init__(self, uart: Uart) -> None:
        self._uart = uart
        uart.host_baud = 0

    def received(self, data: bytes) -> None:
        """Bytes for the UART."""
        self._uart.receive(data)

    def outgoing(self) -> bytes:
        """Bytes from the UART."""
        return self._uart.take()

    def ended(self) -> None:
        """Reset, where that is what hanging up means."""
        self._uart.chip.hung_up()
        self._uart.take()


class TelnetStream:
    """RFC 2217: baud rate and lines are the client's; its close changes nothing."""

    def __init__(self, uart: Uart, circuit: ResetCircuit) -> None:
        self._uart = uart
        self._circuit = circuit
        self._port = ComPort()

    def received(self, data: bytes) -> None:
        """A piece of the telnet stream."""
        for heard in self._port.feed(data):
            self._act(heard)

    def _act(self, heard: Heard) -> None:
        if heard.baud is not None:
            self._uart.host_baud = heard.baud
        for lines in heard.lines:
            self._circuit.change(lines)
        if heard.purge:
            self._uart.take()
        if heard.data:
            self._uart.receive(heard.data)

    def outgoing(self) -> bytes:
        """Negotiation and the UART's bytes."""
        return self._port.replies() + ComPort.wrap(self._uart.take())

    def ended(self) -> None:
        """The lines fall back."""
        self._circuit.change(Lines())
