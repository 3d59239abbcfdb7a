"""The recorded traces of the real MCUboot, read from their archive."""

from __future__ import annotations

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


@cache
def _documents(kind: str = "mcuboot") -> dict[str, bytes]:
    with tarfile.open(VECTORS / f"{kind}.tar.xz", "r:xz") as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive.getmembers())
        return {name.removesuffix(".json"): file.read() for name, file in files if file is not None}


def trace_names() -> list[str]:
    """The names of all traces."""
    return sorted(_documents())


def trace_document(name: str) -> dict[str, Any]:
    """One trace, as JSON gives it."""
    document: dict[str, Any] = json.loads(_documents()[name])
    return document


def odd_names() -> list[str]:
    """The names of the model's own traces of odd scenes."""
    return sorted(_documents("odd"))


def odd_document(name: str) -> dict[str, Any]:
    """One of them, as JSON gives it."""
    document: dict[str, Any] = json.loads(_documents("odd")[name])
    return document


def first_boot_names() -> list[str]:
    """The names of all first-boot traces."""
    return sorted(_documents("firstboot"))


def first_boot_document(name: str) -> dict[str, Any]:
    """One first-boot trace, as JSON gives it."""
    document: dict[str, Any] = json.loads(_documents("firstboot")[name])
    return document
