"""`bootloader.conf`: the build options of MCUboot's Espressif port, read exactly as its CMake reads them.

The file looks like Kconfig and is not: a small CMake function turns its lines into `-D` definitions and CMake
variables. What that function does with odd lines is kept here, because that is what the bootloader is built with,
and every line that does something else than it seems to is a finding.

Source: mcu-tools/mcuboot 2d4bacc3, boot/espressif/tools/utils.cmake (`parse_and_set_config_file`), tried with
CMake 3.25; the meaning of the options: boot/espressif/hal/include/mcuboot_config/mcuboot_config.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from bootwright.errors import FormatError
from bootwright.finding import Finding, failed, warned

#: `MCUBOOT_MAX_IMG_SECTORS` of the port (mcuboot_config.h); fixed, no option sets it
MAX_SECTORS = 512
SECTOR_SIZE = 4096  #: of every flash that the port drives


class Region(NamedTuple):
    """A named range of the flash, `Area(*region)` for whoever works on a flash."""

    name: str
    address: int
    size: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.size

    @property
    def sectors(self) -> int:
        """Sectors that it touches."""
        return -(-self.end // SECTOR_SIZE) - self.address // SECTOR_SIZE


class UpgradeMode(StrEnum):
    """How MCUboot moves an update into the primary slot."""

    SCRATCH = "scratch"
    MOVE = "move"
    OVERWRITE = "overwrite"
    OFFSET = "offset"
    DIRECT_XIP = "direct-xip"
    RAM_LOAD = "ram-load"
    SINGLE = "single-slot"


#: option that chooses a mode → mode
MODES: Mapping[str, UpgradeMode] = MappingProxyType(
    {
        "CONFIG_ESP_BOOT_SWAP_USING_SCRATCH": UpgradeMode.SCRATCH,
        "CONFIG_ESP_BOOT_SWAP_USING_MOVE": UpgradeMode.MOVE,
        "CONFIG_ESP_BOOT_UPGRADE_ONLY": UpgradeMode.OVERWRITE,
        "CONFIG_ESP_BOOT_SWAP_USING_OFFSET": UpgradeMode.OFFSET,
        "CONFIG_ESP_BOOT_DIRECT_XIP": UpgradeMode.DIRECT_XIP,
        "CONFIG_ESP_BOOT_RAM_LOAD": UpgradeMode.RAM_LOAD,
        "CONFIG_ESP_SINGLE_APPLICATION_SLOT": UpgradeMode.SINGLE,
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line that reached the build: `-Dname=value` (or nothing, for `n`)."""

    name: str
    value: str | None  #: None: the line said `n`
    where: str


@dataclass(frozen=True, slots=True)
class BootloaderConf:
    """What a `bootloader.conf`, or several in a row, gives to the build."""

    definitions: tuple[Line, ...] = ()  #: the `-D` options, in the compiler's order: the last of a name wins
    variables: Mapping[str, str] = field(default_factory=dict)  #: CMake's, which choose source files
    findings: tuple[Finding, ...] = ()  #: lines that do not do what they seem to
    where: str = "bootloader.conf"

    @classmethod
    def parse(cls, text: str, *, where: str = "bootloader.conf") -> BootloaderConf:
        """Read one file.

        Raises:
            FormatError: a line at which CMake itself stops.
        """
        return cls(where=where).then(text, where=where)

    def then(self, text: str, *, where: str) -> BootloaderConf:
        """Read a later file over this one, as `-DMCUBOOT_CONFIG_FILE="a;b"` does.

        Raises:
            FormatError: a line at which CMake itself stops.
        """
        definitions = list(self.definitions)
        variables = dict(self.variables)
        findings = list(self.findings)
        seen: dict[str, str] = {}
        for line in _lines(text, where, findings):
            if line.name in seen:
                findings.append(_twice(line, seen[line.name]))
            seen[line.name] = line.where
            if line.name in self.variables:  # CMake compares with what it knew before this file
                definitions = [d for d in definitions if (d.name, d.value) != (line.name, self.variables[line.name])]
            if line.value is None:
                findings += _left_over(line, definitions, variables)
                continue
            definitions.append(line)
            if line.value:
                variables[line.name] = line.value
            else:
                variables.pop(line.name, None)  # set(NAME) without a value unsets
        return BootloaderConf(tuple(definitions), MappingProxyType(variables), tuple(findings), where)

    def value(self, name: str) -> str | None:
        """The value the compiler sees, None when the macro is not defined."""
        return next((line.value for line in reversed(self.definitions) if line.name == name), None)

    def defined(self, name: str) -> bool:
        """Whether `#ifdef name` holds: true even for `=0`."""
        return any(line.name == name for line in self.definitions)

    def place(self, name: str) -> str:
        """Where the option was set, for messages."""
        return next((line.where for line in reversed(self.definitions) if line.name == name), self.where)

    def integer(self, name: str, default: int | None = None) -> int:
        """A number, decimal or hexadecimal as in C.

        Raises:
            FormatError: not set and without a default, or no number.
        """
        text = self.value(name)
        if text is None:
            if default is None:
                raise FormatError(f"{self.where}: found no {name}, expected a number", f"add {name}=…")
            return default
        number = _c_integer(text)
        if number is None:
            raise FormatError(
                f"{self.place(name)}: found {name}={text}, expected a number",
                "write a decimal number or 0x… without anything behind it",
            )
        return number

    @property
    def mode(self) -> UpgradeMode:
        """The upgrade strategy; without an option it is swap-scratch.

        Raises:
            FormatError: several are chosen, at which the build stops.
        """
        chosen = [name for name in MODES if self.defined(name)]
        if len(chosen) > 1:
            raise FormatError(
                f"{self.where}: found {' and '.join(chosen)}, expected one upgrade mode",
                "keep one of them; the build stops at several",
            )
        return MODES[chosen[0]] if chosen else UpgradeMode.SCRATCH

    @property
    def image_count(self) -> int:
        """Images that are updated independently, 1 or 2.

        Raises:
            FormatError: another number.
        """
        count = 1 if self.mode is UpgradeMode.SINGLE else self.integer("CONFIG_ESP_IMAGE_NUMBER", 1)
        if count not in (1, 2):
            raise FormatError(
                f"{self.place('CONFIG_ESP_IMAGE_NUMBER')}: found {count} images, expected 1 or 2",
                "the Espressif port knows the slots of two images",
            )
        return count

    @property
    def signature(self) -> str | None:
        """The key type that MCUboot verifies with, None for a build that checks only the hash.

        The names are those of `bootwright.formats.keys.KeyType`; RSA wins over EC256, EC256 over ED25519
        (mcuboot_config.h).

        Raises:
            FormatError: an RSA key of another length, at which the build stops.
        """
        if self.defined("CONFIG_ESP_SIGN_RSA"):
            option = "CONFIG_ESP_SIGN_RSA_LEN"
            bits = self.integer(option)
            if bits not in (2048, 3072):
                raise FormatError(
                    f"{self.place(option)}: found {option}={bits}, expected 2048 or 3072",
                    "the build stops at any other length",
                )
            return f"rsa-{bits}"
        if self.defined("CONFIG_ESP_SIGN_EC256"):
            return "ecdsa-p256"
        return "ed25519" if self.defined("CONFIG_ESP_SIGN_ED25519") else None

    @property
    def flash_encryption(self) -> bool:
        """Whether flash encryption is compiled in."""
        return self.defined("CONFIG_SECURE_FLASH_ENC_ENABLED")

    @property
    def release_mode(self) -> bool:
        """Whether flash encryption closes for good; anything but RELEASE is development in the code."""
        return self.defined("CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE")

    @property
    def secure_boot(self) -> bool:
        """Whether the first boot enables Secure Boot V2."""
        return self.defined("CONFIG_SECURE_BOOT")

    @property
    def max_align(self) -> int:
        """`MCUBOOT_BOOT_MAX_ALIGN`: 32 as soon as flash encryption is compiled in, else 8."""
        return 32 if self.flash_encryption else 8

    @property
    def flash_size(self) -> int:
        """Bytes of flash.

        Raises:
            FormatError: not a size such as `4MB`.
        """
        text = self.value("CONFIG_ESP_FLASH_SIZE")
        match = re.fullmatch(r"(\d+)(KB|MB)", text or "")
        if match is None:
            raise FormatError(
                f"{self.place('CONFIG_ESP_FLASH_SIZE')}: found CONFIG_ESP_FLASH_SIZE={text}, expected a size like 4MB",
                "esptool takes 256KB, 512KB, 1MB … 128MB",
            )
        return int(match[1]) << (10 if match[2] == "KB" else 20)

    @property
    def bootloader(self) -> Region:
        """Where the bootloader lies; its range is encrypted at the first boot."""
        offset = self.integer("CONFIG_ESP_BOOTLOADER_OFFSET", 0)
        return Region("bootloader", offset, self.integer("CONFIG_ESP_BOOTLOADER_SIZE"))

    def slots(self, image: int = 0) -> tuple[Region, Region]:
        """Primary and secondary of an image."""
        secondary = self.integer(f"CONFIG_ESP_IMAGE{image}_SECONDARY_START_ADDRESS")
        primary = self.primary(image)
        name = primary.name.replace("primary", "secondary")
        return primary, Region(name, secondary, primary.size)

    def primary(self, image: int = 0) -> Region:
        """The primary slot of an image; all that there is of a single slot."""
        size = self.integer("CONFIG_ESP_APPLICATION_SIZE")
        suffix = f" of image {image}" if self.image_count > 1 else ""
        return Region(f"primary{suffix}", self.integer(f"CONFIG_ESP_IMAGE{image}_PRIMARY_START_ADDRESS"), size)

    @property
    def scratch(self) -> Region | None:
        """The scratch area, None in modes without one."""
        if self.mode is not UpgradeMode.SCRATCH:
            return None
        return Region("scratch", self.integer("CONFIG_ESP_SCRATCH_OFFSET"), self.integer("CONFIG_ESP_SCRATCH_SIZE"))

    @property
    def virtual_efuses(self) -> Region | None:
        """The flash region of virtual eFuses, None when they are not kept in flash."""
        if not self.defined("CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH"):
            return None
        offset = self.integer("CONFIG_EFUSE_VIRTUAL_OFFSET")
        return Region("virtual eFuses", offset, self.integer("CONFIG_EFUSE_VIRTUAL_SIZE"))

    def regions(self) -> tuple[Region, ...]:
        """Every region of the flash that the bootloader knows, by address.

        Raises:
            FormatError: a number is missing or is none.
        """
        single = self.mode is UpgradeMode.SINGLE
        slots = [self.primary()] if single else [slot for n in range(self.image_count) for slot in self.slots(n)]
        found = [self.bootloader, *slots]
        found += [region for region in (self.scratch, self.virtual_efuses) if region is not None]
        return tuple(sorted(found, key=lambda region: region.address))


def _c_integer(text: str) -> int | None:
    """An integer literal of C, with suffixes and one pair of parentheses; None for anything else."""
    match = re.fullmatch(r"\s*\(?\s*(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)[uUlL]*\s*\)?\s*", text)
    if match is None:
        return None
    digits = match[1]
    return int(digits, 8) if re.fullmatch(r"0[0-7]+", digits) else int(digits, 0)


def _lines(text: str, where: str, findings: list[Finding]) -> Iterator[Line]:
    """The lines that CMake acts on; what it drops or twists goes to `findings`."""
    for number, raw in enumerate(text.replace("\r", "").split("\n"), start=1):
        place = f"{where}:{number}"
        if "#" in raw:
            if re.match(r"\s*[^#\s=]+=", raw):
                findings.append(
                    failed(
                        "conf.comment.drops_option",
                        place,
                        f"found `{raw.strip()}`; a line with a # anywhere is skipped, so the option is not set",
                        "move the comment to a line of its own",
                    )
                )
            continue
        if raw == "":
            continue
        _refuse_what_cmake_refuses(raw, place)
        body = raw.lstrip(" ")
        name, equals, value = body.partition("=")
        if not equals:
            value = name  # REPLACE finds nothing to take away and leaves the whole line as the value
        findings += _odd(name, equals, value, place)
        if value in ("n", "N"):
            yield Line(name, None, place)
        else:
            yield Line(name, "1" if value in ("y", "Y") else value, place)


def _refuse_what_cmake_refuses(raw: str, place: str) -> None:
    if not raw.strip(" "):
        raise FormatError(
            f"{place}: found a line of blanks only, expected NAME=VALUE or an empty line",
            "delete the blanks; CMake stops at such a line",
        )
    if ";" in raw:
        raise FormatError(
            f"{place}: found `{raw.strip()}` with a semicolon, expected NAME=VALUE",
            "CMake splits the line at the semicolon and stops; give several files or lines instead",
        )


def _odd(name: str, equals: str, value: str, place: str) -> Iterator[Finding]:
    """Findings about a line that is set, but not to what a reader expects."""
    if not equals:
        yield failed("conf.line.no_value", place, f"found `{name}`, expected NAME=VALUE", f"write {name}=y")
    elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        yield failed(
            "conf.name.malformed",
            place,
            f"found the option name {name!r}, expected letters, digits and _ right before the =",
            "remove the blanks around the name; the compiler never sees this option",
        )
    elif value != value.rstrip():
        yield failed(
            "conf.value.trailing_blank",
            place,
            f"found blanks behind {name}={value.rstrip()}; they become part of the value",
            "delete the blanks at the end of the line",
        )
    elif value in ("no", "No", "NO", "off", "OFF", "false", "False", "0") and _is_switch(name):
        yield failed(
            "conf.switch.not_off",
            place,
            f"found {name}={value}; the code asks #ifdef, so any value but n switches the option on",
            f"write {name}=n or delete the line",
        )


#: options whose value is a number or a word; all others are asked for with #ifdef
_VALUED = re.compile(
    r"_(SIZE|OFFSET|ADDRESS|NUMBER|NUM|LEN|FILE|VAL|TYPE|DETECT|DELAY_S|RX|TX|GPIO|BAUDRATE|VER|STRENGTH|MS)$"
)


def _is_switch(name: str) -> bool:
    return name.startswith("CONFIG_") and not _VALUED.search(name)


def _twice(line: Line, before: str) -> Finding:
    return warned(
        "conf.option.twice",
        line.where,
        f"{line.name} was set before, at {before}, and both -D reach the compiler, which takes the last",
        "keep one of the lines",
    )


def _left_over(line: Line, definitions: list[Line], variables: Mapping[str, str]) -> Iterator[Finding]:
    """What `n` does not undo: an earlier line of the same file, and the CMake variable."""
    still = next((d for d in reversed(definitions) if d.name == line.name), None)
    if still is not None:
        yield failed(
            "conf.off.ineffective",
            line.where,
            f"{line.name}=n leaves {line.name}={still.value} of {still.where} in force",
            "delete the earlier line; n removes only what an earlier file set last",
        )
    elif line.name in variables:
        yield warned(
            "conf.off.half",
            line.where,
            f"{line.name}=n takes the macro away, but CMake still knows the variable as {variables[line.name]} "
            "and chooses source files by it",
            "delete the line in the earlier file instead",
        )
