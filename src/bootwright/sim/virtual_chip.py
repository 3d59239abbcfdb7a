"""A chip on the bench: powered or not, strapped, reset, talking on its UART.

It owns what outlives a reset (eFuses, flash, straps, kept in a `.chip` file) and what does not (memory, registers,
the loader's session). Whoever answers on its ports is a `Talker`: the serial loader in download mode, or what the
booted firmware answers with. No I/O: bytes go in and out through `Uart.receive` and `Uart.take`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from bootwright.chips.efuses import Efuses
from bootwright.chips.release import download_mode_off
from bootwright.errors import SiliconError
from bootwright.flash import Write
from bootwright.sim.chip_file import CONSOLE_KEPT, ChipFile, ChipState
from bootwright.sim.encrypted_flash import EncryptedFlash
from bootwright.sim.factory import factory_efuses
from bootwright.sim.loader_target import Leave
from bootwright.sim.registers import Bus, EfuseController, SpiController, load_registers
from bootwright.sim.rom_loader import RomLoader

ROM_BAUD = 115200
#: How long the RTC watchdog takes once tools have set it: long enough for them to lock it again over RFC 2217, too.
WATCHDOG_DELAY_S = 0.4
BAUD_TOLERANCE = 0.05  #: a UART reads its neighbour's bits as long as their lengths differ by less


class Mode(StrEnum):
    """What the chip is doing."""

    OFF = "off"
    DOWNLOAD = "download"  #: the ROM loader waits, or works
    STUB = "stub"  #: the flasher stub works
    CODE = "code"  #: code from RAM runs that is not modelled: silence until a reset
    BOOTED = "booted"  #: it booted from flash, to whatever end


class Talker(Protocol):
    """Whoever answers on the UART."""

    def feed(self, data: bytes) -> bytes:
        """Take what came, return what goes back."""
        ...


@dataclass(frozen=True, slots=True)
class PinWait:
    """Firmware that acts only if a pin keeps its level for a while, and what it prints before and after that."""

    pin: int
    level: int
    delay_s: float
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Booted:
    """What a boot from flash left behind."""

    console: str  #: what it printed
    talker: Talker | None = None  #: who answers on the UART from then on
    again: str = ""  #: what it prints at every further round, where it resets for ever
    powered: bool = True  #: False when power went away in the middle
    ports: frozenset[str] = frozenset()  #: where the talker listens, whoever comes and goes; empty: see `receive`
    datagrams: Callable[[bytes], bytes] | None = None  #: who answers on UDP
    waits: PinWait | None = None  #: what the talker's coming depends on


class Uart:
    """One of the chip's serial ports; what the chip says waits here until it is taken."""

    def __init__(self, chip: VirtualChip, name: str) -> None:
        self.chip = chip
        self.name = name
        self.host_baud = 0  #: the rate at which the host talks, 0 where nobody knows
        self._out: list[bytes] = []

    def receive(self, data: bytes) -> None:
        """Bytes from the host."""
        self.chip.receive(data, self)

    def send(self, data: bytes) -> None:
        """Bytes for the host."""
        self._out.append(data)

    def take(self) -> bytes:
        """What the chip has said since."""
        said = b"".join(self._out)
        self._out.clear()
        return said


class VirtualChip:
    """One chip; every change of what outlives a reset is in its file before anything is answered."""

    def __init__(self, file: ChipFile, *, boot: Callable[[VirtualChip], Booted], asleep: bool = False) -> None:
        self._file = file
        self._boot = boot
        self.chip = file.state.efuses.chip
        self.registers = load_registers(self.chip.name)
        self.mode = Mode.OFF
        self.baud = 0  #: the rate that the chip was told, 0 while it takes the host's
        self.uarts: dict[str, Uart] = {}
        self._speaking: Uart | None = None  #: the port on which the loader was first understood
        self._talker: Talker | None = None
        self.looping = ""  #: what it prints at every reset of a reset loop
        self._loader: RomLoader | None = None
        self._reset_wanted: Callable[[], None] | None = None
        self._ports: frozenset[str] = frozenset()
        self._datagrams: Callable[[bytes], bytes] | None = None
        self._wait: PinWait | None = None
        self.schedule: Callable[[float, Callable[[], None]], None] = lambda _, act: self._want(act)
        if file.state.powered and not asleep:
            self.reset()

    @property
    def state(self) -> ChipState:
        """What is kept in the file."""
        return self._file.state

    @property
    def efuses(self) -> Efuses:
        """The eFuses as they are."""
        return self._file.state.efuses

    @property
    def file(self) -> ChipFile:
        """Where it is kept."""
        return self._file

    def remember(self, state: ChipState) -> None:
        """Keep this state."""
        self._file.save(state)

    def set_efuses(self, efuses: Efuses) -> None:
        """Keep these eFuses."""
        self._file.save(replace(self.state, efuses=efuses))

    # Power, straps and reset

    def power(self, *, on: bool) -> None:
        """Switch the supply; coming on is a reset."""
        self._file.save(replace(self.state, powered=on))
        if on:
            self.reset()
        else:
            self.hold()

    def hold(self) -> None:
        """Hold the chip in reset: it says nothing."""
        self.mode, self._talker, self._loader, self.looping = Mode.OFF, None, None, ""
        self._ports, self._datagrams, self._wait = frozenset(), None, None

    def strap(self, *, download: bool) -> None:
        """Hold the boot pin; it is sampled at the next reset."""
        self._file.save(replace(self.state, download=download))

    def renew(self) -> None:
        """Put a chip fresh from the factory in its place, with the same address and revision; the flash is erased."""
        mac = self.efuses.read("MAC")
        fresh = factory_efuses(
            self.chip, mac=mac if isinstance(mac, bytes) else bytes(6), revision=self.efuses.revision
        )
        self._replace_silicon(fresh)

    def unprogram(self) -> None:
        """Put silicon in its place that no factory has programmed: no address, no revision, as on an FPGA."""
        zeros = (0,) * len(self.chip.blocks)
        self._replace_silicon(replace(self.efuses, bits=zeros, checks=zeros, latch=0))

    def _replace_silicon(self, efuses: Efuses) -> None:
        self._file.save(ChipState(efuses=efuses, powered=self.state.powered))
        self._file.flash.erase(0, self._file.flash.size)
        self.reset()

    def drive(self, pin: int, level: int) -> None:
        """Drive a pin from outside. The boot pin is a strap: low selects download mode."""
        if pin == self.registers.boot_gpio:
            self.strap(download=level == 0)
        others = tuple((p, v) for p, v in self.state.gpio if p != pin)
        self._file.save(replace(self.state, gpio=tuple(sorted((*others, (pin, level))))))
        if self._wait is not None and pin == self._wait.pin and level != self._wait.level:
            before, self._wait = self._wait.before, None
            booted = self._boot(self)
            self.finish_boot(replace(booted, console=booted.console.removeprefix(before)))

    def end_wait(self) -> None:
        """The pin was held long enough; a host that talks ends the wait as well."""
        if self._wait is not None:
            after, self._wait = self._wait.after, None
            self.say(after)

    def reset(self, *, boot_pin_low: bool = False) -> None:
        """Leave reset: latch the eFuses, sample the straps, start the ROM."""
        if not self.state.powered:
            return
        self.set_efuses(self.efuses.latched())
        self.baud = 0
        self._speaking = None
        self._reset_wanted = None
        self.hold()
        download = self.state.download or boot_pin_low
        if not download:
            self.run_from_flash()
        elif download_mode_off(self.efuses):
            self.mode = Mode.CODE
            self.say("Download boot modes disabled\r\n")
        else:
            self._enter_download()

    def _enter_download(self) -> None:
        strap = self.registers.gpio_strap
        self._bus = Bus(
            self.registers,
            EfuseController(
                self.chip, lambda: self.efuses, self.set_efuses, fail_shift=self.registers.efuse_fail_shift
            ),
            SpiController(self.registers.spi, self._file.flash.size),
            strap=strap.download,
            baud=self._rate,
            reset=lambda: self.schedule(WATCHDOG_DELAY_S, self.reset),
        )
        if self.registers.revision_bit2 and self.efuses.revision >= 300:
            self._bus.memory.load(self.registers.revision_bit2, (1 << 31).to_bytes(4, "little"))
        self.mode = Mode.DOWNLOAD
        self._loader = self._talker = RomLoader(self)
        self.say(
            "\r\n".join(
                [
                    *self.chip.rom.banner,
                    f"rst:0x1 (POWERON),boot:{strap.download:#x} ({self.registers.download_mode})",
                    "waiting for download\r\n",
                ]
            )
        )

    def run_from_flash(self) -> None:
        """Boot as the straps of a normal boot say."""
        self.finish_boot(self._boot(self))

    def finish_boot(self, booted: Booted) -> None:
        """The boot is over: print what it printed, and let whoever answers now answer."""
        self.mode = Mode.BOOTED
        self._loader = None
        self._talker = booted.talker
        self._ports, self._datagrams = booted.ports, booted.datagrams
        self.looping = booted.again
        self._wait = wait = booted.waits
        self.say(wait.before if wait else booted.console)
        if wait:
            self.schedule(wait.delay_s, lambda: self.end_wait() if self._wait is wait else None)
        if not booted.powered:
            self.power(on=False)

    # The UARTs

    def uart(self, name: str) -> Uart:
        """The serial port of that name: `uart0`, `uart1` or `usb`."""
        return self.uarts.setdefault(name, Uart(self, name))

    def receive(self, data: bytes, uart: Uart) -> None:
        """Bytes from the host on one port; the loader listens on all, until it has understood one."""
        if self._ports and uart.name not in self._ports:
            return
        if self._talker is None or self._speaking not in (None, uart) or self._garbled(uart):
            return
        self.end_wait()
        self._answer(uart, self._talker.feed(data))
        if self._loader is not None:
            self._after_answers(self._loader, uart)
        self._do_what_is_wanted()

    def datagram(self, data: bytes) -> bytes:
        """A datagram for the application; empty where nobody answers."""
        answer = self._datagrams(data) if self._datagrams is not None else b""
        self._do_what_is_wanted()
        return answer

    def hung_up(self) -> None:
        """A client without control lines hung up: that is how it resets a chip, unless clients come and go here."""
        if not self._ports:
            self.reset()

    def want_reset(self) -> None:
        """Reset once the answer is out."""
        self.schedule(0, self.reset)

    def _do_what_is_wanted(self) -> None:
        if self._reset_wanted is not None:
            act, self._reset_wanted = self._reset_wanted, None
            act()

    def _answer(self, uart: Uart, data: bytes) -> None:
        if data:
            self._speaking = None if self._ports else uart
            uart.send(data)

    def _after_answers(self, loader: RomLoader, uart: Uart) -> None:
        loader.afterwards()
        if loader is self._loader and loader.is_stub:
            self.mode = Mode.STUB
            self._answer(uart, loader.feed(b""))

    def _rate(self) -> int:
        host = self._speaking.host_baud if self._speaking is not None else 0
        return host or self.baud or ROM_BAUD

    def _garbled(self, uart: Uart) -> bool:
        """Whether host and chip talk at rates too far apart; until it is told a rate, the chip takes the host's."""
        return bool(self.baud and uart.host_baud) and abs(self.baud - uart.host_baud) > self.baud * BAUD_TOLERANCE

    def print_again(self) -> None:
        """Another round of a reset loop: on the ports, but remembered only once."""
        self._print(self.looping)

    def _print(self, text: str) -> None:
        for uart in self.uarts.values():
            if uart.name != "uart1":
                uart.send(text.encode())

    def say(self, text: str) -> None:
        """Console output: on every port but UART1, and remembered."""
        self._print(text)
        self._file.save(replace(self.state, console=(self.state.console + text)[-CONSOLE_KEPT:]))

    def _want(self, act: Callable[[], None]) -> None:
        self._reset_wanted = act

    # What the loader reaches (`loader_target.Target`)

    def read_word(self, address: int) -> int:
        """A word of memory or a register."""
        return self._bus.read(address)

    def write_word(self, address: int, value: int) -> None:
        """Write a word; a register may act on it."""
        self._bus.write(address, value)

    def load(self, address: int, data: bytes) -> None:
        """Put bytes into RAM."""
        self._bus.memory.load(address, data)

    def flash_size(self) -> int:
        """Bytes of the flash."""
        return self._file.flash.size

    def read_flash(self, address: int, length: int) -> bytes:
        """Raw flash content."""
        return self._file.flash.read(address, length)

    def erase_flash(self, address: int, length: int) -> None:
        """Erase whole sectors."""
        self._file.flash.erase(address, length)

    def write_flash(self, address: int, data: bytes) -> None:
        """Program plain bytes."""
        self._file.flash.write(address, data)

    def write_flash_encrypted(self, address: int, data: bytes) -> None:
        """Program through the encryption unit."""
        if self.efuses.is_set(self.chip.flash_encryption.manual_encrypt_field):
            raise SiliconError(
                f"{self.chip.flash_encryption.manual_encrypt_field} is burned: the ROM loader cannot encrypt",
                "encrypt on the host, with the key, before you write",
            )
        EncryptedFlash.at_reset(self._file.flash, self.efuses).apply(Write(address, data, encrypted=True))

    def attach_flash(self) -> None:
        """Connect the SPI controller to the flash."""
        self._bus.spi.attached = True

    def security_info(self) -> bytes | None:
        """GET_SECURITY_INFO: flags, counter, purposes, and on most chips the chip's id (ROM of each chip)."""
        return _SECURITY_INFO[self.registers.security_info](self.efuses)

    def secure_download(self) -> bool:
        """Whether secure download mode is in force."""
        name = "ENABLE_SECURITY_DOWNLOAD"
        return self.chip.has_field(name) and self.efuses.latched_number(name) != 0

    def change_baudrate(self, baud: int) -> None:
        """Talk at another rate from now on."""
        self.baud = baud

    def is_stub(self, entry: int) -> bool:
        """Whether RAM code was loaded where tools put a flasher stub, and `entry` lies behind it."""
        return any(0 <= entry - at < 0x8000 and self._bus.memory.holds(at) for at in self.registers.stub)

    def run_code(self, entry: int) -> None:
        """Code in RAM is not modelled: the chip falls silent until its next reset."""
        self.mode = Mode.CODE
        self._talker = None

    def hijacked_read(self) -> int:
        """The ROM's flash-read pointer, where a tool has redirected it."""
        pointer = self.registers.read_pointer
        return self._bus.memory.word(pointer) if pointer else 0

    def leave(self, how: Leave) -> None:
        """The loader's session ends, once its answer is out: a boot may take longer than a client waits."""
        session, act = self._loader, self.reset if how is Leave.RESET else self.run_from_flash
        self.schedule(0, lambda: act() if self._loader is session else None)


#: bit of the flags word → the eFuse field that it shows (esptool 5.6.0, `get_security_info`)
_FLAGS = (
    (0, "SECURE_BOOT_EN"),
    (1, "SECURE_BOOT_AGGRESSIVE_REVOKE"),
    (2, "ENABLE_SECURITY_DOWNLOAD"),
    (3, "SECURE_BOOT_KEY_REVOKE0"),
    (4, "SECURE_BOOT_KEY_REVOKE1"),
    (5, "SECURE_BOOT_KEY_REVOKE2"),
    (6, "SOFT_DIS_JTAG"),
    (7, "HARD_DIS_JTAG"),
    (7, "DIS_PAD_JTAG"),
    (8, "DIS_USB"),
    (8, "DIS_USB_SERIAL_JTAG"),
    (9, "DIS_DOWNLOAD_DCACHE"),
    (10, "DIS_DOWNLOAD_ICACHE"),
)


def _short_info(efuses: Efuses) -> bytes:
    flags = 0
    for bit, name in _FLAGS:
        if efuses.chip.has_field(name, revision=efuses.revision) and efuses.latched_number(name):
            flags |= 1 << bit
    counter = efuses.latched_number(efuses.chip.flash_encryption.counter_field)
    purposes = [0] * 7
    if efuses.chip.keys.purpose_by == "field":
        for i in range(len(efuses.chip.keys.blocks)):
            purposes[i] = efuses.latched_number(f"KEY_PURPOSE_{i}")
    return struct.pack("<IB7B", flags, counter, *purposes)


def _full_info(efuses: Efuses) -> bytes:
    return _short_info(efuses) + struct.pack("<II", efuses.chip.chip_id, 0)


def _no_info(efuses: Efuses) -> None:
    return None


_SECURITY_INFO: dict[str, Callable[[Efuses], bytes | None]] = {
    "none": _no_info,
    "short": _short_info,
    "full": _full_info,
}
