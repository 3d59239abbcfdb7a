"""Files (Zephyr, grp/fs_mgmt/src/fs_mgmt.c), kept in RAM."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bootwright.sim.smp_refusal import EINVAL, SmpRefusal, text_of
from bootwright.smp import header as h

if TYPE_CHECKING:
    from bootwright.sim.smp_server import Application

INVALID_NAME, NOT_FOUND, OFFSET_NOT_VALID, OFFSET_LARGER, HASH_NOT_FOUND = 2, 3, 11, 12, 13
CHUNK = 512
DIGESTS: dict[str, Callable[[bytes], int | bytes]] = {
    "crc32": zlib.crc32,
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


def _content(app: Application, request: Mapping[str, Any]) -> bytes:
    found = app.state.files.get(text_of(request, "name"))
    if found is None:
        raise SmpRefusal(NOT_FOUND, group=h.FS)
    return found


def _offset(request: Mapping[str, Any], default: int | None = None) -> int:
    value = request.get("off", default)
    if not isinstance(value, int) or value < 0:
        raise SmpRefusal(EINVAL)
    return value


def download(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """A piece of a file; the first one comes with the length."""
    content, at = _content(app, request), _offset(request)
    if at > len(content):
        raise SmpRefusal(OFFSET_LARGER, group=h.FS)
    answer: dict[str, object] = {"off": at, "data": content[at : at + CHUNK]}
    if at == 0:
        answer["len"] = len(content)
    return answer


def upload(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """The next piece of a file; the first one begins it anew."""
    name, at, data = text_of(request, "name"), _offset(request), request.get("data")
    if not name:
        raise SmpRefusal(INVALID_NAME, group=h.FS)
    if not isinstance(data, bytes):
        raise SmpRefusal(EINVAL)
    if at == 0:
        app.state.files[name] = b""
    held = app.state.files.get(name)
    if held is None or at != len(held):
        raise SmpRefusal(OFFSET_NOT_VALID, group=h.FS)
    app.state.files[name] = held + data
    return {"off": at + len(data)}


def status(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """How long a file is."""
    return {"len": len(_content(app, request))}


def digest(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """A checksum or hash of a file or a part of it."""
    content, kind, at = _content(app, request), request.get("type", "crc32"), _offset(request, 0)
    if kind not in DIGESTS:
        raise SmpRefusal(HASH_NOT_FOUND, group=h.FS)
    if at > len(content):
        raise SmpRefusal(OFFSET_LARGER, group=h.FS)
    part = content[at : at + request.get("len", len(content))]
    answer: dict[str, object] = {"type": kind}
    if at:
        answer["off"] = at
    return {**answer, "len": len(part), "output": DIGESTS[kind](part)}


def types(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Which checksums there are: format 0 is a number, 1 are bytes."""
    return {"types": {"crc32": {"format": 0, "size": 4}, "sha256": {"format": 1, "size": 32}}}


def close(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Close what is open."""
    return {}
