"""What lies where in a dump of a whole flash, sector by sector: plaintext, ciphertext of a key, erased."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from bootwright.formats.esp_flash_scheme import FlashScheme
from bootwright.formats.esp_flash_structure import structure_of, structure_of_head

SECTOR_SIZE = 0x1000


class Content(StrEnum):
    """What a stretch of flash holds."""

    ERASED = "erased"
    ENCRYPTED_ERASED = "erased, then encrypted"  #: what the port writes over ranges that it erases
    PLAINTEXT = "plaintext"
    CIPHERTEXT = "ciphertext"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sectors that belong together; addresses in flash."""

    start: int
    end: int
    content: Content
    what: str = ""  #: the structure at its start


def map_flash(dump: bytes, scheme: FlashScheme | None = None, *, base: int = 0) -> tuple[Stretch, ...]:
    """The stretches of a dump that starts at flash address `base`.

    A stretch goes on over sectors that begin with no structure of their own: they are its code and data, or whatever
    was left behind it.

    Raises:
        SiliconError: with a scheme, `base` or the length is no multiple of 16.
    """
    plain = dump if scheme is None else scheme.decrypt(dump, base)
    return tuple(_joined(_sectors(dump, plain, base)))


def _sectors(dump: bytes, plain: bytes, base: int) -> Iterator[Stretch]:
    for at in range(0, len(dump), SECTOR_SIZE):
        end = min(at + SECTOR_SIZE, len(dump))
        start, stop = base + at, base + end
        if not dump[at:end].strip(b"\xff"):
            yield Stretch(start, stop, Content.ERASED)
        elif structure_of_head(dump[at:end]) is not None:
            yield Stretch(start, stop, Content.PLAINTEXT, structure_of(dump[at:]) or "")
        elif not plain[at:end].strip(b"\xff"):
            yield Stretch(start, stop, Content.ENCRYPTED_ERASED)
        elif structure_of_head(plain[at:end]) is not None:
            yield Stretch(start, stop, Content.CIPHERTEXT, structure_of(plain[at:]) or "")
        else:
            yield Stretch(start, stop, Content.UNKNOWN)


def _joined(sectors: Iterator[Stretch]) -> Iterator[Stretch]:
    last: Stretch | None = None
    for sector in sectors:
        same = last is not None and last.content is sector.content and not sector.what
        goes_on = last is not None and sector.content is Content.UNKNOWN and bool(last.what)
        if last is not None and (same or goes_on):
            last = replace(last, end=sector.end)
            continue
        if last is not None:
            yield last
        last = sector
    if last is not None:
        yield last
