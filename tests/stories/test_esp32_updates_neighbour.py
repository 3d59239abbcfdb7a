"""The example, end to end: a MicroPython board (and its twin on a PC) updates a virtual neighbour."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.micropython import NEWEST, OLDEST, micropython_command
from tests.support.peers import ROOT
from tests.support.smp_served import Served, served, signed, signed_build

EXAMPLE = ROOT / "examples" / "esp32-updates-neighbour"
BOARD = ROOT / "tests" / "support" / "board"
RESET_PIN, RECOVERY_PIN = 4, 5


@dataclass
class Web:
    """A web server for ranges of one image; counts what it was asked."""

    image: bytes
    sha256: str = ""
    requests: list[str] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream, suppress(OSError):
            while request := stream.readline():
                head = b"".join(iter(stream.readline, b"\r\n")).decode()
                path = request.split()[1].decode()
                self.requests.append(path)
                body = self.manifest() if path.endswith(".json") else self.image
                wanted = re.search(r"bytes=(\d+)-(\d+)", head)
                status = b"200 OK"
                if wanted is not None:
                    body, status = body[int(wanted[1]) : int(wanted[2]) + 1], b"206 Partial Content"
                stream.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
                stream.flush()

    def manifest(self) -> bytes:
        digest = self.sha256 or hashlib.sha256(self.image).hexdigest()
        return json.dumps({"image": "/app.bin", "size": len(self.image), "sha256": digest}).encode()


def work_the_pins(ports: Served, descriptor: int) -> None:
    """What the wires to the neighbour do."""
    line = b""
    with suppress(BlockingIOError):
        line = os.read(descriptor, 4096)
    for pin, level in re.findall(rb"(\d+)=(\d)", line):
        if int(pin) == RECOVERY_PIN:
            ports.board.recovery_pin = level == b"1"
        elif int(pin) == RESET_PIN and level == b"0":
            ports.board.power_off()
        elif int(pin) == RESET_PIN and ports.board.doing == "off":
            ports.board.power_on()


class MicroPythonBoard:
    """main.py of the example under MicroPython, its UART a pty, its pins a pipe, its network a socket pair."""

    def __init__(self, folder: Path, version: str = NEWEST) -> None:
        self.folder = folder
        self.version = version

    @contextmanager
    def start(self, ports: Served, web: Web) -> Iterator[subprocess.Popen[str]]:
        inside, outside = socket.socketpair()
        threading.Thread(target=web.serve, args=(outside,), daemon=True).start()
        pins_read, pins_write = os.pipe()
        ports.station.watch(pins_read, lambda: work_the_pins(ports, pins_read))
        journal = self.folder / "journal"
        journal.touch()
        settings = self.folder / "settings"
        settings.mkdir(exist_ok=True)
        (settings / "config.py").write_text(
            (EXAMPLE / "config.py").read_text() + "\nfrom host_journal import HostJournal\nJOURNAL = HostJournal()\n"
        )
        (settings / "host_journal.py").write_text(HOST_JOURNAL % str(journal))
        command = micropython_command(
            EXAMPLE / "main.py",
            f"uart={ports.pty}",
            f"pins={pins_write}",
            f"http={inside.fileno()}",
            version=self.version,
            folders={"/": BOARD, "/example": EXAMPLE, "/settings": settings},
        )
        descriptors = (inside.fileno(), pins_write)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=descriptors
        ) as process:
            os.close(pins_write)
            inside.close()
            yield process


HOST_JOURNAL = """
import _hostio
from uctypes import addressof

PATH = %r


class HostJournal:
    def load(self):
        buffer = bytearray(32)
        return bytes(buffer[: max(_hostio.read(_hostio.open(PATH), addressof(buffer), 32), 0)])

    def save(self, sha256):
        data = sha256 or bytes(32)
        _hostio.write(_hostio.open(PATH), addressof(data), len(data))

    def clear(self):
        self.save(b"")
"""


class TwinOnAPc:
    """on_a_pc.py, its network real, its pins a fifo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def start(self, ports: Served, web: Web) -> Iterator[subprocess.Popen[str]]:
        server = socket.create_server(("127.0.0.1", 0))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    web.serve(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        pins = self.folder / "pins"
        if not pins.exists():
            os.mkfifo(pins)
        reading = os.open(pins, os.O_RDWR | os.O_NONBLOCK)
        ports.station.watch(reading, lambda: work_the_pins(ports, reading))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/neighbour.json"
        command = [sys.executable, "-u", str(EXAMPLE / "on_a_pc.py"), ports.pty, url]
        command += ["--pins", str(pins), "--journal", str(self.folder / "journal")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            yield process
        server.close()


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=60)
    return said


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read until the process says this."""
    assert process.stdout is not None
    said = ""
    end = time.monotonic() + 30
    while text not in said:
        assert time.monotonic() < end, said
        if select.select([process.stdout], [], [], 1)[0]:
            line = process.stdout.readline()
            assert line, said
            said += line
    return said


MAKERS: list[Callable[[Path], MicroPythonBoard | TwinOnAPc]] = [
    MicroPythonBoard,
    lambda folder: MicroPythonBoard(folder, OLDEST),
    TwinOnAPc,
]
NAMES = ["micropython", "oldest-micropython", "pc"]


def slowed(ports: Served, seconds: float) -> None:
    """Make the neighbour's flash take its time, so that there is a middle to interrupt."""
    ports.board._on_flash = lambda op: time.sleep(seconds)


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
@pytest.mark.parametrize("profile", ["zephyr", "espressif"])
def test_the_neighbour_is_updated(
    tmp_path: Path, make: Callable[[Path], MicroPythonBoard | TwinOnAPc], profile: str
) -> None:
    web = Web(signed("2.0.0"))
    with served(signed_build(profile=profile), primary=signed("1.0.0")) as ports:
        with make(tmp_path).start(ports, web) as process:
            said = finish(process)
        assert process.returncode == 0, said
        assert "done: the neighbour runs 2.0.0" in said
        time.sleep(0.5)
        assert ports.board.outcome is not None
        assert getattr(ports.board.outcome, "version", "") == "2.0.0+0"


@pytest.mark.parametrize("make", [MicroPythonBoard, TwinOnAPc], ids=["micropython", "pc"])
def test_a_power_cut_of_the_board_is_survived_and_the_upload_goes_on(
    tmp_path: Path, make: Callable[[Path], MicroPythonBoard | TwinOnAPc]
) -> None:
    web = Web(signed("2.0.0"))
    with served(primary=signed("1.0.0")) as ports:
        slowed(ports, 0.01)
        board = make(tmp_path)
        with board.start(ports, web) as process:
            wait_for(process, "40 %")
            process.kill()
        ports.board._on_flash = None
        with board.start(ports, web) as process:
            said = finish(process)
        assert "went on at offset" in said
        assert "done: the neighbour runs 2.0.0" in said


def test_a_power_cut_of_the_neighbour_is_survived(tmp_path: Path) -> None:
    web = Web(signed("2.0.0"))
    with served(primary=signed("1.0.0")) as ports:
        slowed(ports, 0.01)
        with MicroPythonBoard(tmp_path).start(ports, web) as process:
            wait_for(process, "40 %")
            ports.board.power_off()
            time.sleep(0.3)
            ports.board.power_on()
            said = finish(process)
        assert "done: the neighbour runs 2.0.0" in said


@pytest.mark.parametrize(
    ("image", "sha256", "why"),
    [
        (b"\x00" * 4000, "", "no MCUboot image: magic 00000000"),
        (signed("2.0.0"), "00" * 32, "SHA-256 is not the announced one"),
        (signed("2.0.0")[:9000], "", "the header announces"),
        (signed("2.0.0")[:5000] + b"\x55" + signed("2.0.0")[5001:], "", "the image's own hash does not hold"),
    ],
)
def test_a_bad_image_is_refused_before_the_neighbour_is_touched(
    tmp_path: Path, image: bytes, sha256: str, why: str
) -> None:
    with served(primary=signed("1.0.0")) as ports:
        boots = ports.board.state.boots
        with MicroPythonBoard(tmp_path).start(ports, Web(image, sha256)) as process:
            said = finish(process)
        assert process.returncode != 0
        assert why in said
        assert ports.board.state.boots == boots
        assert ports.board.doing == "application"
