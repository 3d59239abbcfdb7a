"""All eFuse bits of one chip as a value, and the rules of the silicon.

`Efuses` never changes: `burn_block`, `burn_fields` and `program` return what the chip is afterwards. `program` is the
controller's PGM command with everything it does in silence (protected bits are skipped, a Reed-Solomon block written
twice is spoiled); `burn_block` and `burn_fields` do the same, but raise `SiliconError` where the outcome would not be
what was asked for. Protections take effect at the next READ command or reset: `latched()`.

Bits are kept as one integer a block, bit 0 first; bytes are little-endian, as in the read registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from bootwright.chips.chip import Block, Chip, Field, Purpose
from bootwright.chips.coding import DATA_34, UNIT_34, check_34, rs_parity
from bootwright.chips.ownership import covered, freezes, hides, owners, read_revision, revision_fields
from bootwright.errors import NotModelledError, SiliconError

#: Roles of key blocks on chips that have no purpose field: the ESP32's three, by block.
_BY_POSITION = {1: "FLASH_ENCRYPTION", 2: "SECURE_BOOT_V2", 3: "USER"}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs between two states; a hidden value is None."""

    name: str
    block: int
    bit: int  #: where the field begins in its block
    width: int
    before: int | bytes | None
    after: int | bytes | None
    reversible: bool = False  #: never


@dataclass(frozen=True, slots=True, repr=False)
class Efuses:
    """The state of all eFuses; two are equal when chip, revision, every bit and the latched protections are."""

    chip: Chip
    revision: int  #: of the silicon, major * 100 + minor
    bits: tuple[int, ...]
    checks: tuple[int, ...]  #: parity or check bits that were burned beside the data
    latch: int  #: BLOCK0 as it was at the last READ command or reset
    unknown: frozenset[int] = frozenset()  #: read-protected blocks of a real chip, whose content no reader could tell

    @classmethod
    def blank(cls, chip: Chip, *, revision: int | None = None, mac: bytes = b"") -> Efuses:
        """A new chip: only its revision, and its MAC address if given, are burned.

        Raises:
            SiliconError: its eFuses cannot state the revision.
        """
        revision = chip.default_revision if revision is None else revision
        zeros = (0,) * len(chip.blocks)
        state = cls(chip, revision, zeros, zeros, 0)
        values: dict[str, int] = dict(revision_fields(chip, revision))
        for name, value in values.items():
            if value >> chip.field(name, revision=revision).width:
                found = f"v{revision // 100}.{revision % 100}"
                because = f"the {chip.title} has no revision {found}: its eFuses cannot state it"
                raise SiliconError(because, f"these are known: {chip.revisions_text}")
        if mac:
            values["MAC"] = int.from_bytes(mac, "little")
        return state._with_bits(_placed(state, values)).latched()

    @classmethod
    def holding(cls, chip: Chip, blocks: Mapping[int, bytes], *, revision: int | None = None) -> Efuses:
        """A chip whose blocks hold these bytes, each burned in one go; the revision is read from them unless given."""
        bits = [0] * len(chip.blocks)
        for number, data in blocks.items():
            bits[number] = _number(chip.blocks[number], data)
        state = cls(
            chip, chip.default_revision if revision is None else revision, (0,) * len(bits), (0,) * len(bits), 0
        )
        state = state._with_bits(dict(enumerate(bits)))
        if revision is None:
            state = replace(state, revision=read_revision(chip, state.revision, state.true_number))
        return state.latched()

    def __repr__(self) -> str:
        return f"Efuses({self.chip.name}, revision {self.revision // 100}.{self.revision % 100})"

    # Reading

    def read(self, name: str) -> int | bytes:
        """What software reads of a field now: 0 where it is read-protected; bytes where it is wider than 32 bits."""
        found = self.chip.field(name, revision=self.revision)
        return _value(found, self._readable(found.block))

    def number(self, name: str) -> int:
        """What software reads of a field, always as a number."""
        found = self.chip.field(name, revision=self.revision)
        return found.extract(self._readable(found.block))

    def true_number(self, name: str) -> int:
        """What the hardware itself uses: the bits as they are, read-protected or not."""
        found = self.chip.field(name, revision=self.revision)
        return found.extract(self.bits[found.block])

    def is_set(self, name: str) -> bool:
        """Whether the chip has the field and any bit of it is burned."""
        return self.chip.has_field(name, revision=self.revision) and self.true_number(name) != 0

    def latched_number(self, name: str) -> int:
        """A BLOCK0 field as it was at the last READ command or reset: what download mode and protections go by."""
        return self.chip.field(name, revision=self.revision).extract(self.latch)

    def block(self, number: int) -> bytes:
        """The true bytes of a block.

        Raises:
            NotModelledError: this is the snapshot of a real chip that hides the block, and nobody told us its content.
        """
        if number in self.unknown:
            raise NotModelledError(
                f"the content of block {self.chip.blocks[number].name} is unknown: the chip that was read hides it",
                "give the key that was burned there, `bootwright efuse know` takes it",
            )
        return self.bits[number].to_bytes(self.block_size(number), "little")

    def readable_block(self, number: int) -> bytes:
        """The bytes that software reads: zeros where the block is read-protected."""
        return self._readable(number).to_bytes(self.block_size(number), "little")

    def block_size(self, number: int) -> int:
        """Bytes of data in a block; under 3/4 coding the ESP32's blocks hold 24."""
        return DATA_34 if self.coding(number) == "3/4" else self.chip.blocks[number].size

    def coding(self, number: int) -> str:
        """How the block guards its bits: `none`, `repeat`, `rs` or `3/4`."""
        coding = self.chip.blocks[number].coding
        if coding != "by_field":
            return coding
        return {1: "3/4", 2: "repeat"}.get(self.true_number("CODING_SCHEME"), "none")

    def spoiled(self, number: int) -> bool:
        """Whether the block's check bits no longer fit its data: it was written twice, or cut in the middle."""
        return self.checks[number] != self._check_bits(number, self.bits[number])

    def read_protected(self, number: int) -> bool:
        """Whether any part of the block is hidden."""
        return self._hidden(number) != 0

    def hidden_bits(self, number: int) -> int:
        """The bits of a block that readers see as zeros."""
        return self._hidden(number)

    def write_protected(self, name: str) -> bool:
        """Whether a field is frozen, by the protections in force."""
        return _frozen(self, self.chip.field(name, revision=self.revision).block) & self._mask(name) != 0

    def block_write_protected(self, number: int) -> bool:
        """Whether a whole block is frozen, by the protections in force."""
        bit = self.chip.blocks[number].write_disable
        return bit is not None and bool(self.latched_number("WR_DIS") >> bit & 1)

    # Keys

    def key_purpose(self, number: int) -> str:
        """The purpose of a key block.

        On chips without purpose fields the block's place decides, on the C2 `XTS_KEY_LENGTH_256` does (ESP-IDF
        components/efuse/src/efuse_controller/keys, `esp_efuse_get_key_purpose`).
        """
        keys = self.chip.keys
        if keys.purpose_by == "position":
            return _BY_POSITION[number]
        if keys.purpose_by == "halves":
            full = self.true_number("XTS_KEY_LENGTH_256")
            return "XTS_AES_128_KEY" if full else "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"
        value = self.true_number(f"KEY_PURPOSE_{number - keys.blocks[0]}")
        return next((p.name for p in self.chip.purposes if p.value == value), f"UNKNOWN_{value}")

    def find_key(self, purpose: str) -> int | None:
        """The first block with that purpose; where place is purpose, that block whatever it holds."""
        return next(iter(self.find_keys(purpose)), None)

    def find_keys(self, purpose: str) -> tuple[int, ...]:
        """All blocks with that purpose, lowest first."""
        if self.chip.keys.purpose_by == "halves":
            return self.chip.keys.blocks
        value = self._purpose_value(purpose)
        return tuple(n for n in self.chip.keys.blocks if self._purpose_value(self.key_purpose(n)) == value)

    def key_block_unused(self, number: int) -> bool:
        """Whether a key can still go there: purpose free, nothing burned, nothing protected (as ESP-IDF asks)."""
        if number not in self.chip.keys.blocks or self._readable(number) or self.read_protected(number):
            return False
        if self.block_write_protected(number):
            return False
        if self.chip.keys.purpose_by != "field":
            return True
        name = f"KEY_PURPOSE_{number - self.chip.keys.blocks[0]}"
        return not self.number(name) and not self.write_protected(name)

    def free_key_block(self, purpose: str) -> int | None:
        """The lowest block that can take a key of that purpose, and serve it."""
        wanted = self.chip.purpose(purpose)
        for number in self.chip.keys.blocks:
            if self.key_block_unused(number) and not self.quirk_forbids(number, wanted):
                return number
        return None

    def quirk_forbids(self, number: int, purpose: Purpose) -> bool:
        """Whether a hardware bug keeps this block from serving that purpose (SOC_EFUSE_BLOCK9_KEY_PURPOSE_QUIRK)."""
        keys = self.chip.keys
        return keys.last_block_quirk and number == keys.blocks[-1] and purpose.name.startswith(("XTS", "ECDSA"))

    def knowing(self, number: int, data: bytes) -> Efuses:
        """The same chip, now that somebody told what its hidden block holds."""
        bits = _put(self.bits, number, _number(self.chip.blocks[number], data))
        checks = _put(self.checks, number, self._check_bits(number, bits[number]))
        return replace(self, bits=bits, checks=checks, unknown=self.unknown - {number})

    def restored(self, *, checks: Mapping[int, bytes], latch: bytes | None, unknown: frozenset[int]) -> Efuses:
        """The state as a file keeps it: spoiled check bits, protections not yet in force, blocks of unknown content."""
        guards = tuple(
            int.from_bytes(checks[n], "little") if n in checks else guard for n, guard in enumerate(self.checks)
        )
        latched = self.latch if latch is None else int.from_bytes(latch, "little")
        return replace(self, checks=guards, latch=latched, unknown=unknown)

    def hiding(self) -> Efuses:
        """What is left when a reader copies the chip: hidden blocks hold nothing known."""
        blocks = range(len(self.bits))
        hidden = frozenset(n for n in blocks if n and self._hidden(n))
        bits = tuple(self._readable(n) if n in hidden else self.bits[n] for n in blocks)
        checks = tuple(self._check_bits(n, bits[n]) if n in hidden else self.checks[n] for n in blocks)
        return replace(self, bits=bits, checks=checks, unknown=hidden)

    # Burning

    def program(self, number: int, data: bytes, check: bytes | None = None) -> Efuses:
        """The controller's PGM command: burn what can be burned, say nothing.

        `check` are the check bytes that the host put beside the data (PGM_CHECK_VALUE, or the two last bytes of each
        3/4 unit); right ones are computed when it is None. Nothing is latched.
        """
        new = _number(self.chip.blocks[number], data)
        guard = self._check_bits(number, new) if check is None else int.from_bytes(check, "little")
        free = ~_frozen(self, number)
        bits = _put(self.bits, number, self.bits[number] | new & free)
        if self.block_write_protected(number):
            guard = 0
        return replace(self, bits=bits, checks=_put(self.checks, number, self.checks[number] | guard))

    def program_torn(self, number: int, data: bytes, *, landed: int) -> Efuses:
        """A PGM command in the middle of which power went away: any subset of its bits may have been burned.

        `landed` masks the subset: the block's data bits from bit 0, its check bits above them. That any subset may land
        is an assumption, the silicon's order is not documented (esp-idf#18953).
        """
        whole, size = self.program(number, data), 8 * self.chip.blocks[number].size
        bits = self.bits[number] | whole.bits[number] & landed
        guard = self.checks[number] | whole.checks[number] & landed >> size
        return replace(self, bits=_put(self.bits, number, bits), checks=_put(self.checks, number, guard))

    def burn_block(self, number: int, data: bytes) -> Efuses:
        """Burn the bits that `data` adds to a block, in one program command. Nothing is latched.

        Raises:
            SiliconError: a bit is frozen, or the block's coding lets it be written only once.
        """
        block = self.chip.blocks[number]
        new = _number(block, data) & ~self._readable(number)  # whether a hidden bit is set is nobody's business
        if not new:
            return self
        if len(data) > self.block_size(number) and any(data[self.block_size(number) :]):
            raise SiliconError(
                f"block {block.name} takes {self.block_size(number)} bytes under {self.coding(number)} coding, "
                f"found {len(data)}",
                "shorten the data",
            )
        if new & _frozen(self, number):
            names = ", ".join(self.names_of(number, new & _frozen(self, number)))
            raise SiliconError(
                f"{names} cannot be burned: write-protected",
                "write protection is for ever; this value needs another chip",
            )
        if once := self._written_once(number, new):
            raise SiliconError(
                f"block {block.name} cannot be burned: {once}",
                "its check bits fit the first data only; use a block that is still empty",
            )
        return self.program(number, (self.bits[number] | new).to_bytes(block.size, "little"))

    def burn_fields(self, values: Mapping[str, int | bytes]) -> Efuses:
        """Burn fields, one program command a block, the highest block first and BLOCK0 last, as the tools do.

        A bit that is set already stays set, whatever the value says. Nothing is latched.

        Raises:
            SiliconError: as `burn_block`, or a value does not fit its field.
        """
        state = self
        placed = _placed(self, {name: _field_number(self, name, value) for name, value in values.items()})
        for number in sorted(placed, reverse=True):
            state = state.burn_block(number, placed[number].to_bytes(self.chip.blocks[number].size, "little"))
        return state

    def program_fields(self, values: Mapping[str, int | bytes]) -> Efuses:
        """As `burn_fields`, but in the silence of the silicon: frozen bits stay as they are, nothing raises."""
        state = self
        placed = _placed(self, {name: _field_number(self, name, value) for name, value in values.items()})
        for number in sorted(placed, reverse=True):
            state = state.program(number, placed[number].to_bytes(self.chip.blocks[number].size, "little"))
        return state

    def latched(self) -> Efuses:
        """After a READ command or a reset: protections and download restrictions burned by now are in force."""
        return self if self.latch == self.bits[0] else replace(self, latch=self.bits[0])

    # Comparing

    def names_of(self, number: int, bits: int) -> tuple[str, ...]:
        """The fields that own these bits of a block, in the table's order.

        Bits of WR_DIS and RD_DIS go by what they protect; of several names the first in ESP-IDF's table counts.
        """
        return tuple(found.name for found in owners(self.chip, self.revision, number, bits))

    # Inner workings

    def _with_bits(self, blocks: Mapping[int, int]) -> Efuses:
        bits = tuple(self.bits[n] | blocks.get(n, 0) for n in range(len(self.bits)))
        state = replace(self, bits=bits)
        return replace(state, checks=tuple(state._check_bits(n, bits[n]) for n in range(len(bits))))

    def _mask(self, name: str) -> int:
        return self.chip.field(name, revision=self.revision).mask

    def _hidden(self, number: int) -> int:
        return covered(hides(self.chip, self.revision, number), self.latched_number("RD_DIS"))

    def _readable(self, number: int) -> int:
        return self.bits[number] & ~self._hidden(number)

    def _purpose_value(self, name: str) -> int | str:
        return next((p.value for p in self.chip.purposes if p.name == name), name)

    def _check_bits(self, number: int, bits: int) -> int:
        coding = self.coding(number)
        if coding == "rs":
            return _rs_check(bits)
        if coding == "3/4":
            return int.from_bytes(check_34(bits.to_bytes(32, "little")[:DATA_34]), "little")
        return 0

    def _written_once(self, number: int, new: int) -> str:
        coding, old = self.coding(number), self.bits[number]
        if number in self.unknown:
            return "it may hold a key already, which the chip hides"
        if coding == "rs" and (old or self.checks[number]):
            return "it is written already, and Reed-Solomon coding allows one write"
        if coding == "3/4":
            unit = (1 << 8 * UNIT_34) - 1
            for at in range(0, 8 * DATA_34, 8 * UNIT_34):
                if new >> at & unit and old >> at & unit:
                    return f"bytes {at // 8} to {at // 8 + 5} are written already, and 3/4 coding allows one write"
        return ""


def diff(before: Efuses, after: Efuses) -> tuple[FieldChange, ...]:
    """The fields whose bits differ, in the table's order; values that no reader sees in either state stay hidden."""
    rows = []
    for block in before.chip.blocks:
        n = block.number
        changed = before.bits[n] ^ after.bits[n]
        for found in owners(after.chip, after.revision, n, changed):
            known = not (found.mask & (before._hidden(n) | after.latched()._hidden(n)))
            old, new = (_value(found, state.bits[n]) if known else None for state in (before, after))
            rows.append(FieldChange(found.name, n, found.bit, found.width, old, new))
    return tuple(rows)


def _number(block: Block, data: bytes) -> int:
    if len(data) > block.size and any(data[block.size :]):
        raise SiliconError(f"block {block.name} takes {block.size} bytes, found {len(data)}", "shorten the data")
    return int.from_bytes(data[: block.size], "little")


def _put(values: tuple[int, ...], at: int, value: int) -> tuple[int, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _value(found: Field, block: int) -> int | bytes:
    value = found.extract(block)
    return value.to_bytes((found.width + 7) // 8, "little") if found.is_bytes else value


def _field_number(state: Efuses, name: str, value: int | bytes) -> int:
    found = state.chip.field(name, revision=state.revision)
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else value
    if not 0 <= number < 1 << found.width:
        raise SiliconError(
            f"{found.name} takes {found.width} bits, found a value of {number.bit_length()} bits",
            "choose one that fits",
        )
    return number


def _placed(state: Efuses, values: Mapping[str, int]) -> dict[int, int]:
    blocks: dict[int, int] = {}
    for name, value in values.items():
        found = state.chip.field(name, revision=state.revision)
        blocks[found.block] = blocks.get(found.block, 0) | found.place(value)
    return blocks


@lru_cache(maxsize=4096)
def _rs_check(bits: int) -> int:
    return int.from_bytes(rs_parity(bits.to_bytes(32, "little")), "little")


def _frozen(state: Efuses, number: int) -> int:
    """The bits of a block that no program command changes now."""
    return covered(freezes(state.chip, state.revision, number), state.latched_number("WR_DIS"))
