"""`bootwright secure-boot v1`: the ESP32's first Secure Boot."""

from __future__ import annotations

from pathlib import Path

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.cli.words import FILE, output_option
from bootwright.finding import Answer

key_option = click.option("--key", "-k", required=True, help="The ECDSA P-256 key: a file, pkcs11:… or exec:….")
block2_option = click.option("--key", "-k", "key_file", type=FILE, required=True, help="The raw key of BLOCK2.")


@click.group("v1", cls=Noun)
def v1() -> None:
    """Secure Boot version 1, for the ESP32 only.

    Digests of bootloaders, signatures of applications.
    """


@v1.command("digest")
@block2_option
@click.option("--iv", "iv_file", type=FILE, help="An IV of 128 bytes; otherwise a random one, as it should be.")
@output_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def digest_command(
    context: click.Context, key_file: Path, iv_file: Path | None, output: Path, file: Path, as_json: bool
) -> None:
    """Digest the bootloader in FILE.

    Digest and bootloader are written as one file for flash address 0.
    """
    import secrets

    from bootwright.formats.esp_secure_boot_v1 import IV_SIZE, bootloader_with_digest
    from bootwright.host.files import read_bytes, spare_keys, write_file

    spare_keys(output, key_file, iv_file)
    key = read_bytes(key_file, what="key of BLOCK2", limit=64)
    iv = read_bytes(iv_file, what="IV", limit=1 << 10) if iv_file else secrets.token_bytes(IV_SIZE)
    made = bootloader_with_digest(read_bytes(file, what="bootloader"), key, iv)
    write_file(output, made)
    details = {"input": str(file), "output": str(output), "bytes": len(made), "address": 0}
    text = f"{output}: {len(made):#x} bytes for flash address 0; under flash encryption, encrypt all of it"
    context.exit(show(Answer(command="secure-boot v1 digest", details=details), as_json=as_json, text=text))


@v1.command("check-digest")
@block2_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def check_digest_command(context: click.Context, key_file: Path, file: Path, as_json: bool) -> None:
    """Say whether a digest fits its bootloader.

    FILE is a plaintext flash from address 0 on: it starts with the digest.
    """
    from bootwright.formats.esp_secure_boot_v1 import verify_digest_v1
    from bootwright.host.files import read_bytes

    key = read_bytes(key_file, what="key of BLOCK2", limit=64)
    finding = verify_digest_v1(read_bytes(file, what="flash"), key, subject=str(file))
    context.exit(show(Answer(command="secure-boot v1 check-digest", findings=(finding,)), as_json=as_json))


@v1.command("sign")
@key_option
@output_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def sign_command(context: click.Context, key: str, output: Path, file: Path, as_json: bool) -> None:
    """Put an ECDSA signature of 68 bytes behind FILE."""
    from bootwright.errors import RefusedError
    from bootwright.finding import Verdict
    from bootwright.formats.esp_secure_boot_v1 import sign_v1, verify_v1
    from bootwright.host.files import read_bytes, spare_keys, write_file
    from bootwright.host.keys import load_signer

    spare_keys(output, key)
    signer = load_signer(key)
    data = read_bytes(file, what="application")
    if verify_v1(data, signer.public)[0].verdict is Verdict.PASS:
        raise RefusedError(f"{file} ends in a signature of this key already", "sign the unsigned file")
    signed = sign_v1(data, signer)
    write_file(output, signed)
    details = {"input": str(file), "output": str(output), "bytes": len(signed)}
    text = f"{output}: {len(data):#x} bytes signed"
    context.exit(show(Answer(command="secure-boot v1 sign", details=details), as_json=as_json, text=text))


@v1.command("verify")
@key_option
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def verify_command(context: click.Context, key: str, file: Path, as_json: bool) -> None:
    """Say whether a bootloader with this key starts FILE."""
    from bootwright.formats.esp_secure_boot_v1 import verify_v1
    from bootwright.host.files import read_bytes
    from bootwright.host.keys import load_public

    findings = verify_v1(read_bytes(file, what="signed application"), load_public(key), subject=str(file))
    context.exit(show(Answer(command="secure-boot v1 verify", findings=findings), as_json=as_json))


@v1.command("reflash-key")
@click.option("--bits", type=click.Choice(["256", "192"]), default="256", help="192 under 3/4 coding.")
@click.argument("key")
@output_option
@json_option
@click.pass_context
def reflash_key_command(context: click.Context, bits: str, key: str, output: Path, as_json: bool) -> None:
    """Write the key for BLOCK2 of a reflashable bootloader.

    It follows from the signing KEY.
    """
    from bootwright.formats.esp_secure_boot_v1 import reflashable_key
    from bootwright.host.files import spare_keys, write_secret
    from bootwright.host.keys import load_private

    spare_keys(output, key)
    write_secret(output, reflashable_key(load_private(key))[: int(bits) // 8])
    details = {"output": str(output), "bits": int(bits)}
    answer = Answer(command="secure-boot v1 reflash-key", details=details)
    context.exit(show(answer, as_json=as_json, text=f"{output}: a key of {bits} bits for BLOCK2"))


@v1.command("public-key")
@click.argument("key")
@output_option
@json_option
@click.pass_context
def public_key_command(context: click.Context, key: str, output: Path, as_json: bool) -> None:
    """Write the 64 raw bytes that bootloaders embed.

    They are the public half of KEY.
    """
    from bootwright.formats.esp_secure_boot_v1 import raw_public_key
    from bootwright.host.files import spare_keys, write_file
    from bootwright.host.keys import load_public

    spare_keys(output, key)
    write_file(output, raw_public_key(load_public(key)))
    answer = Answer(command="secure-boot v1 public-key", details={"output": str(output)})
    context.exit(show(answer, as_json=as_json, text=str(output)))
