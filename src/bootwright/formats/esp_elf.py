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
HEADER_SIZE = SegmentHeader.size()
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
    bootloader_offset: int = 0  #: where in flash an image lies that the ROM loads
    has_secure_boot_v1: bool = False  #: the padding of version 1 is of use
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
class Piece:
    """A section, or several that adjoin."""

    name: str
    address: int
    data: bytes
    alignment: int = 1  #: of the section, by its header

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + len(self.data)


def image_from_elf(elf: bytes, target: ImageTarget, options: ElfOptions | None = None, *, where: str = "ELF") -> bytes:
    """The image for a chip.

    Raises:
        FormatError: no ELF of an Espressif core, nothing to load in it, or sections that no image can hold.
        SiliconError: a page size or a flash frequency that the chip does not have.
    """
    chosen = options or ElfOptions()
    entry, sections, loaded = read_elf(elf, where)
    pieces = loaded if chosen.by_segments else sections
    page = choose_page_size(sections, target, chosen)
    digest_at = elf_hash_offset(pieces, target, chosen)
    merged = merge_pieces(pieces, target)
    segments = list(_place(merged, target, page, where))
    if chosen.secure_pad is not None:
        segments.append(_secure_padding(segments, page, chosen))
    if digest_at is not None:
        segments = with_elf_hash(segments, EspImageHeader.size(), digest_at, hashlib.sha256(elf).digest(), where)
    image = make_image(make_header(entry, target, chosen), segments).pack()
    return image + b"\xff" * (-len(image) % (chosen.pad_to_size or 1))


def make_header(entry: int, target: ImageTarget, options: ElfOptions) -> EspImageHeader:
    """The header, with no segment counted yet.

    Raises:
        FormatError: no such flash size.
        SiliconError: the chip has no such flash frequency.
    """
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


def read_elf(data: bytes, where: str) -> tuple[int, list[Piece], list[Piece]]:
    """The entry address and everything that is loaded, in the ELF's order: by its sections, and by its segments.

    Raises:
        FormatError: no ELF of an Espressif core, or nothing to load in it.
    """
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
        sections, loaded = (
            [Piece(name, at, content + bytes(-len(content) % 4), align) for name, at, content, align in rows]
            for rows in (_sections(elf), _segments(elf))
        )
    except (ELFError, ConstructError, UnicodeDecodeError, OverflowError, ValueError, KeyError, TypeError) as error:
        reason = str(error) or type(error).__name__
        raise FormatError(f"{where}: found no ELF that can be read ({reason})", "build the ELF again") from None
    if not sections and not loaded:
        raise FormatError(f"{where}: found nothing that is loaded, expected sections with an address", "link it first")
    return entry, sections, loaded


def _sections(elf: object) -> Iterator[tuple[str, int, bytes, int]]:
    for section in elf.iter_sections():  # type: ignore[attr-defined]  # pyelftools has no types
        if section["sh_type"] in _LOADED and section["sh_addr"] and section["sh_size"]:
            yield section.name, section["sh_addr"], section.data(), section["sh_addralign"]


def _segments(elf: object) -> Iterator[tuple[str, int, bytes, int]]:
    for segment in elf.iter_segments():  # type: ignore[attr-defined]  # pyelftools has no types
        if segment["p_type"] == "PT_LOAD" and segment["p_paddr"] and segment["p_filesz"]:
            yield "PHDR", segment["p_paddr"], segment.data(), segment["p_align"]


def choose_page_size(sections: list[Piece], target: ImageTarget, options: ElfOptions) -> int:
    """The page size that was asked for, or that the application's description says or shows.

    Raises:
        SiliconError: the chip has no such page size.
    """
    sizes = target.mmu_page_sizes
    if options.mmu_page_size is not None:
        if options.mmu_page_size not in sizes:
            raise SiliconError(
                f"MMU page size: found {options.mmu_page_size:#x}, the {target.title} has "
                f"{', '.join(f'{size:#x}' for size in sizes)}",
                "leave it out, or choose one of these",
            )
        return options.mmu_page_size
    described = next((one for one in sections if APP_DESC_SECTION in one.name and target.is_flash(one.address)), None)
    if len(sizes) == 1 or described is None or len(described.data) < AppDesc.size():
        return DEFAULT_PAGE
    description = AppDesc.parse(described.data)
    if description.magic_word != AppDesc.MAGIC:
        return DEFAULT_PAGE
    if description.mmu_page_size:  # said since ESP-IDF 5.4; before, it shows in where the description lies
        return 1 << description.mmu_page_size
    start = described.address - EspImageHeader.size() - HEADER_SIZE
    return next((size for size in reversed(sizes) if start % size == 0), DEFAULT_PAGE)


def merge_pieces(pieces: list[Piece], target: ImageTarget) -> list[Piece]:
    """Join sections that follow each other in the ELF and in one memory; gaps stay, they may be left out on purpose."""
    merged: list[list[Piece]] = []
    for piece in pieces:
        last = merged[-1][-1] if merged else None
        if last and piece.address == last.end and target.memory(piece.address) == target.memory(last.address):
            merged[-1].append(piece)
        else:
            merged.append([piece])
    return [Piece(group[0].name, group[0].address, b"".join(one.data for one in group)) for group in merged]


def _place(pieces: list[Piece], target: ImageTarget, page: int, where: str) -> Iterator[Segment]:
    """Mapped flash in order of its addresses, each where its page wants it; RAM fills the room before."""
    ordered = sorted(pieces, key=lambda piece: piece.address)
    flash = first_by_name([one for one in ordered if target.is_flash(one.address)], APP_DESC_SECTION)
    ram = first_by_name([one for one in ordered if not target.is_flash(one.address)], BOOTLOADER_DESC_SECTION)
    check_pages(flash, page, where)
    at = EspImageHeader.size()
    for piece in flash:
        while missing := _room_before(at, piece.address, page):
            if ram and missing > HEADER_SIZE:
                filler = Segment(ram[0].address, ram[0].data[:missing])
                rest = Piece(ram[0].name, ram[0].address + missing, ram[0].data[missing:])
                ram[:1] = [rest] if rest.data else []
            else:
                filler = Segment(0, bytes(missing))
            at += HEADER_SIZE + len(filler.data)
            yield filler
        data = piece.data + bytes(short_page_fill(at, len(piece.data), target, page))
        at += HEADER_SIZE + len(data)
        yield checked_size(Segment(piece.address, data), where)
    for piece in ram:
        yield checked_size(Segment(piece.address, piece.data), where)


def short_page_fill(at: int, size: int, target: ImageTarget, page: int) -> int:
    """Bytes that keep the last page of a mapped segment, whose header is at `at`, from being nearly empty."""
    over = (at + HEADER_SIZE + size) % page
    return _SHORT_PAGE - over if target.fills_last_page and over < _SHORT_PAGE else 0


def first_by_name(pieces: list[Piece], name: str) -> list[Piece]:
    """The first section of this name to the front: loaders look for descriptions at the start of the file."""
    found = next((piece for piece in pieces if piece.name == name), None)
    return pieces if found is None else [found, *(piece for piece in pieces if piece is not found)]


def _room_before(at: int, address: int, page: int) -> int:
    """Bytes of filler, behind a header of its own, that put a segment with this address in its place in the file."""
    room = (page - at % page) + address % page - HEADER_SIZE
    if room in (0, page):
        return 0
    room -= HEADER_SIZE
    return room if room >= 0 else room + page


def check_pages(flash: list[Piece], page: int, where: str) -> None:
    """Refuse sections that share a page of mapped flash.

    Raises:
        FormatError: two do.
    """
    for one, other in pairwise(flash):
        if one.address // page == other.address // page:
            raise FormatError(
                f"{where}: {other.name} at {other.address:#x} and {one.name} at {one.address:#x} share a page of "
                f"{page:#x} bytes, expected one mapping a page",
                "let the linker script merge these sections or keep them apart",
            )


def checked_size(segment: Segment, where: str) -> Segment:
    """The segment, if an image can hold it.

    Raises:
        FormatError: it has 16 MiB or more.
    """
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
    at = EspImageHeader.size() + sum(HEADER_SIZE + len(segment.data) for segment in segments)
    return Segment(0, bytes((page - (at + HEADER_SIZE) % page - ROW - _SECURE_TAILS[options.secure_pad]) % page))


def elf_hash_offset(pieces: list[Piece], target: ImageTarget, options: ElfOptions) -> int | None:
    """Where in the file the ELF's hash goes: as told, or into the description of an application in flash."""
    if options.elf_sha256_offset is not None:
        return options.elf_sha256_offset
    described = any(APP_DESC_SECTION in one.name and target.is_flash(one.address) for one in pieces)
    return ELF_SHA256_OFFSET if described else None


def with_elf_hash(segments: list[Segment], at: int, offset: int, digest: bytes, where: str) -> list[Segment]:
    """The ELF's SHA-256 over zeros at `offset` of the file, in which the segments begin at `at`.

    Where no segment is, nothing is changed, as elf2image does.

    Raises:
        FormatError: there are other bytes than zeros, or a segment ends in the middle of it.
    """
    changed = list(segments)
    for index, segment in enumerate(segments):
        inside = offset - at - HEADER_SIZE
        if -HEADER_SIZE <= inside < len(segment.data) - HEADER_SIZE:
            if inside < 0 or inside + len(digest) > len(segment.data) - HEADER_SIZE:
                raise FormatError(
                    f"{where}: the ELF's hash at {offset:#x} of the image would cross a segment's border",
                    "choose another offset",
                )
            if any(segment.data[inside : inside + len(digest)]):
                raise FormatError(
                    f"{where}: found other bytes than zeros at {offset:#x} of the image, where the ELF's hash goes",
                    "the application's description is not where it should be",
                )
            data = segment.data[:inside] + digest + segment.data[inside + len(digest) :]
            changed[index] = Segment(segment.load_addr, data)
        at += HEADER_SIZE + len(segment.data)
    return changed
