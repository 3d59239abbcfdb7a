from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.smp_served import Served, served, signed

from bootwright.cli.dropin.mcumgr import perform
from bootwright.formats.mcuboot_image import Image, TlvType

HASH = Image.parse(signed("1.0.0")).find(TlvType.SHA256)[0].data.hex()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def ports() -> Iterator[Served]:
    with served(primary=signed("1.0.0")) as ports:
        assert perform(["conn", "add", "esp", "type=serial", f"connstring=dev={ports.pty},baud=115200,mtu=256"]) == 0
        yield ports


def test_profiles_are_kept_as_the_original_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert perform(["conn", "show"]) == 0
    assert perform(["conn", "add", "esp", "type=serial", "connstring=dev=/dev/ttyUSB0,baud=115200,mtu=256"]) == 0
    assert perform(["conn", "add", "air", "type=udp", "connstring=[10.0.0.2]:1337"]) == 0
    assert perform(["conn", "show"]) == 0
    assert perform(["conn", "delete", "air"]) == 0
    assert perform(["conn", "show", "air"]) == 0
    assert capsys.readouterr().out == (
        "No connection profiles found!\n"
        "Connection profile esp successfully added\n"
        "Connection profile air successfully added\n"
        "Connection profiles: \n"
        "  air: type=udp, connstring='[10.0.0.2]:1337'\n"
        "  esp: type=serial, connstring='dev=/dev/ttyUSB0,baud=115200,mtu=256'\n"
        "Connection profile air successfully deleted.\n"
        "No connection profiles found matching air\n"
    )
    assert json.loads((tmp_path / ".mcumgr.cp.json").read_text()) == [
        {"MyName": "esp", "MyType": "serial", "MyConnString": "dev=/dev/ttyUSB0,baud=115200,mtu=256"}
    ]


def test_images_are_listed_in_the_originals_words(ports: Served, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert perform(["-c", "esp", "image", "list"]) == 0
    assert capsys.readouterr().out == (
        "Images:\n image=0 slot=0\n    version: 1.0.0\n    bootable: true\n    flags: active confirmed\n"
        f"    hash: {HASH}\nSplit status: N/A (0)\n"
    )


def test_an_update_goes_as_with_the_original(ports: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.bin").write_bytes(signed("2.0.0"))
    new = Image.parse(signed("2.0.0")).find(TlvType.SHA256)[0].data.hex()
    capsys.readouterr()
    assert perform(["image", "upload", "-e", "-n", "0", str(tmp_path / "two.bin"), "--conn=esp"]) == 0
    assert capsys.readouterr().out == "Done\n"
    assert perform(["-c", "esp", "image", "confirm"]) == 0
    assert perform(["-cesp", "image", "confirm", new]) == 0
    assert "flags: pending permanent" in capsys.readouterr().out
    assert perform(["-c", "esp", "reset"]) == 0
    assert capsys.readouterr().out == "Done\n"


def test_the_other_commands_print_what_the_original_prints(
    ports: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert perform(["echo", "hello world", "-c", "esp"]) == 0
    assert perform(["-c", "esp", "image", "erase"]) == 0
    assert perform(["-c", "esp", "datetime", "2026-01-02T03:04:05"]) == 0
    assert perform(["-c", "esp", "datetime"]) == 0
    assert perform(["-c", "esp", "stat", "list"]) == 0
    assert perform(["-c", "esp", "stat", "smp_svr_stats"]) == 0
    assert perform(["-c", "esp", "shell", "exec", "echo", "hi"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("hello world\nDone\nDone\nDatetime(RFC 3339 format): 2026-01-02T03:04:0")
    assert "stat groups:\n    smp_svr_stats\nstat group: smp_svr_stats\n" in out
    assert out.endswith("status=0\nhi\n")
    assert perform(["-c", "esp", "taskstat"]) == 0
    assert perform(["-c", "esp", "mpstat"]) == 0
    out = capsys.readouterr().out
    assert "    idle\t 15   4" in out
    assert "                             smp  2048    4    3    2" in out
    (tmp_path / "a").write_bytes(b"content" * 500)
    assert perform(["-c", "esp", "fs", "upload", str(tmp_path / "a"), "/lfs/a"]) == 0
    assert perform(["-c", "esp", "fs", "download", "/lfs/a", str(tmp_path / "b")]) == 0
    assert (tmp_path / "b").read_bytes() == b"content" * 500


def test_a_refusal_is_printed_and_does_not_change_the_exit_code(
    ports: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert perform(["-c", "esp", "image", "test", "00" * 32]) == 0
    assert perform(["-c", "esp", "stat", "none"]) == 0
    assert perform(["-c", "esp", "fs", "download", "/lfs/none", "x"]) == 0
    assert perform(["-c", "esp", "config", "none"]) == 0
    assert perform(["-c", "esp", "image", "corelist"]) == 0
    assert perform(["-c", "esp", "log", "list"]) == 0
    assert perform(["-c", "esp", "log", "show"]) == 0
    assert capsys.readouterr().out == (
        "Error: 5\nError: 5\nError: 5\nError: 5\nError: 8\nerror: 8\nStatus: 8\nNext index: 0\n(no logs retrieved)\n"
    )


def test_a_connection_can_be_given_without_a_profile(ports: Served, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    where = ports.udp.removeprefix("udp://")
    assert perform(["--conntype", "udp", "--connstring", where, "echo", "over udp"]) == 0
    assert perform(["--conntype=serial", f"--connstring={ports.pty}", "--connextra", "baud=9600", "echo", "x"]) == 0
    assert capsys.readouterr().out == "over udp\nx\n"


def test_silence_is_a_timeout(capsys: pytest.CaptureFixture[str]) -> None:
    with served(primary=b"") as ports:
        connection = ["--conntype", "serial", "--connstring", f"dev={ports.pty}"]
        assert perform([*connection, "-t", "0.2", "-r", "2", "image", "list"]) == 1
    assert "Error: NMP timeout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["image", "list"], "No connection type specified"),
        (["-c", "nobody", "image", "list"], 'connection profile "nobody" doesn\'t exist'),
        (["-l", "loud", "conn", "show"], 'not a valid logrus Level: "loud"'),
        (["--frob"], "unknown flag: --frob"),
        (["echo", "-c"], "flag needs an argument: -c"),
        (["dance"], 'unknown command "dance"'),
        (["image", "dance"], 'unknown command "image dance"'),
        (["res", "get"], "`res get` is not offered here"),
        (["interactive"], "`interactive` is not offered here"),
        (["image", "coreconvert"], "`image coreconvert` is not offered here"),
        (["conn", "add"], "Need to specify connection profile name"),
        (["conn", "add", "x"], "Must specify a connection type"),
        (["conn", "add", "x", "type=rope"], "Invalid connection type: rope"),
        (["conn", "add", "x", "type=serial", "colour=red"], "Unknown variable colour"),
        (["conn", "delete", "x"], 'connection profile "x" doesn\'t exist'),
        (["--conntype", "ble", "--connstring", "x", "reset"], "connections of type ble are not offered here"),
        (["--conntype", "serial", "--connstring", "dev=x,speed=3", "reset"], "Unrecognized key: speed"),
        (["--conntype", "serial", "--connstring", "dev=x,baud=fast", "reset"], "Invalid baud: fast"),
        (["--conntype", "serial", "--connstring", "/dev/no", "reset"], "there is no port /dev/no"),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert perform(words) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["image", "test"], "Need to specify a hash"),
        (["image", "test", "az"], "invalid byte: U+007A 'z'"),
        (["image", "test", "abc"], "odd length hex string"),
        (["image", "upload", "-u=perhaps", "/etc/hostname"], 'invalid argument "perhaps" for "--upgrade" flag'),
        (["echo", "two", "words"], "Need to specify one text"),
        (["crash", "burn"], "invalid crash type: burn"),
        (["log", "show", "x", "y"], 'parsing "y": invalid syntax'),
        (["image", "upload"], "Need to specify image to upload"),
        (["image", "upload", "/no-file"], "/no-file"),
        (["image", "upload", "-n", "x", "/etc/hostname"], 'invalid argument "x" for "--image" flag'),
        (["image", "upload", "-n=-1", "/etc/hostname"], "Invalid image number"),
        (["-t", "soon", "echo", "x"], 'invalid argument "soon" for "--timeout" flag'),
        (["stat"], "Need to specify a statistics group"),
        (["shell", "run"], 'unknown command "shell run" for "mcumgr"'),
        (["fs", "upload", "/no/file", "x"], "open /no/file: no such file or directory"),
    ],
)
def test_what_a_device_is_not_asked_is_said(
    words: list[str], why: str, ports: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert perform(["-c", "esp", *words]) == 1
    assert why in capsys.readouterr().err


def test_a_profiles_file_that_is_none_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("{", "[1]", '[{"MyName": 1}]'):
        (tmp_path / ".mcumgr.cp.json").write_text(text)
        assert perform(["conn", "show"]) == 1
        assert "error reading connection profile config" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform([]) == perform(["--help"]) == perform(["help"]) == perform(["version"]) == 0
    assert capsys.readouterr().out.count("Available Commands:\n  config   Read or write") == 3
    assert perform(["image"]) == perform(["image", "--help"]) == perform(["help", "image"]) == 0
    assert capsys.readouterr().out.count("  mcumgr image [command]\n") == 3
    assert perform(["image", "test", "-h"]) == 0
    assert "Usage:\n  mcumgr image test <hex-image-hash> [flags]\n" in capsys.readouterr().out
    assert perform(["image", "test", "--conntype", "serial", "--connstring", "dev=/dev/null"]) == 1
