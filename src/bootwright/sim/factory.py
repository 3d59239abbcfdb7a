"""A chip as it leaves the factory."""

from __future__ import annotations

import re
import secrets

from bootwright.chips.chip import Chip
from bootwright.chips.coding import crc8
from bootwright.chips.efuses import Efuses
from bootwright.errors import RefusedError, SiliconError

_ESPRESSIF = bytes.fromhex("240ac4")  #: one of Espressif's address blocks
#: CLK8M_FREQ of the ESP32: the 8 MHz oscillator as measured; tools compute the ROM's idea of the crystal from it.
_CLK8M_FREQ = 51
_NUMBER = re.compile("[0-9]{1,2}")


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


def parse_revision(text: str, chip: Chip) -> int:
    """`3.1`, `v3.1`: major * 100 + minor. A minor version that is still to come is taken, a major version is not.

    Raises:
        RefusedError: it is no revision.
        SiliconError: the chip has none of that major version.
    """
    major, _, minor = text.removeprefix("v").partition(".")
    if not _NUMBER.fullmatch(major) or not _NUMBER.fullmatch(minor or "0"):
        raise RefusedError(f"{text!r} is no silicon revision", "write major and minor, such as 3.1")
    revision = int(major) * 100 + int(minor or 0)
    if int(major) not in {0, *(known // 100 for known in chip.revisions)}:  # v0: what came before the first known
        because = f"the {chip.title} has no revision v{major}.{minor or 0}"
        raise SiliconError(because, f"these are known: {chip.revisions_text}")
    return revision
