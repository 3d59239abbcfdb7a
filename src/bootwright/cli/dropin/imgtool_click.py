"""imgtool's commands as click knows them: help, refusals of a bad command line, and all commands but a plain sign."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from bootwright.cli.dropin.imgtool import Usage, answer
from bootwright.cli.dropin.imgtool_options import OPTIONS, Kind, Option
from bootwright.cli.dropin.imgtool_options import number as read_number

#: command → (module beside this one, attribute, one line for --help)
COMMANDS = {
    "create": ("imgtool_click", "sign", "Another name for sign"),
    "dumpinfo": ("imgtool_inspect", "dumpinfo", "Show header, TLVs and trailer of an image"),
    "getpriv": ("imgtool_keys", "getpriv", "Show a private key as C source, to decrypt with"),
    "getpub": ("imgtool_keys", "getpub", "Show a public key as C or Rust source, PEM or DER"),
    "getpubhash": ("imgtool_keys", "getpubhash", "Show the SHA-256 of a public key"),
    "keygen": ("imgtool_keys", "keygen", "Make a key pair"),
    "keyinfo": ("imgtool_keys", "keyinfo", "Say whether a key file is private or public"),
    "sign": ("imgtool_click", "sign", "Make an image, signed or not"),
    "verify": ("imgtool_inspect", "verify", "Check an image's hash, and its signature with a key"),
    "version": ("imgtool_inspect", "version", "Show the version of imgtool that this follows"),
}
HELP = ["-h", "--help"]


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


@click.group(cls=_Commands, context_settings={"help_option_names": HELP})
def imgtool() -> None:
    """The imgtool command line, answered by Bootwright."""


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """imgtool's command line, verbatim."""
    return answer(arguments)


def show_usage(name: str, text: str) -> int:
    """Refuse as click does, with the usage of one command."""
    parent = click.Context(imgtool, info_name="imgtool", help_option_names=HELP)
    error = click.UsageError(text, click.Context(sign, info_name=name, parent=parent))
    error.show()
    return error.exit_code


class _Number(click.ParamType[int]):
    """An integer with an optional 0x, 0o or 0b."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return read_number(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the arguments and options of the table."""
    for option in reversed(OPTIONS):
        function = _option(option)(function)
    for name in ("outfile", "infile"):
        function = click.argument(name)(function)
    return function


def _option(row: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    settings: dict[str, Any] = {"help": row.help, "required": row.required, "metavar": row.metavar}
    if row.kind is Kind.FLAG:
        settings = {"help": row.help, "is_flag": True}
    elif row.kind is Kind.CHOICE:
        settings |= {"type": click.Choice(row.choices), "default": row.default, "show_default": row.default is not None}
    elif row.kind is Kind.NUMBER:
        settings |= {"type": _Number()}
    elif row.kind is Kind.INTEGER:
        settings |= {"type": int}
    elif row.kind is Kind.PAIRS:
        settings |= {"nargs": 2, "multiple": True}
    if row.check is not None:
        settings["callback"] = _callback(row.check)
    return click.option(*row.names, row.field, **settings)


def _callback(check: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def checked(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return None if value is None else check(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return checked


@click.command(
    help="Make an image of INFILE, signed or not; files named *.hex are Intel HEX.",
)
@_with_options
def sign(**given: Any) -> None:
    """See the help."""
    from bootwright.cli.dropin.imgtool_sign import sign as make

    try:
        make(given)
    except Usage as error:
        raise click.UsageError(str(error)) from None
