"""Writing small ELF files: sections and program headers of 32-bit, little-endian cores."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

XTENSA, RISC_V = 0x5E, 0xF3
PROGBITS, STRTAB, NOBITS, INIT_ARRAY = 1, 3, 8, 14
_HEADER, _PROGRAM, _SECTION = struct.Struct("<16sHHIIIIIHHHHHH"), struct.Struct("<8I"), struct.Struct("<10I")


@dataclass(frozen=True)
class Section:
    """A section, with a program header of its own."""

    name: str
    address: int
    data: bytes
    kind: int = PROGBITS
    alignment: int = 4


def make_elf(entry: int, sections: Sequence[Section], *, machine: int = RISC_V) -> bytes:
    """An executable of these sections."""
    names, offsets = b"\0", []
    for section in (*sections, Section(".shstrtab", 0, b"", STRTAB)):
        offsets.append(len(names))
        names += section.name.encode() + b"\0"
    at = _HEADER.size + _PROGRAM.size * len(sections)
    programs, headers, body = b"", bytes(_SECTION.size), b""
    for section, name in zip(sections, offsets, strict=False):
        stored = b"" if section.kind == NOBITS else section.data
        size, where = len(section.data), at + len(body)
        programs += _PROGRAM.pack(1, where, section.address, section.address, len(stored), size, 5, section.alignment)
        headers += _SECTION.pack(name, section.kind, 6, section.address, where, size, 0, 0, section.alignment, 0)
        body += stored
    headers += _SECTION.pack(offsets[-1], STRTAB, 0, 0, at + len(body), len(names), 0, 0, 1, 0)
    body += names
    count = len(sections)
    ident = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    sizes = (_HEADER.size, _PROGRAM.size, count, _SECTION.size, count + 2, count + 1)
    header = _HEADER.pack(ident, 2, machine, 1, entry, _HEADER.size, at + len(body), 0, *sizes)
    return header + programs + body + headers
