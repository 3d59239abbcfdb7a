"""What a virtual chip does when it boots from flash."""

from __future__ import annotations

from bootwright.sim.virtual_chip import Booted, VirtualChip


def boot_from_flash(chip: VirtualChip) -> Booted:
    """The ROM's first lines."""
    registers = chip.registers
    return Booted(
        f"{registers.banner}\r\nrst:0x1 (POWERON),boot:{registers.gpio_strap.normal:#x} (SPI_FAST_FLASH_BOOT)\r\n"
    )
