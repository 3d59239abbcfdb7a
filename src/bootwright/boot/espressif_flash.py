"""flash_area_* as the Espressif port does it: what bootutil asks for, and the raw operations that come of it.

A power cut falls between raw operations. Without flash encryption a write is one operation; with it, every write
reads, erases and rewrites whole sectors, and every erase is followed by writing encrypted 0xFF back.
Source: boot/espressif/port/esp_mcuboot.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

from bootwright.boot.config import BootConfig
from bootwright.boot.header import U32
from bootwright.boot.probe import Part, Probe
from bootwright.errors import SiliconError
from bootwright.flash import Area, Erase, Flash, FlashOp, Write

COPY_BUFFER = 1024  #: BUF_SZ of loader.c
ERASE_BUFFER = 256  #: FLASH_BUFFER_SIZE
FLASH_SECTOR_SIZE = 4096
ENCRYPTED_BLOCK = 32

T = TypeVar("T")

_ERASED_PIECE = b"\xff" * ERASE_BUFFER


@lru_cache(maxsize=8192)
def _erased_again(address: int, length: int, why: str) -> tuple[FlashOp, ...]:
    """Encrypted 0xFF over an erased range."""
    pieces = range(address, address + length, ERASE_BUFFER)
    return tuple(Write(at, _ERASED_PIECE, why, encrypted=True) for at in pieces)


class EspressifFlash:
    """The areas of one build over a flash; reads happen, changes are returned as operations to yield."""

    __slots__ = ("_encrypted", "_probe", "flash")

    def __init__(self, flash: Flash, config: BootConfig, probe: Probe) -> None:
        self.flash = flash
        self._encrypted = config.flash_encryption_active
        self._probe = probe

    def read(self, area: Area, offset: int, length: int) -> bytes | None:
        """flash_area_read: None where it refuses; the bounds check wraps at 32 bits as the C code's does."""
        end = (offset + length) & U32
        if end > area.size:
            self._probe.log("ERR", f"flash_area_read: Out of Bounds ({end:#x} vs {area.size:#x})")
            return None
        address = (area.address + offset) & U32
        try:
            return self.flash.read(address, length)
        except SiliconError:
            return None

    def reaches(self, area: Area, offset: int, length: int) -> bool:
        """Whether flash_area_read would read there."""
        inside = (offset + length) & U32 <= area.size
        return inside and ((area.address + offset) & U32) + length <= self.flash.size

    def observe(self, area: Area, offset: int, length: int, what: str, decode: Callable[[bytes], T]) -> T | None:
        """flash_area_read of bytes of which only what `decode` makes of them matters; None where it refuses."""
        if (offset + length) & U32 > area.size:
            return None
        try:
            return self._probe.observe(self.flash, (area.address + offset) & U32, length, what, decode)
        except SiliconError:
            return None

    def write(self, area: Area, offset: int, data: bytes, why: str) -> Iterable[FlashOp] | None:
        """flash_area_write: the raw operations, or None where it refuses."""
        if not self._can_write(area, offset, len(data)):
            return None
        address = (area.address + offset) & U32
        if self._encrypted:
            return self._rewrite(address, data, why, source=None)
        if not (address | len(data)) & 3:
            return (Write(address, data, why),)
        return self._write_around(address, data, why, align=4)

    def copy(self, source: Area, offset: int, target: Area, to: int, length: int, why: str) -> Iterable[FlashOp] | None:
        """flash_area_read and flash_area_write of what was read, at which nobody looks; None where either refuses."""
        address = (source.address + offset) & U32
        if not self._encrypted or (offset + length) & U32 > source.size or address + length > U32:
            data = self.read(source, offset, length)
            return None if data is None else self.write(target, to, data, why)
        try:
            data = self._probe.carry(self.flash, address, length)
        except SiliconError:
            return None
        if not self._can_write(target, to, length):
            return None
        return self._rewrite((target.address + to) & U32, data, why, source=address)

    def _can_write(self, area: Area, offset: int, length: int) -> bool:
        end = (offset + length) & U32
        if end > area.size:
            self._probe.log("ERR", f"flash_area_write: Out of Bounds ({end:#x} vs {area.size:#x})")
        return end <= area.size

    def erase(self, area: Area, offset: int, length: int, why: str) -> tuple[FlashOp, ...]:
        """flash_area_erase: it checks no bounds."""
        address = (area.address + offset) & U32
        if (address | length) % FLASH_SECTOR_SIZE:
            ops = self._erase_around(address, length, why)
        else:
            ops = (Erase(address, length, why),)
        if not self._encrypted:
            return ops
        return ops + _erased_again(address, length, why)

    def _rewrite(self, address: int, data: bytes, why: str, *, source: int | None) -> Iterator[FlashOp]:
        """Encryption active: each touched sector is read, erased and written back with the new bytes in it.

        `source` is where `data` was read, if it was and nobody looked at it.
        """
        self._probe.hold(b"")
        if not (address | len(data)) % FLASH_SECTOR_SIZE:
            self._probe.hold(data)
            yield Erase(address, len(data), why)
            yield Write(address, data, why, encrypted=True)
            return
        at = 0
        while at < len(data):
            inside = (address + at) % FLASH_SECTOR_SIZE
            sector = address + at - inside
            piece = data[at : at + FLASH_SECTOR_SIZE - inside]
            end = inside + len(piece)
            old = self._probe.carry(self.flash, sector, FLASH_SECTOR_SIZE)
            parts: tuple[Part, ...] = Part(0, inside, sector), Part(end, FLASH_SECTOR_SIZE - end, sector + end)
            if source is not None:
                parts += (Part(inside, len(piece), source + at),)
            new = old[:inside] + piece + old[end:]
            self._probe.hold_sector(sector, new, parts)
            yield Erase(sector, FLASH_SECTOR_SIZE, why)
            yield Write(sector, new, why, encrypted=True)
            at += len(piece)

    def _write_around(self, address: int, data: bytes, why: str, *, align: int) -> tuple[FlashOp, ...]:
        """Unaligned: write whole units with the flash's own bytes around; the tail is rounded up from the length."""
        ops: list[FlashOp] = []
        at = 0
        while at < len(data):
            inside = (address + at) % align
            piece = data[at : at + FLASH_SECTOR_SIZE - inside]
            size = -(-len(piece) // align) * align
            old = self.flash.read(address + at - inside, size)
            new = (old[:inside] + piece + old[inside + len(piece) :])[:size]
            ops.append(Write(address + at - inside, new, why, encrypted=self._encrypted))
            at += len(piece)
        return tuple(ops)

    def _erase_around(self, address: int, length: int, why: str) -> tuple[FlashOp, ...]:
        """Unaligned: sectors that are only partly meant keep their other bytes."""
        ops: list[FlashOp] = []
        align = ENCRYPTED_BLOCK if self._encrypted else 4
        end = address + length
        at = address - address % FLASH_SECTOR_SIZE
        while at < -(-end // FLASH_SECTOR_SIZE) * FLASH_SECTOR_SIZE:
            if address <= at and end >= at + FLASH_SECTOR_SIZE:
                whole = end - end % FLASH_SECTOR_SIZE - at
                ops.append(Erase(at, whole, why))
                at += whole
                continue
            old = self.flash.read(at, FLASH_SECTOR_SIZE)
            self._probe.hold(old)
            ops.append(Erase(at, FLASH_SECTOR_SIZE, why))
            head = old[: max(address - at, 0)]
            tail = old[min(end - at, FLASH_SECTOR_SIZE) :]
            for start, kept in ((at, head), (at + FLASH_SECTOR_SIZE - len(tail), tail)):
                if kept:
                    ops += self._restore(start, kept, why, align=align)
            at += FLASH_SECTOR_SIZE
        return tuple(ops)

    def _restore(self, address: int, data: bytes, why: str, *, align: int) -> tuple[FlashOp, ...]:
        if (address | len(data)) % align:
            return self._write_around(address, data, why, align=align)
        return (Write(address, data, why, encrypted=self._encrypted),)
