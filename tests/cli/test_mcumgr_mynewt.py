from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mynewt_device import mynewt_device

from bootwright.cli.dropin.mcumgr import perform

LOG = """\
Status: 0
Next index: 10
Name: reboot_log
Type: STORAGE
   [index]            [timestamp] |         [module]          [level] [type]    [img] [message]
         7                12345us |       REBOOT (6)         INFO (1)    str 01020304 booted
         8                12399us |      NEWTMGR (2)        ERROR (3)   cbor          {"a":1,"b":[2]}
         9                12400us |     CUSTOM (100)       CUSTOM (9)    bin          ff00
"""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with mynewt_device() as (port, _):
        yield ["--conntype", "serial", "--connstring", f"dev={port},mtu=128"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["config", "id/serial"], "Value: eleven\n"),
        (["config", "id/serial", "12"], "Done\n"),
        (["config", "save"], "Done\n"),
        (["crash", "div0"], "Done\n"),
        (["run", "list"], "available tests:\n    one\n    two\n"),
        (["run", "test"], "Done\n"),
        (["run", "test", "one", "token"], "Done\n"),
        (["image", "corelist"], "No corefiles\n"),
        (["image", "coreerase"], "Done\n"),
        (["log", "list"], "available logs:\n    reboot_log\n    stream\n"),
        (["log", "module_list"], "available modules:\n    NFFS (5)\n    OS (1)\n"),
        (["log", "level_list"], "available levels:\n    0: DEBUG\n    1: INFO\n"),
        (["log", "clear"], "done\n"),
        (["log", "show"], LOG),
        (["log", "show", "reboot_log", "last"], LOG),
        (["log", "show", "reboot_log", "3", "12000"], LOG),
        (["mpstat"], "Error: 8\n"),
    ],
)
def test_mynewts_own_commands_print_what_the_original_prints(
    words: list[str], said: str, device: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert perform([*device, *words]) == 0
    assert capsys.readouterr().out == said


def test_they_ask_what_the_original_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with mynewt_device() as (port, asked):
        connection = ["--conntype", "serial", "--connstring", f"dev={port}"]
        for words in ("config a b", "config save", "crash wdog", "run test", "log show x last", "log show x 3 4"):
            perform([*connection, *words.split()])
    assert asked == [
        ((2, 3, 0), {"name": "a", "val": "b"}),
        ((2, 3, 0), {"save": True}),
        ((2, 5, 0), {"t": "wdog"}),
        ((2, 7, 0), {"testname": "all", "token": ""}),
        ((0, 4, 0), {"log_name": "x", "ts": -1, "index": 0}),
        ((0, 4, 0), {"log_name": "x", "ts": 4, "index": 3}),
    ]
