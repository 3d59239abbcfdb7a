"""From an ELF to an image: which sections go into it, in what order, and with which padding.

The second-stage bootloader maps flash in pages, so that a section of mapped flash must lie in the file where its
address lies in its page. The room before it is filled with parts of what goes to RAM, or with zeros. Source: ESP-IDF
docs/en/api-reference/system/app_image_format.rst, and elf2image of esptool 5.6, whose files ours equal.
"""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from bootwright.errors import FormatError, SiliconError
from bootwright.formats.esp_image import (
    FLASH_SIZES,
    HASH_SIZE,
    MAX_SEGMENT_SIZE,
    ROW,
    AppDesc,
    EspImageHeader,
    Segment,
    SegmentHeader,
    SpiMode,
    make_image,
)

MACHINES = {0x5E: "Xtensa", 0xF3: "RISC-V"}  #: EM_XTENSA, EM_RISCV
APP_DESC_SECTION = ".flash.appdesc"
BOOTLOADER_DESC_SECTION = ".dram0.bootdesc"
ELF_SHA256_OFFSET = 0xB0  #: in the file: behind the header of the first segment, in its description
DEFAULT_PAGE = 0x10000
_LOADED = ("SHT_PROGBITS", "SHT_INIT_ARRAY", "SHT_FINI_ARRAY", "SHT_PREINIT_ARRAY")
_SHORT_PAGE = 0x24  #: an ESP32 bootloader does not map a last page with fewer bytes than this
_HEADER = SegmentHeader.size()
#: behind the checksum, up to the end of a page: hash and signature (version 1), or the hash alone (version 2)
_SECURE_TAILS = {1: HASH_SIZE + 4 + 64 + 12, 2: HASH_SIZE}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTarget:
    """What an image must know of its chip."""

    title: str
    chip_id: int
    flash: tuple[range, ...]  #: addresses at which flash is mapped
    borders: tuple[int, ...]  #: addresses at which one memory ends and another begins
    mmu_page_sizes: tuple[int, ...]  #: one, where it cannot be chosen
    flash_frequencies: Mapping[str, int] = field(default_factory=dict)  #: name → code in the header
    fills_last_page: bool = False  #: keep the last page of mapped flash from being nearly empty

    def is_flash(self, address: int) -> bool:
        """Whether flash is mapped there."""
        return any(address in part for part in self.flash)

    def memory(self, address: int) -> int:
        """A number that is the same for addresses of the same memory."""
        return bisect_right(self.borders, address)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfOptions:
    """What elf2image can be told."""

    spi_mode: SpiMode = SpiMode.DIO
    flash_size: str = "4MB"
    flash_frequency: str | None = None  #: the code 0 where it is left out
    min_rev: int = 0
    min_rev_full: int = 0
    max_rev_full: int = 0xFFFF
    secure_pad: int | None = None  #: 1 or 2: end on a page, so that Secure Boot covers all that is mapped
    append_hash: bool = True
    by_segments: bool = False  #: take program headers instead of sections
    mmu_page_size: int | None = None  #: otherwise what the application's description says
    elf_sha256_offset: int | None = None  #: where in the file the ELF's SHA-256 goes
    pad_to_size: int | None = None  #: fill the file with 0xFF to a multiple of this


@dataclass(frozen=True, slots=True)
class _Piece:
    """A section, or several that adjoin."""

    name: str
    address: int
    data: bytes

    @property
    def end(self) -> int:
        return self.address + len(self.data)


def image_from_elf(elf: bytes, target: ImageTarget, options: ElfOptions | None = None, *, where: str = "ELF") -> bytes:
    """The image for a chip.

    Raises:
        FormatError: no ELF of an Espressif core, nothing to load in it, or sections that no image can hold.
        SiliconError: a page size or a flash frequency that the chip does not have.
    """
    chosen = options or ElfOptions()
    entry, pieces = _read_elf(elf, where, by_segments=chosen.by_segments)
    page = _page_size(pieces, target, chosen)
    digest_at = chosen.elf_sha256_offset
    if digest_at is None and any(APP_DESC_SECTION in one.name and target.is_flash(one.address) for one in pieces):
        digest_at = ELF_SHA256_OFFSET
    merged = _merge(pieces, target)
    segments = list(_place(merged, target, page, where))
    if chosen.secure_pad is not None:
        segments.append(_secure_padding(segments, page, chosen))
    if digest_at is not None:
        segments = _with_elf_hash(segments, digest_at, hashlib.sha256(elf).digest(), where)
    image = make_image(_header(entry, target, chosen), segments).pack()
    return image + b"\xff" * (-len(image) % (chosen.pad_to_size or 1))


def _header(entry: int, target: ImageTarget, options: ElfOptions) -> EspImageHeader:
    if options.flash_size not in FLASH_SIZES:
        raise FormatError(
            f"flash size: found {options.flash_size!r}, expected one of {', '.join(FLASH_SIZES)}", "choose one of these"
        )
    name = options.flash_frequency
    if name is not None and name not in target.flash_frequencies:
        raise SiliconError(
            f"flash frequency: found {name!r}, the {target.title} has {', '.join(target.flash_frequencies)}",
            "choose one of these",
        )
    return EspImageHeader(
        segment_count=0,
        spi_mode=options.spi_mode,
        spi_speed_size=FLASH_SIZES.index(options.flash_size) << 4 | (target.flash_frequencies[name] if name else 0),
        entry_addr=entry,
        chip_id=target.chip_id,
        min_chip_rev=options.min_rev,
        min_chip_rev_full=options.min_rev_full,
        max_chip_rev_full=options.max_rev_full,
        hash_appended=1 if options.append_hash else 0,
    )


def _read_elf(data: bytes, where: str, *, by_segments: bool) -> tuple[int, list[_Piece]]:
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(data))
        machine = elf.header["e_machine"]
        entry = elf.header["e_entry"]
        if elf.elfclass != 32 or not elf.little_endian or machine not in ("EM_XTENSA", "EM_RISCV"):
            raise FormatError(
                f"{where}: found an ELF for {machine} of {elf.elfclass} bits, expected 32 bits of "
                f"{' or '.join(MACHINES.values())}",
                "build with the toolchain of an Espressif chip",
            )
        rows = _segments(elf) if by_segments else _sections(elf)
        pieces = [_Piece(name, address, content + bytes(-len(content) % 4)) for name, address, content in rows]
    except (ELFError, ConstructError, UnicodeDecodeError, OverflowError, ValueError, KeyError, TypeError) as error:
        reason = str(error) or type(error).__name__
        raise FormatError(f"{where}: found no ELF that can be read ({reason})", "build the ELF again") from None
    if not pieces:
        raise FormatError(f"{where}: found nothing that is loaded, expected sections with an address", "link it first")
    return entry, pieces


def _sections(elf: object) -> Iterator[tuple[str, int, bytes]]:
    for section in elf.iter_sections():  # type: ignore[attr-defined]  # pyelftools has no types
        if section["sh_type"] in _LOADED and section["sh_addr"] and section["sh_size"]:
            yield section.name, section["sh_addr"], section.data()


def _segments(elf: object) -> Iterator[tuple[str, int, bytes]]:
    for segment in elf.iter_segments():  # type: ignore[attr-defined]  # pyelftools has no types
        if segment["p_type"] == "PT_LOAD" and segment["p_paddr"] and segment["p_filesz"]:
            yield "PHDR", segment["p_paddr"], segment.data()


def _page_size(pieces: list[_Piece], target: ImageTarget, options: ElfOptions) -> int:
    sizes = target.mmu_page_sizes
    if options.mmu_page_size is not None:
        if options.mmu_page_size not in sizes:
            raise SiliconError(
                f"MMU page size: found {options.mmu_page_size:#x}, the {target.title} has "
                f"{', '.join(f'{size:#x}' for size in sizes)}",
                "leave it out, or choose one of these",
            )
        return options.mmu_page_size
    described = next((one for one in pieces if APP_DESC_SECTION in one.name and target.is_flash(one.address)), None)
    if len(sizes) == 1 or described is None or len(described.data) < AppDesc.size():
        return DEFAULT_PAGE
    description = AppDesc.parse(described.data)
    if description.magic_word != AppDesc.MAGIC:
        return DEFAULT_PAGE
    if description.mmu_page_size:  # said since ESP-IDF 5.4; before, it shows in where the description lies
        return 1 << description.mmu_page_size
    start = described.address - EspImageHeader.size() - _HEADER
    return next((size for size in reversed(sizes) if start % size == 0), DEFAULT_PAGE)


def _merge(pieces: list[_Piece], target: ImageTarget) -> list[_Piece]:
    """Join sections that follow each other in the ELF and in one memory; gaps stay, they may be left out on purpose."""
    merged: list[list[_Piece]] = []
    for piece in pieces:
        last = merged[-1][-1] if merged else None
        if last and piece.address == last.end and target.memory(piece.address) == target.memory(last.address):
            merged[-1].append(piece)
        else:
            merged.append([piece])
    return [_Piece(group[0].name, group[0].address, b"".join(one.data for one in group)) for group in merged]


def _place(pieces: list[_Piece], target: ImageTarget, page: int, where: str) -> Iterator[Segment]:
    """Mapped flash in order of its addresses, each where its page wants it; RAM fills the room before."""
    ordered = sorted(pieces, key=lambda piece: piece.address)
    flash = _first([one for one in ordered if target.is_flash(one.address)], APP_DESC_SECTION)
    ram = _first([one for one in ordered if not target.is_flash(one.address)], BOOTLOADER_DESC_SECTION)
    _check_pages(flash, page, where)
    at = EspImageHeader.size()
    for piece in flash:
        while missing := _room_before(at, piece.address, page):
            if ram and missing > _HEADER:
                filler = Segment(ram[0].address, ram[0].data[:missing])
                rest = _Piece(ram[0].name, ram[0].address + missing, ram[0].data[missing:])
                ram[:1] = [rest] if rest.data else []
            else:
                filler = Segment(0, bytes(missing))
            at += _HEADER + len(filler.data)
            yield filler
        data = piece.data
        if target.fills_last_page and (over := (at + _HEADER + len(data)) % page) < _SHORT_PAGE:
            data += bytes(_SHORT_PAGE - over)
        at += _HEADER + len(data)
        yield _checked(Segment(piece.address, data), where)
    for piece in ram:
        yield _checked(Segment(piece.address, piece.data), where)


def _first(pieces: list[_Piece], name: str) -> list[_Piece]:
    """The section of this name to the front: loaders look for descriptions at the start of the file."""
    return sorted(pieces, key=lambda piece: piece.name != name)


def _room_before(at: int, address: int, page: int) -> int:
    """Bytes of filler, behind a header of its own, that put a segment with this address in its place in the file."""
    room = (page - at % page) + address % page - _HEADER
    if room in (0, page):
        return 0
    room -= _HEADER
    return room if room >= 0 else room + page


def _check_pages(flash: list[_Piece], page: int, where: str) -> None:
    for one, other in pairwise(flash):
        if one.address // page == other.address // page:
            raise FormatError(
                f"{where}: {other.name} at {other.address:#x} and {one.name} at {one.address:#x} share a page of "
                f"{page:#x} bytes, expected one mapping a page",
                "let the linker script merge these sections or keep them apart",
            )


def _checked(segment: Segment, where: str) -> Segment:
    if len(segment.data) >= MAX_SEGMENT_SIZE:
        raise FormatError(
            f"{where}: found a segment of {len(segment.data):#x} bytes at {segment.load_addr:#x}, expected less than "
            f"{MAX_SEGMENT_SIZE:#x}",
            "no image can hold it",
        )
    return segment


def _secure_padding(segments: list[Segment], page: int, options: ElfOptions) -> Segment:
    if options.secure_pad not in _SECURE_TAILS or not options.append_hash:
        raise FormatError(
            f"secure padding: found version {options.secure_pad} and "
            f"{'a' if options.append_hash else 'no'} hash to append, expected version 1 or 2 with a hash",
            "let the hash be appended",
        )
    at = EspImageHeader.size() + sum(_HEADER + len(segment.data) for segment in segments)
    return Segment(0, bytes((page - (at + _HEADER) % page - ROW - _SECURE_TAILS[options.secure_pad]) % page))


def _with_elf_hash(segments: list[Segment], offset: int, digest: bytes, where: str) -> list[Segment]:
    """The ELF's SHA-256 written over zeros at this offset of the file."""
    at = EspImageHeader.size()
    for index, segment in enumerate(segments):
        start = at + _HEADER
        inside = offset - start
        if 0 <= inside <= len(segment.data) - len(digest):
            if any(segment.data[inside : inside + len(digest)]):
                raise FormatError(
                    f"{where}: found other bytes than zeros at {offset:#x} of the image, where the ELF's hash goes",
                    "the application's description is not where it should be",
                )
            data = segment.data[:inside] + digest + segment.data[inside + len(digest) :]
            return [*segments[:index], Segment(segment.load_addr, data), *segments[index + 1 :]]
        at = start + len(segment.data)
    if offset >= at:
        return segments  # as elf2image: an offset behind everything is never reached
    raise FormatError(
        f"{where}: the ELF's hash at {offset:#x} of the image would cross a segment's border", "choose another offset"
    )
