"""What a boot looks at and what it only carries from place to place, noted for `Runs`.

A boot looks at *facts*: a whole sector, or what is decoded from a few bytes of one. What it carries it does not look
at: a copy, or the rest of a sector that is written anew under flash encryption. Of that a *flow* keeps where each byte
of the new content came from, so that what is needed of it can be asked of where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

from bootwright.boot.probe import Part, Unwatched
from bootwright.boot.sectors import Sectors
from bootwright.flash import SECTOR_SIZE, Flash

T = TypeVar("T")


class Fact(NamedTuple):
    """Something that boots look at: what `decode` makes of a few bytes of a sector."""

    sector: int
    inside: int
    length: int
    decode: Callable[[bytes], Hashable]
    first: int  #: the fact of these bytes where a boot looks at them; itself, unless they have yet to be copied there


class Flow(NamedTuple):
    """A sector that is erased and written again: what of it the flash held before, and where."""

    sector: int
    parts: tuple[Part, ...]


def bits_of(mask: int) -> list[int]:
    """The numbers of the bits that are set."""
    found = []
    while mask:
        found.append((mask & -mask).bit_length() - 1)
        mask &= mask - 1
    return found


class RunProbe(Unwatched):
    """Follows a boot for `Runs`, and notes what it looks at."""

    __slots__ = (
        "_marks",
        "_names",
        "_sources",
        "_values",
        "facts",
        "flow",
        "held",
        "observed",
        "of_sector",
        "point",
        "since",
        "trail",
    )

    def __init__(self, sectors: int, earlier: RunProbe | None = None) -> None:
        self._marks: dict[Hashable, int] = {}
        self._names: dict[Hashable, int] = {}
        self._sources: dict[tuple[Flow, int], int] = {}
        self._values: dict[tuple[int, int], Any] = {}
        self.facts: list[Fact] = []  #: fact n is bit `sectors + n` of a mask; the bits below are whole sectors
        self.of_sector = [1 << index for index in range(sectors)]  #: all bits of a sector
        if earlier is not None:  # marks and facts keep their numbers, though contents may get others
            self._marks, self._names, self._sources = earlier._marks, earlier._names, earlier._sources
            self.facts, self.of_sector = earlier.facts, earlier.of_sector
        self.trail: list[tuple[int, Hashable]] | None = None  #: what was observed, for whoever asks
        self.reset()

    def reset(self) -> None:
        """A new boot begins."""
        self.point, self.since, self.held, self.observed = -1, 0, 0, 0
        self.flow: Flow | None = None  #: what the next two operations do to a sector

    def mark(self, key: Hashable) -> None:
        """Begin a new stretch of the program."""
        self.point = self._marks.setdefault(key, len(self._marks))
        self.since = 0
        self.held = 0

    def carry(self, flash: Flash, address: int, length: int) -> bytes:
        """Not looked at, if it is noted where the bytes go."""
        if not isinstance(flash, Sectors) or flash.sector_size != SECTOR_SIZE:
            return flash.read(address, length)
        seen = flash.seen
        data = flash.read(address, length)
        flash.seen = seen
        return data

    def hold(self, data: bytes) -> None:
        """Bytes in RAM tell two stretches apart."""
        self.held = hash(data) if data else 0
        self.flow = None

    def hold_sector(self, address: int, data: bytes, parts: tuple[Part, ...]) -> None:
        """Bytes in RAM tell two stretches apart; where they came from is noted."""
        self.held = hash(data)
        self.flow = Flow(address // SECTOR_SIZE, parts)

    def sha256(self, flash: Flash, address: int, length: int) -> bytes:
        """Digests are kept by content."""
        return flash.sha256(address, length) if isinstance(flash, Sectors) else super().sha256(flash, address, length)

    def observe(self, flash: Flash, address: int, length: int, what: str, decode: Callable[[bytes], T]) -> T:
        """Note the fact, not the bytes; decode each content once."""
        size = flash.sector_size
        index, inside = divmod(address, size)
        if not isinstance(flash, Sectors) or inside + length > size or not 0 <= index < len(self.of_sector):
            return decode(flash.read(address, length))
        fact = self._names.get((what, address, length))
        if fact is None:
            fact = self._names[what, address, length] = self._add(index, inside, length, decode, None)
        self.observed |= 1 << len(self.of_sector) + fact
        number = flash.number(index)
        key = (fact, number)
        value: T
        if key in self._values:
            value = self._values[key]
        else:
            value = self._values[key] = decode(flash.contents.blobs[number][inside : inside + length])
        if self.trail is not None:
            self.trail.append((fact, value))
        return value

    def value(self, fact: int, flash: Sectors, number: int) -> Hashable:
        """What a content makes of a fact."""
        key = (fact, number)
        if key not in self._values:
            _, inside, length, decode, _ = self.facts[fact]
            self._values[key] = decode(flash.contents.blobs[number][inside : inside + length])
        found: Hashable = self._values[key]
        return found

    def _add(
        self, sector: int, inside: int, length: int, decode: Callable[[bytes], Hashable], first: int | None
    ) -> int:
        fact = len(self.facts)
        self.facts.append(Fact(sector, inside, length, decode, fact if first is None else first))
        self.of_sector[sector] |= 1 << len(self.of_sector) + fact
        return fact

    def sources(self, flow: Flow, needed: int) -> int:
        """What is needed before a sector is written anew, of what is needed of it afterwards (both as masks)."""
        key = (flow, needed)
        known = self._sources.get(key)
        if known is None:
            known, rest = 0, needed
            while rest:
                known |= self._source(flow, (rest & -rest).bit_length() - 1)
                rest &= rest - 1
            self._sources[key] = known
        return known

    def written(self, needed: int, start: int, end: int) -> int:
        """What is needed before some bytes of a sector are written: all of it, if it is more than the other bytes."""
        whole = len(self.of_sector)
        for bit in bits_of(needed):
            if bit < whole:
                return needed
            sector, inside, length, _, _ = self.facts[bit - whole]
            if inside < end and start < inside + length:
                return needed | 1 << sector
        return needed

    def half(self, flash: Sectors, needed: int, split: int, *, first: bool) -> int:
        """What is needed of one half of a sector before the other is erased, of what is needed of it afterwards.

        `split` is where the second half begins.
        """
        whole, found = len(self.of_sector), 0
        for bit in bits_of(needed):
            if bit < whole:
                found |= 1 << bit
                continue
            _, inside, length, _, _ = self.facts[bit - whole]
            start, end = (inside, min(inside + length, split)) if first else (max(inside, split), inside + length)
            if end - start == length:
                found |= 1 << bit
            elif start < end:
                found |= 1 << whole + self._half(flash, bit - whole, start, end)
        return found

    def _half(self, flash: Sectors, fact: int, start: int, end: int) -> int:
        """The fact of bytes around which a part will be erased."""
        known = self._names.get(("half", fact, start, end))
        if known is None:
            sector, inside, length, decode, _ = self.facts[fact]
            erased = flash.contents.blobs[flash.contents.erased(sector)]
            before, behind = erased[inside:start], erased[end : inside + length]
            known = self._add(sector, start, end - start, lambda data: decode(before + data + behind), None)
            self._names["half", fact, start, end] = known
        return known

    def _source(self, flow: Flow, bit: int) -> int:
        """Where one fact of a sector lay; whole sectors where the fact was put together from several places."""
        whole = len(self.of_sector)
        start, end = 0, SECTOR_SIZE
        if bit >= whole:
            start = self.facts[bit - whole].inside
            end = start + self.facts[bit - whole].length
        found = 0
        for inside, length, source in flow.parts:
            if not length or inside >= end or inside + length <= start:
                continue
            first, last = source // SECTOR_SIZE, (source + length - 1) // SECTOR_SIZE
            if bit >= whole and inside <= start and end <= inside + length and first == last:
                return 1 << whole + self._carried(bit - whole, first, source % SECTOR_SIZE + start - inside)
            found |= 1 << first | 1 << last
        return found

    def _carried(self, fact: int, sector: int, inside: int) -> int:
        """The fact of bytes that are to be copied to where a boot looks at them."""
        first = self.facts[fact].first
        if self.facts[first].sector == sector and self.facts[first].inside == inside:
            return first
        known = self._names.get((first, sector, inside))
        if known is None:
            _, _, length, decode, _ = self.facts[first]
            known = self._names[first, sector, inside] = self._add(sector, inside, length, decode, first)
        return known
