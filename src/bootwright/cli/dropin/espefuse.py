"""`bootwright espefuse …` and `bw-espefuse …`: the installed espefuse, given old and new command lines in any order."""

from __future__ import annotations

import sys

import click

from bootwright.cli.dropin.forward import ESPEFUSE, become
from bootwright.errors import BootwrightError


def run() -> None:
    """The console script `bw-espefuse`."""
    try:
        become(ESPEFUSE, sys.argv[1:])
    except BootwrightError as error:
        click.echo(f"error: {error.message}\n  hint: {error.hint}", err=True)
        sys.exit(error.exit_code)


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """The installed espefuse's command line, in any order and spelling."""
    become(ESPEFUSE, arguments)
