"""Our client on a server of other people's making: every message goes through the `smp` package's own models.

`smp` (JP Hutchins) decodes frames, headers and requests strictly, unknown keys refused, and encodes the answers.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.peers import Ran, run_bootwright
from tests.support.smp_served import signed

from bootwright.host.smp import Session
from bootwright.smp import messages
from bootwright.smp.upload import Upload

pytest.importorskip("smp")

SERVER = """
import os, sys, tty, hashlib
from smp import header as h, packet
from smp import image_management as im, os_management as om, settings_management as sm, statistics_management as st
from smp import shell_management as sh, file_management as fm

master, slave = os.openpty()
tty.setraw(slave)
print(os.ttyname(slave), flush=True)
image, size, files = bytearray(), 0, {}

def answer(header, frame):
    global image, size
    key = (header.group_id, header.command_id, header.op)
    def reply(cls, **fields):
        return bytes(cls(sequence=header.sequence, version=header.version, **fields))
    if key == (0, 0, 2):
        return reply(om.EchoWriteResponse, r=om.EchoWriteRequest.loads(frame).d)
    if key == (0, 6, 0):
        om.MCUMgrParametersReadRequest.loads(frame)
        return reply(om.MCUMgrParametersReadResponse, buf_size=1024, buf_count=4)
    if key == (0, 5, 2):
        om.ResetWriteRequest.loads(frame)
        return reply(om.ResetWriteResponse)
    if key == (0, 4, 0):
        om.DateTimeReadRequest.loads(frame)
        return reply(om.DateTimeReadResponse, datetime="2026-01-01T00:00:00")
    if key == (1, 0, 0):
        im.ImageStatesReadRequest.loads(frame)
        states = [im.ImageState(slot=0, version="1.0.0", hash=bytes(32), active=True, confirmed=True)]
        if size and len(image) == size:
            states.append(im.ImageState(slot=1, version="2.0.0", hash=hashlib.sha256(image).digest()))
        return reply(im.ImageStatesReadResponse, images=states, splitStatus=0)
    if key == (1, 1, 2):
        asked = im.ImageUploadWriteRequest.loads(frame)
        if asked.off == 0:
            assert asked.len is not None and len(asked.sha) == 32
            image, size = bytearray(), asked.len
        if asked.off == len(image):
            image += asked.data
        return reply(im.ImageUploadWriteResponse, off=len(image))
    if key == (1, 5, 2):
        im.ImageEraseRequest.loads(frame)
        return reply(im.ImageEraseResponse)
    if key == (2, 1, 0):
        st.ListOfGroupsRequest.loads(frame)
        return reply(st.ListOfGroupsResponse, stat_list=["a"])
    if key == (9, 0, 2):
        asked = sh.ExecuteRequest.loads(frame)
        return reply(sh.ExecuteResponse, o=" ".join(asked.argv), ret=0)
    print("unsupported", key, file=sys.stderr)
    return None

def refuse(frame):
    body = b"\\xa1brc\\x08"
    return bytes([frame[0] + 1, 0, 0, len(body)]) + frame[4:8] + body

rest = b""
decoder = packet.decode()
next(decoder)
while True:
    rest += os.read(master, 4096)
    while b"\\n" in rest:
        line, _, rest = rest.partition(b"\\n")
        if not line:
            continue
        try:
            decoder.send(line + b"\\n")
            continue
        except StopIteration as whole:
            frame = whole.value
        decoder = packet.decode()
        next(decoder)
        try:
            header = h.Header.loads(frame[:8])
        except ValueError as error:  # a command that the package does not know
            print(error, file=sys.stderr)
            said = None
        else:
            said = answer(header, frame)
        for piece in packet.encode(said or refuse(frame)):
            os.write(master, piece)
"""


@pytest.fixture
def port() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.kill()


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_our_requests_are_what_the_models_take_and_their_answers_what_we_read(port: str) -> None:
    with Session.open(port) as session:
        assert session.contact() is False
        assert session.negotiate()
        assert session.link.largest == 1020
        assert session.run(messages.echo(session.link, "grüß dich")) == "grüß dich"
        assert session.run(messages.datetime(session.link)).startswith("2026")
        assert session.run(messages.image_list(session.link))[0].active
        assert session.run(messages.stat_list(session.link)) == ["a"]
        assert session.run(messages.shell(session.link, ["a", "b"])) == ("a b", 0)
        session.run(messages.erase(session.link, 1))
        session.run(messages.reset(session.link))


def test_our_upload_is_what_the_models_take(port: str) -> None:
    data = signed("2.0.0")

    def read_into(offset: int, view: memoryview) -> None:
        view[:] = data[offset : offset + len(view)]

    with Session.open(port) as session:
        session.negotiate()
        session.run(Upload(session.link, read_into, len(data), sha=hashlib.sha256(data).digest()).run())
        assert session.run(messages.image_list(session.link))[1].hash == hashlib.sha256(data).digest()


def test_our_commands_work_there(port: str, tmp_path: Path) -> None:
    def call(*words: str) -> Ran:
        return run_bootwright("smp", *words, "-p", port)

    assert "hello" in call("echo", "hello").out
    assert json.loads(call("image", "list", "--json").out)["images"][0]["version"] == "1.0.0"
    (tmp_path / "two.bin").write_bytes(signed("2.0.0"))
    sent = json.loads(call("image", "upload", str(tmp_path / "two.bin"), "--json").out)
    assert sent["upload"]["size"] == len(signed("2.0.0"))
    assert os.path.exists(port)
