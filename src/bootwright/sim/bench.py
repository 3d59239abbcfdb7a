"""Acting on a virtual chip wherever it is: through its server, or on the file that nobody serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bootwright.sim.chip_file import open_chip_file
from bootwright.sim.control import ask_server, perform
from bootwright.sim.firmware import boot_from_flash
from bootwright.sim.virtual_chip import VirtualChip


def act_on_chip(path: Path, verb: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """Do it on the running chip, or else on the file.

    Raises:
        RefusedError: there is no such chip, or the chip refuses.
    """
    if (answer := ask_server(path, verb, arguments)) is not None:
        return answer
    with open_chip_file(path) as file:
        return perform(VirtualChip(file, boot=boot_from_flash, asleep=True), verb, arguments)


def describe(verb: str, details: Mapping[str, object]) -> str:
    """The same for a person."""
    if verb == "console":
        return str(details["console"]).replace("\r\n", "\n").rstrip("\n")
    return "\n".join(f"{key:<12}{_plain(value)}" for key, value in details.items())


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={inner}" for key, inner in value.items()) or "-"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
