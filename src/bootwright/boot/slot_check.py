"""Looking at what lies in a slot: headers as each strategy finds them, and whether an image may run.

Sources: boot_validate_slot of boot/bootutil/src/loader.c, bootutil_loader.c, bootutil_max_image_size of
bootutil_misc.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bootwright.boot import overwrite, swap_move, swap_offset, swap_scratch
from bootwright.boot.config import Mode
from bootwright.boot.encrypted import REFUSED, is_encrypted, load_key
from bootwright.boot.header import FLAG_NON_BOOTABLE, HEADER_SIZE, IMAGE_MAGIC, Header, parse_header
from bootwright.boot.layout import PRIMARY, SECONDARY, Place
from bootwright.boot.loader_state import Loader, Status
from bootwright.boot.swap_type import SwapType
from bootwright.boot.validate import header_fault, security_counter, validate_image
from bootwright.finding import Finding, failed
from bootwright.flash import Program


@dataclass(frozen=True, slots=True)
class Strategy:
    """What an upgrade strategy answers for itself."""

    slots_compatible: Callable[[Loader], bool]
    read_image_header: Callable[[Loader, int, Status | None], Header | None]
    max_image_size: Callable[[Loader], int] | None = None  #: None: what the trailer of the image's own slot leaves
    headers_need_magic: bool = False  #: boot_read_image_header fails on another magic while the status is looked at


_PLAIN = Strategy(overwrite.slots_compatible, overwrite.read_image_header)
STRATEGIES = dict.fromkeys(Mode, _PLAIN) | {
    Mode.SCRATCH: Strategy(swap_scratch.slots_compatible, swap_scratch.read_image_header, swap_scratch.max_image_size),
    Mode.MOVE: Strategy(swap_move.slots_compatible, swap_move.read_image_header, swap_move.max_image_size, True),
    Mode.OFFSET: Strategy(
        swap_offset.slots_compatible, swap_offset.read_image_header, swap_offset.max_image_size, True
    ),
}


def max_image_size(loader: Loader, slot: int) -> int:
    """bootutil_max_image_size: a swap counts with both slots, the other modes with the image's own."""
    mode, place = loader.config.mode, loader.place(slot)
    of_both = STRATEGIES[mode].max_image_size
    if of_both is not None:
        return of_both(loader)
    return place.status_offset if mode is Mode.SINGLE else place.swap_info


def read_headers(loader: Loader, status: Status | None, *, require_all: bool) -> bool:
    """boot_read_image_headers: a secondary that cannot be read is tolerated unless a swap is under way."""
    strategy = STRATEGIES[loader.config.mode]
    for slot in (PRIMARY, SECONDARY):
        header = strategy.read_image_header(loader, slot, status)
        good = header is not None
        if header is not None:
            loader.headers[loader.image][slot] = header
            good = status is None or not strategy.headers_need_magic or header.magic == IMAGE_MAGIC
        if not good:
            return slot == SECONDARY and not require_all
    return True


def validate_slot(loader: Loader, slot: int, status: Status, expected: SwapType) -> Program[Finding | None]:
    """boot_validate_slot: None for a good image; a bad one in the secondary slot is erased."""
    place, header, mode = loader.place(slot), loader.header(slot), loader.config.mode
    if header.erased or header.flags & FLAG_NON_BOOTABLE:
        if mode.swaps and slot == SECONDARY:
            yield from _drop_leftovers(loader, place, status)
        return failed("mcuboot.image.none", place.area.name, f"{place.area.name} is {_why_none(header)}")
    fault: Finding | None = None
    if mode is Mode.OFFSET and slot == SECONDARY and status.is_reset and expected in (SwapType.TEST, SwapType.PERM):
        fault = _upload_address_fault(loader, place)
    if mode.overwrites and loader.config.downgrade_prevention and slot == SECONDARY:
        primary = loader.header(PRIMARY)
        if header.comparable < primary.comparable and not primary.erased:
            loader.probe.log("ERR", "Insufficient version in secondary slot")
            loader.mark("refuse downgrade", status)
            yield from loader.scramble_slot(place, "erase refused image")
            fault = downgrade(loader)
            loader.probe.refused(fault)
            return fault
    if fault is None:
        fault = _fault_of_image(loader, slot, status)
    if fault is not None:
        name = "primary" if slot == PRIMARY else "secondary"
        loader.probe.log("ERR", f"Image in the {name} slot is not valid!")
        if slot == SECONDARY or mode.chooses:
            loader.probe.refused(fault)
            loader.mark("erase invalid image", status)
            yield from loader.scramble_slot(place, "erase invalid image")
    return fault


def _fault_of_image(loader: Loader, slot: int, status: Status) -> Finding | None:
    """boot_check_header_valid, then boot_check_image."""
    config, header, place = loader.config, loader.header(slot), loader.place(slot)
    wrong = header_fault(header, place.area, config)
    if wrong:
        return failed("mcuboot.image.header", place.area.name, wrong)
    decrypts = config.encryption is not None and slot == SECONDARY and not config.mode.loads_to_ram
    if decrypts and is_encrypted(header) and load_key(loader, slot, status) == REFUSED:
        because = "the image is encrypted and this build cannot open its key"
        return failed("mcuboot.image.key", place.area.name, because, "encrypt the image for this bootloader's key")
    return validate_image(loader, slot, max_size=max_image_size(loader, slot))


def _why_none(header: Header) -> str:
    """Flags are looked at before the magic: noise with the right bit set counts as marked, and that is worth saying."""
    if header.erased:
        return "empty"
    if header.magic != IMAGE_MAGIC:
        found = f"the magic there is {header.magic:#010x}, expected {IMAGE_MAGIC:#010x}"
        return f"marked as not bootable, by bytes that are no image header: {found}"
    return "marked as not bootable"


def _drop_leftovers(loader: Loader, place: Place, status: Status) -> Program[None]:
    """A trailer without an image would keep new images out; in swap-move it could also ask for reverts forever."""
    loader.mark("drop leftover trailer", status)
    yield from loader.scramble_trailer(place, "erase leftover trailer")
    if loader.config.mode is Mode.MOVE and (
        status.swap_type == SwapType.REVERT or loader.requested_swap() is SwapType.REVERT
    ):
        loader.mark("clear stuck revert", status)
        cleared = yield from loader.scramble_trailer(loader.place(PRIMARY), "clear stuck revert")
        if cleared:
            loader.probe.log("INF", f"Cleared image {loader.image} primary slot trailer due to stuck revert")


def _upload_address_fault(loader: Loader, place: Place) -> Finding | None:
    """swap-offset: a new image in the first sector was uploaded one sector too low."""
    data = loader.esp.read(place.area, 0, HEADER_SIZE)
    if data is None or parse_header(data).magic != IMAGE_MAGIC:
        return None
    loader.probe.log("ERR", "Secondary header magic detected in first sector, wrong upload address?")
    because = "an image begins in the first sector of the secondary slot; swap-offset wants it one sector up"
    return failed("mcuboot.image.upload_address", place.area.name, because, "erase the slot and upload one sector up")


def downgrade(loader: Loader) -> Finding:
    """Why the update is a step back."""
    if loader.config.security_counter and loader.config.mode.swaps:
        offered, running = (security_counter(loader, slot) for slot in (SECONDARY, PRIMARY))
        because = f"security counter {offered} is lower than the {running} of the primary slot"
    else:
        offered_version, running_version = loader.header(SECONDARY).version, loader.header(PRIMARY).version
        because = f"version {offered_version} is lower than the {running_version} in the primary slot"
    return failed("mcuboot.image.downgrade", loader.place(SECONDARY).area.name, because)
