"""What a chip's silicon and ROM make of a `bootloader.conf`; each rule asks a trait of the chip."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bootwright.chips.chip import Chip
from bootwright.finding import Finding, failed, warned
from bootwright.formats.bootloader_conf import SECTOR_SIZE, BootloaderConf

#: chips for which boot/espressif/hal/src has the file (MCUboot 2d4bacc3)
_APP_CPU_START = frozenset({"esp32", "esp32s3"})
_CONSOLE_UART_CUSTOM = frozenset({"esp32", "esp32c2", "esp32c3", "esp32c6", "esp32h2"})
#: chips whose .cmake file names console_uart_custom.c, there or not
_CONSOLE_UART_ASKED = _CONSOLE_UART_CUSTOM | {"esp32c5", "esp32c61", "esp32p4"}

ChipRule = Callable[[Chip, BootloaderConf], Iterator[Finding]]


def _offset(chip: Chip, conf: BootloaderConf) -> Iterator[Finding]:
    name = "CONFIG_ESP_BOOTLOADER_OFFSET"
    if conf.defined(name) and conf.integer(name) != chip.bootloader_offset:
        yield failed(
            "conf.chip.bootloader_offset",
            conf.place(name),
            f"found {name}={conf.value(name)}; the ROM of the {chip.title} looks at {chip.bootloader_offset:#x}, and "
            "the option moves only the flash command",
            f"set it to {chip.bootloader_offset:#x}",
        )


def _bootloader_size(chip: Chip, conf: BootloaderConf) -> Iterator[Finding]:
    size = conf.bootloader.size
    if conf.secure_boot and size - SECTOR_SIZE > chip.bootloader_limit:
        yield warned(
            "conf.chip.bootloader_size",
            conf.place("CONFIG_ESP_BOOTLOADER_SIZE"),
            f"the region takes a bootloader of {size - SECTOR_SIZE:#x} bytes, the ROM of the {chip.title} verifies "
            f"{chip.bootloader_limit:#x} at most",
            "measure the bootloader against the ROM's limit, not against the region",
        )


def _usb(chip: Chip, conf: BootloaderConf) -> Iterator[Finding]:
    for name in ("CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG", "CONFIG_ESP_MCUBOOT_SERIAL_USB_SERIAL_JTAG"):
        if conf.defined(name) and not chip.usb.serial_jtag:
            because = f"{name} is set; the {chip.title} has no USB Serial/JTAG"
            yield failed("conf.chip.usb", conf.place(name), because, "use a UART")


def _scheme(chip: Chip, conf: BootloaderConf) -> Iterator[Finding]:
    wanted = {
        "CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME": "rsa",
        "CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": "ecdsa",
    }
    for name, scheme in wanted.items():
        if conf.defined(name) and not any(known.startswith(scheme) for known in chip.secure_boot.schemes):
            yield failed(
                "conf.chip.scheme",
                conf.place(name),
                f"{name} is set; the ROM of the {chip.title} verifies {', '.join(chip.secure_boot.schemes)}",
                "choose the other scheme",
            )


def _key_blocks(chip: Chip, conf: BootloaderConf) -> Iterator[Finding]:
    together = "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER"
    shared = chip.keys.purpose_by == "halves"
    if shared and conf.secure_boot and conf.flash_encryption and not conf.defined(together):
        yield failed(
            "conf.chip.keys_together",
            conf.place("CONFIG_SECURE_BOOT"),
            f"the {chip.title} has one key block, to be written once; Secure Boot and flash encryption both need it",
            f"add {together}=1, and rehearse that first boot before a real one",
        )
    if conf.defined(together) and not shared:
        yield warned(
            "conf.chip.keys_together",
            conf.place(together),
            f"{together} is set; the {chip.title} has a block for each key",
            "delete the line",
        )


def _flash_key(chip: Chip, conf: BootloaderConf) -> Iterator[Finding]:
    unit = chip.flash_encryption
    missing = {
        "CONFIG_SECURE_FLASH_ENCRYPTION_AES256": (
            "keys of 256 bits",
            unit.algorithm == "xts" and 256 in unit.key_lengths,
        ),
        "CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED": ("derived keys", unit.derived_key),
        "CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC": ("pseudo rounds", unit.pseudo_round),
    }
    for name, (what, known) in missing.items():
        if conf.defined(name) and not known:
            because = f"{name} is set; the flash encryption of the {chip.title} has no {what}"
            yield failed("conf.chip.flash_encryption", conf.place(name), because, "delete the line")


def _doors(chip: Chip, conf: BootloaderConf) -> Iterator[Finding]:
    name = "CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE"
    if conf.defined(name) and not chip.has_field("ENABLE_SECURITY_DOWNLOAD"):
        because = f"{name} is set; the {chip.title} has no secure download mode"
        yield failed("conf.chip.download", conf.place(name), because, "close download mode altogether")
    name = "CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE"
    if conf.defined(name) and not chip.secure_boot.revocable:
        because = f"{name} is set; the {chip.title} cannot revoke keys"
        yield failed("conf.chip.revoke", conf.place(name), because, "delete the line")


def _sources(chip: Chip, conf: BootloaderConf) -> Iterator[Finding]:
    """Options whose source file the port has for some chips only."""
    name = "CONFIG_ESP_MULTI_PROCESSOR_BOOT"
    if conf.defined(name) and chip.name not in _APP_CPU_START:
        because = f"{name} is set; the port has no app_cpu_start.c for the {chip.title}, so it does not link"
        yield failed("conf.chip.multi_processor", conf.place(name), because, "delete the line")
    name = "CONFIG_ESP_CONSOLE_UART_CUSTOM"
    if not conf.defined(name) or chip.name in _CONSOLE_UART_CUSTOM:
        return
    if chip.name in _CONSOLE_UART_ASKED:
        because = f"{name} is set; the build of the {chip.title} asks for a console_uart_custom.c that is not there"
        yield failed("conf.chip.console", conf.place(name), because, "use the default pins of the console")
    else:
        because = f"{name} is set; the port has no custom console for the {chip.title}, and the option does nothing"
        yield warned("conf.chip.console", conf.place(name), because, "use the default pins of the console")


CHIP_RULES: tuple[ChipRule, ...] = (_offset, _bootloader_size, _usb, _scheme, _key_blocks, _flash_key, _doors, _sources)
