"""What code that boots sees of the chip it runs on, and how it ends.

A bootloader is a program: it reads flash and eFuses by calls, and yields every change, a flash operation or one
program command of the eFuse controller. The machine performs, records and cuts them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses
from bootwright.finding import Finding
from bootwright.flash import Flash, FlashOp


@dataclass(frozen=True, slots=True)
class BurnEfuse:
    """One program command: ask for these bits of `block`. What the silicon then sets is the silicon's to say."""

    block: int
    data: bytes = field(repr=False)  #: as long as the block; may be a key
    why: str = ""


Step = FlashOp | BurnEfuse

T = TypeVar("T")
Steps = Generator[Step, None, T]


class Outcome(StrEnum):
    """How one run from reset ended."""

    APP = "app"  #: an application runs
    RESET = "reset"  #: the bootloader reset the chip on purpose
    PANIC = "panic"  #: the bootloader spins until the watchdog resets the chip
    ROM_REFUSED = "rom-refused"  #: the ROM did not start the bootloader
    POWER_CUT = "power-cut"  #: power went away in the middle
    DOWNLOAD = "download"  #: the ROM loader waits for a host
    RECOVERY = "recovery"  #: serial recovery waits for a host


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a bootloader ended, and what it checked on the way."""

    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    image_offset: int | None = None  #: flash address of the image that was started
    version: str = ""  #: of that image


class Board(Protocol):
    """The chip as its boot code sees it."""

    @property
    def chip(self) -> Chip:
        """The model's facts."""
        ...

    @property
    def flash(self) -> Flash:
        """The flash through the decryption unit, as it was set up at reset."""
        ...

    @property
    def raw_flash(self) -> Flash:
        """The flash past the decryption unit."""
        ...

    @property
    def efuses(self) -> Efuses:
        """The eFuses as they are now; read-protected blocks read as zeros through `readable_block`."""
        ...

    def random(self, length: int) -> bytes:
        """Bytes from the hardware's random number generator."""
        ...

    def log(self, text: str) -> None:
        """One line on the console."""
        ...


class Bootloader(Protocol):
    """A model of the code that the ROM starts."""

    def run(self, board: Board) -> Steps[Ended]:
        """Run from the entry point to the end: an application, a reset, a panic."""
        ...
