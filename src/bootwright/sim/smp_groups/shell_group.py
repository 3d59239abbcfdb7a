"""The shell (Zephyr, grp/shell_mgmt/src/shell_mgmt.c), with a handful of commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bootwright.sim.smp_refusal import EINVAL, SmpRefusal

if TYPE_CHECKING:
    from bootwright.sim.smp_server import Application

ENOEXEC = -8


def _version(app: Application, arguments: list[str]) -> tuple[str, int]:
    return "Zephyr version 4.3.0\n", 0


def _uptime(app: Application, arguments: list[str]) -> tuple[str, int]:
    return f"Uptime: {app.now_us() // 1000} ms\n", 0


def _echo(app: Application, arguments: list[str]) -> tuple[str, int]:
    return " ".join(arguments) + "\n", 0


COMMANDS: dict[str, Callable[[Application, list[str]], tuple[str, int]]] = {
    "kernel version": _version,
    "kernel uptime": _uptime,
    "echo": _echo,
}


def execute(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Run a command line; peers send it in words or as a whole."""
    argv = request.get("argv")
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise SmpRefusal(EINVAL)
    words = " ".join(argv).split()
    for length in (2, 1):
        command = COMMANDS.get(" ".join(words[:length]))
        if command is not None:
            said, code = command(app, words[length:])
            return {"o": said, "ret": code}
    return {"o": f"{words[0] if words else ''}: command not found\n", "ret": ENOEXEC}
