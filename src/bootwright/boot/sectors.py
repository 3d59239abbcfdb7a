"""A flash made of shared, interned sectors: copies are cheap, equal contents are one object, states have fingerprints.

Exploration visits thousands of flash contents that differ in a sector or two. A content is interned once; a state is a
tuple of pages of content numbers; its fingerprint is a linear form over hashes of the contents with random 128-bit
weights, so that one operation updates it in constant time, two processes agree on it, and two different states collide
with a probability of about 2**-128.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import lru_cache

from bootwright.errors import SiliconError
from bootwright.flash import SECTOR_SIZE, Erase, FlashOp, Write

PAGE = 32
_PAGE_SHIFT, _PAGE_MASK = 5, 31

#: (address, bytes) → bytes, its own inverse
Cipher = Callable[[int, bytes], bytes]

Pages = tuple[tuple[int, ...], ...]


def stand_in_cipher(address: int, data: bytes) -> bytes:
    """The traces' cipher: it makes erased flash read as something else than 0xFF, and is its own inverse."""
    first, inside = address - address % SECTOR_SIZE, address % SECTOR_SIZE
    key = b"".join(_stand_in_key(at) for at in range(first, address + len(data), SECTOR_SIZE))
    key = key[inside : inside + len(data)]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(len(data), "little")


@lru_cache(maxsize=4096)
def _stand_in_key(sector: int) -> bytes:
    return bytes((at * 2654435761 & 0xFFFFFFFF) >> 24 | 1 for at in range(sector, sector + SECTOR_SIZE))


class Contents:
    """All sector contents that occurred, and what operations make of them.

    Under a cipher a content is what the chip reads: a sector that was copied elsewhere is then one content, although
    its stored bytes differ from place to place. An erased sector reads as another noise at each place.
    """

    __slots__ = (
        "_after",
        "_digests",
        "_erased",
        "_numbers",
        "blank",
        "blobs",
        "cipher",
        "marks",
        "sector_size",
        "weights",
    )

    def __init__(self, *, sector_size: int = SECTOR_SIZE, cipher: Cipher | None = None, sectors: int = 0) -> None:
        self.sector_size = sector_size
        self.cipher = cipher
        self.blobs: list[bytes] = []  #: as they are read
        self.marks: list[int] = []  #: a 128-bit hash of each content: the same in every process
        self._numbers: dict[bytes, int] = {}
        self._after: dict[tuple[int, int, bytes], int] = {}
        self._digests: dict[tuple[int, int, tuple[tuple[int, ...], ...]], bytes] = {}
        self.blank = self.number(b"\xff" * sector_size)  #: reads as 0xFF
        self._erased = [self.blank] * sectors
        if cipher is not None:
            self._erased = [self.number(cipher(at * sector_size, b"\xff" * sector_size)) for at in range(sectors)]
        chance = random.Random(0x6D6375626F6F74)  # noqa: S311 - weights of a hash, no secret
        self.weights = [chance.getrandbits(128) for _ in range(sectors)]

    def erased(self, index: int) -> int:
        """The content of a sector that was just erased."""
        return self._erased[index]

    def number(self, blob: bytes) -> int:
        """The number of a content."""
        known = self._numbers.get(blob)
        if known is None:
            known = self._numbers[blob] = len(self.blobs)
            self.blobs.append(blob)
            self.marks.append(int.from_bytes(hashlib.blake2b(blob, digest_size=16).digest(), "little"))
        return known

    def written(self, index: int, number: int, inside: int, data: bytes) -> int:
        """The content after `data`, as it will be read, was programmed at offset `inside`: bits are only cleared."""
        if self.cipher is not None:
            return self._written_through_cipher(index, number, inside, data)
        key = (number, inside, data)
        known = self._after.get(key)
        if known is None:
            blob = self.blobs[number]
            end = inside + len(data)
            old = blob[inside:end]
            if old.count(0xFF) != len(old):
                data = _both(old, data)
            known = self._after[key] = self.number(blob[:inside] + data + blob[end:])
        return known

    def _written_through_cipher(self, index: int, number: int, inside: int, data: bytes) -> int:
        """As `written`; whole sectors are not kept by place, there are too many."""
        if len(data) == self.sector_size:
            if number == self._erased[index]:
                return self.number(data)
            return self._over(index, number, inside, data)
        key = (index * self.sector_size + inside, number, data)
        known = self._after.get(key)
        if known is None:
            known = self._after[key] = self._over(index, number, inside, data)
        return known

    def _over(self, index: int, number: int, inside: int, data: bytes) -> int:
        blob, noise = self.blobs[number], self.blobs[self._erased[index]]
        end = inside + len(data)
        if blob[inside:end] != noise[inside:end]:
            at = index * self.sector_size + inside
            data = self.through(at, _both(self.through(at, blob[inside:end]), self.through(at, data)))
        return self.number(blob[:inside] + data + blob[end:])

    def through(self, address: int, data: bytes) -> bytes:
        """Stored bytes as they are read, or the other way round."""
        return data if self.cipher is None else self.cipher(address, data)

    def stored(self, index: int, number: int) -> bytes:
        """The bytes in the flash cells of a sector."""
        return self.through(index * self.sector_size, self.blobs[number])

    def digest(self, flash: Sectors, address: int, length: int) -> bytes:
        """SHA-256 of a range, kept by content."""
        key = (address, length, flash.pages_of(address, length))
        known = self._digests.get(key)
        if known is None:
            known = self._digests[key] = hashlib.sha256(flash.read(address, length)).digest()
        return known


def _both(old: bytes, new: bytes) -> bytes:
    """What NOR flash makes of a write over a write."""
    return (int.from_bytes(old, "little") & int.from_bytes(new, "little")).to_bytes(len(old), "little")


def half_of(op: FlashOp) -> int:
    """How many bytes of an operation are done when it is torn, as the traces tear it: a write in whole 4-byte words."""
    return len(op.data) // 8 * 4 if isinstance(op, Write) else op.length // 2


class Sectors:
    """A flash over interned contents; `pages` is its whole state and may be kept and put back."""

    __slots__ = ("_shift", "contents", "fingerprint", "pages", "seen", "size")

    def __init__(self, contents: Contents, pages: Pages, size: int, fingerprint: int) -> None:
        self.contents = contents
        self.pages = list(pages)
        self.size = size
        self.fingerprint = fingerprint
        self.seen = 0  #: bit n is set once sector n was read
        self._shift = contents.sector_size.bit_length() - 1

    @classmethod
    def holding(cls, data: bytes, *, cipher: Cipher | None = None, sector_size: int = SECTOR_SIZE) -> Sectors:
        """A flash with these raw bytes."""
        if len(data) % sector_size or sector_size & (sector_size - 1):
            raise SiliconError(
                f"a flash of {len(data):#x} bytes is not made of sectors of {sector_size:#x}",
                "give the size of the whole flash chip",
            )
        contents = Contents(sector_size=sector_size, cipher=cipher, sectors=len(data) // sector_size)
        starts = range(0, len(data), sector_size)
        numbers = [contents.number(contents.through(at, data[at : at + sector_size])) for at in starts]
        pages = tuple(tuple(numbers[at : at + PAGE]) for at in range(0, len(numbers), PAGE))
        fingerprint = sum(
            weight * contents.marks[number] for weight, number in zip(contents.weights, numbers, strict=True)
        )
        return cls(contents, pages, len(data), fingerprint)

    def copy(self) -> Sectors:
        """The same state, to go another way from."""
        return Sectors(self.contents, tuple(self.pages), self.size, self.fingerprint)

    @property
    def sector_size(self) -> int:
        """Bytes of the smallest erase."""
        return self.contents.sector_size

    def number(self, index: int) -> int:
        """The content number of a sector."""
        return self.pages[index >> _PAGE_SHIFT][index & _PAGE_MASK]

    def read(self, address: int, length: int) -> bytes:
        """Read through the cipher, if there is one."""
        if address < 0 or length < 0 or address + length > self.size:
            raise SiliconError(
                f"read of {length:#x} bytes at {address:#x} leaves the flash of {self.size:#x} bytes",
                "check the layout against the flash size",
            )
        index = address >> self._shift
        inside = address & self.contents.sector_size - 1
        if inside + length <= self.contents.sector_size:
            self.seen |= 1 << index
            number = self.pages[index >> _PAGE_SHIFT][index & _PAGE_MASK]
            return self.contents.blobs[number][inside : inside + length]
        last = (address + length - 1) >> self._shift
        self.seen |= (1 << last + 1) - (1 << index)
        blobs, number_of = self.contents.blobs, self.number
        whole = b"".join([blobs[number_of(at)] for at in range(index, last + 1)])
        return whole[inside : inside + length]

    def raw(self) -> bytes:
        """The whole flash as it is stored."""
        stored = self.contents.stored
        numbers = (number for page in self.pages for number in page)
        return b"".join([stored(index, number) for index, number in enumerate(numbers)])

    def raw_at(self, address: int, length: int) -> bytes:
        """Raw bytes of a range, not counted as read."""
        size, stored = self.contents.sector_size, self.contents.stored
        first, last = address // size, (address + length - 1) // size
        inside = address - first * size
        return b"".join([stored(at, self.number(at)) for at in range(first, last + 1)])[inside : inside + length]

    def pages_of(self, address: int, length: int) -> tuple[tuple[int, ...], ...]:
        """The contents of the sectors of a range, as whole pages and what is left of the first and the last."""
        first, last = address >> self._shift, (address + length - 1) >> self._shift
        page, end = first >> _PAGE_SHIFT, last >> _PAGE_SHIFT
        if page == end:
            return (self.pages[page][first & _PAGE_MASK : (last & _PAGE_MASK) + 1],)
        head, tail = self.pages[page][first & _PAGE_MASK :], self.pages[end][: (last & _PAGE_MASK) + 1]
        return (head, *self.pages[page + 1 : end], tail)

    def sha256(self, address: int, length: int) -> bytes:
        """The digest of a range, kept by content."""
        if length:
            first, last = address >> self._shift, (address + length - 1) >> self._shift
            self.seen |= (1 << last + 1) - (1 << first)
        return self.contents.digest(self, address, length) if length else hashlib.sha256(b"").digest()

    def load(self, address: int, data: bytes) -> None:
        """Put raw bytes there as a programmer would, whatever was there before."""
        size = self.contents.sector_size
        for index in range(address // size, (address + len(data) - 1) // size + 1):
            base = index * size
            blob = bytearray(self.contents.blobs[self.number(index)])
            start, stop = max(address, base), min(address + len(data), base + size)
            blob[start - base : stop - base] = self.contents.through(start, data[start - address : stop - address])
            self.put(index, self.contents.number(bytes(blob)))

    def put(self, index: int, number: int) -> None:
        """Give a sector another content."""
        page_at, at = index >> _PAGE_SHIFT, index & _PAGE_MASK
        page = self.pages[page_at]
        old = page[at]
        if old != number:
            self.pages[page_at] = (*page[:at], number, *page[at + 1 :])
            marks = self.contents.marks
            self.fingerprint += self.contents.weights[index] * (marks[number] - marks[old])

    def apply(self, op: FlashOp) -> None:
        """Perform an operation."""
        if isinstance(op, Erase):
            self._erase(op.address, op.length)
        else:
            self._write(op.address, self._readable(op))

    def apply_torn(self, op: FlashOp) -> None:
        """Perform the first half of an operation."""
        half = half_of(op)
        if isinstance(op, Write):
            self._write(op.address, self._readable(op)[:half])
            return
        whole = half // self.sector_size * self.sector_size
        self._erase(op.address, whole)
        rest = half - whole
        if rest:
            index = (op.address + whole) >> self._shift
            blobs = self.contents.blobs
            half_erased = blobs[self.contents.erased(index)][:rest] + blobs[self.number(index)][rest:]
            self.put(index, self.contents.number(half_erased))

    def stored(self, op: Write) -> bytes:
        """The bytes that a write sends to the flash cells."""
        if not op.encrypted:
            return op.data
        if self.contents.cipher is None:
            raise SiliconError("an encrypted write reached a flash without a cipher", "give the flash a cipher")
        return self.contents.cipher(op.address, op.data)

    def _readable(self, op: Write) -> bytes:
        """The bytes of a write as they will be read."""
        if op.encrypted:
            if self.contents.cipher is None:
                raise SiliconError("an encrypted write reached a flash without a cipher", "give the flash a cipher")
            return op.data
        return self.contents.through(op.address, op.data)

    def _erase(self, address: int, length: int) -> None:
        if address & self.sector_size - 1 or length & self.sector_size - 1 or address + length > self.size:
            raise SiliconError(
                f"erase of {length:#x} bytes at {address:#x} is not made of whole sectors of the flash",
                "align address and length to the sector",
            )
        for index in range(address >> self._shift, (address + length) >> self._shift):
            self.put(index, self.contents.erased(index))

    def _write(self, address: int, data: bytes) -> None:
        if address + len(data) > self.size:
            raise SiliconError(
                f"write of {len(data):#x} bytes at {address:#x} leaves the flash", "check the layout against the size"
            )
        size = self.contents.sector_size
        at = 0
        while at < len(data):
            inside = (address + at) & size - 1
            piece = data[at : at + size - inside] if at or inside + len(data) > size else data
            index = (address + at) >> self._shift
            self.put(index, self.contents.written(index, self.number(index), inside, piece))
            at += len(piece)
