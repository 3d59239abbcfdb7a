"""What a first boot burns beside keys: which fields close which door, by option and by what the chip has.

Source: ESP-IDF v6.0, components/bootloader_support/src/<chip>/secure_boot_secure_features.c,
flash_encryption_secure_features.c and components/efuse/<chip>/esp_efuse_fields.c. The fields of one function go into
one batch and so into one program of BLOCK0: their order does not show.
"""

from __future__ import annotations

from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.sim.board import Board, Steps
from bootwright.sim.encrypted_flash import is_encryption_on
from bootwright.sim.idf_efuse import EfuseWriter, Err

#: boot modes that would pass by the checked bootloader
_OTHER_BOOT = ("DIS_DIRECT_BOOT", "DIS_BOOT_REMAP", "DIS_LEGACY_SPI_BOOT")
#: JTAG for good; a chip has one of the first three
_HARD_JTAG = ("JTAG_DISABLE", "DIS_PAD_JTAG", "HARD_DIS_JTAG", "DIS_USB_JTAG")


def secure_boot_features(board: Board, conf: BootloaderConf, writer: EfuseWriter) -> Steps[Err]:
    """`esp_secure_boot_enable_secure_features` for Secure Boot V2."""
    if board.chip.secure_boot.enable_field == "ABS_DONE_1":
        return (yield from _secure_boot_esp32(board, conf, writer))
    yield from _set_all(board, writer, _OTHER_BOOT)
    err = yield from _close_download(board, conf, writer)
    if err is not Err.OK:
        return err
    yield from _close_jtag(board, conf, writer)
    if not conf.defined("CONFIG_SECURE_BOOT_ALLOW_JTAG") and _has(board, "SOFT_DIS_JTAG"):
        yield from writer.set_more_bits("SOFT_DIS_JTAG", _width(board, "SOFT_DIS_JTAG"))
    if conf.defined("CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE"):
        yield from _set_all(board, writer, ("SECURE_BOOT_AGGRESSIVE_REVOKE",))
    if conf.integer("CONFIG_SECURE_BOOT_ECDSA_KEY_LEN_384_BITS", 0):
        yield from _set_all(board, writer, ("SECURE_BOOT_SHA384_EN",))
    yield from writer.set_bit(board.chip.secure_boot.enable_field)
    yield from _lock_read_protection(board, conf, writer)
    return Err.OK


def _secure_boot_esp32(board: Board, conf: BootloaderConf, writer: EfuseWriter) -> Steps[Err]:
    """The ESP32's part stops at the first field that cannot be set."""
    err = yield from writer.set_bit("ABS_DONE_1")
    if err is Err.OK and not conf.defined("CONFIG_SECURE_BOOT_ALLOW_JTAG"):
        err = yield from writer.set_bit("JTAG_DISABLE")
    if err is Err.OK and not conf.defined("CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC"):
        err = yield from writer.set_bit("CONSOLE_DEBUG_DISABLE")
    if err is Err.OK and conf.defined("CONFIG_SECURE_DISABLE_ROM_DL_MODE"):
        err = yield from disable_download_esp32(board, writer)
    if err is Err.OK:
        err = yield from _lock_read_protection(board, conf, writer)
    return err


def flash_encryption_features(board: Board, conf: BootloaderConf, writer: EfuseWriter) -> Steps[None]:
    """`esp_flash_encryption_enable_secure_features`: it ignores what cannot be set."""
    fe = board.chip.flash_encryption
    if fe.algorithm == "esp32":
        yield from _set_crypt_config(board, writer)
    if not conf.defined("CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_ENC"):
        board.log("[INF] [flash_encrypt] Disable UART bootloader encryption...")
        yield from writer.set_bit(fe.manual_encrypt_field)
    else:
        board.log("[WRN] [flash_encrypt] Not disabling UART bootloader encryption")
    if not conf.defined("CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_DEC"):
        yield from _set_all(board, writer, ("DISABLE_DL_DECRYPT",))
    if not conf.defined("CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_CACHE"):
        yield from _set_all(board, writer, fe.download_cache_fields)
    elif fe.download_cache_fields:
        board.log("[WRN] [flash_encrypt] Not disabling UART bootloader cache - SECURITY COMPROMISED")
    yield from _close_jtag(board, conf, writer, tag="flash_encrypt")
    yield from _set_all(board, writer, _OTHER_BOOT)
    if not conf.defined("CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC"):
        yield from _set_all(board, writer, ("CONSOLE_DEBUG_DISABLE",))
    if fe.pseudo_round and conf.integer("CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC", 0):
        yield from _set_pseudo_rounds(board, conf, writer)
    if board.chip.keys.purpose_by == "halves":
        return  # the C2 locks its one key block's read protection when it enables Secure Boot
    if conf.defined("CONFIG_SECURE_BOOT_V2_ENABLED") and not conf.defined("CONFIG_SECURE_BOOT_V2_ALLOW_EFUSE_RD_DIS"):
        yield from writer.set_bit("WR_DIS.RD_DIS")
    if not conf.defined("CONFIG_SECURE_FLASH_SKIP_WRITE_PROTECTION_CACHE"):
        yield from _set_first(board, writer, ("WR_DIS.DIS_ICACHE", "WR_DIS.DIS_CACHE"))


def disable_download_esp32(board: Board, writer: EfuseWriter) -> Steps[Err]:
    """`esp_efuse_disable_rom_download_mode` of the ESP32: revision 3 only, and before FLASH_CRYPT_CNT is frozen."""
    if not _has(board, "UART_DOWNLOAD_DIS"):
        return Err.NOT_SUPPORTED
    if board.efuses.number("UART_DOWNLOAD_DIS"):
        return Err.OK
    if board.efuses.number("WR_DIS.FLASH_CRYPT_CNT"):
        return Err.INVALID_STATE
    return (yield from writer.set_bit("UART_DOWNLOAD_DIS"))


def _close_download(board: Board, conf: BootloaderConf, writer: EfuseWriter) -> Steps[Err]:
    if conf.defined("CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE"):
        board.log("[INF] [secure_boot] Enabling Security download mode...")
        if board.efuses.number("DIS_DOWNLOAD_MODE"):
            return Err.OK
        return (yield from writer.set_bit("ENABLE_SECURITY_DOWNLOAD"))
    if conf.integer("CONFIG_SECURE_DISABLE_ROM_DL_MODE", 0):
        board.log("[INF] [secure_boot] Disable ROM Download mode...")
        return (yield from writer.set_bit("DIS_DOWNLOAD_MODE"))
    board.log("[WRN] [secure_boot] UART ROM Download mode kept enabled - SECURITY COMPROMISED")
    return Err.OK


def _close_jtag(board: Board, conf: BootloaderConf, writer: EfuseWriter, *, tag: str = "secure_boot") -> Steps[None]:
    if conf.defined("CONFIG_SECURE_BOOT_ALLOW_JTAG"):
        board.log(f"[WRN] [{tag}] Not disabling JTAG - SECURITY COMPROMISED")
        return
    board.log(f"[INF] [{tag}] Disable JTAG...")
    yield from _set_all(board, writer, _HARD_JTAG)


def _lock_read_protection(board: Board, conf: BootloaderConf, writer: EfuseWriter) -> Steps[Err]:
    """Freeze RD_DIS, unless flash encryption still has a key to hide later in this boot."""
    if conf.defined("CONFIG_SECURE_BOOT_V2_ALLOW_EFUSE_RD_DIS"):
        board.log("[WRN] [secure_boot] Allowing read disabling of additional efuses - SECURITY COMPROMISED")
        return Err.OK
    at_once = board.chip.keys.purpose_by == "halves" or not conf.flash_encryption
    if not at_once and not is_encryption_on(board.efuses):
        return Err.OK
    board.log("[INF] [secure_boot] Prevent read disabling of additional efuses...")
    return (yield from writer.set_bit("WR_DIS.RD_DIS"))


def _set_crypt_config(board: Board, writer: EfuseWriter) -> Steps[None]:
    board.log("[INF] [flash_encrypt] Setting CRYPT_CONFIG efuse to 0xF")
    config = board.efuses.number("FLASH_CRYPT_CONFIG")
    if not config:
        yield from writer.set_number("FLASH_CRYPT_CONFIG", 0xF)
    elif config != 0xF:
        board.log(f"[ERR] [flash_encrypt] EFUSE_ENCRYPT_CONFIG should be set 0xF but it is {config:#x}")


def _set_pseudo_rounds(board: Board, conf: BootloaderConf, writer: EfuseWriter) -> Steps[None]:
    if _has(board, "XTS_DPA_PSEUDO_LEVEL"):  # the H2 has it from revision 1.2 on
        board.log("[INF] [flash_encrypt] Enable XTS-AES pseudo rounds function...")
        level = conf.integer("CONFIG_SECURE_FLASH_PSEUDO_ROUND_FUNC_STRENGTH")
        yield from writer.set_number("XTS_DPA_PSEUDO_LEVEL", level)


def _set_all(board: Board, writer: EfuseWriter, names: tuple[str, ...]) -> Steps[None]:
    """Set those of the fields that the chip has."""
    for name in names:
        if _has(board, name):
            yield from writer.set_bit(name)


def _set_first(board: Board, writer: EfuseWriter, names: tuple[str, ...]) -> Steps[None]:
    for name in names:
        if _has(board, name):
            yield from writer.set_bit(name)
            return


def _has(board: Board, name: str) -> bool:
    """Whether this silicon has the field and heeds it."""
    revision = board.efuses.revision
    heeded = revision >= board.chip.heeded_since.get(name, 0)
    return heeded and board.chip.has_field(name, revision=revision)


def _width(board: Board, name: str) -> int:
    return board.chip.field(name, revision=board.efuses.revision).width
