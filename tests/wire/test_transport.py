from __future__ import annotations

import os
import socket
import threading
import tty
from collections.abc import Iterator
from contextlib import closing

import pytest
import serial

from bootwright.errors import WireError
from bootwright.wire import transport
from bootwright.wire.transport import open_transport


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    os.close(slave)
    os.close(master)


def test_a_serial_port_carries_bytes_both_ways(pty: tuple[int, str]) -> None:
    master, path = pty
    with closing(open_transport(path, baud=921_600)) as port:
        port.send(b"there")
        assert os.read(master, 100) == b"there"
        assert port.receive(0.01) == b""
        os.write(master, b"and back")
        assert port.receive(1, 3) == b"and"
        assert port.receive(1) == b" back"


def test_more_than_a_buffer_is_sent_as_the_other_side_takes_it(pty: tuple[int, str]) -> None:
    master, path = pty
    found = bytearray()

    def take() -> None:
        while len(found) < 100_000:
            found.extend(os.read(master, 3000))

    thread = threading.Thread(target=take)
    with closing(open_transport(path)) as port:
        thread.start()
        port.send(memoryview(bytes(range(250)) * 400))
        thread.join(10)
    assert bytes(found) == bytes(range(250)) * 400


def test_a_side_that_takes_nothing_is_given_up_on(pty: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "WRITE_TIMEOUT_S", 0.05)
    with closing(open_transport(pty[1])) as port, pytest.raises(WireError, match="has taken no byte for 0 s"):
        port.send(bytes(1 << 20))


def test_a_port_that_goes_away_says_so() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    with closing(open_transport(os.ttyname(slave))) as port:
        os.close(slave)
        os.close(master)
        with pytest.raises(WireError, match=r"the connection to /dev/pts/.* broke"):
            port.receive(1)
        with pytest.raises(WireError, match="broke"):
            port.send(b"x")


def test_a_port_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(WireError, match="there is no port /dev/ttyNOPE") as caught:
        open_transport("/dev/ttyNOPE")
    assert caught.value.exit_code == 6
    assert "port" in caught.value.hint


def test_a_port_in_use_says_who_might_have_it(pty: tuple[int, str]) -> None:
    with closing(open_transport(pty[1])), pytest.raises(WireError, match="in use by another program") as caught:
        open_transport(pty[1])
    assert "lsof" in caught.value.hint


def test_a_port_without_permission_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(13, "could not open port: Permission denied")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(WireError, match="no permission for /dev/x") as caught:
        open_transport("/dev/x")
    assert "dialout" in caught.value.hint


@pytest.mark.parametrize(("baud", "why"), [(-5, "cannot be opened"), (10**12, "cannot be opened")])
def test_a_baud_rate_that_is_none_is_refused(pty: tuple[int, str], baud: int, why: str) -> None:
    with pytest.raises(WireError, match=why):
        open_transport(pty[1], baud=baud)


def test_a_file_is_no_port(tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(WireError, match="cannot be opened"):
        open_transport(str(tmp_path))
    with pytest.raises(WireError, match="/dev/null is no serial port"):
        open_transport("/dev/null")


def test_tcp_carries_bytes_and_its_end_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for scheme in ("socket", "tcp"):
            port = open_transport(f"{scheme}://127.0.0.1:{server.getsockname()[1]}")
            client, _ = server.accept()
            with closing(port):
                port.send(b"x")
                assert client.recv(10) == b"x"
                client.sendall(b"yz")
                assert port.receive(1) == b"yz"
                assert port.receive(0.01) == b""
                client.close()
                with pytest.raises(WireError, match="it was closed"):
                    port.receive(1)


def test_udp_carries_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind(("127.0.0.1", 0))
        with closing(open_transport(f"udp://127.0.0.1:{device.getsockname()[1]}")) as port:
            port.send(b"ask")
            data, client = device.recvfrom(100)
            device.sendto(data + b"ed", client)
            assert port.receive(1) == b"asked"
            device.sendto(b"", client)
            assert port.receive(1) == b""


def test_nobody_at_a_udp_port_is_said() -> None:
    with closing(open_transport("udp://127.0.0.1:9")) as port:
        port.send(b"x")
        with pytest.raises(WireError, match="broke"):
            port.receive(1)


@pytest.mark.parametrize("address", ["socket://127.0.0.1:1", "rfc2217://127.0.0.1:1"])
def test_a_server_that_is_not_there_is_said(address: str) -> None:
    with pytest.raises(WireError, match=r"cannot be (reached|opened)"):
        open_transport(address)


@pytest.mark.parametrize("address", ["socket://host", "udp://", "tcp://host:port", "udp://no.such.host.invalid"])
def test_an_address_that_leads_nowhere_is_said(address: str) -> None:
    with pytest.raises(WireError):
        open_transport(address)


def test_an_rfc2217_port_goes_through_pyserial(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = serial.serial_for_url("loop://", timeout=0)
    monkeypatch.setattr(serial, "serial_for_url", lambda *_, **__: loop)
    with closing(open_transport("rfc2217://somewhere:2217")) as port:
        assert port.receive(0.01) == b""
        port.send(memoryview(b"round"))
        assert port.receive(1) == b"round"
        loop.close()
        with pytest.raises(WireError, match="broke"):
            port.send(b"x")
        with pytest.raises(WireError, match="broke"):
            port.receive(0.1)
