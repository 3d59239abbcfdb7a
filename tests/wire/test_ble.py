"""Bluetooth without a radio: a stand-in for bleak carries the writes to a virtual board and its answers back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from tests.support.smp_served import Bench, signed

from bootwright.errors import WireError
from bootwright.host.smp import Session
from bootwright.smp.datagram import StreamReader
from bootwright.smp.messages import echo, image_list, os_info
from bootwright.wire.transport import open_transport


class Radio:
    """What bleak's client would be, for one board; its ATT MTU is the smallest."""

    board = Bench(primary=signed("1.0.0")).board
    mtu_size = 23

    def __init__(self, device: str) -> None:
        self.device = device
        self.waiting = b""
        self.notify: Callable[[Any, bytearray], None] = lambda _, data: None

    async def connect(self) -> None:
        if self.device == "nobody":
            raise OSError("device not found")
        if self.device == "slow":
            raise TimeoutError

    async def start_notify(self, characteristic: str, notify: Callable[[Any, bytearray], None]) -> None:
        self.notify = notify

    async def write_gatt_char(self, characteristic: str, data: bytes, *, response: bool) -> None:
        assert len(data) <= self.mtu_size - 3
        assert not response
        self.waiting += data
        if len(self.waiting) >= 8 + int.from_bytes(self.waiting[2:4], "big"):
            answer, self.waiting = self.board.datagram(self.waiting), b""
            for at in range(0, len(answer), 20):
                self.notify(None, bytearray(answer[at : at + 20]))

    async def disconnect(self) -> None:
        self.waiting = b""


@pytest.fixture
def _bleak(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("bleak")
    module.BleakClient = Radio  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "bleak", module)


@pytest.mark.usefixtures("_bleak")
def test_messages_go_in_pieces_and_come_back_whole() -> None:
    with Session.open("ble://C0:FF:EE") as session:
        assert session.run(echo(session.link, "over the air " * 10)) == "over the air " * 10
        assert session.run(image_list(session.link))[0].version == "1.0.0"
        assert session.run(os_info(session.link)).startswith("Zephyr")


@pytest.mark.usefixtures("_bleak")
def test_a_device_that_is_not_near_is_said() -> None:
    with pytest.raises(WireError, match="the connection to ble://nobody failed: device not found"):
        open_transport("ble://nobody")
    with pytest.raises(WireError, match="the connection to ble://slow failed: TimeoutError"):
        open_transport("ble://slow")


def test_without_bleak_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bleak", None)
    with pytest.raises(WireError, match="Bluetooth needs the package bleak") as caught:
        open_transport("ble://x")
    assert "bootwright[ble]" in caught.value.hint


def test_a_message_that_is_too_long_is_dropped() -> None:
    reader = StreamReader(64)
    assert reader.scan(bytearray(b"\x08\x00\xff\xff" + bytes(80)), 0, 84) == 84
    assert reader.ready == 0
    short = bytearray(b"\x08\x00\x00\x01\x00\x00\x00\x06\xa0")
    assert reader.scan(short, 0, len(short)) == len(short)
    assert reader.ready == 9
