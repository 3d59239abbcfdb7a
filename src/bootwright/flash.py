"""What programs see of a flash, and the operations that they yield.

A program reads by calling `Flash.read` and changes by yielding `Erase` and `Write`; whoever drives it performs,
counts, shows, cuts or refuses them. Sizes and addresses are bytes, addresses count from the start of the flash.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bootwright.errors import SiliconError

SECTOR_SIZE = 4096
ERASED = 0xFF


@dataclass(frozen=True, slots=True)
class Erase:
    """Set `[address, address + length)` to 0xFF."""

    address: int
    length: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """Program `data` at `address`; NOR flash can only clear bits.

    `encrypted` asks the chip's flash-encryption unit to encrypt on the way; `data` is then the plaintext.
    """

    address: int
    data: bytes
    why: str = ""
    encrypted: bool = False


FlashOp = Erase | Write

T = TypeVar("T")
Program = Generator[FlashOp, None, T]


class Flash(Protocol):
    """What a program may ask of a flash. Under flash encryption `read` is the view through the decryption unit."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    @property
    def sector_size(self) -> int:
        """Bytes of the smallest erase."""
        ...

    def read(self, address: int, length: int) -> bytes:
        """Read `length` bytes at `address`; raises `SiliconError` outside the flash."""
        ...


@dataclass(frozen=True, slots=True)
class Area:
    """A named range of the flash."""

    name: str
    address: int
    size: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.size

    def overlaps(self, other: Area) -> bool:
        """Whether both ranges share a byte."""
        return self.address < other.end and other.address < self.end


class NorFlash:
    """A NOR flash in memory: erase sets sectors to 0xFF, write clears bits."""

    __slots__ = ("_bytes", "sector_size")

    def __init__(self, size: int, *, sector_size: int = SECTOR_SIZE) -> None:
        self._bytes: bytearray | mmap.mmap = bytearray(b"\xff") * size
        self.sector_size = sector_size

    @classmethod
    def holding(cls, content: bytes, *, sector_size: int = SECTOR_SIZE) -> NorFlash:
        """A flash with this content."""
        flash = cls(0, sector_size=sector_size)
        flash._bytes = bytearray(content)
        return flash

    @classmethod
    def over(cls, cells: mmap.mmap, *, sector_size: int = SECTOR_SIZE) -> NorFlash:
        """A flash whose cells live in a mapped file: every change is in the file at once."""
        flash = cls(0, sector_size=sector_size)
        flash._bytes = cells
        return flash

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self._bytes)

    def read(self, address: int, length: int) -> bytes:
        """Read `length` bytes at `address`."""
        self._check(address, length, "read")
        return bytes(self._bytes[address : address + length])

    def erase(self, address: int, length: int) -> None:
        """Set whole sectors to 0xFF."""
        self._check(address, length, "erase")
        if address % self.sector_size or length % self.sector_size:
            raise SiliconError(
                f"erase of {length:#x} bytes at {address:#x} is not made of whole sectors of {self.sector_size:#x}",
                "align address and length to the sector",
            )
        self._bytes[address : address + length] = b"\xff" * length

    def write(self, address: int, data: bytes) -> None:
        """Clear bits: what was 0 stays 0."""
        self._check(address, len(data), "write")
        old = self._bytes[address : address + len(data)]
        if old.count(ERASED) == len(old):
            self._bytes[address : address + len(data)] = data
            return
        both = int.from_bytes(old, "little") & int.from_bytes(data, "little")
        self._bytes[address : address + len(data)] = both.to_bytes(len(data), "little")

    def apply(self, op: FlashOp) -> None:
        """Perform a plain operation; an encrypted write needs a chip (`bootwright.sim`)."""
        if isinstance(op, Erase):
            self.erase(op.address, op.length)
        elif op.encrypted:
            raise SiliconError("an encrypted write reached a flash without an encryption unit", "drive it with a chip")
        else:
            self.write(op.address, op.data)

    def load(self, address: int, data: bytes) -> None:
        """Put bytes there as a programmer would, whatever was there before."""
        self._check(address, len(data), "load")
        self._bytes[address : address + len(data)] = data

    def snapshot(self) -> bytes:
        """The whole content."""
        return bytes(self._bytes)

    def _check(self, address: int, length: int, verb: str) -> None:
        if address < 0 or length < 0 or address + length > len(self._bytes):
            raise SiliconError(
                f"{verb} of {length:#x} bytes at {address:#x} leaves the flash of {len(self._bytes):#x} bytes",
                "check the layout against the flash size",
            )


def drive(program: Program[T], perform: Callable[[FlashOp], None]) -> T:
    """Run a program to its end, performing each operation that it yields."""
    try:
        while True:
            perform(next(program))
    except StopIteration as end:
        result: T = end.value
        return result
