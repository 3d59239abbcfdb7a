"""Running our drop-in commands in this process, as their originals are run in one of their own."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tests.support.peers import Ran


def run_here(answer: Callable[[Sequence[str]], int], *arguments: str | Path) -> Ran:
    """Run a drop-in and keep what it said."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = answer([str(argument) for argument in arguments])
        out.flush()
    said = out.buffer
    assert isinstance(said, io.BytesIO)
    return Ran(code, said.getvalue().decode("latin-1"), err.getvalue(), said.getvalue())


def run_cli(*arguments: str | Path) -> Ran:
    """Run our own command line in this process; its exit code and what it said."""
    from bootwright.cli.main import run

    def answer(words: Sequence[str]) -> int:
        try:
            run(words)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        raise AssertionError("run always exits")

    return run_here(answer, *arguments)
