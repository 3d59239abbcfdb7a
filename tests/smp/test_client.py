from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import pytest
from tests.support.smp_line import VirtualClock

from bootwright.smp import cbor, header, messages, server
from bootwright.smp.client import Link, console_link, datagram_link, read
from bootwright.smp.codes import explain
from bootwright.smp.errors import NonsenseError, RefusedByDeviceError, SilenceError
from bootwright.smp.negotiate import negotiate

T = TypeVar("T")
Reply = Callable[[header.Header, bytes], bytes]


def ask(program: Generator[memoryview | int, int | None, T], link: Link, reply: Reply) -> T:
    """Run a program whose every message is answered by `reply`, over datagrams."""
    waiting: list[bytes] = []
    count: int | None = None
    try:
        while True:
            want = program.send(count)
            if isinstance(want, int):
                data = waiting.pop(0) if waiting else b""
                count = len(data)
                link.inbox[:count] = data
                if not data:
                    assert isinstance(link.clock, VirtualClock)
                    link.clock.ms += want
            else:
                message = bytes(want)
                if answer := reply(header.parse(message), message[8:]):
                    waiting.append(answer)
                count = None
    except StopIteration as end:
        result: T = end.value
        return result


def says(value: object) -> Reply:
    return lambda head, body: server.answer(head, cbor.encode(value))


def link() -> Link:
    return datagram_link(VirtualClock())


def test_a_reply_comes_without_its_return_code() -> None:
    assert ask(read(one := link(), 0, 6), one, says({"rc": 0, "a": 1})) == {"a": 1}


@pytest.mark.parametrize(
    ("value", "group", "rc", "why"),
    [
        ({"rc": 8}, -1, 8, "rc 8, not supported"),
        ({"rc": 300}, -1, 300, "user-defined error"),
        ({"err": {"group": 1, "rc": 8}}, 1, 8, "no image with this hash"),
        ({"err": {"group": 77, "rc": 2}}, 77, 2, "unlisted error"),
        ({"err": {}}, -1, 1, "unknown error"),
    ],
)
def test_a_refusal_is_explained(value: object, group: int, rc: int, why: str) -> None:
    with pytest.raises(RefusedByDeviceError, match=why) as caught:
        ask(read(one := link(), 0, 6), one, says(value))
    assert (caught.value.group, caught.value.rc) == (group, rc)


def test_what_the_firmware_lacks_is_said_in_the_hint() -> None:
    with pytest.raises(RefusedByDeviceError) as caught:
        ask(read(one := link(), 0, 6), one, says({"rc": 8}))
    assert caught.value.hint == "the device's firmware was built without this command"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (says([1]), "is no map"),
        (says({"rc": "x"}), "a code that is no number"),
        (lambda head, body: server.answer(head, b"\xff"), "is no CBOR"),
        (lambda head, body: server.answer(head, b"\xa0") + b"more", "announces 1 bytes, and 5 came"),
    ],
)
def test_nonsense_is_called_nonsense(reply: Reply, why: str) -> None:
    with pytest.raises(NonsenseError, match=why):
        ask(read(one := link(), 0, 6), one, reply)


def test_replies_to_other_requests_are_passed_over() -> None:
    def stale(head: header.Header, body: bytes) -> bytes:
        return server.answer(head._replace(sequence=head.sequence ^ 1), b"\xa0")

    with pytest.raises(SilenceError, match="asked 2 times"):
        ask(read(one := link(), 0, 6, timeout_ms=50, tries=2), one, stale)


def test_a_repeated_request_keeps_its_sequence_number() -> None:
    seen: list[int] = []

    def deaf_at_first(head: header.Header, body: bytes) -> bytes:
        seen.append(head.sequence)
        return server.answer(head, b"\xa0") if len(seen) == 3 else b""

    ask(read(one := link(), 0, 6), one, deaf_at_first)
    assert len(set(seen)) == 1


def test_sequence_numbers_wrap() -> None:
    one = datagram_link(VirtualClock(), sequence=254)
    seen: list[int] = []

    def note(head: header.Header, body: bytes) -> bytes:
        seen.append(head.sequence)
        return server.answer(head, b"\xa0")

    for _ in range(3):
        ask(read(one, 0, 6), one, note)
    assert seen == [255, 0, 1]


def test_a_request_that_does_not_fit_is_not_sent() -> None:
    one = console_link(VirtualClock(), 64)
    with pytest.raises(NonsenseError, match="does not fit the buffer of 64"):
        next(read(one, 0, 0, {"d": "x" * 100}))


def test_a_datagram_that_is_too_long_is_dropped() -> None:
    one = link()
    assert one.reader.scan(bytearray(3000), 0, 3000) == 3000
    assert one.reader.ready == 0


def test_over_udp_a_device_that_does_not_tell_is_given_small_messages() -> None:
    one = link()
    assert ask(negotiate(one), one, says({"rc": 8})) is False
    assert one.largest == 512


@pytest.mark.parametrize("value", [{}, {"buf_size": "x", "buf_count": []}, {"buf_size": 4, "buf_count": 2}])
def test_parameters_that_are_none_change_nothing(value: object) -> None:
    one = link()
    assert ask(negotiate(one), one, says(value)) is True
    assert (one.largest, one.credit_cap) == (512, 0)


@pytest.mark.parametrize(
    ("program", "value"),
    [
        (lambda one: messages.echo(one, "x"), {"d": "x"}),
        (messages.params, {"buf_size": "big"}),
        (messages.image_list, {"images": [3]}),
        (messages.image_list, {"images": [{"slot": "0"}]}),
        (messages.image_list, {}),
        (messages.slot_info, {"images": [{"image": 0}]}),
        (messages.stat_list, {"stat_list": 1}),
        (lambda one: messages.download_file(one, "f"), {"off": 0, "data": b"", "len": 4}),
        (lambda one: messages.upload_file(one, "f", b"abc"), {"off": 0}),
    ],
)
def test_an_answer_without_what_was_asked_for_is_nonsense(program: Callable[[Link], Any], value: object) -> None:
    one = link()
    with pytest.raises(NonsenseError):
        ask(program(one), one, says(value))


def test_codes_beyond_the_tables_have_words() -> None:
    assert explain(-1, 99) == "unlisted error"
    assert explain(1, 256) == "user-defined error"
    assert explain(-1, 3) == "invalid value"
