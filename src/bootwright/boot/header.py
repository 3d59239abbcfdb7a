"""The image header as the bootloader keeps it in RAM: read fast, judged elsewhere.

Layout: `struct image_header`, boot/bootutil/include/bootutil/image.h (MCUboot 2d4bacc3). The full, round-tripping
form is `bootwright.formats.mcuboot_image`; a boot reads a header many times and needs ten fields.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

IMAGE_MAGIC = 0x96F3B83D
HEADER_SIZE = 32
U32 = 0xFFFFFFFF

FLAG_ENCRYPTED = 0x4 | 0x8
FLAG_NON_BOOTABLE = 0x10
FLAG_RAM_LOAD = 0x20
FLAG_ROM_FIXED = 0x100
FLAG_COMPRESSED = 0x200 | 0x400 | 0x800

_HEADER = Struct("<IIHHIIBBHI")


class Header(NamedTuple):
    """The fields of `struct image_header`."""

    magic: int
    load_addr: int
    hdr_size: int
    protect_tlv_size: int
    img_size: int
    flags: int
    major: int
    minor: int
    revision: int
    build: int

    @property
    def tlv_offset(self) -> int:
        """BOOT_TLV_OFF: where the TLV areas begin; 32-bit arithmetic, it can wrap."""
        return (self.hdr_size + self.img_size) & U32

    @property
    def erased(self) -> bool:
        """Whether the slot looks empty: the magic reads as erased flash."""
        return self.magic == U32

    @property
    def comparable(self) -> tuple[int, int, int]:
        """What boot_compare_version looks at: the build number does not count."""
        return self.major, self.minor, self.revision

    @property
    def version(self) -> str:
        """As the port prints it."""
        return f"{self.major}.{self.minor}.{self.revision}+{self.build}"


#: boot_data is cleared before a boot, so a header that was never read is all zeros.
NO_HEADER = Header(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def parse_header(data: bytes) -> Header:
    """Read a header from its first 28 bytes."""
    return Header._make(_HEADER.unpack_from(data))
