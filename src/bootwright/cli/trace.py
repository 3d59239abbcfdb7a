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
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def replay_command(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Play the traces in PATHS (files, or folders with *.json) on the model and compare every step.

    Prints a line for each difference; the last line is `N passed, M failed`.
    """
    from bootwright.cli.trace_replay import replay_all

    context.exit(replay_all(paths, as_json=as_json))


@trace.command("record")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--config", "conf", required=True, type=click.Path(path_type=Path), help="bootloader.conf of the build.")
@click.option("--key", type=click.Path(path_type=Path), help="Key compiled in (PEM; the public half is used).")
@click.option("--flash", "dump", type=click.Path(path_type=Path), help="Begin with this dump of the whole flash.")
@click.option("--primary", type=click.Path(path_type=Path), help="Image put into the primary slot.")
@click.option("--secondary", type=click.Path(path_type=Path), help="Image put into the secondary slot.")
@click.option("--encryption-active", is_flag=True, help="Flash encryption is on in eFuse (a stand-in cipher).")
@click.option(
    "--do",
    "actions",
    multiple=True,
    help="In order: pending[:permanent], confirm, boot, boot:N[:torn] (power lost at operation N), sweep[:torn].",
)
@json_option
@click.pass_context
def record_command(
    context: click.Context,
    output: Path,
    conf: Path,
    key: Path | None,
    dump: Path | None,
    primary: Path | None,
    secondary: Path | None,
    encryption_active: bool,
    actions: tuple[str, ...],
    as_json: bool,
) -> None:
    """Do things to a virtual flash and write what happened to OUTPUT, for `trace replay`."""
    from bootwright.cli.show import show
    from bootwright.host.trace_record import Scene, record

    scene = Scene(
        conf=conf, key=key, dump=dump, primary=primary, secondary=secondary, encryption_active=encryption_active
    )
    context.exit(show(record(scene, actions or ("boot",), output), as_json=as_json))
