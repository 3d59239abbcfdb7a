"""What the chip prints: lines, and who says them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """A line on the console."""

    speaker: str  #: `rom` or `bootloader`
    text: str
    seen: str = ""  #: for the ROM's lines, a public log that shows the same words; empty: we never saw them

    @property
    def is_verified(self) -> bool:
        """Whether real chips are known to print it; a bootloader's lines come from its source."""
        return self.speaker != "rom" or bool(self.seen)

    def __str__(self) -> str:
        return self.text if self.is_verified else f"{self.text}  (wording not verified)"
