"""Showing answers: JSON on stdout, or words for a person; the only place that prints."""

from __future__ import annotations

import re

import click

from bootwright.errors import BootwrightError, NotModelledError
from bootwright.finding import Answer, Finding, Verdict

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
        import json

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


def show_error(error: BootwrightError, *, command: str, as_json: bool) -> None:
    """Print an error as one sentence and its hint; as JSON, in the common form with one finding and an `error` key."""
    if as_json:
        verdict = Verdict.NOT_MODELLED if isinstance(error, NotModelledError) else Verdict.FAIL
        _echo_error(command, verdict, type(error).__name__, error.message, error.hint, error.exit_code)
        return
    click.echo(f"error: {error.message}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)


def show_usage_error(error: click.ClickException, *, command: str, as_json: bool) -> None:
    """Print what is wrong with the command line, as click says it; as JSON, like every other error."""
    error.show()
    if as_json:
        message = error.format_message()
        _echo_error(
            command,
            Verdict.FAIL,
            "UsageError",
            message,
            " ".join(["see bootwright", *command.split(), "--help"]),
            error.exit_code,
        )


def _echo_error(command: str, verdict: Verdict, kind: str, message: str, hint: str, exit_code: int) -> None:
    code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.removesuffix("Error")).lower()
    found = Finding(code=f"error.{code}", subject=command or "bootwright", verdict=verdict, because=message, next=hint)
    import json

    details = {"error": {"kind": kind, "message": message, "hint": hint, "exit": exit_code}}
    click.echo(json.dumps(Answer(command=command, findings=(found,), details=details).as_dict(), indent=2))
