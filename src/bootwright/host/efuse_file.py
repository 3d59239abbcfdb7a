"""eFuses where people keep them: snapshots and virtual chips, and burning a plan there with a journal."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bootwright.chips.burning import BurnPlan, Step
from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses, FieldChange
from bootwright.chips.release import download_closed
from bootwright.chips.snapshots import parse_qemu, parse_virtual, qemu, read_state, snapshot, token, virtual
from bootwright.chips.summary import summary
from bootwright.errors import FormatError, RefusedError, SiliconError
from bootwright.host.files import read_bytes, write_file, write_secret

FORMS = ("bootwright", "token", "virtual", "qemu", "summary")
_LARGEST = 1 << 20


def load_efuses(path: Path, *, chip: Chip | None = None) -> Efuses:
    """The eFuses in a file: a virtual chip, or a snapshot of any form that `chips.snapshots` knows.

    Raises:
        FormatError: it is none, or of another chip than `chip`.
        RefusedError: another process serves the virtual chip.
    """
    if path.suffix == ".chip":
        found = _of_virtual_chip(path)
        if chip is not None and found.chip is not chip:
            raise FormatError(f"{path}: found {found.chip.title}, expected {chip.title}", "name the right chip")
        return found
    return read_state(read_bytes(path, what="eFuse snapshot", limit=_LARGEST), chip=chip, where=str(path))


def store_efuses(path: Path, efuses: Efuses) -> None:
    """Write the state as our own snapshot, readable by its owner only."""
    write_secret(path, snapshot(efuses).encode())


def put_efuses(path: Path, efuses: Efuses) -> None:
    """Write a snapshot, or make a virtual chip that nobody serves a twin of this state.

    Raises:
        RefusedError: there is no such virtual chip, or it is of another kind.
    """
    if path.suffix != ".chip":
        store_efuses(path, efuses)
        return
    from bootwright.sim.chip_file import open_chip_file

    with open_chip_file(path) as file:
        if file.state.efuses.chip is not efuses.chip:
            raise RefusedError(
                f"{path} is an {file.state.efuses.chip.title}, the eFuses are those of an {efuses.chip.title}",
                "make a virtual chip of the same kind with `bootwright chip new`",
            )
        file.save(replace(file.state, efuses=efuses))


def find_file(name: Path) -> Path:
    """The file that a word on the command line means: `dev1` is `dev1.chip` when there is no file `dev1`."""
    if name.exists() or not name.name:
        return name
    virtual_chip = name.with_name(name.name + ".chip")
    return virtual_chip if virtual_chip.exists() else name


def _of_virtual_chip(path: Path) -> Efuses:
    """From the chip's server where one runs, else from its file."""
    from bootwright.sim.chip_file import open_chip_file
    from bootwright.sim.control import ask_server

    if reply := ask_server(path, "efuses", {}):
        return read_state(str(reply["snapshot"]).encode(), where=str(path))
    with open_chip_file(path) as file:
        return file.state.efuses


def _program(path: Path, step: Step, after: Efuses) -> None:
    """Make one step of a plan where the eFuses are kept; a chip that is served gets it from its server."""
    if path.suffix != ".chip":
        store_efuses(path, after)
        return
    from bootwright.sim.chip_file import open_chip_file
    from bootwright.sim.control import ask_server

    wanted = {"block": step.block, "data": step.data(after.chip).hex()}
    if ask_server(path, "program", wanted) is None:
        with open_chip_file(path) as file:
            file.save(replace(file.state, efuses=after))


def can_burn(path: Path) -> None:
    """Check that a burn can be kept there with everything that it needs.

    Raises:
        RefusedError: the file's form loses what the chip hides.
    """
    if path.suffix == ".chip":
        return
    if b'"bootwright": "efuses"' not in read_bytes(path, what="eFuse snapshot", limit=_LARGEST):
        raise RefusedError(
            f"{path}: this form of file cannot keep what a chip hides",
            f"`bootwright efuse import {path} NEW.json` makes one that can",
        )


def export_efuses(path: Path, efuses: Efuses, form: str) -> None:
    """Write a state in one of `FORMS`; those with hidden keys (ours, QEMU's) are readable by their owner only."""
    write: dict[str, Callable[[], None]] = {
        "bootwright": lambda: write_secret(path, snapshot(efuses).encode()),
        "qemu": lambda: write_secret(path, qemu(efuses)),
        "virtual": lambda: write_file(path, virtual(efuses)),
        "token": lambda: write_file(path, f"{token(efuses)}\n".encode()),
        "summary": lambda: write_file(path, (json.dumps(summary(efuses), indent=4) + "\n").encode()),
    }
    write[form]()


def import_efuses(path: Path, *, chip: Chip | None, form: str | None) -> Efuses:
    """Read a state that some other tool wrote; `form` settles what size alone does not."""
    parse = {"virtual": parse_virtual, "qemu": parse_qemu}.get(form or "")
    if parse is None or chip is None:
        return load_efuses(path, chip=chip)
    return parse(read_bytes(path, what="eFuse file", limit=_LARGEST), chip, where=str(path))


def journal_path(path: Path) -> Path:
    """Where what was burned into a file is written down."""
    return path.with_name(path.name + ".journal")


def burn(path: Path, plan: BurnPlan, *, command: str, now: Callable[[], str]) -> None:
    """Burn a plan step by step; each step is in the journal before it is made, and again when it is in the file.

    Raises:
        SiliconError: the ROM loader of this chip is closed.
    """
    if closed := download_closed(plan.before.latched()):
        raise SiliconError(
            f"{plan.before.chip.title} burns nothing from outside any more: {closed} is burned",
            "only software on the chip can burn what is still open",
        )
    state = plan.before
    for number, step in enumerate(plan.steps, 1):
        entry = {"command": command, "step": number, "of": len(plan.steps), "changes": step_rows(plan, step)}
        _note(path, {"time": now(), "event": "burning", **entry})
        state = state.burn_block(step.block, step.data(state.chip)).latched()
        _program(path, step, state)
        _note(path, {"time": now(), "event": "burned", "step": number})


def step_rows(plan: BurnPlan, step: Step) -> list[dict[str, object]]:
    """What a program command changes, fit to be shown: no content of key blocks."""
    return [change_row(plan.after.chip, change) for change in step.changes]


def change_row(chip: Chip, change: FieldChange) -> dict[str, object]:
    """A changed field, fit to be shown."""
    shown = {"before": change.before, "after": change.after}
    if change.block in chip.keys.blocks:
        shown = dict.fromkeys(shown)
    values = {key: value.hex() if isinstance(value, bytes) else value for key, value in shown.items()}
    place = {"name": change.name, "block": change.block, "bit": change.bit, "width": change.width}
    return {**place, **values, "reversible": change.reversible}


def _note(path: Path, entry: dict[str, object]) -> None:
    """Append a line to the journal, and have it on the disk before going on."""
    descriptor = os.open(journal_path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, (json.dumps(entry) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
