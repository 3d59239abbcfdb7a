"""The Go mcumgr on our servers, and our drop-in beside it: the same command lines, the same words.

Found on the PATH or as $BOOTWRIGHT_MCUMGR; else built with `go install`, once a machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from tests.support.mynewt_device import mynewt_device
from tests.support.peers import ROOT, Ran
from tests.support.smp_process import Ports, board_process
from tests.support.smp_served import signed

MODULE = "github.com/apache/mynewt-mcumgr-cli/mcumgr@latest"


@cache
def original() -> str:
    """The Go program; skips the test where it cannot be had."""
    found = os.environ.get("BOOTWRIGHT_MCUMGR") or shutil.which("mcumgr")
    if found:
        return found
    if shutil.which("go") is None:
        pytest.skip("neither mcumgr nor go is installed here")
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache_home / "bootwright" / "go"
    if not (target / "mcumgr").exists():
        done = subprocess.run(
            ["go", "install", MODULE],
            env={**os.environ, "GOBIN": str(target)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"go cannot install {MODULE} here: {' '.join(done.stderr.split())[-120:]}")
    return str(target / "mcumgr")


def run(command: list[str], folder: Path, *arguments: str) -> Ran:
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def go(folder: Path, *arguments: str) -> Ran:
    return run([original()], folder, *arguments)


def ours(folder: Path, *arguments: str) -> Ran:
    return run([sys.executable, "-m", "bootwright", "mcumgr"], folder, *arguments)


def connect(folder: Path, ports: Ports) -> None:
    original()
    added = go(folder, "conn", "add", "esp", "type=serial", f"connstring=dev={ports.pty},baud=115200,mtu=128")
    assert added.code == 0, added.out + added.err


def new_image(folder: Path, version: str) -> str:
    path = folder / f"{version}.bin"
    path.write_bytes(signed(version))
    return str(path)


def test_both_read_the_profiles_that_either_writes(tmp_path: Path) -> None:
    go(tmp_path, "conn", "add", "one", "type=serial", "connstring=dev=/dev/a,baud=9600,mtu=128")
    ours(tmp_path, "conn", "add", "two", "type=udp", "connstring=[10.0.0.1]:1337")
    shown = [tool(tmp_path, "conn", "show").out for tool in (go, ours)]
    assert shown[0] == shown[1]
    assert "two: type=udp" in shown[0]


@pytest.mark.parametrize("profile", ["espressif", "zephyr"])
def test_the_original_recovers_a_board(tmp_path: Path, profile: str) -> None:
    original()
    with board_process(tmp_path, "--profile", profile, version="", recovery=True) as ports:
        mtu = 256 if profile == "espressif" else 128
        go(tmp_path, "conn", "add", "esp", "type=serial", f"connstring=dev={ports.pty},baud=115200,mtu={mtu}")
        uploaded = go(tmp_path, "-c", "esp", "-t", "20", "image", "upload", new_image(tmp_path, "3.0.0"))
        assert uploaded.code == 0, uploaded.out + uploaded.err
        assert uploaded.out.endswith("Done\n")
        listed = go(tmp_path, "-c", "esp", "image", "list").out
        assert "version: 3.0.0" in listed
        assert listed == ours(tmp_path, "-c", "esp", "image", "list").out
        assert go(tmp_path, "-c", "esp", "reset").out == "Done\n"


def test_the_original_updates_an_application(tmp_path: Path) -> None:
    original()
    with board_process(tmp_path) as ports:
        connect(tmp_path, ports)
        uploaded = go(tmp_path, "-c", "esp", "-t", "20", "image", "upload", new_image(tmp_path, "2.0.0"))
        assert uploaded.out.endswith("Done\n"), uploaded.out + uploaded.err
        listed = go(tmp_path, "-c", "esp", "image", "list").out
        digest = re.findall(r"hash: (\w+)", listed)[1]
        assert "pending" in go(tmp_path, "-c", "esp", "image", "test", digest).out
        assert go(tmp_path, "-c", "esp", "reset").out == "Done\n"
        time.sleep(0.6)
        confirmed = go(tmp_path, "-c", "esp", "image", "confirm").out
        assert confirmed.index("version: 2.0.0") < confirmed.index("version: 1.0.0")
        assert "Done" in go(tmp_path, "-c", "esp", "image", "erase").out


def test_both_say_the_same_of_the_same_device(tmp_path: Path) -> None:
    original()
    with board_process(tmp_path) as ports:
        connect(tmp_path, ports)
        for words in (
            ["image", "list"],
            ["echo", "hello"],
            ["taskstat"],
            ["stat", "list"],
            ["image", "test", "00" * 32],
            ["stat", "none"],
        ):
            theirs, mine = go(tmp_path, "-c", "esp", *words), ours(tmp_path, "-c", "esp", *words)
            assert mine.out == theirs.out, words
            assert mine.code == theirs.code, words


def test_both_say_the_same_of_a_mynewt_device(tmp_path: Path) -> None:
    original()
    with mynewt_device() as (port, asked):
        connection = ["--conntype", "serial", "--connstring", f"dev={port},mtu=128"]
        for words in (
            ["config", "id/serial"],
            ["config", "id/serial", "12"],
            ["config", "save"],
            ["crash", "div0"],
            ["run", "list"],
            ["run", "test", "one", "token"],
            ["image", "corelist"],
            ["image", "coreerase"],
            ["log", "list"],
            ["log", "module_list"],
            ["log", "level_list"],
            ["log", "clear"],
            ["log", "show"],
            ["log", "show", "reboot_log", "last"],
            ["log", "show", "reboot_log", "3", "12000"],
            ["datetime", "2026-01-01T00:00:00"],
        ):
            theirs, mine = go(tmp_path, *connection, *words), ours(tmp_path, *connection, *words)
            assert (mine.out, mine.code) == (theirs.out, theirs.code), words
            assert asked[-1] == asked[-2], words
