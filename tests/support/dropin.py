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
    return Ran(code, said.getvalue().decode("latin-1"), err.getvalue())
