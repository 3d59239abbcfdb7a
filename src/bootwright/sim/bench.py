"""Acting on a virtual chip wherever it is: through its server, or on the file that nobody serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bootwright.chips.efuses import Efuses, diff
from bootwright.errors import RefusedError
from bootwright.flash import SECTOR_SIZE
from bootwright.sim.chip_file import open_chip_file, peek_chip_file
from bootwright.sim.control import ask_server, perform
from bootwright.sim.factory import factory_efuses
from bootwright.sim.virtual_chip import Booted, VirtualChip


def act_on_chip(path: Path, verb: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """Do it on the running chip, or else on the file.

    Raises:
        RefusedError: there is no such chip, or the chip refuses.
    """
    if (answer := ask_server(path, verb, arguments)) is not None:
        return answer
    with open_chip_file(path) as file:
        return perform(VirtualChip(file, boot=boot_when_asked, asleep=True), verb, arguments)


def boot_when_asked(chip: VirtualChip) -> Booted:
    """Boot from flash; who never boots does not pay for importing every bootloader."""
    from bootwright.sim.firmware import boot_from_flash

    return boot_from_flash(chip)


def differences(path: Path, other: Path | None) -> dict[str, object]:
    """What differs in eFuses and flash: against another chip, or against a new one.

    Raises:
        RefusedError: a file is missing, or the chips are of different models.
    """
    state, flash = peek_chip_file(path)
    efuses = state.efuses
    before, old_flash = _as_new(efuses), b"\xff" * len(flash)
    if other is not None:
        other_state, old_flash = peek_chip_file(other)
        before = other_state.efuses
        if before.chip is not efuses.chip:
            raise RefusedError(
                f"{path} is an {efuses.chip.title} and {other} an {before.chip.title}", "compare chips of one model"
            )
    changes = [
        {"field": change.name, "before": _shown(change.before), "after": _shown(change.after)}
        for change in diff(before, efuses)
    ]
    return {"efuses": changes, "flash": [list(area) for area in _changed(old_flash, flash)]}


def _as_new(efuses: Efuses) -> Efuses:
    """The same chip as it left the factory; without an address it has not been there."""
    mac = efuses.read("MAC")
    if not isinstance(mac, bytes) or not any(mac):
        zeros = (0,) * len(efuses.bits)
        return replace(efuses, bits=zeros, checks=zeros)
    return factory_efuses(efuses.chip, mac=mac, revision=efuses.revision)


def _shown(value: int | bytes | None) -> str:
    if value is None:
        return "hidden"
    return value.hex() if isinstance(value, bytes) else f"{value:#x}"


def _changed(before: bytes, after: bytes) -> list[tuple[int, int]]:
    """The ranges (address, length) of sectors that differ."""
    areas: list[tuple[int, int]] = []
    for at in range(0, max(len(before), len(after)), SECTOR_SIZE):
        if before[at : at + SECTOR_SIZE] == after[at : at + SECTOR_SIZE]:
            continue
        if areas and sum(areas[-1]) == at:
            areas[-1] = areas[-1][0], areas[-1][1] + SECTOR_SIZE
        else:
            areas.append((at, SECTOR_SIZE))
    return areas


def describe(verb: str, details: Mapping[str, object]) -> str:
    """The same for a person."""
    if verb == "console":
        return str(details["console"]).replace("\r\n", "\n").rstrip("\n")
    return "\n".join(f"{key:<12}{_plain(value)}" for key, value in details.items())


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={inner}" for key, inner in value.items()) or "-"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def describe_differences(details: Mapping[str, object]) -> str:
    """The same for a person."""
    efuses, flash = details["efuses"], details["flash"]
    lines = [
        f"{row['field']:<40} {row['before']} -> {row['after']}" for row in (efuses if isinstance(efuses, list) else [])
    ]
    lines += [f"flash {at:#010x} .. {at + size:#010x}" for at, size in (flash if isinstance(flash, list) else [])]
    return "\n".join(lines) or "no difference"
