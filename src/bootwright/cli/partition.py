"""`bootwright partition`: partition tables, otadata and NVS keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.cli.words import FILE, number, output_option
from bootwright.finding import Answer, Finding

if TYPE_CHECKING:
    from bootwright.formats.esp_partition_csv import CsvContext
    from bootwright.formats.esp_partitions import Partition

F = TypeVar("F", bound=Callable[..., None])

size_option = click.option("--flash-size", callback=number, help="Size of the flash, say 4M.")
secure_boot_option = click.option(
    "--secure-boot", type=click.Choice(["1", "2"]), help="Version that applications are signed for."
)


def _text_options(command: F) -> F:
    """What a text table takes from the project around it."""
    for option in (
        click.option("--extra-subtype", "extra", multiple=True, help="A subtype of the project: TYPE,NAME,NUMBER."),
        click.option("--recovery-bootloader-offset", callback=number, help="Where the recovery bootloader lies."),
        click.option(
            "--bootloader-offset", callback=number, help="Where the bootloader lies, if not where CHIP has it."
        ),
        click.option("--chip", "chip_name", metavar="CHIP", help="The chip, for tables that name the bootloader."),
        click.option("--table-offset", default="0x8000", callback=number, help="Where the table lies (0x8000)."),
    ):
        command = option(command)
    return command


@click.group("partition", cls=Noun)
def partition() -> None:
    """Partition tables (text and binary), otadata, NVS keys."""


@partition.command("check")
@click.argument("file", type=FILE)
@_text_options
@size_option
@secure_boot_option
@json_option
@click.pass_context
def check_command(
    context: click.Context, /, file: Path, flash_size: int | None, secure_boot: str | None, as_json: bool, **around: Any
) -> None:
    """Show a table and the rules that it breaks.

    FILE is text or binary.
    """
    from bootwright.formats.esp_partition_rules import verify_partitions
    from bootwright.host.partitions import load_table

    text = _context(**around)
    table = load_table(file, text)
    findings = verify_partitions(
        table,
        table_offset=text.table_offset,
        flash_size=flash_size,
        secure_boot=int(secure_boot) if secure_boot else None,
        subject=str(file),
    )
    details = {"partitions": [_row(one) for one in table]}
    answer = Answer(command="partition check", findings=findings, details=details)
    context.exit(show(answer, as_json=as_json, text=_table(table)))


@partition.command("convert")
@click.argument("file", type=FILE)
@_text_options
@size_option
@secure_boot_option
@click.option("--without-md5", is_flag=True, help="Leave the MD5 out, for bootloaders of before ESP-IDF 3.1.")
@output_option
@json_option
@click.pass_context
def convert_command(
    context: click.Context,
    /,
    file: Path,
    flash_size: int | None,
    secure_boot: str | None,
    without_md5: bool,
    output: Path,
    as_json: bool,
    **around: Any,
) -> None:
    """Turn a table from text to binary, or back.

    A text that breaks a rule is not made into a binary table.
    """
    from bootwright.formats.esp_partition_csv import format_csv
    from bootwright.host.files import write_file
    from bootwright.host.partitions import is_binary, load_table, pack_table, refuse_damaged

    text = _context(**around)
    table = load_table(file, text)
    findings: tuple[Finding, ...] = ()
    if is_binary(file):
        findings = refuse_damaged(table, str(file))
        made = format_csv(table).encode()
    else:
        made, findings = pack_table(
            table,
            str(file),
            table_offset=text.table_offset,
            flash_size=flash_size,
            secure_boot=int(secure_boot) if secure_boot else None,
            with_md5=not without_md5,
        )
    write_file(output, made)
    details = {"input": str(file), "output": str(output), "bytes": len(made)}
    answer = Answer(command="partition convert", findings=findings, details=details)
    context.exit(show(answer, as_json=as_json, text=f"{output}: {len(made)} bytes"))


@partition.command("find")
@click.argument("file", type=FILE)
@click.argument("name")
@_text_options
@json_option
@click.pass_context
def find_command(context: click.Context, /, file: Path, name: str, as_json: bool, **around: Any) -> None:
    """Show where a partition lies: offset and size."""
    from bootwright.host.partitions import load_table

    found = load_table(file, _context(**around)).find(name)
    answer = Answer(command="partition find", details=_row(found))
    context.exit(show(answer, as_json=as_json, text=f"{found.offset:#x} {found.size:#x}"))


@partition.command("otadata")
@click.argument("file", type=FILE)
@click.option("--slots", type=int, required=True, help="How many ota_N partitions there are.")
@click.option("--choose", type=int, help="Make ota_N the one that boots.")
@click.option("--output", "-o", type=FILE, help="File to write with --choose; otherwise FILE itself.")
@json_option
@click.pass_context
def otadata_command(
    context: click.Context, file: Path, slots: int, choose: int | None, output: Path | None, as_json: bool
) -> None:
    """Show which slot boots, or choose another.

    FILE holds the two sectors of otadata; with --choose, one that is not there counts as erased.
    """
    from bootwright.formats.esp_otadata import OtaData, choose_slot, erased_otadata, verify_otadata
    from bootwright.host.files import read_bytes, write_file

    fresh = choose is not None and not file.exists()
    otadata = erased_otadata() if fresh else OtaData.parse(read_bytes(file, what="otadata"), where=str(file))
    if choose is not None:
        otadata = choose_slot(otadata, choose, slots)
        write_file(output or file, otadata.pack())
    findings = verify_otadata(otadata, slots, subject=str(file))
    details = {"slot": otadata.slot(slots), "active": otadata.active()}
    context.exit(show(Answer(command="partition otadata", findings=findings, details=details), as_json=as_json))


@partition.command("nvs-keys")
@click.option("--hmac-key", type=FILE, help="Derive them from the key of an eFuse block with purpose HMAC_UP.")
@output_option
@json_option
@click.pass_context
def nvs_keys_command(context: click.Context, hmac_key: Path | None, output: Path, as_json: bool) -> None:
    """Make the keys that encrypt NVS.

    They come from the system's randomness or from an HMAC key, and are written as an nvs_keys partition.
    """
    import secrets

    from bootwright.errors import RefusedError
    from bootwright.formats.esp_nvs_keys import ENTROPY_SIZE, derive_nvs_keys, make_nvs_keys, pack_nvs_keys
    from bootwright.host.files import read_bytes, write_secret

    if output.exists():
        raise RefusedError(f"{output} exists already: keys that are overwritten are lost", "give another name")
    if hmac_key:
        keys = derive_nvs_keys(read_bytes(hmac_key, what="HMAC key", limit=64))
    else:
        keys = make_nvs_keys(secrets.token_bytes(ENTROPY_SIZE))
    write_secret(output, pack_nvs_keys(keys))
    answer = Answer(command="partition nvs-keys", details={"output": str(output), "derived": hmac_key is not None})
    text = f"{output}: an nvs_keys partition in plaintext; encrypt it like the application before it is flashed"
    context.exit(show(answer, as_json=as_json, text=text))


def _context(
    *,
    table_offset: int,
    chip_name: str | None,
    bootloader_offset: int | None,
    recovery_bootloader_offset: int | None,
    extra: tuple[str, ...],
) -> CsvContext:
    from bootwright.chips.chip import load_chip
    from bootwright.formats.esp_partition_csv import CsvContext, parse_extra_subtype

    if bootloader_offset is None and chip_name is not None:
        bootloader_offset = load_chip(chip_name).bootloader_offset
    return CsvContext(
        table_offset=table_offset,
        bootloader_offset=bootloader_offset,
        recovery_bootloader_offset=recovery_bootloader_offset,
        extra_subtypes=dict(map(parse_extra_subtype, extra)),
    )


def _row(one: Partition) -> dict[str, object]:
    return {
        "name": one.name,
        "type": one.type_name,
        "subtype": one.subtype_name,
        "offset": one.offset,
        "size": one.size,
        "encrypted": one.is_encrypted,
        "flags": one.flags,
    }


def _table(partitions: Iterable[Partition]) -> str:
    lines = [f"{'name':16} {'type':15} {'subtype':10} {'offset':>10} {'size':>10}  under flash encryption"]
    for one in partitions:
        kept = "encrypted" if one.is_encrypted else "plaintext"
        kind = f"{one.type_name:15} {one.subtype_name:10}"
        lines.append(f"{one.name:16} {kind} {one.offset:#10x} {one.size:#10x}  {kept}")
    return "\n".join(lines)
