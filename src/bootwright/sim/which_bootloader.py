"""Which bootloader a file of options builds: MCUboot's `bootloader.conf`, or an ESP-IDF project's sdkconfig."""

from __future__ import annotations

import re

from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.keys import PublicKey
from bootwright.sim.board import Bootloader
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.idf_boot import IdfBootloader

#: Options of an sdkconfig that the second-stage bootloader's model asks for.
_HEEDED = re.compile(
    r"CONFIG_(IDF_TARGET|PARTITION_TABLE_OFFSET|EFUSE_VIRTUAL\w*|BOOTLOADER_APP_\w+|SECURE_\w+)=.*", re.ASCII
)


def is_sdkconfig(conf: BootloaderConf) -> bool:
    """Every sdkconfig names its target, no `bootloader.conf` does."""
    return conf.defined("CONFIG_IDF_TARGET")


def heeded_options(text: str) -> str:
    """What is worth keeping of a file of options: an sdkconfig has a thousand lines, a boot asks for a few."""
    if not is_sdkconfig(BootloaderConf.parse(text)):
        return text
    return "".join(f"{line}\n" for line in text.splitlines() if _HEEDED.fullmatch(line))


def bootloader_for(text: str, keys: tuple[bytes, ...], *, detect_pin: bool = False) -> Bootloader:
    """The model of what these options build, with these public keys (DER) compiled in.

    Raises:
        FormatError: options that no build takes.
    """
    conf = BootloaderConf.parse(text)
    if not is_sdkconfig(conf):
        return McubootPort(conf=conf, keys=keys, detect_pin=detect_pin)
    return IdfBootloader(conf=conf, app_key=PublicKey.from_der(keys[0]) if keys else None)
