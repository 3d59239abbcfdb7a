from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.chip_scene import LAYOUT
from tests.support.peers import ROOT, run_bootwright
from tests.support.smp_process import board_process
from tests.support.smp_served import Served, board_key, reader_key, served, signed, signed_build

from bootwright.cli.neighbour import neighbour
from bootwright.cli.smp import smp
from bootwright.cli.smp_files import Bar
from bootwright.errors import BootwrightError, FormatError, RefusedError, TrustError, WireError


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def ports() -> Iterator[Served]:
    with served(primary=signed("1.0.0")) as ports:
        yield ports


def call(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(smp, words)
    if isinstance(done.exception, BootwrightError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def answer(*words: str, code: int = 0) -> dict[str, Any]:
    found = json.loads(call(*words, "--json", code=code))
    assert isinstance(found, dict)
    return found


def files(folder: Path) -> tuple[str, str]:
    (folder / "two.bin").write_bytes(signed("2.0.0"))
    (folder / "key.pem").write_bytes(board_key().public.pem)
    return str(folder / "two.bin"), str(folder / "key.pem")


def test_an_encrypted_image_is_judged_with_the_key_that_decrypts_it(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(signed("2.0.0", reader=reader_key()))
    (tmp_path / "reader.pem").write_bytes(reader_key().pem())
    image, key = str(tmp_path / "secret.bin"), files(tmp_path)[1]
    with served(signed_build(decryption=reader_key().pem()), pin=True) as ports:
        with pytest.raises(TrustError, match="built without MCUBOOT_ENC_IMAGES"):
            call("image", "upload", image, "--key", key, "-p", ports.pty)
        options = ["--key", key, "--decryption-key", str(tmp_path / "reader.pem")]
        assert "validates" in call("image", "upload", image, *options, "-p", ports.pty)


def test_a_device_that_tells_no_hashes_is_said_to(ports: Served) -> None:
    build = signed_build(profile="espressif")
    with (
        served(build, primary=signed("1.0.0"), pin=True) as recovery,
        pytest.raises(RefusedError, match="the device tells no hashes"),
    ):
        call("image", "test", "aabb", "-p", recovery.pty)
    with pytest.raises(RefusedError, match="0 images of the device"):
        call("image", "test", "aabbccdd", "-p", ports.pty)


def test_every_question_has_a_json_form(ports: Served) -> None:
    assert answer("echo", "hi", "-p", ports.udp)["said"] == "hi"
    assert answer("image", "list", "-p", ports.pty)["images"][0]["version"] == "1.0.0"
    assert answer("slot-info", "-p", ports.tcp)["slots"][1]["upload_image_id"] == 0
    assert answer("os", "info", "-p", ports.udp)["info"]["server"] == "application"


def test_every_question_has_words(ports: Served) -> None:
    assert "hello" in call("echo", "hello", "-p", ports.udp)
    assert "image 0 slot 0  1.0.0        active confirmed bootable" in call("image", "list", "-p", ports.udp)
    assert "image 0 slot 1  0x34000 bytes, upload as image 0" in call("slot-info", "-p", ports.udp)
    assert "bootloader: MCUboot" in call("os", "info", "-p", ports.udp)


def test_the_port_can_come_from_the_environment(ports: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTWRIGHT_PORT", ports.udp)
    assert "hello" in call("echo", "hello")


def test_an_update_from_upload_to_confirm(ports: Served, tmp_path: Path) -> None:
    image, key = files(tmp_path)
    uploaded = answer("image", "upload", image, "--key", key, "-p", ports.pty)
    assert uploaded["verdict"] == "pass"
    assert uploaded["upload"]["size"] == len(signed("2.0.0"))
    digest = answer("image", "list", "-p", ports.pty)["images"][1]["hash"]
    tested = answer("image", "test", digest[:8], "-p", ports.pty)
    assert tested["images"][1]["pending"]
    ports.board.reset()
    assert "2.0.0" in call("image", "confirm", "-p", ports.pty)
    call("image", "erase", "-p", ports.pty)
    assert len(answer("image", "list", "-p", ports.pty)["images"]) == 1
    call("reset", "-p", ports.pty, "--force")


def test_an_image_that_would_be_rejected_is_not_sent(ports: Served, tmp_path: Path) -> None:
    image, key = files(tmp_path)
    bad = tmp_path / "bad.bin"
    bad.write_bytes(signed("2.0.0", trusted=False))
    with pytest.raises(TrustError, match="the bootloader would refuse"):
        call("image", "upload", str(bad), "--key", key, "-p", ports.pty)
    with pytest.raises(BootwrightError):
        call("image", "upload", image, "--slot-size", "0x4000", "-p", ports.pty)
    assert len(answer("image", "list", "-p", ports.pty)["images"]) == 1


def test_any_file_is_sent_if_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "any").write_bytes(b"anything" * 100)
    with served(pin=True) as ports:
        found = answer("image", "upload", str(tmp_path / "any"), "--any-file", "-p", ports.pty)
    assert found["findings"][-1]["code"] == "smp.upload.unseen"


def test_a_recovery_in_one_command(tmp_path: Path) -> None:
    image, key = files(tmp_path)
    conf = tmp_path / "bootloader.conf"
    conf.write_text("\n".join(f"{name}={value}" for name, value in LAYOUT.items()))
    with served(primary=signed("1.0.0"), pin=True) as ports:
        ports.board.recovery_pin = False
        found = answer("recover", image, "--config", str(conf), "--key", key, "-p", ports.pty)
    assert found["findings"][-1]["code"] == "smp.recover.booted"
    assert found["upload"]["server"] == "mcuboot"
    with served(primary=signed("1.0.0")) as ports:
        said = call("recover", image, "-p", ports.pty)
    assert "the application answers" in said


@pytest.mark.parametrize("text", ["xyz", ""])
def test_a_hash_that_is_none_is_refused(text: str, ports: Served) -> None:
    with pytest.raises(FormatError, match="is no hash"):
        call("image", "test", text, "-p", ports.udp)


def test_a_beginning_that_fits_no_image_is_refused(ports: Served) -> None:
    with pytest.raises(RefusedError, match="0 images of the device have a hash that begins with 00000"):
        call("image", "test", "00000", "-p", ports.udp)


def test_a_whole_hash_is_the_devices_to_judge(ports: Served) -> None:
    with pytest.raises(WireError, match="no image with this hash"):
        call("image", "confirm", "00" * 32, "-p", ports.udp)


def test_a_reset_into_the_bootloader(ports: Served) -> None:
    assert "restarts into the bootloader" in call("reset", "--bootloader", "-p", ports.udp)


def test_silence_has_the_exit_code_of_the_line() -> None:
    ran = run_bootwright("smp", "image", "list", "-p", "/dev/ttyNOPE", "--json")
    assert ran.code == 6
    assert json.loads(ran.out)["error"]["message"] == "there is no port /dev/ttyNOPE"


def test_progress_is_drawn_where_a_person_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = Bar(1000)
    bar.at(0)
    bar.at(10)
    bar.at(1000)
    bar.end()
    assert "100 %" in capsys.readouterr().err


# --- bootwright neighbour ---


def test_a_board_is_served_and_keeps_its_flash(tmp_path: Path) -> None:
    image, _ = files(tmp_path)
    for version in ("1.0.0", ""):
        with board_process(tmp_path, "--progressive", version=version, recovery=not version) as ports:
            assert call("image", "list", "-p", ports.tcp)
            call("image", "upload", image, "-p", ports.pty)


def test_boards_that_cannot_be_are_refused(tmp_path: Path) -> None:
    runner = CliRunner()
    image, _ = files(tmp_path)
    board = str(tmp_path / "b")
    small = runner.invoke(neighbour, ["new", board, "--slot-size", "0x4000", "--image", image])
    assert isinstance(small.exception, FormatError)
    made = runner.invoke(neighbour, ["new", board, "--mode", "scratch", "--window", "--no-server", "--json"])
    assert made.exit_code == 0
    odd = runner.invoke(neighbour, ["serve", board, "--uart", "rope"])
    assert isinstance(odd.exception, FormatError)
    assert "is no way to serve a UART" in odd.exception.message


@contextmanager
def serving_stm(folder: Path) -> Iterator[dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "bootwright", "chip", "serve", "stm", "--uart1", "pty", "--udp", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield dict(server.stdout.readline().split(" listening on ") for _ in range(2))
        finally:
            server.terminate()
            server.communicate(timeout=10)


def chip(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    ran = run_bootwright("chip", *words, "--json", cwd=folder)
    assert ran.code == code, ran.out + ran.err
    found = json.loads(ran.out)
    assert isinstance(found, dict)
    return found


def test_a_neighbour_is_made_served_and_switched_as_a_chip_is(tmp_path: Path) -> None:
    image, key = files(tmp_path)
    chip(tmp_path, "new", "zephyr-neighbour", "stm", "--key", key, "--image", image)
    assert "stm.neighbour exists" in chip(tmp_path, "new", "zephyr-neighbour", "stm", code=7)["error"]["message"]
    with serving_stm(tmp_path) as ports:
        port = ports["uart1"].strip()
        assert chip(tmp_path, "state", "stm")["doing"] == "application"
        assert "Boot source" in chip(tmp_path, "console", "stm")["console"]
        assert answer("os", "info", "-p", port)["info"]["server"] == "application"
        assert chip(tmp_path, "gpio", "stm", "9=1")["doing"] == "recovery"
        assert answer("os", "info", "-p", port)["info"]["server"] == "MCUboot serial recovery"
        assert chip(tmp_path, "power", "stm", "off")["doing"] == "off"
        assert chip(tmp_path, "gpio", "stm", "9=0")["pin"] == "free"
        assert chip(tmp_path, "app", "stm", "none")["app"] == "none"
        assert chip(tmp_path, "power", "stm", "on")["doing"] == "silent"
        assert "has no strap" in chip(tmp_path, "strap", "stm", "normal", code=7)["error"]["message"]
        assert "served by another process" in run_bootwright("chip", "serve", "stm", cwd=tmp_path).err
    assert chip(tmp_path, "app", "stm", "smp")["app"] == "smp"
    assert chip(tmp_path, "gpio", "stm", "9=1")["pin"] == "held"
    assert "is not served" in chip(tmp_path, "power", "stm", "on", code=7)["error"]["message"]
    with serving_stm(tmp_path):
        assert chip(tmp_path, "state", "stm")["doing"] == "recovery"


def test_only_a_neighbour_has_the_options_of_neighbours(tmp_path: Path) -> None:
    wrong = run_bootwright("chip", "new", "esp32c3", "x", "--flash", "4MB", "--mode", "move", cwd=tmp_path)
    assert (wrong.code, "--mode is no option for esp32c3" in wrong.err) == (2, True)
    assert "Missing option '--flash'" in run_bootwright("chip", "new", "esp32c3", "x", cwd=tmp_path).err
    assert run_bootwright("chip", "new", "zephyr-neighbour", "x", "--colour", "red", cwd=tmp_path).code == 2
