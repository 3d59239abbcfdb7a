"""`bootwright config`: questions about a bootloader.conf."""

from __future__ import annotations

from pathlib import Path

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show


@click.group(cls=Noun)
def config() -> None:
    """Check the build options of MCUboot's Espressif port."""


@config.command("lint")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--chip", help="Also look with this chip's eyes, say esp32c3.")
@json_option
@click.pass_context
def lint_command(context: click.Context, files: tuple[Path, ...], chip: str | None, as_json: bool) -> None:
    """Say what FILES do that their author did not mean; later files override earlier ones."""
    from bootwright.chips.chip import load_chip
    from bootwright.finding import Answer
    from bootwright.formats.bootloader_conf import BootloaderConf
    from bootwright.host.conf_lint import lint
    from bootwright.host.files import read_text

    conf = BootloaderConf.parse(read_text(files[0]), where=str(files[0]))
    for path in files[1:]:
        conf = conf.then(read_text(path), where=str(path))
    known = None if chip is None else load_chip(chip)
    context.exit(show(Answer(command="config lint", findings=lint(conf, chip=known)), as_json=as_json))
