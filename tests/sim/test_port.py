"""Chips on ports, with the ports' far ends in the test."""

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootwright.chips.chip import load_chip
from bootwright.errors import RefusedError, WireError
from bootwright.sim.chip_file import create_chip_file, open_chip_file
from bootwright.sim.control import ask_server, socket_path
from bootwright.sim.factory import factory_efuses
from bootwright.sim.firmware import boot_from_flash
from bootwright.sim.server import ChipServer, PortWish
from bootwright.sim.tty_watch import TerminalWatch
from bootwright.sim.virtual_chip import Booted
from bootwright.wire import slip
from bootwright.wire.rom import ROM_SYNC_VALUE, SYNC_DATA, Opcode, Request, Response

SYNC = slip.encode(Request(Opcode.SYNC, SYNC_DATA).pack())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "dev1.chip"
    create_chip_file(made, factory_efuses(load_chip("esp32c3"), mac=bytes.fromhex("240ac4010203")), 1 << 18)
    return made


@contextmanager
def serving(path: Path, **uarts: PortWish) -> Iterator[dict[str, str]]:
    server = ChipServer(boot=boot_from_flash)
    ports = {port.uart: port.url for port in server.serve(path, uarts)}
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield ports
    finally:
        server.stop()
        thread.join(10)
        server.close()


def sync_values(descriptor: int) -> list[int]:
    os.write(descriptor, SYNC)
    decoder = slip.Decoder()
    values: list[int] = []
    while len(values) < 8 and select.select([descriptor], [], [], 5)[0]:
        values += [Response.parse(packet).value for packet in decoder.feed(os.read(descriptor, 4096))]
    return values


def test_a_client_right_behind_another_finds_a_chip_that_was_reset(path: Path) -> None:
    with serving(path, uart0=PortWish("pty")) as ports:
        for _ in range(20):
            descriptor = os.open(ports["uart0"], os.O_RDWR | os.O_NOCTTY)
            assert sync_values(descriptor) == [ROM_SYNC_VALUE] * 8
            entry = 0x40380000
            for op, words in ((Opcode.MEM_BEGIN, (4, 1, 4, entry)), (Opcode.MEM_END, (0, entry))):
                data = b"".join(word.to_bytes(4, "little") for word in words)
                os.write(descriptor, slip.encode(Request(op, data).pack()))
                os.read(descriptor, 4096)
            os.close(descriptor)


def test_an_opening_behind_a_closing_is_seen_and_one_after_the_hang_up_is_not_news(tmp_path: Path) -> None:
    file = tmp_path / "terminal"
    file.touch()
    watch = TerminalWatch(str(file))
    first = os.open(file, os.O_RDWR)
    assert not watch.was_reopened()
    os.close(first)
    os.close(os.open(file, os.O_RDWR))
    assert watch.was_reopened()
    watch.hung_up()
    os.close(os.open(file, os.O_RDWR))
    assert not watch.was_reopened()
    watch.close()


def test_tcp_serves_one_client_after_the_other(path: Path) -> None:
    with serving(path, uart0=PortWish("tcp")) as ports:
        address = ("127.0.0.1", int(ports["uart0"].rsplit(":", 1)[1]))
        for _ in range(3):
            with socket.create_connection(address, timeout=5) as client:
                client.setblocking(True)
                assert sync_values(client.fileno()) == [ROM_SYNC_VALUE] * 8


def test_an_answer_is_out_before_the_boot_that_it_announces(path: Path) -> None:
    answered = threading.Event()
    server = ChipServer(boot=lambda chip: Booted("booted" if answered.wait(20) else "nobody heard the answer"))
    url = server.serve(path, {"uart0": PortWish("tcp")})[0].url
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10) as client:
            client.sendall(slip.encode(Request(Opcode.FLASH_END, (1).to_bytes(4, "little")).pack()))
            packets = list(slip.Decoder().feed(client.recv(4096)))
            assert Response.parse(packets[0]).op == Opcode.FLASH_END
            answered.set()
            assert client.recv(4096) == b"booted"
    finally:
        answered.set()
        server.stop()
        thread.join(10)
        server.close()


def test_a_port_that_is_taken_and_a_chip_that_is_served_are_refused(path: Path) -> None:
    with serving(path, uart0=PortWish("tcp")) as ports:
        with pytest.raises(RefusedError, match="in use"):
            open_chip_file(path)
        server = ChipServer(boot=boot_from_flash)
        other = path.with_name("dev2.chip")
        create_chip_file(other, factory_efuses(load_chip("esp32"), mac=bytes(6)), 1 << 18)
        taken = int(ports["uart0"].rsplit(":", 1)[1])
        with pytest.raises(WireError, match="cannot listen"):
            server.serve(other, {"uart0": PortWish("tcp", taken)})
        server.close()
    server = ChipServer(boot=boot_from_flash)
    with pytest.raises(RefusedError, match="the ESP32 has no USB"):
        server.serve(other, {"usb": PortWish("pty")})
    server.close()


def test_commands_reach_a_running_server_and_its_socket_goes_with_it(path: Path) -> None:
    assert ask_server(path, "state", {}) is None
    with serving(path, uart0=PortWish("pty")):
        assert socket_path(path).stat().st_mode & 0o777 == 0o600
        answer = ask_server(path, "strap", {"to": "normal"})
        assert answer is not None
        assert answer["strap"] == "normal"
        with pytest.raises(WireError, match="does not know"):
            ask_server(path, "fly", {})
    assert not socket_path(path).exists()


def test_a_chip_in_a_reset_loop_prints_again_and_again(path: Path) -> None:
    with serving(path, uart0=PortWish("tcp")) as ports:
        address = ("127.0.0.1", int(ports["uart0"].rsplit(":", 1)[1]))
        ask_server(path, "strap", {"to": "normal"})
        with socket.create_connection(address, timeout=5) as client:
            ask_server(path, "power", {"to": "off"})
            ask_server(path, "power", {"to": "on"})
            heard, deadline = b"", time.monotonic() + 10
            while heard.count(b"invalid header: 0xffffffff") < 2 and time.monotonic() < deadline:
                heard += client.recv(4096)
        assert heard.count(b"invalid header: 0xffffffff") >= 2
        assert b"rst:0x1 (POWERON)" in heard
        assert b"rst:0x7 (TG0WDT_SYS_RST)" in heard
