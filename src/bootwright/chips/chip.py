"""A chip is data: `load_chip("esp32c3")` reads its two files, and code asks for traits, never for names."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bootwright.errors import RefusedError

_DATA = Path(__file__).parent / "data"

#: Names that only espefuse uses → ESP-IDF's.
_ESPEFUSE_NAMES = {"CUSTOM_MAC": "MAC_CUSTOM"}

CHIP_NAMES = (
    "esp32",
    "esp32c2",
    "esp32c3",
    "esp32c5",
    "esp32c6",
    "esp32c61",
    "esp32h2",
    "esp32p4",
    "esp32s2",
    "esp32s3",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An eFuse field, as ESP-IDF's `esp_efuse_table.csv` names and places it."""

    name: str
    block: int
    segments: tuple[tuple[int, int], ...]  #: (first bit, width); the first segment holds the value's lowest bits
    write_disable: int | None  #: the bit of WR_DIS that freezes it
    read_disable: int | None  #: the bit of RD_DIS that hides it
    first_revision: int  #: major * 100 + minor
    last_revision: int
    aliases: tuple[str, ...]
    values: Mapping[int, str]  #: what single values are called

    @property
    def bit(self) -> int:
        """Where its lowest bit lies in the block."""
        return self.segments[0][0]

    @property
    def width(self) -> int:
        """Bits of the value."""
        return sum(width for _, width in self.segments)

    @property
    def mask(self) -> int:
        """The bits it takes in its block."""
        return sum((1 << width) - 1 << bit for bit, width in self.segments)

    @property
    def is_bytes(self) -> bool:
        """Whether its value is read as bytes, and not as a number: what is wider than a word, or gathered bytewise."""
        return self.width > 32 or (len(self.segments) > 1 and all(width == 8 for _, width in self.segments))

    def extract(self, block: int) -> int:
        """Its value in a block, as a number."""
        value = at = 0
        for bit, width in self.segments:
            value |= (block >> bit & (1 << width) - 1) << at
            at += width
        return value

    def place(self, value: int) -> int:
        """The bits of a block that carry this value."""
        bits = 0
        for bit, width in self.segments:
            bits |= (value & (1 << width) - 1) << bit
            value >>= width
        return bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """An eFuse block: its length, its coding, and what freezes and hides it."""

    number: int
    names: tuple[str, ...]
    read: int  #: offset of its read registers in the controller
    words: int
    coding: str  #: `none`, `repeat` (four copies), `rs`, or `by_field` (the field CODING_SCHEME decides)
    write_disable: int | None  #: bit of WR_DIS; BLOCK0 has one for each group of fields instead
    read_disable: tuple[tuple[int, int, int], ...]  #: (bit of RD_DIS, first bit hidden, width)

    @property
    def size(self) -> int:
        """Bytes."""
        return 4 * self.words

    @property
    def name(self) -> str:
        """The name that says most: `KEY0` before `BLOCK4`."""
        return self.names[1] if len(self.names) > 2 else self.names[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureBoot:
    """What the ROM's secure boot is like."""

    version: int  #: the newest that the chip has
    versions: tuple[int, ...]
    v2_since: int  #: first silicon revision with version 2
    schemes: tuple[str, ...]  #: key types of version 2, in the words of `formats.keys.KeyType`
    digest_slots: int
    digest_length: int  #: bytes of a key's digest that lie in eFuse
    revocable: bool
    enable_field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashEncryption:
    """What the flash-encryption unit is like."""

    algorithm: str  #: `xts`, or `esp32` for the first chip's own scheme
    key_lengths: tuple[int, ...]  #: bits of AES key that eFuse blocks can hold
    derived_key: bool  #: half a block can hold a key that is hashed to its full length
    key_manager: bool  #: the key may come from the Key Manager instead of a block
    pseudo_round: bool
    counter_field: str  #: an odd number of set bits turns encryption on
    manual_encrypt_field: str  #: closes encryption by the ROM loader
    download_cache_fields: tuple[str, ...]  #: close the ROM loader's view through the decryption unit


@dataclass(frozen=True, slots=True, kw_only=True)
class OlderRom:
    """The mask ROM of silicon before a revision."""

    before: int
    banner: tuple[str, ...]
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rom:
    """What the mask ROM says; `seen` is a public log that shows its words, empty where none was found."""

    banner: tuple[str, ...]  #: its first lines
    seen: str
    boot: int  #: the strapping word of a boot from flash
    resets: Mapping[str, tuple[str, str]]  #: power_on, software, watchdog → what the ROM calls the reset, seen
    older: OlderRom | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Where the CPU sees RAM: first address and the first one behind; empty where the chip has none."""

    iram: tuple[int, ...]
    dram: tuple[int, ...]
    rtc_iram: tuple[int, ...]
    rtc_dram: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usb:
    """USB functions of the ROM."""

    serial_jtag: bool
    otg: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Which blocks hold keys, and how a key's purpose is known."""

    blocks: tuple[int, ...]
    purpose_by: str  #: `field` (KEY_PURPOSE_n), `position` (ESP32) or `halves` (the C2's one block)
    last_block_quirk: bool  #: the last block cannot serve XTS and ECDSA keys (SOC_EFUSE_BLOCK9_KEY_PURPOSE_QUIRK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """A key purpose, with what tools do to a key that is burned for it."""

    name: str
    value: int
    reversed: bool  #: the key file's bytes lie in the block in reverse order
    secret: bool  #: the block is read-protected

    @property
    def is_digest(self) -> bool:
        """Whether it marks a Secure Boot V2 key digest, which must stay readable."""
        return self.name.startswith("SECURE_BOOT")

    @property
    def is_flash_key(self) -> bool:
        """Whether it marks a flash-encryption key."""
        return self.name == "FLASH_ENCRYPTION" or (self.name.startswith("XTS") and "PSRAM" not in self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class EfuseController:
    """Where the controller lies and at which offsets its registers are."""

    base: int
    registers: Mapping[str, int | tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Chip:
    """Everything that Bootwright knows of a chip. There is one object for each name."""

    name: str
    title: str
    chip_id: int  #: as image headers carry it
    default_revision: int  #: major * 100 + minor
    revisions: tuple[int, ...]  #: those that ESP-IDF can be built for
    bootloader_offset: int
    bootloader_limit: int  #: most bytes that the ROM verifies under Secure Boot V2, without the signature sector
    secure_boot: SecureBoot
    flash_encryption: FlashEncryption
    rom: Rom
    memory: Memory
    usb: Usb
    keys: Keys
    purposes: tuple[Purpose, ...]
    release_fields: tuple[str, ...]  #: what ESP-IDF's release checks ask for, beside counter, keys and protections
    heeded_since: Mapping[str, int]  #: fields that older silicon has and does not heed → first revision that does
    efuse: EfuseController
    blocks: tuple[Block, ...]  #: in order of their numbers, from 0 without gaps
    fields: tuple[Field, ...]  #: of all revisions, in ESP-IDF's order
    by_name: Mapping[str, tuple[Field, ...]]

    def __repr__(self) -> str:
        return f"Chip({self.name})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return load_chip, (self.name,)

    @property
    def revisions_text(self) -> str:
        """The known revisions for a person: `v0.0, v1.0`."""
        return ", ".join(f"v{known // 100}.{known % 100}" for known in self.revisions)

    def has_field(self, name: str, *, revision: int | None = None) -> bool:
        """Whether the chip, or this revision of it, has the field."""
        return self._find(name, revision) is not None

    def field(self, name: str, *, revision: int | None = None) -> Field:
        """The field of that name or alias.

        Raises:
            RefusedError: the chip, or this revision of it, has none.
        """
        found = self._find(name, revision)
        if found is None:
            import difflib

            near = difflib.get_close_matches(name.upper(), self.by_name, 3)
            hint = f"did you mean {', '.join(near)}?" if near else f"`bootwright efuse fields {self.name}` lists all"
            if name in self.by_name:
                hint = "other revisions of this chip have it"
            raise RefusedError(f"{self.title} has no eFuse field {name}", hint)
        return found

    def fields_at(self, revision: int) -> tuple[Field, ...]:
        """The fields of one revision."""
        return tuple(f for f in self.fields if f.first_revision <= revision <= f.last_revision)

    def block(self, name: str | int) -> Block:
        """The block of that number or name (`4`, `BLOCK4`, `KEY0`, `BLOCK_KEY0`).

        Raises:
            RefusedError: the chip has none.
        """
        for block in self.blocks:
            if name == block.number or str(name).upper() in (*block.names, str(block.number)):
                return block
        names = ", ".join(block.name for block in self.blocks)
        raise RefusedError(f"{self.title} has no eFuse block {name}", f"it has {names}")

    def purpose(self, name: str) -> Purpose:
        """The key purpose of that name.

        Raises:
            RefusedError: the chip has none.
        """
        for purpose in self.purposes:
            if purpose.name == name.upper():
                return purpose
        raise RefusedError(
            f"{self.title} has no key purpose {name}", f"it has {', '.join(purpose.name for purpose in self.purposes)}"
        )

    def _find(self, name: str, revision: int | None) -> Field | None:
        for field in self.by_name.get(name, ()):
            if revision is None or field.first_revision <= revision <= field.last_revision:
                return field
        return None


@cache
def load_chip(name: str) -> Chip:
    """The chip of that name (`esp32c3`; dashes and capitals do not matter).

    Raises:
        RefusedError: there is no such chip.
    """
    plain = name.lower().replace("-", "").replace("_", "")
    if plain != name:
        return load_chip(plain)
    if name not in CHIP_NAMES:
        raise RefusedError(f"unknown chip {name!r}", f"known are {', '.join(CHIP_NAMES)}")
    table = tomllib.loads((_DATA / f"{name}.toml").read_text())
    fields = _read_fields(_DATA / f"{name}.efuse.csv")
    by_name: dict[str, tuple[Field, ...]] = {}
    for field in fields:
        by_name[field.name] = (*by_name.get(field.name, ()), field)
    for field in fields:
        for alias in field.aliases:
            if alias not in by_name or field.name not in {f.name for f in by_name[alias]}:
                by_name.setdefault(alias, (field,))
    for theirs, ours in _ESPEFUSE_NAMES.items():
        if ours in by_name:
            by_name.setdefault(theirs, by_name[ours])
    efuse = table["efuse"]
    registers = {key: tuple(at) if isinstance(at, list) else at for key, at in efuse["registers"].items()}
    return Chip(
        **{key: table[key] for key in ("name", "title", "chip_id", "default_revision")},
        revisions=tuple(table["revisions"]),
        bootloader_offset=table["bootloader_offset"],
        bootloader_limit=table["bootloader_limit"],
        secure_boot=SecureBoot(**_tuples(table["secure_boot"])),
        flash_encryption=FlashEncryption(**_tuples(table["flash_encryption"])),
        rom=_rom(table["rom"]),
        memory=Memory(**_tuples(table["memory"])),
        usb=Usb(**table["usb"]),
        keys=Keys(**_tuples(table["keys"])),
        purposes=tuple(_purpose(key, value) for key, value in table["key_purposes"].items()),
        release_fields=tuple(table["release_fields"]),
        heeded_since=table["heeded_since"],
        efuse=EfuseController(base=efuse["base"], registers=registers),
        blocks=tuple(_block(row) for row in efuse["blocks"]),
        fields=fields,
        by_name=by_name,
    )


def _rom(table: dict[str, Any]) -> Rom:
    older = table.get("older")
    return Rom(
        banner=tuple(table["banner"]),
        seen=table["seen"],
        boot=table["boot"],
        resets={cause: (words, seen) for cause, (words, seen) in table["resets"].items()},
        older=None if older is None else OlderRom(**_tuples(older)),
    )


@cache
def meanings() -> Mapping[str, str]:
    """What security-relevant fields mean, in our words: name → one line."""
    with (_DATA / "meanings.csv").open(newline="") as file:
        return {row[0]: row[1] for row in list(csv.reader(file))[1:]}


def _tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    """TOML arrays as tuples; its values are what the generator wrote."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _purpose(name: str, value: int) -> Purpose:
    """XTS and ECDSA keys lie reversed, digests and free blocks stay readable (espressif.md 3.4, seen in espefuse)."""
    keys = name.startswith(("XTS", "ECDSA", "FLASH_ENCRYPTION"))
    public = name in ("USER", "RESERVED", "SYSTEM") or name.startswith("SECURE_BOOT")
    return Purpose(name=name, value=value, reversed=keys, secret=not public)


def _block(row: Mapping[str, Any]) -> Block:
    values = {"write_disable": None, **_tuples(row)}
    values["read_disable"] = tuple(tuple(region) for region in values["read_disable"])
    return Block(**values)


def _read_fields(path: Path) -> tuple[Field, ...]:
    found: list[Field] = []
    segments: list[tuple[int, int]] = []
    with path.open(newline="") as file:
        next(file)
        rows = list(csv.reader(file))[1:]
    for at, (name, block, bit, width, write, read, revisions, aliases, values) in enumerate(rows):
        segments.append((int(bit), int(width)))
        if name:
            head = (name, int(block), write, read, revisions, aliases, values)
        if at + 1 == len(rows) or rows[at + 1][0]:
            found.append(_field(*head, tuple(segments)))
            segments = []
    return tuple(found)


def _field(
    name: str,
    block: int,
    write: str,
    read: str,
    revisions: str,
    aliases: str,
    values: str,
    segments: tuple[tuple[int, int], ...],
) -> Field:
    first, _, last = revisions.partition("-")
    pairs = (pair.partition("=") for pair in values.split("; ") if pair)
    return Field(
        name=name,
        block=block,
        segments=segments,
        write_disable=int(write) if write else None,
        read_disable=int(read) if read else None,
        first_revision=int(first or 0),
        last_revision=int(last or 99999),
        aliases=tuple(aliases.split()),
        values={int(number): word for number, _, word in pairs},
    )
