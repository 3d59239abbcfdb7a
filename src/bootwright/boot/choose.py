"""Direct-xip and ram-load: two slots of equal rank, the newer image runs, where it lies or in RAM.

Nothing moves between the slots. With revert, an image that was selected once and did not confirm itself is erased at
the next boot. The Espressif port builds none of this. Sources: the second half of boot/bootutil/src/loader.c,
ram_load.c, boot_set_next of bootutil_public.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from bootwright.boot.dependencies import slot_dependencies_met
from bootwright.boot.encrypted import REFUSED, is_encrypted, load_key
from bootwright.boot.header import FLAG_RAM_LOAD, FLAG_ROM_FIXED, U32, Header
from bootwright.boot.layout import PRIMARY, SECONDARY
from bootwright.boot.loader_state import NO_SLOT, Loader
from bootwright.boot.outcome import Booted, BootOutcome, HaltError, NoImage, halted
from bootwright.boot.slot_check import read_headers, validate_slot
from bootwright.boot.swap_type import Flag, Magic, SwapState, SwapType
from bootwright.boot.validate import header_fault, read_image_size
from bootwright.finding import Finding, failed
from bootwright.flash import Program

NAMES = ("primary", "secondary")
SLOTS = (PRIMARY, SECONDARY)


class Choice:
    """`slot_usage`: which slots are still in question, what was loaded where, and why the others were not taken."""

    def __init__(self, loader: Loader) -> None:
        count = len(loader.config.images)
        self.loader = loader
        self.available = [[False, False] for _ in range(count)]
        self.loaded: list[tuple[int, int]] = [(0, 0)] * count  #: address in RAM and size (img_dst, img_sz)
        self.why: list[Finding] = []

    @property
    def slot(self) -> int:
        """The active slot of the current image."""
        return self.loader.active[self.loader.image]

    def drop(self, slot: int) -> None:
        """The slot is out of the question for this boot."""
        self.available[self.loader.image][slot] = False
        self.loader.active[self.loader.image] = NO_SLOT

    def newest(self) -> int:
        """find_slot_with_highest_version: of equal versions the primary slot's."""
        headers, available = self.loader.headers[self.loader.image], self.available[self.loader.image]
        if all(available):
            return SECONDARY if headers[SECONDARY].comparable > headers[PRIMARY].comparable else PRIMARY
        return PRIMARY if available[PRIMARY] else SECONDARY if available[SECONDARY] else NO_SLOT


def choose(loader: Loader) -> Program[BootOutcome]:
    """context_boot_go of the builds whose slots are equivalent."""
    choice = Choice(loader)
    fault = _find_images(choice)
    while fault is None:
        fault = yield from _load_all(choice)
        if fault is None and _dependencies_met(choice):
            return _booted(loader)
    return NoImage((fault, *choice.why))


def _booted(loader: Loader) -> Booted:
    for image, slot in enumerate(loader.active):
        loader.probe.log("INF", f"Image {image} loaded from the {NAMES[slot]} slot")
    slots = [
        (loader.layout.slots[image][slot].area.address, loader.headers[image][slot])
        for image, slot in enumerate(loader.active)
    ]
    (offset, header), *others = slots
    return Booted(offset, header.version, header, tuple((at, other.version) for at, other in others))


def _find_images(choice: Choice) -> Finding | None:
    """boot_get_slot_usage: which slots hold an image with a good header."""
    loader = choice.loader
    for image in range(len(loader.config.images)):
        loader.image = image
        if not read_headers(loader, None, require_all=False):
            loader.probe.log("WRN", "Failed reading image headers.")
            return failed("mcuboot.header.unreadable", loader.place(PRIMARY).area.name, "the header cannot be read")
        for slot in SLOTS:
            header, area = loader.header(slot), loader.place(slot).area
            wrong = header_fault(header, area, loader.config)
            choice.available[image][slot] = not wrong
            if wrong:
                loader.probe.log("INF", f"Image {image} {NAMES[slot]} slot: image not found")
                choice.why.append(failed("mcuboot.image.header", area.name, wrong))
            else:
                loader.probe.log("INF", f"{NAMES[slot].capitalize():<9} slot: version={header.version}")
    return None


def _load_all(choice: Choice) -> Program[Finding | None]:
    """boot_load_and_validate_images: for each image the newest slot that passes; a reason where none is left."""
    loader = choice.loader
    for image in range(len(loader.config.images)):
        loader.image = image
        while choice.slot == NO_SLOT:
            slot = choice.newest()
            if slot == NO_SLOT:
                loader.probe.log("INF", f"No slot to load for image {image}")
                return failed("mcuboot.image.none", f"image {image}", "neither slot holds an image that may run")
            loader.active[image] = slot
            fault = yield from _fault_of(choice, slot)
            if fault is not None:
                choice.why.append(fault)
                choice.drop(slot)
    return None


def _fault_of(choice: Choice, slot: int) -> Program[Finding | None]:
    """What keeps the chosen image from running; whatever it is, the slot may be erased for it."""
    loader, mode = choice.loader, choice.loader.config.mode
    fault = None if mode.loads_to_ram else _address_fault(loader, slot)
    if fault is None and mode.selects_once:
        fault = yield from _select_or_erase(loader, slot)
    if fault is not None:
        return fault
    if mode.loads_to_ram:
        fault = _ram_fault(choice, slot)
        if fault is not None:
            loader.probe.log("INF", f"Removing image {loader.image} slot {slot} from flash")
            loader.mark("erase what RAM cannot take", loader.new_status())
            yield from loader.scramble_slot(loader.place(slot), "erase image that cannot be loaded")
            return fault
    fault = yield from validate_slot(loader, slot, loader.new_status(), SwapType.NONE)
    if fault is not None and mode.loads_to_ram:
        _remove_from_ram(choice)
    return fault


def _address_fault(loader: Loader, slot: int) -> Finding | None:
    """boot_rom_address_check: an image built for one address runs only there."""
    header, area = loader.header(slot), loader.place(slot).area
    if not header.flags & FLAG_ROM_FIXED or header.load_addr == area.address:
        return None
    text = f"Image in {NAMES[slot]} slot at {area.address:#x} has been built for offset {header.load_addr:#x}"
    loader.probe.log("WRN", f"{text}, skipping")
    because = f"the image was built for {header.load_addr:#x} and lies at {area.address:#x}"
    return failed("mcuboot.image.address", area.name, because, "put it into the other slot, or build it for this one")


def _select_or_erase(loader: Loader, slot: int) -> Program[Finding | None]:
    """boot_select_or_erase: mark the image as selected; one that was and did not confirm itself is erased."""
    place = loader.place(slot)
    state = loader.swap_state(place)
    if state.magic is not Magic.GOOD or (state.copy_done is Flag.SET and state.image_ok is not Flag.SET):
        loader.mark("erase unconfirmed image", loader.new_status())
        yield from loader.scramble_slot(place, "erase unconfirmed image")
        return failed(
            "mcuboot.image.unconfirmed", place.area.name, _why_erased(state), "confirm the image once it runs"
        )
    if state.copy_done is not Flag.SET:
        try:
            yield from loader.write_copy_done(place)
        except HaltError:
            loader.probe.log("WRN", f"Failed to set copy_done flag of the image in the {NAMES[slot]} slot.")
    return None


def _why_erased(state: SwapState) -> str:
    if state.magic is not Magic.GOOD:
        return f"the trailer's magic is {state.magic.name.lower()}, so nobody asked for this image: it was erased"
    return "the image was started once and did not confirm itself: it was erased"


def _ram_fault(choice: Choice, slot: int) -> Finding | None:
    """boot_load_image_to_sram: copy the image to where its header says, if it may lie there."""
    loader, image = choice.loader, choice.loader.image
    header, area = loader.header(slot), loader.place(slot).area
    if not header.flags & FLAG_RAM_LOAD:
        return failed("mcuboot.ram.flag", area.name, "the image does not ask to be loaded to RAM", "sign it for RAM")
    size = read_image_size(loader, slot)
    if size is None:
        return failed("mcuboot.image.tlv", area.name, "the TLV area cannot be read")
    address = header.load_addr
    if not _fits_ram(loader, address, size):
        loader.probe.log("INF", f"Image {image} RAM load address {address:#x} is invalid.")
        return failed("mcuboot.ram.range", area.name, f"{size:#x} bytes at {address:#x} leave the executable RAM")
    for other, (start, length) in enumerate(choice.loaded):
        if other != image and loader.active[other] != NO_SLOT and _overlap(address, size, start, length):
            text = f"Image {image} RAM loading to address {address:#x} would overlap with"
            loader.probe.log("INF", f"{text}                         another image.")
            return failed("mcuboot.ram.overlap", area.name, f"{address:#x} is taken by image {other}")
    if size > area.size:
        loader.probe.log("INF", f"Error whilst copying image {image} from Flash to SRAM: -1")
        loader.probe.log("INF", f"Image {image} RAM loading to {address:#x} is failed.")
        return failed("mcuboot.image.size", area.name, f"the image says to have {size:#x} bytes, more than the slot")
    fault = _key_fault(loader, slot, header)
    if fault is not None:
        loader.probe.log("INF", f"Image {image} RAM loading to {address:#x} is failed.")
        return fault
    choice.loaded[image] = address, size
    loader.probe.log("INF", f"Image {image} RAM loading to {address:#x} is succeeded.")
    return None


def _key_fault(loader: Loader, slot: int, header: Header) -> Finding | None:
    """boot_decrypt_and_copy_image_to_sram."""
    if not is_encrypted(header):
        return None
    name = loader.place(slot).area.name
    if load_key(loader, slot, loader.new_status()) == REFUSED:
        return failed("mcuboot.image.key", name, "the image is encrypted and this build cannot open its key")
    if loader.image_keys[loader.image][slot] is None and header.img_size:
        raise halted("mcuboot.image.key", name, f"the image of {name} is encrypted and has no key: assertion")
    return None


def _fits_ram(loader: Loader, address: int, size: int) -> bool:
    """boot_verify_ram_load_address."""
    ram = loader.config.ram
    return ram is not None and ram.address <= address and address + size <= min(ram.address + ram.size, U32)


def _overlap(start: int, size: int, other: int, length: int) -> bool:
    """do_regions_overlap, which counts the first byte behind this one as part of it."""
    if other > start + size:
        return False
    return other >= start or other + length > start


def _remove_from_ram(choice: Choice) -> None:
    """boot_remove_image_from_sram."""
    loader = choice.loader
    address, _ = choice.loaded[loader.image]
    loader.probe.log("INF", f"Removing image {loader.image} from SRAM at address {address:#x}")
    choice.loaded[loader.image] = 0, 0


def _dependencies_met(choice: Choice) -> bool:
    """boot_verify_dependencies: the first image whose dependencies are not met gives up its slot for another try."""
    loader = choice.loader
    if len(loader.config.images) == 1:
        return True
    for image in range(len(loader.config.images)):
        loader.image = image
        slot = choice.slot
        if not slot_dependencies_met(loader, slot):
            if loader.config.mode.loads_to_ram:
                _remove_from_ram(choice)
            because = "it depends on a version of another image that is not going to run"
            choice.why.append(failed("mcuboot.image.dependency", loader.place(slot).area.name, because))
            choice.drop(slot)
            return False
    return True


def set_next(loader: Loader, slot: int, *, confirm: bool) -> Program[SwapState]:
    """boot_set_next of applications for equivalent slots (MCUBOOT_BOOTUTIL_LIB_FOR_DIRECT_XIP).

    Returns the trailer as it was found; a magic that is neither good nor unset changes nothing.
    """
    place = loader.place(slot)
    state = loader.swap_state(place)
    if state.magic is Magic.UNSET:
        yield from loader.write_magic(place)
    if state.magic is not Magic.BAD and confirm:
        if state.copy_done is Flag.UNSET:
            yield from loader.write_copy_done(place)
        if state.image_ok is Flag.UNSET:
            yield from loader.write_image_ok(place)
    return state
