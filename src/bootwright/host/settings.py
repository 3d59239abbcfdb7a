"""The keys of `bootwright.toml`, a row each: reading, `--print-project` and the reference page follow from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from bootwright.chips.chip import CHIP_NAMES
from bootwright.errors import FormatError

Value = str | int | bool | tuple[str, ...]
Reader = Callable[[object], Value]


class Mode(StrEnum):
    """How flash encryption ends: open once more, or closed for good."""

    DEVELOPMENT = "development"
    RELEASE = "release"


class FlashKey(StrEnum):
    """Who makes the flash-encryption key."""

    HOST = "host"
    DEVICE = "device"


class Upgrade(StrEnum):
    """The upgrade strategies that the Espressif port supports."""

    SCRATCH = "scratch"
    MOVE = "move"
    OVERWRITE = "overwrite"


KEY_TYPES = ("ed25519", "ecdsa-p256", "rsa-2048", "rsa-3072")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the project file."""

    table: str
    name: str
    read: Reader
    expected: str  #: for messages and the reference
    example: str  #: as printed by --print-project, TOML
    meaning: str
    default: str = ""  #: in words; empty: the example is the default


def text(value: object) -> str:
    """A non-empty string; no file and no environment variable has a name with a NUL in it."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def texts(value: object) -> tuple[str, ...]:
    """One or more non-empty strings."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise ValueError
    return tuple(text(item) for item in items)


def switch(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def count(value: object) -> int:
    """A number of at most 32 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ValueError
    return value


def size(value: object) -> int:
    """Bytes: a number, or a string such as 4MB, 124KB or 0x1F000."""
    if not isinstance(value, str):
        return count(value)
    match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)\s*(KB|MB|kB)?", value.strip())
    if match is None:
        raise ValueError
    unit = {None: 1, "KB": 1 << 10, "kB": 1 << 10, "MB": 1 << 20}[match[2]]
    return count(int(match[1], 0 if match[1][:2].lower() == "0x" else 10) * unit)


def version(value: object) -> str:
    """A version as MCUboot's header holds it: major.minor.revision, and +build."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:\+(\d+))?", text(value))
    if match is None:
        raise ValueError
    limits = (255, 255, 65535, 0xFFFFFFFF)
    if any(int(part or 0) > limit for part, limit in zip(match.groups(), limits, strict=True)):
        raise ValueError
    return match[0]


def one_of(*words: str) -> Reader:
    """One of these words."""

    def read(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return read


_FILE = "the name of a file, relative to this one"
_KEY = "a key file, relative to this one, or pkcs11:… or exec:COMMAND"
_BYTES = "bytes: a number, or a string such as 4MB or 0x1F000"
_PORT = "the port's for the chip"
_VERSION = "a version such as 1.0.0 or 1.0.0+7, each part within its field"

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "project",
        "name",
        text,
        "a name",
        '"sensor"',
        "What reports call this project.",
        "the name of the directory",
    ),
    Setting("project", "chip", one_of(*CHIP_NAMES), " | ".join(CHIP_NAMES), '"esp32c3"', "The chip to rehearse on."),
    Setting(
        "app",
        "file",
        text,
        _FILE,
        '"build/app.bin"',
        "The application, unsigned: what the build leaves for imgtool sign.",
        "a small application made for the rehearsal",
    ),
    Setting("app", "version", version, _VERSION, '"1.0.0"', "The version to sign it as."),
    Setting(
        "app",
        "security_counter",
        count,
        "a number of 32 bits",
        "1",
        "Its security counter, compared instead of the version when the bootloader is built to.",
        "none is signed in",
    ),
    Setting("update", "file", text, _FILE, '"build/app-next.bin"', "The update to rehearse.", "the application again"),
    Setting("update", "version", version, _VERSION, '"1.1.0"', "The version to sign it as."),
    Setting(
        "update",
        "security_counter",
        count,
        "a number of 32 bits",
        "2",
        "Its security counter.",
        "none is signed in",
    ),
    Setting(
        "second",
        "file",
        text,
        _FILE,
        '"build/other.bin"',
        "The second application, unsigned: for a host's system, or for the other CPU.",
        "a small application made for the rehearsal",
    ),
    Setting("second", "version", version, _VERSION, '"1.0.0"', "The version to sign it as.", "1.0.0"),
    Setting(
        "second",
        "security_counter",
        count,
        "a number of 32 bits",
        "1",
        "Its security counter.",
        "none is signed in",
    ),
    Setting(
        "bootloader",
        "file",
        text,
        _FILE,
        '"build/mcuboot.bin"',
        "The bootloader, unsigned: an ESP image.",
        "a valid image made for the rehearsal",
    ),
    Setting(
        "bootloader",
        "conf",
        texts,
        "the name of a bootloader.conf, or a list of them",
        '["bootloader.conf"]',
        "What it was built with; takes the place of [layout]. Later files override earlier ones.",
        "made from [layout] and [security]",
    ),
    Setting(
        "keys",
        "type",
        one_of(*KEY_TYPES),
        " | ".join(KEY_TYPES),
        '"ed25519"',
        "Type of the key that signs applications.",
        "that of bootloader.conf, else ed25519",
    ),
    Setting(
        "keys",
        "signing",
        text,
        _KEY,
        '"keys/signing.pem"',
        "Private key that signs applications.",
        "drawn for the rehearsal and forgotten after it",
    ),
    Setting(
        "keys",
        "secure_boot",
        text,
        _KEY,
        '"keys/secure_boot.pem"',
        "Private RSA-3072 key that signs the bootloader.",
        "drawn for the rehearsal and forgotten after it",
    ),
    Setting(
        "keys",
        "flash_encryption",
        text,
        _FILE,
        '"keys/flash_encryption.bin"',
        'Flash-encryption key as espsecure writes it; only with fe_key = "host".',
        "drawn for the rehearsal and forgotten after it",
    ),
    Setting(
        "keys",
        "password_env",
        text,
        "the name of an environment variable",
        '"OUR_KEY_PASSWORD"',
        "Environment variable with the password of encrypted PEM files.",
        "BOOTWRIGHT_KEY_PASSWORD, if it is set",
    ),
    Setting(
        "security",
        "mode",
        one_of(*Mode),
        " | ".join(Mode),
        '"development"',
        "development leaves a way back, release is final.",
        "that of bootloader.conf, else development",
    ),
    Setting(
        "security",
        "fe_key",
        one_of(*FlashKey),
        " | ".join(FlashKey),
        '"device"',
        "Who makes the flash-encryption key: the host before, or the chip at its first boot.",
    ),
    Setting(
        "security",
        "downgrade_prevention",
        switch,
        "true or false",
        "true",
        "Whether the bootloader refuses updates with a lower version.",
    ),
    Setting(
        "layout",
        "upgrade",
        one_of(*Upgrade),
        " | ".join(Upgrade),
        '"scratch"',
        "How the update reaches the primary slot.",
        "scratch",
    ),
    Setting("layout", "flash_size", size, _BYTES, '"4MB"', "Bytes of flash.", _PORT),
    Setting("layout", "bootloader_size", size, _BYTES, "0xF000", "Bytes of the bootloader's region.", _PORT),
    Setting("layout", "slot_size", size, _BYTES, "0x1C0000", "Bytes of every slot; 512 sectors at most.", _PORT),
    Setting("layout", "primary", size, _BYTES, "0x20000", "Address of the primary slot.", _PORT),
    Setting("layout", "secondary", size, _BYTES, "0x1E0000", "Address of the secondary slot.", _PORT),
    Setting("layout", "scratch", size, _BYTES, "0x3E0000", "Address of the scratch area.", _PORT),
    Setting("layout", "scratch_size", size, _BYTES, "0x1F000", "Bytes of the scratch area.", _PORT),
)

#: table → its comment in the printed file
TABLES: Mapping[str, str] = {
    "project": "",
    "app": "The firmware. Leave `file` away to rehearse with one made for the purpose.",
    "update": "What is put into the secondary slot.",
    "second": "Image 1, only with a bootloader.conf that builds for two (CONFIG_ESP_IMAGE_NUMBER=2).",
    "bootloader": "MCUboot, built for the chip. Its bytes are signed and encrypted; what it does is the model's.",
    "keys": "Private keys are read, never copied and never shown.",
    "security": "What the first boot makes permanent.",
    "layout": "Where things lie; the default is that of the port. With [bootloader] conf, that file decides.",
}


def setting(table: str, name: str) -> Setting:
    """The row of a key."""
    return next(row for row in SETTINGS if (row.table, row.name) == (table, name))


def read_value(row: Setting, value: object, where: str) -> Value:
    """A value of the file, checked.

    Raises:
        FormatError: not what the key expects.
    """
    try:
        return row.read(value)
    except ValueError:
        name = f"{row.table}.{row.name}"
        meaning = row.meaning[0].lower() + row.meaning[1:].rstrip(".")
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise FormatError(
            f"{where}: found {name} = {shown}, expected {row.expected}",
            f"{name}: {meaning}; write {row.example}, for example",
        ) from None


def _toml(row: Setting, value: Value) -> str:
    """A value as TOML writes it; a number of bytes in the base of its example."""
    if isinstance(value, int) and not isinstance(value, bool) and row.example.startswith("0x"):
        return f"{value:#x}"
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, lists, numbers and booleans are JSON's


def print_project(given: Mapping[tuple[str, str], Value] = MappingProxyType({})) -> str:
    """A commented `bootwright.toml` in which every key shows what is given, its default, or an example behind a #."""
    lines = ["# bootwright.toml: what Bootwright rehearses, signs, flashes and provisions.", ""]
    for table, comment in TABLES.items():
        lines += [f"# {comment}"] if comment else []
        lines.append(f"[{table}]")
        for row in SETTINGS:
            if row.table != table:
                continue
            default = f" Default: {row.default}." if row.default else ""
            lines.append(f"# {row.meaning}{default} ({row.expected})")
            value = given.get((row.table, row.name))
            written = row.example if value is None else _toml(row, value)
            lines.append(f"{'# ' if row.default and value is None else ''}{row.name} = {written}")
        lines.append("")
    return "\n".join(lines)
