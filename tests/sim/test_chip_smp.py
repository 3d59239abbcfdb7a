from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from tests.support.chip_scene import FLASH_ENCRYPTION, LAYOUT, PRIMARY, application, bootloader
from tests.support.keys import key_of
from tests.support.smp_line import VirtualClock

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.keys import KeyType
from bootwright.sim.chip_file import create_chip_file, open_chip_file
from bootwright.sim.chip_smp import detect_pin_held, drive_pins, recovery_port
from bootwright.sim.encrypted_flash import EncryptedFlash, is_encryption_on
from bootwright.sim.firmware import boot_from_flash
from bootwright.sim.virtual_chip import VirtualChip
from bootwright.smp import messages
from bootwright.smp.client import console_link
from bootwright.smp.errors import SilenceError
from bootwright.smp.negotiate import negotiate
from bootwright.smp.upload import Upload

T = TypeVar("T")
RECOVERY = {"CONFIG_ESP_MCUBOOT_SERIAL": "y"}


@contextmanager
def chip_on(folder: Path, *groups: dict[str, str], app: bytes = b"", pin: int | None = None) -> Iterator[VirtualChip]:
    path = folder / "dev.chip"
    create_chip_file(path, Efuses.blank(load_chip("esp32c3")), 4 << 20)
    text = "\n".join(f"{name}={value}" for group in (LAYOUT, *groups) for name, value in group.items())
    with open_chip_file(path) as file:
        file.flash.load(0, bootloader(signed=False))
        if app:
            file.flash.load(PRIMARY, app)
        keys = (key_of(KeyType.ED25519, 0).public.der,)
        gpio = () if pin is None else ((5, pin),)
        file.save(replace(file.state, conf=text, keys=keys, download=False, gpio=gpio, app="smp"))
        yield VirtualChip(file, boot=boot_from_flash)


def talk(chip: VirtualChip, port: str, program: Generator[memoryview | int, int | None, T]) -> T:
    """Run a program over one of the chip's ports."""
    uart = chip.uart(port)
    waiting = b""
    count: int | None = None
    try:
        while True:
            want = program.send(count)
            if isinstance(want, int):
                waiting += uart.take()
                count = min(len(waiting), len(LINK.inbox))
                LINK.inbox[:count] = waiting[:count]
                waiting = waiting[count:]
                if not count:
                    CLOCK.ms += want
            else:
                uart.receive(bytes(want))
                count = None
    except StopIteration as end:
        result: T = end.value
        return result


CLOCK = VirtualClock()
LINK = console_link(CLOCK, 1020, 2048)


def send(chip: VirtualChip, port: str, image: bytes) -> None:
    def read_into(offset: int, view: memoryview) -> None:
        view[:] = image[offset : offset + len(view)]

    talk(chip, port, negotiate(LINK))
    talk(chip, port, Upload(LINK, read_into, len(image)).run())


def conf(**options: str) -> BootloaderConf:
    return BootloaderConf.parse("\n".join(f"CONFIG_ESP_{name}={value}" for name, value in options.items()))


@pytest.mark.parametrize(
    ("options", "pins", "held"),
    [
        ({}, (), False),
        ({}, ((5, 1),), True),
        ({}, ((5, 0),), False),
        ({"SERIAL_BOOT_GPIO_DETECT": "9"}, ((9, 1),), True),
        ({"SERIAL_BOOT_GPIO_DETECT": "9"}, ((5, 1),), False),
        ({"SERIAL_BOOT_GPIO_DETECT_VAL": "0"}, (), True),
        ({"SERIAL_BOOT_GPIO_DETECT_VAL": "0", "SERIAL_BOOT_GPIO_INPUT_TYPE": "1"}, (), False),
        ({"SERIAL_BOOT_GPIO_DETECT_VAL": "0", "SERIAL_BOOT_GPIO_INPUT_TYPE": "1"}, ((5, 0),), True),
    ],
)
def test_the_pin_asks_for_recovery_as_the_conf_says(
    tmp_path: Path, options: dict[str, str], pins: tuple[tuple[int, int], ...], held: bool
) -> None:
    with chip_on(tmp_path) as chip:
        chip.remember(replace(chip.state, gpio=pins))
        assert detect_pin_held(chip, conf(**options)) is held


@pytest.mark.parametrize(
    ("options", "port"),
    [
        ({}, "uart1"),
        ({"SERIAL_BOOT_UART_NUM": "0"}, "uart0"),
        ({"SERIAL_BOOT_UART_NUM": "2"}, "uart1"),
        ({"MCUBOOT_SERIAL_USB_SERIAL_JTAG": "y"}, "usb"),
    ],
)
def test_recovery_listens_where_the_conf_says(options: dict[str, str], port: str) -> None:
    assert recovery_port(conf(**options)) == port


def test_without_the_option_the_pin_means_nothing(tmp_path: Path) -> None:
    with chip_on(tmp_path, app=application(version="1.0.0", max_align=8), pin=1) as chip:
        assert "Enter the serial recovery mode" not in chip.state.console
        assert talk(chip, "uart0", messages.image_list(LINK))[0].version == "1.0.0"


def test_a_chip_in_recovery_answers_on_its_port_only_whoever_hangs_up(tmp_path: Path) -> None:
    with chip_on(tmp_path, RECOVERY, pin=1) as chip:
        assert talk(chip, "uart1", messages.image_list(LINK)) == []
        chip.hung_up()
        assert talk(chip, "uart1", messages.image_list(LINK)) == []
        with pytest.raises(SilenceError):
            talk(chip, "uart0", messages.params(LINK))
        assert chip.datagram(b"\x08\0\0\x01\0\0\0\x06\xa0") == b""


ENTERED = "Enter the serial recovery mode"


def later(chip: VirtualChip) -> list[tuple[float, Callable[[], None]]]:
    """What the chip wants done later, instead of a clock."""
    wishes: list[tuple[float, Callable[[], None]]] = []
    chip.schedule = lambda delay_s, act: wishes.append((delay_s, act))
    return wishes


def test_the_pin_has_to_be_held_for_the_delay(tmp_path: Path) -> None:
    delay = {"CONFIG_ESP_SERIAL_BOOT_DETECT_DELAY_S": "3"}
    with chip_on(tmp_path, RECOVERY, delay, app=application(version="1.0.0", max_align=8)) as chip:
        wishes = later(chip)
        chip.drive(5, 1)
        chip.reset()
        ((delay_s, act),) = wishes
        assert delay_s == 3
        assert ENTERED not in chip.state.console
        act()
        assert ENTERED in chip.state.console


def test_a_pin_let_go_early_boots_the_application(tmp_path: Path) -> None:
    with chip_on(tmp_path, RECOVERY, app=application(version="1.0.0", max_align=8)) as chip:
        wishes = later(chip)
        chip.drive(5, 1)
        before = len(chip.state.console)
        chip.reset()
        chip.drive(5, 0)
        assert talk(chip, "uart0", messages.image_list(LINK))[0].version == "1.0.0"
        wishes[0][1]()
        assert ENTERED not in chip.state.console
        assert chip.state.console[before:].count("*** Booting MCUboot") == 1


def test_a_host_that_talks_need_not_wait_for_the_delay(tmp_path: Path) -> None:
    with chip_on(tmp_path, RECOVERY, pin=1) as chip:
        later(chip)
        chip.reset()
        assert talk(chip, "uart1", messages.image_list(LINK)) == []
        assert chip.state.console.count(ENTERED) == 1
        chip.drive(5, 0)
        assert talk(chip, "uart1", messages.image_list(LINK)) == []


def test_bringing_the_pin_to_its_level_restarts_the_chip_into_recovery(tmp_path: Path) -> None:
    app = application(version="1.0.0", max_align=8)
    with chip_on(tmp_path, RECOVERY, app=app) as chip:
        assert talk(chip, "uart0", messages.image_list(LINK))[0].version == "1.0.0"
        drive_pins(chip, {4: 1})
        assert chip.state.console.count("*** Booting MCUboot") == 1
        drive_pins(chip, {5: 1})
        assert talk(chip, "uart1", messages.image_list(LINK))[0].slot == 0
        drive_pins(chip, {5: 1})
        assert chip.state.console.count(ENTERED) == 1


@pytest.mark.parametrize("progressive", [False, True])
def test_a_chip_is_recovered_and_boots(tmp_path: Path, progressive: bool) -> None:
    more = {"CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY": "y"} if progressive else {}
    with chip_on(tmp_path, RECOVERY, more, pin=1) as chip:
        send(chip, "uart1", application(version="2.0.0", max_align=8))
        assert talk(chip, "uart1", messages.image_list(LINK))[0].version == "2.0.0"
        chip.drive(5, 0)
        talk(chip, "uart1", messages.reset(LINK))
        assert talk(chip, "usb", messages.image_list(LINK))[0].version == "2.0.0"


def test_recovery_under_flash_encryption_writes_ciphertext_that_boots(tmp_path: Path) -> None:
    old, new = application(version="1.0.0"), application(version="2.0.0", seed=b"new")
    with chip_on(tmp_path, RECOVERY, FLASH_ENCRYPTION, app=old) as chip:
        assert is_encryption_on(chip.efuses)
        chip.drive(5, 1)
        chip.reset()
        send(chip, "uart1", new)
        assert talk(chip, "uart1", messages.image_list(LINK))[0].version == "2.0.0"
        assert chip.file.flash.read(PRIMARY, 32) != new[:32]
        assert EncryptedFlash.at_reset(chip.file.flash, chip.efuses).read(PRIMARY, len(new)) == new
        chip.drive(5, 0)
        talk(chip, "uart1", messages.reset(LINK))
        listed = talk(chip, "uart0", messages.image_list(LINK))
        assert (listed[0].version, listed[0].active) == ("2.0.0", True)


def test_an_application_without_a_server_is_silent(tmp_path: Path) -> None:
    with chip_on(tmp_path, app=application(version="1.0.0", max_align=8)) as chip:
        chip.remember(replace(chip.state, app="none"))
        chip.reset()
        with pytest.raises(SilenceError):
            talk(chip, "uart0", messages.params(LINK))
