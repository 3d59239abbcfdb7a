"""How eFuse blocks guard their bits: Reed-Solomon, 3/4 coding, plain repetition.

RS(44,32): 12 parity bytes over 32 data bytes in GF(256) with x^8+x^4+x^3+x^2+1 and consecutive roots from α^0
(ESP-IDF components/hal/<chip>/include/hal/efuse_ll.h programs 8 data and 3 check words; what espefuse computes with
`reedsolo.RSCodec(12)`). 3/4: six data bytes, their XOR, and the sum of (position+1) × popcount (ESP-IDF
components/efuse/esp32/esp_efuse_utility.c, `esp_efuse_utility_apply_34_encoding`).
"""

from __future__ import annotations

from bootwright.errors import FormatError

RS_DATA = 32
RS_PARITY = 12
UNIT_34 = 6
DATA_34 = 24

_FIELD_POLYNOMIAL = 0x11D


def _tables() -> tuple[list[int], list[int]]:
    exponents, logarithms = [0] * 512, [0] * 256
    value = 1
    for power in range(255):
        exponents[power] = exponents[power + 255] = value
        logarithms[value] = power
        value <<= 1
        if value & 0x100:
            value ^= _FIELD_POLYNOMIAL
    return exponents, logarithms


_EXP, _LOG = _tables()


def _multiply(a: int, b: int) -> int:
    return _EXP[_LOG[a] + _LOG[b]] if a and b else 0


def _generator() -> list[int]:
    """Coefficients of ∏(x - α^i), highest power first, without the leading 1."""
    polynomial = [1]
    for root in range(RS_PARITY):
        shifted = [*polynomial, 0]
        for i, coefficient in enumerate(polynomial):
            shifted[i + 1] ^= _multiply(coefficient, _EXP[root])
        polynomial = shifted
    return polynomial[1:]


def _feedback() -> list[int]:
    """For each feedback byte, the parity register's change as one integer: the division becomes a shift and an XOR."""
    generator = _generator()
    return [int.from_bytes(bytes(_multiply(byte, g) for g in generator)) for byte in range(256)]


_FEEDBACK = _feedback()
_PARITY_MASK = (1 << 8 * RS_PARITY) - 1


def rs_parity(data: bytes) -> bytes:
    """The 12 parity bytes of a block; shorter data are zero-padded to 32 bytes."""
    if len(data) > RS_DATA:
        raise FormatError(
            f"found {len(data)} bytes for a Reed-Solomon block, expected at most {RS_DATA}", "a block holds 256 bits"
        )
    register = 0
    for byte in data.ljust(RS_DATA, b"\0"):
        feedback = byte ^ register >> 8 * (RS_PARITY - 1)
        register = (register << 8 & _PARITY_MASK) ^ _FEEDBACK[feedback]
    return register.to_bytes(RS_PARITY)


def crc8(data: bytes) -> int:
    """The CRC that guards the ESP32's MAC addresses (ESP-IDF's ROM `esp_crc8`: polynomial 0x31, reflected)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


def check_34(data: bytes) -> bytes:
    """The check bytes of 3/4 coding, two for each six bytes of data."""
    if len(data) % UNIT_34:
        raise FormatError(f"found {len(data)} bytes, expected a multiple of 6", "3/4 coding works on units of 6 bytes")
    check = bytearray()
    for at in range(0, len(data), UNIT_34):
        xor = total = 0
        for position, byte in enumerate(data[at : at + UNIT_34], 1):
            xor ^= byte
            total += position * byte.bit_count()
        check += bytes((xor, total & 0xFF))
    return bytes(check)


def encode_34(data: bytes) -> bytes:
    """24 bytes of data as the 32 bytes that are burned."""
    check = check_34(data)
    units = len(data) // UNIT_34
    return b"".join(data[6 * i : 6 * i + 6] + check[2 * i : 2 * i + 2] for i in range(units))


def split_34(raw: bytes) -> tuple[bytes, bytes]:
    """Burned bytes as data and check bytes, whether or not they fit each other."""
    if len(raw) % 8:
        raise FormatError(f"found {len(raw)} bytes, expected a multiple of 8", "a coded unit has 8 bytes")
    units = range(0, len(raw), 8)
    return b"".join(raw[i : i + 6] for i in units), b"".join(raw[i + 6 : i + 8] for i in units)
