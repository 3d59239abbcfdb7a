"""What espsecure says of a key that it does not take: each of its commands has words, and exit codes, of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from bootwright.cli.dropin.espsecure import Fatal, Sentence

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

CURVES = ("secp192r1", "secp256r1", "secp384r1")
WRONG_CURVE = "uses incorrect curve. ESP32 Secure Boot only supports NIST256p (openssl calls this curve 'prime256v1')."
NO_V2_KEY = "Verification key does not appear to be an RSA Private or Public key in PEM format. Unsupported."
NO_V1_KEY = "Verification key does not appear to be an EC key in PEM format or binary EC public key data. Unsupported."
LOCKED = "set BOOTWRIGHT_KEY_PASSWORD, or run this on a terminal, which asks for it"


@dataclass(frozen=True, slots=True)
class Held:
    """What a key file holds, as far as it matters to espsecure."""

    half: str  #: private, public, locked (private, under a password) or none (no PEM of a key)
    kind: str = ""  #: rsa, ec or other
    bits: int = 0  #: of an RSA key
    curve: str = ""


#: says why a key file does not serve, or None where it does
Refusal = Callable[[str, Held], click.ClickException | None]


def look(data: bytes) -> Held:
    """What the bytes of a key file are; espsecure reads PEM only."""
    if b"-----BEGIN " not in data:
        return Held("none")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    try:
        return _kind("public", load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm):
        pass
    try:
        return _kind("private", load_pem_private_key(data, None, unsafe_skip_rsa_key_validation=True).public_key())
    except TypeError:
        return Held("locked")
    except (ValueError, UnsupportedAlgorithm):
        return Held("none")


def private_v2(name: str, held: Held) -> click.ClickException | None:
    """`sign-data -v 2`, `extract-public-key -v 2`."""
    if held.half == "locked":
        why = "Password was not given but private key is encrypted"
        return Fatal(f"Error loading private key: {why}\n  hint: {LOCKED}")
    if held.half != "private":
        found = "a public key" if held.half == "public" else "no PEM of a key"
        return Fatal(f"Error loading private key: {name}: found {found}, expected a private key in PEM")
    if held.kind == "other":
        return Fatal("Unsupported private key type")
    if held.kind == "rsa" and held.bits != 3072:
        return Fatal(f"RSA key has {held.bits} bits. Only RSA-3072 is supported.")
    if held.kind == "ec" and held.curve not in CURVES:
        return Fatal(f"Unsupported ECDSA curve: {held.curve}. Supported curves: P-192, P-256, P-384")
    return None


def any_v2(name: str, held: Held) -> click.ClickException | None:
    """`verify-signature -v 2`, `digest-sbv2-public-key`, `--pub-key` of `sign-data -v 2`."""
    if held.half == "private":
        return private_v2(name, held)
    if held.half != "public":
        return Fatal(NO_V2_KEY)
    if held.kind == "other":
        return Fatal("Unsupported public key for Secure Boot V2.")
    if held.kind == "rsa" and held.bits != 3072:
        return Fatal(f"Key file has length {held.bits} bits. Secure boot v2 only supports RSA-3072.")
    if held.kind == "ec" and held.curve not in CURVES:
        return Fatal(
            "Key file uses incorrect curve. Secure Boot V2 + ECDSA only supports NIST192p, NIST256p, NIST384p "
            "(aka prime192v1 / secp192r1, prime256v1 / secp256r1, secp384r1)."
        )
    return None


def private_v1(name: str, held: Held) -> click.ClickException | None:
    """`sign-data -v 1`, `extract-public-key -v 1`, `digest-private-key`."""
    if held.half == "locked":
        return Sentence(f"{name}: found an encrypted private key, and no password for it; {LOCKED}")
    if held.half != "private":
        return Fatal("Incorrect ECDSA private key specified. Please check algorithm and/or format.")
    if held.kind != "ec":
        return _no_ec(name, held)
    if held.curve not in CURVES:
        return Fatal("Supports NIST192p, NIST256p and NIST384p keys only.")
    return None if held.curve == "secp256r1" else Fatal(f"Signing key {WRONG_CURVE}")


def public_v1(name: str, held: Held) -> click.ClickException | None:
    """`--pub-key` of `sign-data -v 1`."""
    if held.half != "public":
        return Fatal("Incorrect ECDSA public key specified. Please check algorithm and/or format.")
    if held.kind != "ec":
        return _no_ec(name, held)
    return None if held.curve == "secp256r1" else Fatal(f"Signing key {WRONG_CURVE}")


def any_v1(name: str, held: Held) -> click.ClickException | None:
    """`verify-signature -v 1`, where the key is not 64 raw bytes."""
    if held.half in ("locked", "none") or (held.half == "private" and held.kind != "ec"):
        return Fatal(NO_V1_KEY)
    if held.kind != "ec":
        return _no_ec(name, held)
    return None if held.curve == "secp256r1" else Fatal(f"Public key {WRONG_CURVE}")


def _no_ec(name: str, held: Held) -> click.ClickException:
    kind = f"an RSA key of {held.bits} bits" if held.kind == "rsa" else "a key of another kind"
    return Sentence(f"{name}: found {kind}, expected an ECDSA key on NIST256p.")


def _kind(half: str, native: PublicKeyTypes) -> Held:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(native, ec.EllipticCurvePublicKey):
        return Held(half, "ec", curve=native.curve.name)
    if isinstance(native, rsa.RSAPublicKey):
        return Held(half, "rsa", bits=native.key_size)
    return Held(half, "other")
