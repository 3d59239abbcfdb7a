"""`bootwright trace`: traces of the real bootloader played on the model, and new ones recorded."""

from __future__ import annotations

from pathlib import Path

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option


@click.group(cls=Noun)
def trace() -> None:
    """Play and record traces: what a bootloader did with a flash, operation by operation."""


@trace.command("replay")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def replay_command(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Play the traces in PATHS (files, or folders with *.json) on the model and compare every step.

    Prints a line for each difference; the last line is `N passed, M failed`. No trace at all is a failure too.
    """
    from bootwright.cli.trace_replay import replay_all

    context.exit(replay_all(paths, as_json=as_json))


PATH = click.Path(path_type=Path)


@trace.command("record")
@click.argument("output", type=PATH)
@click.option("--config", "conf", required=True, type=PATH, help="bootloader.conf of the build.")
@click.option("--key", "keys", multiple=True, type=PATH, help="Key compiled in (PEM; the public half is used).")
@click.option("--flash", "dump", type=PATH, help="Begin with this dump of the whole flash.")
@click.option("--primary", multiple=True, type=PATH, help="Image in the primary slot; again for the second image's.")
@click.option(
    "--secondary", multiple=True, type=PATH, help="Image in the secondary slot; again for the second image's."
)
@click.option("--encryption-active", is_flag=True, help="Flash encryption is on in eFuse (a stand-in cipher).")
@click.option(
    "--do",
    "actions",
    multiple=True,
    help="In order: pending[:permanent][:IMAGE], confirm[:IMAGE], boot, boot:N[:torn] (power lost at operation N), "
    "sweep[:torn], put:ADDRESS:FILE, serial:HEX. Without any: boot.",
)
@json_option
@click.pass_context
def record_command(
    context: click.Context,
    output: Path,
    conf: Path,
    keys: tuple[Path, ...],
    dump: Path | None,
    primary: tuple[Path, ...],
    secondary: tuple[Path, ...],
    encryption_active: bool,
    actions: tuple[str, ...],
    as_json: bool,
) -> None:
    """Do things to a virtual flash and write what happened to OUTPUT, for `trace replay`."""
    from bootwright.cli.show import show
    from bootwright.host.trace_record import Scene, record

    scene = Scene(
        conf=conf, keys=keys, dump=dump, primary=primary, secondary=secondary, encryption_active=encryption_active
    )
    context.exit(show(record(scene, actions or ("boot",), output), as_json=as_json))
