"""A virtual chip in one file, `NAME.chip`: its eFuses with their hidden keys, its flash, how it is strapped.

The flash is mapped into memory: a change is in the file the moment it is made, so a killed process loses nothing. The
rest is a small state, kept twice with a sequence number and a checksum; the older copy is overwritten, so that there is
always a whole one. The file is created beside its place and linked into it, for its owner's eyes only (0600).

    0x00000  "bootwright chip 1\\n", then one line of JSON: chip, flash_size
    0x01000  state, copy 0          0x08000  state, copy 1
    0x10000  the flash, byte for byte
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import FormatError, RefusedError
from bootwright.flash import NorFlash

MAGIC = b"bootwright chip 1\n"
STATE_AT = (0x1000, 0x8000)
STATE_SIZE = 0x7000
FLASH_AT = 0x10000
CONSOLE_KEPT = 4096  #: characters of console output that the file remembers
_RECORD = struct.Struct("<QII")  # sequence, length, CRC-32 of what follows


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipState:
    """Everything of a virtual chip but its flash."""

    efuses: Efuses
    download: bool = True  #: the boot strapping pin is held at its download level
    powered: bool = True
    gpio: tuple[tuple[int, int], ...] = ()  #: pins that something outside drives
    console: str = ""  #: the end of what it printed
    conf: str = ""  #: the `bootloader.conf` of the MCUboot in its flash, empty when nobody said
    keys: tuple[bytes, ...] = ()  #: the public keys compiled into it, as DER
    app: str = "none"  #: what the booted application does on its ports: `none`, or `smp` for an SMP server


class ChipFile:
    """An open `.chip` file; only one process holds it at a time."""

    def __init__(self, path: Path, descriptor: int, flash: mmap.mmap, state: ChipState, sequence: int) -> None:
        self.path = path
        self.flash = NorFlash.over(flash)
        self._descriptor = descriptor
        self._map = flash
        self._state = state
        self._sequence = sequence

    @property
    def state(self) -> ChipState:
        """The state as it was last saved."""
        return self._state

    def save(self, state: ChipState) -> None:
        """Make this the state; it survives the end of the process from here on."""
        if state == self._state:
            return
        record = _pack(state, self._sequence + 1)
        if len(record) > STATE_SIZE:
            raise RefusedError(
                f"the state of {self.path} takes {len(record)} bytes, a chip file has room for {STATE_SIZE}",
                "shorten its bootloader.conf",
            )
        self._sequence += 1
        os.pwrite(self._descriptor, record, STATE_AT[self._sequence % 2])
        self._state = state

    def close(self) -> None:
        """Put everything on the disk and let go of the file."""
        self._map.flush()
        os.fsync(self._descriptor)
        self._map.close()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def chip_path(name: str) -> Path:
    """The file of the chip of that name: `dev1` and `dev1.chip` mean the same.

    Raises:
        RefusedError: it is no name.
    """
    path = Path(name)
    if not path.name:
        raise RefusedError(f"{name!r} is no name for a chip", "give one such as dev1, for dev1.chip")
    return path if path.suffix == ".chip" else path.with_name(path.name + ".chip")


def create_chip_file(path: Path, efuses: Efuses, flash_size: int, *, replacing: bool = False) -> None:
    """Write a new chip: its flash erased, strapped for download.

    Raises:
        RefusedError: the file exists, another process serves it, or it cannot be made there.
    """
    if path.exists():
        if not replacing:
            raise RefusedError(f"{path} exists already", "give the chip another name, or replace it with --force")
        with _locked(path):
            pass
    header = json.dumps({"chip": efuses.chip.name, "flash_size": flash_size}).encode() + b"\n"
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise RefusedError(
            f"cannot make {path}: {error.strerror}", "give a name in a directory that exists and is yours"
        ) from None
    try:
        os.pwrite(descriptor, MAGIC + header, 0)
        os.pwrite(descriptor, _pack(ChipState(efuses=efuses), 0), STATE_AT[0])
        erased = b"\xff" * min(flash_size, 1 << 20)
        for at in range(0, flash_size, len(erased)):
            os.pwrite(descriptor, erased, FLASH_AT + at)
        os.fsync(descriptor)
        if replacing:
            Path(name).replace(path)
        else:
            os.link(name, path)
    except FileExistsError:
        raise RefusedError(f"{path} exists already", "give the chip another name, or replace it with --force") from None
    except OSError as error:
        raise RefusedError(f"cannot write {path}: {error.strerror}", "make room on the disk") from None
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def peek_chip_file(path: Path) -> tuple[ChipState, bytes]:
    """State and flash of a chip as they are in the file now, whoever holds it.

    Raises:
        FormatError: it is no chip file, or its state is damaged.
        RefusedError: there is no such file.
    """
    descriptor = _open(path)
    try:
        chip_name, flash_size = _read_header(descriptor, path)
        return _read_state(descriptor, path, chip_name)[0], os.pread(descriptor, flash_size, FLASH_AT)
    finally:
        os.close(descriptor)


def open_chip_file(path: Path) -> ChipFile:
    """Open a chip for this process alone.

    Raises:
        FormatError: it is no chip file, or its state is damaged.
        RefusedError: there is no such file, or another process holds it.
    """
    descriptor = _open(path)
    try:
        _lock(descriptor, path)
        chip_name, flash_size = _read_header(descriptor, path)
        state, sequence = _read_state(descriptor, path, chip_name)
        cells = mmap.mmap(descriptor, flash_size, offset=FLASH_AT)
    except BaseException:
        os.close(descriptor)
        raise
    return ChipFile(path, descriptor, cells, state, sequence)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RefusedError(
            f"cannot open {path}: {error.strerror}", f"`bootwright chip new MODEL --flash SIZE {path.stem}` makes it"
        ) from None


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RefusedError(f"{path} is in use by another process", "stop its server first") from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = _open(path)
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _read_header(descriptor: int, path: Path) -> tuple[str, int]:
    page = os.pread(descriptor, STATE_AT[0], 0)
    if not page.startswith(MAGIC):
        raise FormatError(f"{path}: found {page[:8]!r}, expected a chip file", "`bootwright chip new` makes one")
    try:
        header = json.loads(page[len(MAGIC) :].split(b"\n", 1)[0])
        name, size = str(header["chip"]), int(header["flash_size"])
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{path}: its header is damaged", "restore it from a copy") from None
    if os.fstat(descriptor).st_size != FLASH_AT + size:
        raise FormatError(
            f"{path}: found {os.fstat(descriptor).st_size} bytes, expected {FLASH_AT + size}", "restore it from a copy"
        )
    return name, size


def _pack(state: ChipState, sequence: int) -> bytes:
    efuses = state.efuses
    body = json.dumps(
        {
            "revision": efuses.revision,
            "bits": [f"{bits:x}" for bits in efuses.bits],
            "checks": [f"{bits:x}" for bits in efuses.checks],
            "latch": f"{efuses.latch:x}",
            "unknown": sorted(efuses.unknown),
            "download": state.download,
            "powered": state.powered,
            "gpio": state.gpio,
            "console": state.console[-CONSOLE_KEPT:],
            "conf": state.conf,
            "keys": [key.hex() for key in state.keys],
            "app": state.app,
        }
    ).encode()
    return _RECORD.pack(sequence, len(body), zlib.crc32(body)) + body


def _read_state(descriptor: int, path: Path, chip_name: str) -> tuple[ChipState, int]:
    copies = []
    for at in STATE_AT:
        record = os.pread(descriptor, STATE_SIZE, at)
        sequence, length, check = _RECORD.unpack_from(record)
        body = record[_RECORD.size : _RECORD.size + length]
        if length and len(body) == length and zlib.crc32(body) == check:
            copies.append((sequence, body))
    if not copies:
        raise FormatError(f"{path}: both copies of its state are damaged", "restore it from a copy")
    sequence, body = max(copies)
    try:
        return _unpack(json.loads(body), chip_name), sequence
    except (ValueError, KeyError, TypeError):
        raise FormatError(
            f"{path}: its state is not as this version writes it", "open it with the Bootwright that made it"
        ) from None


def _unpack(values: dict[str, Any], chip_name: str) -> ChipState:
    chip = load_chip(chip_name)
    efuses = replace(
        Efuses.blank(chip, revision=values["revision"]),
        bits=tuple(int(bits, 16) for bits in values["bits"]),
        checks=tuple(int(bits, 16) for bits in values["checks"]),
        latch=int(values["latch"], 16),
        unknown=frozenset(values.get("unknown", ())),
    )
    return ChipState(
        efuses=efuses,
        download=values["download"],
        powered=values["powered"],
        gpio=tuple((int(pin), int(level)) for pin, level in values["gpio"]),
        console=values["console"],
        conf=values["conf"],
        keys=tuple(bytes.fromhex(key) for key in values["keys"]),
        app=values.get("app", "none"),
    )
