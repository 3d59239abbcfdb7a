"""`bootwright esp-image merge` and `split`: several files as one image of a flash, and back."""

from __future__ import annotations

from pathlib import Path

import click

from bootwright.cli.show import json_option, show
from bootwright.cli.words import FILE, number, output_option
from bootwright.finding import Answer
from bootwright.formats.esp_partition_csv import parse_number


@click.command("merge")
@click.argument("words", metavar="ADDRESS FILE…", nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(["raw", "hex", "uf2"]), default="raw", help="(raw)")
@click.option("--chip", "chip_name", metavar="CHIP", help="The family that a UF2 file is for.")
@click.option("--base", default="0", callback=number, help="The address at which a raw image starts (0).")
@click.option("--pad-to", callback=number, help="The address at which a raw image ends, say 4M.")
@output_option
@json_option
@click.pass_context
def merge_command(
    context: click.Context,
    words: tuple[str, ...],
    form: str,
    chip_name: str | None,
    base: int,
    pad_to: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Merge files, each with its flash address, into one."""
    from bootwright.formats.flash_image import Part
    from bootwright.host.files import read_bytes, write_file
    from bootwright.host.flash_files import merge_parts

    if len(words) % 2:
        raise click.UsageError("found an odd number of words, expected pairs of ADDRESS and FILE")
    parts = []
    for address, name in zip(words[::2], words[1::2], strict=True):
        parsed = parse_number(address)
        if parsed is None or parsed < 0:
            raise click.BadParameter(f"{address!r} is no flash address such as 0x1000")
        parts.append(Part(parsed, read_bytes(Path(name)), name))
    made = merge_parts(parts, form, chip_name=chip_name, base=base, pad_to=pad_to)
    write_file(output, made)
    rows = [{"address": part.address, "size": len(part.data), "name": part.name} for part in parts]
    details = {"output": str(output), "bytes": len(made), "parts": rows}
    text = f"{output}: {len(made):#x} bytes of {len(parts)} files"
    context.exit(show(Answer(command="esp-image merge", details=details), as_json=as_json, text=text))


@click.command("split")
@click.argument("file", type=FILE)
@click.option("--into", "folder", type=FILE, required=True, help="Directory to write the parts to.")
@click.option("--table", type=FILE, help="A partition table, text or binary, that says where to cut.")
@click.option("--base", default="0", callback=number, help="The address at which a raw image starts (0).")
@json_option
@click.pass_context
def split_command(
    context: click.Context, file: Path, folder: Path, table: Path | None, base: int, as_json: bool
) -> None:
    """Split an image of a flash into its parts.

    FILE is raw, Intel HEX or UF2. A raw one is cut along --table, or wherever whole sectors are erased.
    """
    from bootwright.host.files import read_bytes, write_file
    from bootwright.host.flash_files import part_name, split_parts

    parts = split_parts(read_bytes(file), table=table, base=base, where=str(file))
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        write_file(folder / part_name(part), part.data)
    rows = [{"address": part.address, "size": len(part.data), "file": str(folder / part_name(part))} for part in parts]
    text = "\n".join(f"{row['address']:#10x} {row['size']:#10x}  {row['file']}" for row in rows)
    context.exit(show(Answer(command="esp-image split", details={"parts": rows}), as_json=as_json, text=text))
