"""Sets of files that belong together: ESP-IDF's `flasher_args.json`, a project, or address and file pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bootwright.chips.chip import Chip
from bootwright.errors import FormatError, RefusedError
from bootwright.formats.esp_partitions import PartitionTable
from bootwright.host.files import read_bytes, read_text
from bootwright.host.flashing import Piece, Role
from bootwright.host.project import Project

_MCUBOOT_MAGIC = (0x96F3B83D).to_bytes(4, "little")
#: how flasher_args.json names its files
_ROLES = {
    "bootloader": Role.BOOTLOADER,
    "partition-table": Role.PARTITION_TABLE,
    "partition_table": Role.PARTITION_TABLE,
    "app": Role.APP,
    "otadata": Role.ENCRYPTED_DATA,
}


def pieces_of_pairs(chip: Chip, pairs: tuple[tuple[int, Path], ...]) -> tuple[Piece, ...]:
    """Address and file pairs; what a file is, its place and content tell."""
    pieces = tuple(Piece(address=at, data=read_bytes(file), name=str(file)) for at, file in pairs)
    return with_partitions(tuple(replace(piece, role=_role(chip, piece)) for piece in pieces))


def _role(chip: Chip, piece: Piece) -> Role:
    if piece.address == chip.bootloader_offset:
        return Role.BOOTLOADER
    if piece.data[:2] == b"\xaa\x50":
        return Role.PARTITION_TABLE
    if piece.data[:1] == b"\xe9" or piece.data[:4] == _MCUBOOT_MAGIC:
        return Role.APP
    return Role.UNKNOWN


def pieces_of_flasher_args(path: Path, chip: Chip) -> tuple[Piece, ...]:
    """The files that `idf.py build` lists; their names count from the list's directory.

    Raises:
        FormatError: not such a list, or a file is missing.
        RefusedError: it was built for another chip.
    """
    table = _json(path)
    built_for = table.get("extra_esptool_args", {}).get("chip", chip.name)
    if built_for != chip.name:
        raise RefusedError(f"{path} was built for {built_for}, the chip is {chip.name}", "build it for this chip")
    files = table.get("flash_files")
    if not isinstance(files, dict) or not files:
        raise FormatError(f"{path}: found no flash_files, expected a flasher_args.json", "run idf.py build")
    roles = {
        row["file"]: _ROLES[name]
        for name, row in table.items()
        if name in _ROLES and isinstance(row, dict) and "file" in row
    }
    pieces = tuple(
        Piece(
            address=_address(at, path),
            data=read_bytes(path.parent / str(file)),
            name=str(file),
            role=roles.get(file, Role.UNKNOWN),
        )
        for at, file in files.items()
    )
    return _with_flags(with_partitions(pieces), table)


def _with_flags(pieces: tuple[Piece, ...], table: dict[str, Any]) -> tuple[Piece, ...]:
    """What no partition table among the files decides, the list's `encrypted` does, where the build encrypts at all."""
    flags = {
        row["file"]: row.get("encrypted") == "true" for row in table.values() if isinstance(row, dict) and "file" in row
    }
    if not any(flags.values()):
        return pieces
    roles = {True: Role.ENCRYPTED_DATA, False: Role.PLAIN_DATA}
    return tuple(
        replace(piece, role=roles[flags[piece.name]]) if piece.role is Role.UNKNOWN and piece.name in flags else piece
        for piece in pieces
    )


def pieces_of_project(project: Project) -> tuple[Piece, ...]:
    """A project's bootloader and signed application, at the places that its bootloader.conf gives them.

    Raises:
        RefusedError: one of the files is not named, or the application is not signed.
    """
    if project.bootloader is None or project.app.file is None:
        raise RefusedError(
            f"{project.where} names no bootloader.file and app.file", "a project that is flashed needs both"
        )
    app = read_bytes(project.app.file)
    if app[:4] != _MCUBOOT_MAGIC:
        raise RefusedError(
            f"{project.app.file} begins with {app[:4].hex(' ')}, expected an MCUboot image",
            "sign it first: bootwright image sign",
        )
    return (
        Piece(
            address=project.chip.bootloader_offset,
            data=read_bytes(project.bootloader),
            name=str(project.bootloader),
            role=Role.BOOTLOADER,
        ),
        Piece(address=project.conf.slots(0)[0].address, data=app, name=str(project.app.file), role=Role.APP),
    )


def with_partitions(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The pieces with the roles that a partition table among them gives: what is encrypted, and NVS, which never is."""
    tables = [piece for piece in pieces if piece.data[:2] == b"\xaa\x50"]
    if not tables:
        return pieces
    table = PartitionTable.parse(tables[0].data, where=tables[0].name)
    return tuple(_placed(piece, table) for piece in pieces)


def _placed(piece: Piece, table: PartitionTable) -> Piece:
    if piece.role not in (Role.UNKNOWN, Role.ENCRYPTED_DATA):
        return piece
    for partition in table:
        if partition.offset <= piece.address < partition.end:
            return replace(piece, role=Role.ENCRYPTED_DATA if partition.is_encrypted else Role.PLAIN_DATA)
    return piece


def _json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(read_text(path))
    except ValueError:
        table = None
    if not isinstance(table, dict):
        raise FormatError(f"{path}: found no JSON object, expected a flasher_args.json", "run idf.py build")
    return table


def _address(text: str, path: Path) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise FormatError(f"{path}: found the address {text!r}, expected a number", "run idf.py build again") from None
