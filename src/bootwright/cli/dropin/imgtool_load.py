"""Reading key files as imgtool reads them."""

from __future__ import annotations

import os

from bootwright.cli.dropin.imgtool import Failure
from bootwright.formats.keys import (
    KeyType,
    PasswordError,
    PrivateKey,
    PublicKey,
    load_private_key,
    load_public_key,
)


def is_provider(source: str) -> bool:
    """Whether this is a provider string instead of a file's name."""
    return source.startswith(("file:", "pkcs11:", "exec:")) and not os.path.exists(source)


def read_key(path: str) -> bytes:
    """The bytes of a key file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        from bootwright.host.keys import shown

        raise Failure(f"Key file not found ({shown(path)})") from None


def load_key(path: str) -> PrivateKey | PublicKey:
    """A private or public key, with imgtool's prompt for a password; of a provider string the public key."""
    if is_provider(path):
        from bootwright.host.keys import load_public

        return load_public(path)
    data = read_key(path)
    try:
        return parse_key(data, path, None)
    except PasswordError:
        pass
    password = ask("Enter key passphrase: ").encode()
    try:
        return parse_key(data, path, password or None)
    except PasswordError:
        raise Failure("Invalid passphrase") from None


def parse_key(data: bytes, path: str, password: bytes | None) -> PrivateKey | PublicKey:
    """A private or public key of a kind that imgtool knows."""
    key: PrivateKey | PublicKey
    if b"PUBLIC KEY" in data and b"PRIVATE KEY" not in data:
        key = load_public_key(data, where=path)
    else:
        key = load_private_key(data, password=password, where=path)
    if key.key_type is KeyType.ECDSA_P192:
        raise Failure("Unsupported EC curve: secp192r1")
    return key


def ask(prompt: str) -> str:
    """Ask on the terminal, without echo."""
    from getpass import getpass

    return getpass(prompt)


def public_of(key: PrivateKey | PublicKey) -> PublicKey:
    """The public half."""
    return key.public if isinstance(key, PrivateKey) else key
