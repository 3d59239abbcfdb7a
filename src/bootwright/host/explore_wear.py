"""What an update costs the flash: erases of each sector, and how long it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bootwright.boot.config import BootConfig
from bootwright.flash import Erase, FlashOp
from bootwright.host.explore_story import place_of

#: Typical figures of a serial NOR flash as it sits on ESP32 modules (Winbond W25Q32JV datasheet, revision G, table of
#: AC characteristics: tSE 45 ms, tPP 0.4 ms a page of 256 bytes); reading and hashing are not counted.
SECTOR_ERASE_S = 0.045
PAGE_PROGRAM_S = 0.0004
PAGE = 256
ENDURANCE = 100_000  #: erase cycles that the same datasheet promises


@dataclass(frozen=True, slots=True)
class Wear:
    """The cost of one boot's operations."""

    erases: int
    written: int  #: bytes
    seconds: float
    most_worn: tuple[tuple[str, int], ...]  #: sector, erases; the most worn first
    sectors: tuple[tuple[int, str, int], ...] = ()  #: address, name and erases of every sector that is erased

    @property
    def updates(self) -> int:
        """Updates until the most worn sector reaches its promised erase cycles."""
        return ENDURANCE // self.most_worn[0][1] if self.most_worn else ENDURANCE

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "erases": self.erases,
            "written": self.written,
            "seconds": round(self.seconds, 2),
            "figures": "Winbond W25Q32JV, typical: 45 ms a sector erase, 0.4 ms a page",
            "most_worn": [{"sector": name, "erases": count} for name, count in self.most_worn],
            "sectors": [{"address": address, "sector": name, "erases": count} for address, name, count in self.sectors],
            "updates_until_100000_erases": self.updates,
        }


def wear_of(config: BootConfig, ops: Sequence[FlashOp], *, most: int = 8) -> Wear:
    """Count what a boot does."""
    erased: Counter[int] = Counter()
    pages = written = 0
    for op in ops:
        if isinstance(op, Erase):
            erased.update(range(op.address, op.address + op.length, config.sector_size))
        else:
            written += len(op.data)
            pages += (op.address + len(op.data) - 1) // PAGE - op.address // PAGE + 1
    total = sum(erased.values())
    sectors = tuple((address, _name(config, address), count) for address, count in sorted(erased.items()))
    worn = tuple((_name(config, address), count) for address, count in erased.most_common(most))
    return Wear(total, written, total * SECTOR_ERASE_S + pages * PAGE_PROGRAM_S, worn, sectors)


def _name(config: BootConfig, address: int) -> str:
    return place_of(config, address).split(",")[0]
