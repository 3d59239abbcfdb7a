"""Which bits are whose: what a bit of WR_DIS freezes and one of RD_DIS hides, which field owns a bit, the revision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from bootwright.chips.chip import Chip, Field


def covered(regions: tuple[tuple[int, int], ...], register: int) -> int:
    """The bits of a block that the set bits of a protection register cover."""
    mask = 0
    for bit, region in regions:
        if register >> bit & 1:
            mask |= region
    return mask


@lru_cache(maxsize=512)
def freezes(chip: Chip, revision: int, number: int) -> tuple[tuple[int, int], ...]:
    """(bit of WR_DIS, what it freezes in the block)."""
    block = chip.blocks[number]
    if block.write_disable is not None:
        return ((block.write_disable, (1 << 8 * block.size) - 1),)
    return _regions((f.write_disable, f.mask) for f in chip.fields_at(revision) if f.block == number)


@lru_cache(maxsize=512)
def hides(chip: Chip, revision: int, number: int) -> tuple[tuple[int, int], ...]:
    """(bit of RD_DIS, what it hides in the block)."""
    whole = tuple((bit, (1 << width) - 1 << first) for bit, first, width in chip.blocks[number].read_disable)
    return whole or _regions((f.read_disable, f.mask) for f in chip.fields_at(revision) if f.block == number)


def _regions(pairs: Iterator[tuple[int | None, int]]) -> tuple[tuple[int, int], ...]:
    masks: dict[int, int] = {}
    for bit, mask in pairs:
        if bit is not None:
            masks[bit] = masks.get(bit, 0) | mask
    return tuple(masks.items())


def owners(chip: Chip, revision: int, number: int, bits: int) -> tuple[Field, ...]:
    """The fields that own these bits of a block, in the table's order; of several the first."""
    found = []
    for candidate in _leaves(chip, revision, number):
        if bits & candidate.mask:
            found.append(candidate)
            bits &= ~candidate.mask
    return tuple(found)


@lru_cache(maxsize=512)
def _leaves(chip: Chip, revision: int, number: int) -> tuple[Field, ...]:
    """The fields of a block; of WR_DIS and RD_DIS the parts come before the whole."""
    mine = [f for f in chip.fields_at(revision) if f.block == number]
    wholes = [f for f in mine if f.name in ("WR_DIS", "RD_DIS")]
    return (*(f for f in mine if f not in wholes), *wholes)


def revision_fields(chip: Chip, revision: int) -> Iterator[tuple[str, int]]:
    """The fields that carry the silicon's revision, with their values."""
    major, minor = divmod(revision, 100)
    if chip.has_field("CHIP_VER_REV1"):  # the ESP32 counts majors in scattered bits, the third of which is no eFuse
        yield "CHIP_VER_REV1", int(major >= 1)
        yield "CHIP_VER_REV2", int(major >= 2)
        yield "WAFER_VERSION_MINOR", minor
        return
    for name, value in (("MAJOR", major), ("MINOR", minor)):
        if chip.has_field(f"WAFER_VERSION_{name}", revision=revision):
            yield f"WAFER_VERSION_{name}", value
            continue
        low = chip.field(f"WAFER_VERSION_{name}_LO", revision=revision)
        yield low.name, value & (1 << low.width) - 1
        yield f"WAFER_VERSION_{name}_HI", value >> low.width


def read_revision(chip: Chip, revision: int, number: Callable[[str], int]) -> int:
    """The revision that the eFuses state; the ESP32's third bit is no eFuse, so both set bits count as 3."""
    if chip.has_field("CHIP_VER_REV1"):
        major = {0: 0, 1: 1, 3: 3}.get(number("CHIP_VER_REV1") | number("CHIP_VER_REV2") << 1, 0)
        return 100 * major + number("WAFER_VERSION_MINOR")
    values = []
    for name in ("MAJOR", "MINOR"):
        if chip.has_field(f"WAFER_VERSION_{name}", revision=revision):
            values.append(number(f"WAFER_VERSION_{name}"))
        else:
            low = chip.field(f"WAFER_VERSION_{name}_LO")
            high = number(f"WAFER_VERSION_{name}_HI") << low.width
            values.append(number(low.name) | high)
    return 100 * values[0] + values[1]
