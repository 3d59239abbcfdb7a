"""Showing answers: JSON on stdout, or words for a person; the only place that prints."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from bootwright.errors import BootwrightError
from bootwright.finding import Answer, Verdict

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, talk on stderr.")

_MARKS = {
    Verdict.PASS: ("ok", "green"),
    Verdict.WARN: ("warn", "yellow"),
    Verdict.FAIL: ("FAIL", "red"),
    Verdict.NOT_MODELLED: ("not modelled", "magenta"),
}


def show(answer: Answer, *, as_json: bool, text: str = "") -> int:
    """Print an answer and return the exit code: 0 for pass, 1 for anything else.

    `text` is what a person sees before the findings.
    """
    if as_json:
        click.echo(json.dumps(answer.as_dict(), indent=2))
    else:
        if text:
            click.echo(text)
        for finding in answer.findings:
            mark, colour = _MARKS[finding.verdict]
            click.echo(f"{click.style(mark, fg=colour)}  {finding.subject}: {finding.because}  [{finding.code}]")
            if finding.next:
                click.echo(f"      next: {finding.next}")
    return 0 if answer.verdict is Verdict.PASS else 1


def show_error(error: BootwrightError, argv: Sequence[str]) -> None:
    """Print an error as one sentence and its hint, or under `--json` as an object with an `error` key."""
    if "--json" in argv:
        body = {
            "schema": 1,
            "command": next((word for word in argv if not word.startswith("-")), ""),
            "verdict": Verdict.FAIL.value,
            "findings": [],
            "error": {
                "kind": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "exit": error.exit_code,
            },
        }
        click.echo(json.dumps(body, indent=2))
        return
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)
