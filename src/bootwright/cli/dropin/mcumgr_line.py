"""The Go mcumgr's command line: its flags, wherever they stand (newtmgr, newtmgr/cli/commands.go)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bootwright.errors import FormatError

USAGE = """mcumgr helps you manage remote devices

Usage:
  mcumgr [flags] COMMAND

Commands:
  conn add NAME type=serial connstring=dev=PORT[,baud=N][,mtu=N]   conn show [NAME]   conn delete NAME
  image list | test HASH | confirm [HASH] | upload FILE [-n IMAGE] [-u] | erase
  echo TEXT   reset   datetime [RFC 3339]   taskstat   mpstat   stat list | stat NAME
  shell exec WORDS…   fs upload SOURCE TARGET | fs download SOURCE TARGET   version

Flags:
  -c, --conn NAME        connection profile to use
      --conntype TYPE    serial or udp, instead of the profile's
      --connstring TEXT  instead of the profile's
      --connextra TEXT   one more key and value for the connection string
  -t, --timeout SECONDS  (10)
  -r, --tries N          total number of tries in case of timeout (1)
  -l, --loglevel LEVEL   accepted
"""

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
    "-w": ("maxwinsize", True),
    "--maxwinsize": ("maxwinsize", True),
    "--name": ("name", True),
    "--write-rsp": ("write-rsp", False),
    "--ompres": ("ompres", True),
    "-i": ("hci", True),
    "--hci": ("hci", True),
}


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
        return line

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
            raise FormatError(f"Need to specify {what}", "`mcumgr --help` shows how")
        return self.words[at]
