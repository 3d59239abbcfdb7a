"""`bootwright secure-boot`: keys, signatures and digests of Secure Boot, version 2 and (under `v1`) version 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootwright.cli.noun import Noun
from bootwright.cli.secure_boot_v1 import v1
from bootwright.cli.show import json_option, show
from bootwright.cli.words import FILE, number, output_option
from bootwright.finding import Answer

if TYPE_CHECKING:
    from bootwright.chips.chip import Chip

SCHEMES = ("rsa-3072", "ecdsa-p192", "ecdsa-p256", "ecdsa-p384")
chip_option = click.option("--chip", "chip_name", metavar="CHIP", help="Hold to what this chip's ROM takes.")
keys_option = click.option(
    "--key", "-k", "keys", multiple=True, required=True, help="A signing key: a file, pkcs11:… or exec:…; up to three."
)


@click.group("secure-boot", cls=Noun)
def secure_boot() -> None:
    """Sign images for a chip's Secure Boot, verify them, and digest keys for its eFuses."""


secure_boot.add_command(v1)


@secure_boot.command("keygen")
@click.argument("file", type=FILE)
@click.option("--scheme", type=click.Choice(SCHEMES), help="Kind of key; otherwise the chip's first.")
@chip_option
@json_option
@click.pass_context
def keygen_command(
    context: click.Context, file: Path, scheme: str | None, chip_name: str | None, as_json: bool
) -> None:
    """Make a signing key.

    It is written to FILE, for its owner's eyes only.
    """
    from bootwright.errors import RefusedError, SiliconError
    from bootwright.formats.keys import KeyType, generate_key
    from bootwright.host.files import write_secret

    if file.exists():
        raise RefusedError(f"{file} exists already: a signing key that is overwritten is lost", "give another name")
    chip = _chip(chip_name)
    if chip and scheme and scheme not in chip.secure_boot.schemes:
        raise SiliconError(
            f"found --scheme {scheme}, the {chip.title} verifies {' or '.join(chip.secure_boot.schemes)}",
            "leave --scheme out",
        )
    key_type = KeyType(scheme or (chip.secure_boot.schemes[0] if chip else SCHEMES[0]))
    write_secret(file, generate_key(key_type).pem())
    answer = Answer(command="secure-boot keygen", details={"file": str(file), "key_type": str(key_type)})
    context.exit(show(answer, as_json=as_json, text=f"{file}: {key_type}"))


@secure_boot.command("sign")
@keys_option
@chip_option
@click.option("--bootloader", is_flag=True, help="FILE is a bootloader: hold it to the ROM's size limit (--chip).")
@click.option("--fe-key", type=FILE, help="The flash-encryption key: refuse what is encrypted already (--chip).")
@click.option(
    "--address", callback=number, help="Where the image goes, for --fe-key; otherwise the bootloader's place."
)
@click.option("--append", "mode", flag_value="append", help="Keep the signatures that the image has.")
@click.option("--again", "mode", flag_value="again", help="Replace the signatures that the image has.")
@output_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def sign_command(
    context: click.Context,
    keys: tuple[str, ...],
    chip_name: str | None,
    bootloader: bool,
    fe_key: Path | None,
    address: int | None,
    mode: str | None,
    output: Path,
    file: Path,
    as_json: bool,
) -> None:
    """Sign the image in FILE.

    It is filled up to whole sectors, and a signature sector put behind it.
    """
    from bootwright.host.encrypting import scheme_for
    from bootwright.host.files import read_bytes, spare_keys, write_file
    from bootwright.host.keys import load_signer
    from bootwright.host.secure_boot import (
        add_signatures,
        describe_blocks,
        mixed_kinds,
        recognise,
        refuse_ciphertext,
        refuse_too_large,
        sign_again,
        sign_image,
    )

    spare_keys(output, fe_key, *keys)
    chip, image = _chip(chip_name), read_bytes(file, what="image")
    if (bootloader or fe_key) and chip is None:
        raise click.UsageError("--bootloader and --fe-key need --chip")
    if bootloader and chip:
        refuse_too_large(image, chip)
    if fe_key and chip:
        scheme = scheme_for(read_bytes(fe_key, what="key file", limit=64), chip=chip)
        refuse_ciphertext(image, scheme, chip.bootloader_offset if address is None else address)
    sign = {None: sign_image, "append": add_signatures, "again": sign_again}[mode]
    signed = sign(image, [load_signer(key) for key in keys], chip=chip)
    write_file(output, signed)
    blocks = describe_blocks(signed)
    details = {"input": str(file), "output": str(output), "bytes": len(signed), "blocks": blocks}
    text = f"{output}: {len(signed):#x} bytes\n" + _table(blocks)
    answer = Answer(
        command="secure-boot sign",
        findings=(recognise(image, str(file)), *mixed_kinds(blocks, str(file))),
        details=details,
    )
    context.exit(show(answer, as_json=as_json, text=text))


@secure_boot.command("verify")
@click.option("--key", "-k", "keys", multiple=True, help="A key that the chip trusts: its public half will do.")
@click.option("--digest", "digests", multiple=True, help="A key digest that the chip trusts: hex, or a file of it.")
@chip_option
@click.option("--bootloader", is_flag=True, help="FILE is a bootloader: the ROM's size limit counts.")
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def verify_command(
    context: click.Context,
    keys: tuple[str, ...],
    digests: tuple[str, ...],
    chip_name: str | None,
    bootloader: bool,
    file: Path,
    as_json: bool,
) -> None:
    """Say whether a chip accepts the signed image in FILE.

    The chip trusts the keys given; without any, only the signature itself is checked.
    """
    from bootwright.formats.esp_signature_block import key_digest_v2
    from bootwright.host.files import read_bytes
    from bootwright.host.keys import load_public
    from bootwright.host.secure_boot import describe_blocks, verify_signed

    trusted = [*(key_digest_v2(load_public(key)) for key in keys), *map(_digest, digests)]
    data = read_bytes(file, what="signed image")
    findings = verify_signed(data, trusted or None, chip=_chip(chip_name), is_bootloader=bootloader, subject=str(file))
    answer = Answer(command="secure-boot verify", findings=findings, details={"blocks": describe_blocks(data)})
    context.exit(show(answer, as_json=as_json))


@secure_boot.command("info")
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def info_command(context: click.Context, file: Path, as_json: bool) -> None:
    """Show the signature blocks of FILE."""
    from bootwright.formats.esp_secure_boot import split_v2
    from bootwright.host.files import read_bytes
    from bootwright.host.secure_boot import describe_blocks

    data = read_bytes(file, what="signed image")
    split_v2(data, where=str(file))
    blocks = describe_blocks(data)
    context.exit(
        show(Answer(command="secure-boot info", details={"blocks": blocks}), as_json=as_json, text=_table(blocks))
    )


@secure_boot.command("digest")
@click.argument("key")
@chip_option
@click.option("--output", "-o", type=FILE, help="Write the bytes there, for `burn-key`.")
@json_option
@click.pass_context
def digest_command(context: click.Context, key: str, chip_name: str | None, output: Path | None, as_json: bool) -> None:
    """Digest a key as the chip's eFuses hold it.

    KEY is public or private.
    """
    from bootwright.host.files import spare_keys, write_file
    from bootwright.host.keys import load_public
    from bootwright.host.secure_boot import eligible_digest

    if output:
        spare_keys(output, key)
    public = load_public(key)
    digest = eligible_digest(public, _chip(chip_name))
    if output:
        write_file(output, digest)
    details = {"key_type": str(public.key_type), "digest": digest.hex(), "output": str(output) if output else None}
    context.exit(show(Answer(command="secure-boot digest", details=details), as_json=as_json, text=digest.hex()))


@secure_boot.command("public-key")
@click.argument("key")
@output_option
@json_option
@click.pass_context
def public_key_command(context: click.Context, key: str, output: Path, as_json: bool) -> None:
    """Write the public half of KEY in PEM."""
    from bootwright.host.files import spare_keys, write_file
    from bootwright.host.keys import load_public

    spare_keys(output, key)
    public = load_public(key)
    write_file(output, public.pem)
    details = {"key_type": str(public.key_type), "output": str(output)}
    context.exit(show(Answer(command="secure-boot public-key", details=details), as_json=as_json, text=str(output)))


@secure_boot.command("prepare")
@output_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def prepare_command(context: click.Context, output: Path, file: Path, as_json: bool) -> None:
    """Write the bytes that a signer elsewhere must sign.

    They are FILE filled up to whole sectors; their hashes are shown.
    """
    from bootwright.formats.esp_signature_block import image_digest
    from bootwright.host.files import read_bytes, write_file
    from bootwright.host.secure_boot import bytes_to_sign

    content = bytes_to_sign(read_bytes(file, what="image"))
    write_file(output, content)
    hashes = {name: image_digest(content, name).hex() for name in ("sha256", "sha384")}
    text = "\n".join([f"{output}: {len(content):#x} bytes to sign", *(f"{k}  {v}" for k, v in hashes.items())])
    details = {"output": str(output), "bytes": len(content), **hashes}
    context.exit(show(Answer(command="secure-boot prepare", details=details), as_json=as_json, text=text))


@secure_boot.command("attach")
@click.option("--public", "publics", multiple=True, required=True, help="The public key of a signature.")
@click.option(
    "--signature",
    "signatures",
    type=FILE,
    multiple=True,
    required=True,
    help="RSA: raw; ECDSA: DER. In their order.",
)
@output_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def attach_command(
    context: click.Context,
    publics: tuple[str, ...],
    signatures: tuple[Path, ...],
    output: Path,
    file: Path,
    as_json: bool,
) -> None:
    """Put signatures made elsewhere behind FILE.

    Each is verified before anything is written.
    """
    from bootwright.formats.esp_secure_boot import signature_sector
    from bootwright.formats.esp_signature_block import make_block
    from bootwright.host.files import read_bytes, write_file
    from bootwright.host.keys import load_public
    from bootwright.host.secure_boot import bytes_to_sign, describe_blocks

    if len(publics) != len(signatures):
        raise click.UsageError(f"found {len(publics)} public keys and {len(signatures)} signatures; give pairs")
    content = bytes_to_sign(read_bytes(file, what="image"))
    pairs = zip(publics, signatures, strict=True)
    blocks = [make_block(content, load_public(public), read_bytes(path, what="signature")) for public, path in pairs]
    signed = content + signature_sector(blocks)
    write_file(output, signed)
    shown = describe_blocks(signed)
    details = {"output": str(output), "bytes": len(signed), "blocks": shown}
    text = f"{output}: {len(signed):#x} bytes\n" + _table(shown)
    context.exit(show(Answer(command="secure-boot attach", details=details), as_json=as_json, text=text))


def _chip(name: str | None) -> Chip | None:
    from bootwright.chips.chip import load_chip

    return load_chip(name) if name else None


def _digest(text: str) -> bytes:
    from bootwright.host.files import read_bytes

    try:
        return bytes.fromhex(text)
    except ValueError:
        return read_bytes(Path(text), what="key digest", limit=64)


def _table(blocks: list[dict[str, object]]) -> str:
    rows = [
        f"block {number}: {block['key_type']}, key digest {block['key_digest']}, "
        f"image digest {'fits' if block['image_digest_fits'] else 'DOES NOT FIT'}"
        for number, block in enumerate(blocks)
    ]
    return "\n".join(rows)
