"""Copying between areas, a kilobyte at a time; encrypted images change on their way into or out of the primary slot.

Source: boot_copy_region of boot/bootutil/src/loader.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from bootwright.boot.encrypted import recoder
from bootwright.boot.espressif_flash import COPY_BUFFER
from bootwright.boot.layout import Place
from bootwright.boot.loader_state import Loader
from bootwright.boot.outcome import halted
from bootwright.flash import Program, Write


def copy_region(
    loader: Loader, source: Place, target: Place, offset: int, to: int, size: int, why: str, *, up: int = 0
) -> Program[bool]:
    """boot_copy_region; False where a read or write is refused.

    `up` is how far the image is from the start of the target (sector_off), which encryption counts from.
    """
    esp, source_area, target_area = loader.esp, source.area, target.area
    recode = recoder(loader, source, target)
    plain = recode is None and not loader.config.flash_encryption_active and not (target_area.address + to) & 3
    if plain and offset + size <= source_area.size and to + size <= target_area.size and not size & 3:
        read, start, base = loader.flash.read, source_area.address + offset, target_area.address + to
        for at in range(0, size, COPY_BUFFER):
            yield Write(base + at, read(start + at, min(COPY_BUFFER, size - at)), why)
        return True
    for at in range(0, size, COPY_BUFFER):
        length = min(COPY_BUFFER, size - at)
        if recode is None:
            ops = esp.copy(source_area, offset + at, target_area, to + at, length, why)
        else:
            data = esp.read(source_area, offset + at, length)
            ops = None if data is None else esp.write(target_area, to + at, recode(data, to - up + at), why)
        if ops is None:
            return False
        yield from ops
    return True


def must_copy(
    loader: Loader, source: Place, target: Place, offset: int, to: int, size: int, why: str, *, up: int = 0
) -> Program[None]:
    """A copy whose failure is asserted against."""
    done = yield from copy_region(loader, source, target, offset, to, size, why, up=up)
    if not done:
        raise halted("mcuboot.copy.refused", target.area.name, f"{why}: the copy leaves an area: assertion")
