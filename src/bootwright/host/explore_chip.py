"""Whether images are for the chip that they are explored on, as far as their load headers tell.

An MCUboot image names no chip. The load header of the Espressif port says where the application goes in RAM, and the
port's loader starts nothing that leaves the chip's RAM. An image without a load header says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.memory import loader_memory
from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, warned
from bootwright.formats.load_header import verify_load_header
from bootwright.formats.mcuboot_image import parse_header

#: what of the load header depends on the chip's RAM
_PLACES = ("load_header.iram", "load_header.dram", "load_header.entry")

Named = tuple[str, bytes]  #: an image and what to call it


def check_chip(images: Sequence[Named], chip: str | None) -> tuple[Finding, ...]:
    """Refuse images of another chip, or without a chip those that no chip takes all of.

    Returns warnings for images that do not tell, where a chip was asked for.

    Raises:
        FormatError: an image of another chip.
        RefusedError: there is no such chip.
    """
    telling = [(name, data) for name, data in images if _has_load_header(data)]
    if chip is None:
        _refuse_strangers(telling)
        return ()
    title = load_chip(chip).title
    for name, data in telling:
        wrong = _misplaced(data, chip)
        if wrong:
            raise FormatError(f"{name}: found an image of another chip: {wrong} of the {title}", _advice(data))
    return tuple(
        warned(
            "explore.image.chip",
            name,
            f"found no load header of the Espressif port: whether the image is for the {title} is open",
            "build the application for MCUboot's Espressif port",
        )
        for name, data in images
        if not _has_load_header(data)
    )


def _refuse_strangers(images: Sequence[Named]) -> None:
    """Images that no chip takes, or that no one chip takes all of."""
    common = list(CHIP_NAMES)
    for name, data in images:
        fitting = _chips_of(data)
        if not fitting:
            raise FormatError(
                f"{name}: found a load header with addresses outside the RAM of every chip that MCUboot runs on",
                "give the image that was built for MCUboot's Espressif port",
            )
        both = [chip for chip in common if chip in fitting]
        if not both:
            raise FormatError(
                f"{name}: found an image for the {_titles(fitting)}, while {images[0][0]} is for the {_titles(common)}",
                "give images of one chip",
            )
        common = both


def _has_load_header(data: bytes) -> bool:
    try:
        return verify_load_header(data, parse_header(data).hdr_size)[0].verdict is Verdict.PASS
    except FormatError:
        return False  # a damaged image, as a dump may hold


def _misplaced(data: bytes, chip: str) -> str:
    """What the load header wants of a chip that the chip does not have, or nothing."""
    found = verify_load_header(data, parse_header(data).hdr_size, memory=loader_memory(chip))
    wrong = (one.because for one in found if one.code in _PLACES and one.verdict is Verdict.FAIL)
    return next(wrong, "")


def _chips_of(data: bytes) -> list[str]:
    return [name for name in CHIP_NAMES if not _misplaced(data, name)]


def _advice(data: bytes) -> str:
    fitting = _chips_of(data)
    fits = f"its addresses fit the {_titles(fitting)}; " if fitting else ""
    return f"{fits}give the image that was built for this chip"


def _titles(names: Sequence[str]) -> str:
    return " or ".join(load_chip(name).title for name in names)
