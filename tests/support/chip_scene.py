"""A virtual ESP32-C3 as the port's default bootloader.conf lays it out: signed bootloader, signed application."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from tests.support.keys import key_of

from bootwright.chips.chip import load_chip
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.esp_image import Segment, make_bootloader_image
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.keys import KeyType
from bootwright.formats.load_header import make_application
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.machine import Machine

LAYOUT = {
    "CONFIG_ESP_FLASH_SIZE": "4MB",
    "CONFIG_ESP_BOOTLOADER_SIZE": "0xF000",
    "CONFIG_ESP_BOOTLOADER_OFFSET": "0x0000",
    "CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS": "0x20000",
    "CONFIG_ESP_APPLICATION_SIZE": "0x1C0000",
    "CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS": "0x1E0000",
    "CONFIG_ESP_SCRATCH_OFFSET": "0x3E0000",
    "CONFIG_ESP_SCRATCH_SIZE": "0x1F000",
    "CONFIG_ESP_SIGN_ED25519": "y",
    "CONFIG_ESP_USE_TINYCRYPT": "y",
}
SECURE_BOOT = {
    "CONFIG_SECURE_SIGNED_ON_BOOT": "1",
    "CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME": "1",
    "CONFIG_SECURE_BOOT": "1",
    "CONFIG_SECURE_BOOT_V2_ENABLED": "1",
    "CONFIG_SECURE_BOOT_SUPPORTS_RSA": "1",
}
FLASH_ENCRYPTION = {"CONFIG_SECURE_FLASH_ENC_ENABLED": "1"}
RELEASE = {**FLASH_ENCRYPTION, "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE": "1"}

PRIMARY, SECONDARY, SLOT_SIZE = 0x20000, 0x1E0000, 0x1C0000


def conf_of(*groups: dict[str, str]) -> BootloaderConf:
    """The options of all groups, later ones winning."""
    options: dict[str, str] = {}
    for group in (LAYOUT, *groups):
        options |= group
    return BootloaderConf.parse("\n".join(f"{name}={value}" for name, value in options.items()))


@cache
def bootloader(*, signed: bool = True, chip: str = "esp32c3", key_number: int = 0) -> bytes:
    """A synthetic bootloader for the chip, signed for its Secure Boot V2 unless told otherwise."""
    facts = load_chip(chip)
    image = make_bootloader_image(facts.chip_id, size=0x7000)
    if not signed:
        return image
    key_type = KeyType.RSA_3072 if "rsa-3072" in facts.secure_boot.schemes else KeyType.ECDSA_P256
    return sign_v2(image, [key_of(key_type, key_number)])


@cache
def application(
    *,
    version: str = "1.0.0",
    max_align: int = 32,
    seed: bytes = b"app",
    key_number: int = 0,
    chip: str = "esp32c3",
    header_size: int = 0x20,
) -> bytes:
    """An application signed with Ed25519, with a load header that the port's loader takes."""
    memory = load_chip(chip).memory
    iram, dram = memory.iram[0] + 0x1000, memory.dram[0] + 0x4000
    payload = make_application(iram, Segment(iram, seed.ljust(64, b"i")), Segment(dram, seed.ljust(64, b"d")))
    options = SignOptions(
        version=_version(version), pad_header=True, slot_size=SLOT_SIZE, max_align=max_align, header_size=header_size
    )
    return sign_image(payload, options, key_of(KeyType.ED25519, key_number))


def _version(text: str) -> ImageVersion:
    major, minor, revision = map(int, text.split("."))
    return ImageVersion(major=major, minor=minor, revision=revision)


@dataclass(slots=True)
class Scene:
    """A machine and the bootloader model that runs on it."""

    machine: Machine
    port: McubootPort
    conf: BootloaderConf = field(repr=False)


def scene(*groups: dict[str, str], chip: str = "esp32c3", signed: bool = True, app: bytes | None = None) -> Scene:
    """A new chip with everything flashed in plaintext."""
    conf = conf_of(*groups)
    facts = load_chip(chip)
    machine = Machine(facts, entropy=lambda length: bytes(range(1, length + 1)))
    machine.flash.load(facts.bootloader_offset, bootloader(signed=signed, chip=chip))
    machine.flash.load(PRIMARY, application(chip=chip) if app is None else app)
    return Scene(machine, McubootPort(conf=conf, keys=(key_of(KeyType.ED25519, 0).public.der,)), conf)
