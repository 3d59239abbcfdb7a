"""OS management (Zephyr, grp/os_mgmt/src/os_mgmt.c) and group enumeration (grp/enum_mgmt)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bootwright.boot.config import Mode
from bootwright.sim.smp_refusal import EINVAL, SmpRefusal, text_of
from bootwright.smp import header as h

if TYPE_CHECKING:
    from bootwright.sim.smp_server import Application

OS_INVALID_FORMAT, QUERY_UNKNOWN = 2, 3
GROUPS = [h.OS, h.IMAGE, h.STAT, h.SETTINGS, h.FS, h.SHELL, h.ENUM, h.ZEPHYR]

#: MCUBOOT_MODE_* (Zephyr, include/zephyr/mgmt/mcumgr/grp/img_mgmt; MCUboot, boot_status.h)
MODES = {Mode.SCRATCH: 1, Mode.OVERWRITE: 2, Mode.MOVE: 3, Mode.OFFSET: 8}

TASKS = {
    "main": (0, 1, 2, 105, 256),
    "mcumgr smp": (3, 2, 2, 214, 512),
    "sysworkq": (-1, 3, 2, 88, 256),
    "idle": (15, 4, 0, 34, 80),
}


def echo(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Say it back."""
    return {"r": text_of(request, "d")}


def taskstat(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Four threads that any application has."""
    names = ("prio", "tid", "state", "stkuse", "stksiz")
    still = {"cswcnt": 0, "runtime": 0, "last_checkin": 0, "next_checkin": 0}
    return {"tasks": {name: {**dict(zip(names, row, strict=True)), **still} for name, row in TASKS.items()}}


def mpstat(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """The network buffers of the SMP transport."""
    return {
        "smp": {
            "blksiz": app.buffer_size,
            "nblks": app.buffer_count,
            "nfree": app.buffer_count - 1,
            "min": app.buffer_count - 2,
        }
    }


def datetime_now(app: Application) -> datetime:
    """The device's clock."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=app.now_us() + app.state.clock_offset_us)


def read_datetime(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """The time, as Zephyr writes it."""
    return {"datetime": datetime_now(app).strftime("%Y-%m-%dT%H:%M:%S.%f")}


def set_datetime(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Set the clock."""
    try:
        wanted = datetime.fromisoformat(text_of(request, "datetime"))
    except ValueError:
        raise SmpRefusal(EINVAL) from None
    wanted = wanted.replace(tzinfo=wanted.tzinfo or UTC)
    since_1970 = (wanted - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    app.state.clock_offset_us = since_1970 - app.now_us()
    return {}


def reset(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Ask for a reset; who serves the device performs it a moment later."""
    mode = request.get("boot_mode", 0)
    if mode not in (0, 1):
        raise SmpRefusal(EINVAL)
    app.reset_wanted = True
    app.boot_mode = mode
    return {}


def params(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """The transport's buffers."""
    return {"buf_size": app.buffer_size, "buf_count": app.buffer_count}


def info(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """What `uname` says; the format's letters are Zephyr's."""
    wanted = request.get("format", "s") or "s"
    words = {
        "s": "Zephyr",
        "n": "unnamed",
        "r": "unknown",
        "v": "4.3.0",
        "b": datetime_now(app).strftime("%a %b %d %H:%M:%S %Y"),
        "m": "arm",
        "p": "cortex-m33",
        "i": app.state.board,
        "o": "Zephyr",
    }
    if not isinstance(wanted, str) or set(wanted) - set(words) - {"a"}:
        raise SmpRefusal(OS_INVALID_FORMAT, group=h.OS)
    letters = words if "a" in wanted else [letter for letter in words if letter in wanted]
    return {"output": " ".join(words[letter] for letter in letters)}


def bootloader(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Which bootloader there is, and how it upgrades."""
    query = request.get("query")
    if query is None:
        return {"bootloader": "MCUboot"}
    if query != "mode":
        raise SmpRefusal(QUERY_UNKNOWN, group=h.OS)
    answer: dict[str, object] = {"mode": MODES[app.config.mode]}
    if app.config.downgrade_prevention:
        answer["no-downgrade"] = True
    return answer


def group_count(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """How many groups there are."""
    return {"count": len(GROUPS)}


def group_list(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Their numbers."""
    return {"groups": GROUPS}
