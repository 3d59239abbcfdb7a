"""Virtual neighbours as files: read, kept, switched wherever they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from bootwright.errors import RefusedError
from bootwright.host.files import PUBLIC, read_text, write_file
from bootwright.sim.control import ask_server
from bootwright.sim.neighbour import Neighbour, dump, load
from bootwright.sim.neighbour_control import perform

LARGEST = 64 << 20


def load_neighbour(path: Path) -> Neighbour:
    """The board of a file, without power.

    Raises:
        FormatError: it is no such file.
    """
    build, flash, pin = load(read_text(path, what="neighbour", limit=LARGEST), where=str(path))
    board = Neighbour(build, now_s=time.monotonic, flash=flash)
    board.recovery_pin = pin
    return board


def keep_neighbour(path: Path, board: Neighbour) -> None:
    """Write the board's file; one with a private key in it is for its owner alone."""
    write_file(path, dump(board).encode(), mode=0o600 if board.build.decryption else PUBLIC)


def make_neighbour(path: Path, board: Neighbour, *, replacing: bool) -> None:
    """Write a new board's file.

    Raises:
        RefusedError: there is one, and it is not to be replaced.
    """
    if path.exists() and not replacing:
        raise RefusedError(f"{path} exists", "choose another name, or --force to replace it")
    keep_neighbour(path, board)


def act_on_neighbour(path: Path, verb: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """Do it on the board that is served, or else on the file.

    Raises:
        RefusedError: it has no such switch, or only while it is served.
    """
    if (answer := ask_server(path, verb, arguments)) is not None:
        return answer
    if verb in ("power", "console"):
        raise RefusedError(f"{path} is not served: it has no power", f"`bootwright chip serve {path.stem}` powers it")
    board = load_neighbour(path)
    details = perform(board, verb, arguments)
    if verb != "state":
        keep_neighbour(path, board)
    return details
