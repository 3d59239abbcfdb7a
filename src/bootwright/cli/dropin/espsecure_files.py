"""Files and keys as espsecure takes them: it looks at them before it starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from bootwright.cli.dropin.espsecure import Fatal, Sentence
from bootwright.formats.keys import PrivateKey, PublicKey, Signer

T = TypeVar("T", str, tuple[str, ...], str | None)  #: one name, several, or none where none is needed


def file_name(context: click.Context, parameter: click.Parameter, value: T) -> T:
    """Say at once where a file cannot be read; it stays closed until it is needed."""
    for name in [value] if isinstance(value, str) else value or ():
        try:
            with open(name, "rb"):
                pass
        except OSError as error:
            raise click.BadParameter(f"'{name}': {error.strerror}", context, parameter) from None
    return value


def key_name(context: click.Context, parameter: click.Parameter, value: T) -> T:
    """A key file, or any other key that Bootwright reaches (`pkcs11:…`, `exec:…`), which is looked at later."""
    for name in [value] if isinstance(value, str) else value or ():
        if not name.startswith(("pkcs11:", "exec:", "file:")):
            file_name(context, parameter, name)
    return value


def read(path: str) -> bytes:
    """All of a file; espsecure takes empty ones."""
    return Path(path).read_bytes()


def write(path: str, data: bytes) -> None:
    """Write beside and rename."""
    from bootwright.host.files import write_file

    _written(write_file, path, data)


def write_secret(path: str, data: bytes) -> None:
    """As `write`, for the owner's eyes only."""
    from bootwright.host.files import write_secret

    _written(write_secret, path, data)


def refuse_overwriting(output: str | None, *inputs: str | None) -> None:
    """espsecure writes over none of its inputs when it is told to by name."""
    for name in inputs:
        if output is not None and name is not None and _same(name, output):
            raise Fatal(f'The input "{name}" and output "{output}" should not be the same!')


def signer(name: str) -> Signer:
    """The signing key of that name."""
    from bootwright.host.keys import load_signer

    return load_signer(name)


def private_key(name: str) -> PrivateKey:
    """The private key in that file."""
    from bootwright.host.keys import load_private

    return load_private(name)


def public_key(name: str) -> PublicKey:
    """The public key of that name; a private one will do."""
    from bootwright.host.keys import load_public

    return load_public(name)


def _same(one: str, other: str) -> bool:
    return os.path.normcase(os.path.normpath(one)) == os.path.normcase(os.path.normpath(other))


def _written(how: Callable[[Path, bytes], None], path: str, data: bytes) -> None:
    from bootwright.errors import RefusedError

    try:
        how(Path(path), data)
    except RefusedError as error:
        raise Sentence(error.message) from None
