"""Where things lie in the flash, and the `bootloader.conf` that says so.

The defaults are those of the port's own files (mcu-tools/mcuboot 2d4bacc3, boot/espressif/port/<chip>/bootloader.conf).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType

from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, failed
from bootwright.formats.bootloader_conf import MAX_SECTORS, SECTOR_SIZE, BootloaderConf, Region
from bootwright.host.settings import Mode, Upgrade


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Addresses and sizes in bytes, as `[layout]` gives them."""

    flash_size: int = 4 << 20
    bootloader_offset: int = 0
    bootloader_size: int = 0xF000
    slot_size: int = 0x1C0000
    primary: int = 0x20000
    secondary: int = 0x1E0000
    scratch: int = 0x3E0000
    scratch_size: int = 0x1F000
    upgrade: Upgrade = Upgrade.SCRATCH

    def lines(self) -> list[str]:
        """The options of a `bootloader.conf` that give this layout."""
        options = {
            "CONFIG_ESP_FLASH_SIZE": f"{self.flash_size >> 20}MB",
            "CONFIG_ESP_BOOTLOADER_SIZE": f"{self.bootloader_size:#x}",
            "CONFIG_ESP_BOOTLOADER_OFFSET": f"{self.bootloader_offset:#x}",
            "CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS": f"{self.primary:#x}",
            "CONFIG_ESP_APPLICATION_SIZE": f"{self.slot_size:#x}",
            "CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS": f"{self.secondary:#x}",
            **_UPGRADE_OPTIONS[self.upgrade],
        }
        if self.upgrade is Upgrade.SCRATCH:
            options["CONFIG_ESP_SCRATCH_OFFSET"] = f"{self.scratch:#x}"
            options["CONFIG_ESP_SCRATCH_SIZE"] = f"{self.scratch_size:#x}"
        return _assignments(options)


_UPGRADE_OPTIONS: Mapping[Upgrade, Mapping[str, str]] = MappingProxyType(
    {
        Upgrade.SCRATCH: {},
        Upgrade.MOVE: {"CONFIG_ESP_BOOT_SWAP_USING_MOVE": "y"},
        Upgrade.OVERWRITE: {"CONFIG_ESP_BOOT_UPGRADE_ONLY": "y"},
    }
)
_SIGNATURE_OPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "ed25519": {"CONFIG_ESP_SIGN_ED25519": "y", "CONFIG_ESP_USE_TINYCRYPT": "y"},
        "ecdsa-p256": {"CONFIG_ESP_SIGN_EC256": "y", "CONFIG_ESP_USE_TINYCRYPT": "y"},
        "rsa-2048": {"CONFIG_ESP_SIGN_RSA": "y", "CONFIG_ESP_SIGN_RSA_LEN": "2048", "CONFIG_ESP_USE_MBEDTLS": "y"},
        "rsa-3072": {"CONFIG_ESP_SIGN_RSA": "y", "CONFIG_ESP_SIGN_RSA_LEN": "3072", "CONFIG_ESP_USE_MBEDTLS": "y"},
    }
)
_MODE_OPTIONS: Mapping[Mode, Mapping[str, str]] = MappingProxyType(
    {
        Mode.DEVELOPMENT: {
            "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_DEVELOPMENT": "1",
            "CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_ENC": "1",
            "CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_DEC": "1",
            "CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_CACHE": "1",
            "CONFIG_SECURE_BOOT_ALLOW_JTAG": "1",
            "CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC": "1",
        },
        Mode.RELEASE: {"CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE": "1"},
    }
)

_SMALLER = Layout(slot_size=0x150000, secondary=0x170000)
_LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "esp32": _SMALLER,
        "esp32s3": _SMALLER,
        "esp32c2": Layout(flash_size=2 << 20, slot_size=0xC0000, secondary=0xE0000, scratch=0x1E0000),
    }
)


def default_layout(chip: str, bootloader_offset: int) -> Layout:
    """The layout of the port's own `bootloader.conf` for a chip."""
    return replace(_LAYOUTS.get(chip, Layout()), bootloader_offset=bootloader_offset)


def signing_lines(key_type: str) -> list[str]:
    """The options that make a bootloader verify signatures of this type."""
    return _assignments({**_SIGNATURE_OPTIONS[key_type], "CONFIG_ESP_SIGN_KEY_FILE": "signing.pem"})


def security_lines(mode: Mode, *, scheme: str, shared_block: bool = False) -> list[str]:
    """The options for Secure Boot V2 and flash encryption, as the port's files propose them; `scheme` rsa or ecdsa.

    `shared_block`: one eFuse block holds both keys, so both are burned together.
    """
    schemes = {
        "rsa": {"CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME": "1", "CONFIG_SECURE_BOOT_SUPPORTS_RSA": "1"},
        "ecdsa": {"CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": "1"},
    }
    options = {
        "CONFIG_SECURE_BOOT": "1",
        "CONFIG_SECURE_BOOT_V2_ENABLED": "1",
        "CONFIG_SECURE_SIGNED_ON_BOOT": "1",
        **schemes[scheme],
        "CONFIG_SECURE_FLASH_ENC_ENABLED": "1",
        **_MODE_OPTIONS[mode],
    }
    if shared_block:
        options["CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER"] = "1"
        options["CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED"] = "1"
    return _assignments(options)


def downgrade_lines(prevented: bool) -> list[str]:
    """The option that refuses older versions."""
    return _assignments({"CONFIG_ESP_DOWNGRADE_PREVENTION": "y" if prevented else "n"})


def check_layout(regions: tuple[Region, ...], flash_size: int, where: str) -> Iterator[Finding]:
    """Whether the regions lie in the flash, in whole sectors, apart from each other, and small enough."""
    for region in regions:
        if region.end > flash_size:
            yield failed(
                "conf.layout.outside",
                f"{where}: {region.name}",
                f"{region.name} ends at {region.end:#x}, the flash at {flash_size:#x}",
                "move or shrink it, or correct CONFIG_ESP_FLASH_SIZE",
            )
        if region.address % SECTOR_SIZE or region.size % SECTOR_SIZE or not region.size:
            yield failed(
                "conf.layout.unaligned",
                f"{where}: {region.name}",
                f"{region.name} is {region.size:#x} bytes at {region.address:#x}, expected whole sectors of "
                f"{SECTOR_SIZE:#x}",
                "align address and size to the sector",
            )
        if region.sectors > MAX_SECTORS and region.name != "bootloader":
            yield failed(
                "conf.slot.too_many_sectors",
                f"{where}: {region.name}",
                f"{region.name} has {region.sectors} sectors, the port's tables hold {MAX_SECTORS}; the bootloader "
                "would write behind its tables before it notices",
                f"keep it at {MAX_SECTORS * SECTOR_SIZE:#x} bytes or less",
            )
    for one, other in combinations(regions, 2):
        if one.address < other.end and other.address < one.end:
            yield failed(
                "conf.layout.overlap",
                f"{where}: {one.name}",
                f"{one.name} ({one.address:#x}..{one.end:#x}) and {other.name} ({other.address:#x}..{other.end:#x}) "
                "share flash",
                "move one of them",
            )


def check_conf(conf: BootloaderConf) -> None:
    """Refuse a layout that no flash can hold or no bootloader can run.

    Raises:
        FormatError: with the first thing that is wrong.
    """
    found = check_layout(conf.regions(), conf.flash_size, conf.where)
    for finding in found:
        if finding.verdict is Verdict.FAIL:
            raise FormatError(f"{conf.where}: {finding.because}", finding.next)


def _assignments(options: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items()]


def conf_text(*groups: Iterable[str]) -> str:
    """A `bootloader.conf` of these lines."""
    return "".join(f"{line}\n" for group in groups for line in group)
