"""`bootwright efuse`: read, compare, check, convert and burn eFuses of snapshots and virtual chips."""

from __future__ import annotations

from pathlib import Path

import click

from bootwright.cli.efuse_burn import BURN_COMMANDS, FILE
from bootwright.cli.efuse_read import READ_COMMANDS, chip_of, chip_option
from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.finding import Answer

PLAIN = click.Path(path_type=Path)
_FORMS = ("bootwright", "token", "virtual", "qemu", "summary")


@click.group(cls=Noun)
def efuse() -> None:
    """eFuses of virtual chips (NAME.chip) and of snapshots: ours, espefuse's tokens, summaries and files, QEMU's."""


for _command in (*BURN_COMMANDS, *READ_COMMANDS):
    efuse.add_command(_command)


@efuse.command("new")
@click.argument("chip_name", metavar="CHIP")
@click.argument("file", type=PLAIN)
@click.option("--revision", metavar="MAJOR.MINOR", help="Silicon revision; otherwise a current one.")
@click.option("--mac", metavar="XX:XX:XX:XX:XX:XX", help="MAC address; otherwise none is burned.")
@json_option
@click.pass_context
def new_command(
    context: click.Context, chip_name: str, file: Path, revision: str | None, mac: str | None, as_json: bool
) -> None:
    """Write the eFuses of a new CHIP to the snapshot FILE."""
    from bootwright.chips.chip import load_chip
    from bootwright.chips.efuses import Efuses
    from bootwright.errors import RefusedError
    from bootwright.host.efuse_file import put_efuses
    from bootwright.sim.factory import parse_mac, parse_revision

    if file.exists():
        raise RefusedError(f"{file} exists already", "give another name")
    chip = load_chip(chip_name)
    efuses = Efuses.blank(
        chip, revision=parse_revision(revision, chip) if revision else None, mac=parse_mac(mac) if mac else b""
    )
    put_efuses(file, efuses)
    answer = Answer(command="efuse new", details={"file": str(file), "chip": chip.name, "revision": efuses.revision})
    context.exit(show(answer, as_json=as_json, text=f"{file}: eFuses of a new {chip.title}"))


@efuse.command("summary")
@click.argument("file", type=FILE)
@chip_option
@click.option("--active", is_flag=True, help="Only fields with a bit set or a protection.")
@json_option
@click.pass_context
def summary_command(context: click.Context, file: Path, chip_name: str | None, active: bool, as_json: bool) -> None:
    """Show the fields of FILE as a reader of the chip sees them."""
    from bootwright.chips.summary import field_rows
    from bootwright.host.efuse_file import load_efuses

    efuses = load_efuses(file, chip=chip_of(chip_name))
    rows = [row for row in field_rows(efuses) if row.active or not active]
    lines = [f"{efuses.chip.title} revision {efuses.revision // 100}.{efuses.revision % 100}"]
    lines += [f"{row.name:<36} BLOCK{row.block:<3}{row.rights}  {row.text}" for row in rows]
    details = {
        "chip": efuses.chip.name,
        "revision": efuses.revision,
        "unknown_blocks": sorted(efuses.unknown),
        "fields": [row.as_dict() for row in rows],
    }
    context.exit(show(Answer(command="efuse summary", details=details), as_json=as_json, text="\n".join(lines)))


@efuse.command("dump")
@click.argument("file", type=FILE)
@chip_option
@click.option(
    "--format", "form", type=click.Choice(("blocks", "token")), default="blocks", help="Hexadecimal, or EFSR:…"
)
@json_option
@click.pass_context
def dump_command(context: click.Context, file: Path, chip_name: str | None, form: str, as_json: bool) -> None:
    """Show the blocks of FILE as a reader of the chip sees them, byte by byte; hidden ones are zeros."""
    from bootwright.chips.snapshots import token
    from bootwright.host.efuse_file import load_efuses

    efuses = load_efuses(file, chip=chip_of(chip_name))
    blocks = {block.number: efuses.readable_block(block.number).hex() for block in efuses.chip.blocks}
    lines = [f"BLOCK{number:<3}{efuses.chip.blocks[number].name:<16}{data}" for number, data in blocks.items()]
    details = {"chip": efuses.chip.name, "token": token(efuses), "blocks": blocks}
    text = token(efuses) if form == "token" else "\n".join(lines)
    context.exit(show(Answer(command="efuse dump", details=details), as_json=as_json, text=text))


@efuse.command("fields")
@click.argument("chip_name", metavar="CHIP")
@json_option
@click.pass_context
def fields_command(context: click.Context, chip_name: str, as_json: bool) -> None:
    """List the eFuse fields of CHIP: where they are, and which bits of WR_DIS and RD_DIS protect them."""
    from bootwright.chips.chip import load_chip, meanings

    chip = load_chip(chip_name)
    fields = [f for f in chip.fields if not f.name.startswith(("WR_DIS.", "RD_DIS."))]
    rows = [
        {
            "name": f.name,
            "aliases": list(f.aliases),
            "block": f.block,
            "bit": f.bit,
            "width": f.width,
            "write_disable": f.write_disable,
            "read_disable": f.read_disable,
            "meaning": meanings().get(f.name, ""),
        }
        for f in fields
    ]
    lines = [
        f"{f.name:<40} BLOCK{f.block:<3}bit {f.bit:<4} width {f.width:<4} "
        f"WR_DIS {'-' if f.write_disable is None else f.write_disable:<3} {meanings().get(f.name, '')}".rstrip()
        for f in fields
    ]
    answer = Answer(command="efuse fields", details={"chip": chip.name, "fields": rows})
    context.exit(show(answer, as_json=as_json, text="\n".join(lines)))


@efuse.command("check")
@click.argument("file", type=FILE)
@chip_option
@click.option("--release", is_flag=True, help="Also ask for all that ESP-IDF's release checks ask for.")
@json_option
@click.pass_context
def check_command(context: click.Context, file: Path, chip_name: str | None, release: bool, as_json: bool) -> None:
    """Say what is wrong with the eFuses of FILE: the field's classic mistakes, and what release mode misses."""
    from bootwright.chips.mistakes import check_state
    from bootwright.chips.release import check_release
    from bootwright.host.efuse_file import load_efuses

    efuses = load_efuses(file, chip=chip_of(chip_name))
    findings = check_state(efuses) + (check_release(efuses) if release else ())
    details = {"chip": efuses.chip.name, "revision": efuses.revision}
    context.exit(show(Answer(command="efuse check", findings=findings, details=details), as_json=as_json))


@efuse.command("diff")
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@chip_option
@json_option
@click.pass_context
def diff_command(context: click.Context, before: Path, after: Path, chip_name: str | None, as_json: bool) -> None:
    """Show the fields in which BEFORE and AFTER differ; bits that AFTER lacks make the answer no."""
    from bootwright.chips.efuses import diff
    from bootwright.errors import RefusedError
    from bootwright.finding import failed, warned
    from bootwright.host.efuse_file import change_row, load_efuses

    old, new = (load_efuses(path, chip=chip_of(chip_name)) for path in (before, after))
    if old.chip is not new.chip:
        raise RefusedError(
            f"{before} is of {old.chip.title}, {after} of {new.chip.title}", "compare states of one chip"
        )
    apart = old.unknown ^ new.unknown
    rows = [change_row(new.chip, change) for change in diff(old, new) if change.block not in apart]
    blocks = [block for block in new.chip.blocks if block.number not in apart]
    findings = [
        failed("efuse.diff.lost-bits", block.name, f"{after} lacks bits that {before} has burned")
        for block in blocks
        if old.bits[block.number] & ~new.bits[block.number]
    ]
    findings += [
        warned(
            "efuse.diff.hidden", new.chip.blocks[n].name, "not compared: one of the two does not know what is hidden"
        )
        for n in sorted(apart)
    ]
    lines = [
        f"{row['name']:<36} BLOCK{row['block']:<3} {_shown(row['before'])} → {_shown(row['after'])}" for row in rows
    ]
    answer = Answer(command="efuse diff", findings=tuple(findings), details={"changes": rows})
    context.exit(show(answer, as_json=as_json, text="\n".join(lines) or "no difference"))


@efuse.command("import")
@click.argument("source", type=FILE)
@click.argument("file", type=PLAIN)
@chip_option
@click.option("--force", is_flag=True, help="Replace FILE, or the eFuses of the virtual chip FILE.")
@click.option("--format", "form", type=click.Choice(("virtual", "qemu")), help="Where the size does not tell it.")
@json_option
@click.pass_context
def import_command(
    context: click.Context,
    source: Path,
    file: Path,
    chip_name: str | None,
    form: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make the snapshot FILE of what another tool wrote: token, summary, espefuse's or QEMU's file.

    With --force FILE may be a virtual chip (NAME.chip) of the same kind: it becomes a twin of the one that was read.
    """
    from bootwright.errors import RefusedError
    from bootwright.finding import warned
    from bootwright.host.efuse_file import import_efuses, put_efuses

    if file.exists() and not force:
        raise RefusedError(f"{file} exists already", "give another name, or replace it with --force")
    efuses = import_efuses(source, chip=chip_of(chip_name), form=form)
    put_efuses(file, efuses)
    findings = tuple(
        warned(
            "efuse.snapshot.hidden",
            efuses.chip.blocks[number].name,
            "the chip hides this block, so the snapshot does not know it",
            f"`bootwright efuse know {file} {efuses.chip.blocks[number].name} KEYFILE`, if you have the key",
        )
        for number in sorted(efuses.unknown)
    )
    details = {"file": str(file), "chip": efuses.chip.name, "revision": efuses.revision}
    text = f"{file}: eFuses of {efuses.chip.title} revision {efuses.revision // 100}.{efuses.revision % 100}"
    answer = Answer(command="efuse import", findings=findings, details=details)
    context.exit(show(answer, as_json=as_json, text=text))


@efuse.command("export")
@click.argument("file", type=FILE)
@click.argument("target", type=PLAIN)
@click.option("--format", "form", type=click.Choice(_FORMS), required=True, help="virtual is espefuse's file.")
@chip_option
@json_option
@click.pass_context
def export_command(
    context: click.Context, file: Path, target: Path, form: str, chip_name: str | None, as_json: bool
) -> None:
    """Write the eFuses of FILE as another tool reads them; only bootwright and qemu keep what the chip hides."""
    from bootwright.errors import RefusedError
    from bootwright.host.efuse_file import export_efuses, load_efuses

    efuses = load_efuses(file, chip=chip_of(chip_name))
    if target.suffix == ".chip" or (target.exists() and target.samefile(file)):
        raise RefusedError(f"{target} is what eFuses are read from, and would be lost", "give another name")
    export_efuses(target, efuses, form)
    answer = Answer(command="efuse export", details={"file": str(target), "format": form, "chip": efuses.chip.name})
    context.exit(show(answer, as_json=as_json, text=f"{target}: {form} of {efuses.chip.title}"))


@efuse.command("know")
@click.argument("file", type=FILE)
@click.argument("block")
@click.argument("keyfile", type=PLAIN)
@json_option
@click.pass_context
def know_command(context: click.Context, file: Path, block: str, keyfile: Path, as_json: bool) -> None:
    """Tell the snapshot FILE what its hidden BLOCK holds: the key file that was burned there."""
    from bootwright.errors import RefusedError
    from bootwright.host.efuse_file import can_burn, load_efuses, put_efuses
    from bootwright.host.files import read_bytes

    can_burn(file)
    efuses = load_efuses(file)
    number = efuses.chip.block(block).number
    if number not in efuses.unknown:
        raise RefusedError(f"{file}: block {block} is not unknown", "only a hidden block of a real chip can be told")
    key = read_bytes(keyfile, what="key file", limit=64)
    if len(key) > efuses.block_size(number):
        raise RefusedError(f"{keyfile}: found {len(key)} bytes, expected {efuses.block_size(number)}", "give one half")
    purpose = efuses.chip.purpose(efuses.key_purpose(number))
    put_efuses(file, efuses.knowing(number, key[::-1] if purpose.reversed else key))
    answer = Answer(command="efuse know", details={"file": str(file), "block": number, "purpose": purpose.name})
    context.exit(show(answer, as_json=as_json, text=f"{file}: {block} is known now, as {purpose.name}"))


def _shown(value: object) -> str:
    return "(hidden)" if value is None else f"{value:#x}" if isinstance(value, int) else str(value)
