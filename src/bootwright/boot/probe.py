"""What may watch a boot from the inside: log lines, hash requests, and where two boots would go on alike."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Protocol

from bootwright.finding import Finding
from bootwright.flash import Flash


class Probe(Protocol):
    """Watches a boot without changing it.

    `mark` and `hold` let an explorer merge boots: between two marks, what a boot does next is a function of the flash,
    of the key of the last mark, of the number of operations since, and of the bytes held.
    """

    def log(self, level: str, text: str) -> None:
        """A console line; `level` is INF, WRN or ERR."""
        ...

    def refused(self, finding: Finding) -> None:
        """An update was refused, and why; the boot goes on with what runs."""
        ...

    def mark(self, key: Hashable) -> None:
        """From here on the boot depends on nothing in RAM but `key`."""
        ...

    def hold(self, data: bytes) -> None:
        """The next operations carry bytes that the flash does not hold at the moment."""
        ...

    def sha256(self, flash: Flash, address: int, length: int) -> bytes:
        """The digest of a range of the flash."""
        ...


class Unwatched:
    """Nobody watches."""

    __slots__ = ()

    def log(self, level: str, text: str) -> None:
        """Drop the line."""

    def refused(self, finding: Finding) -> None:
        """Drop the finding."""

    def mark(self, key: Hashable) -> None:
        """Drop the mark."""

    def hold(self, data: bytes) -> None:
        """Drop the note."""

    def sha256(self, flash: Flash, address: int, length: int) -> bytes:
        """Read and hash."""
        return hashlib.sha256(flash.read(address, length)).digest()


class Console(Unwatched):
    """Keeps the console lines in the port's format, so that a real log can be laid beside them.

    Format: `[<chip>] [<level>] <text>`, boot/espressif/hal/include/esp_log.h.
    """

    __slots__ = ("chip", "lines")

    def __init__(self, chip: str = "esp32") -> None:
        self.chip = chip
        self.lines: list[str] = []

    def log(self, level: str, text: str) -> None:
        """Keep the line."""
        self.lines.append(f"[{self.chip}] [{level}] {text}")


UNWATCHED = Unwatched()
