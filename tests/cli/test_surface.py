"""The whole command line at once: every command is explained alike, answers alike and fails alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from tests.support.here import bootwright

from bootwright.cli.main import COMMANDS, main
from bootwright.cli.noun import first_sentence

#: they run until they are interrupted, and have no answer to give
SERVERS = ("chip serve", "neighbour serve")


def below(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield name, command


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in below(group):
        if not path and COMMANDS[name][0].startswith("dropin."):
            continue
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


LEAVES = dict(leaves(main))
EVERY = pytest.mark.parametrize("path", LEAVES)


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


@EVERY
def test_every_command_says_what_it_does_and_what_each_option_is_for(path: str) -> None:
    command = LEAVES[path]
    sentence = first_sentence(command)
    assert sentence[:1].isupper()
    assert sentence.endswith(".")
    assert [option.opts[-1] for option in options(command) if not option.help and not option.hidden] == []


@EVERY
def test_every_command_that_answers_takes_json(path: str) -> None:
    takes = any("--json" in option.opts for option in options(LEAVES[path]))
    assert takes is (path not in SERVERS)


def test_the_help_lists_every_command_with_its_whole_sentence() -> None:
    shown = " ".join(bootwright(Path(), "--help").out.split())
    assert all(f"{name} {sentence}" in shown for name, (_, _, sentence) in COMMANDS.items())
    shown = " ".join(bootwright(Path(), "efuse", "--help").out.split())
    assert "read-protect Hide blocks or fields of FILE from every reader, for ever." in shown
    assert "..." not in shown.partition("Commands:")[2]


def common(out: str, path: str) -> dict[str, Any]:
    """The object on stdout, in the form that all commands share."""
    body: dict[str, Any] = json.loads(out)
    assert list(body)[:4] == ["schema", "command", "verdict", "findings"]
    assert (body["schema"], body["command"]) == (1, path)
    assert body["verdict"] in ("pass", "fail", "not_modelled")
    for finding in body["findings"]:
        assert list(finding) == ["code", "subject", "verdict", "because", "next"]
    return body


@pytest.mark.parametrize("path", [path for path in LEAVES if path not in SERVERS])
def test_every_command_refuses_an_unknown_option_in_the_common_form(path: str, tmp_path: Path) -> None:
    ran = bootwright(tmp_path, *path.split(), "--no-such-option", "--json")
    body = common(ran.out, path)
    assert (ran.code, body["verdict"], body["error"]["kind"], body["error"]["exit"]) == (2, "fail", "UsageError", 2)
    assert body["findings"][0]["code"] == "error.usage"


def nonsense(command: click.Command) -> Iterator[str]:
    """Something for every argument and for every option that must be given: a choice that exists, else no file."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.required:
            continue
        word = parameter.type.choices[0] if isinstance(parameter.type, click.Choice) else "none.bin"
        yield from (parameter.opts[-1], word) if isinstance(parameter, click.Option) else (str(word),)


@pytest.mark.parametrize("path", [path for path in LEAVES if path not in SERVERS])
def test_every_command_ends_in_the_common_form_when_its_files_are_missing(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTWRIGHT_PORT", "/dev/ttyNOPE")
    words = list(nonsense(LEAVES[path]))
    ran = bootwright(tmp_path, *path.split(), *words, "--json")
    body = common(ran.out, path)
    assert ran.code in range(8)
    assert (body["verdict"] == "pass") is (ran.code == 0)
    if "error" in body:
        (finding,) = body["findings"]
        assert body["error"]["exit"] == ran.code
        assert (finding["because"], finding["next"]) == (body["error"]["message"], body["error"]["hint"])
        assert finding["because"]
        assert list(tmp_path.iterdir()) == []


def test_words_for_people_go_to_stderr_when_something_is_wrong(tmp_path: Path) -> None:
    for words, code, start in [
        (["frobnicate"], 2, "Usage: bootwright"),
        (["image", "verify", "none.bin"], 3, "error: none.bin: found nothing"),
    ]:
        ran = bootwright(tmp_path, *words)
        assert (ran.code, ran.out) == (code, "")
        assert ran.err.startswith(start)
        assert "Traceback" not in ran.err
