"""Files and keys as espsecure takes them: it looks at them before it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from bootwright.cli.dropin.espsecure import Fatal, Sentence
from bootwright.cli.dropin.espsecure_key_words import Refusal, look
from bootwright.formats.keys import PrivateKey, PublicKey, Signer

ELSEWHERE = ("pkcs11:", "exec:", "file:")  #: providers of keys that espsecure does not have
T = TypeVar("T", str, tuple[str, ...], str | None)  #: one name, several, or none where none is needed


def file_name(context: click.Context, parameter: click.Parameter, value: T) -> T:
    """Say at once where a file cannot be read; it stays closed until it is needed. `-` is standard input."""
    for name in [value] if isinstance(value, str) else value or ():
        try:
            if name != "-":
                with open(name, "rb"):
                    pass
        except OSError as error:
            raise click.BadParameter(f"'{name}': {error.strerror}", context, parameter) from None
    return value


def key_name(context: click.Context, parameter: click.Parameter, value: T) -> T:
    """A key file, or any other key that Bootwright reaches (`pkcs11:…`, `exec:…`), which is looked at later."""
    for name in [value] if isinstance(value, str) else value or ():
        if not name.startswith(ELSEWHERE):
            file_name(context, parameter, name)
    return value


def read(path: str) -> bytes:
    """All of a file; espsecure takes empty ones."""
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def write(path: str, data: bytes) -> None:
    """Write beside and rename."""
    from bootwright.host.files import write_file

    _written(write_file, path, data)


def write_secret(path: str, data: bytes) -> None:
    """As `write`, for the owner's eyes only."""
    from bootwright.host.files import write_secret

    _written(write_secret, path, data)


def write_or_print(path: str, data: bytes) -> None:
    """As `write`, where espsecure takes `-` for standard output."""
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    else:
        write(path, data)


def write_or_print_secret(path: str, data: bytes) -> None:
    """As `write_secret`, where espsecure takes `-` for standard output."""
    if path == "-":
        write_or_print(path, data)
    else:
        write_secret(path, data)


def refuse_overwriting(output: str | None, *inputs: str | None) -> None:
    """espsecure writes over none of its inputs when it is told to by name."""
    for name in inputs:
        if output is not None and name is not None and _same(name, output):
            raise Fatal(f'The input "{name}" and output "{output}" should not be the same!')


def signer(name: str, refusal: Refusal) -> Signer:
    """The signing key of that name, if nothing speaks against it."""
    if name.startswith(ELSEWHERE):
        from bootwright.host.keys import load_signer

        return load_signer(name)
    return private_key(name, refusal)


def private_key(name: str, refusal: Refusal) -> PrivateKey:
    """The private key in that file, if nothing speaks against it."""
    from bootwright.host.keys import PASSWORD_VARIABLE, load_private

    if name.startswith(ELSEWHERE):
        return load_private(name)
    data = read(name)
    held = look(data)
    if held.half != "locked" or not (os.environ.get(PASSWORD_VARIABLE) or sys.stdin.isatty()):
        _refuse(refusal(name, held))
    key = _piped(data) if name == "-" else load_private(f"file:{name}")
    _refuse(refusal(name, replace(look(key.public.pem), half="private")))
    return key


def public_key(name: str, refusal: Refusal) -> PublicKey:
    """The public key of that name, if nothing speaks against it."""
    from bootwright.formats.keys import load_public_key
    from bootwright.host.keys import load_public

    if name.startswith(ELSEWHERE):
        return load_public(name)
    data = read(name)
    _refuse(refusal(name, look(data)))
    return load_public_key(data, where=name)


def _piped(data: bytes) -> PrivateKey:
    from bootwright.formats.keys import load_private_key
    from bootwright.host.keys import PASSWORD_VARIABLE

    return load_private_key(data, password=os.environ.get(PASSWORD_VARIABLE, "").encode() or None, where="<stdin>")


def _refuse(refusal: click.ClickException | None) -> None:
    if refusal is not None:
        raise refusal


def _same(one: str, other: str) -> bool:
    return os.path.normcase(os.path.normpath(one)) == os.path.normcase(os.path.normpath(other))


def _written(how: Callable[[Path, bytes], None], path: str, data: bytes) -> None:
    from bootwright.errors import RefusedError

    try:
        how(Path(path), data)
    except RefusedError as error:
        raise Sentence(error.message) from None
