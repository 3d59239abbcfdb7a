"""The commands of `bootwright efuse` that answer one question each, as espefuse's of the same names do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootwright.cli.efuse_burn import FILE
from bootwright.cli.show import json_option, show
from bootwright.finding import Answer, failed, passed

if TYPE_CHECKING:
    from bootwright.chips.chip import Chip

chip_option = click.option("--chip", "chip_name", metavar="CHIP", help="The chip, where the file does not tell it.")


def chip_of(name: str | None) -> Chip | None:
    """The chip that was named, if one was."""
    from bootwright.chips.chip import load_chip

    return load_chip(name) if name else None


@click.command("get-custom-mac")
@click.argument("file", type=FILE)
@chip_option
@json_option
@click.pass_context
def get_custom_mac(context: click.Context, file: Path, chip_name: str | None, as_json: bool) -> None:
    """Show the MAC address of your own in FILE, if one is burned and its checksum fits."""
    from bootwright.chips.burning import custom_mac
    from bootwright.host.efuse_file import load_efuses

    mac, why = custom_mac(load_efuses(file, chip=chip_of(chip_name)))
    found = (
        passed("efuse.custom_mac", str(file), f"the address is {mac.hex(':')}")
        if not why
        else failed("efuse.custom_mac", str(file), why, "burn one with `bootwright efuse burn-custom-mac`")
    )
    details = {"file": str(file), "mac": None if why else mac.hex(":")}
    answer = Answer(command="efuse get-custom-mac", findings=(found,), details=details)
    context.exit(show(answer, as_json=as_json, text="" if why else mac.hex(":")))


@click.command("check-error")
@click.argument("file", type=FILE)
@chip_option
@json_option
@click.pass_context
def check_error(context: click.Context, file: Path, chip_name: str | None, as_json: bool) -> None:
    """Say which blocks of FILE carry check bits that do not fit their data: written twice, or cut in the middle."""
    from bootwright.host.efuse_file import load_efuses

    efuses = load_efuses(file, chip=chip_of(chip_name))
    spoiled = [block for block in efuses.chip.blocks if efuses.spoiled(block.number)]
    findings = tuple(
        failed(
            "efuse.coding",
            block.name,
            f"the check bits of block {block.name} do not fit its data: it was written twice, or cut in the middle",
            "use another block; a burn that was cut can be completed by asking for the same data again",
        )
        for block in spoiled
    ) or (passed("efuse.coding", str(file), "the check bits of every block fit its data"),)
    details = {"file": str(file), "spoiled": [block.number for block in spoiled]}
    context.exit(show(Answer(command="efuse check-error", findings=findings, details=details), as_json=as_json))


READ_COMMANDS: tuple[click.Command, ...] = (get_custom_mac, check_error)
