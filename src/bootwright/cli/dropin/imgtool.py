"""`bootwright imgtool …` and `bw-imgtool …`: imgtool 2.5's command line.

What imgtool refuses is refused with its words and exit code 2; where it ends in a traceback, this says one sentence
and ends with the same exit code 1. What it accepts is accepted, with a warning on stderr where it goes wrong later.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from bootwright.errors import BootwrightError

FOLLOWS = "2.5.0"  #: the imgtool whose behaviour this is

#: command → (module beside this one, attribute, one line for --help)
COMMANDS = {
    "create": ("imgtool_sign", "sign", "Another name for sign"),
    "dumpinfo": ("imgtool_inspect", "dumpinfo", "Show header, TLVs and trailer of an image"),
    "getpriv": ("imgtool_keys", "getpriv", "Show a private key as C source, to decrypt with"),
    "getpub": ("imgtool_keys", "getpub", "Show a public key as C or Rust source, PEM or DER"),
    "getpubhash": ("imgtool_keys", "getpubhash", "Show the SHA-256 of a public key"),
    "keygen": ("imgtool_keys", "keygen", "Make a key pair"),
    "keyinfo": ("imgtool_keys", "keyinfo", "Say whether a key file is private or public"),
    "sign": ("imgtool_sign", "sign", "Make an image, signed or not"),
    "verify": ("imgtool_inspect", "verify", "Check an image's hash, and its signature with a key"),
    "version": ("imgtool_inspect", "version", "Show the version of imgtool that this follows"),
}


class Failure(click.ClickException):
    """Where imgtool ends in a traceback: one sentence, and the same exit code."""

    exit_code = 1


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"bootwright.cli.dropin.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def imgtool() -> None:
    """The imgtool command line, answered by Bootwright."""


def answer(arguments: Sequence[str]) -> int:
    """Run imgtool's command line and give its exit code."""
    try:
        code = imgtool.main(list(arguments), prog_name="imgtool", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BootwrightError as error:
        click.echo(f"Error: {error.message}", err=True)
        if error.hint:
            click.echo(f"  hint: {error.hint}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("Aborted!", err=True)
        return 1
    except OSError as error:
        click.echo(f"Error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
        return 1
    return code if isinstance(code, int) else 0


def run() -> None:
    """The console script `bw-imgtool`."""
    gc.disable()  # nothing here lives long enough to be collected
    leave(answer(sys.argv[1:]))


def leave(code: int) -> NoReturn:
    """End the process at once: taking the interpreter apart would take a sixth of the whole run."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 141
    os._exit(code)


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """imgtool's command line, verbatim."""
    return answer(arguments)


def warn(text: str) -> None:
    """Say on stderr what imgtool would let pass in silence."""
    click.echo(f"bootwright: warning: {text}", err=True)


def is_hex(path: str) -> bool:
    """imgtool takes a file for Intel HEX by its extension alone."""
    return Path(path).suffix.lower() == ".hex"
