"""espsecure's key commands."""

from __future__ import annotations

from pathlib import Path

import click

from bootwright.cli.dropin.espsecure import Fatal, say
from bootwright.cli.dropin.espsecure_files import (
    key_name,
    private_key,
    public_key,
    refuse_overwriting,
    signer,
    write,
    write_or_print,
    write_or_print_secret,
    write_secret,
)
from bootwright.cli.dropin.espsecure_key_words import any_v2, private_v1, private_v2

#: scheme → (our key type, what espsecure calls it)
SCHEMES = {
    "rsa3072": ("rsa-3072", "RSA 3072"),
    "ecdsa192": ("ecdsa-p192", "ECDSA NIST192p"),
    "ecdsa256": ("ecdsa-p256", "ECDSA NIST256p"),
    "ecdsa384": ("ecdsa-p384", "ECDSA NIST384p"),
}


@click.command("generate-signing-key")
@click.option("--version", "-v", type=click.Choice(["1", "2"]), default="1", help="Of Secure Boot (1).")
@click.option("--scheme", "-s", type=click.Choice(list(SCHEMES)), help="Kind of key (version 2: rsa3072).")
@click.argument("keyfile", type=click.Path())
def generate_signing_key(version: str, scheme: str | None, keyfile: str) -> None:
    """Make a signing key."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from bootwright.formats.keys import KeyType, generate_key

    if Path(keyfile).exists():
        raise Fatal(f"ERROR: Key file {keyfile} already exists.")
    if version == "1" and scheme not in (None, "ecdsa256"):
        raise Fatal("ERROR: V1 only supports ECDSA256.")
    key_type, name = SCHEMES[scheme or {"1": "ecdsa256", "2": "rsa3072"}[version]]
    key = generate_key(KeyType(key_type))
    # The form with its type in the header: `verify-signature -v 1` of espsecure takes no other.
    pem = key.native().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    write_secret(keyfile, pem)
    say(f'{name} private key in PEM format written to "{keyfile}".')


@click.command("extract-public-key")
@click.option("--version", "-v", type=click.Choice(["1", "2"]), default="1", help="Of Secure Boot (1).")
@click.option("--keyfile", "-k", callback=key_name, required=True, help="The signing key.")
@click.argument("public-keyfile", type=click.Path())
def extract_public_key(version: str, keyfile: str, public_keyfile: str) -> None:
    """Write the public half of a signing key: 64 raw bytes (version 1) or PEM (version 2)."""
    from bootwright.formats.esp_secure_boot_v1 import raw_public_key
    from bootwright.formats.esp_signature_block import key_digest_v2

    refuse_overwriting(public_keyfile, keyfile)
    public = signer(keyfile, {"1": private_v1, "2": private_v2}[version]).public
    if version == "1":
        write_or_print(public_keyfile, raw_public_key(public))
    else:
        key_digest_v2(public)  # refuses the kinds of key that Secure Boot V2 does not know
        write_or_print(public_keyfile, public.pem)
    say(f'"{keyfile}" public key extracted to "{public_keyfile}".')


@click.command("digest-sbv2-public-key")
@click.option("--keyfile", "-k", callback=key_name, required=True, help="The key, public or private.")
@click.option("--output", "-o", type=click.Path(), required=True, help="File to write.")
def digest_public_key(keyfile: str, output: str) -> None:
    """Digest a public key for the eFuses."""
    _digest_public_key(keyfile, output)


@click.command("digest-rsa-public-key", deprecated=True)
@click.option("--keyfile", "-k", callback=key_name, required=True, help="The key, public or private.")
@click.option("--output", "-o", type=click.Path(), required=True, help="File to write.")
def digest_rsa_public_key(keyfile: str, output: str) -> None:
    """Another name for digest-sbv2-public-key."""
    _digest_public_key(keyfile, output)


@click.command("digest-private-key")
@click.option("--keyfile", "-k", callback=key_name, required=True, help="The signing key.")
@click.option("--keylen", "-l", type=int, default=256, help="Bits of the digest (256; 192 under 3/4 coding).")
@click.argument("digest-file", type=click.Path())
def digest_private_key(keyfile: str, keylen: int, digest_file: str) -> None:
    """Digest a signing key: the reflashable key of Secure Boot V1."""
    from bootwright.formats.esp_secure_boot_v1 import reflashable_key

    refuse_overwriting(digest_file, keyfile)
    digest = reflashable_key(private_key(keyfile, private_v1))
    write_or_print_secret(digest_file, digest[:24] if keylen == 192 else digest)
    cut = "" if keylen == 256 else " (truncated to 192 bits)"
    say(f'SHA-256 digest of private key "{keyfile}"{cut} written to "{digest_file}".')


def _digest_public_key(keyfile: str, output: str) -> None:
    from bootwright.formats.esp_signature_block import key_digest_v2

    refuse_overwriting(output, keyfile)
    digest = key_digest_v2(public_key(keyfile, any_v2))
    say(f'Writing the public key digest of "{keyfile}" to "{output}".')
    write(output, digest)
