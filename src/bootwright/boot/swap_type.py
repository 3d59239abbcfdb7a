"""What the trailers ask for: flags, their decoding and the table that decides the swap type.

Source: boot/bootutil/src/bootutil_public.c, boot_swap_tables (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, Protocol


class Magic(IntEnum):
    """BOOT_MAGIC_*: what the trailer's magic says."""

    GOOD = 1
    BAD = 2
    UNSET = 3


class Flag(IntEnum):
    """BOOT_FLAG_*: what a one-byte flag says."""

    SET = 1
    BAD = 2
    UNSET = 3


class SwapType(IntEnum):
    """BOOT_SWAP_TYPE_*."""

    NONE = 1
    TEST = 2
    PERM = 3
    REVERT = 4
    FAIL = 5
    PANIC = 0xFF


#: BOOT_IS_UPGRADE: an image is going to move
UPGRADES = frozenset({SwapType.TEST, SwapType.PERM, SwapType.REVERT})


class Trailer(Protocol):
    """What the tables ask of a trailer. Whoever reads it may look at a field no sooner than it is asked for."""

    @property
    def good(self) -> bool:
        """Whether the magic is the build's."""
        ...

    @property
    def magic(self) -> Magic:
        """The magic."""
        ...

    @property
    def copy_done(self) -> Flag:
        """Whether the swap that brought the image is complete."""
        ...

    @property
    def image_ok(self) -> Flag:
        """Whether the image is confirmed."""
        ...


class SwapState(NamedTuple):
    """`struct boot_swap_state`: the trailer, decoded."""

    magic: Magic
    swap_type: int  #: NONE where swap_info is erased or above REVERT; 0 stays 0, as in the C code
    image_num: int
    copy_done: Flag
    image_ok: Flag

    @property
    def good(self) -> bool:
        """Whether the magic is the build's."""
        return self.magic is Magic.GOOD

    def describe(self) -> str:
        """The console line's words (BOOT_LOG_SWAP_STATE)."""
        magic = {Magic.GOOD: "good", Magic.UNSET: "unset"}.get(self.magic, "bad")
        return (
            f"magic={magic}, swap_type={self.swap_type:#x}, copy_done={self.copy_done:#x}, image_ok={self.image_ok:#x}"
        )


def decode_flag(byte: int) -> Flag:
    """boot_read_flag."""
    return Flag.UNSET if byte == 0xFF else Flag.SET if byte == 1 else Flag.BAD


def has_magic(trailer: Trailer, magic: Magic) -> bool:
    """Whether the magic is this one; for a good one it does not matter what else it is."""
    return trailer.good if magic is Magic.GOOD else trailer.magic is magic


class SwapRow(NamedTuple):
    """A row of the table; None matches anything."""

    secondary_magic: Magic | None
    primary_magic: Magic | None
    primary_image_ok: Flag | None
    secondary_image_ok: Flag | None
    primary_copy_done: Flag | None
    secondary_copy_done: Flag | None
    swap_type: SwapType

    def matches(self, primary: Trailer, secondary: Trailer) -> bool:
        """Whether every column that is not None agrees; it looks no further than the first that does not."""
        return (
            (self.secondary_magic is None or has_magic(secondary, self.secondary_magic))
            and (self.primary_magic is None or has_magic(primary, self.primary_magic))
            and (self.primary_image_ok is None or self.primary_image_ok is primary.image_ok)
            and (self.secondary_image_ok is None or self.secondary_image_ok is secondary.image_ok)
            and (self.primary_copy_done is None or self.primary_copy_done is primary.copy_done)
            and (self.secondary_copy_done is None or self.secondary_copy_done is secondary.copy_done)
        )


#: boot_swap_tables; the first row that matches decides
SWAP_TABLE = (
    SwapRow(Magic.GOOD, None, None, Flag.UNSET, None, None, SwapType.TEST),
    SwapRow(Magic.GOOD, None, None, Flag.SET, None, None, SwapType.PERM),
    SwapRow(None, Magic.GOOD, Flag.UNSET, None, Flag.SET, None, SwapType.REVERT),
)
#: swap-offset: a secondary trailer with copy_done is a revert that lost power before it began
SWAP_TABLE_OFFSET = (
    SwapRow(Magic.GOOD, None, None, Flag.UNSET, None, Flag.SET, SwapType.REVERT),
    *SWAP_TABLE,
)


def swap_type_of(primary: Trailer, secondary: Trailer, *, offset: bool) -> SwapType:
    """boot_swap_type_multi: what both trailers together ask for."""
    for row in SWAP_TABLE_OFFSET if offset else SWAP_TABLE:
        if row.matches(primary, secondary):
            return row.swap_type
    return SwapType.NONE
