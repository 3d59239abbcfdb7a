"""The commands of `bootwright efuse` that burn: each makes a plan, shows it, asks, and burns it with a journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bootwright.cli.show import json_option, show
from bootwright.errors import RefusedError
from bootwright.finding import Answer, Finding, Verdict, overall

if TYPE_CHECKING:
    from bootwright.chips.burning import BurnPlan, KeyWish
    from bootwright.chips.efuses import Efuses


class EfuseFile(click.Path):
    """A file that holds eFuses; a virtual chip may go by its name alone."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The file that the word means."""
        from bootwright.host.efuse_file import find_file

        return find_file(Path(value))


FILE = EfuseFile()
_PLAIN = click.Path(path_type=Path)


_OPTIONS = (
    json_option,
    click.option("--allow", multiple=True, metavar="MISTAKE", help="Burn although this named mistake was found."),
    click.option("--yes", "--do-not-confirm", "yes", is_flag=True, help="Do not ask for the word BURN."),
    click.option("--key", "mcuboot_keys", multiple=True, type=_PLAIN, help="A public key built into that bootloader."),
    click.option("--conf", type=_PLAIN, help="The bootloader.conf of the MCUboot in that flash."),
    click.option("--flash", type=_PLAIN, help="The chip's flash as it was read out: say whether it will boot."),
    click.option("--dry-run", is_flag=True, help="Show what would be burned, and burn nothing."),
)


def _burns(command: Callable[..., Callable[[Efuses], BurnPlan]]) -> Callable[..., None]:
    """Make a command of a function that says what to plan: show, ask, burn."""

    def run(
        context: click.Context,
        file: Path,
        dry_run: bool,
        flash: Path | None,
        conf: Path | None,
        mcuboot_keys: tuple[Path, ...],
        yes: bool,
        allow: tuple[str, ...],
        as_json: bool,
        **rest: Any,
    ) -> None:
        from bootwright.chips.mistakes import check_plan, known_names
        from bootwright.host.efuse_file import can_burn, load_efuses

        can_burn(file)
        known_names(allow, more=("brick",))
        name = f"efuse {context.info_name}"
        plan = command(**rest)(load_efuses(file))
        findings = check_plan(plan, allow=allow) + _foreseen(plan, file, flash, conf, mcuboot_keys, allow)
        refused = overall(findings) is Verdict.FAIL
        burning = bool(plan.steps) and not dry_run and not refused
        answer = Answer(command=name, findings=findings, details=_details(plan, file, burning=burning))
        asking = burning and not yes
        if asking:
            _ask(answer, plan, file, as_json=as_json)
        if burning:
            _burn(file, plan, name)
        code = 0 if asking else show(answer, as_json=as_json, text=plan_text(plan))
        if not as_json:
            click.echo(_ending(plan, burning=burning, refused=refused))
        context.exit(RefusedError.exit_code if refused else 0 if burning else code)

    update_wrapper(run, command)
    decorated: Callable[..., None] = click.pass_context(run)
    for decorate in (*_OPTIONS, click.argument("file", type=FILE)):
        decorated = decorate(decorated)
    return decorated


def _foreseen(
    plan: BurnPlan, file: Path, flash: Path | None, conf: Path | None, keys: Sequence[Path], allow: Sequence[str]
) -> tuple[Finding, ...]:
    """Whether the chip boots now and after each step, where its flash is at hand."""
    if not plan.steps or (flash is None and file.suffix != ".chip"):
        return ()
    from bootwright.formats.keys import load_public_key
    from bootwright.host.burn_preview import foresee, scene_of
    from bootwright.host.files import read_bytes, read_text

    text = read_text(conf, what="bootloader.conf") if conf else None
    ders = [load_public_key(read_bytes(key, what="key"), where=str(key)).der for key in keys]
    scene = scene_of(file, flash=flash, conf=text, keys=ders)
    return foresee(plan, scene, allow=allow) if scene else ()


def _ending(plan: BurnPlan, *, burning: bool, refused: bool) -> str:
    if refused:
        return "nothing was burned"
    if not plan.steps:
        return "nothing to burn: all of it is burned already"
    commands = "1 program command" if len(plan.steps) == 1 else f"{len(plan.steps)} program commands"
    return f"burned, in {commands}" if burning else "nothing was burned: this was a dry run"


def _details(plan: BurnPlan, file: Path, *, burning: bool) -> dict[str, object]:
    from bootwright.chips.burning import newly_frozen
    from bootwright.host.efuse_file import journal_path, step_rows

    return {
        "file": str(file),
        "chip": plan.before.chip.name,
        "steps": [{"block": step.block, "changes": step_rows(plan, step)} for step in plan.steps],
        "freezes": list(newly_frozen(plan)),
        "burned": burning,
        "journal": str(journal_path(file)) if burning else "",
    }


def _ask(answer: Answer, plan: BurnPlan, file: Path, *, as_json: bool) -> None:
    """Show everything that speaks for and against it, and ask for the word."""
    if as_json:
        raise RefusedError("burning was not confirmed", "--json asks no questions; add --yes")
    show(answer, as_json=False, text=plan_text(plan))
    word = click.prompt(f"This can never be undone. Type BURN to burn it into {file}", default="", err=True)
    if word != "BURN":
        raise RefusedError("burning was not confirmed", "type BURN, or give --yes")


def _burn(file: Path, plan: BurnPlan, name: str) -> None:
    from datetime import UTC, datetime

    from bootwright.host.efuse_file import burn

    burn(file, plan, command=name, now=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def plan_text(plan: BurnPlan) -> str:
    """A plan in words, one line a field; the content of key blocks is not shown."""
    from bootwright.chips.burning import newly_frozen

    lines = []
    for number, step in enumerate(plan.steps, 1):
        for change in step.changes:
            if change.block in plan.before.chip.keys.blocks or change.after is None:
                what = f"{change.width} bits"
            else:
                what = f"{_shown(change.before)} → {_shown(change.after)}"
            lines.append(f"{number}. BLOCK{step.block:<3} {change.name:<36} {what}")
    if frozen := newly_frozen(plan):
        lines.append(f"freezes for ever: {', '.join(frozen)}")
    return "\n".join(lines)


def _shown(value: int | bytes | None) -> str:
    return value.hex() if isinstance(value, bytes) else f"{value:#x}"


def _read_key(path: str) -> bytes:
    from bootwright.host.files import read_bytes

    return read_bytes(Path(path), what="key file", limit=64)


def _plan_keys(efuses: Efuses, wishes: Sequence[KeyWish]) -> BurnPlan:
    from bootwright.chips.burning import key_values, plan_burn

    return plan_burn(efuses, key_values(efuses, wishes), keys=wishes)


@click.command("burn-key")
@_burns
@click.argument("words", nargs=-1, required=True, metavar="[BLOCK KEYFILE [PURPOSE]]...")
@click.option("--no-read-protect", is_flag=True, help="Leave secret keys readable.")
@click.option("--no-write-protect", is_flag=True, help="Leave the blocks open for further bits.")
def burn_key(words: tuple[str, ...], no_read_protect: bool, no_write_protect: bool) -> Callable[[Efuses], BurnPlan]:
    """Burn keys into FILE, with purpose and protections, as espefuse would.

    BLOCK is a key block (BLOCK_KEY0), on the ESP32 flash_encryption, secure_boot_v1 or secure_boot_v2, which need no
    PURPOSE. KEYFILE is the key as espsecure makes it. Of a 64-byte key with purpose XTS_AES_256_KEY the second half
    goes to the next free block.
    """
    from bootwright.chips.burning import KeyWish

    def plan(efuses: Efuses) -> BurnPlan:
        size = 2 if efuses.chip.keys.purpose_by == "position" else 3
        if len(words) % size:
            raise RefusedError(
                f"found {len(words)} words", "give BLOCK KEYFILE PURPOSE for each key (ESP32: no PURPOSE)"
            )
        wishes = [
            KeyWish(
                words[i],
                _read_key(words[i + 1]),
                words[i + 2] if size == 3 else "",
                read_protect=not no_read_protect,
                write_protect=not no_write_protect,
            )
            for i in range(0, len(words), size)
        ]
        return _plan_keys(efuses, wishes)

    return plan


@click.command("burn-key-digest")
@_burns
@click.argument("words", nargs=-1, required=True, metavar="[BLOCK PEM PURPOSE]...")
def burn_key_digest(words: tuple[str, ...]) -> Callable[[Efuses], BurnPlan]:
    """Burn the digests of Secure Boot V2 keys (PEM, public or private) into FILE; on the ESP32 give the PEM only."""
    from bootwright.chips.burning import KeyWish

    def plan(efuses: Efuses) -> BurnPlan:
        triples = [words[i : i + 3] for i in range(0, len(words), 3)]
        if efuses.chip.keys.purpose_by == "position":
            triples = [("secure_boot_v2", word, "") for word in words]
        if any(len(triple) != 3 for triple in triples):
            raise RefusedError(
                f"found {len(words)} words", "give BLOCK PEM PURPOSE for each digest (ESP32: the PEM only)"
            )
        return _plan_keys(efuses, [KeyWish(block, _digest(pem), purpose) for block, pem, purpose in triples])

    return plan


def _digest(path: str) -> bytes:
    from bootwright.formats.esp_secure_boot import key_digest_v2
    from bootwright.formats.keys import load_public_key
    from bootwright.host.files import read_bytes

    return key_digest_v2(load_public_key(read_bytes(Path(path), what="key", limit=1 << 16), where=path))


@click.command("burn-efuse")
@_burns
@click.argument("words", nargs=-1, required=True, metavar="[NAME [VALUE]]...")
def burn_efuse(words: tuple[str, ...]) -> Callable[[Efuses], BurnPlan]:
    """Burn fields into FILE: NAME VALUE pairs, decimal or 0x; a key purpose may go by its name.

    The last VALUE may be left out for a field of one bit, as in espefuse.
    """

    def plan(efuses: Efuses) -> BurnPlan:
        from bootwright.chips.burning import plan_burn

        given = words
        if len(words) % 2:
            last = efuses.chip.field(words[-1], revision=efuses.revision)
            if last.width != 1:
                raise RefusedError(f"found no VALUE for {last.name}, which takes {last.width} bits", "give one")
            given = (*words, "1")
        values = {
            efuses.chip.field(name, revision=efuses.revision).name: _field_value(efuses, name, value)
            for name, value in zip(given[::2], given[1::2], strict=True)
        }
        return plan_burn(efuses, values)

    return plan


def _field_value(efuses: Efuses, name: str, text: str) -> int | bytes:
    field = efuses.chip.field(name, revision=efuses.revision)
    if field.name.startswith("KEY_PURPOSE_") and not text[0].isdigit():
        return efuses.chip.purpose(text).value
    if field.is_bytes and ":" in text:
        return _mac(text)
    try:
        return int(text, 0)
    except ValueError:
        raise RefusedError(f"{name}: found {text!r}, expected a number", "write it as 7 or 0x7") from None


@click.command("burn-bit")
@_burns
@click.argument("block")
@click.argument("bits", nargs=-1, required=True, type=click.IntRange(0, 255))
def burn_bit(block: str, bits: tuple[int, ...]) -> Callable[[Efuses], BurnPlan]:
    """Burn single BITS of a BLOCK into FILE."""

    def plan(efuses: Efuses) -> BurnPlan:
        size = 8 * efuses.block_size(efuses.chip.block(block).number)
        if max(bits) >= size:
            raise RefusedError(f"found bit {max(bits)} of block {block}, expected 0 to {size - 1}", "see efuse fields")
        return _plan_block(efuses, block, sum(1 << bit for bit in set(bits)))

    return plan


@click.command("burn-block-data")
@_burns
@click.argument("words", nargs=-1, required=True, metavar="[BLOCK DATAFILE]...")
@click.option("--offset", "-o", type=click.IntRange(0, 31), default=0, help="Bytes from the start of the block.")
def burn_block_data(words: tuple[str, ...], offset: int) -> Callable[[Efuses], BurnPlan]:
    """Burn the bytes of files into blocks of FILE, in their order, without protections."""

    def plan(efuses: Efuses) -> BurnPlan:
        from bootwright.chips.burning import plan_blocks

        if len(words) % 2:
            raise RefusedError(f"found {len(words)} words", "give a DATAFILE for each BLOCK")
        numbers = [efuses.chip.block(name).number for name in words[::2]]
        if len(set(numbers)) < len(numbers):
            raise RefusedError("found a block twice", "give one DATAFILE for each BLOCK")
        if offset and len(numbers) > 1:
            raise RefusedError(f"found an offset for {len(numbers)} blocks", "give one block, or no --offset")
        content = {n: bytes(offset) + _read_key(path) for n, path in zip(numbers, words[1::2], strict=True)}
        return plan_blocks(efuses, content)

    return plan


@click.command("burn-custom-mac")
@_burns
@click.argument("mac", metavar="XX:XX:XX:XX:XX:XX")
def burn_custom_mac(mac: str) -> Callable[[Efuses], BurnPlan]:
    """Burn a MAC address of your own into FILE, with its version and checksum where the chip has them."""

    def plan(efuses: Efuses) -> BurnPlan:
        from bootwright.chips.burning import custom_mac_values, plan_burn

        return plan_burn(efuses, custom_mac_values(efuses, _mac(mac)))

    return plan


def _mac(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        raise RefusedError(f"{text!r} is no MAC address", "write six bytes, such as 24:0a:c4:01:02:03") from None


@click.command("set-flash-voltage")
@_burns
@click.argument("voltage", type=click.Choice(("1.8V", "3.3V", "OFF"), case_sensitive=False))
def set_flash_voltage(voltage: str) -> Callable[[Efuses], BurnPlan]:
    """Settle the voltage of the flash's supply in FILE, whatever the strapping pin says (ESP32, S2, S3)."""

    def plan(efuses: Efuses) -> BurnPlan:
        from bootwright.chips.burning import flash_voltage_values, plan_burn

        return plan_burn(efuses, flash_voltage_values(efuses, voltage.upper()))

    return plan


@click.command("burn-token")
@_burns
@click.argument("token")
def burn_token(token: str) -> Callable[[Efuses], BurnPlan]:
    """Burn into FILE what espefuse staged: TOKEN is `EFSW:…`, or a file in which it stands."""

    def plan(efuses: Efuses) -> BurnPlan:
        from bootwright.chips.burning import plan_blocks
        from bootwright.chips.snapshots import parse_write_token
        from bootwright.host.files import read_text

        where = "the token" if token.startswith("EFSW:") else token
        text = token if token.startswith("EFSW:") else read_text(Path(token), what="file with a token")
        chip, content = parse_write_token(text, where=where)
        if chip is not efuses.chip:
            raise RefusedError(f"{where} is for {chip.title}, the file for {efuses.chip.title}", "make a new token")
        return plan_blocks(efuses, content)

    return plan


def _plan_block(efuses: Efuses, name: str, bits: int) -> BurnPlan:
    from bootwright.chips.burning import plan_bits

    return plan_bits(efuses, efuses.chip.block(name).number, bits)


def _protects(register: str) -> Callable[..., Callable[[Efuses], BurnPlan]]:
    def command(names: tuple[str, ...]) -> Callable[[Efuses], BurnPlan]:
        def plan(efuses: Efuses) -> BurnPlan:
            from bootwright.chips.burning import plan_burn, protection_values

            return plan_burn(efuses, protection_values(efuses, names, register=register))

        return plan

    return command


def _protection(name: str, register: str, doc: str, *, hidden: bool = False) -> click.Command:
    function = _protects(register)
    function.__doc__ = doc
    argument = click.argument("names", nargs=-1, required=True, metavar="NAME...")
    return click.command(name, hidden=hidden)(_burns(argument(function)))


BURN_COMMANDS: tuple[click.Command, ...] = (
    burn_key,
    burn_key_digest,
    burn_efuse,
    burn_bit,
    burn_block_data,
    burn_custom_mac,
    set_flash_voltage,
    burn_token,
    _protection("read-protect", "RD_DIS", "Hide blocks or fields of FILE from every reader, for ever."),
    _protection("write-protect", "WR_DIS", "Freeze fields or blocks of FILE with all that share their bit, for ever."),
    _protection("read-protect-efuse", "RD_DIS", "The same as read-protect, in espefuse's words.", hidden=True),
    _protection("write-protect-efuse", "WR_DIS", "The same as write-protect, in espefuse's words.", hidden=True),
)
