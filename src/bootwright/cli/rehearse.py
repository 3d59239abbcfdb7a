"""`bootwright rehearse`: the whole chain on a virtual chip, before one eFuse of a real one is burned."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootwright.cli.show import json_option, show

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from bootwright.host.rehearsal import Rehearsal, Step

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("project", required=False, type=FILE)
@click.option(
    "--app", metavar="FILE", type=FILE, help="The application, unsigned.  [default: one made for the rehearsal]"
)
@click.option(
    "--bootloader", metavar="FILE", type=FILE, help="The bootloader, unsigned.  [default: one made for the rehearsal]"
)
@click.option(
    "--key-type",
    type=click.Choice(["ed25519", "ecdsa-p256", "rsa-2048", "rsa-3072"]),
    help="Type of the key that signs applications.  [default: ed25519]",
)
@click.option(
    "--mode", type=click.Choice(["development", "release"]), help="How flash encryption ends.  [default: development]"
)
@click.option(
    "--fe-key", type=click.Choice(["host", "device"]), help="Who makes the flash-encryption key.  [default: device]"
)
@click.option("--report", metavar="FILE", type=FILE, help="Write an HTML report here.")
@click.option("--keep", metavar="DIR", type=FILE, help="Write keys, images and flash contents into this directory.")
@click.option(
    "--print-project", is_flag=True, help="Print a commented bootwright.toml with these options in it, and stop."
)
@json_option
@click.pass_context
def rehearse(
    context: click.Context,
    project: Path | None,
    app: Path | None,
    bootloader: Path | None,
    key_type: str | None,
    mode: str | None,
    fe_key: str | None,
    report: Path | None,
    keep: Path | None,
    print_project: bool,
    as_json: bool,
) -> None:
    """Play the whole secure-boot chain on a virtual chip.

    Keys, signatures, the first boot with all the eFuses it burns, usual boots, updates, attacks and a power cut:
    for PROJECT (a bootwright.toml), or for a built-in project. Exit code 0 when every legitimate step succeeds and
    every attack fails, else 1. Nothing touches a real chip.
    """
    options = {
        "app_file": None if app is None else str(app),
        "bootloader_file": None if bootloader is None else str(bootloader),
        "keys_type": key_type,
        "security_mode": mode,
        "security_fe_key": fe_key,
    }
    if print_project:
        context.exit(_print_project(project, options, as_json=as_json))
    from bootwright.finding import Answer, Verdict
    from bootwright.host.files import check_folder, check_place
    from bootwright.host.project import load_project
    from bootwright.host.rehearse import STEP_IDS, prepare, rehearse

    inputs = prepare(load_project(project, **options))
    if report is not None:
        check_place(report)
    if keep is not None:
        check_folder(keep)
    with _progress(len(STEP_IDS), shown=sys.stderr.isatty() and not as_json) as advance:
        result = rehearse(inputs, on_step=advance)
    if keep is not None:
        from bootwright.host.rehearse import keep_artefacts

        keep_artefacts(result.artefacts, keep)
    if report is not None:
        _write_report(result.rehearsal, report)
    rehearsal = result.rehearsal
    findings = (
        *rehearsal.notes,
        *(finding for step in rehearsal.steps for finding in step.findings if finding.verdict is not Verdict.PASS),
    )
    answer = Answer(
        command="rehearse",
        findings=findings,
        details={
            "project": {
                "name": rehearsal.name,
                "chip": rehearsal.chip,
                "mode": rehearsal.mode,
                "key_type": rehearsal.key_type,
                "fe_key": rehearsal.fe_key,
            },
            "steps": [step.as_dict() for step in rehearsal.steps],
            "efuses": [fuse.as_dict() for fuse in rehearsal.fuses],
        },
    )
    if as_json:
        context.exit(show(answer, as_json=True))
    _print_table(rehearsal, report)
    context.exit(0 if answer.verdict is Verdict.PASS else 1)


def _print_project(project: Path | None, options: Mapping[str, str | None], *, as_json: bool) -> int:
    from bootwright.finding import Answer
    from bootwright.host.project import given_values
    from bootwright.host.settings import print_project

    text = print_project(given_values(project, **options))
    if as_json:
        return show(Answer(command="rehearse", details={"project_file": text}), as_json=True)
    click.echo(text, nl=False)
    return 0


def _write_report(rehearsal: Rehearsal, path: Path) -> None:
    from datetime import date

    from bootwright.host.files import write_file
    from bootwright.host.report import render

    write_file(path, render(rehearsal, made=f"{date.today():%-d %B %Y}").encode())


@contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
    """A bar on stderr while the steps run; without a terminal there is none."""
    if not shown:
        yield lambda title: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=32), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        begun = count()

        def advance(title: str) -> None:
            progress.update(task, completed=next(begun), description=title)

        yield advance


_STYLES = {"pass": "green", "fail": "bold red", "not_modelled": "magenta"}


def _print_table(rehearsal: Rehearsal, report: Path | None) -> None:
    from rich.console import Console

    if sys.stdout.isatty():
        draw_table(rehearsal, Console())
    else:
        text = io.StringIO()
        draw_table(rehearsal, Console(file=text, width=120))
        click.echo("\n".join(line.rstrip() for line in text.getvalue().splitlines()))
    if report is not None:
        click.echo(f"report: {report}")


def draw_table(rehearsal: Rehearsal, console: Console) -> None:
    """A row a step: how it came out and the check that said so."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from bootwright.host.report import badge, headline

    told = f"{rehearsal.key_type} signatures, {rehearsal.mode} mode, flash key by the {rehearsal.fe_key}"
    console.print(Text.assemble((rehearsal.name, "bold"), f" on a virtual {rehearsal.chip}: {told}"))
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in ("step", "verdict", "why"):
        table.add_column(title, no_wrap=title != "why", overflow="fold")
    for step in rehearsal.steps:
        table.add_row(step.id, Text(badge(step), style=_STYLES[step.verdict.value]), _why(step))
    console.print()
    console.print(table)
    console.print()
    for note in rehearsal.notes:
        console.print(Text(f"note: {note.because}", style="dim"))
    console.print(Text(headline(rehearsal), style=f"bold {_STYLES[rehearsal.verdict.value]}"))


def _why(step: Step) -> Text:
    """What deserves attention; else what an attack met first, and what a legitimate step ended with."""
    from rich.text import Text

    from bootwright.finding import Verdict

    text = Text()
    if not step.played:
        return text.append(step.findings[0].because.removeprefix("not played, "), style="dim")
    attention = [finding for finding in step.findings if finding.verdict is not Verdict.PASS]
    alike = len({finding.code for finding in step.findings}) == 1
    telling = step.findings[:1] if step.kind == "attack" else step.findings if alike else step.findings[-1:]
    for number, finding in enumerate(attention or telling):
        text.append("\n" if number else "")
        text.append(
            finding.because
            if finding.because.startswith(f"{finding.subject} ")
            else f"{finding.subject}: {finding.because}"
        )
        text.append(f"  {finding.code}", style="dim")
        if finding.next:
            text.append(f"\n  next: {finding.next}", style="yellow")
    if step.kind == "attack" and not attention:
        others = dict.fromkeys(finding.code for finding in step.findings)
        text.append("".join(f", {code}" for code in list(others)[1:]), style="dim")
    return text
