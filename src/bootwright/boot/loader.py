"""boot_go: what MCUboot does between reset and the jump, and what an application asks of it.

Sources: boot/bootutil/src/loader.c, swap_misc.c, bootutil_public.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from bootwright.boot import overwrite, swap_move, swap_offset, swap_scratch
from bootwright.boot.choose import choose, set_next
from bootwright.boot.config import BootConfig, Mode
from bootwright.boot.dependencies import dependencies_met
from bootwright.boot.encrypted import load_keys_for_swap, resume_keys
from bootwright.boot.header import IMAGE_MAGIC
from bootwright.boot.layout import PRIMARY, SECONDARY, Place
from bootwright.boot.loader_state import Loader, Source, Status
from bootwright.boot.outcome import Booted, BootOutcome, HaltError, NoImage, Panic, halted
from bootwright.boot.probe import UNWATCHED, Probe
from bootwright.boot.single import boot_only_slot
from bootwright.boot.slot_check import STRATEGIES, downgrade, read_headers, validate_slot
from bootwright.boot.swap_type import UPGRADES, Flag, Magic, SwapState, SwapType, swap_type_of
from bootwright.boot.validate import read_image_size, security_counter
from bootwright.finding import Finding, failed
from bootwright.flash import Flash, Program

EFLASH, EBADIMAGE, EBADVECT = 1, 3, 4


@dataclass(frozen=True, slots=True)
class Swap:
    """What only a swap has: a status in flash and a way to go on from it."""

    status_source: Callable[[Loader], Source]
    read_status_bytes: Callable[[Loader, Place, Status], None]
    run: Callable[[Loader, Status, int], Program[None]]


COPIES = {Mode.OVERWRITE: overwrite.copy_image, Mode.OVERWRITE_FAST: overwrite.copy_image_fast}

SWAPS = {
    Mode.SCRATCH: Swap(swap_scratch.status_source, swap_scratch.read_status_bytes, swap_scratch.swap_run),
    Mode.MOVE: Swap(swap_move.status_source, swap_move.read_status_bytes, swap_move.swap_run),
    Mode.OFFSET: Swap(swap_offset.status_source, swap_offset.read_status_bytes, swap_offset.swap_run),
}

_NOTHING_ASKED = SwapState(Magic.UNSET, SwapType.NONE, 0, Flag.UNSET, Flag.UNSET)


def boot_go(flash: Flash, config: BootConfig, *, probe: Probe = UNWATCHED) -> Program[BootOutcome]:
    """boot_go: finish or begin upgrades, then validate what is going to run."""
    loader = Loader(flash, config, probe)
    go = choose if config.mode.chooses else boot_only_slot if config.mode is Mode.SINGLE else _boot
    try:
        return (yield from go(loader))
    except HaltError as halt:
        return Panic((halt.finding,))


def set_pending(flash: Flash, config: BootConfig, *, image: int = 0, permanent: bool = False) -> Program[int]:
    """boot_set_pending_multi, as an application calls it: request the secondary image for the next boot.

    Returns the C function's code: 0, 3 (BOOT_EBADIMAGE) where the trailer holds something else, or 1 (BOOT_EFLASH)
    where a trailer field leaves the slot.
    """
    loader = Loader(flash, config, UNWATCHED)
    loader.image = image
    place = loader.place(SECONDARY)
    try:
        if config.mode.selects_once:
            found = yield from set_next(loader, SECONDARY, confirm=permanent)
            return EBADIMAGE if found.magic is Magic.BAD else 0
        magic = loader.swap_state(place).magic
        if magic is Magic.UNSET:
            yield from loader.write_magic(place)
            if permanent:
                yield from loader.write_image_ok(place)
            yield from loader.write_swap_info(place, SwapType.PERM if permanent else SwapType.TEST, image)
    except HaltError:
        return EFLASH
    return EBADIMAGE if magic is Magic.BAD else 0


def set_confirmed(flash: Flash, config: BootConfig, *, image: int = 0) -> Program[int]:
    """boot_set_confirmed_multi: keep the running image; without a trailer there is nothing to keep.

    Returns the C function's code: 0, 4 (BOOT_EBADVECT) where the trailer holds something else, or 1 (BOOT_EFLASH)
    where a trailer field leaves the slot.
    """
    loader = Loader(flash, config, UNWATCHED)
    loader.image = image
    place = loader.place(PRIMARY)
    try:
        if config.mode.selects_once:
            found = yield from set_next(loader, PRIMARY, confirm=True)
            return EBADIMAGE if found.magic is Magic.BAD else 0
        state = loader.swap_state(place)
        if state.magic is Magic.GOOD and state.image_ok is Flag.UNSET:
            yield from loader.write_image_ok(place)
    except HaltError:
        return EFLASH
    return EBADVECT if state.magic is Magic.BAD else 0


def look_around(flash: Flash, config: BootConfig, probe: Probe) -> None:
    """Look at what boots decide by, and decide nothing: headers, and what trailers and status bytes ask for.

    A trailer that another one outweighs is looked at for what it asks for once the other is gone.
    """
    loader = Loader(flash, config, probe)
    status = Status()
    for image in range(len(config.images)):
        loader.image = image
        for slot in (PRIMARY, SECONDARY):
            place = loader.place(slot)
            loader.read_header(place.area, 0)
            if config.mode in (Mode.MOVE, Mode.OFFSET):
                loader.read_header(place.area, config.sector_size)
        primary, secondary = loader.trailer(loader.place(PRIMARY)), loader.trailer(loader.place(SECONDARY))
        for other in (secondary, _NOTHING_ASKED):
            swap_type_of(primary, other, offset=config.mode is Mode.OFFSET)
        if config.mode.swaps:
            _look_at_progress(loader, loader.place(PRIMARY), status)
    if loader.layout.scratch is not None:
        loader.read_header(loader.scratch.area, 0)
        scratch = loader.trailer(loader.scratch)
        if scratch.good:
            _ = scratch.swap_type, scratch.image_num, scratch.image_ok
            _look_at_progress(loader, loader.scratch, status)


def _look_at_progress(loader: Loader, place: Place, status: Status) -> None:
    with suppress(HaltError):
        loader.read_swap_size(place)
        SWAPS[loader.config.mode].read_status_bytes(loader, place, status)
        _read_swap_type(loader, place, status)


def _boot(loader: Loader) -> Program[BootOutcome]:
    """context_boot_go of the builds that upgrade from a secondary slot."""
    count = len(loader.config.images)
    status = loader.new_status()
    for image in range(count):
        loader.image = image
        loader.filled = image + 1
        loader.image_keys[image] = [None, None]
        yield from _prepare(loader, status)
        if loader.swap_type in UPGRADES:
            loader.has_upgrade = True
    if count > 1 and loader.has_upgrade:
        dependencies_met(loader)
    for image in range(count):
        loader.image = image
        if count > 1:
            loader.image_keys[image] = [None, None]
            status = loader.new_status()
        status.swap_type = loader.swap_type
        yield from _perform(loader, status)
    for image in range(count):
        loader.image = image
        fault = yield from _fault_of_primary(loader)
        if fault is not None:
            return NoImage((fault,))
    slots = [(pair.primary.address, loader.headers[i][PRIMARY]) for i, pair in enumerate(loader.config.images)]
    (offset, header), *others = slots
    return Booted(offset, header.version, header, tuple((at, other.version) for at, other in others))


def _fault_of_primary(loader: Loader) -> Program[Finding | None]:
    """The last look before the jump; it erases nothing."""
    if loader.swap_type != SwapType.NONE and not read_headers(loader, None, require_all=False):
        return failed("mcuboot.header.unreadable", loader.place(PRIMARY).area.name, "the header cannot be read")
    found = yield from validate_slot(loader, PRIMARY, loader.new_status(), SwapType.NONE)
    return found


def _prepare(loader: Loader, status: Status) -> Program[None]:
    """boot_prepare_image_for_update: finish an interrupted swap, or find out what is asked for."""
    mode, probe = loader.config.mode, loader.probe
    if not read_headers(loader, None, require_all=False):
        probe.log("WRN", f"Failed reading image headers; Image={loader.image}")
        loader.swap_type = SwapType.NONE
        return
    if not STRATEGIES[mode].slots_compatible(loader):
        loader.swap_type = SwapType.NONE
        return
    _reset(loader, status)
    if mode.swaps:
        read_status(loader, status)
        if not read_headers(loader, status, require_all=not status.is_reset):
            probe.log("WRN", f"Failed reading image headers; Image={loader.image}")
            loader.swap_type = SwapType.NONE
            return
    if not status.is_reset:
        _review_swap_types(loader, aborted=True)
        yield from _finish_swap(loader, status)
        if not read_headers(loader, None, require_all=False):
            raise halted("mcuboot.header.unreadable", "primary", "headers cannot be read after the swap: assertion")
        loader.swap_type = SwapType.NONE
        return
    if status.swap_type == SwapType.NONE:
        loader.swap_type = yield from _validated_swap_type(loader, status)
    else:
        fault = yield from validate_slot(loader, SECONDARY, status, SwapType.NONE)
        loader.swap_type = status.swap_type if fault is None else SwapType.FAIL
    _review_swap_types(loader, aborted=False)


def _reset(loader: Loader, status: Status) -> None:
    """boot_status_reset."""
    fresh = loader.new_status()
    status.idx, status.state, status.op = fresh.idx, fresh.state, fresh.op
    status.use_scratch, status.swap_type = fresh.use_scratch, fresh.swap_type
    status.swap_size, status.source, status.stored_keys = fresh.swap_size, fresh.source, fresh.stored_keys


def read_status(loader: Loader, status: Status) -> None:
    """swap_read_status."""
    swap = SWAPS[loader.config.mode]
    status.source = swap.status_source(loader)
    if status.source is Source.NONE:
        return
    place = loader.scratch if status.source is Source.SCRATCH else loader.place(PRIMARY)
    swap.read_status_bytes(loader, place, status)
    _read_swap_type(loader, place, status)


def _read_swap_type(loader: Loader, place: Place, status: Status) -> None:
    swap_type = loader.esp.observe(place.area, place.swap_info, 1, "swap type as it is", _low_nibble)
    if swap_type is not None:
        status.swap_type = swap_type


def _low_nibble(data: bytes) -> int:
    return SwapType.NONE if data[0] == 0xFF else data[0] & 0xF


def _review_swap_types(loader: Loader, *, aborted: bool) -> None:
    """boot_review_image_swap_types: what looks like a revert of an earlier image belongs to this upgrade."""
    if loader.image == 0:
        return
    if not aborted and loader.swap_type in (SwapType.NONE, SwapType.REVERT):
        return
    for earlier in range(loader.image):
        if loader.swap_types[earlier] == SwapType.REVERT:
            loader.swap_types[earlier] = SwapType.NONE


def _validated_swap_type(loader: Loader, status: Status) -> Program[int]:
    """boot_validated_swap_type: what the trailers ask for, if the secondary image is good."""
    swap_type = loader.requested_swap()
    if swap_type in UPGRADES:
        fault = yield from validate_slot(loader, SECONDARY, status, swap_type)
        if fault is not None:
            return SwapType.NONE
    return swap_type


def _perform(loader: Loader, status: Status) -> Program[None]:
    """Do what the swap type of the current image says."""
    swap_type = loader.swap_type
    if swap_type == SwapType.NONE:
        return
    if swap_type == SwapType.FAIL:
        if loader.config.mode.swaps:
            loader.mark("keep the running image", status)
            yield from loader.set_image_ok()
        return
    if swap_type not in UPGRADES:
        because = f"swap type {swap_type:#x} is none that boot_go can perform: assertion"
        raise halted("mcuboot.swap_type", loader.place(PRIMARY).area.name, because)
    if swap_type != SwapType.REVERT and _is_downgrade(loader):
        loader.probe.log("INF", f"Image {loader.image} in slot 1 erased due to downgrade prevention")
        loader.probe.refused(downgrade(loader))
        loader.mark("refuse downgrade", status)
        yield from loader.scramble_slot(loader.place(SECONDARY), "erase refused image")
        loader.swap_type = SwapType.NONE
        return
    if not loader.config.mode.swaps:
        yield from COPIES[loader.config.mode](loader, status)
        return
    yield from _swap_image(loader, status)
    yield from _conclude(loader, status, swap_type, "perform")


def _finish_swap(loader: Loader, status: Status) -> Program[None]:
    """boot_complete_partial_swap."""
    yield from _swap_image(loader, status)
    loader.swap_type = status.swap_type
    yield from _conclude(loader, status, status.swap_type, "finish")


def _conclude(loader: Loader, status: Status, swap_type: int, step: str) -> Program[None]:
    """After a swap: a permanent or reverted image is confirmed; the swap is done."""
    loader.mark(f"{step}: flags", status)
    if swap_type in (SwapType.REVERT, SwapType.PERM):
        yield from loader.set_image_ok()
    if swap_type in UPGRADES:
        yield from loader.write_copy_done(loader.place(PRIMARY))


def _swap_image(loader: Loader, status: Status) -> Program[None]:
    """boot_swap_image: how much to swap is computed once and then read back from the trailer."""
    if status.is_reset:
        sizes = []
        for slot in (PRIMARY, SECONDARY):
            sizes.append(_size_of(loader, slot))
            load_keys_for_swap(loader, slot, status)
        status.swap_size = max(sizes)
    else:
        place = loader.find_status()
        status.swap_size = loader.read_swap_size(place)
        resume_keys(loader, place, status)
    yield from SWAPS[loader.config.mode].run(loader, status, status.swap_size)


def _size_of(loader: Loader, slot: int) -> int:
    """The size of the image in a slot; 0 without one; an unreadable TLV area is asserted against."""
    if loader.header(slot).magic != IMAGE_MAGIC:
        return 0
    offset_mode = loader.config.mode is Mode.OFFSET
    start = loader.secondary_offset[loader.image] if offset_mode and slot == SECONDARY else 0
    size = read_image_size(loader, slot, start=start)
    if size is None:
        name = loader.place(slot).area.name
        because = f"the image in {name} has a good header and an unreadable TLV area: assertion in boot_swap_image"
        raise halted("mcuboot.image.size_unreadable", name, because)
    if offset_mode:
        header = loader.header(slot)
        total = size - header.tlv_offset - header.protect_tlv_size
        loader.unprotected_tlv_size[loader.image][slot] = total & 0xFFFF
    return size


def _is_downgrade(loader: Loader) -> bool:
    """check_downgrade_prevention of the swap strategies: by security counter, or else by version."""
    config = loader.config
    if not config.downgrade_prevention or not config.mode.swaps:
        return False
    if not config.security_counter:
        return loader.header(SECONDARY).comparable < loader.header(PRIMARY).comparable
    running = security_counter(loader, PRIMARY)
    if running is None:
        return False
    offered = security_counter(loader, SECONDARY)
    return offered is None or running > offered
