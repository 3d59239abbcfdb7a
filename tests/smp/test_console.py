from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.smp import console, fast, small

#: (message, its lines), from running mcumgr, smpclient and MCUboot's serial recovery
GOLDEN = [
    ("0800000100000006a0", b"\x06\x09AAsIAAABAAAABqBzEw==\n"),
    ("0000000100000006a0", b"\x06\x09AAsAAAABAAAABqBa7A==\n"),
    ("0800000100010100a0", b"\x06\x09AAsIAAABAAEBAKCYMQ==\n"),
    ("0a00000600000200a16164626869", b"\x06\x09ABAKAAAGAAACAKFhZGJoaW3a\n"),
    (
        "0a00001900010401a3636c656e08636f666600646461746148" + "0001020304050607",
        b"\x06\x09ACMKAAAZAAEEAaNjbGVuCGNvZmYAZGRhdGFIAAECAwQFBgfQmw==\n",
    ),
    ("0b00000b00010401bf6272630063" + "6f666608ff", b"\x06\x09ABULAAALAAEEAb9icmMAY29mZgj/C3k=\n"),
]
IMPLEMENTATIONS = [fast, small]


def read_all(reader: console.DeviceReader | console.ClientReader, data: bytes) -> list[bytes]:
    buffer = bytearray(data)
    at = 0
    messages = []
    while at < len(buffer):
        at = reader.scan(buffer, at, len(buffer))
        if reader.ready:
            messages.append(bytes(reader.frame[2 : 2 + reader.ready]))
    return messages


@pytest.mark.parametrize(("message", "lines"), GOLDEN)
def test_a_message_has_the_lines_that_the_field_writes(message: str, lines: bytes) -> None:
    assert console.encode(bytes.fromhex(message)) == lines
    assert read_all(console.DeviceReader(513, 513), lines) == [bytes.fromhex(message)]
    assert read_all(console.ClientReader(512), lines) == [bytes.fromhex(message)]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_crc_is_xmodem(implementation: ModuleType) -> None:
    assert implementation.crc16(b"123456789", 0, 9) == 0x31C3
    assert implementation.crc16(b"x123456789\x31\xc3", 1, 12) == 0


@given(st.binary(min_size=1, max_size=1200))
def test_both_implementations_write_the_same_lines(frame: bytes) -> None:
    outs = [bytearray(2000) for _ in IMPLEMENTATIONS]
    sizes = [one.encode_lines(frame, len(frame), out) for one, out in zip(IMPLEMENTATIONS, outs, strict=True)]
    assert sizes[0] == sizes[1]
    assert outs[0] == outs[1]
    assert fast.crc16(frame, 0, len(frame)) == small.crc16(frame, 0, len(frame))


@given(st.binary(max_size=130) | st.text("ABCD+/=abc", max_size=24).map(str.encode), st.integers(0, 40))
def test_both_implementations_read_or_refuse_the_same(line: bytes, room: int) -> None:
    outs = [bytearray(room) for _ in IMPLEMENTATIONS]
    sizes = [
        one.decode_line(bytearray(line), 0, len(line), out, 0) for one, out in zip(IMPLEMENTATIONS, outs, strict=True)
    ]
    assert sizes[0] == sizes[1]
    if sizes[0] > 0:
        assert outs[0][: sizes[0]] == outs[1][: sizes[1]]


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(1, 40), st.integers(0, 39))
def test_both_implementations_copy_a_line_the_same(data: bytes, at: int, limit: int, fill: int) -> None:
    at, fill = min(at, len(data)), min(fill, limit)
    lines = [bytearray(limit) for _ in IMPLEMENTATIONS]
    counts = [
        one.copy_line(bytearray(data), at, len(data), line, fill)
        for one, line in zip(IMPLEMENTATIONS, lines, strict=True)
    ]
    assert counts[0] == counts[1]
    assert lines[0] == lines[1]


@given(
    st.lists(st.binary(min_size=1, max_size=900), min_size=1, max_size=4), st.lists(st.integers(1, 200), max_size=30)
)
def test_messages_survive_the_wire_however_it_cuts_them(messages: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(map(console.encode, messages))
    for reader in (console.DeviceReader(1025, 128), console.ClientReader(1024)):
        found: list[bytes] = []
        rest = wire
        for cut in [*cuts, len(wire)]:
            found += read_all(reader, rest[:cut])
            rest = rest[cut:]
        assert found == messages


def test_lines_are_127_bytes_at_most_and_the_sizes_are_foretold() -> None:
    for length in (1, 8, 88, 89, 90, 91, 181, 182, 183, 1019, 1020, 1021):
        wire = console.encode(bytes(length))
        lines = wire.splitlines(keepends=True)
        assert len(wire) == console.wire_size(length)
        assert len(lines) == console.lines_for(length)
        assert {len(line) for line in lines[:-1]} <= {127}
        assert len(lines[-1]) <= 127


def test_a_frame_of_1023_bytes_fills_eleven_lines_and_one_of_1024_needs_a_twelfth() -> None:
    assert console.lines_for(1019) == 11
    assert console.lines_for(1020) == 12


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_damaged_line_is_met_with_silence(message: bytes, data: st.DataObject) -> None:
    wire = bytearray(console.encode(message))
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] ^= 1 << data.draw(st.integers(0, 7))
    for reader in (console.DeviceReader(513, 128), console.ClientReader(512)):
        assert read_all(reader, bytes(wire)) in ([], [message])


@pytest.mark.parametrize(
    "wire",
    [
        b"junk\x06\x09AAsAAAABAAAABqBa7A==\n",
        b"\x06\x09AAsAAAABAAAABqBa7A==\r\n",
        b"\x06AAsAAAABAAAABqBa7A==\n",
        b"\x04\x14AAsAAAABAAAABqBa7A==\n"[:-3] + b"\n",
        b"\x06\x09AAsAAAABAAAABqBa7Q==\n",
        b"\x06\x09AAwAAAABAAAABqBa7A==\n",
        b"\x06\x09" + b"A" * 124 + b"AAAA\n",
    ],
)
def test_a_device_meets_every_broken_line_with_silence(wire: bytes) -> None:
    good = b"\x06\x09AAsAAAABAAAABqBa7A==\n"
    assert read_all(console.DeviceReader(513, 128), wire) == []
    assert read_all(console.DeviceReader(513, 128), wire + good) == [bytes.fromhex(GOLDEN[1][0])]


def test_a_new_first_line_abandons_a_half_sent_message() -> None:
    long, short = bytes(range(200)), b"\x00" * 9
    wire = console.encode(long)[:127] + console.encode(short) + console.encode(long)[127:]
    assert read_all(console.DeviceReader(513, 128), wire) == [short]


def test_the_device_buffer_limits_a_message_to_exactly_its_size() -> None:
    assert read_all(console.DeviceReader(1025, 128), console.encode(bytes(1021))) == [bytes(1021)]
    assert read_all(console.DeviceReader(1025, 128), console.encode(bytes(1022))) == []
    assert read_all(console.DeviceReader(513, 513), console.encode(bytes(509))) == [bytes(509)]
    assert read_all(console.DeviceReader(513, 513), console.encode(bytes(510))) == []


def test_the_native_espressif_port_takes_one_long_line_that_the_zephyr_port_drops() -> None:
    out = bytearray(600)
    outgoing = console.Outgoing(300)
    size = outgoing.close(300)
    raw = b"".join(line[2:] for line in bytes(outgoing.out[:size]).splitlines())
    out[: len(raw) + 3] = b"\x06\x09" + raw + b"\n"
    wire = bytes(out[: len(raw) + 3])
    assert read_all(console.DeviceReader(513, 513), wire) == [bytes(300)]
    assert read_all(console.DeviceReader(1025, 128), wire) == []


def test_a_client_reads_through_log_text_and_hands_it_on() -> None:
    heard: list[bytes] = []
    reader = console.ClientReader(512, heard.append, 64)
    message, lines = bytes.fromhex(GOLDEN[5][0]), GOLDEN[5][1]
    wire = b"I (12) boot: hi\r\n" + b"half a log" + lines + b"\n\r\n" + lines[:-1] + b"\r\n" + b"x" * 70 + b"\n"
    assert read_all(reader, wire) == [message, message]
    assert heard == [b"I (12) boot: hi", b"x" * 64, b"x" * 6]
