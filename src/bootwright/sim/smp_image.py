"""Image management of an application (Zephyr, subsys/mgmt/mcumgr/grp/img_mgmt): list, upload, test, confirm, erase.

The application runs from the primary slot of image 0; uploads go to secondary slots, and what is requested of MCUboot
is requested through its own trailer functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bootwright.boot.config import BootConfig, Mode
from bootwright.boot.header import FLAG_NON_BOOTABLE, HEADER_SIZE, IMAGE_MAGIC, Header, parse_header
from bootwright.boot.layout import PRIMARY, SECONDARY
from bootwright.boot.loader import set_confirmed, set_pending
from bootwright.boot.loader_state import Loader
from bootwright.boot.probe import UNWATCHED
from bootwright.boot.swap_type import SwapType
from bootwright.boot.tlv import TlvError, tlv_areas, tlvs
from bootwright.flash import Flash, Program
from bootwright.sim.smp_refusal import EINVAL, ENOTSUP, SmpRefusal
from bootwright.smp import header as h

HASH_NOT_FOUND, NO_FREE_SLOT, FLASH_WRITE, INVALID_SLOT = 8, 9, 12, 14
INVALID_LENGTH, INVALID_HEADER, INVALID_MAGIC, INVALID_HASH = 21, 22, 23, 24
CURRENT_IS_NEWER, TOO_LARGE, DATA_OVERRUN, TEST_OF_ACTIVE = 27, 30, 31, 33

HASH_TLVS = (0x10, 0x11, 0x12)
SIZES = {0x10: 32, 0x11: 48, 0x12: 64}


@dataclass(frozen=True, slots=True)
class SlotImage:
    """An image that lies in a slot, as far as the application reads it; it validates nothing."""

    image: int
    slot: int
    header: Header
    hash: bytes

    @property
    def version(self) -> str:
        """As the protocol writes it: the build number only if there is one."""
        plain = f"{self.header.major}.{self.header.minor}.{self.header.revision}"
        return f"{plain}.{self.header.build}" if self.header.build else plain


@dataclass(slots=True)
class _Upload:
    """g_img_mgmt_state: lives until the reset."""

    image: int = 0
    size: int = 0
    offset: int = 0
    sha: bytes = b""
    going: bool = False


def flags_of(swap_type: SwapType, slot: int, active: int) -> dict[str, bool]:
    """img_mgmt_state_flags: what a swap type says of a slot."""
    here = slot == active
    requested = swap_type in (SwapType.TEST, SwapType.PERM)
    confirmed = not here if swap_type is SwapType.REVERT else here
    return {
        "pending": requested and not here,
        "confirmed": confirmed and (here or swap_type is SwapType.REVERT),
        "active": here,
        "permanent": swap_type is SwapType.PERM and not here,
    }


class ImageGroup:
    """The image group over the slots of one MCUboot build."""

    def __init__(self, flash: Flash, config: BootConfig, *, active: int = PRIMARY) -> None:
        self._flash = flash
        self._config = config
        self._active = active
        self._upload = _Upload()

    def answer(self, op: int, command: int, request: Mapping[str, Any]) -> Program[dict[str, object]]:
        """Answer a request; raises `SmpRefusal`."""
        if (command, op) == (h.IMAGE_STATE, h.READ):
            return self._list()
        if (command, op) == (h.IMAGE_STATE, h.WRITE):
            return (yield from self._set_state(request))
        if (command, op) == (h.IMAGE_UPLOAD, h.WRITE):
            return (yield from self._take(request))
        if (command, op) == (h.IMAGE_ERASE, h.WRITE):
            return (yield from self._erase(request))
        if (command, op) == (h.IMAGE_SLOT_INFO, h.READ):
            return self._slot_info()
        raise SmpRefusal(ENOTSUP)

    def _loader(self, image: int = 0) -> Loader:
        loader = Loader(self._flash, self._config, UNWATCHED)
        loader.image = image
        return loader

    def _look(self, image: int, slot: int) -> SlotImage | None:
        """The image in a slot: a header with the magic, and a hash TLV behind it."""
        loader = self._loader(image)
        area = loader.place(slot).area
        start = self._start(loader, slot)
        data = loader.esp.read(area, start, HEADER_SIZE)
        if data is None or parse_header(data).magic != IMAGE_MAGIC:
            return None
        header = parse_header(data)
        try:
            areas = tlv_areas(loader, area, header, start)
            for tlv in tlvs(loader, area, header, areas, protected_only=False):
                if tlv.type in HASH_TLVS and tlv.length == SIZES[tlv.type]:
                    return SlotImage(image, slot, header, loader.esp.read(area, tlv.offset, tlv.length) or b"")
        except TlvError:
            return None
        return None

    def _start(self, loader: Loader, slot: int) -> int:
        """Swap-offset keeps the first sector of the secondary slot free until the image comes back."""
        if self._config.mode is not Mode.OFFSET or slot == PRIMARY:
            return 0
        return 0 if loader.requested_swap() is SwapType.REVERT else loader.layout.sector_size

    def images(self) -> list[SlotImage]:
        """What lies in the slots."""
        found = [self._look(image, slot) for image in range(len(self._config.images)) for slot in (PRIMARY, SECONDARY)]
        return [image for image in found if image is not None]

    def _list(self) -> dict[str, object]:
        return {"images": [self._entry(image) for image in self.images()], "splitStatus": 0}

    def _entry(self, found: SlotImage) -> dict[str, object]:
        number: dict[str, object] = {"image": found.image} if len(self._config.images) > 1 else {}
        flags = flags_of(self._loader(found.image).requested_swap(), found.slot, self._active)
        return {
            **number,
            "slot": found.slot,
            "version": found.version,
            "hash": found.hash,
            "bootable": not found.header.flags & FLAG_NON_BOOTABLE,
            **flags,
        }

    def _set_state(self, request: Mapping[str, Any]) -> Program[dict[str, object]]:
        wanted, confirm = request.get("hash") or b"", request.get("confirm", False)  # the Go mcumgr sends null for none
        if not isinstance(wanted, bytes) or not isinstance(confirm, bool):
            raise SmpRefusal(EINVAL)
        if not wanted:
            if not confirm:
                raise SmpRefusal(INVALID_HASH, group=h.IMAGE)
            image, slot = 0, self._active
        else:
            found = next((one for one in self.images() if one.hash == wanted), None)
            if found is None:
                raise SmpRefusal(HASH_NOT_FOUND, group=h.IMAGE)
            image, slot = found.image, found.slot
        if slot == self._active:
            if not confirm:
                raise SmpRefusal(TEST_OF_ACTIVE, group=h.IMAGE)
            rc = yield from set_confirmed(self._flash, self._config, image=image)
        else:
            rc = yield from set_pending(self._flash, self._config, image=image, permanent=confirm)
        if rc:
            raise SmpRefusal(FLASH_WRITE, group=h.IMAGE)
        return self._list()

    def _take(self, request: Mapping[str, Any]) -> Program[dict[str, object]]:
        offset, data = request.get("off"), request.get("data")
        if not isinstance(offset, int) or not isinstance(data, bytes):
            raise SmpRefusal(EINVAL)
        if offset == 0:
            resumed = yield from self._begin(request, data)
            if resumed:
                return {"off": self._upload.offset}
        upload = self._upload
        if offset != upload.offset:
            return {"off": upload.offset}
        if not upload.going:
            return {"off": 0}
        if upload.offset + len(data) > upload.size:
            raise SmpRefusal(DATA_OVERRUN, group=h.IMAGE)
        yield from self._store(data)
        if upload.offset == upload.size:
            answer: dict[str, object] = {"off": upload.offset}
            self._upload = _Upload()
            return answer
        return {"off": upload.offset}

    def _begin(self, request: Mapping[str, Any], data: bytes) -> Program[bool]:
        """The first chunk: checked, and room made for what it announces; true if it only resumes."""
        size, sha, image = request.get("len"), request.get("sha", b""), request.get("image", 0)
        if not isinstance(size, int):
            raise SmpRefusal(INVALID_LENGTH, group=h.IMAGE)
        if not isinstance(image, int) or not 0 <= image < len(self._config.images):
            raise SmpRefusal(NO_FREE_SLOT, group=h.IMAGE)
        if len(data) < HEADER_SIZE:
            raise SmpRefusal(INVALID_HEADER, group=h.IMAGE)
        header = parse_header(data)
        if header.magic != IMAGE_MAGIC:
            raise SmpRefusal(INVALID_MAGIC, group=h.IMAGE)
        if self._upload.going and sha and sha == self._upload.sha and size == self._upload.size:
            return True
        loader = self._loader(image)
        place = loader.place(SECONDARY)
        if size > place.area.size:
            raise SmpRefusal(TOO_LARGE, group=h.IMAGE)
        if loader.requested_swap() is not SwapType.NONE:
            raise SmpRefusal(NO_FREE_SLOT, group=h.IMAGE)
        running = self._look(image, self._active)
        if request.get("upgrade") and running is not None and header.comparable <= running.header.comparable:
            raise SmpRefusal(CURRENT_IS_NEWER, group=h.IMAGE)
        self._upload = _Upload(image, size, 0, sha if isinstance(sha, bytes) else b"", going=True)
        yield from self._erase_slot(loader)
        return False

    def _store(self, data: bytes) -> Program[None]:
        """Write a chunk; the last one is filled up to a flash word, the others cut to one."""
        upload = self._upload
        loader = self._loader(upload.image)
        align = loader.layout.write_size
        if upload.offset + len(data) < upload.size:
            data = data[: len(data) // align * align]
        start = loader.layout.sector_size if self._config.mode is Mode.OFFSET else 0
        padded = data + b"\xff" * (-len(data) % align)
        area = loader.place(SECONDARY).area
        ops = loader.esp.write(area, start + upload.offset, padded, "write upload") if padded else ()
        if ops is None:
            raise SmpRefusal(FLASH_WRITE, group=h.IMAGE)
        yield from ops
        upload.offset += len(data)

    def _erase(self, request: Mapping[str, Any]) -> Program[dict[str, object]]:
        slot = request.get("slot", SECONDARY)
        if not isinstance(slot, int) or not 0 <= slot < 2 * len(self._config.images):
            raise SmpRefusal(INVALID_SLOT, group=h.IMAGE)
        image, place = divmod(slot, 2)
        loader = self._loader(image)
        if place == self._active or loader.requested_swap() is not SwapType.NONE:
            raise SmpRefusal(NO_FREE_SLOT, group=h.IMAGE)
        yield from self._erase_slot(loader)
        return {}

    def _erase_slot(self, loader: Loader) -> Program[None]:
        area = loader.place(SECONDARY).area
        yield from loader.esp.erase(area, 0, area.size, "erase secondary")

    def _slot_info(self) -> dict[str, object]:
        rows: list[dict[str, object]] = []
        for image, pair in enumerate(self._config.images):
            slots = [
                {"slot": PRIMARY, "size": pair.primary.size},
                {"slot": SECONDARY, "size": pair.secondary.size, "upload_image_id": image},
            ]
            trailer = self._loader(image).layout.trailer_size
            rows.append({"image": image, "slots": slots, "max_image_size": pair.secondary.size - trailer})
        return {"images": rows}
