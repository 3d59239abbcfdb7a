"""The readme's serial recovery and an update over the air, on a virtual ESP32-C3 behind real ports."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.against.test_mcumgr_go import original
from tests.support.chip_scene import LAYOUT, PRIMARY, application, bootloader
from tests.support.keys import key_of
from tests.support.peers import ROOT, Ran, run_bootwright, run_peer

from bootwright.formats.keys import KeyType
from bootwright.sim.chip_file import open_chip_file

RECOVERY = {
    "CONFIG_ESP_MCUBOOT_SERIAL": "y",
    "CONFIG_ESP_SERIAL_BOOT_GPIO_DETECT": "9",
    "CONFIG_ESP_SERIAL_BOOT_GPIO_INPUT_TYPE": "0",
    "CONFIG_ESP_SERIAL_BOOT_DETECT_DELAY_S": "5",
}
USB = {"CONFIG_ESP_MCUBOOT_SERIAL_USB_SERIAL_JTAG": "y"}


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    ran = run_bootwright("chip", "new", "esp32c3", "--flash", "4MB", "dev", cwd=tmp_path)
    assert ran.code == 0, ran.err
    (tmp_path / "key.pem").write_bytes(key_of(KeyType.ED25519, 0).public.pem)
    (tmp_path / "two.bin").write_bytes(application(version="2.0.0", max_align=8, seed=b"two"))
    with open_chip_file(tmp_path / "dev.chip") as file:
        file.flash.load(0, bootloader())
    return tmp_path


def put_application(bench: Path) -> None:
    with open_chip_file(bench / "dev.chip") as file:
        file.flash.load(PRIMARY, application(version="1.0.0", max_align=8))


def do(bench: Path, *words: str, code: int = 0) -> Ran:
    ran = run_bootwright(*words, cwd=bench)
    assert ran.code == code, ran.out + ran.err
    return ran


def describe(bench: Path, *options: dict[str, str]) -> None:
    lines = [f"{name}={value}" for group in (LAYOUT, *options) for name, value in group.items()]
    (bench / "bootloader.conf").write_text("\n".join(lines))
    run_bootwright("chip", "boot", "dev", "--conf", "bootloader.conf", "--key", "key.pem", cwd=bench)
    do(bench, "chip", "strap", "dev", "normal")


@contextmanager
def serve(bench: Path, *options: str) -> Iterator[dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "bootwright", "chip", "serve", "dev", *options]
    with subprocess.Popen(command, cwd=bench, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline() for option in options if option.startswith("--")]
        try:
            yield dict(re.findall(r"(\w+) listening on (\S+)", "".join(lines)))
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=20)


@pytest.mark.parametrize(("options", "port"), [({}, "uart1"), (USB, "usb")])
def test_a_chip_without_an_image_is_recovered_over_the_port_of_its_conf(
    bench: Path, options: dict[str, str], port: str
) -> None:
    describe(bench, RECOVERY, options)
    with serve(bench, "--uart1", "pty", "--usb", "pty") as ports:
        do(bench, "chip", "gpio", "dev", "9=1")
        do(bench, "chip", "power", "dev", "off")
        do(bench, "chip", "power", "dev", "on")
        other = "usb" if port == "uart1" else "uart1"
        silent = do(bench, "smp", "image", "list", "-p", ports[other], code=6)
        assert "is the device in recovery" in silent.err
        done = do(bench, "smp", "image", "upload", "two.bin", "-p", ports[port], "--config", "bootloader.conf")
        assert "version 2.0.0 is there and validates" in done.out
        do(bench, "chip", "gpio", "dev", "9=0")
        do(bench, "chip", "strap", "dev", "normal")
        do(bench, "smp", "reset", "-p", ports[port])
        console = do(bench, "chip", "console", "dev").out
    assert "Enter the serial recovery mode" in console
    assert "br_image_off = 0x20000" in console.rpartition("Enter the serial recovery mode")[2]


def test_smpmgr_recovers_the_chip_as_well(bench: Path) -> None:
    describe(bench, RECOVERY)
    with serve(bench, "--uart1", "pty") as ports:
        do(bench, "chip", "gpio", "dev", "9=1")
        do(bench, "chip", "power", "dev", "off")
        do(bench, "chip", "power", "dev", "on")
        ran = run_peer("smpmgr", "--port", ports["uart1"], "--timeout", "8", "image", "upload", bench / "two.bin")
        assert ran.code == 0, ran.out + ran.err
        assert "2.0.0" in run_peer("smpmgr", "--port", ports["uart1"], "image", "state-read").out


@pytest.mark.parametrize("confirmed", [True, False])
def test_an_update_over_udp_is_swapped_in_and_stays_only_if_confirmed(bench: Path, confirmed: bool) -> None:
    put_application(bench)
    describe(bench)
    do(bench, "chip", "app", "dev", "smp")
    with serve(bench, "--uart0", "pty", "--udp", "0") as ports:
        udp = ports["udp"]
        do(bench, "smp", "image", "upload", "two.bin", "-p", udp, "--key", "key.pem")
        listed = json.loads(do(bench, "smp", "image", "list", "-p", udp, "--json").out)["images"]
        do(bench, "smp", "image", "test", listed[1]["hash"][:10], "-p", udp)
        do(bench, "smp", "reset", "-p", ports["uart0"])
        now = json.loads(do(bench, "smp", "image", "list", "-p", ports["uart0"], "--json").out)["images"]
        assert (now[0]["version"], now[0]["confirmed"]) == ("2.0.0", False)
        if confirmed:
            do(bench, "smp", "image", "confirm", "-p", udp)
        do(bench, "smp", "reset", "-p", udp)
        after = json.loads(do(bench, "smp", "image", "list", "-p", udp, "--json").out)["images"]
        assert after[0]["version"] == ("2.0.0" if confirmed else "1.0.0")


README_UART = """
# Enables the MCUboot Serial Recovery, that allows the use of
# MCUMGR to upload a firmware through the serial port
CONFIG_ESP_MCUBOOT_SERIAL=y
# GPIO used to boot on Serial Recovery
CONFIG_ESP_SERIAL_BOOT_GPIO_DETECT=5
# GPIO input type (0 for Pull-down, 1 for Pull-up)
CONFIG_ESP_SERIAL_BOOT_GPIO_INPUT_TYPE=0
# GPIO signal value
CONFIG_ESP_SERIAL_BOOT_GPIO_DETECT_VAL=1
# Delay time for identify the GPIO signal
CONFIG_ESP_SERIAL_BOOT_DETECT_DELAY_S=5
"""
README_USB = (
    README_UART
    + """
# Use Serial through USB JTAG Serial port for Serial Recovery
CONFIG_ESP_MCUBOOT_SERIAL_USB_SERIAL_JTAG=y
# Use sector erasing (recommended) instead of entire image size
# erasing when uploading through Serial Recovery
CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY=y
"""
)


@pytest.mark.parametrize(("chapter", "port"), [(README_UART, "uart1"), (README_USB, "usb")], ids=["uart", "usb"])
@pytest.mark.parametrize("tool", ["bootwright", "mcumgr"])
def test_the_chapter_on_serial_recovery_works_word_for_word(
    bench: Path, chapter: str, port: str, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "bootwright", "mcumgr"] if tool == "bootwright" else [original()]
    monkeypatch.setenv("HOME", str(bench))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))

    def mcumgr(words: str) -> str:
        done = subprocess.run(
            [*command, *shlex.split(words)], cwd=bench, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    lines = "\n".join(f"{name}={value}" for name, value in LAYOUT.items())
    (bench / "bootloader.conf").write_text(f"{lines}\n{chapter}")
    run_bootwright("chip", "boot", "dev", "--conf", "bootloader.conf", "--key", "key.pem", cwd=bench)
    do(bench, "chip", "strap", "dev", "normal")
    do(bench, "chip", "gpio", "dev", "5=1")
    with serve(bench, f"--{port}", "pty") as ports:
        mcumgr(f'conn add esp type="serial" connstring="dev={ports[port]},baud=115200,mtu=256"')
        assert mcumgr("-c esp image upload two.bin").endswith("Done\n")
        do(bench, "chip", "gpio", "dev", "5=0")
        assert mcumgr("-c esp reset") == "Done\n"
        console = do(bench, "chip", "console", "dev").out
    assert "Primary image: magic=unset" in console.rpartition("Enter the serial recovery mode")[2]
