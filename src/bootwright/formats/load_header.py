"""The load header of an MCUboot application on Espressif chips: where its parts go in RAM, and where it starts.

It follows the MCUboot header, at the slot's offset `hdr_size` (0x20). Since 2025 it has 24 words; before, it had the
first eight only, and the loader of today reads whatever follows such a header as its further words. Flash offsets
count from the start of the slot. Source: MCUboot boot/espressif/hal/include/esp_mcuboot_image.h and
boot/espressif/port/esp_loader.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from bootwright.errors import FormatError
from bootwright.finding import Finding, failed, passed, warned
from bootwright.formats.esp_image import Segment
from bootwright.formats.record import U32, Record, Size

HDR_SIZE = 0x20  #: the only `ih_hdr_size` that the port's first-boot encryption knows
SHORT_WORDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadHeader(Record):
    """`esp_image_load_header_t`, the form of today: 24 words."""

    MAGIC: ClassVar[int] = 0xACE637D3

    header_magic: U32 = MAGIC
    entry_addr: U32
    iram_dest_addr: U32
    iram_flash_offset: U32
    iram_size: U32
    dram_dest_addr: U32
    dram_flash_offset: U32
    dram_size: U32
    lp_rtc_iram_dest_addr: U32 = 0
    lp_rtc_iram_flash_offset: U32 = 0
    lp_rtc_iram_size: U32 = 0
    lp_rtc_dram_dest_addr: U32 = 0
    lp_rtc_dram_flash_offset: U32 = 0
    lp_rtc_dram_size: U32 = 0
    irom_map_addr: U32 = 0
    irom_flash_offset: U32 = 0
    irom_size: U32 = 0
    drom_map_addr: U32 = 0
    drom_flash_offset: U32 = 0
    drom_size: U32 = 0
    reserved: Annotated[bytes, Size(16)] = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortLoadHeader(Record):
    """The form of 2022: eight words, and the application's code right behind."""

    MAGIC: ClassVar[int] = LoadHeader.MAGIC

    header_magic: U32 = MAGIC
    entry_addr: U32
    iram_dest_addr: U32
    iram_flash_offset: U32
    iram_size: U32
    dram_dest_addr: U32
    dram_flash_offset: U32
    dram_size: U32


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderMemory:
    """Where a chip's loader lets parts go: half-open ranges of addresses (ESP-IDF soc.h and esp_memory_utils.h)."""

    iram: tuple[range, ...]
    dram: tuple[range, ...]
    rtc_iram: tuple[range, ...] = ()  #: empty on chips without fast RTC memory: its segment is then not checked
    rtc_dram: tuple[range, ...] = ()


def parse_load_header(slot: bytes, hdr_size: int = HDR_SIZE, *, where: str = "load header") -> LoadHeader:
    """The header as the loader of today reads it, 24 words whatever the application was built with.

    Raises:
        FormatError: no magic word, or the data end before the header does.
    """
    header = LoadHeader.parse(slot, hdr_size, where=where)
    if header.header_magic != LoadHeader.MAGIC:
        raise FormatError(
            f"{where}: found magic {header.header_magic:#010x} at {hdr_size:#x}, expected {LoadHeader.MAGIC:#010x}",
            "the application was not built for MCUboot's Espressif port, or the slot is encrypted",
        )
    return header


def make_application(entry_addr: int, iram: Segment, dram: Segment, *, hdr_size: int = HDR_SIZE) -> bytes:
    """A payload for MCUboot, ready for signing: load header, DRAM part, IRAM part. It runs nowhere but in rehearsals.

    Raises:
        FormatError: an address or a size does not fit a word.
    """
    dram_at = hdr_size + LoadHeader.size()
    dram_data = dram.data + bytes(-len(dram.data) % 4)
    header = LoadHeader(
        entry_addr=entry_addr,
        iram_dest_addr=iram.load_addr,
        iram_flash_offset=dram_at + len(dram_data),
        iram_size=len(iram.data),
        dram_dest_addr=dram.load_addr,
        dram_flash_offset=dram_at,
        dram_size=len(dram.data),
    )
    return header.pack() + dram_data + iram.data


def verify_load_header(
    slot: bytes, hdr_size: int = HDR_SIZE, *, memory: LoaderMemory | None = None, subject: str = "load header"
) -> tuple[Finding, ...]:
    """What the loader would say of the application in `slot`, and what it forgets to ask."""
    try:
        header = parse_load_header(slot, hdr_size, where=subject)
    except FormatError as error:
        return (failed("load_header.magic", subject, error.message, error.hint),)
    return (
        passed("load_header.magic", subject, f"the magic word at {hdr_size:#x} is right"),
        _check_form(header, len(slot), subject),
        *_check_addresses(header, memory, subject),
        *_check_offsets(header, len(slot), subject),
        *_check_hdr_size(hdr_size, subject),
    )


def _parts(header: LoadHeader) -> tuple[tuple[str, int, int, int], ...]:
    """`(name, destination, flash offset, size)` of what the loader copies."""
    return (
        ("IRAM", header.iram_dest_addr, header.iram_flash_offset, header.iram_size),
        ("DRAM", header.dram_dest_addr, header.dram_flash_offset, header.dram_size),
        ("LP IRAM", header.lp_rtc_iram_dest_addr, header.lp_rtc_iram_flash_offset, header.lp_rtc_iram_size),
        ("LP DRAM", header.lp_rtc_dram_dest_addr, header.lp_rtc_dram_flash_offset, header.lp_rtc_dram_size),
    )


def _check_form(header: LoadHeader, slot_size: int, subject: str) -> Finding:
    lp_parts = [(name, offset, size) for name, _, offset, size in _parts(header)[2:] if size]
    stray = any(header.reserved) or any(offset + size > slot_size for _, offset, size in lp_parts)
    if stray:
        why = "the words behind the first eight make no sense, expected zeros or LP segments inside the slot"
        hint = "an application with the 8-word header of 2022 under a loader of today: build it against a newer HAL"
        return failed("load_header.form", subject, why, hint)
    return passed("load_header.form", subject, "all 24 words make sense to the loader of today")


def _check_addresses(header: LoadHeader, memory: LoaderMemory | None, subject: str) -> Iterator[Finding]:
    if memory is None:
        return
    iram, dram, lp_iram, lp_dram = _parts(header)
    checks = [(iram, memory.iram, True), (dram, memory.dram, True)]
    checks += [(lp_iram, memory.rtc_iram, bool(lp_iram[3])), (lp_dram, memory.rtc_dram, bool(lp_dram[3]))]
    for (name, start, _, size), ranges, wanted in checks:
        if not wanted or not ranges:
            continue
        code = f"load_header.{name.lower().replace(' ', '_')}"
        where = f"the {name} part goes to {start:#x} to {start + size:#x}"
        if _inside(start, ranges) and _inside(start + size, ranges):
            yield passed(code, subject, where)
        else:
            yield failed(code, subject, f"{where}, expected {name}", "link the application for this chip's loader")
    entry = f"the entry address is {header.entry_addr:#x}"
    if _inside(header.entry_addr, memory.iram):
        yield passed("load_header.entry", subject, entry)
    else:
        yield failed("load_header.entry", subject, f"{entry}, expected IRAM", "link the application for this chip")


def _inside(address: int, ranges: tuple[range, ...]) -> bool:
    return any(address in part for part in ranges)


def _check_offsets(header: LoadHeader, slot_size: int, subject: str) -> Iterator[Finding]:
    for name, _, offset, size in _parts(header):
        if size and offset + size > slot_size:
            why = f"the {name} part at {offset:#x} with {size:#x} bytes leaves the slot of {slot_size:#x}"
            hint = "the loader does not check this: it would copy whatever lies behind"
            yield failed("load_header.bounds", subject, why, hint)


def _check_hdr_size(hdr_size: int, subject: str) -> Iterator[Finding]:
    if hdr_size != HDR_SIZE:
        why = f"the MCUboot header has {hdr_size:#x} bytes; first-boot encryption looks for the load header at 0x20"
        hint = "sign with `--header-size 0x20`, or the primary slot is left in plaintext"
        yield warned("load_header.hdr_size", subject, why, hint)
