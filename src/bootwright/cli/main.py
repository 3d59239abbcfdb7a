"""`bootwright`: one command a noun, each imported only when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from bootwright import __version__
from bootwright.errors import BootwrightError, RefusedError

#: command → (module under `bootwright.cli`, attribute, one sentence for `--help`)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "rehearse": ("rehearse", "rehearse", "Play the whole secure-boot chain on a virtual chip."),
    "explore": ("explore", "explore", "Follow an update through every series of power cuts."),
    "config": ("config", "config", "Check a bootloader.conf."),
    "image": ("image", "image", "Sign, verify, decrypt and look at MCUboot images."),
    "key": ("key", "key", "Make keys, and show their public halves."),
    "secure-boot": ("secure_boot", "secure_boot", "Sign and verify images for a chip's Secure Boot, digest keys."),
    "flash-encryption": ("flash_encryption", "flash_encryption", "Encrypt, decrypt and recognise what a flash holds."),
    "esp-image": ("esp_image", "esp_image", "Show, verify and make ESP images, merge and split flash images."),
    "partition": ("partition", "partition", "Read and make partition tables, otadata and NVS keys."),
    "efuse": ("efuse", "efuse", "Read, check, convert and burn eFuses of snapshots and virtual chips."),
    "chip": ("chip", "chip", "Make virtual chips and serve them on ports."),
    "flash": ("flash", "flash", "Write, read, verify and erase flash, and refuse what would brick."),
    "smp": ("smp", "smp", "Talk to MCUboot's serial recovery, or to an application's SMP server."),
    "neighbour": ("neighbour", "neighbour", "Serve a virtual board with another MCUboot, to be updated."),
    "trace": ("trace", "trace", "Play traces of the real bootloader on the model, or record new ones."),
    "imgtool": ("dropin.imgtool_click", "command", "imgtool's own command line, verbatim."),
    "espsecure": ("dropin.espsecure", "command", "espsecure's command line, verbatim."),
    "esptool": ("dropin.esptool", "command", "The installed esptool, its command lines in any order."),
    "espefuse": ("dropin.espefuse", "command", "The installed espefuse, its command lines in any order."),
    "mcumgr": ("dropin.mcumgr", "command", "The Go mcumgr's own command line, verbatim."),
}


def _is_dropin(name: str) -> bool:
    return COMMANDS[name][0].startswith("dropin.")


class Door(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, the rehearsal first, then along the way from bytes to devices."""
        return list(COMMANDS)

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
        for title, dropins in (("Commands", False), ("Command lines of other tools", True)):
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name][2]) for name in COMMANDS if _is_dropin(name) is dropins])


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bootwright")
def main() -> None:
    """The secure-boot workbench for Espressif chips that run MCUboot.

    Exit codes: 0 yes, 1 no (the findings say why), 2 usage, 3 malformed file, 4 not to be trusted, 5 the chip
    forbids it, 6 the line failed, 7 declined.
    """


def command_of(argv: Sequence[str]) -> str:
    """The command that a line names, `image sign`, as far as its words lead."""
    found: click.Command = main
    path: list[str] = []
    for word in argv:
        below = found.get_command(click.Context(found), word) if isinstance(found, click.Group) else None
        if below is not None:
            found = below
            path.append(word)
        elif not word.startswith("-"):
            break
    return " ".join(path)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit as documented."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = main.main(argv, prog_name="bootwright", standalone_mode=False)
    except BootwrightError as error:
        from bootwright.cli.show import show_error

        show_error(error, command=command_of(argv), as_json="--json" in argv)
        code = error.exit_code
    except click.ClickException as error:
        from bootwright.cli.show import show_usage_error

        show_usage_error(error, command=command_of(argv), as_json="--json" in argv)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 141
    except OSError as error:  # what no room foresees: a name that is too long, a full disk
        from bootwright.cli.show import show_error

        where = f"{error.filename}: " if error.filename else ""
        refused = RefusedError(f"{where}{error.strerror or error}", "check the path, and that the disk has room")
        show_error(refused, command=command_of(argv), as_json="--json" in argv)
        code = refused.exit_code
    sys.exit(code if isinstance(code, int) else 0)
