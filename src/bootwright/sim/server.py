"""A server of virtual chips: their files, ports and switches in one process and one loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bootwright.errors import RefusedError
from bootwright.sim.chip_file import open_chip_file
from bootwright.sim.control import ControlPort
from bootwright.sim.port import PLAIN, RFC2217, Loop, Pty, Speech, TcpPort, UdpPort
from bootwright.sim.virtual_chip import Booted, Uart, VirtualChip

_SPEECH: dict[str, Speech] = {"tcp": PLAIN, "rfc2217": RFC2217}


#: How often a chip in a reset loop prints: about as often as the RTC watchdog resets it.
RESET_LOOP_S = 0.4


@dataclass(frozen=True, slots=True)
class PortWish:
    """How to serve one port: `pty`, or `tcp`, `rfc2217` and `udp` with a port number, 0 for a free one."""

    kind: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Listening:
    """A port that waits for clients."""

    chip: str
    uart: str
    url: str


class ChipServer:
    """Serves chips until it is stopped; closing it saves them all."""

    def __init__(self, *, boot: Callable[[VirtualChip], Booted]) -> None:
        self._loop = Loop()
        self._boot = boot
        self._chips: list[VirtualChip] = []
        self._flush: dict[VirtualChip, Callable[[], None]] = {}
        self._ticking = False

    def serve(self, path: Path, uarts: Mapping[str, PortWish]) -> list[Listening]:
        """Take a chip into service on these ports.

        Raises:
            RefusedError: its file is missing, another process holds it, or the chip has no such port.
            FormatError: its file is damaged.
            WireError: a port is taken.
        """
        chip = VirtualChip(open_chip_file(path), boot=self._boot_and_watch)
        self._chips.append(chip)
        if "usb" in uarts and not (chip.chip.usb.serial_jtag or chip.chip.usb.otg):
            raise RefusedError(f"{path}: the {chip.chip.title} has no USB", "serve its UARTs: --uart0, --uart1")
        ports: list[Pty | TcpPort | UdpPort] = []
        listening = []

        def flush() -> None:
            for port in ports:
                port.flush()

        for name, wish in uarts.items():
            port = self._open(chip.uart(name), wish, flush)
            self._loop.add(port)
            ports.append(port)
            listening.append(Listening(path.stem, name, port.url))

        def schedule(delay_s: float, act: Callable[[], None]) -> None:
            def act_and_flush() -> None:
                act()
                flush()

            self._loop.later(delay_s, act_and_flush)

        chip.schedule = schedule
        self._flush[chip] = flush
        self._loop.add(ControlPort(chip, self._loop, flush))
        return listening

    def _boot_and_watch(self, chip: VirtualChip) -> Booted:
        booted = self._boot(chip)
        if booted.again and not self._ticking:
            self._ticking = True
            self._loop.later(RESET_LOOP_S, self._tick)
        return booted

    def _tick(self) -> None:
        """Let the chips in a reset loop print once more."""
        looping = [chip for chip in self._chips if chip.looping]
        for chip in looping:
            chip.print_again()
            self._flush[chip]()
        self._ticking = bool(looping)
        if looping:
            self._loop.later(RESET_LOOP_S, self._tick)

    def _open(self, uart: Uart, wish: PortWish, changed: Callable[[], None]) -> Pty | TcpPort | UdpPort:
        if wish.kind == "pty":
            return Pty(uart)
        if wish.kind == "udp":
            return UdpPort(uart, wish.number, changed)
        return TcpPort(uart, self._loop, wish.number, _SPEECH[wish.kind])

    def run(self) -> None:
        """Serve until `stop`."""
        self._loop.run()

    def stop(self) -> None:
        """End `run`; safe in a signal handler."""
        with suppress(OSError):
            self._loop.stop()

    def close(self) -> None:
        """Close the ports and save the chips."""
        self._loop.close()
        for chip in self._chips:
            chip.file.close()
