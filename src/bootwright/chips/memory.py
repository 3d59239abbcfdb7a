"""What images must know of a chip's address space; see data/memory.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from bootwright.chips.chip import load_chip
from bootwright.formats.esp_elf import ImageTarget
from bootwright.formats.load_header import LoaderMemory

_MEMORY = Path(__file__).parent / "data" / "memory.toml"


@cache
def image_target(name: str) -> ImageTarget:
    """The chip of that name, as a target for images.

    Raises:
        RefusedError: there is no such chip.
    """
    chip = load_chip(name)
    row = _row(chip.name)
    return ImageTarget(
        title=chip.title,
        chip_id=chip.chip_id,
        bootloader_offset=chip.bootloader_offset,
        flash=tuple(range(start, end) for start, end in row["flash"]),
        borders=tuple(row["borders"]),
        mmu_page_sizes=tuple(row["mmu_page_sizes"]),
        flash_frequencies=dict(row["flash_frequencies"]),
        has_secure_boot_v1=1 in chip.secure_boot.versions,
        fills_last_page=row.get("fills_last_page", False),
    )


def uf2_family(name: str) -> int:
    """The number by which UF2 files name the chip.

    Raises:
        RefusedError: there is no such chip.
    """
    family: int = _row(load_chip(name).name)["uf2_family"]
    return family


def loader_memory(name: str) -> LoaderMemory:
    """Where MCUboot's loader lets parts of an application go.

    Raises:
        RefusedError: there is no such chip.
    """
    loader = _row(load_chip(name).name)["loader"]
    return LoaderMemory(**{kind: tuple(range(start, end) for start, end in parts) for kind, parts in loader.items()})


def _row(name: str) -> dict[str, Any]:
    row: dict[str, Any] = tomllib.loads(_MEMORY.read_text())[name]
    return row
