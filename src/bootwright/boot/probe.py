"""What may watch a boot from the inside: log lines, hash requests, and where two boots would go on alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol, TypeVar

from bootwright.finding import Finding
from bootwright.flash import Flash

T = TypeVar("T")


class Part(NamedTuple):
    """Bytes of a sector that is written anew, and where in the flash they were read."""

    inside: int  #: offset in the sector
    length: int
    source: int  #: address


class Probe(Protocol):
    """Watches a boot without changing it.

    `mark` and `hold` let an explorer merge boots: between two marks, what a boot does next is a function of the flash,
    of the key of the last mark, of the number of operations since, and of the bytes held.
    """

    def log(self, level: str, text: str) -> None:
        """A console line; `level` is INF, WRN or ERR."""
        ...

    def look(self, level: str, words: Callable[[], str | None]) -> None:
        """A console line that takes a look at the flash which nothing but the line depends on; None for no line."""
        ...

    def refused(self, finding: Finding) -> None:
        """An update was refused, and why; the boot goes on with what runs."""
        ...

    def observe(self, flash: Flash, address: int, length: int, what: str, decode: Callable[[bytes], T]) -> T:
        """What `decode` makes of a few bytes; the boot depends on nothing else of them.

        `what` names the decoding: for one build, the same name at the same place decodes in the same way.
        """
        ...

    def mark(self, key: Hashable) -> None:
        """From here on the boot depends on nothing in RAM but `key`."""
        ...

    def carry(self, flash: Flash, address: int, length: int) -> bytes:
        """Bytes that are written somewhere by the operations after the next `hold`, and that nobody looks at."""
        ...

    def hold(self, data: bytes) -> None:
        """The next operations carry bytes that the flash does not hold at the moment."""
        ...

    def hold_sector(self, address: int, data: bytes, parts: tuple[Part, ...]) -> None:
        """As `hold`: the next two operations erase this sector and write `data`, all but the `parts` of it new."""
        ...

    def sha256(self, flash: Flash, address: int, length: int) -> bytes:
        """The digest of a range of the flash."""
        ...


class Unwatched:
    """Nobody watches."""

    __slots__ = ()

    def log(self, level: str, text: str) -> None:
        """Drop the line."""

    def look(self, level: str, words: Callable[[], str | None]) -> None:
        """Do not look."""

    def observe(self, flash: Flash, address: int, length: int, what: str, decode: Callable[[bytes], T]) -> T:
        """Read and decode."""
        return decode(flash.read(address, length))

    def refused(self, finding: Finding) -> None:
        """Drop the finding."""

    def mark(self, key: Hashable) -> None:
        """Drop the mark."""

    def carry(self, flash: Flash, address: int, length: int) -> bytes:
        """Read."""
        return flash.read(address, length)

    def hold(self, data: bytes) -> None:
        """Drop the note."""

    def hold_sector(self, address: int, data: bytes, parts: tuple[Part, ...]) -> None:
        """Drop the note."""

    def sha256(self, flash: Flash, address: int, length: int) -> bytes:
        """Read and hash."""
        return hashlib.sha256(flash.read(address, length)).digest()


class Listening(Unwatched):
    """Wants every line, those too that take a look of their own."""

    __slots__ = ()

    def look(self, level: str, words: Callable[[], str | None]) -> None:
        """Look, and log the line if it is due."""
        text = words()
        if text is not None:
            self.log(level, text)


class Console(Listening):
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
