"""A chip as it leaves the factory."""

from __future__ import annotations

import secrets

from bootwright.chips.chip import Chip
from bootwright.chips.coding import crc8
from bootwright.chips.efuses import Efuses
from bootwright.errors import RefusedError

_ESPRESSIF = bytes.fromhex("240ac4")  #: one of Espressif's address blocks
#: CLK8M_FREQ of the ESP32: the 8 MHz oscillator as measured; tools compute the ROM's idea of the crystal from it.
_CLK8M_FREQ = 51


def factory_efuses(chip: Chip, *, mac: bytes, revision: int | None = None) -> Efuses:
    """Revision and MAC address with what guards it, and what the ROM's clocks need."""
    efuses = Efuses.blank(chip, revision=revision, mac=mac)
    burned = {number: efuses.bits[number] for number in range(len(chip.blocks))}
    extra = {"MAC_CRC": crc8(mac), "CLK8M_FREQ": _CLK8M_FREQ, "MAC_EXT": 0xFEFF}
    for name, value in extra.items():
        if chip.has_field(name, revision=efuses.revision):
            field = chip.field(name, revision=efuses.revision)
            burned[field.block] |= field.place(value)
    blocks = {number: bits.to_bytes(chip.blocks[number].size, "little") for number, bits in burned.items()}
    return Efuses.holding(chip, blocks, revision=efuses.revision)


def draw_mac() -> bytes:
    """A random address in one of Espressif's blocks."""
    return _ESPRESSIF + secrets.token_bytes(3)


def parse_mac(text: str) -> bytes:
    """`24:0a:c4:01:02:03`.

    Raises:
        RefusedError: it is no address, or one for groups.
    """
    try:
        mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        mac = b""
    if len(mac) != 6 or mac[0] & 1:
        raise RefusedError(f"{text!r} is no MAC address of a device", "write six bytes, such as 24:0a:c4:01:02:03")
    return mac


def parse_revision(text: str) -> int:
    """`3.1`, `v3.1`: major * 100 + minor.

    Raises:
        RefusedError: it is no revision.
    """
    major, _, minor = text.removeprefix("v").partition(".")
    if not major.isdigit() or not (minor or "0").isdigit() or int(minor or 0) > 99:
        raise RefusedError(f"{text!r} is no silicon revision", "write major and minor, such as 3.1")
    return int(major) * 100 + int(minor or 0)
