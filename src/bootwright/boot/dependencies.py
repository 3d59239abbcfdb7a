"""Dependencies between two images: an upgrade goes ahead only if all of them fit together afterwards.

Source: boot_verify_dependencies and what it calls, boot/bootutil/src/loader.c (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from bootwright.boot.layout import PRIMARY, SECONDARY
from bootwright.boot.loader_state import Loader
from bootwright.boot.swap_type import UPGRADES, SwapType
from bootwright.boot.tlv import TlvError, tlv_areas, tlvs
from bootwright.boot.validate import TLV_DEPENDENCY

DEPENDENCY_SIZE = 12  #: `struct image_dependency`


def dependencies_met(loader: Loader) -> bool:
    """Check every image that will run; the first unmet dependency holds all images back."""
    for image in range(len(loader.config.images)):
        loader.image = image
        slot = PRIMARY if loader.swap_type in (SwapType.NONE, SwapType.FAIL) else SECONDARY
        if not slot_dependencies_met(loader, slot):
            loader.swap_types = [SwapType.NONE] * len(loader.config.images)
            return False
    return True


def slot_dependencies_met(loader: Loader, slot: int) -> bool:
    """boot_verify_slot_dependencies of the current image."""
    area, header = loader.place(slot).area, loader.header(slot)
    start = loader.start_of(slot)
    try:
        areas = tlv_areas(loader, area, header, start)
        for tlv in tlvs(loader, area, header, areas, protected_only=True):
            if tlv.type != TLV_DEPENDENCY:
                continue
            if tlv.length != DEPENDENCY_SIZE:
                return False
            data = loader.esp.read(area, tlv.offset, tlv.length)
            if data is None or not _fulfilled(loader, data):
                return False
    except TlvError:
        return False
    return True


def _fulfilled(loader: Loader, dependency: bytes) -> bool:
    """Compare with the version that the other image is going to have; the build number does not count."""
    image = dependency[0]
    if image >= len(loader.config.images):
        return False
    wanted = dependency[4], dependency[5], int.from_bytes(dependency[6:8], "little")
    if loader.config.mode.chooses:
        slot = loader.active[image]
    else:
        slot = SECONDARY if loader.swap_types[image] in UPGRADES else PRIMARY
    return loader.headers[image][slot].comparable >= wanted
