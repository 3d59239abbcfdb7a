"""From the options of a `bootloader.conf` to what the MCUboot model takes."""

from __future__ import annotations

from bootwright.boot.config import BootConfig, ImageSlots, Mode, SerialErase, Signature
from bootwright.errors import NotModelledError
from bootwright.flash import Area
from bootwright.formats.bootloader_conf import BootloaderConf


def boot_config(conf: BootloaderConf, keys: tuple[bytes, ...], *, encryption_active: bool) -> BootConfig:
    """The build of `conf` with these public keys, on a chip whose eFuses have encryption on or not.

    Raises:
        NotModelledError: an upgrade mode that the port does not build.
    """
    if conf.mode.value not in {mode.value for mode in Mode}:
        raise NotModelledError(
            f"{conf.where}: upgrade mode {conf.mode} is not modelled",
            "the port supports swap-scratch, swap-move and overwrite",
        )
    downgrade = conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION")
    slots = [conf.slots(image) for image in range(conf.image_count)]
    return BootConfig(
        mode=Mode(conf.mode.value),
        images=tuple(ImageSlots(Area(*primary), Area(*secondary)) for primary, secondary in slots),
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


def _serial(conf: BootloaderConf) -> SerialErase | None:
    if not conf.defined("CONFIG_ESP_MCUBOOT_SERIAL"):
        return None
    progressive = conf.defined("CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY")
    return SerialErase.PROGRESSIVE if progressive else SerialErase.WHOLE
