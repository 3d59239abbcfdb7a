"""`bootwright espsecure …` and `bw-espsecure …`: espsecure 5.6's command line, and that of the versions before 5.

Commands and options are taken with dashes and with underscores. What espsecure refuses is refused with its words and
exit code 2; where it ends in a traceback, this says one sentence and ends with the same exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from bootwright.errors import BootwrightError

FOLLOWS = "v5.6.0"  #: the espsecure whose behaviour this is

#: command → (module beside this one, attribute, one line for --help)
COMMANDS = {
    "decrypt-flash-data": ("espsecure_flash", "decrypt", "Decrypt what was read from an encrypted flash"),
    "digest-private-key": ("espsecure_keys", "digest_private_key", "Digest a signing key for Secure Boot V1's BLOCK2"),
    "digest-rsa-public-key": ("espsecure_keys", "digest_rsa_public_key", "Another name for digest-sbv2-public-key"),
    "digest-sbv2-public-key": ("espsecure_keys", "digest_public_key", "Digest a public key for the eFuses"),
    "digest-secure-bootloader": ("espsecure_sign", "digest_bootloader", "Digest a bootloader for Secure Boot V1"),
    "encrypt-flash-data": ("espsecure_flash", "encrypt", "Encrypt what will be written to an encrypted flash"),
    "extract-public-key": ("espsecure_keys", "extract_public_key", "Write the public half of a signing key"),
    "generate-flash-encryption-key": ("espsecure_flash", "generate_key", "Make a flash-encryption key"),
    "generate-signing-key": ("espsecure_keys", "generate_signing_key", "Make a signing key"),
    "sign-data": ("espsecure_sign", "sign_data", "Sign an image"),
    "signature-info-v2": ("espsecure_verify", "signature_info", "Show the signature blocks of an image"),
    "verify-signature": ("espsecure_verify", "verify_signature", "Verify the signature of an image"),
}
#: for chips with a Secure Debug Controller, of which Bootwright knows none: the installed espsecure answers
FOR_OTHER_CHIPS = frozenset({"digest-sdc-public-key", "generate-sdc-certificate"})

OLD_OPTIONS = ("--aes_xts", "--append_signatures", "--flash_crypt_conf")  #: the spelling of version 4


class Fatal(click.ClickException):
    """What espsecure calls a fatal error."""

    exit_code = 2

    def show(self, file: object = None) -> None:
        """As espsecure says it."""
        click.echo(f"ERROR: \nA fatal error occurred: {self.message}", err=True)


class Sentence(click.ClickException):
    """Where espsecure ends in a traceback: one sentence, and the same exit code."""

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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take the names of version 4, with underscores, too."""
        name = args[0].replace("_", "-")
        if name in FOR_OTHER_CHIPS:
            from bootwright.cli.dropin.forward import Tool, become

            become(Tool(name="espsecure", flags=frozenset(), valued=frozenset(), commands=FOR_OTHER_CHIPS), args)
        args = [args[0], *(_dashed(word) for word in args[1:])]
        if name != args[0] and name in COMMANDS:
            warn(f"Deprecated: Command '{args[0]}' is deprecated. Use '{name}' instead.")
            args = [name, *args[1:]]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


class EatAll(click.Command):
    """A command whose options that may be given several times each take all words up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its words."""
        hungry = {name for parameter in self.params if parameter.multiple for name in parameter.opts}
        words: list[str] = []
        option = ""
        for word in args:
            if word.startswith("-"):
                option = word.split("=", 1)[0] if word.startswith("--") else word[:2]
                fed = word != option
                words.append(word)
            elif option in hungry:
                words += [option, word] if fed else [word]
                fed = True
            else:
                option = ""
                words.append(word)
        return super().parse_args(ctx, words)


def any_int(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A number in any base, as espsecure reads it."""
    try:
        return None if value is None else int(value, 0)
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a valid integer.", context, parameter) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
def espsecure() -> None:
    """The espsecure command line, answered by Bootwright."""
    say(f"espsecure {FOLLOWS}")


def answer(arguments: Sequence[str]) -> int:
    """Run espsecure's command line and give its exit code."""
    try:
        code = espsecure.main(list(arguments), prog_name="espsecure", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BootwrightError as error:
        Fatal(error.message).show()
        if error.hint:
            click.echo(f"  hint: {error.hint}", err=True)
        return Fatal.exit_code
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("ERROR: KeyboardInterrupt: Run cancelled by user.", err=True)
        return 2
    except OSError as error:
        click.echo(f"Error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
        return 1
    return code if isinstance(code, int) else 0


def run() -> None:
    """The console script `bw-espsecure`."""
    sys.exit(answer(sys.argv[1:]))


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """espsecure's command line, verbatim."""
    return answer(arguments)


def say(text: str) -> None:
    """What espsecure prints."""
    click.echo(text)


def warn(text: str) -> None:
    """What espsecure warns of."""
    click.echo(f"WARNING: {text}", err=True)


def _dashed(word: str) -> str:
    name, equals, value = word.partition("=")
    if name not in OLD_OPTIONS:
        return word
    dashed = name.replace("_", "-")
    warn(f"Deprecated: Option '{name}' is deprecated. Use '{dashed}' instead.")
    return dashed + equals + value
