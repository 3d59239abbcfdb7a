"""The switches of a virtual neighbour: its supply, its recovery pin, its application, its console.

The same verbs as a chip's (`bootwright.sim.control`), over a socket beside its file; it has no straps and no eFuses.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bootwright.errors import BootwrightError, RefusedError
from bootwright.sim.control import ask_server, short_path, socket_path
from bootwright.sim.neighbour import Doing, Neighbour
from bootwright.sim.smp_port import Station

LINE_TIMEOUT_S = 2


def state_of(board: Neighbour) -> dict[str, object]:
    """What the board is and does."""
    return {
        "board": "zephyr-neighbour",
        "doing": board.doing.value,
        "pin": "held" if board.recovery_pin else "free",
        "app": "smp" if board.build.server else "none",
        "profile": board.build.profile,
        "mode": board.build.mode.value,
        "flash_size": board.build.flash_size,
    }


def _power(board: Neighbour, arguments: Mapping[str, object]) -> dict[str, object]:
    if arguments["to"] == "on":
        board.power_on()
    else:
        board.power_off()
    return state_of(board)


def _gpio(board: Neighbour, arguments: Mapping[str, object]) -> dict[str, object]:
    """The board has one pin, whatever its number; bringing it to 1 restarts the board into recovery."""
    levels = arguments["levels"]
    held = bool(list(levels.values())[-1]) if isinstance(levels, dict) and levels else board.recovery_pin
    pressed, board.recovery_pin = held and not board.recovery_pin, held
    if pressed and board.doing is not Doing.OFF:
        board.reset()
    return state_of(board)


def _app(board: Neighbour, arguments: Mapping[str, object]) -> dict[str, object]:
    board.build = replace(board.build, server=arguments["to"] == "smp")
    return state_of(board)


def _state(board: Neighbour, arguments: Mapping[str, object]) -> dict[str, object]:
    return state_of(board)


def _console(board: Neighbour, arguments: Mapping[str, object]) -> dict[str, object]:
    return {"console": board.console}


VERBS: dict[str, Callable[[Neighbour, Mapping[str, object]], dict[str, object]]] = {
    "power": _power,
    "gpio": _gpio,
    "app": _app,
    "state": _state,
    "console": _console,
}


def perform(board: Neighbour, verb: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """Do it and say how things are afterwards.

    Raises:
        RefusedError: a neighbour has no such switch.
    """
    if verb not in VERBS:
        raise RefusedError(f"a zephyr-neighbour has no {verb}", f"it has {', '.join(VERBS)}")
    return VERBS[verb](board, arguments)


def offer_switches(station: Station, board: Neighbour, path: Path) -> Callable[[], None]:
    """Listen beside the board's file while it is served; returns what ends that.

    Raises:
        RefusedError: another process serves the board.
    """
    if ask_server(path, "state", {}) is not None:
        raise RefusedError(f"{path} is served by another process", "stop that one first, or make another board")
    place = socket_path(path)
    place.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with short_path(place) as address:
            listener.bind(address)
    finally:
        os.umask(mask)
    listener.listen(5)
    station.watch(listener.fileno(), lambda: _serve_one(listener, board))

    def close() -> None:
        listener.close()
        place.unlink(missing_ok=True)

    return close


def _serve_one(listener: socket.socket, board: Neighbour) -> None:
    """One line of JSON, and one back."""
    with suppress(OSError):
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            connection.settimeout(LINE_TIMEOUT_S)
            stream.write(json.dumps(_answer(board, stream.readline())).encode() + b"\n")


def _answer(board: Neighbour, line: bytes) -> dict[str, object]:
    try:
        request = json.loads(line)
        return {"ok": perform(board, request["verb"], request["arguments"])}
    except BootwrightError as error:
        return {"error": [type(error).__name__, error.message, error.hint]}
    except (ValueError, KeyError, TypeError):
        return {"error": ["WireError", "a command that this version does not know", "restart the server"]}
