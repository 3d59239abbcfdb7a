"""Images of which the ROM sees the RAM segments only, as operating systems without a second bootloader start.

The ROM loads the segments that the header counts. Behind their checksum lie the segments of mapped flash, each where
its page wants it once the image is in its place, for the application to map by itself. No hash is appended. Source:
elf2image `--ram-only-header` of esptool 5.6, whose files ours equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from bootwright.errors import FormatError
from bootwright.formats.esp_elf import (
    APP_DESC_SECTION,
    BOOTLOADER_DESC_SECTION,
    HEADER_SIZE,
    ElfOptions,
    ImageTarget,
    Piece,
    check_pages,
    checked_size,
    choose_page_size,
    elf_hash_offset,
    first_by_name,
    make_header,
    merge_pieces,
    read_elf,
    short_page_fill,
    with_elf_hash,
)
from bootwright.formats.esp_image import EspImageHeader, Segment, SegmentHeader, make_image


def ram_only_image_from_elf(
    elf: bytes, target: ImageTarget, options: ElfOptions | None = None, *, where: str = "ELF"
) -> bytes:
    """The image for a chip.

    Raises:
        FormatError: no ELF of an Espressif core, nothing in it that goes to RAM, secure padding, or a section that no
            image can hold.
        SiliconError: a page size or a flash frequency that the chip does not have.
    """
    chosen = options or ElfOptions()
    if chosen.secure_pad is not None:
        raise FormatError("secure padding: found it for an image without a hash, expected a hash", "leave it out")
    entry, sections, loaded = read_elf(elf, where)
    pieces = loaded if chosen.by_segments else sections
    page = choose_page_size(sections, target, chosen)
    merged = merge_pieces(_joined(sorted(pieces, key=lambda piece: piece.address)), target)
    in_ram = first_by_name([one for one in merged if not target.is_flash(one.address)], BOOTLOADER_DESC_SECTION)
    in_flash = first_by_name([one for one in merged if target.is_flash(one.address)], APP_DESC_SECTION)
    check_pages(in_flash, page, where)
    ram = [checked_size(Segment(one.address, one.data), where) for one in in_ram]
    digest_at, digest = elf_hash_offset(pieces, target, chosen), hashlib.sha256(elf).digest()
    if digest_at is not None:
        ram = with_elf_hash(ram, EspImageHeader.size(), digest_at, digest, where)
    seen = make_image(make_header(entry, target, replace(chosen, append_hash=False)), ram).pack()
    hidden = list(_hidden(in_flash, len(seen), target, page, where))
    if digest_at is not None:
        hidden = with_elf_hash(hidden, len(seen), digest_at, digest, where)
    image = seen + b"".join(SegmentHeader(load_addr=s.load_addr, data_len=len(s.data)).pack() + s.data for s in hidden)
    return image + b"\xff" * (-len(image) % (chosen.pad_to_size or 1))


def _hidden(flash: list[Piece], at: int, target: ImageTarget, page: int, where: str) -> Iterator[Segment]:
    """Mapped flash from the highest address down, as linker scripts have it, each behind its filler."""
    for piece in reversed(flash):
        filler = Segment(0, bytes(_room(at, piece.address, page, target.bootloader_offset)))
        at += HEADER_SIZE + len(filler.data)
        yield filler
        data = piece.data + bytes(short_page_fill(at, len(piece.data), target, page))
        at += HEADER_SIZE + len(data)
        yield checked_size(Segment(piece.address, data), where)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Sections fill the gap that the alignment of the next one leaves, so that both become one segment."""
    filled = list(pieces)
    for index, following in enumerate(pieces[1:]):
        piece = pieces[index]
        aligned = piece.end + -piece.end % max(following.alignment, 1)
        if aligned == following.address and aligned != piece.end:
            filled[index] = replace(piece, data=piece.data + bytes(aligned - piece.end))
    return filled


def _room(at: int, address: int, page: int, offset: int) -> int:
    """Bytes of filler, behind a header of its own, before a segment of mapped flash in an image flashed to `offset`."""
    room = (address - at - 2 * HEADER_SIZE) % page
    return room - offset if room >= offset else room + page - offset
