from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.boot import recovery
from bootwright.boot.recovery_lines import _decode_leniently, decode_base64, whole_packet
from bootwright.sim.neighbour import Build, Neighbour
from bootwright.smp import console
from bootwright.smp.header import Header, pack


@given(
    st.binary(max_size=96).map(base64.b64encode) | st.text("ABab+/=\r\n -", max_size=40).map(str.encode),
    st.sampled_from([b"", b"\n", b"\r\n"]),
    st.integers(0, 100),
)
def test_the_quick_way_decodes_as_the_exact_one_does(text: bytes, ending: bytes, room: int) -> None:
    assert decode_base64(text + ending, room) == _decode_leniently(text + ending, room)


def lines_of(size: int) -> bytes:
    body = b"\xa1\x63pad" + bytes([0x59, size >> 8, size & 0xFF]) + bytes(range(256)) * 5
    message = body[: 8 + size]
    return console.encode(pack(Header(2, 0, 0, len(message), 0, 3, 1)) + message)


DAMAGES = st.lists(
    st.tuples(st.integers(0, 1500), st.sampled_from([b"", b"\n", b"\r", b"=", b"A", b"\n\x04\x14", b"\x06\x09"])),
    max_size=2,
)


@pytest.mark.parametrize("profile", ["zephyr", "espressif"])
@given(size=st.integers(0, 1030) | st.sampled_from([84, 177, 270, 491, 492, 493, 1003, 1004, 1005]), damages=DAMAGES)
def test_a_packet_at_once_is_as_its_lines_one_by_one(profile: str, size: int, damages: list[tuple[int, bytes]]) -> None:
    sent = lines_of(size)
    for at, what in damages:
        at %= len(sent)
        sent = sent[:at] + what + sent[at + (1 if len(what) < 2 else 0) :]
    answers = []
    for read in (whole_packet, lambda *_: None):
        board = Neighbour(Build(profile=profile), now_s=lambda: 0.0)
        board.recovery_pin = True
        board.power_on()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recovery, "whole_packet", read)
            answers.append(board.feed(sent + b"\n") + board.feed(lines_of(5)))
    assert answers[0] == answers[1]
    assert answers[0]


def test_a_whole_packet_is_taken_at_once() -> None:
    sent = lines_of(500)
    packet = whole_packet(b"text\n" + sent + b"more", 5, 1025)
    assert packet is not None
    assert packet[1] == 5 + len(sent)
    assert whole_packet(sent, 0, 400) is None
    assert whole_packet(sent[:-1], 0, 1025) is None
