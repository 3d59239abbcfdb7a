"""From the options of a `bootloader.conf` to what the MCUboot model takes."""

from __future__ import annotations

from bootwright.boot.config import BootConfig, ImageSlots, Mode, SerialErase, Signature, single_slot
from bootwright.errors import NotModelledError
from bootwright.flash import Area
from bootwright.formats.bootloader_conf import BootloaderConf, UpgradeMode

UPDATES = (UpgradeMode.SCRATCH, UpgradeMode.MOVE, UpgradeMode.OFFSET, UpgradeMode.OVERWRITE)


def boot_config(conf: BootloaderConf, keys: tuple[bytes, ...], *, encryption_active: bool) -> BootConfig:
    """The build of `conf` with these public keys, on a chip whose eFuses have encryption on or not.

    Raises:
        NotModelledError: an upgrade mode that the port cannot build.
    """
    if conf.mode not in UPDATES:
        raise NotModelledError(
            f"{conf.where}: upgrade mode {conf.mode} is not modelled for a chip: the port cannot build it",
            "the port supports swap-scratch, swap-move and overwrite; `trace record` plays the other modes",
        )
    return bootutil_config(conf, keys, encryption_active=encryption_active)


def bootutil_config(conf: BootloaderConf, keys: tuple[bytes, ...], *, encryption_active: bool) -> BootConfig:
    """As `boot_config`, for every mode of bootutil that these options describe, whether the port can build it or not.

    Raises:
        NotModelledError: ram-load, for which the port has no range of RAM.
    """
    if conf.mode is UpgradeMode.RAM_LOAD:
        raise NotModelledError(
            f"{conf.where}: upgrade mode {conf.mode} is not modelled from a bootloader.conf: it names no range of RAM",
            "no option of the port sets IMAGE_EXECUTABLE_RAM_START; see bootwright.boot.config for the model itself",
        )
    downgrade = conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION")
    return BootConfig(
        mode=Mode(conf.mode.value),
        images=_slots(conf),
        scratch=None if conf.scratch is None else Area(*conf.scratch),
        signature=None if conf.signature is None else Signature(conf.signature),
        keys=keys,
        downgrade_prevention=downgrade,
        security_counter=downgrade and conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER"),
        max_align=conf.max_align,
        write_align=32 if encryption_active else 4,
        flash_encryption_active=encryption_active,
        serial=_serial(conf),
    )


def _slots(conf: BootloaderConf) -> tuple[ImageSlots, ...]:
    if conf.mode is UpgradeMode.SINGLE:
        return (single_slot(Area(*conf.primary())),)
    pairs = (conf.slots(image) for image in range(conf.image_count))
    return tuple(ImageSlots(Area(*primary), Area(*secondary)) for primary, secondary in pairs)


def _serial(conf: BootloaderConf) -> SerialErase | None:
    if not conf.defined("CONFIG_ESP_MCUBOOT_SERIAL"):
        return None
    progressive = conf.defined("CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY")
    return SerialErase.PROGRESSIVE if progressive else SerialErase.WHOLE
