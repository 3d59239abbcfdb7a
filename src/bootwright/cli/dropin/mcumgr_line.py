"""The Go mcumgr's command line: its flags, wherever they stand (newtmgr, newtmgr/cli/commands.go)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bootwright.errors import FormatError

#: flag → (name, takes a value); the last rows are accepted and have no effect here
FLAGS = {
    "-c": ("conn", True),
    "-t": ("timeout", True),
    "-r": ("tries", True),
    "-n": ("image", True),
    "-u": ("upgrade", False),
    "-h": ("help", False),
    "--conn": ("conn", True),
    "--conntype": ("conntype", True),
    "--connstring": ("connstring", True),
    "--connextra": ("connextra", True),
    "--timeout": ("timeout", True),
    "--tries": ("tries", True),
    "--image": ("image", True),
    "--upgrade": ("upgrade", False),
    "--help": ("help", False),
    "-l": ("loglevel", True),
    "--loglevel": ("loglevel", True),
    "-e": ("noerase", False),
    "--noerase": ("noerase", False),
    "-a": ("all", False),
    "--all": ("all", False),
    "-w": ("maxwinsize", True),
    "--maxwinsize": ("maxwinsize", True),
    "--name": ("name", True),
    "--write-rsp": ("write-rsp", False),
    "--ompres": ("ompres", True),
    "-i": ("hci", True),
    "--hci": ("hci", True),
}


LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")


class UsageError(FormatError):
    """The command's words are not what it takes; its help follows."""


@dataclass(slots=True)
class Line:
    """A command line taken apart: flags may stand anywhere, as cobra lets them."""

    words: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Line:
        """Take it apart.

        Raises:
            FormatError: a flag that mcumgr does not have, or one without its value.
        """
        line = cls()
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            if word == "--":
                line.words += rest
                break
            if not word.startswith("-") or word == "-":
                line.words.append(word)
                continue
            key, value = (word, "") if word.startswith("--") or len(word) == 2 else (word[:2], word[2:].lstrip("="))
            key, equals, given = key.partition("=")
            if key not in FLAGS:
                raise FormatError(f"unknown flag: {word}", "`mcumgr --help` lists them")
            name, takes_value = FLAGS[key]
            value = given if equals else value
            if takes_value and not value:
                if not rest:
                    raise FormatError(f"flag needs an argument: {word}", "give it its value")
                value = rest.pop(0)
            line.flags[name] = value
        level = line.flags.get("loglevel", "info")
        if level.lower() not in LEVELS:
            raise FormatError(f'not a valid logrus Level: "{level}"', f"levels: {', '.join(LEVELS)}")
        return line

    def switch(self, name: str, *, default: bool = False) -> bool:
        """A flag that is on or off: `-u`, `--noerase=false`."""
        text = self.flags.get(name)
        if text is None:
            return default
        if text.lower() not in _SWITCH:
            raise FormatError(f'invalid argument "{text}" for "--{name}" flag', "true and false are possible")
        return _SWITCH[text.lower()]

    def number(self, name: str, default: float) -> float:
        """A flag's number."""
        text = self.flags.get(name)
        if text is None:
            return default
        try:
            return float(text)
        except ValueError:
            raise FormatError(f'invalid argument "{text}" for "--{name}" flag', "give a number") from None

    def word(self, at: int, what: str) -> str:
        """A word that has to be there."""
        if len(self.words) <= at:
            raise UsageError(f"Need to specify {what}", "`mcumgr --help` shows how")
        return self.words[at]


_SWITCH = {"": True, "1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
