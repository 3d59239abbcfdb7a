"""UF2: flash content in blocks of 512 bytes that a USB mass-storage bootloader takes one by one.

Each block names its address, its place among the blocks of its part, and the family of chips it is for. With the MD5
flag, 24 bytes behind the payload hold address, length and MD5 of it. Source: github.com/microsoft/uf2; where the MD5
goes in a short last block, and that blocks are counted anew for each part, is as esptool 5.6 writes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from bootwright.errors import FormatError
from bootwright.formats.flash_image import Part
from bootwright.formats.record import U32, Record, Size

BLOCK_SIZE = 512
DATA_SIZE = 476
FAMILY_ID_PRESENT = 0x2000
MD5_PRESENT = 0x4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Uf2Block(Record):
    """One block."""

    MAGIC: ClassVar[tuple[int, int, int]] = (0x0A32_4655, 0x9E5D_5157, 0x0AB1_6F30)

    first_magic: U32 = MAGIC[0]
    second_magic: U32 = MAGIC[1]
    flags: U32
    address: U32
    payload_size: U32
    number: U32
    blocks: U32
    family_id: U32
    data: Annotated[bytes, Size(DATA_SIZE)]
    final_magic: U32 = MAGIC[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uf2Md5(Record):
    """What follows the payload where the flag says so."""

    address: U32
    size_: U32
    md5: Annotated[bytes, Size(16)]


def pack_uf2(parts: Sequence[Part], family_id: int, *, chunk_size: int | None = None, with_md5: bool = True) -> bytes:
    """The blocks of all parts, in the order given.

    Raises:
        FormatError: a chunk size that leaves no room, or is no multiple of 4.
    """
    most = DATA_SIZE - (Uf2Md5.size() if with_md5 else 0)
    chunk = most if chunk_size is None else chunk_size
    if not 0 < chunk <= most or chunk % 4:
        raise FormatError(
            f"UF2: found a chunk size of {chunk}, expected a multiple of 4 up to {most}", "leave it out for the largest"
        )
    flags = FAMILY_ID_PRESENT | (MD5_PRESENT if with_md5 else 0)
    blocks = bytearray()
    for part in parts:
        count = -(-len(part.data) // chunk)
        for number in range(count):
            payload = part.data[number * chunk : (number + 1) * chunk]
            address = part.address + number * chunk
            md5 = hashlib.md5(payload, usedforsecurity=False).digest()
            tail = Uf2Md5(address=address, size_=len(payload), md5=md5).pack() if with_md5 else b""
            block = Uf2Block(
                flags=flags,
                address=address,
                payload_size=len(payload),
                number=number,
                blocks=count,
                family_id=family_id,
                data=(payload + tail).ljust(DATA_SIZE, b"\0"),
            )
            blocks += block.pack()
    return bytes(blocks)


def parse_uf2(data: bytes, *, where: str = "UF2 file") -> tuple[tuple[Part, ...], int | None]:
    """The parts, adjoining blocks joined, and the family that they are for, if they say.

    Raises:
        FormatError: no whole blocks, a wrong magic, length or MD5, or blocks of several families.
    """
    if not data or len(data) % BLOCK_SIZE:
        raise FormatError(f"{where}: found {len(data)} bytes, expected blocks of {BLOCK_SIZE}", "the file is truncated")
    parts: list[tuple[int, bytearray]] = []
    families: set[int] = set()
    for at in range(0, len(data), BLOCK_SIZE):
        block = _checked(Uf2Block.parse(data, at), f"{where}: block at {at:#x}")
        if block.flags & FAMILY_ID_PRESENT:
            families.add(block.family_id)
        payload = block.data[: block.payload_size]
        if parts and parts[-1][0] + len(parts[-1][1]) == block.address:
            parts[-1][1].extend(payload)
        else:
            parts.append((block.address, bytearray(payload)))
    if len(families) > 1:
        raise FormatError(
            f"{where}: found blocks for families {', '.join(f'{one:#x}' for one in sorted(families))}, expected one",
            "files for several chips were joined",
        )
    return tuple(Part(address, bytes(payload)) for address, payload in parts), next(iter(families), None)


def _checked(block: Uf2Block, where: str) -> Uf2Block:
    magic = (block.first_magic, block.second_magic, block.final_magic)
    if magic != Uf2Block.MAGIC:
        raise FormatError(f"{where}: found other magic words than UF2's", "this is no UF2 file")
    if block.payload_size > DATA_SIZE:
        raise FormatError(f"{where}: found a payload of {block.payload_size} bytes, expected at most {DATA_SIZE}")
    if block.flags & MD5_PRESENT:
        if block.payload_size > DATA_SIZE - Uf2Md5.size():
            raise FormatError(
                f"{where}: found a payload of {block.payload_size} bytes, which leaves no room for its MD5"
            )
        stored = Uf2Md5.parse(block.data, block.payload_size)
        md5 = hashlib.md5(block.data[: block.payload_size], usedforsecurity=False).digest()
        if stored != Uf2Md5(address=block.address, size_=block.payload_size, md5=md5):
            raise FormatError(f"{where}: the MD5 is not that of its payload", "the file is damaged")
    return block
