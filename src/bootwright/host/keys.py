"""Keys from anywhere: one provider string for every private key, MCUboot's and Secure Boot's alike.

    PATH, file:PATH                                a key file; its password from BOOTWRIGHT_KEY_PASSWORD or a prompt
    pkcs11:token=T;object=LABEL?module-path=LIB    a token (RFC 7512); its PIN from the URI, a file, the
                                                   environment or a prompt
    exec:COMMAND, exec:public=FILE,COMMAND         whatever signs its standard input: any KMS

With the last two the private key never enters this process.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from bootwright.errors import FormatError, RefusedError
from bootwright.formats.keys import (
    PasswordError,
    PrivateKey,
    PublicKey,
    Signer,
    load_private_key,
    load_public_key,
)
from bootwright.host.files import read_bytes

PASSWORD_VARIABLE = "BOOTWRIGHT_KEY_PASSWORD"  # noqa: S105 - the name of a variable
LARGEST_KEY = 64 << 10

#: asks a person for a secret, given what it is for; gives None where nobody can be asked
Ask = Callable[[str], str | None]


def ask_person(question: str) -> str | None:
    """Ask on the terminal; where there is none, nobody answers."""
    if not sys.stdin.isatty():
        return None
    from getpass import getpass

    return getpass(f"{question}: ")


def load_signer(provider: str, *, ask: Ask = ask_person, password: bytes | None = None) -> Signer:
    """The signer that a provider string names; `password` opens a key file before the environment is asked.

    Raises:
        FormatError: no such file, or no private key in it.
        PasswordError: the password or PIN is missing or wrong.
        RefusedError: a provider of another kind, or one that is not installed.
        WireError: the token or the command does not answer.
    """
    scheme, rest = _split(provider)
    if scheme == "pkcs11":
        from bootwright.host.key_pkcs11 import open_pkcs11

        return open_pkcs11(provider, ask=ask)
    if scheme == "exec":
        from bootwright.host.key_exec import open_exec

        return open_exec(rest)
    return load_private(rest, ask=ask, password=password)


def load_private(path: str, *, ask: Ask = ask_person, password: bytes | None = None) -> PrivateKey:
    """A private key from a file, for what no token does: decrypting an image, exporting a key.

    Raises:
        FormatError, PasswordError: as `load_signer`.
        RefusedError: the key is not in a file.
    """
    scheme, rest = _split(path)
    if scheme != "file":
        raise RefusedError(
            f"{shown(path)}: found a {scheme} key, expected a key file", "this needs the private key itself"
        )
    data = read_bytes(Path(rest), what="key file", limit=LARGEST_KEY)
    known = password or os.environ.get(PASSWORD_VARIABLE, "").encode() or None
    try:
        return load_private_key(data, password=known, where=rest)
    except PasswordError:
        if known or (answer := ask(f"Password of {rest}")) is None:
            raise
        return load_private_key(data, password=answer.encode(), where=rest)


def load_public(provider: str, *, ask: Ask = ask_person) -> PublicKey:
    """The public key that a provider string names, or that a file holds, public or private.

    Raises:
        FormatError, PasswordError, RefusedError, WireError: as `load_signer`.
    """
    scheme, rest = _split(provider)
    if scheme != "file":
        return load_signer(provider, ask=ask).public
    try:
        return load_public_key(read_bytes(Path(rest), what="key file", limit=LARGEST_KEY), where=rest)
    except PasswordError:
        return load_private(rest, ask=ask).public


def shown(provider: str) -> str:
    """A provider string as it may be shown: without the PIN that it may hold."""
    return re.sub(r"(pin-value=)[^&;?]*", r"\1…", provider)


def is_file(provider: str) -> bool:
    """Whether a provider string names a file, rather than a token or a command."""
    return _split(provider)[0] == "file"


def _split(provider: str) -> tuple[str, str]:
    match = re.match(r"([a-z][a-z0-9]+):(.*)", provider, re.DOTALL)
    if match is None or os.path.exists(provider):  # False, too, where a command is too long for a name
        return "file", provider
    scheme, rest = match.groups()
    if scheme not in ("file", "pkcs11", "exec"):
        raise RefusedError(
            f"{shown(provider)}: found the key provider {scheme!r}, expected file, pkcs11 or exec",
            "wrap any other service in a command: exec:COMMAND",
        )
    return scheme, rest


def holds_private(provider: str) -> bool:
    """Whether a provider string names a private key, rather than a public one."""
    scheme, rest = _split(provider)
    if scheme != "file":
        return True
    data = read_bytes(Path(rest), what="key file", limit=LARGEST_KEY)
    try:
        load_private_key(data, where=rest)
    except PasswordError:
        return True
    except FormatError:
        return False
    return True
