"""Secure Boot V1 at a first boot of ESP-IDF's bootloader: a key, a digest at flash address 0, and ABS_DONE_0.

Source: ESP-IDF v6.0, components/bootloader_support/src/secure_boot_v1/secure_boot.c,
src/esp32/secure_boot_secure_features.c.
"""

from __future__ import annotations

from bootwright.finding import passed, warned
from bootwright.flash import SECTOR_SIZE, Erase, Write
from bootwright.formats.esp_secure_boot_v1 import IV_SIZE, digest_v1
from bootwright.sim.board import Steps
from bootwright.sim.idf_efuse import Err
from bootwright.sim.idf_image import verify_bootloader
from bootwright.sim.idf_keys import is_empty, is_frozen, is_hidden
from bootwright.sim.rom_v1 import KEY_BLOCK, engine_key
from bootwright.sim.run import Run, halted


def generate_digest_v1(run: Run) -> Steps[None]:
    """`esp_secure_boot_generate_digest`: draw a key unless one is there, and write IV and digest."""
    if run.secure_boot_on:
        run.say("INF", "[secure_boot_v1] bootloader secure boot is already enabled. No need to generate digest.")
        return
    efuses = run.board.efuses
    if efuses.coding(KEY_BLOCK) not in ("none", "3/4"):
        raise halted(
            "idf.secure_boot_v1.coding",
            "CODING_SCHEME",
            f"eFuse block {KEY_BLOCK} uses {efuses.coding(KEY_BLOCK)} coding, the bootloader knows none and 3/4",
            "take another chip",
        )
    image = yield from verify_bootloader(run)
    if is_frozen(efuses, KEY_BLOCK) or is_hidden(efuses, KEY_BLOCK) or not is_empty(efuses, KEY_BLOCK):
        run.say("WRN", "[secure_boot_v1] Using pre-loaded secure boot key in EFUSE block 2")
    else:
        run.say("INF", "[secure_boot_v1] Generating new secure boot key...")
        yield from run.writer.set_block(KEY_BLOCK, run.board.random(efuses.block_size(KEY_BLOCK)))
    iv = run.board.random(IV_SIZE)
    bootloader = run.board.flash.read(image.address, image.length)
    digest = digest_v1(bootloader, engine_key(run.board.efuses), iv)
    yield Erase(0, SECTOR_SIZE, "secure boot digest")
    yield Write(0, digest.pack(), "secure boot digest", encrypted=run.encryption_on)
    run.say("INF", "[secure_boot_v1] Digest generation complete.")


def enable_v1(run: Run) -> Steps[None]:
    """`esp_secure_boot_permanently_enable`."""
    if run.secure_boot_on:
        return
    efuses = run.board.efuses
    if is_hidden(efuses, KEY_BLOCK) != is_frozen(efuses, KEY_BLOCK):
        raise halted(
            "idf.secure_boot_v1.key",
            f"eFuse block {KEY_BLOCK}",
            "the pre-loaded key is protected against reading or against writing, not against both",
            "protect it against both, or against neither",
        )
    run.writer.begin()
    for name in _fields(run):
        yield from run.writer.set_bit(name)
    if (yield from run.writer.commit()) is not Err.OK:
        raise halted("idf.secure_boot_v1.burn", "eFuses", "the eFuses do not read back as asked for", "look for WR_DIS")
    run.findings.append(passed("idf.secure_boot_v1.enabled", "ABS_DONE_0", "Secure Boot V1 is on for good"))


def _fields(run: Run) -> list[str]:
    names = ["RD_DIS.BLOCK2", "WR_DIS.BLOCK2", "ABS_DONE_0"]
    if not run.has("CONFIG_SECURE_BOOT_ALLOW_JTAG"):
        names.append("JTAG_DISABLE")
    else:
        run.findings.append(warned("idf.jtag.open", "JTAG_DISABLE", "JTAG stays open", "drop the ALLOW option"))
    if not run.has("CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC"):
        names.append("CONSOLE_DEBUG_DISABLE")
    return names
