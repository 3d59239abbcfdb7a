"""Flash operations as a trace writes them down."""

from __future__ import annotations

import zlib
from typing import Any

from bootwright.boot.sectors import Sectors
from bootwright.flash import Erase, FlashOp

OpRow = list[Any]

MARKS = ("0to1", "torn")
SHORT = 32  #: data of up to this many bytes are written out


def op_row(op: FlashOp, before: Sectors, *, torn: bool = False) -> OpRow:
    """The row of an operation, given the flash right before it."""
    if isinstance(op, Erase):
        row: OpRow = ["E", op.address, op.length]
    else:
        row = ["W", op.address, len(op.data), f"{zlib.crc32(op.data):08x}"]
        if len(op.data) <= SHORT:
            row.append(op.data.hex())
        if _sets_bits(op.address, before.stored(op), before):
            row.append("0to1")
    if torn:
        row.append("torn")
    return row


def without_data(row: OpRow) -> OpRow:
    """The row as serial steps have it: without the data written out."""
    return [part for at, part in enumerate(row) if at != 4 or part in MARKS]


def _sets_bits(address: int, data: bytes, flash: Sectors) -> bool:
    """Whether a write asks for a bit to become 1, which NOR flash cannot do."""
    old = flash.raw_at(address, len(data))
    if old.count(0xFF) == len(old):
        return False
    return bool(int.from_bytes(data, "little") & ~int.from_bytes(old, "little"))


def describe_op(row: OpRow | None) -> str:
    """An operation in a difference line."""
    if row is None:
        return "nothing"
    kind = {"E": "erase", "W": "write"}.get(row[0], str(row[0]))
    rest = "".join(f" {part}" for part in row[3:])
    return f"{kind} {row[1]:#x}+{row[2]:#x}{rest}"
