"""What espsecure makes of addresses that no ESP32 tells apart: beyond 16 MiB, or below zero.

The chip's tweak takes bits 5 to 23 of the address. espsecure places the address among the key bits by multiplying it,
and does not cut it to those bits: where it has more, the fields run into each other. No chip decrypts that, but it is
what the file would be. Found by comparing with espsecure 5.6 at random addresses.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bootwright.formats.esp_flash_encryption import ESP32_UNIT_SIZE, esp32_key, esp32_many

if TYPE_CHECKING:
    from bootwright.formats.aes_bitsliced import Planes

_FIELD = 19  #: key bits that one whole copy of the address takes
_SHORT_FIELDS = (10, 8, 6, 4)  #: key bits of the cut copy at the end of each group


def encrypt_esp32_carrying(data: bytes, key: bytes, address: int, crypt_config: int) -> bytes:
    """What espsecure writes for `data`, whole blocks of 16, at an address of any size.

    Raises:
        FormatError: the key is neither 24 nor 32 bytes.
    """
    from bootwright.formats.aes_bitsliced import decrypt

    return esp32_many(data, address, partial(_key_planes, esp32_key(key), crypt_config), decrypt)


def decrypt_esp32_carrying(data: bytes, key: bytes, address: int, crypt_config: int) -> bytes:
    """What `encrypt_esp32_carrying` was given; raises as it does."""
    from bootwright.formats.aes_bitsliced import encrypt

    return esp32_many(data, address, partial(_key_planes, esp32_key(key), crypt_config), encrypt)


def _key_planes(key: bytes, crypt_config: int, start: int, units: int) -> Planes:
    """The tweaked key of every unit as bit planes `[bit, row, column, word]`."""
    import numpy as np

    from bootwright.formats.aes_bitsliced import planes_from_bytes

    number, first = int.from_bytes(key, "big"), start // ESP32_UNIT_SIZE
    whole, short, cut, counted = _multipliers(crypt_config)
    tweaked = (
        (number ^ ((unit * whole | unit * short & cut) & counted)).to_bytes(32, "big")
        for unit in range(first, first + units)
    )
    keys = np.frombuffer(b"".join(tweaked), np.uint8).reshape(units, 2, 16)
    halves = planes_from_bytes(np.ascontiguousarray(keys.transpose(2, 1, 0)))
    # The eight columns of a key are the four of its first half and the four of its second.
    return np.ascontiguousarray(np.moveaxis(halves, 3, 2)).reshape(8, 4, 8, units // 64)


def _multipliers(crypt_config: int) -> tuple[int, int, int, int]:
    """What whole and cut copies multiply the unit's number by, the bits of the latter, and all bits that count."""
    at, whole, short, cut, counted = 256, 0, 0, 0, 0
    for group, width in enumerate(_SHORT_FIELDS):
        start = at
        for _ in range(3):
            at -= _FIELD
            whole += 1 << at
        at -= width
        short += 1 << at
        cut |= (1 << width) - 1 << at
        counted |= (1 << start) - (1 << at) if crypt_config >> group & 1 else 0
    return whole, short, cut, counted
