"""Our own command line, run in this process: the same words and codes without the start-up."""

from __future__ import annotations

import io
import json
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from tests.support.peers import Ran

from bootwright.cli.main import run


def bootwright(place: Path, *words: str | Path) -> Ran:
    """Run `bootwright WORDS…` in a directory."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with chdir(place), redirect_stdout(out), redirect_stderr(err):
        try:
            run([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Ran(code, out.getvalue(), err.getvalue())


def answer(place: Path, line: str, *, code: int = 0) -> dict[str, Any]:
    """Run a line with `--json` and give the object; the exit code must be `code`."""
    ran = bootwright(place, *line.split(), "--json")
    assert ran.code == code, ran
    body: dict[str, Any] = json.loads(ran.out)
    assert body["schema"] == 1
    return body


def complaint(place: Path, line: str, *, code: int) -> str:
    """Run a line that must end with `code` and an error of one sentence and a hint; give both."""
    ran = bootwright(place, *line.split())
    assert ran.code == code, ran
    assert ran.err.startswith("error: "), ran
    assert len(ran.err.splitlines()) <= 2
    assert answer(place, line, code=code)["error"]["exit"] == code
    return ran.err
