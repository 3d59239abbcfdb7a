"""Files are read with one sentence and written whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from bootwright.errors import FormatError, RefusedError
from bootwright.host.files import read_bytes, read_text, write_file, write_secret


def test_what_was_written_is_read_back_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_file(path, b"one")
    write_file(path, b"two")
    assert read_bytes(path) == b"two"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_key_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("old")
    path.chmod(0o644)
    write_secret(path, b"key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_content_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    write_file(path, b"old")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RefusedError, match="no space left on device"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_each_unusable_file_has_its_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "large").write_bytes(bytes(11))
    (tmp_path / "binary").write_bytes(b"ab\xff")
    for path, message in [
        (tmp_path / "none", r"none: found nothing, expected a file"),
        (tmp_path / "no" / "where", r"no: found nothing, expected a file"),
        (tmp_path, r"found a directory, expected a file"),
        (tmp_path / "empty", r"empty: found an empty file"),
        (tmp_path / "large", r"more than 0xa bytes, expected a file of at most 0xa"),
    ]:
        with pytest.raises(FormatError, match=message):
            read_bytes(path, limit=10)
    with pytest.raises(FormatError, match="found byte 0xff at offset 0x2, expected text"):
        read_text(tmp_path / "binary")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="missing: found nothing"):
        write_file(tmp_path / "missing" / "a.bin", b"x")


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_file(tmp_path / "link", b"one ", b"two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"one two"


def test_what_is_no_regular_file_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(pipe, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
