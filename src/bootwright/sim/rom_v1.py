"""Secure Boot V1 in the ESP32's ROM: a keyed digest of the bootloader, compared with the one at flash address 0.

The key lies in eFuse block 2, read-protected as a rule: the engine uses it all the same. Source: ESP-IDF
docs/en/security/secure-boot-v1.rst; the words of a refusal are in espressif/esp-idf#743.
"""

from __future__ import annotations

from bootwright.chips.efuses import Efuses
from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, failed, passed
from bootwright.flash import Flash
from bootwright.formats.esp_secure_boot_v1 import BOOTLOADER_OFFSET, ENGINE_BLOCK, verify_digest_v1

KEY_BLOCK = 2
SEEN = "espressif/esp-idf#743"


def engine_key(efuses: Efuses) -> bytes:
    """The key as espsecure's files have it: the block reversed, 24 bytes under 3/4 coding."""
    return efuses.block(KEY_BLOCK)[: efuses.block_size(KEY_BLOCK)][::-1]


def check_v1(flash: Flash, efuses: Efuses, length: int) -> Finding:
    """Whether the digest at 0 is that of the bootloader of `length` bytes; both are read through decryption."""
    end = min(BOOTLOADER_OFFSET + length + ENGINE_BLOCK, flash.size)
    try:
        found = verify_digest_v1(flash.read(0, end), engine_key(efuses))
    except FormatError as error:
        return failed("rom.secure_boot.v1", "bootloader digest", error.message, error.hint)
    if found.verdict is Verdict.PASS:
        return passed("rom.secure_boot.v1", found.subject, found.because)
    return failed(
        "rom.secure_boot.v1",
        found.subject,
        f"{found.because}: bootloader, digest or key is another one, or the digest is not encrypted as the rest is",
        "with a reflashable key make the digest again and flash it encrypted; with a one-time key the chip is lost",
    )
