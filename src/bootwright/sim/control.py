"""The bench's switches: what a person does to a virtual chip besides talking to its ports.

The same verbs act on a chip that is served, through a socket beside its file, and on a file that nobody serves.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bootwright.chips.snapshots import snapshot
from bootwright.errors import (
    BootwrightError,
    FormatError,
    NotModelledError,
    RefusedError,
    SiliconError,
    TrustError,
    WireError,
)
from bootwright.sim.port import Loop
from bootwright.sim.virtual_chip import VirtualChip

_REPLY_TIMEOUT_S = 60
_ERRORS = {kind.__name__: kind for kind in (FormatError, SiliconError, RefusedError, NotModelledError, TrustError)}


def state_of(chip: VirtualChip) -> dict[str, object]:
    """What the chip is and does, without a secret."""
    state = chip.state
    return {
        "chip": chip.chip.name,
        "revision": f"v{state.efuses.revision // 100}.{state.efuses.revision % 100}",
        "mode": chip.mode.value,
        "powered": state.powered,
        "strap": "download" if state.download else "normal",
        "app": state.app,
        "gpio": {str(pin): level for pin, level in state.gpio},
        "flash_size": chip.file.flash.size,
    }


def _power(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    chip.power(on=arguments["to"] == "on")
    return state_of(chip)


def _strap(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    chip.strap(download=arguments["to"] == "download")
    return state_of(chip)


def _gpio(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    from bootwright.sim.chip_smp import drive_pins

    levels = arguments["levels"]
    if isinstance(levels, dict):
        drive_pins(chip, {int(pin): int(level) for pin, level in levels.items()})
    return state_of(chip)


def _console(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    return {"console": chip.state.console}


def _change_flash(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    """Flash operations, as a programmer on the chip's port would ask for them."""
    operations = arguments["operations"]
    for operation in operations if isinstance(operations, list) else []:
        address = int(operation["address"])
        if "erase" in operation:
            chip.erase_flash(address, int(operation["erase"]))
        elif operation["encrypted"]:
            chip.write_flash_encrypted(address, base64.b64decode(operation["data"]))
        else:
            chip.write_flash(address, base64.b64decode(operation["data"]))
    return {}


def _renew(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    if arguments.get("unprogrammed"):
        chip.unprogram()
    else:
        chip.renew()
    return state_of(chip)


def _boot(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    from bootwright.sim.firmware import boot_and_tell, describe_bootloader  # see `bench.boot_when_asked`
    from bootwright.sim.machine import Cut, CutKind

    conf, keys, cut = arguments.get("conf"), arguments.get("keys"), arguments.get("cut")
    if conf is not None:
        listed = keys if isinstance(keys, list) else []
        describe_bootloader(chip, str(conf), tuple(bytes.fromhex(key) for key in listed))
    if not chip.state.powered:
        raise RefusedError("the chip has no power", "`bootwright chip power NAME on` first")
    where = Cut(CutKind(cut[0]), int(cut[1])) if isinstance(cut, list) else None
    return boot_and_tell(chip, cut=where)


def _state(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    return state_of(chip)


def _efuses(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    """The eFuses with all that they hide: the socket is for the file's owner, who could read the file as well."""
    return {"snapshot": snapshot(chip.efuses)}


def _program(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    block, data = arguments["block"], arguments["data"]
    if isinstance(block, int) and isinstance(data, str):
        chip.set_efuses(chip.efuses.burn_block(block, bytes.fromhex(data)).latched())
    return state_of(chip)


def _app(chip: VirtualChip, arguments: Mapping[str, object]) -> dict[str, object]:
    chip.remember(replace(chip.state, app=str(arguments["to"])))
    return state_of(chip)


VERBS: dict[str, Callable[[VirtualChip, Mapping[str, object]], dict[str, object]]] = {
    "power": _power,
    "strap": _strap,
    "gpio": _gpio,
    "console": _console,
    "state": _state,
    "efuses": _efuses,
    "program": _program,
    "boot": _boot,
    "app": _app,
    "renew": _renew,
    "change-flash": _change_flash,
}


def perform(chip: VirtualChip, verb: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """Do it and say how things are afterwards."""
    return VERBS[verb](chip, arguments)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """The same place in few letters: a socket's address holds 107, and a project may lie deep."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def socket_path(chip_path: Path) -> Path:
    """Where the server of a chip listens for commands."""
    return chip_path.with_name(f".{chip_path.name}.sock")


class ControlPort:
    """Listens beside the chip's file; every connection brings one line of JSON and gets one back."""

    def __init__(self, chip: VirtualChip, loop: Loop, changed: Callable[[], None]) -> None:
        self._chip = chip
        self._loop = loop
        self._changed = changed
        self._path = socket_path(chip.file.path)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            with short_path(self._path) as address:
                self._socket.bind(address)
        finally:
            os.umask(mask)
        self._socket.listen(5)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The listening descriptor."""
        return self._socket.fileno()

    def wants(self) -> int:
        """Connections."""
        return select.EPOLLIN

    def ready(self, events: int) -> None:
        """A command connects."""
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        self._loop.add(_ControlClient(connection, self._chip, self._loop, self._changed))

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


class _ControlClient:
    def __init__(self, connection: socket.socket, chip: VirtualChip, loop: Loop, changed: Callable[[], None]) -> None:
        self._socket = connection
        self._chip = chip
        self._loop = loop
        self._changed = changed
        self._line = b""
        connection.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def wants(self) -> int:
        return select.EPOLLIN

    def ready(self, events: int) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        self._line += data
        if b"\n" in self._line:
            self._reply(self._answer(self._line))
            self._changed()
        if not data or b"\n" in self._line:
            self._loop.drop(self)

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            return {"ok": perform(self._chip, request["verb"], request["arguments"])}
        except BootwrightError as error:
            return {"error": [type(error).__name__, error.message, error.hint]}
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return {"error": ["WireError", "a command that this version does not know", "restart the server"]}

    def _reply(self, answer: Mapping[str, object]) -> None:
        self._socket.setblocking(True)
        self._socket.settimeout(5)
        try:
            self._socket.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()


def ask_server(chip_path: Path, verb: str, arguments: Mapping[str, object]) -> dict[str, object] | None:
    """Let the chip's server do it; None when nobody serves the chip.

    Raises:
        BootwrightError: as the server answered.
        WireError: the server did not answer.
    """
    path = socket_path(chip_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_REPLY_TIMEOUT_S)
        try:
            with short_path(path) as address:
                connection.connect(address)
        except OSError:
            return None
        try:
            connection.sendall(json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
            with connection.makefile("rb") as reader:
                reply = json.loads(reader.readline())
        except (OSError, ValueError):
            raise WireError(f"the server of {chip_path} did not answer", "look at the terminal where it runs") from None
    if "error" in reply:
        kind, message, hint = reply["error"]
        raise _ERRORS.get(kind, WireError)(message, hint)
    result: dict[str, object] = reply["ok"]
    return result
