"""Who speaks SMP on a virtual chip: MCUboot in serial recovery, or the application that it booted.

Recovery listens on the port that `bootloader.conf` names (boot/espressif/port/serial_adapter.c, MCUboot 2d4bacc3); an
application with an SMP server listens on the console's ports and on UDP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from bootwright.boot.config import BootConfig
from bootwright.boot.recovery import RecoveryState, SerialRecovery
from bootwright.flash import Program, drive
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.sim.board import Outcome
from bootwright.sim.encrypted_flash import EncryptedFlash, is_encryption_on
from bootwright.sim.machine import BootReport
from bootwright.sim.port_config import boot_config
from bootwright.sim.smp_server import Application, AppState
from bootwright.sim.virtual_chip import Booted, Mode, PinWait, VirtualChip

#: the pin that a build without CONFIG_ESP_SERIAL_BOOT_GPIO_DETECT samples (serial_adapter.c)
DETECT_PINS = {"esp32c2": 18, "esp32c5": 3, "esp32c6": 3, "esp32c61": 3, "esp32p4": 3, "esp32h2": 12}
DEFAULT_DETECT_PIN = 5
DEFAULT_DETECT_DELAY_S = 5
APPLICATION_PORTS = frozenset({"uart0", "usb"})


class RecoveryTalker:
    """MCUboot waits for a host, until it is told to reset."""

    def __init__(self, chip: VirtualChip, config: BootConfig) -> None:
        self._chip = chip
        self._flash = EncryptedFlash.at_reset(chip.file.flash, chip.efuses)
        self._recovery = SerialRecovery(self._flash, config)

    def feed(self, data: bytes) -> bytes:
        """Bytes from the host, and what goes back."""
        answer = drive(self._recovery.receive(data), self._flash.apply)
        if self._recovery.state is RecoveryState.RESET:
            self._chip.want_reset()
        return answer


class ApplicationTalker:
    """The booted application's SMP server."""

    def __init__(self, chip: VirtualChip, config: BootConfig) -> None:
        self._chip = chip
        self._flash = EncryptedFlash.at_reset(chip.file.flash, chip.efuses)
        state = AppState(board=chip.chip.name)
        self._application = Application(self._flash, config, now_us=lambda: time.monotonic_ns() // 1000, state=state)

    def feed(self, data: bytes) -> bytes:
        """Bytes from the host, and what goes back."""
        return self._do(self._application.receive(data))

    def datagram(self, data: bytes) -> bytes:
        """A datagram, and its answer."""
        return self._do(self._application.datagram(data))

    def _do(self, program: Program[bytes]) -> bytes:
        answer = drive(program, self._flash.apply)
        if self._application.reset_wanted:
            self._chip.want_reset()
        return answer


def detect_pin(chip: VirtualChip, conf: BootloaderConf) -> tuple[int, int]:
    """The pin that recovery is asked for with, and its level for that."""
    default = DETECT_PINS.get(chip.chip.name, DEFAULT_DETECT_PIN)
    pin = conf.integer("CONFIG_ESP_SERIAL_BOOT_GPIO_DETECT", default)
    return pin, conf.integer("CONFIG_ESP_SERIAL_BOOT_GPIO_DETECT_VAL", 1)


def detect_pin_held(chip: VirtualChip, conf: BootloaderConf) -> bool:
    """`boot_serial_detect_pin`: whether the pin has the level that asks for recovery; undriven it has its pull's."""
    pin, wanted = detect_pin(chip, conf)
    pulled = conf.integer("CONFIG_ESP_SERIAL_BOOT_GPIO_INPUT_TYPE", 0)
    return dict(chip.state.gpio).get(pin, pulled) == wanted


def drive_pins(chip: VirtualChip, levels: Mapping[int, int]) -> None:
    """Drive pins from outside; what brings the recovery pin to its level resets the chip: only then it is sampled."""
    held = _asks_for_recovery(chip)
    for pin, level in levels.items():
        chip.drive(pin, level)
    if not held and _asks_for_recovery(chip) and chip.mode is not Mode.OFF:
        chip.reset()


def _asks_for_recovery(chip: VirtualChip) -> bool:
    if not chip.state.conf:
        return False
    conf = BootloaderConf.parse(chip.state.conf)
    return conf.defined("CONFIG_ESP_MCUBOOT_SERIAL") and detect_pin_held(chip, conf)


def recovery_port(conf: BootloaderConf) -> str:
    """The port that recovery listens on; any UART but 0 means UART1."""
    if conf.defined("CONFIG_ESP_MCUBOOT_SERIAL_USB_SERIAL_JTAG"):
        return "usb"
    return "uart1" if conf.integer("CONFIG_ESP_SERIAL_BOOT_UART_NUM", 1) else "uart0"


def with_smp(chip: VirtualChip, report: BootReport, booted: Booted) -> Booted:
    """A boot's end with whoever speaks SMP from then on."""
    make = _TALKERS.get(report.outcome)
    return make(chip, booted) if make is not None and chip.state.conf else booted


def _config_of(chip: VirtualChip) -> tuple[BootloaderConf, BootConfig]:
    conf = BootloaderConf.parse(chip.state.conf)
    active = conf.flash_encryption and is_encryption_on(chip.efuses)
    return conf, boot_config(conf, chip.state.keys, encryption_active=active)


def _in_recovery(chip: VirtualChip, booted: Booted) -> Booted:
    conf, config = _config_of(chip)
    talker = RecoveryTalker(chip, config)
    return replace(booted, talker=talker, ports=frozenset({recovery_port(conf)}), waits=_wait(chip, conf, booted))


def _wait(chip: VirtualChip, conf: BootloaderConf, booted: Booted) -> PinWait | None:
    """The pin has to keep its level for the delay; only then recovery says that it is there."""
    delay_s = conf.integer("CONFIG_ESP_SERIAL_BOOT_DETECT_DELAY_S", DEFAULT_DETECT_DELAY_S)
    lines = booted.console.splitlines(keepends=True)
    if delay_s <= 0 or not lines:
        return None
    return PinWait(*detect_pin(chip, conf), delay_s, "".join(lines[:-1]), lines[-1])


def _in_application(chip: VirtualChip, booted: Booted) -> Booted:
    if chip.state.app != "smp":
        return booted
    _, config = _config_of(chip)
    talker = ApplicationTalker(chip, config)
    return replace(booted, talker=talker, ports=APPLICATION_PORTS, datagrams=talker.datagram)


_TALKERS: dict[Outcome, Callable[[VirtualChip, Booted], Booted]] = {
    Outcome.RECOVERY: _in_recovery,
    Outcome.APP: _in_application,
}
