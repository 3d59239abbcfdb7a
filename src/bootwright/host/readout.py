"""Reading a chip's flash as its owner's enemy would: through the serial loader in ROM, strapped for download."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bootwright.errors import WireError
from bootwright.host.bench import Bench
from bootwright.sim.chip_file import create_chip_file, open_chip_file
from bootwright.sim.firmware import boot_from_flash
from bootwright.sim.virtual_chip import VirtualChip
from bootwright.wire import slip
from bootwright.wire.rom import SLOW_READ_BLOCK, SYNC_DATA, Opcode, Request, Response


@dataclass(frozen=True, slots=True)
class Readout:
    """What the loader gave, or how it refused."""

    pieces: tuple[tuple[int, bytes], ...] = ()  #: (address, bytes)
    refusal: str = ""


def read_through_loader(bench: Bench, addresses: tuple[int, ...], length: int) -> Readout:
    """Strap a copy of the chip for download and ask its loader for `length` bytes at each address."""
    with tempfile.TemporaryDirectory(prefix="bootwright-") as folder:
        path = Path(folder) / "copy.chip"
        raw = bench.raw
        create_chip_file(path, bench.efuses, len(raw))
        with open_chip_file(path) as file:
            file.flash.write(0, raw)
            chip = VirtualChip(file, boot=boot_from_flash)
            return _read(_Line(chip), addresses, length)


class _Line:
    """The wire to the loader."""

    def __init__(self, chip: VirtualChip) -> None:
        self._uart = chip.uart("uart0")
        chip.reset()  # with somebody listening
        self.greeting = self._uart.take().decode("latin-1").strip()

    def ask(self, op: Opcode, data: bytes) -> Response | None:
        """Send a request; the first answer to it, or None where the chip keeps silent."""
        self._uart.receive(slip.encode(Request(op, data).pack()))
        return next(_responses(slip.Decoder().feed(self._uart.take())), None)


def _responses(packets: list[bytes]) -> Iterator[Response]:
    for packet in packets:
        try:
            yield Response.parse(packet)
        except WireError:
            continue


def _read(line: _Line, addresses: tuple[int, ...], length: int) -> Readout:
    if line.ask(Opcode.SYNC, SYNC_DATA) is None:
        said = line.greeting.splitlines()[-1:] or ["nothing"]
        return Readout(refusal=f"the chip answers no SYNC; it prints: {said[0]}")
    line.ask(Opcode.SPI_ATTACH, bytes(8))
    pieces = []
    for address in addresses:
        data = b""
        for at in range(address, address + length, SLOW_READ_BLOCK):
            answer = line.ask(Opcode.READ_FLASH_SLOW, struct.pack("<II", at, SLOW_READ_BLOCK))
            if answer is None or len(answer.data) < SLOW_READ_BLOCK:
                status = "nothing" if answer is None else answer.data.hex()
                return Readout(refusal=f"it answers READ_FLASH_SLOW with status {status}")
            data += answer.data[:SLOW_READ_BLOCK]
        pieces.append((address, data))
    return Readout(pieces=tuple(pieces))
