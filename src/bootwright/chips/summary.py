"""espefuse's `summary --format json`: one object a field, keyed by espefuse's name of it.

espefuse calls some fields by another of ESP-IDF's names, and adds derived ones that have no place in a block
(`word` is null); those are left out here, for whoever has the bits can derive them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootwright.chips.chip import CHIP_NAMES, Chip, Field, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import FormatError

#: espefuse's names of fields that ESP-IDF's table has under other names and aliases.
_ESPEFUSE_NAMES = {"MAC_CUSTOM": "CUSTOM_MAC", "USER_DATA.MAC_CUSTOM": "CUSTOM_MAC"}


def parse_summary(values: Mapping[str, Any], *, chip: Chip | None = None, where: str = "summary") -> Efuses:
    """The eFuses that a summary tells. What espefuse does not list (calibration data) reads as zeros.

    The chip is told by the fields where it is not given.

    Raises:
        FormatError: it is no summary, or that of no chip that we know.
    """
    rows = dict(_rows(values, where))
    chip = chip or _chip_of(rows, where)
    blocks = [0] * len(chip.blocks)
    for name, row in rows.items():
        number = row["block"]
        if number >= len(blocks) or (bits := _bits(row, f"{where}: {name}")) >> 8 * chip.blocks[number].size:
            raise FormatError(f"{where}: {name} lies outside the blocks of {chip.title}", "name the right chip")
        blocks[number] |= bits
    content = {n: bits.to_bytes(chip.blocks[n].size, "little") for n, bits in enumerate(blocks)}
    return Efuses.holding(chip, content).hiding()


def summary(efuses: Efuses) -> dict[str, dict[str, object]]:
    """The state as espefuse's summary tells it, without the derived fields and without descriptions."""
    rows: dict[str, dict[str, object]] = {}
    for field in efuses.chip.fields_at(efuses.revision):
        if "." in field.name and field.name not in _ESPEFUSE_NAMES:
            continue
        name = espefuse_name(field)
        width = min(field.width, 8 * efuses.block_size(field.block))
        raw, first = efuses.number(field.name), _first_bit(field)
        rows[name] = {
            "bit_len": width,
            "block": field.block,
            "name": name,
            "pos": first % 32,
            "word": first // 32,
            "raw_value": _raw(field, raw, width),
            "readable": not _hidden(efuses, field),
            "writeable": not efuses.write_protected(field.name),
            "value": _value(efuses, field, raw, width),
            "efuse_type": "bool" if width == 1 else f"bytes:{width // 8}" if field.is_bytes else f"uint:{width}",
        }
    return dict(sorted(rows.items()))


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field's state as people read it; no secret is in it."""

    name: str
    block: int
    value: int | str | None  #: None where it is hidden or not to be shown
    text: str
    readable: bool
    writeable: bool
    active: bool  #: a bit is set, or a protection is in force

    @property
    def rights(self) -> str:
        """What can be done: R read, W burn."""
        return ("R" if self.readable else "-") + ("W" if self.writeable else "-")

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "name": self.name,
            "block": self.block,
            "value": self.value,
            "text": self.text,
            "readable": self.readable,
            "writeable": self.writeable,
        }


def field_rows(efuses: Efuses) -> tuple[FieldRow, ...]:
    """All fields for people, in ESP-IDF's order; a secret key's content stays out even while the chip shows it."""
    rows = []
    for field in efuses.chip.fields_at(efuses.revision):
        if "." in field.name and field.name not in _ESPEFUSE_NAMES:
            continue
        hidden, secret = _hidden(efuses, field), _is_secret(efuses, field)
        raw = efuses.number(field.name)
        value = (
            None
            if hidden or secret
            else _value(efuses, field, raw, min(field.width, 8 * efuses.block_size(field.block)))
        )
        writeable = not efuses.write_protected(field.name)
        text = "(readable, not shown)" if secret and raw and not hidden else value_text(efuses, field)
        shown = value if isinstance(value, int | str) else None
        rows.append(
            FieldRow(field.name, field.block, shown, text, not hidden, writeable, bool(raw or hidden or not writeable))
        )
    return tuple(rows)


def _is_secret(efuses: Efuses, field: Field) -> bool:
    """Whether it lies in a block that holds, or may hold, a secret key."""
    chip = efuses.chip
    if field.block not in chip.keys.blocks:
        return False
    purpose = efuses.key_purpose(field.block)
    return all(p.secret for p in chip.purposes if p.name == purpose)


def espefuse_name(field: Field) -> str:
    """What espefuse calls it."""
    blocks = [alias for alias in field.aliases if alias.startswith("BLOCK_")]
    return _ESPEFUSE_NAMES.get(field.name) or (blocks[0] if blocks else field.name)


def value_text(efuses: Efuses, field: Field) -> str:
    """A field's value for people: its name where it has one, bytes in their order, question marks where hidden."""
    if _hidden(efuses, field):
        return "?? (hidden)"
    raw = efuses.number(field.name)
    if field.is_bytes:
        return raw.to_bytes((field.width + 7) // 8, "little").hex(" ")
    if field.name.startswith("KEY_PURPOSE_"):
        return efuses.key_purpose(efuses.chip.keys.blocks[int(field.name[-1])])
    named = field.values.get(raw)
    return f"{raw:#x} ({named})" if named else f"{raw:#x}"


def _hidden(efuses: Efuses, field: Field) -> bool:
    return bool(field.mask & efuses.hidden_bits(field.block))


def _raw(field: Field, raw: int, width: int) -> str:
    if not field.is_bytes:
        return f"0x{raw:0{(width + 3) // 4}x}"
    in_block = field.place(raw) >> _first_bit(field)  # a MAC's first byte lies last, and espefuse shows it so
    return "0x" + in_block.to_bytes(width // 8, "little").hex()


def _value(efuses: Efuses, field: Field, raw: int, width: int) -> object:
    if _hidden(efuses, field):
        return " ".join(["??"] * (width // 8)) if field.is_bytes else "?"
    if field.is_bytes:
        separator = ":" if "MAC" in field.name else " "
        return raw.to_bytes(width // 8, "little").hex(separator)
    if field.name.startswith("KEY_PURPOSE_"):
        return efuses.key_purpose(efuses.chip.keys.blocks[int(field.name[-1])])
    return field.values.get(raw, bool(raw) if width == 1 else raw)


def _rows(values: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, row in values.items():
        if isinstance(row, dict) and "efuse_type" in row and "raw_value" not in row:
            raise FormatError(
                f"{where}: found names for values, expected raw_value: this summary is of an espefuse older than 5",
                "one word can stand for several values; read the chip with a newer espefuse",
            )
        if not isinstance(row, dict) or not _is_row(row):
            raise FormatError(
                f"{where}: {name!r} is no field of an espefuse summary", "make it with `espefuse summary --format json`"
            )
        if row["word"] is not None:
            yield name, row


def _is_row(row: Mapping[str, Any]) -> bool:
    """Whether it says where its bits lie; derived fields have no place (`word` is null)."""
    places = [row.get(key) for key in ("block", "word", "pos")]
    derived = "word" in row and row["word"] is None
    return "raw_value" in row and (derived or all(isinstance(at, int) and 0 <= at < 256 for at in places))


def _chip_of(rows: Mapping[str, Mapping[str, Any]], where: str) -> Chip:
    """The chip whose table has the most of these names where the rows say; espefuse splits and adds a few."""
    matches = {name: sum(_fits(load_chip(name), n, row) for n, row in rows.items()) for name in CHIP_NAMES}
    best, second = sorted(matches, key=lambda name: matches[name])[:-3:-1]
    if 5 * matches[best] < 4 * len(rows) or matches[best] == matches[second]:
        raise FormatError(f"{where}: found fields that tell of no one chip", "name the chip with --chip")
    return load_chip(best)


def _fits(chip: Chip, name: str, row: Mapping[str, Any]) -> bool:
    place = (row["block"], _bit(row))
    return any((f.block, _first_bit(f)) == place for f in chip.by_name.get(name, ()))


def _first_bit(field: Field) -> int:
    """Where the field begins: a number at its lowest bits, bytes where they begin in the block."""
    return min(bit for bit, _ in field.segments) if field.is_bytes else field.bit


def _bit(row: Mapping[str, Any]) -> int:
    return 32 * int(row["word"]) + int(row["pos"])


def _bits(row: Mapping[str, Any], where: str) -> int:
    """A row's raw value as bits of its block, at the place that the row itself states."""
    text = str(row["raw_value"])
    try:
        if str(row.get("efuse_type", "")).startswith("bytes"):
            return int.from_bytes(bytes.fromhex(text.removeprefix("0x")), "little") << _bit(row)
        return int(text, 16) << _bit(row)
    except ValueError as error:
        raise FormatError(
            f"{where}: found raw value {text!r}, expected hexadecimal", "give the file that espefuse wrote"
        ) from error
