"""`bootwright esp-image`: images that the ROM and bootloaders load, load headers, and images of whole flashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootwright.cli.esp_image_flash import merge_command, split_command
from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.cli.words import FILE, number, output_option
from bootwright.finding import Answer, Finding, warned

if TYPE_CHECKING:
    from bootwright.formats.esp_elf import ElfOptions, ImageTarget
    from bootwright.formats.esp_image import EspImage

chip_option = click.option("--chip", "chip_name", metavar="CHIP", help="Hold to what this chip takes.")


@click.group("esp-image", cls=Noun)
def esp_image() -> None:
    """ESP images: show, verify, make from an ELF; load headers; merge files into a flash image and split it."""


esp_image.add_command(merge_command)
esp_image.add_command(split_command)


@esp_image.command("info")
@click.argument("file", type=FILE)
@json_option
@click.pass_context
def info_command(context: click.Context, file: Path, as_json: bool) -> None:
    """Show header, segments and description of the image in FILE."""
    from bootwright.formats.esp_image import EspImage
    from bootwright.host.files import read_bytes

    image = EspImage.parse(read_bytes(file, what="ESP image"), where=str(file))
    details = _details(image)
    text = "\n".join(_lines(image))
    context.exit(show(Answer(command="esp-image info", details=details), as_json=as_json, text=text))


@esp_image.command("verify")
@click.argument("file", type=FILE)
@chip_option
@click.option("--revision", metavar="MAJOR.MINOR", help="The chip's silicon revision.")
@json_option
@click.pass_context
def verify_command(
    context: click.Context, file: Path, chip_name: str | None, revision: str | None, as_json: bool
) -> None:
    """Say whether a loader would take the image in FILE.

    It checks magic, segments, chip, revision, checksum and hash.
    """
    from bootwright.chips.chip import load_chip
    from bootwright.formats.esp_image import verify_esp_image
    from bootwright.host.files import read_bytes

    findings = verify_esp_image(
        read_bytes(file, what="ESP image"),
        chip_id=load_chip(chip_name).chip_id if chip_name else None,
        revision=_revision(revision),
        subject=str(file),
    )
    context.exit(show(Answer(command="esp-image verify", findings=findings), as_json=as_json))


@esp_image.command("make")
@click.argument("elf", type=FILE)
@click.option("--chip", "chip_name", metavar="CHIP", required=True, help="The chip that it is for.")
@click.option("--flash-mode", type=click.Choice(["qio", "qout", "dio", "dout"]), default="dio", help="(dio)")
@click.option("--flash-size", default="4MB", help="(4MB)")
@click.option("--flash-freq", help="Otherwise the code 0, the chip's usual one.")
@click.option("--min-revision", metavar="MAJOR.MINOR", help="The oldest silicon that may run it.")
@click.option("--max-revision", metavar="MAJOR.MINOR", help="The newest silicon that may run it.")
@click.option("--secure-pad", type=click.Choice(["1", "2"]), help="End on a page, for this version of Secure Boot.")
@click.option("--no-hash", is_flag=True, help="Append no SHA-256.")
@click.option("--segments", is_flag=True, help="Take program headers instead of sections.")
@click.option("--ram-only", is_flag=True, help="Let the ROM see the segments in RAM only; no hash is appended.")
@click.option("--mmu-page-size", callback=number, help="Otherwise what the application's description says.")
@click.option("--elf-sha256-offset", callback=number, help="Where in the image the ELF's SHA-256 goes.")
@click.option("--pad-to-size", callback=number, help="Fill with 0xFF up to a multiple of this, say 4M.")
@output_option
@json_option
@click.pass_context
def make_command(
    context: click.Context,
    elf: Path,
    chip_name: str,
    flash_mode: str,
    flash_size: str,
    flash_freq: str | None,
    min_revision: str | None,
    max_revision: str | None,
    secure_pad: str | None,
    no_hash: bool,
    segments: bool,
    ram_only: bool,
    mmu_page_size: int | None,
    elf_sha256_offset: int | None,
    pad_to_size: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Make an image from an ELF file, as elf2image does."""
    from bootwright.chips.memory import image_target
    from bootwright.formats.esp_elf import ElfOptions, image_from_elf
    from bootwright.formats.esp_elf_ram_only import ram_only_image_from_elf
    from bootwright.formats.esp_image import EspImage, SpiMode
    from bootwright.host.files import read_bytes, write_file

    least, most = _revision(min_revision), _revision(max_revision)
    options = ElfOptions(
        spi_mode=SpiMode[flash_mode.upper()],
        flash_size=flash_size,
        flash_frequency=flash_freq,
        min_rev_full=0 if least is None else least,
        max_rev_full=0xFFFF if most is None else most,
        secure_pad=int(secure_pad) if secure_pad else None,
        append_hash=not no_hash,
        by_segments=segments,
        mmu_page_size=mmu_page_size,
        elf_sha256_offset=elf_sha256_offset,
        pad_to_size=pad_to_size,
    )
    target = image_target(chip_name)
    options, findings = _as_elf2image(options, target, str(elf))
    make = ram_only_image_from_elf if ram_only else image_from_elf
    made = make(read_bytes(elf, what="ELF file"), target, options, where=str(elf))
    write_file(output, made)
    details = {"output": str(output), "bytes": len(made), **_details(EspImage.parse(made))}
    answer = Answer(command="esp-image make", findings=findings, details=details)
    context.exit(show(answer, as_json=as_json, text=f"{output}: {len(made):#x} bytes"))


@esp_image.command("load-header")
@click.argument("file", type=FILE)
@click.option("--header-size", default="0x20", callback=number, help="`ih_hdr_size` of the MCUboot header (0x20).")
@chip_option
@json_option
@click.pass_context
def load_header_command(
    context: click.Context, file: Path, header_size: int, chip_name: str | None, as_json: bool
) -> None:
    """Say whether MCUboot's loader would start FILE.

    FILE is an MCUboot image of an application for the Espressif port, or a slot that holds one.
    """
    from bootwright.chips.memory import loader_memory
    from bootwright.formats.load_header import LoadHeader, verify_load_header
    from bootwright.host.files import read_bytes

    data = read_bytes(file, what="MCUboot image")
    memory = loader_memory(chip_name) if chip_name else None
    findings = verify_load_header(data, header_size, memory=memory, subject=str(file))
    words = {}
    if findings[0].verdict == "pass":
        header = LoadHeader.parse(data, header_size)
        words = {field.name: getattr(header, field.name) for field in LoadHeader.layout() if field.kind == "int"}
    text = "\n".join(f"{name:24} {value:#010x}" for name, value in words.items())
    answer = Answer(command="esp-image load-header", findings=findings, details={"header": words})
    context.exit(show(answer, as_json=as_json, text=text))


def _as_elf2image(options: ElfOptions, target: ImageTarget, subject: str) -> tuple[ElfOptions, tuple[Finding, ...]]:
    """What elf2image leaves out where the chip does not have it, left out too, but with a word."""
    findings = []
    if options.secure_pad == 1 and not target.has_secure_boot_v1:
        why = f"the {target.title} has no Secure Boot version 1, so that the image is not padded for it"
        findings.append(warned("esp.image.secure_pad", subject, why, "give --secure-pad 2"))
        options = replace(options, secure_pad=None)
    if options.mmu_page_size and len(target.mmu_page_sizes) == 1 and options.mmu_page_size not in target.mmu_page_sizes:
        why = f"the {target.title} has pages of {target.mmu_page_sizes[0]:#x} only, found {options.mmu_page_size:#x}"
        findings.append(warned("esp.image.mmu_page_size", subject, why, "leave --mmu-page-size out"))
        options = replace(options, mmu_page_size=None)
    return options, tuple(findings)


def _revision(text: str | None) -> int | None:
    if text is None:
        return None
    major, _, minor = text.lstrip("v").partition(".")
    if not (major.isdigit() and (minor or "0").isdigit()) or int(minor or 0) > 99:
        raise click.BadParameter(f"{text!r} is no revision such as 0.4 or 3.1")
    return 100 * int(major) + int(minor or 0)


def _details(image: EspImage) -> dict[str, object]:
    header = image.header
    described = image.app_desc or image.bootloader_desc
    return {
        "chip_id": header.chip_id,
        "entry": header.entry_addr,
        "spi_mode": header.spi_mode,
        "spi_speed": header.spi_speed,
        "spi_size": header.spi_size,
        "min_revision": header.min_chip_rev_full,
        "max_revision": header.max_chip_rev_full,
        "segments": [{"load_addr": one.load_addr, "size": len(one.data)} for one in image.segments],
        "checksum": image.checksum,
        "hash": image.hash.hex() if image.hash else None,
        "length": image.length,
        "trailing": len(image.trailing),
        "idf_version": _text(described.idf_ver) if described else None,
        "version": _text(image.app_desc.version) if image.app_desc else None,
        "project": _text(image.app_desc.project_name) if image.app_desc else None,
    }


def _lines(image: EspImage) -> list[str]:
    details = _details(image)
    shown = ("chip_id", "entry", "min_revision", "max_revision", "length", "trailing", "version", "project")
    lines = [
        f"{name:13} {value:#x}" if isinstance(value, int) else f"{name:13} {value}"
        for name in (*shown, "idf_version")
        if (value := details[name]) is not None
    ]
    for index, one in enumerate(image.segments):
        lines.append(f"segment {index:<5} {len(one.data):#8x} bytes to {one.load_addr:#010x}")
    return [*lines, f"checksum      {image.checksum:#04x}", f"hash          {details['hash'] or 'none'}"]


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")
