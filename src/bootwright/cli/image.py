"""`bootwright image`: MCUboot images, made, judged and looked at."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show

if TYPE_CHECKING:
    from bootwright.host.images import Build

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


class _Number(click.ParamType[int]):
    """A number of bytes or an address: 4096, 0x1000, 4K, 1M."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:].upper(), 1)
        try:
            return int(text if unit == 1 else text[:-1], 0) * unit
        except ValueError:
            self.fail(f"found {value!r}, expected a number such as 4096, 0x1000, 4K or 1M", param, ctx)


NUMBER = _Number()
MODES = ("scratch", "move", "offset", "overwrite")


def build_options(function: F) -> F:
    """The options that say how the bootloader was built."""
    for option in (
        click.option("--flash-encryption", is_flag=True, help="Built with flash encryption."),
        click.option("--mode", type=click.Choice(MODES), help="How it installs updates; scratch unless given."),
        click.option("--slot-size", type=NUMBER, metavar="BYTES", help="Size of each slot."),
        click.option("--conf", type=FILE, multiple=True, help="Take all of this from a bootloader.conf."),
    ):
        function = option(function)
    return function


def read_build(conf: tuple[Path, ...], slot_size: int | None, mode: str | None, flash_encryption: bool) -> Build | None:
    """The build that the options describe; None when they describe none."""
    from bootwright.formats.mcuboot_trailer import UpgradeMode
    from bootwright.host.images import Build

    if conf:
        if slot_size is not None or mode is not None or flash_encryption:
            raise click.UsageError("--conf says it all: leave --slot-size, --mode and --flash-encryption out")
        return Build.from_conf(conf)
    if slot_size is None:
        if mode is not None or flash_encryption:
            raise click.UsageError("--mode and --flash-encryption need --slot-size")
        return None
    if slot_size <= 0:
        raise click.UsageError(f"--slot-size: found {slot_size}, expected a size")
    return Build(slot_size=slot_size, mode=UpgradeMode(mode or "scratch"), flash_encryption=flash_encryption)


class _Image(Noun):
    """Signing has its own module: its options are many."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            command: click.Command = getattr(import_module(_ELSEWHERE[cmd_name]), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


_ELSEWHERE = {"sign": "bootwright.cli.image_sign"}


@click.group(cls=_Image)
def image() -> None:
    """Sign, verify, decrypt and look at MCUboot images."""


@image.command("show")
@click.argument("file", type=FILE)
@click.option("--hex", "with_hex", is_flag=True, help="The header byte by byte.")
@json_option
def show_command(file: Path, with_hex: bool, as_json: bool) -> int:
    """Show header, TLVs and trailer of FILE; judges nothing."""
    from bootwright.finding import Answer
    from bootwright.formats.mcuboot_image import Image
    from bootwright.host.image_view import as_text, hex_dump, view_image
    from bootwright.host.images import load_image

    parsed = Image.parse(load_image(file), where=str(file))
    view = view_image(parsed)
    text = as_text(parsed, view, str(file)) + (f"\n{hex_dump(parsed)}" if with_hex else "")
    answer = Answer(command="image show", details={"file": str(file), "image": view})
    return show(answer, as_json=as_json, text=text)


@image.command()
@click.argument("file", type=FILE)
@click.option("-k", "--key", "keys", multiple=True, metavar="KEY", help="A key that the bootloader trusts.")
@click.option("--decrypt-with", metavar="KEY", help="The bootloader decrypts images with this private key.")
@click.option("--pure", is_flag=True, help="The bootloader expects pure signatures.")
@click.option("--hardware-key", is_flag=True, help="The bootloader takes the public key from the image.")
@click.option("--hash", "hash_name", type=click.Choice(["sha256", "sha384", "sha512"]), help="Its hash; by the key.")
@click.option("--compressed", is_flag=True, help="The bootloader decompresses images.")
@build_options
@json_option
def verify(
    file: Path,
    keys: tuple[str, ...],
    decrypt_with: str | None,
    pure: bool,
    hardware_key: bool,
    hash_name: str | None,
    compressed: bool,
    as_json: bool,
    **build: Any,
) -> int:
    """Say whether MCUboot would run FILE, check by check, in the bootloader's order.

    Without --key only its integrity is judged. What the Espressif port does not know, encrypted, compressed and pure
    images, is refused unless an option says that the bootloader knows it.
    """
    from bootwright.finding import Answer
    from bootwright.formats.mcuboot_image import parse_header
    from bootwright.formats.mcuboot_verify import BootRules
    from bootwright.host.images import check_image, load_image
    from bootwright.host.keys import load_public

    data = load_image(file)
    trusted = [load_public(key) for key in keys]
    rules = BootRules(
        encrypted=decrypt_with is not None,
        pure=pure,
        compressed=compressed,
        hardware_key=hardware_key,
        hash_name=hash_name,
    )
    plain = data if decrypt_with is None else _plain(data, decrypt_with, file)
    findings = check_image(plain, trusted, build=read_build(**build), rules=rules, subject=str(file))
    details: dict[str, object] = {"file": str(file)}
    if findings[0].code == "image.header.valid":
        details["version"] = str(parse_header(data, where=str(file)).ver)
    return show(Answer(command="image verify", findings=findings, details=details), as_json=as_json)


def _plain(data: bytes, key: str, file: Path) -> bytes:
    """The image with its payload decrypted; one that is not encrypted stays as it is."""
    from bootwright.formats.mcuboot_image import ENCRYPTED, ImageFlags, parse_header
    from bootwright.host.images import decrypted, load_decryption_key

    if not ImageFlags(parse_header(data, where=str(file)).flags) & ENCRYPTED:
        return data
    return decrypted(data, load_decryption_key(key), where=str(file)).pack()


@image.command()
@click.argument("file", type=FILE)
@click.argument("output", type=FILE)
@click.option("-k", "--key", required=True, metavar="KEY", help="The private key, or for AES-KW the wrapping key.")
@click.option("--payload", is_flag=True, help="Write the payload alone, decompressed if need be.")
@json_option
def decrypt(file: Path, output: Path, key: str, payload: bool, as_json: bool) -> int:
    """Decrypt the encrypted image FILE into OUTPUT, and check that its hash agrees.

    OUTPUT is the image as `--clear` makes it: its hash and signature hold.
    """
    from bootwright.finding import Answer
    from bootwright.host.files import write_file
    from bootwright.host.images import (
        any_build,
        application,
        check_image,
        decrypted,
        load_decryption_key,
        load_image,
    )

    plain = decrypted(load_image(file), load_decryption_key(key), where=str(file))
    findings = check_image(plain.pack(), [], rules=any_build(plain.pack()), subject=str(output))
    answer = Answer(command="image decrypt", findings=findings, details={"file": str(file), "output": str(output)})
    if answer.verdict == "pass":
        write_file(output, application(plain) if payload else plain.pack())
    return show(answer, as_json=as_json)


@image.command("which-key")
@click.argument("file", type=FILE)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--decrypt-with", metavar="KEY", help="The private key that FILE was encrypted for.")
@json_option
def which_key(file: Path, keys: tuple[str, ...], decrypt_with: str | None, as_json: bool) -> int:
    """Say which of the KEYs signed FILE."""
    from bootwright.finding import Answer
    from bootwright.host.images import load_image, signers
    from bootwright.host.keys import load_public, shown

    data = load_image(file)
    plain = data if decrypt_with is None else _plain(data, decrypt_with, file)
    findings = signers(plain, [(key, load_public(key)) for key in keys], subject=str(file))
    signed_by = [shown(key) for key, finding in zip(keys, findings, strict=False) if finding.code == "image.signed_by"]
    answer = Answer(command="image which-key", findings=findings, details={"file": str(file), "signed_by": signed_by})
    return show(answer, as_json=as_json)


@image.command()
@click.argument("files", nargs=-1, type=FILE)
@build_options
@json_option
def fits(files: tuple[Path, ...], as_json: bool, **build: Any) -> int:
    """Say whether signed images fit the bootloader's slots, to the byte; without FILES, how much fits."""
    from bootwright.finding import Answer, Verdict
    from bootwright.host.images import fits as judge
    from bootwright.host.images import image_size, load_image

    wanted = read_build(**build)
    if wanted is None:
        raise click.UsageError("--conf or --slot-size is needed: what fits follows from the bootloader's build")
    findings = [
        finding
        for file in files
        for finding in judge(image_size(load_image(file), where=str(file)), wanted, subject=str(file))
    ]
    if not files:
        nothing = judge(0, wanted, subject=f"slot of {wanted.slot_size:#x}")
        findings = [finding for finding in nothing if finding.verdict is Verdict.FAIL]
    limit = wanted.max_image_size
    details: dict[str, object] = {
        "slot_size": wanted.slot_size,
        "mode": wanted.mode.value,
        "flash_encryption": wanted.flash_encryption,
        "max_image_size": limit,
        "trailer_size": wanted.geometry.trailer_size,
    }
    text = (
        f"slot of {wanted.slot_size:#x} bytes, mode {wanted.mode}, flash encryption "
        f"{'on' if wanted.flash_encryption else 'off'}: an image of at most {limit} bytes ({limit:#x}), TLVs included"
    )
    answer = Answer(command="image fits", findings=tuple(findings), details=details)
    return show(answer, as_json=as_json, text=text)
