"""Firmware to rehearse with: read from files, or made for the purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from bootwright.chips.chip import Chip
from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, passed, warned
from bootwright.formats.esp_image import EspImage, make_bootloader_image, verify_esp_image
from bootwright.formats.esp_secure_boot import SECTOR_SIZE, check_bootloader_size
from bootwright.formats.load_header import HDR_SIZE, LoadHeader, verify_load_header
from bootwright.formats.mcuboot_image import MAGIC as IMAGE_MAGIC
from bootwright.host.files import read_bytes

_LARGEST_SEGMENT = 0x8000  #: bytes that a wrapped payload loads to RAM; the rest stays in flash

#: where an application of each chip may be loaded: (IRAM, DRAM), two places that do not share memory
_RAM: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "esp32": (0x40080000, 0x3FFB0000),
        "esp32c2": (0x40380000, 0x3FCB0000),
        "esp32c3": (0x40380000, 0x3FC98000),
        "esp32c5": (0x40800000, 0x40810000),
        "esp32c6": (0x40800000, 0x40810000),
        "esp32c61": (0x40800000, 0x40810000),
        "esp32h2": (0x40800000, 0x40810000),
        "esp32p4": (0x4FF00000, 0x4FF10000),
        "esp32s2": (0x40028000, 0x3FFC8000),
        "esp32s3": (0x40378000, 0x3FC98000),
    }
)


@dataclass(frozen=True, slots=True)
class Payload:
    """What is signed: the bytes behind the MCUboot header, beginning with the port's load header."""

    data: bytes
    findings: tuple[Finding, ...]


def make_application(chip: Chip, *, size: int = 0x9000, seed: str = "application") -> bytes:
    """A payload with a valid load header and pseudo-random code, the same for the same seed."""
    body = hashlib.shake_128(f"bootwright {seed}".encode()).digest(size - LoadHeader.size())
    return _with_load_header(chip, body)


def read_application(path: Path | None, chip: Chip, *, seed: str) -> Payload:
    """The payload of a file, or one made for the purpose.

    A file without the port's load header would never start on a chip; it gets one here, and a finding says so.

    Raises:
        FormatError: the file cannot be read, is empty, truncated, an ELF file, or signed already.
    """
    if path is None:
        made = passed(
            "app.synthetic", "application", f"made for the rehearsal, {size_text(0x9000)} with a valid load header"
        )
        return Payload(make_application(chip, seed=seed), (made,))
    data = read_bytes(path, what="application")
    if data.startswith(b"\x7fELF"):
        raise FormatError(
            f"{path}: found an ELF file, expected the raw bytes of an unsigned application",
            "give the .bin that the build makes of it, what imgtool sign takes",
        )
    first = int.from_bytes(data[:4], "little")
    if first == IMAGE_MAGIC:
        raise FormatError(
            f"{path}: found an MCUboot image that is signed already, expected an unsigned application",
            "give the file that the build leaves before imgtool sign",
        )
    if first == LoadHeader.MAGIC:
        return _loadable(path, data)
    if not any(data[:HDR_SIZE]) and int.from_bytes(data[HDR_SIZE : HDR_SIZE + 4], "little") == LoadHeader.MAGIC:
        return _loadable(path, data[HDR_SIZE:])
    because = (
        f"{path} ({size_text(len(data))}) has no load header {LoadHeader.MAGIC:#010x}; it got one, so that the chain "
        "can be played: as it is, no chip would start it"
    )
    wrapped = _with_load_header(chip, data)
    return Payload(
        wrapped, (warned("app.load_header.added", "application", because, "build it for MCUboot's Espressif port"),)
    )


def _loadable(path: Path, payload: bytes) -> Payload:
    """A payload that begins with the port's load header, its parts inside the file."""
    found = verify_load_header(bytes(HDR_SIZE) + payload, subject=str(path))
    for finding in found:
        if finding.code == "load_header.bounds":
            raise FormatError(f"{path}: found a truncated application: {finding.because}", "build or copy it again")
    read = passed("app.load_header", "application", f"{path}, {size_text(len(payload))} behind the port's load header")
    doubts = (replace(finding, verdict=Verdict.WARN) for finding in found if finding.verdict is Verdict.FAIL)
    return Payload(payload, (read, *doubts))


def _with_load_header(chip: Chip, body: bytes) -> bytes:
    """The body behind a load header that loads its beginning to IRAM and starts it there."""
    iram, dram = _RAM[chip.name]
    body += bytes(-len(body) % 4)
    offset = HDR_SIZE + LoadHeader.size()
    loaded = min(len(body), _LARGEST_SEGMENT)
    header = LoadHeader(
        entry_addr=iram,
        iram_dest_addr=iram,
        iram_flash_offset=offset,
        iram_size=loaded,
        dram_dest_addr=dram,
        dram_flash_offset=offset,
        dram_size=0,
    )
    return header.pack() + body


@dataclass(frozen=True, slots=True)
class BootloaderFile:
    """An unsigned bootloader, and what was checked of it."""

    data: bytes
    findings: tuple[Finding, ...]


def read_bootloader(path: Path | None, chip: Chip, *, area: int) -> BootloaderFile:
    """The bootloader of a file, or a valid ESP image made for the purpose.

    Raises:
        FormatError: unreadable, no valid image of this chip, signed already, or too large for its area or the ROM.
    """
    if path is None:
        data = make_bootloader_image(chip.chip_id, size=0xC000)
        subject = "bootloader"
        made = passed(
            "bootloader.synthetic", subject, f"made for the rehearsal, a valid ESP image of {size_text(len(data))}"
        )
        findings: tuple[Finding, ...] = (made,)
    else:
        subject = str(path)
        data = read_bytes(path, what="bootloader", limit=16 << 20)
        findings = (passed("bootloader.read", "bootloader", f"{path}, {size_text(len(data))}"),)
    image = EspImage.parse(data, where=subject)
    rest = data[image.length :]
    if rest.strip(b"\xff"):
        signed = data[-(-image.length // SECTOR_SIZE) * SECTOR_SIZE :][:1] == b"\xe7"
        raise FormatError(
            f"{subject}: found {size_text(len(rest))} behind the image, expected an unsigned bootloader"
            + (" without a signature block" if signed else ""),
            "give the file that the build leaves before espsecure sign-data",
        )
    checked = verify_esp_image(data, chip_id=chip.chip_id, revision=chip.default_revision, subject="bootloader")
    padded = -(-image.length // SECTOR_SIZE) * SECTOR_SIZE
    size = check_bootloader_size(padded, chip.bootloader_limit, area=area)
    for finding in (*checked, size):
        if finding.verdict is Verdict.FAIL:
            raise FormatError(f"{subject}: {finding.because}", finding.next or "check that it is the right file")
    return BootloaderFile(data[: image.length], (*findings, *checked, size))


def size_text(size: int) -> str:
    """Bytes in words: `48 KB` where that is exact, else `49,153 bytes`."""
    if size and size % 1024 == 0:
        return f"{size >> 10} KB"
    return "1 byte" if size == 1 else f"{size:,} bytes"
