"""How `bootwright trace replay` goes through files and what it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from bootwright.errors import BootwrightError


def replay_all(paths: Sequence[Path], *, as_json: bool) -> int:
    """Play every trace; the exit code is 0 if there was one at least and all passed."""
    files = list(_files(paths))
    failures: dict[str, tuple[str, ...]] = {}
    for number, path in enumerate(files, 1):
        _progress(f"{number}/{len(files)} {path.name}")
        differences = replay_file(path)
        if differences:
            failures[str(path)] = differences
            if not as_json:
                _progress("")
                for difference in differences:
                    click.echo(f"{path}: {difference}")
    _progress("")
    passed = len(files) - len(failures)
    if as_json:
        verdict = "fail" if failures or not files else "pass"
        body = {"schema": 1, "command": "trace replay", "verdict": verdict, "findings": _findings(failures)}
        click.echo(json.dumps(body | {"passed": passed, "failed": len(failures)}, indent=2))
    else:
        if not files:
            click.echo(f"no trace found in {', '.join(map(str, paths))}" if paths else "no trace given")
        click.echo(f"{passed} passed, {len(failures)} failed")
    return 1 if failures or not files else 0


def replay_file(path: Path) -> tuple[str, ...]:
    """The differences of one file; whatever keeps it from being played is one."""
    try:
        return _play(json.loads(path.read_bytes()))
    except BootwrightError as error:
        return (error.message,)
    except (OSError, ValueError, RecursionError) as error:
        return (f"cannot be read as a trace: {error}",)


def _play(document: object) -> tuple[str, ...]:
    """The kind of a trace is told by its keys."""
    if isinstance(document, dict) and "boots" in document:
        from bootwright.sim.firstboot_trace import replay

        return replay(document)
    from bootwright.boot.trace import parse_trace
    from bootwright.boot.trace_play import play

    return play(parse_trace(document))


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.json"))
        else:
            yield path


def _findings(failures: dict[str, tuple[str, ...]]) -> list[dict[str, str]]:
    from bootwright.finding import failed

    return [
        failed("trace.difference", path, difference).as_dict()
        for path, differences in failures.items()
        for difference in differences
    ]


def _progress(text: str) -> None:
    """A line that overwrites itself, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text[:100]}")
        sys.stderr.flush()
