"""Planning what goes into a chip's flash, and refusing what would brick it although the tools let it pass.

A plan is a value: what would be written where, in which form, and every finding on the way. `flash_program` yields
its operations; `host.flash_target` performs them on a virtual chip or hands them to esptool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import FormatError, RefusedError
from bootwright.finding import Finding, Verdict
from bootwright.flash import SECTOR_SIZE, Erase, Program, Write
from bootwright.formats.esp_flash_encryption import (
    decrypt_esp32,
    decrypt_xts,
    encrypt_esp32,
    encrypt_xts,
)
from bootwright.sim.encrypted_flash import FlashCipher, is_encryption_on


class Role(StrEnum):
    """What a piece is for the chip; it decides whether encryption concerns it."""

    BOOTLOADER = "bootloader"
    PARTITION_TABLE = "partition-table"
    APP = "app"
    ENCRYPTED_DATA = "encrypted-data"  #: otadata, NVS keys, partitions with the flag
    PLAIN_DATA = "plain-data"  #: NVS and everything else that is never encrypted
    UNKNOWN = "unknown"


class Form(StrEnum):
    """In which form a piece reaches the cells."""

    AS_IS = "as it is"
    ENCRYPTED_BY_CHIP = "encrypted by the chip"
    ENCRYPTED_HERE = "encrypted here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A file and its place."""

    address: int
    data: bytes = field(repr=False)
    name: str
    role: Role = Role.UNKNOWN

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is known of the chip before anything is written."""

    name: str
    chip: Chip
    efuses: Efuses | None  #: None where they cannot be read: secure download mode
    flash_size: int
    cipher: FlashCipher | None = None  #: its encryption unit, where the key is known
    closed: bool = False  #: secure download mode; on a port `flash_size` is then the largest there is
    decrypts: bool | None = None  #: what a closed chip says of its flash encryption
    boots_signed: bool | None = None  #: and of its Secure Boot

    @property
    def encryption_on(self) -> bool:
        """Whether the chip decrypts what it reads; unknown counts as on."""
        return self.decrypts is not False if self.efuses is None else is_encryption_on(self.efuses)

    @property
    def alignment(self) -> int:
        """Bytes of the smallest encrypted write: esptool's for this chip."""
        return 32 if self.chip.flash_encryption.algorithm == "esp32" else 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWrite:
    """One piece as it will be written."""

    piece: Piece
    form: Form
    data: bytes = field(repr=False)  #: what is sent: padded, and ciphertext where it is encrypted here

    @property
    def address(self) -> int:
        """Where it goes."""
        return self.piece.address


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashPlan:
    """What will be done."""

    target: Target
    writes: tuple[PlannedWrite, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings that forbid it."""
        return tuple(finding for finding in self.findings if finding.verdict is Verdict.FAIL)

    def rows(self) -> list[dict[str, object]]:
        """The plan for `--json` and for people."""
        return [
            {
                "address": write.address,
                "size": len(write.data),
                "file": write.piece.name,
                "role": write.piece.role.value,
                "form": write.form.value,
            }
            for write in self.writes
        ]


def host_cipher(chip: Chip, key: bytes, *, crypt_config: int = 0xF) -> FlashCipher:
    """What the chip's encryption unit will do with this key file.

    Raises:
        RefusedError: the chip has no keys of this length.
    """
    if chip.flash_encryption.algorithm == "esp32":
        return FlashCipher(
            lambda data, address: encrypt_esp32(data, key, address, crypt_config),
            lambda data, address: decrypt_esp32(data, key, address, crypt_config),
        )
    _check_key_length(chip, len(key))
    return FlashCipher(
        lambda data, address: encrypt_xts(data, key, address), lambda data, address: decrypt_xts(data, key, address)
    )


def _check_key_length(chip: Chip, length: int) -> None:
    unit = chip.flash_encryption
    usable = {2 * bits // 8 for bits in unit.key_lengths}
    usable |= {16} if unit.derived_key else set()
    usable |= {64} if unit.key_manager else set()
    if length in (16, 32, 64) and length not in usable:  # any other length is no key file at all, and says so itself
        lengths = " or ".join(map(str, sorted(usable)))
        raise RefusedError(f"the key has {length} bytes, keys of the {chip.title} have {lengths}", "check the key file")


def plan_pieces(target: Target, pieces: tuple[Piece, ...], form: Form, cipher: FlashCipher | None) -> FlashPlan:
    """The plan without judgement: padded, aligned, encrypted where the form asks for it.

    Raises:
        RefusedError: a piece leaves the flash, shares a sector with another, or cannot be encrypted where it lies.
    """
    _check_places(target, pieces)
    writes = []
    for piece in sorted(pieces, key=lambda piece: piece.address):
        own = form if piece.role is not Role.PLAIN_DATA else Form.AS_IS
        writes.append(PlannedWrite(piece=piece, form=own, data=_sent(target, piece, own, cipher)))
    return FlashPlan(target=target, writes=tuple(writes))


def _check_places(target: Target, pieces: tuple[Piece, ...]) -> None:
    last: Piece | None = None
    for piece in sorted(pieces, key=lambda piece: piece.address):
        if not piece.data:
            raise FormatError(f"{piece.name} is empty", "build it again")
        if piece.end > target.flash_size:
            raise RefusedError(
                f"{piece.name} at {piece.address:#x} ends at {piece.end:#x}, the flash at {target.flash_size:#x}",
                "check address and size",
            )
        if last is not None and last.end > piece.address // SECTOR_SIZE * SECTOR_SIZE:
            raise RefusedError(
                f"{piece.name} at {piece.address:#x} shares a sector with {last.name}, which ends at {last.end:#x}",
                "writing one would erase the end of the other; check the addresses",
            )
        last = piece


def _sent(target: Target, piece: Piece, form: Form, cipher: FlashCipher | None) -> bytes:
    if form is Form.AS_IS:
        return _padded(piece.data, 4)
    unit = target.alignment
    if piece.address % unit:
        raise RefusedError(
            f"{piece.name}: address {piece.address:#x} is no multiple of {unit}, the unit in which this chip encrypts",
            "choose an aligned address",
        )
    data = _padded(piece.data, unit)
    if form is Form.ENCRYPTED_BY_CHIP:
        return data
    if cipher is None:
        raise RefusedError("encrypting here needs the key", "give the key file with --key")
    return cipher.encrypt(data, piece.address)


def _padded(data: bytes, unit: int) -> bytes:
    return data + b"\xff" * (-len(data) % unit)


def flash_program(plan: FlashPlan) -> Program[None]:
    """The plan's operations: each piece's sectors are erased, then written in one go."""
    for write in plan.writes:
        start = write.address // SECTOR_SIZE * SECTOR_SIZE
        end = -(-(write.address + len(write.data)) // SECTOR_SIZE) * SECTOR_SIZE
        yield Erase(start, end - start, f"make room for {write.piece.name}")
        yield from _blocks(write)


def _blocks(write: PlannedWrite) -> Iterator[Write]:
    encrypted = write.form is Form.ENCRYPTED_BY_CHIP
    for at in range(0, len(write.data), BLOCK):
        yield Write(write.address + at, write.data[at : at + BLOCK], f"write {write.piece.name}", encrypted)


BLOCK = 0x4000  #: bytes of one write, a multiple of every encryption unit
