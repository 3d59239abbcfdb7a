"""What imgtool's sign command writes: the image with or without its padding, binary or Intel HEX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bootwright.cli.dropin.imgtool import Usage, is_hex, warn
from bootwright.formats.mcuboot_image import ENCRYPTED
from bootwright.formats.mcuboot_sign import Part, SignOptions
from bootwright.formats.mcuboot_trailer import (
    ESPRESSIF_MAX_SECTORS,
    TrailerGeometry,
    UpgradeMode,
    align_up,
    boot_magic,
)

if TYPE_CHECKING:
    from bootwright.formats.hexfile import Segment


def size_of(parts: tuple[Part, ...]) -> int:
    """Bytes of all parts."""
    return sum(len(part) for part in parts)


def check_trailer(size: int, options: SignOptions, given: dict[str, Any]) -> None:
    """Refuse what imgtool refuses; warn where the Espressif port's trailer is larger than imgtool thinks."""
    slot, trailer = given["slot_size"], _trailer_size(options)
    if slot <= 0:
        return
    if size + trailer > slot:
        raise Usage(f"Image size (0x{size:x}) + trailer (0x{trailer:x}) exceeds requested size 0x{slot:x}")
    port = TrailerGeometry(slot_size=slot, max_align=options.trailer_align, write_size=max(options.align, 4))
    limit = port.max_image_size(options.mode)
    if size > limit and given["max_sectors"] is None:
        warn(
            f"the Espressif port allows {ESPRESSIF_MAX_SECTORS} sectors, and then an image of {limit:#x} bytes at most "
            f"fits the slot; this one has {size:#x} (pass -M {ESPRESSIF_MAX_SECTORS} to have it checked)"
        )


def output(
    outfile: str, parts: tuple[Part, ...], address: int | None, options: SignOptions, given: dict[str, Any]
) -> tuple[Part, ...]:
    """The parts of the file to write."""
    pad = given["pad"] or given["confirm"] or given["test"]
    if not is_hex(outfile):
        return (*parts, _padding(size_of(parts), options, given)) if pad else parts
    base = address if given["hex_addr"] is None else given["hex_addr"]
    if base is None:
        raise Usage("No address exists in input file neither was it provided by user")
    if base < 0:
        warn(f"the header lies at address {base}, and is written as if at {base & 0xFFFF:#x}: leave room for it")
    from bootwright.formats.hexfile import pack_hex

    segments: list[Segment] = [(base, b"".join(parts))]
    if pad:
        end, magic = base + given["slot_size"], _magic(options)
        if (given["test"] or given["confirm"]) and options.mode is not UpgradeMode.OVERWRITE_ONLY:
            flag = bytes([options.erased_val]) * options.trailer_align
            segments.append((end + _image_ok(options), b"\x01" + flag[1:] if given["confirm"] else flag))
        segments.append((end - len(magic), magic))
    return (pack_hex(segments),)


def _trailer_size(options: SignOptions) -> int:
    """imgtool's estimate (image.py `_trailer_size`): a saved key takes 16 bytes, even when it is AES-256."""
    align, encryption = options.trailer_align, options.encryption
    if options.mode is UpgradeMode.OVERWRITE_ONLY:
        return align * 2 + align_up(16, align)
    saved = 0
    if encryption is not None and options.save_enctlv:
        from bootwright.formats.mcuboot_encrypt import tlv_size

        saved = tlv_size(encryption)
    elif encryption is not None or options.extra_flags & ENCRYPTED:
        saved = 0 if options.save_enctlv else 16
    return options.max_sectors * 3 * options.align + 2 * align_up(saved, align) + align * 4 + align_up(16, align)


def _padding(size: int, options: SignOptions, given: dict[str, Any]) -> bytes:
    """Without a slot size imgtool pads by the trailer alone."""
    trailer, magic = _trailer_size(options), _magic(options)
    length = max(given["slot_size"] - size - trailer, 0) + max(trailer - len(magic), 0)
    fill = bytearray([options.erased_val]) * length + magic
    if given["confirm"] and options.mode is not UpgradeMode.OVERWRITE_ONLY:
        fill[_image_ok(options)] = 1
    return bytes(fill)


def _magic(options: SignOptions) -> bytes:
    return boot_magic(options.trailer_align, big_endian=options.endian == ">")


def _image_ok(options: SignOptions) -> int:
    """Counted from the slot's end."""
    return -(align_up(16, options.trailer_align) + options.trailer_align)
