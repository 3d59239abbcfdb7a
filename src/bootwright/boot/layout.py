"""Where everything lies: sectors and trailer fields of each area of one build.

Sources: boot/bootutil/src/bootutil_misc.h, bootutil_area.c, bootutil_misc.c; the sector buffers of `boot_read_sectors`
(MCUboot 2d4bacc3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from bootwright.boot.config import BootConfig, Mode
from bootwright.boot.outcome import halted
from bootwright.flash import Area
from bootwright.formats.mcuboot_trailer import TrailerGeometry, boot_magic

PRIMARY, SECONDARY = 0, 1

#: BOOT_STATUS_STATE_COUNT: status bytes for each sector index
STATES = dict.fromkeys(Mode, 3) | {Mode.OFFSET: 2, Mode.SINGLE: 0}


@dataclass(frozen=True, slots=True)
class Place:
    """An area with the offsets of its trailer fields, counted from its start."""

    area: Area
    sectors: int
    status_size: int  #: bytes of the trailer from the first status byte to the end
    status: int  #: offset of the first status byte; negative when the trailer does not fit
    status_entries: int
    swap_size: int
    tlv_sizes: int  #: swap-offset only
    keys: tuple[int, int]  #: of the primary's and the secondary's image key; only with image encryption
    swap_info: int
    copy_done: int
    image_ok: int
    magic: int
    magic_write: int  #: where the write of the magic, padded in front, begins

    @property
    def status_offset(self) -> int:
        """boot_status_off, which asserts that the trailer fits."""
        if self.status < 0:
            raise halted(
                "mcuboot.trailer.too_large",
                self.area.name,
                f"the trailer needs {self.status_size:#x} bytes, {self.area.name} has {self.area.size:#x}: assertion",
            )
        return self.status


@dataclass(frozen=True, slots=True)
class Layout:
    """All areas of a build, and the numbers that follow from its options."""

    slots: tuple[tuple[Place, Place], ...]  #: [image][PRIMARY or SECONDARY]
    scratch: Place | None
    trailer_size: int  #: boot_trailer_sz(BOOT_WRITE_SZ)
    scratch_trailer_size: int
    write_size: int  #: BOOT_WRITE_SZ
    max_align: int
    sector_size: int
    max_img_sectors: int
    magic: bytes
    magic_write: bytes  #: the magic with its padding, as boot_write_magic writes it

    def sector(self, image: int, slot: int, index: int, *, filled: int) -> tuple[int, int]:
        """fs_off and fs_size of a sector, as `boot_img_sector_off` and `_size` read them, out of bounds too.

        The tables of all slots lie behind each other (boot_sector_buffer); unused entries, and all entries of images
        beyond the first `filled`, are zero.
        """
        place = self.slots[image][slot]
        count, owner = len(self.slots), image
        if not 0 <= index < max(place.sectors, self.max_img_sectors):
            row, index = divmod((slot * count + image) * self.max_img_sectors + index, self.max_img_sectors)
            if row < 0 or row > 2 * count or (row == 2 * count and self.scratch is None):
                raise halted(
                    "mcuboot.sectors.walked_off",
                    place.area.name,
                    f"a sector behind the tables was looked up, {place.area.name} has {place.sectors}: the code walks"
                    " off its sector table",
                )
            owner = row % count if row < 2 * count else 0
            place = self.slots[owner][row // count] if self.scratch is None or row < 2 * count else self.scratch
        if index >= place.sectors or owner >= filled:
            return 0, 0
        return index * self.sector_size, self.sector_size

    def first_trailer_sector(self, image: int, slot: int) -> int:
        """Index of the first sector that holds trailer bytes."""
        place = self.slots[image][slot]
        index = place.sectors - -(-self.trailer_size // self.sector_size)
        if index < 0:
            raise halted(
                "mcuboot.trailer.too_large",
                place.area.name,
                f"the trailer needs {self.trailer_size:#x} bytes, {place.area.name} has {place.area.size:#x}",
            )
        return index


def _place(area: Area, geometry: TrailerGeometry, *, scratch: bool, config: BootConfig) -> Place:
    entries = geometry.states if scratch else geometry.states * geometry.max_sectors
    size = geometry.scratch_trailer_size if scratch else geometry.trailer_size
    magic_write = geometry.magic // geometry.max_align * geometry.max_align
    return Place(
        area=area,
        sectors=-(-area.size // config.sector_size),
        status_size=size,
        status=area.size - size,
        status_entries=entries,
        swap_size=geometry.swap_size,
        tlv_sizes=geometry.swap_info - geometry.max_align,
        keys=(geometry.key(PRIMARY), geometry.key(SECONDARY)),
        swap_info=geometry.swap_info,
        copy_done=geometry.copy_done,
        image_ok=geometry.image_ok,
        magic=geometry.magic,
        magic_write=magic_write,
    )


def _geometry(area: Area, config: BootConfig) -> TrailerGeometry:
    return TrailerGeometry(
        slot_size=area.size,
        max_align=config.max_align,
        write_size=config.write_align,
        max_sectors=config.max_img_sectors,
        states=STATES[config.mode],
        key_size=0 if config.encryption is None else config.encryption.stored_size(config.max_align),
        tlv_sizes_saved=config.mode is Mode.OFFSET,
    )


@lru_cache(maxsize=64)
def layout_of(config: BootConfig) -> Layout:
    """The layout that follows from a build."""
    first = _geometry(config.images[0].primary, config)
    magic = boot_magic(config.max_align)
    scratch = config.scratch if config.mode is Mode.SCRATCH else None
    return Layout(
        slots=tuple(
            (
                _place(pair.primary, _geometry(pair.primary, config), scratch=False, config=config),
                _place(pair.secondary, _geometry(pair.secondary, config), scratch=False, config=config),
            )
            for pair in config.images
        ),
        scratch=None if scratch is None else _place(scratch, _geometry(scratch, config), scratch=True, config=config),
        trailer_size=first.trailer_size,
        scratch_trailer_size=first.scratch_trailer_size,
        write_size=config.write_align,
        max_align=config.max_align,
        sector_size=config.sector_size,
        max_img_sectors=config.max_img_sectors,
        magic=magic,
        magic_write=b"\xff" * (first.magic_field_size - len(magic)) + magic,
    )
