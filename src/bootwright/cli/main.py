"""`bootwright`: one command a noun, each imported only when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from bootwright import __version__
from bootwright.errors import BootwrightError

#: command → (module under `bootwright.cli`, attribute, one line for `--help`)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "chip": ("chip", "chip", "make virtual chips and serve them on ports"),
    "explore": ("explore", "explore", "follow an update through every series of power cuts"),
    "trace": ("trace", "trace", "play traces of the real bootloader on the model, or record new ones"),
    "espefuse": ("dropin.espefuse", "command", "the installed espefuse, command lines in any order"),
    "esptool": ("dropin.esptool", "command", "the installed esptool, command lines in any order"),
    "flash": ("flash", "flash", "write, read, verify and erase flash, with encryption, and refuse what would brick"),
    "image": ("image", "image", "sign, verify, decrypt and look at MCUboot images"),
    "imgtool": ("dropin.imgtool", "command", "imgtool's own command line, verbatim"),
    "mcumgr": ("dropin.mcumgr", "command", "the Go mcumgr's own command line, verbatim"),
    "key": ("key", "key", "make keys and show their public halves"),
    "smp": ("smp", "smp", "talk to MCUboot's serial recovery, or to an application's SMP server"),
    "config": ("config", "config", "check a bootloader.conf"),
    "efuse": ("efuse", "efuse", "read, check, convert and burn eFuses of snapshots and virtual chips"),
    "neighbour": ("neighbour", "neighbour", "serve a virtual board with another MCUboot, to be updated"),
    "esp-image": ("esp_image", "esp_image", "show, verify and make ESP images, merge and split flash images"),
    "partition": ("partition", "partition", "partition tables, otadata and NVS keys"),
    "flash-encryption": ("flash_encryption", "flash_encryption", "encrypt, decrypt and recognise what a flash holds"),
    "secure-boot": ("secure_boot", "secure_boot", "sign and verify images for a chip's Secure Boot, digest keys"),
    "espsecure": ("dropin.espsecure", "command", "espsecure's command line, verbatim"),
    "rehearse": ("rehearse", "rehearse", "play the whole secure-boot chain on a virtual chip"),
}


class Door(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; nothing else is imported for it."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(import_module(f"bootwright.cli.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        if rows := [(name, COMMANDS[name][2]) for name in self.list_commands(ctx)]:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bootwright")
def main() -> None:
    """The secure-boot workbench for Espressif chips that run MCUboot.

    Exit codes: 0 yes, 1 no (the findings say why), 2 usage, 3 malformed file, 4 not to be trusted, 5 the chip
    forbids it, 6 the line failed, 7 declined.
    """


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit as documented."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = main.main(argv, prog_name="bootwright", standalone_mode=False)
    except BootwrightError as error:
        from bootwright.cli.show import show_error

        show_error(error, argv)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 141
    sys.exit(code if isinstance(code, int) else 0)
