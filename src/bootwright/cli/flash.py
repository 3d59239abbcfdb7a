"""`bootwright flash`: write, read, verify and erase a chip's flash, and refuse what would brick it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.errors import RefusedError
from bootwright.finding import Answer, failed, passed

if TYPE_CHECKING:
    from bootwright.host.flash_target import Flashable
    from bootwright.host.flashing import FlashPlan, Piece, Target

_ALLOW = ("plaintext", "encrypt-again", "foreign-ciphertext", "rejected-bootloader", "rewritten-header", "other-chip")

chip_argument = click.argument("chip_name", metavar="CHIP")
past_option = click.option(
    "--allow", multiple=True, type=click.Choice(["closed-port"]), help="Insist; virtual chips only."
)
baud_option = click.option("--baud", default=460800, show_default=True, help="Rate on a real port.")


def number(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """An address or size: decimal, 0x…, with K or M."""
    if value is None:
        return None
    unit = {"K": 1 << 10, "M": 1 << 20}.get(value[-1:].upper(), 1)
    try:
        found = int(value[:-1] if unit > 1 else value, 0) * unit
    except ValueError:
        found = -1
    if found < 0:
        raise click.BadParameter(f"{value!r} is no address or size; 0x10000, 64K and 1M are")
    return found


def size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A number of bytes, at least one."""
    found = number(context, parameter, value)
    if found == 0:
        raise click.BadParameter("a size of 0 asks for nothing")
    return found


def pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[int, Path], ...]:
    """Address and file, alternating."""
    if len(values) % 2:
        raise click.BadParameter("addresses and files come in pairs: 0x0 bootloader.bin 0x10000 app.bin")
    found = []
    for at, file in zip(values[::2], values[1::2], strict=True):
        address = number(context, parameter, at)
        found.append((address or 0, Path(file)))
    return tuple(found)


@click.group(cls=Noun)
def flash() -> None:
    """Flash a virtual chip by its name, or a real one on its port through the installed esptool."""


@flash.command("write")
@chip_argument
@click.argument("files", nargs=-1, callback=pairs, metavar="[ADDRESS FILE]…")
@click.option("--from", "listed", type=click.Path(path_type=Path), help="A flasher_args.json or bootwright.toml.")
@click.option("--encrypt", is_flag=True, help="Let the chip encrypt what belongs encrypted.")
@click.option("--key", type=click.Path(path_type=Path), help="Encrypt here, with this key file.")
@click.option("--allow", multiple=True, type=click.Choice(_ALLOW), help="Insist on what would be refused.")
@click.option("--dry-run", is_flag=True, help="Say what would be written where, and stop.")
@baud_option
@json_option
@click.pass_context
def write_command(
    context: click.Context,
    chip_name: str,
    files: tuple[tuple[int, Path], ...],
    listed: Path | None,
    encrypt: bool,
    key: Path | None,
    allow: tuple[str, ...],
    dry_run: bool,
    baud: int,
    as_json: bool,
) -> None:
    """Write files, or a whole set, to the flash of CHIP."""
    from bootwright.host.flash_checks import judge
    from bootwright.host.flash_target import flashable

    if bool(files) == (listed is not None):
        raise click.UsageError("name addresses and files, or a list with --from")
    if encrypt and key is not None:
        raise click.UsageError("choose who encrypts: the chip (--encrypt), or this computer (--key)")
    target = flashable(chip_name, baud=baud)
    known = target.inspect()
    plan = judge(_plan(known, _pieces(known, files, listed), key, encrypt=encrypt), allowed=frozenset(allow))
    if not plan.refusals and not dry_run:
        _apply(target, plan, quiet=as_json)
    written = not plan.refusals and not dry_run
    details = {"chip": known.chip.name, "written": written, "writes": plan.rows()}
    answer = Answer(command="flash write", findings=plan.findings, details=details)
    context.exit(show(answer, as_json=as_json, text=_table(plan, written=written)))


def _pieces(known: Target, files: tuple[tuple[int, Path], ...], listed: Path | None) -> tuple[Piece, ...]:
    from bootwright.host.flash_sets import pieces_of_flasher_args, pieces_of_pairs, pieces_of_project
    from bootwright.host.project import load_project

    if listed is None:
        return pieces_of_pairs(known.chip, files)
    if listed.suffix == ".toml":
        return pieces_of_project(load_project(listed))
    return pieces_of_flasher_args(listed, known.chip)


def _plan(known: Target, pieces: tuple[Piece, ...], key: Path | None, *, encrypt: bool) -> FlashPlan:
    from bootwright.host.files import read_bytes
    from bootwright.host.flashing import Form, host_cipher, plan_pieces

    if key is not None:
        cipher = host_cipher(known.chip, read_bytes(key))
        if known.cipher is None:
            known = replace(known, cipher=cipher)  # nobody can read the chip's own: this one is taken for it
        return plan_pieces(known, pieces, Form.ENCRYPTED_HERE, cipher)
    return plan_pieces(known, pieces, Form.ENCRYPTED_BY_CHIP if encrypt else Form.AS_IS, None)


def _apply(target: Flashable, plan: FlashPlan, *, quiet: bool) -> None:
    """Write, with a bar on stderr where somebody looks; esptool, where it does the work, draws its own."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    bar = Progress(console=console, disable=quiet or not console.is_terminal, transient=True)
    task = bar.add_task("writing")

    def report(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        target.apply(plan, report)
    finally:
        bar.stop()


def _table(plan: FlashPlan, *, written: bool) -> str:
    verb = "wrote" if written else "would write"
    return "\n".join(
        f"{verb} {len(write.data):>9} bytes at {write.address:#010x}  {write.piece.role.value:<15} "
        f"{write.form.value:<21} {write.piece.name}"
        for write in plan.writes
    )


@flash.command("read")
@chip_argument
@click.argument("address", callback=number)
@click.argument("size", callback=size)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--decrypted", is_flag=True, help="As the CPU reads it; virtual chips only.")
@past_option
@baud_option
@json_option
@click.pass_context
def read_command(
    context: click.Context,
    chip_name: str,
    address: int,
    size: int,
    file: Path,
    decrypted: bool,
    allow: tuple[str, ...],
    baud: int,
    as_json: bool,
) -> None:
    """Read SIZE bytes at ADDRESS of CHIP's flash into FILE."""
    from bootwright.host.files import write_file
    from bootwright.host.flash_target import flashable

    data = flashable(chip_name, baud=baud, past_the_port=bool(allow)).read(address, size, decrypted=decrypted)
    write_file(file, data)
    details = {"address": address, "size": len(data), "file": str(file)}
    context.exit(
        show(Answer(command="flash read", details=details), as_json=as_json, text=f"{len(data)} bytes: {file}")
    )


@flash.command("verify")
@chip_argument
@click.argument("files", nargs=-1, required=True, callback=pairs, metavar="ADDRESS FILE…")
@click.option("--decrypted", is_flag=True, help="Compare with what the CPU reads; virtual chips only.")
@past_option
@baud_option
@json_option
@click.pass_context
def verify_command(
    context: click.Context,
    chip_name: str,
    files: tuple[tuple[int, Path], ...],
    decrypted: bool,
    allow: tuple[str, ...],
    baud: int,
    as_json: bool,
) -> None:
    """Say whether the flash of CHIP holds these files."""
    from bootwright.host.files import read_bytes
    from bootwright.host.flash_target import flashable

    target = flashable(chip_name, baud=baud, past_the_port=bool(allow))
    findings = []
    for address, file in files:
        wanted = read_bytes(file)
        found = target.read(address, len(wanted), decrypted=decrypted)
        first = next((at for at, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b), None)
        if first is None:
            findings.append(passed("flash.verify", str(file), f"{len(wanted)} bytes at {address:#x} are the file's"))
        else:
            because = f"the flash differs from the file first at {address + first:#x}"
            findings.append(failed("flash.verify", str(file), because, "write it again, or look for --decrypted"))
    context.exit(show(Answer(command="flash verify", findings=tuple(findings)), as_json=as_json))


@flash.command("erase")
@chip_argument
@click.argument("address", callback=number, required=False)
@click.argument("size", callback=size, required=False)
@click.option("--allow", multiple=True, type=click.Choice(["erase-secured"]), help="Insist on what would be refused.")
@baud_option
@json_option
@click.pass_context
def erase_command(
    context: click.Context,
    chip_name: str,
    address: int | None,
    size: int | None,
    allow: tuple[str, ...],
    baud: int,
    as_json: bool,
) -> None:
    """Erase SIZE bytes at ADDRESS of CHIP's flash, or all of it."""
    from bootwright.host.flash_checks import erase_finding
    from bootwright.host.flash_target import flashable

    if address is not None and size is None:
        raise click.UsageError("give ADDRESS and SIZE, or neither to erase all of it")
    target = flashable(chip_name, baud=baud)
    known = target.inspect()
    if address is None and known.closed:
        raise RefusedError(
            f"{known.name} is in secure download mode and does not tell how large its flash is", "give ADDRESS and SIZE"
        )
    start, length = (0, known.flash_size) if address is None else (address, size or 0)
    finding = erase_finding(known, start, length, insisted="erase-secured" in allow)
    if finding.verdict != "fail":
        target.erase(start, length)
    answer = Answer(command="flash erase", findings=(finding,), details={"address": start, "size": length})
    context.exit(show(answer, as_json=as_json))


@flash.command("id")
@chip_argument
@past_option
@baud_option
@json_option
@click.pass_context
def id_command(context: click.Context, chip_name: str, allow: tuple[str, ...], baud: int, as_json: bool) -> None:
    """Say what CHIP is, how large its flash is and what is burned shut."""
    from bootwright.host.flash_target import flashable

    known = flashable(chip_name, baud=baud, past_the_port=bool(allow)).identify()
    efuses = known.efuses
    mac = efuses.read("MAC") if efuses is not None and not known.closed else None
    details = {
        "chip": known.chip.name,
        "mac": mac.hex(":") if isinstance(mac, bytes) else None,
        "flash_size": None if known.closed else known.flash_size,
        "flash_encryption": known.decrypts if efuses is None else known.encryption_on,
        "secure_boot": known.boots_signed if efuses is None else efuses.is_set(known.chip.secure_boot.enable_field),
        "secure_download_mode": known.closed or (efuses is not None and efuses.is_set("ENABLE_SECURITY_DOWNLOAD")),
    }
    words: dict[object, str] = {None: "not readable", True: "yes", False: "no"}
    text = "\n".join(
        f"{name:<22}{words.get(value, str(value)) if value is None or isinstance(value, bool) else value}"
        for name, value in details.items()
    )
    context.exit(show(Answer(command="flash id", details=details), as_json=as_json, text=text))
