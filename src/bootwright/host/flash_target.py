"""Chips that can be flashed: a virtual one, served or not, and a real one through the installed esptool.

Both are asked the same things. A real chip is never spoken to by us: esptool and espefuse are started as processes.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bootwright.chips.chip import load_chip
from bootwright.chips.snapshots import read_state
from bootwright.errors import NotModelledError, RefusedError, WireError
from bootwright.flash import Erase, FlashOp, NorFlash, drive
from bootwright.host.flashing import FlashPlan, Form, PlannedWrite, Target, flash_program
from bootwright.sim.bench import act_on_chip
from bootwright.sim.chip_file import chip_path, peek_chip_file
from bootwright.sim.encrypted_flash import EncryptedFlash, cipher_of

Progress = Callable[[int, int], None]  #: (bytes done, bytes in all)


class Flashable(Protocol):
    """What `bootwright flash` needs of a chip."""

    def inspect(self) -> Target:
        """What is known of it."""
        ...

    def apply(self, plan: FlashPlan, progress: Progress) -> None:
        """Write the plan."""
        ...

    def read(self, address: int, length: int, *, decrypted: bool) -> bytes:
        """Read the flash, raw or as the CPU would."""
        ...

    def erase(self, address: int, length: int) -> None:
        """Erase whole sectors."""
        ...


def flashable(name: str, *, baud: int = 460800) -> Flashable:
    """The chip of that name where there is a `.chip` file, or else the one on that serial port."""
    path = chip_path(name)
    if path.exists():
        return VirtualChipTarget(path)
    if re.match(r"(/|COM\d|[a-z0-9]+://)", name):
        return PortTarget(name, baud)
    raise RefusedError(
        f"there is neither a chip {path} nor a serial port {name!r}",
        "`bootwright chip new MODEL --flash SIZE NAME` makes a chip; a port is /dev/tty…, COM… or a URL",
    )


@dataclass(frozen=True, slots=True)
class VirtualChipTarget:
    """A `.chip` file."""

    path: Path

    def inspect(self) -> Target:
        """Everything: the virtual chip's keys are known to it."""
        state, flash = peek_chip_file(self.path)
        efuses = state.efuses
        try:
            cipher = cipher_of(efuses)
        except NotModelledError:
            cipher = None
        return Target(name=self.path.stem, chip=efuses.chip, efuses=efuses, flash_size=len(flash), cipher=cipher)

    def apply(self, plan: FlashPlan, progress: Progress) -> None:
        """Perform the plan's operations, in one go through the chip's server when it is served."""
        operations: list[dict[str, object]] = []

        def collect(op: FlashOp) -> None:
            operations.append(_operation(op))

        drive(flash_program(plan), collect)
        total = sum(len(write.data) for write in plan.writes)
        act_on_chip(self.path, "change-flash", {"operations": operations})
        progress(total, total)

    def read(self, address: int, length: int, *, decrypted: bool) -> bytes:
        """From the file, whoever serves it."""
        state, flash = peek_chip_file(self.path)
        raw = NorFlash.holding(flash)
        if not decrypted:
            return raw.read(address, length)
        return EncryptedFlash(raw, cipher_of(state.efuses), decrypting=True).read(address, length)

    def erase(self, address: int, length: int) -> None:
        """Through the server, or in the file."""
        act_on_chip(self.path, "change-flash", {"operations": [_operation(Erase(address, length))]})


def _operation(op: FlashOp) -> dict[str, object]:
    if isinstance(op, Erase):
        return {"address": op.address, "erase": op.length}
    return {"address": op.address, "data": base64.b64encode(op.data).decode(), "encrypted": op.encrypted}


@dataclass(frozen=True, slots=True)
class PortTarget:
    """A chip on a serial port, reached through esptool and espefuse."""

    port: str
    baud: int

    def inspect(self) -> Target:
        """Model, flash size and eFuses as a reader sees them; keys stay unknown."""
        out = _run("esptool", ["--port", self.port, "--after", "no-reset", "flash-id"], may_fail=True)
        model = _found(r"Connected to (ESP\S+) on", out, "which chip answers", self.port)
        chip = load_chip(model)
        if "Secure Download Mode" in out:
            return Target(name=self.port, chip=chip, efuses=None, flash_size=16 << 20, closed=True)
        size = _found(r"Detected flash size: (\d+[KM]B)", out, "the flash's size", self.port)
        token = _run("espefuse", ["--port", self.port, "--chip", chip.name, "dump", "--format", "token"])
        efuses = read_state(token.encode(), where=self.port)
        unit = {"KB": 1 << 10, "MB": 1 << 20}[size[-2:]]
        return Target(name=self.port, chip=chip, efuses=efuses, flash_size=int(size[:-2]) * unit)

    def apply(self, plan: FlashPlan, progress: Progress) -> None:
        """Let esptool write; it draws its own progress, on stderr."""
        with tempfile.TemporaryDirectory() as directory:
            for command in esptool_commands(plan, self.port, self.baud, Path(directory)):
                _run("esptool", command, shown=True)

    def read(self, address: int, length: int, *, decrypted: bool) -> bytes:
        """Raw content; esptool cannot decrypt."""
        if decrypted:
            raise RefusedError(
                "a chip on a port gives its flash only as it lies there", "read it raw, and decrypt with its key"
            )
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "flash.bin"
            words = ["read-flash", "--no-progress", f"{address:#x}", f"{length:#x}", str(file)]
            _run("esptool", ["--port", self.port, "--baud", str(self.baud), *words], shown=True)
            return file.read_bytes()

    def erase(self, address: int, length: int) -> None:
        """Let esptool erase; the gates were ours."""
        words = ["erase-region", "--force", f"{address:#x}", f"{length:#x}"]
        _run("esptool", ["--port", self.port, *words], shown=True)


def esptool_commands(plan: FlashPlan, port: str, baud: int, directory: Path) -> list[list[str]]:
    """The runs of esptool that write the plan: what the chip encrypts goes apart, uncompressed.

    `--force` is given because every gate of esptool has been judged already, with more knowledge.
    """
    front = ["--chip", plan.target.chip.name, "--port", port]
    if not plan.target.closed:
        front += ["--baud", str(baud)]
    commands = []
    for form in (Form.ENCRYPTED_BY_CHIP, Form.AS_IS):
        mine = [w for w in plan.writes if (w.form is Form.ENCRYPTED_BY_CHIP) is (form is Form.ENCRYPTED_BY_CHIP)]
        if mine:
            options = ["--encrypt", "--no-compress"] if form is Form.ENCRYPTED_BY_CHIP else []
            commands.append([*front, "write-flash", "--force", *options, *_files(mine, directory)])
    return commands


def _files(writes: Sequence[PlannedWrite], directory: Path) -> list[str]:
    words = []
    for write in writes:
        file = directory / f"{write.address:08x}.bin"
        file.write_bytes(write.data)
        words += [f"{write.address:#x}", str(file)]
    return words


def _run(tool: str, arguments: Sequence[str], *, may_fail: bool = False, shown: bool = False) -> str:
    beside = Path(sys.executable).parent / tool
    program = str(beside) if beside.exists() else shutil.which(tool)
    if program is None:
        raise RefusedError(f"{tool} is not installed", "pip install 'bootwright[hardware]' brings it")
    output = sys.stderr if shown else subprocess.PIPE
    done = subprocess.run(
        [program, *arguments], stdout=output, stderr=None if shown else subprocess.PIPE, text=True, check=False
    )
    if done.returncode and not may_fail:
        last = (done.stderr or done.stdout or "").strip().splitlines()[-1:] or ["see above"]
        raise WireError(
            f"{tool} {' '.join(arguments[2:4])}… ended with {done.returncode}: {last[0]}", "check port and chip"
        )
    return done.stdout or ""


def _found(pattern: str, text: str, what: str, port: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        last = text.strip().splitlines()[-1:] or ["it said nothing"]
        raise WireError(f"{port}: esptool did not find out {what}: {last[0]}", "check the port, and hold the boot pin")
    return match[1]
