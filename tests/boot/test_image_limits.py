"""The largest image by our arithmetic is the largest that the model of the bootloader runs, to the byte."""

import pytest
from tests.support.keys import key_of

from bootwright.boot.config import BootConfig, ImageSlots, Mode, Signature
from bootwright.boot.loader import boot_go
from bootwright.boot.outcome import Booted
from bootwright.flash import Area, NorFlash, drive
from bootwright.formats.keys import KeyType
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_trailer import UpgradeMode, espressif_geometry

SLOT = 0x20000
KEY = key_of(KeyType.ED25519)
OPTIONS = SignOptions(version=ImageVersion(major=1), pad_header=True)
OVERHEAD = len(sign_image(b"", OPTIONS, KEY))
MODES = {
    UpgradeMode.SWAP_SCRATCH: Mode.SCRATCH,
    UpgradeMode.SWAP_MOVE: Mode.MOVE,
    UpgradeMode.OVERWRITE_ONLY: Mode.OVERWRITE,
}


def boots(size: int, mode: UpgradeMode, *, encryption: bool, burned: bool) -> bool:
    """Whether an image of this size runs from the primary slot."""
    slots = ImageSlots(Area("primary", 0, SLOT), Area("secondary", SLOT, SLOT))
    config = BootConfig(
        mode=MODES[mode],
        images=(slots,),
        scratch=Area("scratch", 2 * SLOT, 0x4000) if mode is UpgradeMode.SWAP_SCRATCH else None,
        signature=Signature.ED25519,
        keys=(KEY.public.der,),
        max_align=32 if encryption else 8,
        write_align=32 if burned else 4,
        flash_encryption_active=burned,
    )
    image = sign_image(bytes(size - OVERHEAD), OPTIONS, KEY)
    assert len(image) == size
    flash = NorFlash.holding(image.ljust(2 * SLOT + 0x4000, b"\xff"))
    return isinstance(drive(boot_go(flash, config), flash.apply), Booted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("encryption", "burned"), [(False, False), (True, False), (True, True)])
def test_the_largest_image_boots_and_one_byte_more_does_not(mode: UpgradeMode, encryption: bool, burned: bool) -> None:
    limit = espressif_geometry(SLOT, flash_encryption=encryption, fuse_burned=burned).max_image_size(mode)
    assert boots(limit, mode, encryption=encryption, burned=burned)
    assert not boots(limit + 1, mode, encryption=encryption, burned=burned)
