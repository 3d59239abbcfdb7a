"""A device with Mynewt's own groups, on a pty in a thread: it knows a test, a log, a variable and a core dump."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from bootwright.smp import console, server
from bootwright.smp.cbor import Reader, encode

ENTRIES = [
    {
        "msg": b"booted",
        "ts": 12345,
        "level": 1,
        "index": 7,
        "module": 6,
        "type": b"str",
        "imghash": b"\x01\x02\x03\x04",
    },
    {
        "msg": encode({"a": 1, "b": [2]}),
        "ts": 12399,
        "level": 3,
        "index": 8,
        "module": 2,
        "type": b"cbor",
        "imghash": b"",
    },
    {"msg": b"\xff\x00", "ts": 12400, "level": 9, "index": 9, "module": 100, "type": b"bin", "imghash": b""},
]
ANSWERS: dict[tuple[int, int, int], dict[str, object]] = {
    (0, 3, 0): {"rc": 0, "val": "eleven"},
    (2, 3, 0): {"rc": 0},
    (0, 4, 0): {"rc": 0, "next_index": 10, "logs": [{"name": "reboot_log", "type": 2, "entries": ENTRIES}]},
    (2, 4, 1): {"rc": 0},
    (0, 4, 3): {"rc": 0, "module_map": {"OS": 1, "NFFS": 5}},
    (0, 4, 4): {"rc": 0, "level_map": {"INFO": 1, "DEBUG": 0}},
    (0, 4, 5): {"rc": 0, "log_list": ["stream", "reboot_log"]},
    (2, 5, 0): {"rc": 0},
    (2, 7, 0): {"rc": 0},
    (0, 7, 1): {"rc": 0, "run_list": ["two", "one"]},
    (0, 1, 3): {"rc": 5},
    (2, 1, 4): {"rc": 0},
}


@contextmanager
def mynewt_device() -> Iterator[tuple[str, list[tuple[tuple[int, int, int], dict[str, object]]]]]:
    """The port, and what was asked, as ((op, group, command), body)."""
    master, slave = os.openpty()
    tty.setraw(slave)
    asked: list[tuple[tuple[int, int, int], dict[str, object]]] = []
    thread = threading.Thread(target=_serve, args=(master, asked))
    thread.start()
    try:
        yield os.ttyname(slave), asked
    finally:
        os.write(slave, b"stop\n")
        thread.join(10)
        os.close(master)
        os.close(slave)


def _serve(master: int, asked: list[tuple[tuple[int, int, int], dict[str, object]]]) -> None:
    reader = console.DeviceReader(1025, 128)
    data = b""
    while b"stop\n" not in data:
        data = os.read(master, 4096)
        for header, body in server.requests(reader, data):
            what = header.op, header.group, header.command
            asked.append((what, {str(key): value for key, value in Reader(body).pairs()}))
            os.write(master, server.answer_lines(header, ANSWERS.get(what, {"rc": 8})))
