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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bootwright.chips.chip import Chip, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.chips.release import download_closed
from bootwright.chips.snapshots import read_state
from bootwright.errors import NotModelledError, RefusedError, SiliconError, WireError
from bootwright.flash import Erase, FlashOp, NorFlash, Write, drive
from bootwright.host.flash_checks import flash_keys
from bootwright.host.flashing import BLOCK, FlashPlan, Form, PlannedWrite, Target, flash_program
from bootwright.sim.bench import act_on_chip
from bootwright.sim.chip_file import chip_path, peek_chip_file
from bootwright.sim.encrypted_flash import EncryptedFlash, FlashCipher, cipher_of

LARGEST_FLASH = 128 << 20  #: bytes
SECURE_DOWNLOAD = "ENABLE_SECURITY_DOWNLOAD"
Progress = Callable[[int, int], None]  #: (bytes done, bytes in all)


class Flashable(Protocol):
    """What `bootwright flash` needs of a chip."""

    def inspect(self) -> Target:
        """What is known of it."""
        ...

    def identify(self) -> Target:
        """What its port tells of it."""
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


def flashable(name: str, *, baud: int = 460800, past_the_port: bool = False) -> Flashable:
    """The chip of that name where there is a `.chip` file, or else the one on that serial port.

    `past_the_port` reads a virtual chip although its own port would not give anything out.
    """
    path = chip_path(name)
    if path.exists():
        return VirtualChipTarget(path, past_the_port)
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
    past_the_port: bool = False  #: what its port would not give out is read all the same

    def inspect(self) -> Target:
        """Everything: the virtual chip's keys are known to it."""
        state, flash = peek_chip_file(self.path)
        efuses = state.efuses
        try:
            cipher = cipher_of(efuses)
        except NotModelledError:
            cipher = None
        return Target(
            name=self.path.stem,
            chip=efuses.chip,
            efuses=efuses,
            flash_size=len(flash),
            cipher=cipher,
            closed=not self.past_the_port and download_closed(efuses.latched()) == SECURE_DOWNLOAD,
        )

    def identify(self) -> Target:
        """What its port tells.

        Raises:
            SiliconError: it has no ROM loader any more.
        """
        target = self.inspect()
        if target.efuses is not None and not target.closed:
            self._check_port(target.efuses)
        return target

    def _check_port(self, efuses: Efuses) -> None:
        """Raise where a chip on a port would give nothing out."""
        field = download_closed(efuses.latched())
        if not field or self.past_the_port:
            return
        tells = "its ROM loader does not read flash" if field == SECURE_DOWNLOAD else "it has no ROM loader any more"
        raise SiliconError(
            f"{field} of {self.path.stem} is burned: {tells}",
            "--allow closed-port looks into the virtual chip all the same; nothing opens a real one",
        )

    def apply(self, plan: FlashPlan, progress: Progress) -> None:
        """Perform the plan's operations, through the chip's server when it is served."""
        total = sum(len(write.data) for write in plan.writes)
        operations: list[FlashOp] = []
        drive(flash_program(plan), operations.append)
        done = 0
        for batch in _batches(operations):
            act_on_chip(self.path, "change-flash", {"operations": [_operation(op) for op in batch]})
            done += sum(len(op.data) for op in batch if isinstance(op, Write))
            progress(done, total)

    def read(self, address: int, length: int, *, decrypted: bool) -> bytes:
        """From the file, whoever serves it.

        Raises:
            SiliconError: its port gives nothing out.
        """
        state, flash = peek_chip_file(self.path)
        self._check_port(state.efuses)
        raw = NorFlash.holding(flash)
        if not decrypted:
            return raw.read(address, length)
        return EncryptedFlash(raw, cipher_of(state.efuses), decrypting=True).read(address, length)

    def erase(self, address: int, length: int) -> None:
        """Through the server, or in the file."""
        act_on_chip(self.path, "change-flash", {"operations": [_operation(Erase(address, length))]})


def _batches(operations: Sequence[FlashOp]) -> Iterator[Sequence[FlashOp]]:
    """As many at a time as a progress bar wants to hear of: about 1 MiB."""
    step = max((1 << 20) // BLOCK, 1)
    for at in range(0, len(operations), step):
        yield operations[at : at + step]


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
            return self._inspect_closed(chip)
        size = _found(r"Detected flash size: (\d+[KM]B)", out, "the flash's size", self.port)
        token = _run("espefuse", ["--port", self.port, "--chip", chip.name, "dump", "--format", "token"])
        efuses = read_state(token.encode(), where=self.port)
        unit = {"KB": 1 << 10, "MB": 1 << 20}[size[-2:]]
        return Target(
            name=self.port, chip=chip, efuses=efuses, flash_size=int(size[:-2]) * unit, cipher=_readable_cipher(efuses)
        )

    def identify(self) -> Target:
        """The same: nothing else is known of it."""
        return self.inspect()

    def _inspect_closed(self, chip: Chip) -> Target:
        info = _run("esptool", ["--port", self.port, "--after", "no-reset", "get-security-info"], may_fail=True)
        says = dict(re.findall(r"^(Flash Encryption|Secure Boot): (Enabled|Disabled)", info, re.MULTILINE))
        on = {"Enabled": True, "Disabled": False}
        return Target(
            name=self.port,
            chip=chip,
            efuses=None,
            flash_size=LARGEST_FLASH,
            closed=True,
            decrypts=on.get(says.get("Flash Encryption", "")),
            boots_signed=on.get(says.get("Secure Boot", "")),
        )

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
            words = ["read-flash", f"{address:#x}", f"{length:#x}", str(file)]
            _run("esptool", ["--port", self.port, "--baud", str(self.baud), *words], shown=True)
            return file.read_bytes()

    def erase(self, address: int, length: int) -> None:
        """Let esptool erase; the gates were ours."""
        words = ["erase-region", "--force", f"{address:#x}", f"{length:#x}"]
        _run("esptool", ["--port", self.port, *words], shown=True)


def _readable_cipher(efuses: Efuses) -> FlashCipher | None:
    """The encryption unit of a chip whose flash key anyone can read; None where it is hidden or there is none."""
    keys = flash_keys(efuses)
    if not keys or any(efuses.read_protected(number) for number in keys):
        return None
    try:
        return cipher_of(efuses)
    except NotModelledError:
        return None


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


_COMMANDS = ("flash-id", "get-security-info", "write-flash", "read-flash", "erase-region", "dump")


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
        why = _complaint((done.stdout or "") + (done.stderr or "")) or "see above"
        ran = f"{tool} {next((word for word in arguments if word in _COMMANDS), '')}".rstrip()
        raise WireError(f"{ran} ended with {done.returncode}: {why}", "check port and chip")
    return (done.stdout or "") + (done.stderr or "" if may_fail else "")


def _found(pattern: str, text: str, what: str, port: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        why = _complaint(text) or "it said nothing"
        raise WireError(f"{port}: esptool did not find out {what}: {why}", "check the port, and hold the boot pin")
    return match[1]


def _complaint(text: str) -> str:
    """The line in which Espressif's tools say what went wrong, or else the last."""
    said = re.search(r"(?:A fatal error occurred: |^(?=Error: ))(.+)", text, re.MULTILINE)
    return said[1].strip() if said else "".join(text.strip().splitlines()[-1:])
