"""The address space of a chip in download mode, as far as tools read and write it.

Memory and every register that is not modelled hold what was written and start as 0. Modelled are the eFuse controller,
the SPI controller with the flash's own commands, the strapping and UART registers, and the RTC watchdog. Which chip has
them where is data: `data/registers.toml`, and the controller's layout in `bootwright.chips`.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses

MAGIC_ADDRESS = 0x40001000
_DATA = Path(__file__).parent / "data" / "registers.toml"
_PAGE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Strap:
    """`GPIO_STRAP` and what it reads."""

    address: int
    download: int
    normal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpiLayout:
    """The controller of the boot flash: its base and the offsets of what a user command needs."""

    base: int
    usr: int
    usr1: int
    usr2: int
    mosi_dlen: int
    miso_dlen: int
    w0: int
    address_in_msb: bool  #: the address stands in the register's highest bits
    attached_by_rom: bool  #: the ROM attaches the flash without being told


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """The RTC watchdog, with which tools reset a chip that has no reset line."""

    config0: int
    config1: int
    protect: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterMap:
    """What `data/registers.toml` says of a chip."""

    magic: int = 0
    security_info: str  #: `none`, `short` (12 bytes) or `full` (20)
    xtal_mhz: int
    uart_clkdiv: int
    boot_gpio: int
    gpio_strap: Strap
    spi: SpiLayout
    efuse_fail_shift: int = 0
    watchdog: Watchdog | None = None
    stub: tuple[int, ...]
    read_pointer: int = 0
    fixed: tuple[tuple[int, int], ...] = ()
    revision_bit2: int = 0  #: a word whose bit 31 says that the silicon is v3.0 or newer
    download_mode: str  #: how the ROM calls the mode


@cache
def load_registers(name: str) -> RegisterMap:
    """The register map of the chip of that name."""
    table = tomllib.loads(_DATA.read_text())[name]
    watchdog = table.pop("watchdog", None)
    return RegisterMap(
        gpio_strap=Strap(**table.pop("gpio_strap")),
        spi=SpiLayout(**table.pop("spi")),
        watchdog=Watchdog(**watchdog) if watchdog else None,
        stub=tuple(table.pop("stub")),
        fixed=tuple((int(at, 0), value) for at, value in table.pop("fixed", {}).items()),
        **table,
    )


class Memory:
    """Words and bytes by address, allocated where they are touched."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def load(self, address: int, data: bytes) -> None:
        """Put bytes there; addresses wrap at 2**32."""
        while data:
            page, at = divmod(address & 0xFFFFFFFF, _PAGE)
            piece, data = data[: _PAGE - at], data[_PAGE - at :]
            self._pages.setdefault(page, bytearray(_PAGE))[at : at + len(piece)] = piece
            address += len(piece)

    def word(self, address: int) -> int:
        """The aligned word at `address`."""
        page, at = divmod(address & 0xFFFFFFFC, _PAGE)
        found = self._pages.get(page)
        return 0 if found is None else int.from_bytes(found[at : at + 4], "little")

    def holds(self, address: int) -> bool:
        """Whether something was written near there."""
        return address // _PAGE in self._pages


WRITE_OPCODE = 0x5A5A
READ_OPCODE = 0x5AA5
PROGRAM, READ = 2, 1


class EfuseController:
    """The eFuse controller's registers: programming through PGM_DATA, reading through the block windows.

    `get` and `put` reach the state, which lives with the chip. A program command burns at once; protections and the
    download restrictions take effect at the next READ command (`Efuses.latched`).
    """

    __slots__ = ("_conf", "_fail_shift", "_get", "_put", "_window", "_written", "base")

    SIZE = 0x200

    def __init__(
        self, chip: Chip, get: Callable[[], Efuses], put: Callable[[Efuses], None], *, fail_shift: int = 0
    ) -> None:
        self.base = chip.efuse.base
        self._get, self._put = get, put
        self._fail_shift = fail_shift
        self._written: dict[int, int] = {}
        self._window = {block.read + 4 * i: (block.number, i) for block in chip.blocks for i in range(block.words)}
        self._conf = 0

    def read(self, offset: int) -> int:
        """A register; CMD reads 0 because commands are done at once."""
        state = self._get()
        if offset in self._window:
            number, word = self._window[offset]
            return int.from_bytes(state.readable_block(number)[4 * word : 4 * word + 4], "little")
        registers = state.chip.efuse.registers
        if offset == registers["cmd"]:
            return 0
        if offset == registers.get("dec_status"):
            return int(any(state.spoiled(block.number) for block in state.chip.blocks)) * 0xFFF
        errors = registers.get("rs_err", ())
        if isinstance(errors, tuple) and offset in errors:
            return self._rs_errors(state) >> 32 * errors.index(offset) & 0xFFFFFFFF
        return self._written.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """A register; a command in CMD is performed."""
        registers = self._get().chip.efuse.registers
        if offset in self._window:
            return
        self._written[offset] = value
        if offset != registers["cmd"]:
            return
        mode = self._written.get(int_register(registers["conf"]), 0) & 0xFFFF
        if value & PROGRAM and mode == WRITE_OPCODE:
            self._program(value >> 2 & 0xF)
        elif value & READ and mode == READ_OPCODE:
            self._put(self._get().latched())

    def _program(self, number: int) -> None:
        state = self._get()
        registers = state.chip.efuse.registers
        windows = registers["write"]
        if (
            isinstance(windows, tuple) and windows
        ):  # the ESP32 programs all its blocks at once, each from registers of its own
            for block, at in zip(state.chip.blocks, windows, strict=True):
                data = self._bytes(at, block.words)
                if any(data):
                    state = _program_positional(state, block.number, data)
        elif number < len(state.chip.blocks):
            data = self._bytes(int_register(registers["pgm_data"]), 8)[: state.chip.blocks[number].size]
            check = self._bytes(int_register(registers["check_value"]), 3)
            state = state.program(number, data, check if state.coding(number) == "rs" else None)
        self._put(state)

    def _bytes(self, offset: int, words: int) -> bytes:
        return struct.pack(f"<{words}I", *(self._written.get(offset + 4 * i, 0) for i in range(words)))

    def _rs_errors(self, state: Efuses) -> int:
        """RD_RS_ERR0 and 1 as one number: for block n ≥ 1, nibble n - 1 holds its error count and, above it, FAIL."""
        errors = 0
        for block in state.chip.blocks[1:]:
            if state.spoiled(block.number):
                at = 4 * (block.number - 1)
                errors |= 7 << at | 8 << at + 4 * self._fail_shift
        return errors


def int_register(at: int | tuple[int, ...]) -> int:
    """The offset of a register that is a single one."""
    if isinstance(at, tuple):
        raise TypeError("a list of registers where one is meant")
    return at


def _program_positional(state: Efuses, number: int, data: bytes) -> Efuses:
    """A block of the ESP32 from its WDATA registers: under 3/4 coding two check bytes follow each six of data."""
    if state.coding(number) != "3/4":
        return state.program(number, data)
    units = [data[at : at + 8] for at in range(0, len(data), 8)]
    return state.program(number, b"".join(u[:6] for u in units), b"".join(u[6:] for u in units))


# The flash's own commands (JEDEC, and what tools send to it through the SPI controller).
_RDID, _RDSFDP, _WREN, _WEVSR, _WRDI = 0x9F, 0x5A, 0x06, 0x50, 0x04
_READ_STATUS = {0x05: 0, 0x35: 1, 0x15: 2}
_WRITE_STATUS = {0x01: 0, 0x31: 1, 0x11: 2}
_USR = 1 << 18
MANUFACTURER = 0xEF
MEMORY_TYPE = 0x40


class SpiController:
    """User commands to the flash: what tools use to identify it."""

    __slots__ = ("_flash_size", "_layout", "_registers", "_status", "attached")

    def __init__(self, layout: SpiLayout, flash_size: int) -> None:
        self._layout = layout
        self._flash_size = flash_size
        self._registers: dict[int, int] = {}
        self._status = [0, 0, 0]
        self.attached = layout.attached_by_rom

    SIZE = 0x100

    def read(self, offset: int) -> int:
        """A register; the command bit clears itself."""
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """A register; setting the USR bit of CMD runs the command."""
        self._registers[offset] = value
        if offset == 0 and value & _USR:
            self._registers[0] = value & ~_USR
            self._run()

    def _run(self) -> None:
        at = self._layout
        opcode = self._registers.get(at.usr2, 0) & 0xFF
        word = self._registers.get(at.w0, 0)
        bits = self._registers.get(at.miso_dlen, 0) + 1
        if not self.attached:
            reply = b"\xff" * 4
        elif opcode == _RDID:
            reply = bytes([MANUFACTURER, MEMORY_TYPE, (self._flash_size - 1).bit_length()])
        elif opcode == _RDSFDP:
            address = self._registers.get(4, 0)
            reply = sfdp(self._flash_size)[(address >> 8 if at.address_in_msb else address) & 0xFFFFFF :][:4]
        elif opcode in _READ_STATUS:
            reply = bytes([self._status[_READ_STATUS[opcode]]])
        else:
            if opcode in _WRITE_STATUS:
                self._status[_WRITE_STATUS[opcode]] = word & 0xFF
            return
        mask = (1 << min(bits, 32)) - 1
        self._registers[at.w0] = int.from_bytes(reply[:4].ljust(4, b"\xff"), "little") & mask


@cache
def sfdp(flash_size: int) -> bytes:
    """The flash's parameter table (JEDEC JESD216): header, one parameter header, its density."""
    header = b"SFDP" + bytes([6, 1, 0, 0xFF])
    parameters = bytes([0, 6, 1, 16, 0x80, 0, 0, 0xFF])
    table = struct.pack("<II", 0xFFF120E5, flash_size * 8 - 1) + b"\0" * 56
    return (header + parameters).ljust(0x80, b"\xff") + table


class Bus:
    """All of it by address."""

    __slots__ = ("_baud", "_efuse", "_map", "_reset", "_strap", "memory", "spi")

    def __init__(
        self,
        registers: RegisterMap,
        efuse: EfuseController,
        spi: SpiController,
        *,
        strap: int,
        baud: Callable[[], int],
        reset: Callable[[], None],
    ) -> None:
        self._map = registers
        self._efuse = efuse
        self.spi = spi
        self._strap = strap
        self._baud = baud
        self._reset = reset
        self.memory = Memory()
        for address, value in ((MAGIC_ADDRESS, registers.magic), *registers.fixed):
            self.memory.load(address, value.to_bytes(4, "little"))

    def read(self, address: int) -> int:
        """A word."""
        if 0 <= address - self._efuse.base < EfuseController.SIZE:
            return self._efuse.read(address - self._efuse.base)
        if 0 <= address - self._map.spi.base < SpiController.SIZE:
            return self.spi.read(address - self._map.spi.base)
        if address == self._map.uart_clkdiv:
            return self._map.xtal_mhz * 1_000_000 // max(self._baud(), 1)
        if address == self._map.gpio_strap.address:
            return self._strap
        return self.memory.word(address)

    def write(self, address: int, value: int) -> None:
        """A word; some registers act on it."""
        if 0 <= address - self._efuse.base < EfuseController.SIZE:
            self._efuse.write(address - self._efuse.base, value)
        elif 0 <= address - self._map.spi.base < SpiController.SIZE:
            self.spi.write(address - self._map.spi.base, value)
        else:
            self.memory.load(address & ~3, value.to_bytes(4, "little"))
            watchdog = self._map.watchdog
            if watchdog is not None and address == watchdog.config0 and value >> 31:
                self._reset()
