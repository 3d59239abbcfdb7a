"""A build with one slot: what lies there runs if it is good; there is no update.

The Espressif port does not build it; the boot_go here is the one of boot/zephyr/single_loader.c, with
boot_image_load_header of boot/bootutil/src/bootutil_public.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from bootwright.boot.header import FLAG_NON_BOOTABLE, HEADER_SIZE, IMAGE_MAGIC, U32, Header, parse_header
from bootwright.boot.layout import PRIMARY
from bootwright.boot.loader_state import Loader
from bootwright.boot.outcome import Booted, BootOutcome, NoImage
from bootwright.boot.slot_check import max_image_size
from bootwright.boot.validate import validate_image
from bootwright.finding import failed
from bootwright.flash import Area, Program


def boot_only_slot(loader: Loader) -> Program[BootOutcome]:
    """boot_go of single_loader.c; it changes nothing."""
    yield from ()
    area = loader.place(PRIMARY).area
    data = loader.esp.read(area, 0, HEADER_SIZE)
    if data is None:
        loader.probe.log("ERR", "Failed reading image header")
        return NoImage((failed("mcuboot.header.unreadable", area.name, "the header cannot be read"),))
    header = parse_header(data)
    line, wrong = _header_fault(header, area)
    if wrong:
        loader.probe.log("ERR", line)
        return NoImage((failed("mcuboot.image.header", area.name, wrong),))
    loader.headers[0][PRIMARY] = header
    fault = validate_image(loader, PRIMARY, max_size=max_image_size(loader, PRIMARY))
    return Booted(area.address, header.version, header) if fault is None else NoImage((fault,))


def _header_fault(header: Header, area: Area) -> tuple[str, str]:
    """boot_image_load_header: console line and reason; flags of encryption and compression do not matter to it."""
    if header.magic != IMAGE_MAGIC:
        because = f"the magic is {header.magic:#010x}, expected {IMAGE_MAGIC:#010x}"
        return f"Bad image magic {header.magic:#x}", because
    if header.flags & FLAG_NON_BOOTABLE:
        return "Image not bootable", f"{area.name} is marked as not bootable"
    size = header.hdr_size + header.img_size
    if size <= U32:
        size += header.protect_tlv_size
    if size > U32 or size >= area.size:
        line = f"Image size bigger than designated area: {size & U32} > {area.size}"
        return line, f"the header announces {size:#x} bytes, the slot has {area.size:#x}"
    return "", ""
