"""`bootwright imgtool …` and `bw-imgtool …`: imgtool 2.5's command line.

What imgtool refuses is refused with its words and exit code 2; where it ends in a traceback, this says one sentence
and ends with the same exit code 1. What it accepts is accepted, with a warning on stderr where it goes wrong later.

A well-formed `sign` is read here, by the table of its options alone; everything else, the help and the words for a bad
command line are click's, whose import takes a quarter of a whole signing process.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from bootwright.cli.entry import IMPORT_THRESHOLD, leave
from bootwright.errors import BootwrightError

FOLLOWS = "2.5.0"  #: the imgtool whose behaviour this is


class Usage(Exception):  # noqa: N818 - an answer to the command line
    """What imgtool refuses with its usage and exit code 2."""


class Failure(Exception):  # noqa: N818 - an answer to the command line
    """Where imgtool ends in a traceback: one sentence, and the same exit code 1."""


def answer(arguments: Sequence[str]) -> int:
    """Run imgtool's command line and give its exit code."""
    try:
        return _signed(arguments[0], arguments[1:]) if arguments[:1] in (["sign"], ["create"]) else _by_click(arguments)
    except Failure as error:
        return _failed(str(error))
    except BootwrightError as error:
        return _failed(error.message, error.hint)
    except (KeyboardInterrupt, EOFError):
        return _aborted()
    except OSError as error:
        return _failed(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))


def _signed(name: str, words: Sequence[str]) -> int:
    from bootwright.cli.dropin.imgtool_options import read_line

    given = read_line(words)
    if given is None:
        return _by_click([name, *words])
    from bootwright.cli.dropin.imgtool_sign import sign

    try:
        sign(given)
    except Usage as error:
        from bootwright.cli.dropin.imgtool_click import show_usage

        return show_usage(name, str(error))
    return 0


def _by_click(arguments: Sequence[str]) -> int:
    import click

    from bootwright.cli.dropin.imgtool_click import imgtool

    try:
        code = imgtool.main(list(arguments), prog_name="imgtool", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _aborted()
    return code if isinstance(code, int) else 0


def _failed(text: str, hint: str = "") -> int:
    sys.stderr.write(f"Error: {text}\n" + (f"  hint: {hint}\n" if hint else ""))
    return 1


def _aborted() -> int:
    sys.stderr.write("Aborted!\n")
    return 1


def run() -> None:
    """The console script `bw-imgtool`."""
    gc.set_threshold(IMPORT_THRESHOLD)
    leave(answer(sys.argv[1:]))


def warn(text: str) -> None:
    """Say on stderr what imgtool would let pass in silence."""
    sys.stderr.write(f"bootwright: warning: {text}\n")


def say(text: str) -> None:
    """Say on stdout what imgtool says."""
    sys.stdout.write(f"{text}\n")


def is_hex(path: str) -> bool:
    """imgtool takes a file for Intel HEX by its extension alone."""
    return os.path.splitext(path)[1].lower() == ".hex"
