"""Firmware that nobody here wrote: the ESP-IDF bootloaders inside the `espflash` crate."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

_MANIFEST = """[package]
name = "corpus"
version = "0.0.0"
edition = "2021"

[dependencies]
espflash = { version = "4", default-features = false }
"""


def idf_bootloader(name: str) -> Path:
    """A genuine bootloader by name, say `esp32c3`; skips the test where cargo or the crate cannot be had."""
    folder, why = _bootloaders()
    if folder is None:
        pytest.skip(why)
    return folder / f"{name}-bootloader.bin"


@cache
def _bootloaders() -> tuple[Path | None, str]:
    """Let cargo fetch the crate into its own cache; the project that asks for it lies in ours."""
    if shutil.which("cargo") is None:
        return None, "cargo is not installed here, and the ESP-IDF bootloaders come inside the espflash crate"
    project = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bootwright-tests" / "espflash"
    (project / "src").mkdir(parents=True, exist_ok=True)
    (project / "src" / "lib.rs").touch()
    (project / "Cargo.toml").write_text(_MANIFEST)
    found = _unpacked()
    if found is None:
        ran = subprocess.run(
            ["cargo", "fetch", "--quiet"], cwd=project, capture_output=True, text=True, timeout=300, check=False
        )
        found = _unpacked()
        if found is None:
            return None, f"cargo could not fetch the espflash crate: {ran.stderr.strip()[-200:]}"
    return found, ""


def _unpacked() -> Path | None:
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    folders = sorted(home.glob("registry/src/*/espflash-[0-9]*/resources/bootloaders"))
    return folders[-1] if folders else None
