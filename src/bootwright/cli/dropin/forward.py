"""Old and new command lines of Espressif's tools, put into the order and spelling that today's tools take.

Documents print options of the whole program behind the command (`espefuse burn-efuse --port P NAME 1`) and commands
with underscores; esptool 5 rejects the first and grumbles about the second. Nothing is interpreted beyond that: the
installed tool does the work, as a process of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import click

from bootwright.errors import RefusedError

_PORT = re.compile(r"(/|\.{1,2}/|COM\d|[a-z0-9]+://)")
_SPLIT = re.compile(r"(.+)\.(a[a-z])")  #: a file cut by `split`, as ESP-IDF's page names it
_RESET_MODES = ("--before", "--after", "-a")


@dataclass(frozen=True, slots=True)
class Older:
    """An option of esptool 4 that today's version takes no longer as it was."""

    why: str
    now: str = ""  #: what stands in its place; nothing where it is empty
    values: re.Pattern[str] | None = None  #: the values that went with it
    meaningless: frozenset[str] = frozenset()  #: those of them with which it asked for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """What has to be known of a tool's command line to put it in order."""

    name: str
    flags: frozenset[str]  #: options of the whole program without a value
    valued: frozenset[str]  #: options of the whole program with one
    commands: frozenset[str]
    own: Mapping[str, frozenset[str]] = field(default_factory=dict)  #: short options that mean something else there
    older: Mapping[str, Mapping[str, Older]] = field(default_factory=dict)  #: by command and option
    renamed: tuple[tuple[re.Pattern[str], str, str], ...] = ()  #: (words in documents, what is meant, why)
    protections: re.Pattern[str] | None = None  #: words of `burn-efuse` that mean a write protection of group 1


_NO_FLASH = Older("it never meant anything here", values=re.compile(".+"))

ESPTOOL = Tool(
    name="esptool",
    flags=frozenset({"--no-stub", "--trace", "-t", "--verbose", "-v", "--silent", "-s"}),
    valued=frozenset(
        [
            "--chip",
            "-c",
            "--port",
            "-p",
            "--baud",
            "-b",
            "--before",
            "--after",
            "-a",
            "--port-filter",
            "--stub-version",
            "--override-vddsdio",
            "--connect-attempts",
        ]
    ),
    commands=frozenset(
        [
            "load-ram",
            "dump-mem",
            "read-mem",
            "write-mem",
            "write-flash",
            "run",
            "image-info",
            "elf2image",
            "read-mac",
            "chip-id",
            "flash-id",
            "read-flash-status",
            "write-flash-status",
            "read-flash",
            "read-flash-sfdp",
            "verify-flash",
            "erase-flash",
            "erase-region",
            "merge-bin",
            "get-security-info",
            "version",
        ]
    ),
    own={"write-flash": frozenset({"-p", "-s"}), "read-flash": frozenset({"-p"}), "merge-bin": frozenset({"-t"})},
    older={
        "write-flash": {
            "--verify": Older("esptool always does it now"),
            "--ignore-flash-encryption-efuse-setting": Older("its name is shorter now", "--ignore-flash-enc-efuse"),
        },
        "verify-flash": {
            "--diff": Older("it takes no value any more", "--diff", re.compile("yes|no"), frozenset({"no"})),
            "-d": Older("it takes no value any more", "--diff", re.compile("yes|no"), frozenset({"no"})),
        },
        "image-info": {"--version": Older("there is one form of it now", values=re.compile("[12]"))},
        "elf2image": {"--spi-connection": _NO_FLASH, "-sc": _NO_FLASH},
        "merge-bin": {"--spi-connection": _NO_FLASH, "-sc": _NO_FLASH},
    },
)

ESPEFUSE = Tool(
    name="espefuse",
    flags=frozenset({"--debug", "-d", "--virt", "--do-not-confirm", "--postpone", "--no-postpone"}),
    valued=frozenset(
        [
            "--chip",
            "-c",
            "--port",
            "-p",
            "--baud",
            "-b",
            "--before",
            "--after",
            "-a",
            "--path-efuse-file",
            "--token",
            "--extend-efuse-table",
        ]
    ),
    commands=frozenset(
        [
            "burn-key",
            "burn-key-digest",
            "burn-efuse",
            "burn-block-data",
            "burn-bit",
            "burn-custom-mac",
            "read-protect-efuse",
            "write-protect-efuse",
            "set-flash-voltage",
            "summary",
            "dump",
            "check-error",
            "adc-info",
            "get-custom-mac",
        ]
    ),
    renamed=(
        (re.compile(r"KEY_BLOCK(\d)"), r"BLOCK_KEY\1", "ESP-IDF's page for the ESP32-C2 turns the name around"),
        (re.compile("DIS_DOWNLOAD_MSPI"), "SPI_DOWNLOAD_MSPI_DIS", "ESP-IDF's page for the ESP32-P4 shortens the name"),
    ),
    protections=re.compile(r"WR_DIS_(\w+)"),
)


@dataclass(frozen=True, slots=True)
class Ordered:
    """A command line that today's tool takes, and what was changed besides order and spelling."""

    arguments: tuple[str, ...]
    notes: tuple[str, ...] = ()


def order(tool: Tool, arguments: Sequence[str]) -> Ordered:
    """The same command line, options of the whole program first."""
    words = list(arguments)
    front: list[str] = []
    rest: list[str] = []
    notes: list[str] = []
    command = ""
    while words:
        word = words.pop(0)
        option, glued = _option(tool, word, command, words)
        if option in tool.flags:
            front.append(option)
        elif option in tool.valued:
            values = [glued] if glued is not None else _values(option, words)
            front += [option, *(_reset_mode(option, value) for value in values)]
        elif older := tool.older.get(command, {}).get(option or word):
            rest += _newer(older, option or word, glued, words, notes)
        elif _dashed(word) in tool.commands:
            command = command or _dashed(word)
            rest.append(_dashed(word))
        else:
            rest.append(_renamed(tool, option if option and glued is None else word, notes))
    return Ordered((*front, *_with_protections(tool, rest, notes)), tuple(notes))


def _with_protections(tool: Tool, rest: Sequence[str], notes: list[str]) -> list[str]:
    """`burn-efuse A 1 WR_DIS_B 1` as `burn-efuse A 1 write-protect-efuse B`: ESP-IDF's pages list both as eFuses."""
    words: list[str] = []
    protected: list[str] = []
    command = ""
    left = list(rest)
    while left:
        word = left.pop(0)
        if word in tool.commands:
            _close(words, protected, command)
            command = word
        meant = tool.protections.fullmatch(word) if tool.protections and command == "burn-efuse" else None
        if meant is None:
            words.append(word)
            continue
        protected.append(meant[1])
        notes.append(f"{word} taken for write-protect-efuse {meant[1]}: it is no eFuse of its own")
        if left and left[0] in ("1", "0x1"):
            left.pop(0)
    _close(words, protected, command)
    return words


def _close(words: list[str], protected: list[str], command: str) -> None:
    """End a command's words: what it protects becomes a command of its own, in its place if nothing else is left."""
    if protected and words[-1:] == [command]:
        words.pop()
    words += ["write-protect-efuse", *protected] if protected else []
    protected.clear()


def _option(tool: Tool, word: str, command: str, following: Sequence[str]) -> tuple[str, str | None]:
    """(the option that `word` is, a value glued to it); an empty name when it is none of the program's."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return _dashed(name), value if equals else None
    short = word[:2]
    if not re.fullmatch(r"-[a-z]", short) or short not in tool.flags | tool.valued:
        return "", None
    if short in tool.own.get(command, frozenset()) and not (following and _PORT.match(following[0]) and len(word) == 2):
        return "", None
    if len(word) > 2 and short in tool.flags:
        return "", None
    return short, word[2:] or None


def _values(option: str, words: list[str]) -> list[str]:
    """Take the option's value from the words; a port filter has as many as there are."""
    taken = [words.pop(0)] if words else []
    while option == "--port-filter" and words and re.match(r"(vid|pid|name|serial)=", words[0]):
        taken.append(words.pop(0))
    return taken


def _newer(older: Older, option: str, glued: str | None, words: list[str], notes: list[str]) -> list[str]:
    """What stands for an older option today; its value is taken from the words, where it has one."""
    value = glued
    if value is None and older.values is not None and words and older.values.fullmatch(words[0]):
        value = words.pop(0)
    now = "" if value in older.meaningless else older.now
    if value is None and now == option:
        return [option]  # already today's
    said = option if value is None else f"{option} {value}"
    notes.append(f"{said} taken for {now}: {older.why}" if now else f"{said} left out: {older.why}")
    return [now] if now else []


def _reset_mode(option: str, value: str) -> str:
    return value.replace("_", "-") if option in _RESET_MODES else value


def _dashed(word: str) -> str:
    return word.replace("_", "-")


def _renamed(tool: Tool, word: str, notes: list[str]) -> str:
    for pattern, meant, why in tool.renamed:
        if pattern.fullmatch(word):
            new = pattern.sub(meant, word)
            notes.append(f"{word} taken for {new}: {why}")
            return new
    half = _SPLIT.fullmatch(word)
    if half and not Path(word).exists() and Path(half[1] + half[2]).exists():
        notes.append(f"{word} taken for {half[1]}{half[2]}: `split` puts no dot before its endings")
        return half[1] + half[2]
    return word


def find(tool: Tool) -> str:
    """The installed program: beside this Python, or on the PATH.

    Raises:
        RefusedError: there is none.
    """
    beside = Path(sys.executable).parent / tool.name
    found = str(beside) if beside.exists() else shutil.which(tool.name)
    if found is None:
        raise RefusedError(f"{tool.name} is not installed", "pip install 'bootwright[hardware]' brings it")
    return found


def become(tool: Tool, arguments: Sequence[str]) -> NoReturn:
    """Turn this process into the tool.

    Raises:
        RefusedError: the tool is not installed.
    """
    ordered = order(tool, arguments)
    for note in ordered.notes:
        click.echo(f"bootwright: {note}", err=True)
    program = find(tool)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [program, *ordered.arguments])  # noqa: S606 - the very program that was asked for, no shell
