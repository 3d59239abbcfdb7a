"""Reading and writing files: one sentence when it cannot be done, and never half a file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootwright.errors import FormatError, RefusedError

LARGEST = 256 << 20  #: bytes; no flash of these chips is larger

PUBLIC = 0o666  #: before the umask
SECRET = 0o600


def read_bytes(path: Path, *, what: str = "file", limit: int = LARGEST) -> bytes:
    """The content of a file that is expected to hold something.

    Raises:
        FormatError: missing, unreadable, no file, empty, or larger than `limit` bytes.
    """
    with _described(path, what):
        if path.is_dir():
            raise FormatError(f"{path}: found a directory, expected {_a(what)}", "name a file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    if not data:
        raise FormatError(f"{path}: found an empty file, expected {_a(what)}", "build or copy the file again")
    if len(data) > limit:
        raise FormatError(
            f"{path}: found more than {limit:#x} bytes, expected {_a(what)} of at most {limit:#x}",
            "check that this is the right file",
        )
    return data


def read_text(path: Path, *, what: str = "file", limit: int = 1 << 20) -> str:
    """The content of a text file.

    Raises:
        FormatError: as `read_bytes`, or the bytes are no UTF-8.
    """
    data = read_bytes(path, what=what, limit=limit)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: found byte {data[error.start]:#04x} at offset {error.start:#x}, expected text in UTF-8",
            "this is no text file, or of another encoding",
        ) from None


def write_file(path: Path, *parts: bytes | memoryview, mode: int = PUBLIC) -> None:
    """Write beside and rename, so that `path` holds all parts or what it held before.

    A link is followed; what is no regular file, `/dev/stdout` say, is written to as it is.

    Raises:
        RefusedError: the place cannot be written.
    """
    target = os.path.realpath(path)
    with _described(path, "place that can be written", error=RefusedError):
        if os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target):
            with open(target, "wb") as device:
                device.writelines(parts)
            return
        _replace(target, parts, mode)


def write_secret(path: Path, data: bytes) -> None:
    """Write a key: as `write_file`, readable by its owner only from the first byte on.

    Raises:
        RefusedError: the place cannot be written.
    """
    write_file(path, data, mode=SECRET)


def spare_keys(output: Path, *keys: str | Path | None) -> None:
    """Refuse to write over a key that is being used: it could be the only copy.

    Raises:
        RefusedError: `output` is one of these files (named as key providers are, `file:PATH` or `PATH`).
    """
    for key in keys:
        with suppress(OSError):  # most names of tokens and commands are those of no file
            if key is None or not Path(str(key).removeprefix("file:")).samefile(output):
                continue
            raise RefusedError(f"{output}: found the key file itself, expected another file to write", "name another")


def make_directory(path: Path) -> None:
    """Make a directory and those above it; one that is there is fine.

    Raises:
        RefusedError: it cannot be made.
    """
    with _described(path, "directory", error=RefusedError):
        path.mkdir(parents=True, exist_ok=True)


def _replace(target: str, parts: tuple[bytes | memoryview, ...], mode: int) -> None:
    folder, name = os.path.split(target)
    beside = os.path.join(folder, f".{name}.{os.urandom(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in parts:
                _write_all(file, memoryview(part))
            if mode == SECRET:  # a build makes its outputs again, a key is made once
                os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _write_all(file: io.FileIO, rest: memoryview) -> None:
    while rest:
        rest = rest[file.write(rest) or 0 :]


def check_place(path: Path) -> None:
    """Find out before a long job whether its result can be written.

    Raises:
        RefusedError: the directory is missing, or `path` is one.
    """
    if not path.parent.is_dir():
        raise RefusedError(f"{path.parent}: found nothing, expected a directory to write {path.name} to", "create it")
    if path.is_dir():
        raise RefusedError(f"{path}: found a directory, expected a file to write", "name a file in it")


def check_folder(path: Path) -> None:
    """Find out before a long job whether its files can be written to a directory that may be made for them.

    Raises:
        RefusedError: something else stands there.
    """
    if path.exists() and not path.is_dir():
        raise RefusedError(f"{path}: found a file, expected a directory", "name another, or one to be made")


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


@contextmanager
def _described(
    path: Path, expected: str, *, error: type[FormatError] | type[RefusedError] = FormatError
) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        missing = path if path.parent.is_dir() else path.parent
        raise error(f"{missing}: found nothing, expected {_a(expected)}", "check the path") from None
    except OSError as problem:
        reason = (problem.strerror or type(problem).__name__).lower()
        raise error(f"{path}: {reason}, expected {_a(expected)}", "check the path and its permissions") from None
