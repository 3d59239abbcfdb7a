"""The image trailer at the end of a slot: where each field lies, and how much of the slot is left for the image.

All offsets count from the start of the slot. The geometry follows from the bootloader's build, not from the image:
MCUboot boot/bootutil/src/bootutil_area.c, bootutil_public.c, bootutil_priv.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAGIC_SIZE = 16
#: BOOT_MAGIC_ARR for BOOT_MAX_ALIGN 8 (bootutil_public.c)
MAGIC_ALIGN_8 = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
#: the last 14 bytes for a larger BOOT_MAX_ALIGN, after the alignment as a 16-bit number
MAGIC_REST = bytes.fromhex("2de15d29410b8d77679c110f1f8a")
ESPRESSIF_MAX_SECTORS = 512  # boot/espressif/include/mcuboot_config/mcuboot_config.h MCUBOOT_MAX_IMG_SECTORS
IMGTOOL_MAX_SECTORS = 128  # imgtool image.py DEFAULT_MAX_SECTORS


class UpgradeMode(StrEnum):
    """How MCUboot was built to install an update."""

    SWAP_SCRATCH = "scratch"
    SWAP_MOVE = "move"
    SWAP_OFFSET = "offset"
    OVERWRITE_ONLY = "overwrite"


class MagicState(StrEnum):
    """What MCUboot reads in the 16 bytes of the magic."""

    GOOD = "good"
    BAD = "bad"
    UNSET = "unset"


class FlagState(StrEnum):
    """What MCUboot reads in image_ok and copy_done."""

    SET = "set"
    BAD = "bad"
    UNSET = "unset"


def boot_magic(max_align: int = 8, *, big_endian: bool = False) -> bytes:
    """The 16 bytes that mark a trailer, for a build with this BOOT_MAX_ALIGN."""
    if max_align == 8:
        return MAGIC_ALIGN_8
    return max_align.to_bytes(2, "big" if big_endian else "little") + MAGIC_REST


def align_of_magic(magic: bytes) -> int | None:
    """The BOOT_MAX_ALIGN that a magic was written for; None for what is no magic."""
    if magic == MAGIC_ALIGN_8:
        return 8
    align = int.from_bytes(magic[:2], "little")
    return align if magic[2:] == MAGIC_REST and align in (16, 32) else None


def decode_magic(magic: bytes, max_align: int = 8, erased: int = 0xFF) -> MagicState:
    """What a build with this BOOT_MAX_ALIGN makes of a magic; another build's magic is BAD."""
    if magic == bytes([erased]) * MAGIC_SIZE:
        return MagicState.UNSET
    return MagicState.GOOD if magic == boot_magic(max_align) else MagicState.BAD


def decode_flag(byte: int, erased: int = 0xFF) -> FlagState:
    """What MCUboot makes of an image_ok or copy_done byte."""
    if byte == erased:
        return FlagState.UNSET
    return FlagState.SET if byte == 1 else FlagState.BAD


def align_up(value: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-value // unit) * unit


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailerGeometry:
    """Where the trailer's fields lie in a slot, or with `max_sectors=1` in the scratch area."""

    slot_size: int  #: bytes of the slot, or of the scratch area
    max_align: int = 8  #: BOOT_MAX_ALIGN: 8, 16 or 32
    write_size: int = 4  #: bytes of one status entry: the larger write alignment of primary and scratch
    max_sectors: int = ESPRESSIF_MAX_SECTORS  #: BOOT_MAX_IMG_SECTORS of the build
    states: int = 3  #: status entries a sector: 2 for swap-offset
    key_size: int = 0  #: bytes that each of the two saved image keys takes; 0: the build knows no encrypted images
    tlv_sizes_saved: bool = False  #: swap-offset keeps the sizes of the unprotected TLVs

    @property
    def magic(self) -> int:
        """The 16 bytes of the magic."""
        return self.slot_size - MAGIC_SIZE

    @property
    def magic_field_size(self) -> int:
        """Bytes of one write of the magic: 16, or 32 with BOOT_MAX_ALIGN 32; the filling comes first."""
        return align_up(MAGIC_SIZE, self.max_align)

    @property
    def image_ok(self) -> int:
        """The image_ok byte."""
        return (self.magic - self.max_align) // self.max_align * self.max_align

    @property
    def copy_done(self) -> int:
        """The copy_done byte."""
        return self.image_ok - self.max_align

    @property
    def swap_info(self) -> int:
        """The swap_info byte: swap type in the low nibble, image number in the high one."""
        return self.copy_done - self.max_align

    @property
    def tlv_sizes(self) -> int | None:
        """The sizes of the unprotected TLVs, primary and secondary, 16 bits each; swap-offset only."""
        return self.swap_info - self.max_align if self.tlv_sizes_saved else None

    @property
    def swap_size(self) -> int:
        """The 32 bits of swap_size."""
        return self.swap_info - self.max_align * (2 if self.tlv_sizes_saved else 1)

    def key(self, slot: int) -> int:
        """The saved image key of slot 0 (primary) or 1 (secondary)."""
        return self.swap_size - (slot + 1) * self.key_size

    @property
    def status_size(self) -> int:
        """Bytes of all swap status entries."""
        return self.max_sectors * self.states * self.write_size

    @property
    def info_size(self) -> int:
        """Bytes of everything but the status entries."""
        flags = self.max_align * (5 if self.tlv_sizes_saved else 4)
        return 2 * self.key_size + flags + self.magic_field_size

    @property
    def trailer_size(self) -> int:
        """Bytes of the whole trailer (`boot_trailer_sz`)."""
        return self.status_size + self.info_size

    @property
    def scratch_trailer_size(self) -> int:
        """Bytes of the trailer in the scratch area (`boot_scratch_trailer_sz`): one sector's entries."""
        return self.states * self.write_size + self.info_size

    @property
    def status(self) -> int:
        """The first swap status entry (`boot_status_off`); negative when the slot is too small for its trailer."""
        return self.slot_size - self.trailer_size

    def max_image_size(self, mode: UpgradeMode, *, sector_size: int = 4096) -> int:
        """Bytes that header, payload and all TLVs may take (`bootutil_max_image_size`), for two equal slots."""
        in_sectors = self.slot_size - align_up(self.trailer_size, sector_size) - sector_size
        if mode is UpgradeMode.OVERWRITE_ONLY:
            size = self.swap_info
        elif mode is UpgradeMode.SWAP_SCRATCH:
            in_first_sector = align_up(self.status, sector_size) - self.status or sector_size
            size = self.status - max(self.scratch_trailer_size - in_first_sector, 0)
        else:
            size = in_sectors
        return max(size, 0)


def espressif_geometry(
    slot_size: int, *, flash_encryption: bool = False, fuse_burned: bool | None = None
) -> TrailerGeometry:
    """The trailer of the Espressif port, which knows three: flash encryption off, compiled in, and active.

    The alignment follows the build (`CONFIG_SECURE_FLASH_ENC_ENABLED`), the write size the eFuse; `fuse_burned`
    defaults to `flash_encryption`, the state after the first boot.
    """
    burned = flash_encryption if fuse_burned is None else fuse_burned
    return TrailerGeometry(slot_size=slot_size, max_align=32 if flash_encryption else 8, write_size=32 if burned else 4)
