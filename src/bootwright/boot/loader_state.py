"""What the bootloader holds in RAM during a boot, and the flash work that all upgrade strategies share.

Sources: `struct boot_loader_state`, `struct boot_status` (bootutil_priv.h), bootutil_area.c, bootutil_misc.c,
bootutil_public.c, swap_misc.c, loader.c (MCUboot 2d4bacc3). Assertions of the C code raise `HaltError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

from bootwright.boot.config import BootConfig, Mode
from bootwright.boot.espressif_flash import EspressifFlash
from bootwright.boot.header import HEADER_SIZE, NO_HEADER, Header, parse_header
from bootwright.boot.layout import PRIMARY, SECONDARY, Layout, Place, layout_of
from bootwright.boot.outcome import HaltError, halted
from bootwright.boot.probe import Probe
from bootwright.boot.swap_type import Flag, Magic, SwapState, SwapType, decode_flag, swap_type_of
from bootwright.flash import Area, Flash, Program

T = TypeVar("T")


class Source(IntEnum):
    """Which area holds the swap status (BOOT_STATUS_SOURCE_*)."""

    NONE = 0
    SCRATCH = 1
    PRIMARY_SLOT = 2


#: BOOT_SLOT_NONE
NO_SLOT = -1

#: BOOT_STATUS_OP_*; swap-offset has no move phase
MOVE, SWAP = 1, 2


@dataclass(slots=True)
class Status:
    """`struct boot_status`: how far a swap got. Indices and states count from 1, as in the C code."""

    idx: int = 1
    state: int = 1
    op: int = MOVE
    use_scratch: bool = False
    swap_type: int = SwapType.NONE  #: the nibble as it was read; only a row of the table makes it a `SwapType`
    swap_size: int = 0
    source: Source = Source.NONE
    #: enckey or enctlv of both slots as the trailer keeps them; empty in a build without encryption
    stored_keys: list[bytes] = field(default_factory=list)

    @property
    def is_reset(self) -> bool:
        """boot_status_is_reset: no status byte was found."""
        return self.idx == 1 and self.state == 1 and self.op == MOVE


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


class Fields:
    """A `Trailer` in the flash as it is now, field by field: what nobody asks for is not looked at."""

    __slots__ = ("_loader", "place")

    def __init__(self, loader: Loader, place: Place) -> None:
        self._loader = loader
        self.place = place

    @property
    def good(self) -> bool:
        """Whether the magic is the build's."""
        magic = self._loader.layout.magic
        return self._loader.field(self.place, self.place.magic, 16, "magic is good", lambda data: data == magic)

    @property
    def magic(self) -> Magic:
        """The magic; another alignment's is BAD."""
        magic = self._loader.layout.magic
        return self._loader.field(self.place, self.place.magic, 16, "magic", lambda data: _magic_in(data, magic))

    @property
    def copy_done(self) -> Flag:
        """Whether the swap that brought the image is complete."""
        return self._loader.field(self.place, self.place.copy_done, 1, "flag", _flag_in)

    @property
    def image_ok(self) -> Flag:
        """Whether the image is confirmed."""
        return self._loader.field(self.place, self.place.image_ok, 1, "flag", _flag_in)

    @property
    def swap_type(self) -> int:
        """As `SwapState` has it."""
        return self._loader.field(self.place, self.place.swap_info, 1, "swap type", _swap_type_in)

    @property
    def image_num(self) -> int:
        """As `SwapState` has it."""
        return self._loader.field(self.place, self.place.swap_info, 1, "image number", _image_num_in)


def _magic_in(data: bytes, good: bytes) -> Magic:
    if data == good:
        return Magic.GOOD
    return Magic.UNSET if data == b"\xff" * 16 else Magic.BAD


def _flag_in(data: bytes) -> Flag:
    return decode_flag(data[0])


def _is_swap_info(byte: int) -> bool:
    return byte != 0xFF and byte & 0xF <= SwapType.REVERT


def _swap_type_in(data: bytes) -> int:
    return data[0] & 0xF if _is_swap_info(data[0]) else SwapType.NONE


def _image_num_in(data: bytes) -> int:
    return data[0] >> 4 if _is_swap_info(data[0]) else 0


def _unreadable(place: Place) -> HaltError:
    name = place.area.name
    return halted("mcuboot.trailer.unreadable", name, f"the trailer of {name} cannot be read")


class Loader:
    """`struct boot_loader_state`: one boot of one build over one flash."""

    __slots__ = (
        "active",
        "config",
        "esp",
        "filled",
        "flash",
        "has_upgrade",
        "headers",
        "image",
        "image_keys",
        "layout",
        "probe",
        "secondary_offset",
        "swap_types",
        "unprotected_tlv_size",
    )

    def __init__(self, flash: Flash, config: BootConfig, probe: Probe) -> None:
        count = len(config.images)
        self.flash = flash
        self.config = config
        self.probe = probe
        self.layout: Layout = layout_of(config)
        self.esp = EspressifFlash(flash, config, probe)
        self.image = 0  #: curr_img_idx
        self.filled = count  #: images whose sector tables were read so far
        self.headers: list[list[Header]] = [[NO_HEADER, NO_HEADER] for _ in range(count)]
        self.swap_types: list[int] = [SwapType.NONE] * count
        self.secondary_offset = [0] * count  #: swap-offset: where the secondary image begins
        self.unprotected_tlv_size = [[0, 0] for _ in range(count)]  #: swap-offset
        self.image_keys: list[list[bytes | None]] = [[None, None] for _ in range(count)]  #: enc: those that are valid
        self.active = [NO_SLOT] * count  #: slot_usage.active_slot: what runs, where both slots are equivalent
        self.has_upgrade = False

    def new_status(self) -> Status:
        """boot_status_reset."""
        encryption = self.config.encryption
        if encryption is None:
            return Status()
        size = encryption.stored_size(self.layout.max_align)
        return Status(stored_keys=[b"\xff" * size, b"\xff" * size])

    def start_of(self, slot: int) -> int:
        """Where the image of a slot begins in it: swap-offset alone has its updates one sector up."""
        return self.secondary_offset[self.image] if slot == SECONDARY else 0

    def sector_offset(self, slot: int, index: int) -> int:
        """boot_img_sector_off of the current image."""
        return self.layout.sector(self.image, slot, index, filled=self.filled)[0]

    def sector_length(self, slot: int, index: int) -> int:
        """boot_img_sector_size of the current image."""
        return self.layout.sector(self.image, slot, index, filled=self.filled)[1]

    def place(self, slot: int) -> Place:
        """BOOT_IMG_AREA of the current image."""
        return self.layout.slots[self.image][slot]

    @property
    def scratch(self) -> Place:
        """The scratch area; only swap-scratch asks."""
        if self.layout.scratch is None:
            raise halted("mcuboot.scratch.missing", "scratch", "the build has no scratch area")
        return self.layout.scratch

    def header(self, slot: int) -> Header:
        """boot_img_hdr of the current image."""
        return self.headers[self.image][slot]

    @property
    def swap_type(self) -> int:
        """BOOT_SWAP_TYPE of the current image."""
        return self.swap_types[self.image]

    @swap_type.setter
    def swap_type(self, value: int) -> None:
        self.swap_types[self.image] = value

    def mark(self, step: str, status: Status) -> None:
        """Tell the probe everything in RAM that later operations can depend on."""
        others = self.headers if len(self.headers) > 1 or self.config.mode is Mode.OFFSET else ()
        self.probe.mark(
            (
                step,
                self.image,
                status.idx,
                status.state,
                status.op,
                status.use_scratch,
                status.swap_type,
                status.swap_size,
                status.source,
                self.has_upgrade,
                self.filled,
                tuple(self.swap_types),
                tuple(tuple(pair) for pair in others),
                tuple(self.secondary_offset),
                tuple(tuple(pair) for pair in self.unprotected_tlv_size),
                *self._secrets(status),
            )
        )

    def _secrets(self, status: Status) -> tuple[object, ...]:
        if self.config.encryption is None:
            return ()
        return tuple(tuple(pair) for pair in self.image_keys), tuple(status.stored_keys)

    # --- reading trailers ---

    def swap_state(self, place: Place) -> SwapState:
        """boot_read_swap_state."""
        area = place.area
        length = area.size - place.swap_info
        found = self.esp.observe(area, place.swap_info, length, "trailer", lambda data: self._decoded(place, data))
        if found is None:
            raise _unreadable(place)
        return found

    def trailer(self, place: Place) -> Fields:
        """boot_read_swap_state, of which no more is looked at than is asked for; it shows what writes change."""
        if not self.esp.reaches(place.area, place.swap_info, place.area.size - place.swap_info):
            raise _unreadable(place)
        return Fields(self, place)

    def field(self, place: Place, offset: int, length: int, what: str, decode: Callable[[bytes], T]) -> T:
        """One field of a trailer."""
        found = self.esp.observe(place.area, offset, length, what, decode)
        if found is None:
            raise _unreadable(place)
        return found

    def describe(self, name: str, trailer: Fields) -> None:
        """The console line on a trailer."""
        self.probe.look("INF", lambda: f"{name}: {self.swap_state(trailer.place).describe()}")

    def _decoded(self, place: Place, data: bytes) -> SwapState:
        return SwapState(
            magic=_magic_in(data[-16:], self.layout.magic),
            swap_type=_swap_type_in(data),
            image_num=_image_num_in(data),
            copy_done=decode_flag(data[place.copy_done - place.swap_info]),
            image_ok=decode_flag(data[place.image_ok - place.swap_info]),
        )

    def requested_swap(self) -> SwapType:
        """boot_swap_type_multi for the current image."""
        primary, secondary = self.trailer(self.place(PRIMARY)), self.trailer(self.place(SECONDARY))
        swap_type = swap_type_of(primary, secondary, offset=self.config.mode is Mode.OFFSET)
        self.probe.log("INF", f"Image index: {self.image}, Swap type: {swap_type.name.lower()}")
        return swap_type

    def find_status(self) -> Place:
        """boot_find_status: scratch if its magic is good, else the primary slot whatever it holds."""
        if self.layout.scratch is not None:
            area, magic = self.scratch.area, self.layout.magic
            if self.esp.observe(area, self.scratch.magic, 16, "magic is good", lambda data: data == magic):
                return self.scratch
        return self.place(PRIMARY)

    def read_swap_size(self, place: Place) -> int:
        """boot_read_swap_size."""
        size = self.esp.observe(place.area, place.swap_size, 4, "swap size", _little)
        if size is None:
            raise halted("mcuboot.trailer.unreadable", place.area.name, "the swap size cannot be read")
        return size

    def read_header(self, area: Area, offset: int) -> Header | None:
        """The 32 bytes at an offset, as a header whatever they are; None where the read is refused."""
        return self.esp.observe(area, offset, HEADER_SIZE, "header", parse_header)

    # --- writing trailers ---

    def _must_write(self, place: Place, offset: int, data: bytes, why: str) -> Program[None]:
        ops = self.esp.write(place.area, offset, data, why)
        if ops is None:
            raise halted("mcuboot.write.refused", place.area.name, f"{why}: the write leaves {place.area.name}")
        yield from ops

    def write_trailer(self, place: Place, offset: int, data: bytes, why: str) -> Program[None]:
        """boot_write_trailer: padded with erased bytes to the flash's alignment."""
        size = -(-len(data) // self.layout.write_size) * self.layout.write_size
        if size > self.layout.max_align:
            raise halted(
                "mcuboot.trailer.align",
                place.area.name,
                f"writes are aligned to {self.layout.write_size} bytes, the build allows {self.layout.max_align}",
            )
        yield from self._must_write(place, offset, data + b"\xff" * (size - len(data)), why)

    def write_magic(self, place: Place) -> Program[None]:
        """boot_write_magic."""
        yield from self._must_write(place, place.magic_write, self.layout.magic_write, "write magic")

    def write_image_ok(self, place: Place) -> Program[None]:
        """boot_write_image_ok."""
        yield from self.write_trailer(place, place.image_ok, b"\x01", "write image_ok")

    def write_copy_done(self, place: Place) -> Program[None]:
        """boot_write_copy_done."""
        yield from self.write_trailer(place, place.copy_done, b"\x01", "write copy_done")

    def write_swap_info(self, place: Place, swap_type: int, image: int) -> Program[None]:
        """boot_write_swap_info; BOOT_SET_SWAP_INFO asserts that the type fits its nibble."""
        if swap_type >= 0xF:
            raise halted("mcuboot.swap_info.type", place.area.name, f"swap type {swap_type:#x} does not fit swap_info")
        yield from self.write_trailer(place, place.swap_info, bytes([image << 4 | swap_type]), "write swap_info")

    def write_swap_size(self, place: Place, size: int) -> Program[None]:
        """boot_write_swap_size."""
        yield from self.write_trailer(place, place.swap_size, size.to_bytes(4, "little"), "write swap_size")

    def write_status(self, status: Status, offset: int) -> Program[None]:
        """boot_write_status at `offset` behind the first status byte."""
        place = self.scratch if status.use_scratch else self.place(PRIMARY)
        data = bytes([status.state]) + b"\xff" * (self.layout.write_size - 1)
        ops = self.esp.write(place.area, place.status_offset + offset, data, "write status")
        if ops is not None:  # a refused status write is only counted (boot_status_fails)
            yield from ops

    def status_init(self, place: Place, status: Status) -> Program[None]:
        """swap_status_init: the trailer of a swap that begins, its magic last."""
        self.mark(f"init {place.area.name}", status)
        secondary = self.trailer(self.place(SECONDARY))
        if status.swap_type != SwapType.NONE:
            yield from self.write_swap_info(place, status.swap_type, self.image)
        if secondary.image_ok is Flag.SET:  # which the write of swap_info leaves as it was
            yield from self.write_image_ok(place)
        yield from self.write_swap_size(place, status.swap_size)
        if self.config.mode is Mode.OFFSET:
            sizes = self.unprotected_tlv_size[self.image]
            both = (sizes[SECONDARY] << 16 | sizes[PRIMARY]).to_bytes(4, "little")
            yield from self.write_trailer(place, place.tlv_sizes, both, "write unprotected TLV sizes")
        yield from self.write_keys(place, status)
        yield from self.write_magic(place)

    def write_keys(self, place: Place, status: Status) -> Program[None]:
        """boot_write_enc_keys, whose failure nobody looks at."""
        for offset, data in zip(place.keys, status.stored_keys, strict=False):
            ops = self.esp.write(place.area, offset, data, "write image key")
            if ops is None:
                return
            yield from ops

    def set_image_ok(self) -> Program[None]:
        """swap_set_image_ok."""
        place = self.place(PRIMARY)
        if self.trailer(place).image_ok is Flag.UNSET:
            yield from self.write_image_ok(place)

    # --- erasing and copying ---

    def erase_region(self, place: Place, offset: int, size: int, why: str, *, backwards: bool = False) -> Program[bool]:
        """boot_erase_region: one erase a sector, upwards or downwards; False where it refuses."""
        area, step = place.area, self.layout.sector_size
        if offset >= area.size or area.size - offset < size:
            return False
        first, last = offset // step * step, (offset + size - 1) // step * step
        if backwards:
            sectors = range(last, first - step, -step)
        else:
            sectors = range(first, max(last, first) + step, step)
        for at in sectors:
            yield from self.esp.erase(area, at, step, why)
        return True

    def must_erase(self, place: Place, offset: int, size: int, why: str, *, backwards: bool = False) -> Program[None]:
        """An erase whose failure is asserted against."""
        done = yield from self.erase_region(place, offset, size, why, backwards=backwards)
        if not done:
            raise halted(
                "mcuboot.erase.refused",
                place.area.name,
                f"{why}: erasing {size:#x} bytes at {offset:#x} leaves {place.area.name}: assertion",
            )

    def scramble_trailer(self, place: Place, why: str = "erase trailer") -> Program[bool]:
        """swap_scramble_trailer_sectors: downwards, magic first; False where the trailer does not fit."""
        start = place.area.size - self.layout.trailer_size
        if start < 0:
            return False
        start -= start % self.layout.sector_size
        return (yield from self.erase_region(place, start, place.area.size - start, why, backwards=True))

    def must_scramble_trailer(self, place: Place, why: str) -> Program[None]:
        """As every swap does it: a refusal is asserted against."""
        done = yield from self.scramble_trailer(place, why)
        if not done:
            raise halted(
                "mcuboot.trailer.too_large",
                place.area.name,
                f"the trailer needs {self.layout.trailer_size:#x} bytes, {place.area.name} has {place.area.size:#x}:"
                " assertion",
            )

    def scramble_slot(self, place: Place, why: str) -> Program[None]:
        """boot_scramble_slot: the whole slot, upwards."""
        yield from self.erase_region(place, 0, place.area.size, why)
