"""How a boot ends."""

from __future__ import annotations

from dataclasses import dataclass

from bootwright.boot.header import Header
from bootwright.finding import Finding, failed


@dataclass(frozen=True, slots=True)
class Booted:
    """MCUboot hands over to the image in the primary slot of image 0 (`struct boot_rsp`)."""

    image_offset: int  #: br_image_off: flash address of the slot
    version: str  #: as the port prints it: major.minor.revision+build
    header: Header
    others: tuple[tuple[int, str], ...] = ()  #: (slot address, version) of the further images


@dataclass(frozen=True, slots=True)
class NoImage:
    """boot_go failed: the port prints "Unable to find bootable image" and stops."""

    why: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Panic:
    """An assertion, a crash or an endless loop of the C code: the same happens at every boot."""

    why: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Recovery:
    """The chip waits in serial recovery and boots nothing."""


BootOutcome = Booted | NoImage | Panic | Recovery


class HaltError(Exception):
    """Thrown by the model where the C code asserts, crashes or never returns; `boot_go` turns it into a `Panic`."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.because)
        self.finding = finding


def halted(code: str, subject: str, because: str) -> HaltError:
    """The error to raise where the C code does not return."""
    return HaltError(failed(code, subject, because, "recover by serial recovery or by flashing the slot anew"))
