"""The flash-encryption key of a rehearsal: burned by the host before the first boot, and read back for `--keep`."""

from __future__ import annotations

from collections.abc import Mapping

from bootwright.chips.burning import BurnPlan, KeyWish, key_values, plan_burn
from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses
from bootwright.formats.esp_flash_encryption import efuse_key

_DERIVED = "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"


def host_key_size(chip: Chip) -> int:
    """Bytes of the key that a host burns: half a block where the Secure Boot digest needs the other half."""
    return 16 if chip.keys.purpose_by == "halves" else 32


def plan_host_key(efuses: Efuses, key: bytes, digest: bytes) -> BurnPlan:
    """What `espefuse burn-key` burns for a host's key; with one block for both keys, the digest goes with it.

    Raises:
        RefusedError: the chip has no room for it.
    """
    wishes: Mapping[str, tuple[KeyWish, ...]] = {
        "position": (KeyWish("flash_encryption", key),),
        "halves": (KeyWish("BLOCK_KEY0", key, _DERIVED), KeyWish("BLOCK_KEY0", digest, "SECURE_BOOT_DIGEST")),
        "field": (KeyWish(_free_block(efuses), key, "XTS_AES_128_KEY"),),
    }
    return plan_burn(efuses, key_values(efuses, wishes[efuses.chip.keys.purpose_by]))


def _free_block(efuses: Efuses) -> str:
    if efuses.chip.keys.purpose_by != "field":
        return ""
    number = efuses.free_key_block("XTS_AES_128_KEY")
    return "" if number is None else efuses.chip.block(number).name


def key_file(efuses: Efuses) -> bytes | None:
    """The burned key as espsecure's key files have it, None without one. A rehearsal may know what silicon hides."""
    if efuses.chip.keys.purpose_by == "halves":
        stored = efuses.block(efuses.chip.keys.blocks[0])[:16]
        return efuse_key(stored) if any(stored) else None
    purposes = [purpose.name for purpose in efuses.chip.purposes if purpose.is_flash_key]
    found = [efuses.block(number) for name in sorted(purposes) if (number := efuses.find_key(name)) is not None]
    return b"".join(efuse_key(stored) for stored in found) if any(map(any, found)) else None
