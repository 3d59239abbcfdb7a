"""The serial loader of a chip in download mode: the one in ROM, and the flasher stub that tools put into RAM.

Bytes in, bytes out; what the loader reaches on the chip is a `Target`. Whatever arrives, the loader answers as the real
one does or not at all, and never raises. Uploaded code is not run: RAM code at an address where tools put their
flasher stub turns this model into the stub, any other code ends the conversation (`Target.run_code`).

The protocol: esptool 5.6.0, `docs/en/advanced-topics/serial-protocol.rst`, and esptool's own behaviour on the wire.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from bootwright.errors import BootwrightError, WireError
from bootwright.flash import SECTOR_SIZE
from bootwright.sim.loader_target import (
    BAD_CHECKSUM,
    BAD_LENGTH,
    BAD_PARAMETER,
    FLASH_FAILED,
    INFLATE_FAILED,
    NOT_STARTED,
    READ_FAILED,
    TOO_LITTLE,
    TOO_MUCH,
    UNKNOWN,
    Leave,
    Refused,
    Target,
    Unanswered,
)
from bootwright.wire import slip
from bootwright.wire.rom import (
    ROM_SYNC_VALUE,
    SLOW_READ_BLOCK,
    STUB_GREETING,
    Opcode,
    Request,
    Response,
    RomStatus,
    checksum,
)


@dataclass(slots=True)
class Download:
    """A flash write in progress: what BEGIN announced and how far it came."""

    address: int
    end: int
    block_size: int
    write: Callable[[int, bytes], None]
    erased_to: int
    inflate: zlib._Decompress | None = None


@dataclass(slots=True)
class Reading:
    """A READ_FLASH of the stub: packets go out until `window` of them are unconfirmed, the digest goes last."""

    address: int
    length: int
    block: int
    window: int
    sent: int = 0
    digest: hashlib._Hash = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))


@dataclass(frozen=True, slots=True)
class Command:
    """One request the loader knows: who handles it, and where it exists."""

    handle: Callable[[RomLoader, Request], bytes]
    least: int = 0  #: bytes of data that it needs
    rom: bool = True
    stub: bool = True
    secure: bool = False  #: allowed in secure download mode


class RomLoader:
    """One session with a chip in download mode; a reset makes a new one.

    A request that the ROM does not know gets its answer under another opcode, eight times, as SYNC does: tools know
    an ESP32 by that, and take 0.2 s to drain it (esptool 5.6.0 `loader.py`, esptool-js 0.7.0 `readPacket`).
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._decoder = slip.Decoder()
        self._out: list[bytes] = []
        self._stub = False
        self._silent = False
        self._value = 0
        self._download: Download | None = None
        self._reading: Reading | None = None
        self._late: Refused | None = None
        self._ram: tuple[int, int] | None = None  #: where MEM_DATA goes, and its block size
        self._afterwards: list[Callable[[], None]] = []

    @property
    def is_stub(self) -> bool:
        """Whether the flasher stub runs instead of the ROM."""
        return self._stub

    def feed(self, data: bytes) -> bytes:
        """Take what came over the line, return what goes back."""
        for packet in self._decoder.feed(data):
            if self._silent:
                break
            self._take(packet)
        answer = b"".join(self._out)
        self._out.clear()
        return answer

    def afterwards(self) -> None:
        """Do what must happen once the answers are on the line: run code, reset, change the rate."""
        while self._afterwards:
            self._afterwards.pop(0)()

    def _take(self, packet: bytes) -> None:
        if self._reading is not None and len(packet) == 4:
            self._confirmed(self._reading, int.from_bytes(packet, "little"))
            return
        try:
            request = Request.parse(packet)
        except WireError:
            return
        self._answer(request)

    def _answer(self, request: Request) -> None:
        self._value = 0
        op = request.op
        try:
            body, status = self._handle(request), self._success()
        except Refused as refused:
            body, status = b"", self._failure(refused)
            if refused.rom is RomStatus.BAD_MESSAGE and not self._stub:
                op = Opcode.SYNC
        except BootwrightError:
            body, status = b"", self._failure(Refused(*FLASH_FAILED))
        except Unanswered:
            return
        self._send(Response(op, body + status, self._value).pack())
        if op == Opcode.SYNC:
            self._out += self._out[-1:] * 7
        if self._reading is not None and request.op == Opcode.READ_FLASH:
            self._pump(self._reading, confirmed=0)

    def _handle(self, request: Request) -> bytes:
        command = COMMANDS.get(request.op)
        if command is None or not (command.stub if self._stub else command.rom):
            raise Refused(*UNKNOWN)
        if not self._stub and not command.secure and self._target.secure_download():
            raise Refused(*UNKNOWN)
        if len(request.data) < command.least:
            raise Refused(*BAD_LENGTH)
        return command.handle(self, request)

    def _send(self, packet: bytes) -> None:
        self._out.append(slip.encode(packet))

    def _success(self) -> bytes:
        return b"\0\0" if self._stub else b"\0\0\0\0"

    def _failure(self, refused: Refused) -> bytes:
        return bytes([refused.stub, 0]) if self._stub else bytes([1, refused.rom, 0, 0])

    # The requests, in the order of their opcodes

    def _flash_begin(self, request: Request) -> bytes:
        self._download = self._begin(request)
        return b""

    def _flash_defl_begin(self, request: Request) -> bytes:
        self._download = self._begin(request)
        self._download.inflate = zlib.decompressobj()
        return b""

    def _begin(self, request: Request) -> Download:
        size, _, block_size, address = request.words(4)
        encrypted = len(request.data) >= 20 and request.words(5)[4] != 0
        if address + size > self._target.flash_size():
            raise Refused(*BAD_PARAMETER)
        start = address // SECTOR_SIZE * SECTOR_SIZE
        write = self._target.write_flash_encrypted if encrypted else self._target.write_flash
        download = Download(address, address + size, block_size, write, start)
        if not self._stub:
            self._erase_to(download, address + size)
        return download

    def _erase_to(self, download: Download, end: int) -> None:
        end = min(-(-end // SECTOR_SIZE) * SECTOR_SIZE, self._target.flash_size())
        if end > download.erased_to:
            self._target.erase_flash(download.erased_to, end - download.erased_to)
            download.erased_to = end

    def _block(self, request: Request) -> tuple[Download, bytes]:
        length = request.words(4)[0]
        block = request.data[16:]
        if self._download is None:
            raise Refused(*NOT_STARTED)
        if length != len(block):
            raise Refused(*BAD_LENGTH)
        if checksum(block) != request.checksum & 0xFF:
            raise Refused(*BAD_CHECKSUM)
        return self._download, block

    def _flash_data(self, request: Request) -> bytes:
        download, block = self._block(request)
        if self._stub:
            if len(block) > download.block_size:
                raise Refused(*TOO_MUCH)
            block = block[: download.end - download.address]
        self._later(lambda: self._program(download, block))
        return b""

    def _flash_defl_data(self, request: Request) -> bytes:
        download, block = self._block(request)
        self._later(lambda: self._inflate(download, block))
        return b""

    def _inflate(self, download: Download, block: bytes) -> None:
        if download.inflate is None:
            raise Refused(*NOT_STARTED)
        room = download.end - download.address
        if not self._stub:
            room = self._target.flash_size() - download.address
        try:
            data = download.inflate.decompress(block, room + 1)
        except zlib.error:
            raise Refused(*INFLATE_FAILED) from None
        if len(data) > room:
            raise Refused(*TOO_MUCH)
        self._program(download, data)

    def _program(self, download: Download, data: bytes) -> None:
        self._erase_to(download, download.address + len(data))
        download.write(download.address, data)
        download.address += len(data)

    def _later(self, write: Callable[[], None]) -> None:
        """The stub confirms a block before it has written it: its failure is the next answer."""
        if not self._stub:
            write()
            return
        late, self._late = self._late, None
        if late is not None:
            raise late
        try:
            write()
        except Refused as refused:
            self._late = refused
        except BootwrightError:
            self._late = Refused(*FLASH_FAILED)

    def _flash_end(self, request: Request) -> bytes:
        late, self._late = self._late, None
        if late is not None:
            raise late
        stay = request.words(1)[0] != 0
        if self._stub:
            if self._download is None:
                raise Refused(*NOT_STARTED)
            if self._download.address < self._download.end:
                self._download = None
                raise Refused(*TOO_LITTLE)
        self._download = None
        if not (self._stub and stay):
            self._end(Leave.RUN if stay else Leave.RESET)
        return b""

    def _end(self, how: Leave) -> None:
        self._silent = True
        self._afterwards.append(lambda: self._target.leave(how))

    def _mem_begin(self, request: Request) -> bytes:
        _, _, block_size, address = request.words(4)
        self._ram = address, block_size
        return b""

    def _mem_data(self, request: Request) -> bytes:
        length, sequence = request.words(2)
        block = request.data[16:]
        if self._ram is None:
            raise Refused(*NOT_STARTED)
        if length != len(block):
            raise Refused(*BAD_LENGTH)
        if checksum(block) != request.checksum & 0xFF:
            raise Refused(*BAD_CHECKSUM)
        address, block_size = self._ram
        self._target.load((address + sequence * block_size) & 0xFFFFFFFF, block)
        return b""

    def _mem_end(self, request: Request) -> bytes:
        stay, entry = request.words(2)
        self._ram = None
        if not stay:
            self._afterwards.append(lambda: self._run(entry))
        return b""

    def _run(self, entry: int) -> None:
        if self._target.is_stub(entry):
            self._become_stub()
        else:
            self._silent = True
            self._target.run_code(entry)

    def _become_stub(self) -> None:
        self._stub = True
        self._download = None
        self._target.attach_flash()
        self._send(STUB_GREETING)

    def _sync(self, request: Request) -> bytes:
        self._value = 0 if self._stub else ROM_SYNC_VALUE
        return b""

    def _write_reg(self, request: Request) -> bytes:
        for at in range(0, len(request.data) - 15, 16):
            address, value, mask, _ = struct.unpack_from("<4I", request.data, at)
            if mask != 0xFFFFFFFF:
                value = (self._target.read_word(address) & ~mask) | (value & mask)
            self._target.write_word(address, value)
        return b""

    def _read_reg(self, request: Request) -> bytes:
        self._value = self._target.read_word(request.words(1)[0]) & 0xFFFFFFFF
        return b""

    def _spi_attach(self, request: Request) -> bytes:
        self._target.attach_flash()
        return b""

    def _nothing(self, request: Request) -> bytes:
        return b""

    def _read_flash_slow(self, request: Request) -> bytes:
        address, length = request.words(2)
        entry = self._target.hijacked_read()
        if entry and self._target.is_stub(entry):
            self._afterwards.append(self._become_stub)
            raise Unanswered
        if length > SLOW_READ_BLOCK:
            raise Refused(*READ_FAILED)
        return self._target.read_flash(address, length).ljust(SLOW_READ_BLOCK, b"\0")

    def _change_baudrate(self, request: Request) -> bytes:
        baud = request.words(1)[0]
        self._afterwards.append(lambda: self._target.change_baudrate(baud))
        return b""

    def _md5(self, request: Request) -> bytes:
        address, size = request.words(2)
        digest = hashlib.md5(self._target.read_flash(address, size), usedforsecurity=False)
        return digest.digest() if self._stub else digest.hexdigest().encode()

    def _security_info(self, request: Request) -> bytes:
        info = self._target.security_info()
        if info is None:
            raise Refused(*UNKNOWN)
        return info

    def _erase_all(self, request: Request) -> bytes:
        self._target.erase_flash(0, self._target.flash_size())
        return b""

    def _erase_region(self, request: Request) -> bytes:
        address, size = request.words(2)
        if address % SECTOR_SIZE or size % SECTOR_SIZE:
            raise Refused(*BAD_PARAMETER)
        self._target.erase_flash(address, size)
        return b""

    def _read_flash(self, request: Request) -> bytes:
        address, length, block, window = request.words(4)
        if not block or not window:
            raise Refused(*BAD_PARAMETER)
        self._target.read_flash(address, length)
        self._reading = Reading(address, length, block, window)
        return b""

    def _confirmed(self, reading: Reading, count: int) -> None:
        if count > reading.sent:
            self._reading = None
        else:
            self._pump(reading, confirmed=count)

    def _pump(self, reading: Reading, *, confirmed: int) -> None:
        while reading.sent < reading.length and reading.sent - confirmed < reading.window * reading.block:
            size = min(reading.block, reading.length - reading.sent)
            data = self._target.read_flash(reading.address + reading.sent, size)
            reading.digest.update(data)
            reading.sent += size
            self._send(data)
        if confirmed >= reading.length:
            self._send(reading.digest.digest())
            self._reading = None

    def _run_user_code(self, request: Request) -> bytes:
        self._end(Leave.RUN)
        return b""


COMMANDS: dict[int, Command] = {
    Opcode.FLASH_BEGIN: Command(RomLoader._flash_begin, 16, secure=True),
    Opcode.FLASH_DATA: Command(RomLoader._flash_data, 16, secure=True),
    Opcode.FLASH_END: Command(RomLoader._flash_end, 4, secure=True),
    Opcode.MEM_BEGIN: Command(RomLoader._mem_begin, 16),
    Opcode.MEM_END: Command(RomLoader._mem_end, 8),
    Opcode.MEM_DATA: Command(RomLoader._mem_data, 16),
    Opcode.SYNC: Command(RomLoader._sync, secure=True),
    Opcode.WRITE_REG: Command(RomLoader._write_reg, 16),
    Opcode.READ_REG: Command(RomLoader._read_reg, 4),
    Opcode.SPI_SET_PARAMS: Command(RomLoader._nothing, 24, secure=True),
    Opcode.SPI_ATTACH: Command(RomLoader._spi_attach, 4, secure=True),
    Opcode.READ_FLASH_SLOW: Command(RomLoader._read_flash_slow, 8, stub=False),
    Opcode.CHANGE_BAUDRATE: Command(RomLoader._change_baudrate, 8, secure=True),
    Opcode.FLASH_DEFL_BEGIN: Command(RomLoader._flash_defl_begin, 16),
    Opcode.FLASH_DEFL_DATA: Command(RomLoader._flash_defl_data, 16),
    Opcode.FLASH_DEFL_END: Command(RomLoader._flash_end, 4),
    Opcode.SPI_FLASH_MD5: Command(RomLoader._md5, 16),
    Opcode.GET_SECURITY_INFO: Command(RomLoader._security_info, secure=True),
    Opcode.ERASE_FLASH: Command(RomLoader._erase_all, rom=False),
    Opcode.ERASE_REGION: Command(RomLoader._erase_region, 8, rom=False),
    Opcode.READ_FLASH: Command(RomLoader._read_flash, 16, rom=False),
    Opcode.RUN_USER_CODE: Command(RomLoader._run_user_code, rom=False),
}
