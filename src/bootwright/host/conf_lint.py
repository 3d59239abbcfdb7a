"""`bootwright config lint`: what a `bootloader.conf` would do that its author did not mean.

Each rule looks at one question and yields findings; facts and their sources are in
`bootwright.formats.bootloader_conf` and `conf_options`, limits of a chip come from the chip.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from functools import partial

from bootwright.chips.chip import Chip
from bootwright.errors import FormatError
from bootwright.finding import Finding, failed, passed, warned
from bootwright.formats.bootloader_conf import MODES, SECTOR_SIZE, BootloaderConf, UpgradeMode
from bootwright.formats.conf_options import DEAD, OPTIONS
from bootwright.formats.mcuboot_trailer import UpgradeMode as TrailerMode
from bootwright.formats.mcuboot_trailer import espressif_geometry
from bootwright.host.conf_lint_chip import CHIP_RULES
from bootwright.host.layout import check_layout

Rule = Callable[[BootloaderConf], Iterator[Finding]]


def lint(conf: BootloaderConf, *, chip: Chip | None = None) -> tuple[Finding, ...]:
    """Everything worth saying about a configuration; one passing finding when there is nothing.

    With a chip, also what that chip's silicon and ROM make of it.
    """
    found = list(conf.findings)
    of_chip: tuple[Rule, ...] = () if chip is None else tuple(partial(rule, chip) for rule in CHIP_RULES)
    for rule in (*RULES, *of_chip):
        try:
            found += rule(conf)
        except FormatError as error:
            found.append(failed("conf.value.unusable", conf.where, error.message, error.hint))
    unique = tuple(dict.fromkeys(found))
    if not unique:
        return (passed("conf.clean", conf.where, "nothing in this configuration does other than it says"),)
    return unique


def _layout(conf: BootloaderConf) -> Iterator[Finding]:
    yield from check_layout(conf.regions(), conf.flash_size, conf.where)


def _room(conf: BootloaderConf) -> Iterator[Finding]:
    """Whether a slot has room for an image beside its trailer, now and once encryption is active."""
    mode = _TRAILERS.get(conf.mode)
    if mode is None:
        return
    size = conf.primary().size
    geometry = espressif_geometry(size, flash_encryption=conf.flash_encryption)
    if geometry.max_image_size(mode) < SECTOR_SIZE:
        because = (
            f"a slot of {size:#x} bytes has room for images of {geometry.max_image_size(mode):#x} bytes: the trailer "
            f"takes {geometry.trailer_size:#x} with write size {geometry.write_size}"
        )
        yield failed("conf.slot.no_room", conf.place("CONFIG_ESP_APPLICATION_SIZE"), because, "make the slots larger")


_TRAILERS = {
    UpgradeMode.SCRATCH: TrailerMode.SWAP_SCRATCH,
    UpgradeMode.MOVE: TrailerMode.SWAP_MOVE,
    UpgradeMode.OVERWRITE: TrailerMode.OVERWRITE_ONLY,
}


def _mode(conf: BootloaderConf) -> Iterator[Finding]:
    mode = conf.mode
    if mode not in (UpgradeMode.SCRATCH, UpgradeMode.MOVE, UpgradeMode.OVERWRITE):
        name = next(name for name, known in MODES.items() if known is mode)
        yield failed(
            "conf.mode.unsupported",
            conf.place(name),
            f"{mode.value} is accepted by the options and unsupported by the Espressif port",
            "use swap-scratch, swap-move or overwrite",
        )


def _signature(conf: BootloaderConf) -> Iterator[Finding]:
    chosen = [f"CONFIG_ESP_SIGN_{name}" for name in ("RSA", "EC256", "ED25519")]
    chosen = [name for name in chosen if conf.defined(name)]
    if not chosen:
        yield failed(
            "conf.signature.none",
            conf.where,
            "no CONFIG_ESP_SIGN_… is set: the bootloader checks a hash and no signature, so anybody's image boots",
            "set CONFIG_ESP_SIGN_ED25519=y, _EC256=y or _RSA=y, with a key file of your own",
        )
        return
    if len(chosen) > 1:
        yield warned(
            "conf.signature.several",
            conf.place(chosen[1]),
            f"{' and '.join(chosen)} are set; {chosen[0]} wins, the others do nothing",
            "keep one",
        )
    if chosen[0] == "CONFIG_ESP_SIGN_RSA" and conf.integer("CONFIG_ESP_SIGN_RSA_LEN") not in (2048, 3072):
        yield failed(
            "conf.signature.rsa_length",
            conf.place("CONFIG_ESP_SIGN_RSA_LEN"),
            f"found CONFIG_ESP_SIGN_RSA_LEN={conf.value('CONFIG_ESP_SIGN_RSA_LEN')}, expected 2048 or 3072",
            "the build stops at any other length",
        )
    yield from _library(conf, chosen[0])
    key = conf.value("CONFIG_ESP_SIGN_KEY_FILE")
    if key is None:
        yield failed(
            "conf.signature.no_key",
            conf.where,
            f"{chosen[0]} is set without CONFIG_ESP_SIGN_KEY_FILE, so no key is compiled in",
            "name the PEM file of your key",
        )
    elif key.strip('"').split("/")[-1].startswith(("root-", "enc-")):
        yield warned(
            "conf.signature.sample_key",
            conf.place("CONFIG_ESP_SIGN_KEY_FILE"),
            f"{key} has the name of a sample key of MCUboot, whose private half is public",
            "generate a key of your own",
        )


def _library(conf: BootloaderConf, signature: str) -> Iterator[Finding]:
    right, wrong = "CONFIG_ESP_USE_TINYCRYPT", "CONFIG_ESP_USE_MBEDTLS"
    if signature == "CONFIG_ESP_SIGN_RSA":
        right, wrong = wrong, right
    if conf.defined(wrong):
        yield failed(
            "conf.signature.library",
            conf.place(wrong),
            f"{signature} needs {right}, found {wrong}; the build stops",
            f"replace it by {right}=y",
        )
    elif not conf.defined(right):
        yield failed(
            "conf.signature.library",
            conf.place(signature),
            f"{signature} needs {right}, found neither library; the bootloader does not link",
            f"add {right}=y",
        )


def _downgrade(conf: BootloaderConf) -> Iterator[Finding]:
    counter = "CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER"
    if not conf.defined(counter):
        return
    if not conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION"):
        yield failed(
            "conf.downgrade.counter_alone",
            conf.place(counter),
            "the security counter is asked for without CONFIG_ESP_DOWNGRADE_PREVENTION and does nothing alone",
            "add CONFIG_ESP_DOWNGRADE_PREVENTION=y",
        )
    elif conf.mode is UpgradeMode.OVERWRITE:
        yield warned(
            "conf.downgrade.counter_ignored",
            conf.place(counter),
            "overwrite mode compares versions and ignores security counters",
            "rely on versions, or use a swap mode",
        )


def _images(conf: BootloaderConf) -> Iterator[Finding]:
    option = "CONFIG_ESP_MULTI_PROCESSOR_BOOT"
    if conf.defined(option) and conf.image_count != 2:
        yield failed(
            "conf.images.multi_processor",
            conf.place(option),
            "the second CPU is to be started, and there is no second image",
            "add CONFIG_ESP_IMAGE_NUMBER=2 and the slots of image 1",
        )


def _serial(conf: BootloaderConf) -> Iterator[Finding]:
    serial, progressive = "CONFIG_ESP_MCUBOOT_SERIAL", "CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY"
    usb = "CONFIG_ESP_MCUBOOT_SERIAL_USB_SERIAL_JTAG"
    if not conf.defined(serial):
        for option in (progressive, usb):
            if conf.defined(option):
                yield warned(
                    "conf.serial.off", conf.place(option), f"{option} without {serial} does nothing", f"add {serial}=y"
                )
        return
    if conf.defined(progressive) and conf.flash_encryption:
        yield failed(
            "conf.serial.progressive_encrypted",
            conf.place(progressive),
            "progressive erase and flash encryption do not go together: writes to a sector not erased as a whole "
            "lose data",
            f"switch {progressive} off",
        )
    elif conf.defined(progressive):
        yield warned(
            "conf.serial.progressive_trailer",
            conf.place(progressive),
            "progressive erase leaves the last sector of the trailer, so an uploaded image can be reverted away",
            f"switch {progressive} off; a whole slot is then erased first",
        )
    if conf.defined(usb):
        return
    port = conf.integer("CONFIG_ESP_SERIAL_BOOT_UART_NUM", 1)
    if port not in (0, 1):
        yield failed(
            "conf.serial.uart",
            conf.place("CONFIG_ESP_SERIAL_BOOT_UART_NUM"),
            f"found UART {port}, expected 0 or 1; anything but 0 is taken for UART 1",
            "choose 0 or 1",
        )
    if conf.defined("CONFIG_ESP_CONSOLE_UART") and min(port, 1) == conf.integer("CONFIG_ESP_CONSOLE_UART_NUM", 0):
        yield failed(
            "conf.serial.shares_console",
            conf.place("CONFIG_ESP_SERIAL_BOOT_UART_NUM"),
            f"serial recovery and the log share UART {port}",
            "give one of them another port",
        )


def _console(conf: BootloaderConf) -> Iterator[Finding]:
    uart, usb = "CONFIG_ESP_CONSOLE_UART", "CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG"
    if conf.defined(uart) and conf.defined(usb):
        yield failed("conf.console.both", conf.place(usb), f"{uart} and {usb} are both set", "use one of them")
    recovery = "CONFIG_ESP_MCUBOOT_SERIAL_USB_SERIAL_JTAG"
    if conf.defined(usb) and conf.defined(recovery):
        yield failed(
            "conf.serial.shares_console",
            conf.place(recovery),
            "serial recovery and the log share the one USB port",
            "give one of them a UART",
        )


def _secure_boot(conf: BootloaderConf) -> Iterator[Finding]:
    schemes = ("CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME", "CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME")
    given = [name for name in (*schemes, "CONFIG_SECURE_BOOT_V2_ENABLED") if conf.defined(name)]
    if not conf.secure_boot:
        if given:
            yield warned(
                "conf.secure_boot.off",
                conf.place(given[0]),
                f"{given[0]} is set and CONFIG_SECURE_BOOT is not: Secure Boot is never enabled",
                "add CONFIG_SECURE_BOOT=1, or delete the line",
            )
        return
    if not conf.defined("CONFIG_SECURE_BOOT_V2_ENABLED"):
        yield failed(
            "conf.secure_boot.version",
            conf.place("CONFIG_SECURE_BOOT"),
            "CONFIG_SECURE_BOOT is set without CONFIG_SECURE_BOOT_V2_ENABLED; the port knows only V2",
            "add CONFIG_SECURE_BOOT_V2_ENABLED=1",
        )
    if not conf.defined("CONFIG_SECURE_SIGNED_ON_BOOT"):
        yield failed(
            "conf.secure_boot.signed_on_boot",
            conf.place("CONFIG_SECURE_BOOT"),
            "without CONFIG_SECURE_SIGNED_ON_BOOT the first boot looks for the signature block in the wrong place and "
            "stops",
            "add CONFIG_SECURE_SIGNED_ON_BOOT=1",
        )
    if not any(conf.defined(name) for name in schemes):
        yield failed(
            "conf.secure_boot.scheme",
            conf.place("CONFIG_SECURE_BOOT"),
            f"Secure Boot without a scheme, expected {' or '.join(schemes)}",
            "choose the scheme that your chip's ROM knows",
        )
    elif conf.defined(schemes[0]) and not conf.defined("CONFIG_SECURE_BOOT_SUPPORTS_RSA"):
        yield failed(
            "conf.secure_boot.scheme",
            conf.place(schemes[0]),
            f"{schemes[0]} without CONFIG_SECURE_BOOT_SUPPORTS_RSA",
            "add CONFIG_SECURE_BOOT_SUPPORTS_RSA=1",
        )


def _flash_encryption(conf: BootloaderConf) -> Iterator[Finding]:
    development = "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_DEVELOPMENT"
    release = "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE"
    if not conf.flash_encryption:
        for name in (development, release):
            if conf.defined(name):
                yield warned(
                    "conf.flash_encryption.off",
                    conf.place(name),
                    f"{name} is set and CONFIG_SECURE_FLASH_ENC_ENABLED is not: nothing is encrypted",
                    "add CONFIG_SECURE_FLASH_ENC_ENABLED=1, or delete the line",
                )
        return
    if conf.defined(development) and conf.defined(release):
        yield failed(
            "conf.flash_encryption.both_modes",
            conf.place(release),
            "development and release mode are both set; release wins and is final",
            "keep the one you mean",
        )
    elif not conf.defined(development) and not conf.defined(release):
        yield warned(
            "conf.flash_encryption.no_mode",
            conf.place("CONFIG_SECURE_FLASH_ENC_ENABLED"),
            "no mode is set, which the code takes for development",
            f"say {development}=1 or {release}=1",
        )
    strength = "CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC_STRENGTH"
    if conf.defined(strength) and not conf.defined("CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC"):
        yield warned(
            "conf.flash_encryption.pseudo_rounds",
            conf.place(strength),
            "a strength alone has no effect: the code asks for CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC",
            "add CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC=1",
        )


def _doors(conf: BootloaderConf) -> Iterator[Finding]:
    """Options that leave a door open, or that do not close the one they name."""
    closed, secure = "CONFIG_SECURE_DISABLE_ROM_DL_MODE", "CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE"
    if conf.defined(closed) and conf.defined(secure):
        yield warned(
            "conf.download.both", conf.place(closed), f"{closed} and {secure} are both set; {secure} wins", "keep one"
        )
    for name in (closed, secure):
        if conf.defined(name) and not conf.secure_boot:
            yield warned(
                "conf.download.without_secure_boot",
                conf.place(name),
                f"{name} acts only when Secure Boot is being enabled, and it is not",
                "burn the download-mode eFuse with espefuse",
            )
    allowed = [name for name in OPTIONS if "_ALLOW_" in name and conf.defined(name)]
    if conf.release_mode and conf.flash_encryption and allowed:
        yield warned(
            "conf.release.door_open",
            conf.place(allowed[0]),
            f"release mode with {', '.join(allowed)}: a debugging door stays open for good",
            "drop the ALLOW options before production",
        )


def _virtual_efuses(conf: BootloaderConf) -> Iterator[Finding]:
    virtual, kept = "CONFIG_EFUSE_VIRTUAL", "CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH"
    if conf.defined(kept) and not conf.defined(virtual):
        yield failed(
            "conf.efuse.kept_not_virtual",
            conf.place(kept),
            f"{kept} without {virtual}: the real eFuses are burned",
            f"add {virtual}=1",
        )
    elif conf.defined(virtual):
        yield warned(
            "conf.efuse.virtual",
            conf.place(virtual),
            "the bootloader emulates eFuses; espefuse on the host still burns the real ones",
            "run no burn command against the board while you try things out",
        )


def _names(conf: BootloaderConf) -> Iterator[Finding]:
    for line in dict.fromkeys(conf.definitions):
        if line.name in DEAD:
            yield warned(
                "conf.option.dead", line.where, f"{line.name}: {DEAD[line.name]}", "nothing changes without it"
            )
        elif line.name.startswith("CONFIG_") and line.name not in OPTIONS:
            near = difflib.get_close_matches(line.name, OPTIONS, n=1, cutoff=0.8)
            yield warned(
                "conf.option.unknown",
                line.where,
                f"{line.name} is no option of the Espressif port",
                f"did you mean {near[0]}?" if near else "check the spelling; an unknown option does nothing",
            )


RULES: tuple[Rule, ...] = (
    _layout,
    _room,
    _mode,
    _images,
    _signature,
    _downgrade,
    _serial,
    _console,
    _secure_boot,
    _flash_encryption,
    _doors,
    _virtual_efuses,
    _names,
)
