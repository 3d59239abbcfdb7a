"""What a chip still lacks for release mode: ESP-IDF's two checks, as a table.

The conditions are those of `esp_flash_encryption_cfg_verify_release_mode` and `esp_secure_boot_cfg_verify_release_mode`
(ESP-IDF components/bootloader_support/src/flash_encrypt.c and secure_boot.c, commit 10212290).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bootwright.chips.efuses import Efuses
from bootwright.finding import Finding, failed, passed, warned

#: Field → what is still possible while it is not burned. Which of them a chip is asked for is `Chip.release_fields`.
_ENCRYPTION_BITS = {
    "DISABLE_DL_ENCRYPT": "the ROM loader still encrypts for whoever asks",
    "DISABLE_DL_DECRYPT": "the ROM loader still decrypts",
    "DISABLE_DL_CACHE": "the ROM loader still reads flash through the decryption unit",
    "DIS_DOWNLOAD_MANUAL_ENCRYPT": "the ROM loader still encrypts for whoever asks",
    "DIS_DOWNLOAD_DCACHE": "the ROM loader still reads flash through the data cache",
    "DIS_DOWNLOAD_ICACHE": "the ROM loader still reads flash through the cache",
    "SPI_DOWNLOAD_MSPI_DIS": "the ROM loader still reads flash through the cache's controller",
}
_BOTH_BITS = {
    "CONSOLE_DEBUG_DISABLE": "the ROM still falls back to its BASIC interpreter",
    "DIS_BOOT_REMAP": "the chip can be made to boot from RAM",
    "DIS_LEGACY_SPI_BOOT": "the chip can be made to boot in legacy SPI mode",
    "DIS_DIRECT_BOOT": "the chip can be made to boot without a bootloader",
}
_JTAG_BITS = ("JTAG_DISABLE", "HARD_DIS_JTAG", "DIS_PAD_JTAG", "DIS_USB_JTAG")
_CACHE_LOCKS = ("DIS_CACHE", "DIS_ICACHE")

Missing = Iterator[tuple[str, str]]


def encryption_on(efuses: Efuses) -> bool:
    """Whether the flash-encryption counter has an odd number of set bits."""
    return efuses.true_number(efuses.chip.flash_encryption.counter_field).bit_count() % 2 == 1


def secure_boot_on(efuses: Efuses) -> bool:
    """Whether Secure Boot V2 is on; a revision that does not heed the bit has it off."""
    name = efuses.chip.secure_boot.enable_field
    return efuses.is_set(name) and efuses.revision >= efuses.chip.heeded_since.get(name, 0)


def download_mode_off(efuses: Efuses) -> bool:
    """Whether the ROM no longer enters download mode at all; the ESP32 heeds its fuse from revision 3.0 on."""
    names = ("DIS_DOWNLOAD_MODE", "UART_DOWNLOAD_DIS")
    return any(efuses.is_set(n) and efuses.revision >= efuses.chip.heeded_since.get(n, 0) for n in names)


def download_closed(efuses: Efuses) -> str:
    """The field that keeps the ROM loader from burning eFuses, or nothing."""
    for name in ("DIS_DOWNLOAD_MODE", "ENABLE_SECURITY_DOWNLOAD", "UART_DOWNLOAD_DIS"):
        if efuses.is_set(name) and efuses.revision >= efuses.chip.heeded_since.get(name, 0):
            return name
    return ""


def check_release(efuses: Efuses) -> tuple[Finding, ...]:
    """The checklist: one finding for each thing missing, or one that says that nothing is."""
    findings: list[Finding] = []
    parts: tuple[tuple[str, Callable[[Efuses], Missing]], ...] = (
        ("flash-encryption", missing_encryption),
        ("secure-boot", missing_secure_boot),
    )
    for part, check in parts:
        missing = list(check(efuses))
        findings += [failed(f"efuse.release.{part}", name, because, _advice(name)) for name, because in missing]
        if not missing:
            findings.append(passed(f"efuse.release.{part}", efuses.chip.title, "ESP-IDF's release check finds nothing"))
    return (*findings, *_open_slots(efuses))


def _open_slots(efuses: Efuses) -> Iterator[Finding]:
    """Digest slots that somebody else could fill (esp-idf#12979); ESP-IDF's checks do not ask for them."""
    if not secure_boot_on(efuses) or not efuses.chip.secure_boot.revocable:
        return
    for slot in range(efuses.chip.secure_boot.digest_slots):
        revoke = f"SECURE_BOOT_KEY_REVOKE{slot}"
        if efuses.find_key(f"SECURE_BOOT_DIGEST{slot}") is None and not efuses.is_set(revoke):
            because = "the digest slot is unused and not revoked: whoever can burn eFuses can add a key of their own"
            yield warned("efuse.release.open-slot", f"SECURE_BOOT_DIGEST{slot}", because, f"burn {revoke}")


def _advice(name: str) -> str:
    if name.startswith("SECURE_BOOT_DIGEST"):
        return "burn a digest with `bootwright efuse burn-key-digest`"
    if name.startswith(("XTS_", "FLASH_ENCRYPTION")):
        return "burn a key with `bootwright efuse burn-key`"
    return f"burn {name}"


def missing_for_release(efuses: Efuses) -> tuple[tuple[str, str], ...]:
    """(field, why) for all that both checks miss, each field once."""
    found: dict[str, str] = {}
    for check in (missing_encryption, missing_secure_boot):
        for name, because in check(efuses):
            found.setdefault(name, because)
    return tuple(found.items())


def missing_encryption(efuses: Efuses) -> Missing:
    """What `esp_flash_encryption_cfg_verify_release_mode` would warn of."""
    counter = efuses.chip.flash_encryption.counter_field
    full = (1 << efuses.chip.field(counter).width) - 1
    if not encryption_on(efuses):
        yield counter, "flash encryption is off"
    elif efuses.true_number(counter) != full and not efuses.latched().write_protected(counter):
        yield counter, "flash encryption is in development mode: the counter is neither full nor write-protected"
    if efuses.chip.has_field("FLASH_CRYPT_CONFIG") and efuses.number("FLASH_CRYPT_CONFIG") != 0xF:
        yield "FLASH_CRYPT_CONFIG", "the key is not tweaked by address, images for 0xF do not decrypt"
    yield from _unset(efuses, _ENCRYPTION_BITS)
    yield from _open_jtag(efuses)
    yield from _unset(efuses, _BOTH_BITS)
    for name in _CACHE_LOCKS:
        if name in efuses.chip.release_fields and not efuses.latched().write_protected(name):
            yield f"WR_DIS.{name}", f"{name} can still be burned, which would stop the chip"
    yield from _flash_key_protection(efuses)
    level = "XTS_DPA_PSEUDO_LEVEL"
    if _has(efuses, level) and efuses.revision >= efuses.chip.heeded_since.get(level, 0) and not efuses.number(level):
        yield level, "the pseudo rounds against power analysis are off"


def missing_secure_boot(efuses: Efuses) -> Missing:
    """What `esp_secure_boot_cfg_verify_release_mode` would warn of, for Secure Boot V2 and the ESP32's V1."""
    chip, state = efuses.chip, efuses.latched()
    v1 = efuses.is_set("ABS_DONE_0") and not secure_boot_on(efuses)
    if not secure_boot_on(efuses) and not v1:
        yield chip.secure_boot.enable_field, "secure boot is off"
    if chip.keys.purpose_by == "position":
        if v1 and not state.read_protected(2):
            yield "RD_DIS.BLOCK2", "the secure-boot key can be read"
        if not state.block_write_protected(2):
            yield "WR_DIS.BLOCK2", "the secure-boot key or digest can still be changed"
    yield from _unset(efuses, _BOTH_BITS)
    yield from _open_jtag(efuses)
    if not v1 and not download_closed(efuses):
        name = "UART_DOWNLOAD_DIS" if chip.keys.purpose_by == "position" else "ENABLE_SECURITY_DOWNLOAD"
        yield name, "the ROM loader is open"
    if not v1 and not state.write_protected("RD_DIS"):
        yield "WR_DIS.RD_DIS", "the digest could still be hidden from the ROM, which would stop the chip"
    if chip.keys.purpose_by != "position":
        yield from _digest_protection(efuses)
    name = "SECURE_BOOT_SHA384_EN"
    lockable = _has(efuses, name) and chip.field(name).write_disable is not None
    if lockable and not efuses.is_set(name) and not state.write_protected(name):
        yield f"WR_DIS.{name}", "burning it later would make the chip expect other signatures"


def _flash_key_protection(efuses: Efuses) -> Missing:
    state, keys = efuses.latched(), efuses.chip.keys
    if keys.purpose_by != "field":
        number = keys.blocks[0]
        name, hides = ("BLOCK_KEY0", "KEY0.LOW") if keys.purpose_by == "halves" else ("BLOCK1", "BLOCK1")
        whole = keys.purpose_by == "position" or state.is_set("XTS_KEY_LENGTH_256")
        needed = (1 << 8 * state.block_size(number)) - 1 if whole else (1 << 128) - 1
        if needed & ~state.hidden_bits(number):
            yield f"RD_DIS.{hides}", "the flash-encryption key can be read"
        if not state.block_write_protected(number):
            yield f"WR_DIS.{name}", "the flash-encryption key can still be changed"
        return
    wanted = {purpose.name for purpose in efuses.chip.purposes if purpose.is_flash_key}
    blocks = [number for number in keys.blocks if efuses.key_purpose(number) in wanted]
    if not blocks and not efuses.is_set("FORCE_USE_KEY_MANAGER_KEY"):
        yield min(wanted), "no key block has a flash-encryption purpose"
    for number in blocks:
        index = number - keys.blocks[0]
        if not state.read_protected(number):
            yield f"RD_DIS.BLOCK_KEY{index}", "the flash-encryption key can be read"
        yield from _locked(state, number, index, "flash-encryption key")


def _digest_protection(efuses: Efuses) -> Missing:
    state, keys = efuses.latched(), efuses.chip.keys
    live = 0
    for slot in range(efuses.chip.secure_boot.digest_slots):
        purpose = "SECURE_BOOT_V2" if keys.purpose_by == "halves" else f"SECURE_BOOT_DIGEST{slot}"
        number = state.find_key(purpose)
        if number is None or state.is_set(f"SECURE_BOOT_KEY_REVOKE{slot}"):
            continue
        live += 1
        index, name = number - keys.blocks[0], efuses.chip.blocks[number].name
        half = (1 << 256) - (1 << 128) if keys.purpose_by == "halves" else -1
        if state.hidden_bits(number) & half:
            yield name, "the digest is read-protected, the ROM cannot use it"
        elif not any(state.readable_block(number)[-efuses.chip.secure_boot.digest_length :]):
            yield name, "the digest is empty"
        yield from _locked(state, number, index, "secure-boot digest")
    if not live:
        yield "SECURE_BOOT_DIGEST0", "no key digest is burned, or all are revoked"


def _locked(state: Efuses, number: int, index: int, what: str) -> Missing:
    if not state.block_write_protected(number):
        yield f"WR_DIS.BLOCK_KEY{index}", f"the {what} can still be changed"
    if _has(state, f"KEY_PURPOSE_{index}") and not state.write_protected(f"KEY_PURPOSE_{index}"):
        yield f"WR_DIS.KEY_PURPOSE_{index}", f"the purpose of the {what}'s block can still be changed"


def _open_jtag(efuses: Efuses) -> Missing:
    """JTAG is closed for good by its fuses, or softly by all bits of SOFT_DIS_JTAG with an HMAC key to reopen it."""
    if _has(efuses, "SOFT_DIS_JTAG") and any(p.name == "HMAC_DOWN_JTAG" for p in efuses.chip.purposes):
        full = (1 << efuses.chip.field("SOFT_DIS_JTAG").width) - 1
        keys = efuses.find_keys("HMAC_DOWN_JTAG") + efuses.find_keys("HMAC_DOWN_ALL")
        if efuses.number("SOFT_DIS_JTAG") == full and keys:
            return
    yield from _unset(efuses, dict.fromkeys(_JTAG_BITS, "JTAG is open"))


def _unset(efuses: Efuses, fields: dict[str, str]) -> Missing:
    for name, because in fields.items():
        if name in efuses.chip.release_fields and not efuses.number(name):
            yield efuses.chip.field(name).name, because


def _has(efuses: Efuses, name: str) -> bool:
    return efuses.chip.has_field(name, revision=efuses.revision)
