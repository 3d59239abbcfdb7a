"""Images of flashes in files: three forms to write, three to read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bootwright.errors import RefusedError
from bootwright.formats.flash_image import Part, in_order, merge, split_at_gaps, split_by_layout
from bootwright.formats.uf2 import Uf2Block, pack_uf2, parse_uf2
from bootwright.host.partitions import load_table

_UF2 = Uf2Block.MAGIC[0].to_bytes(4, "little")


def merge_parts(
    parts: Sequence[Part], form: str, *, chip_name: str | None = None, base: int = 0, pad_to: int | None = None
) -> bytes:
    """Parts as one image: `raw`, `hex` or `uf2`.

    Raises:
        FormatError: parts overlap, or lie outside the image.
        RefusedError: a UF2 file without a chip.
    """
    if form == "raw":
        return merge(parts, base=base, pad_to=pad_to)
    if form == "hex":
        from bootwright.formats.hexfile import pack_hex

        return pack_hex((part.address, part.data) for part in in_order(parts))
    from bootwright.chips.memory import uf2_family

    if chip_name is None:
        raise RefusedError("a UF2 file names the chip that it is for, and none is given", "give --chip")
    return pack_uf2(in_order(parts), uf2_family(chip_name))


def split_parts(data: bytes, *, table: Path | None = None, base: int = 0, where: str = "image") -> tuple[Part, ...]:
    """The parts of an image in whichever form; a raw one is cut along the table, or at erased sectors.

    Raises:
        FormatError: a damaged file, or no table.
    """
    if data.startswith(_UF2):
        parts, _ = parse_uf2(data, where=where)
        return parts
    if data[:1] == b":":
        from bootwright.formats.hexfile import parse_hex

        return tuple(Part(address, content) for address, content in parse_hex(data, where=where))
    if table is None:
        return split_at_gaps(data, base=base)
    areas = [(one.name, one.offset, one.size) for one in load_table(table)]
    return split_by_layout(data, areas, base=base)


def part_name(part: Part) -> str:
    """A file name that says where the part goes."""
    plain = re.sub(r"[^\w.-]", "_", part.name) or "part"
    return f"{part.address:#010x}-{plain}.bin"
