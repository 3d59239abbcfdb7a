"""What is compiled into a bootloader: everything about MCUboot that is not in the flash.

Names follow MCUboot's and the Espressif port's options; sources: `boot/espressif/hal/include/mcuboot_config/
mcuboot_config.h`, `boot/bootutil/include/bootutil/bootutil_public.h` (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bootwright.boot.image_key import ImageEncryption
from bootwright.errors import FormatError
from bootwright.flash import SECTOR_SIZE, Area


class Mode(StrEnum):
    """How a requested image gets into the primary slot."""

    SCRATCH = "scratch"  #: MCUBOOT_SWAP_USING_SCRATCH
    MOVE = "move"  #: MCUBOOT_SWAP_USING_MOVE
    OFFSET = "offset"  #: MCUBOOT_SWAP_USING_OFFSET
    OVERWRITE = "overwrite"  #: MCUBOOT_OVERWRITE_ONLY
    OVERWRITE_FAST = "overwrite-fast"  #: with MCUBOOT_OVERWRITE_ONLY_FAST, which the Espressif port never sets
    DIRECT_XIP = "direct-xip"  #: MCUBOOT_DIRECT_XIP: the newer of both slots runs where it lies
    DIRECT_XIP_REVERT = "direct-xip-revert"  #: with MCUBOOT_DIRECT_XIP_REVERT
    RAM_LOAD = "ram-load"  #: MCUBOOT_RAM_LOAD: the newer of both slots is copied to RAM and runs there
    RAM_LOAD_REVERT = "ram-load-revert"  #: with MCUBOOT_RAM_LOAD_REVERT
    SINGLE = "single-slot"  #: MCUBOOT_SINGLE_APPLICATION_SLOT: no update at all

    @property
    def swaps(self) -> bool:
        """Whether the old image is kept, so that it can come back."""
        return self in (Mode.SCRATCH, Mode.MOVE, Mode.OFFSET)

    @property
    def overwrites(self) -> bool:
        """Whether the secondary image is copied over the primary one."""
        return self in (Mode.OVERWRITE, Mode.OVERWRITE_FAST)

    @property
    def chooses(self) -> bool:
        """Whether an image runs from either slot (ARE_SLOTS_EQUIVALENT)."""
        return self in (Mode.DIRECT_XIP, Mode.DIRECT_XIP_REVERT, Mode.RAM_LOAD, Mode.RAM_LOAD_REVERT)

    @property
    def loads_to_ram(self) -> bool:
        """Whether images are checked and run in RAM."""
        return self in (Mode.RAM_LOAD, Mode.RAM_LOAD_REVERT)

    @property
    def selects_once(self) -> bool:
        """Whether an image of an equivalent slot that was not confirmed is erased at the next boot."""
        return self in (Mode.DIRECT_XIP_REVERT, Mode.RAM_LOAD_REVERT)

    @property
    def compared(self) -> bool:
        """Whether there are traces of the real code in this mode."""
        return self in (Mode.SCRATCH, Mode.MOVE, Mode.OFFSET, Mode.OVERWRITE)


class Signature(StrEnum):
    """The one signature type that a build checks (MCUBOOT_SIGN_*)."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    ECDSA_P256 = "ecdsa-p256"
    ED25519 = "ed25519"


class SerialErase(StrEnum):
    """How serial recovery makes room for an upload."""

    WHOLE = "plain"  #: the whole slot when the upload starts
    PROGRESSIVE = "progressive"  #: MCUBOOT_ERASE_PROGRESSIVELY


@dataclass(frozen=True, slots=True)
class ImageSlots:
    """The two slots of one image."""

    primary: Area
    secondary: Area


def single_slot(primary: Area) -> ImageSlots:
    """The slots of a build that has but one."""
    return ImageSlots(primary, Area("none", primary.address + primary.size, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class BootConfig:
    """One build of MCUboot with the Espressif port, as far as the flash can tell."""

    mode: Mode
    images: tuple[ImageSlots, ...]  #: MCUBOOT_IMAGE_NUMBER pairs
    scratch: Area | None = None  #: only swap-scratch has one
    signature: Signature | None = None  #: None accepts any image with a right hash
    keys: tuple[bytes, ...] = ()  #: bootutil_keys: public keys as DER
    downgrade_prevention: bool = False  #: MCUBOOT_DOWNGRADE_PREVENTION
    security_counter: bool = False  #: MCUBOOT_DOWNGRADE_PREVENTION_SECURITY_COUNTER
    max_align: int = 8  #: MCUBOOT_BOOT_MAX_ALIGN; 32 when flash encryption is compiled in
    write_align: int = 4  #: flash_area_align(): 32 once flash encryption is active
    flash_encryption_active: bool = False  #: esp_flash_encryption_enabled(): compiled in and set in eFuse
    max_img_sectors: int = 512  #: MCUBOOT_MAX_IMG_SECTORS
    sector_size: int = SECTOR_SIZE
    serial: SerialErase | None = None  #: None: no serial recovery
    encryption: ImageEncryption | None = None  #: MCUBOOT_ENC_IMAGES; None refuses encrypted images, as the port does
    ram: Area | None = None  #: IMAGE_EXECUTABLE_RAM_START and _SIZE; only ram-load has them

    def __post_init__(self) -> None:
        if self.mode is Mode.SCRATCH and self.scratch is None:
            raise FormatError("swap-scratch without a scratch area", "set CONFIG_ESP_SCRATCH_OFFSET and _SIZE")
        if not self.images:
            raise FormatError("found no image, expected one or two", "set CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS")
        if self.max_align not in (8, 16, 32):
            raise FormatError(f"found max_align {self.max_align}, expected 8, 16 or 32", "see MCUBOOT_BOOT_MAX_ALIGN")
        if self.mode.loads_to_ram and self.ram is None:
            raise FormatError("ram-load without a range of RAM", "give IMAGE_EXECUTABLE_RAM_START and _SIZE")
        if self.encryption is not None and self.mode in (Mode.DIRECT_XIP, Mode.DIRECT_XIP_REVERT):
            raise FormatError("found image encryption with direct-xip; the build stops at it", "take ram-load")
        if self.security_counter and not self.downgrade_prevention:
            raise FormatError(
                "found a security counter without downgrade prevention; the port ignores it",
                "set CONFIG_ESP_DOWNGRADE_PREVENTION as well",
            )

    @property
    def areas(self) -> tuple[Area, ...]:
        """All areas that MCUboot may change."""
        slots = tuple(area for image in self.images for area in (image.primary, image.secondary) if area.size)
        return slots if self.scratch is None else (*slots, self.scratch)
