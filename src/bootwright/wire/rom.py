"""The packets of Espressif's serial loaders, the one in ROM and the flasher stub that tools upload into RAM.

No I/O and no state: both ends of the line pack and parse with these. The protocol is described in esptool's
documentation (`docs/en/advanced-topics/serial-protocol.rst`, 5.6.0).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from bootwright.errors import WireError

REQUEST = 0x00
RESPONSE = 0x01
SYNC_DATA = b"\x07\x07\x12\x20" + 32 * b"\x55"
ROM_SYNC_VALUE = 0x20120707  #: what a ROM answers to SYNC; the stub answers 0
STUB_GREETING = b"OHAI"  #: the only packet that nobody asked for
CHECKSUM_SEED = 0xEF
ROM_FLASH_BLOCK = 0x400
STUB_FLASH_BLOCK = 0x4000
RAM_BLOCK = 0x1800
SLOW_READ_BLOCK = 64  #: bytes of one answer to READ_FLASH_SLOW

_HEADER = struct.Struct("<BBHI")


class Opcode(IntEnum):
    """What a request asks for."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    READ_FLASH_SLOW = 0x0E
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1
    READ_FLASH = 0xD2
    RUN_USER_CODE = 0xD3


class RomStatus(IntEnum):
    """Second status byte of the ROM when the first is 1."""

    BAD_PARAMETER = 0x01
    BAD_MESSAGE = 0x05
    FAILED = 0x06
    BAD_CHECKSUM = 0x07
    FLASH_WRITE = 0x08
    FLASH_READ = 0x09
    READ_LENGTH = 0x0A
    DEFLATE = 0x0B


class StubStatus(IntEnum):
    """First status byte of the flasher stub; the second is 0."""

    BAD_LENGTH = 0xC0
    BAD_CHECKSUM = 0xC1
    BAD_BLOCK_SIZE = 0xC2
    INVALID = 0xC3
    FAILED_SPI = 0xC4
    NOT_IN_FLASH_MODE = 0xC6
    INFLATE = 0xC7
    NOT_ENOUGH_DATA = 0xC8
    TOO_MUCH_DATA = 0xC9
    NOT_IMPLEMENTED = 0xFF


def checksum(data: bytes) -> int:
    """XOR of all bytes, seeded with 0xEF; halves are folded so that a block costs microseconds."""
    size = 1 << max(len(data) - 1, 0).bit_length()
    folded = int.from_bytes(data, "little")
    while size > 1:
        size //= 2
        folded = (folded >> 8 * size) ^ (folded & ((1 << 8 * size) - 1))
    return folded ^ CHECKSUM_SEED


@dataclass(frozen=True, slots=True)
class Request:
    """`00 op length checksum data`."""

    op: int
    data: bytes = b""
    checksum: int = 0

    @classmethod
    def parse(cls, packet: bytes) -> Self:
        """Read a request.

        Raises:
            WireError: too short, not a request, or another length than it says.
        """
        if len(packet) < _HEADER.size:
            raise WireError(f"found a packet of {len(packet)} bytes, expected a request of at least {_HEADER.size}")
        direction, op, length, check = _HEADER.unpack_from(packet)
        if direction != REQUEST:
            raise WireError(f"found direction {direction:#04x}, expected a request ({REQUEST:#04x})")
        if len(packet) != _HEADER.size + length:
            raise WireError(f"found {len(packet) - _HEADER.size} bytes of data, the header says {length}")
        return cls(op, packet[_HEADER.size :], check)

    def pack(self) -> bytes:
        """The packet, without its frame."""
        return _HEADER.pack(REQUEST, self.op, len(self.data), self.checksum) + self.data

    def words(self, count: int) -> tuple[int, ...]:
        """The first `count` words of the data.

        Raises:
            WireError: there are fewer.
        """
        if len(self.data) < 4 * count:
            raise WireError(f"found {len(self.data)} bytes of data, expected at least {4 * count}")
        return struct.unpack_from(f"<{count}I", self.data)


@dataclass(frozen=True, slots=True)
class Response:
    """`01 op length value data`; the status bytes are the last of the data."""

    op: int
    data: bytes
    value: int = 0

    @classmethod
    def parse(cls, packet: bytes) -> Self:
        """Read a response.

        Raises:
            WireError: too short, or not a response.
        """
        if len(packet) < _HEADER.size:
            raise WireError(f"found a packet of {len(packet)} bytes, expected a response of at least {_HEADER.size}")
        direction, op, length, value = _HEADER.unpack_from(packet)
        if direction != RESPONSE or len(packet) != _HEADER.size + length:
            raise WireError(f"found a packet of direction {direction:#04x} and {len(packet)} bytes, no response")
        return cls(op, packet[_HEADER.size :], value)

    def pack(self) -> bytes:
        """The packet, without its frame."""
        return _HEADER.pack(RESPONSE, self.op, len(self.data), self.value) + self.data


def data_request(op: Opcode, block: bytes, sequence: int) -> Request:
    """A FLASH_DATA, FLASH_DEFL_DATA or MEM_DATA request with its checksum."""
    return Request(op, struct.pack("<4I", len(block), sequence, 0, 0) + block, checksum(block))
