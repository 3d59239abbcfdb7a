"""Overwrite-only: the secondary slot is copied over the primary; the old image is gone.

Source: boot_copy_image of boot/bootutil/src/loader.c, with and without MCUBOOT_OVERWRITE_ONLY_FAST (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from bootwright.boot.copying import copy_region
from bootwright.boot.encrypted import REFUSED, is_encrypted, load_key
from bootwright.boot.header import Header
from bootwright.boot.layout import PRIMARY, SECONDARY
from bootwright.boot.loader_state import Loader, Status
from bootwright.boot.outcome import halted
from bootwright.boot.validate import read_image_size
from bootwright.flash import Program


def slots_compatible(loader: Loader) -> bool:
    """boot_slots_compatible (swap_scratch.c serves this mode too)."""
    primary, secondary = loader.place(PRIMARY), loader.place(SECONDARY)
    if max(primary.sectors, secondary.sectors) > loader.layout.max_img_sectors:
        loader.probe.log("WRN", "Cannot upgrade: more sectors than allowed")
        return False
    if primary.sectors != secondary.sectors:
        loader.probe.log("WRN", "Cannot upgrade: slots are not compatible")
        return False
    return True


def read_image_header(loader: Loader, slot: int, status: Status | None) -> Header | None:
    """boot_read_image_header."""
    return loader.read_header(loader.place(slot).area, 0)


def copy_image(loader: Loader, status: Status) -> Program[None]:
    """boot_copy_image: the whole slot, the secondary's trailer included; then the request is dropped."""
    step = loader.layout.sector_size
    primary = loader.place(PRIMARY)
    _announce(loader)
    loader.mark("overwrite: erase primary", status)
    for index in range(primary.sectors):
        yield from loader.must_erase(primary, index * step, step, "erase primary")
    loader.mark("overwrite: copy", status)
    yield from _copy(loader, primary.sectors * step, status)
    yield from _drop_request(loader, status)


def copy_image_fast(loader: Loader, status: Status) -> Program[None]:
    """boot_copy_image, fast: only what the image takes, and the trailer, which gets a magic of its own."""
    layout = loader.layout
    step, primary = layout.sector_size, loader.place(PRIMARY)
    image_size = read_image_size(loader, SECONDARY)
    if image_size is None:
        because = "the update has an unreadable TLV area: assertion in boot_copy_image"
        raise halted("mcuboot.image.size_unreadable", "secondary", because)
    _announce(loader)
    loader.mark("overwrite: erase primary", status)
    needed = min(-(-image_size // step), primary.sectors)
    for index in range(needed):
        yield from loader.must_erase(primary, index * step, step, "erase primary")
    first = layout.first_trailer_sector(loader.image, PRIMARY) * step
    yield from loader.must_erase(primary, first, primary.sectors * step - first, "erase primary trailer")
    loader.mark("overwrite: copy", status)
    yield from _copy(loader, image_size + layout.write_size - image_size % layout.write_size, status)
    loader.mark("overwrite: magic", status)
    yield from loader.write_magic(primary)
    yield from _drop_request(loader, status)


def _announce(loader: Loader) -> None:
    loader.probe.log("INF", f"Image {loader.image} upgrade secondary slot -> primary slot")
    loader.probe.log("INF", "Erasing the primary slot")


def _copy(loader: Loader, size: int, status: Status) -> Program[None]:
    if is_encrypted(loader.header(SECONDARY)) and load_key(loader, SECONDARY, status) == REFUSED:
        raise halted("mcuboot.image.key", "secondary", "the key of the image cannot be opened: assertion")
    text = f"Image {loader.image} copying the secondary slot to the primary slot: {size:#x} bytes"
    loader.probe.log("INF", text)
    primary, secondary = loader.place(PRIMARY), loader.place(SECONDARY)
    copied = yield from copy_region(loader, secondary, primary, 0, 0, size, "copy secondary to primary")
    if not copied:
        raise halted("mcuboot.copy.refused", "primary", "the slots differ in size: assertion in boot_perform_update")


def _drop_request(loader: Loader, status: Status) -> Program[None]:
    secondary, step = loader.place(SECONDARY), loader.layout.sector_size
    loader.mark("overwrite: drop request", status)
    yield from loader.must_erase(secondary, 0, step, "erase first secondary sector")
    last = (secondary.sectors - 1) * step
    yield from loader.must_erase(secondary, last, step, "erase last secondary sector")
