"""`bootwright key`: keys for MCUboot images and for Secure Boot."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show

FILE = click.Path(path_type=Path)
KEY_TYPES = ("rsa-2048", "rsa-3072", "ecdsa-p192", "ecdsa-p256", "ecdsa-p384", "ed25519", "x25519")
FIRST_LINE = "/* Made by bootwright key. */"
FORMS = ("pem", "der", "c", "rust")


@click.group(cls=Noun)
def key() -> None:
    """Make keys, and show their public halves.

    A KEY is a file, or a provider string: pkcs11:token=…;object=…?module-path=… or exec:COMMAND. Passwords of key
    files come from BOOTWRIGHT_KEY_PASSWORD or a prompt.
    """


@key.command()
@click.argument("key_type", metavar="TYPE", type=click.Choice(KEY_TYPES))
@click.argument("file", type=FILE)
@click.option("--password", is_flag=True, help="Encrypt it: asks for a password, or takes BOOTWRIGHT_KEY_PASSWORD.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@json_option
def generate(key_type: str, file: Path, password: bool, overwrite: bool, as_json: bool) -> int:
    """Make a key of TYPE and write it to FILE (PKCS#8 PEM, for its owner only)."""
    from bootwright.errors import RefusedError
    from bootwright.finding import Answer
    from bootwright.formats.keys import KeyType, generate_key
    from bootwright.host.files import write_secret

    if file.exists() and not overwrite:
        raise RefusedError(
            f"{file}: found a file, expected a new name: a key that is lost cannot be made again",
            "choose another name, or pass --overwrite",
        )
    secret = _new_password() if password else None
    made = generate_key(KeyType(key_type))
    write_secret(file, made.pem(secret))
    details = {"file": str(file), "type": key_type, "hash": made.public.key_hash().hex()}
    text = f"{file}: {key_type}, key hash {made.public.key_hash().hex()}"
    return show(Answer(command="key generate", details=details), as_json=as_json, text=text)


@key.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@json_option
def info(keys: tuple[str, ...], as_json: bool) -> int:
    """Say of each KEY its type, its key hash, and whether it is private or public."""
    from bootwright.finding import Answer
    from bootwright.host.key_view import view_key

    rows = [view_key(name) for name in keys]
    text = "\n".join(f"{row['key']}: {row['half']} {row['type']}, key hash {row['hash']}" for row in rows)
    return show(Answer(command="key info", details={"keys": rows}), as_json=as_json, text=text)


@key.command()
@click.argument("source", metavar="KEY")
@click.option(
    "-f", "--format", "form", type=click.Choice(FORMS), default="pem", show_default=True, help="How to show it."
)
@click.option("-o", "--output", type=FILE, help="Write there instead of to stdout.")
@click.option("--name", metavar="NAME", help="The name in C or Rust source; by the key's type unless given.")
@json_option
def public(source: str, form: str, output: Path | None, name: str | None, as_json: bool) -> int:
    """Show the public half of KEY: PEM, DER as MCUboot compiles it in, or source code."""
    from bootwright.finding import Answer
    from bootwright.host.files import write_file
    from bootwright.host.key_view import public_form
    from bootwright.host.keys import load_public, shown

    loaded = load_public(source)
    data = public_form(loaded, form, name=name, first_line=FIRST_LINE)
    if output is not None:
        write_file(output, data)
    if as_json or output is not None:
        details = {
            "key": shown(source),
            "type": loaded.key_type.value,
            "hash": loaded.key_hash().hex(),
            "pem": loaded.pem.decode(),
            "output": str(output) if output else None,
        }
        text = f"{output}: public half of {shown(source)}"
        return show(Answer(command="key public", details=details), as_json=as_json, text=text)
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return 0


@key.command("hash")
@click.argument("source", metavar="KEY")
@click.option(
    "--algorithm",
    type=click.Choice(["sha256", "sha384", "sha512"]),
    default="sha256",
    show_default=True,
    help="The hash of the image.",
)
@json_option
def hash_command(source: str, algorithm: str, as_json: bool) -> int:
    """Show the hash of the public half of KEY: what the KEYHASH TLV of an image holds."""
    from bootwright.finding import Answer
    from bootwright.host.keys import load_public, shown

    digest = load_public(source).key_hash(algorithm).hex()
    details = {"key": shown(source), "algorithm": algorithm, "hash": digest}
    return show(Answer(command="key hash", details=details), as_json=as_json, text=digest)


@key.command()
@click.argument("source", metavar="KEY")
@click.option("-f", "--format", "shape", type=click.Choice(["openssl", "pkcs8"]), help="PKCS#1 or SEC1, or PKCS#8.")
@click.option("--minimal", is_flag=True, help="Only what decryption needs.")
@click.option("-o", "--output", type=FILE, required=True, help="The file to write, for its owner only.")
@json_option
def private(source: str, shape: str | None, minimal: bool, output: Path, as_json: bool) -> int:
    """Write the private half of KEY as C source, for a bootloader that decrypts images."""
    from bootwright.finding import Answer
    from bootwright.formats.key_export import c_array, private_bytes
    from bootwright.host.files import write_secret
    from bootwright.host.keys import load_private, shown

    loaded = load_private(source)
    der = private_bytes(loaded, shape=shape, minimal=minimal)
    write_secret(output, c_array("enc_priv_key", der, first_line=FIRST_LINE).encode())
    details = {"key": shown(source), "type": loaded.key_type.value, "output": str(output)}
    text = f"{output}: private key, keep it secret"
    return show(Answer(command="key private", details=details), as_json=as_json, text=text)


def _new_password() -> bytes:
    import os

    from bootwright.host.keys import PASSWORD_VARIABLE

    given = os.environ.get(PASSWORD_VARIABLE)
    return (given or click.prompt("Password", hide_input=True, confirmation_prompt=True)).encode()
