"""Flash encryption at a first boot: the key, the fields, the flash in place, the counter.

Source: MCUboot 2d4bacc3, boot/espressif/hal/src/flash_encrypt.c and main.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from bootwright.finding import passed, warned
from bootwright.flash import SECTOR_SIZE, Area, Erase, Write
from bootwright.sim.board import Steps
from bootwright.sim.idf_efuse import Err
from bootwright.sim.idf_image import verify_bootloader
from bootwright.sim.idf_keys import DERIVED, KeyToWrite, is_locked, is_unused, write_keys
from bootwright.sim.run import HaltedError, Run, halted
from bootwright.sim.secure_features import flash_encryption_features

LOAD_HEADER_MAGIC = 0xACE637D3  #: ESP_LOAD_HEADER_MAGIC
LOAD_HEADER_OFFSET = 0x20  #: hard-coded in `encrypt_primary_slot`, whatever the image's header size


def encryption_state(run: Run) -> bool:
    """`esp_flash_encrypt_state`: whether it is on, with the line that says how often it can still be turned."""
    if run.crypt_count % 2 == 0:
        return False
    width = _counter_width(run)
    left = 0 if _counter_frozen(run) else (width - run.crypt_count) // 2
    run.say("INF", f"[flash_encrypt] flash encryption is enabled ({left} plaintext flashes left)")
    return True


def check_encryption_wanted(run: Run) -> None:
    """What must hold before anything is burned.

    Raises:
        HaltedError: the build or a frozen counter forbids it.
    """
    if run.has("CONFIG_SECURE_FLASH_REQUIRE_ALREADY_ENABLED"):
        raise halted(
            "port.flash_encryption.required",
            "CONFIG_SECURE_FLASH_REQUIRE_ALREADY_ENABLED",
            "flash encryption is off and the build refuses to enable it",
            "burn the key and the counter from a host, or build without the option",
        )
    if _counter_frozen(run):
        raise _frozen_counter(run)


def enable_flash_encryption(run: Run) -> Steps[None]:
    """Everything from an even counter to an odd one, as the port does it."""
    check_encryption_wanted(run)
    yield from prepare_key(run)
    yield from _encrypt_contents(run)
    yield from raise_counter(run)


def _counter_width(run: Run) -> int:
    name = run.board.chip.flash_encryption.counter_field
    return run.board.chip.field(name, revision=run.board.efuses.revision).width


def _counter_frozen(run: Run) -> bool:
    return bool(run.board.efuses.number(f"WR_DIS.{run.board.chip.flash_encryption.counter_field}"))


def _frozen_counter(run: Run) -> HaltedError:
    name = run.board.chip.flash_encryption.counter_field
    run.say(
        "ERR",
        f"[flash_encrypt] Flash Encryption cannot be enabled (CRYPT_CNT ({run.crypt_count}) is write protected)",
    )
    return halted(
        "port.flash_encryption.frozen",
        name,
        f"{name} is write-protected with {run.crypt_count} bits set: flash encryption can never be enabled",
        "use a bootloader without flash encryption, or another chip",
    )


# The key


def prepare_key(run: Run) -> Steps[None]:
    """`esp_flash_encrypt_init`: only while the counter is 0, so never for a chip that was encrypted before."""
    if run.crypt_count:
        return
    run.writer.begin()
    try:
        yield from _find_or_draw_key(run)
    except HaltedError:
        run.writer.cancel()
        raise
    yield from flash_encryption_features(run.board, run.conf, run.writer)
    err = yield from run.writer.commit()
    if err is not Err.OK:
        raise halted(
            "port.flash_encryption.burn",
            "eFuses",
            "the key's protections or the feature fields do not read back as asked for; the key block is spent",
            "look for protections burned beforehand: WR_DIS of RD_DIS keeps a key readable for ever",
        )


def _key_purposes(run: Run) -> tuple[str, ...]:
    if run.board.chip.flash_encryption.algorithm == "esp32":
        return ("FLASH_ENCRYPTION",)
    if run.has("CONFIG_SECURE_FLASH_ENCRYPTION_AES256"):
        return ("XTS_AES_256_KEY_1", "XTS_AES_256_KEY_2")
    return (DERIVED,) if run.has("CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED") else ("XTS_AES_128_KEY",)


def _find_or_draw_key(run: Run) -> Steps[None]:
    """`check_and_generate_encryption_keys`."""
    efuses = run.board.efuses
    purposes = _key_purposes(run)
    if efuses.chip.keys.purpose_by == "position" and efuses.coding(1) not in ("none", "3/4"):
        raise halted(
            "port.flash_encryption.coding",
            "CODING_SCHEME",
            f"eFuse block 1 uses {efuses.coding(1)} coding, the port knows none and 3/4",
            "take another chip",
        )
    if len(purposes) == 2 and efuses.find_key("XTS_AES_128_KEY") is not None:
        raise halted(
            "port.flash_encryption.both",
            "key purposes",
            "an XTS_AES_128_KEY is burned, this build wants XTS_AES_256_KEY_1 and _2",
            "build for XTS-AES-128",
        )
    blocks = [efuses.find_key(purpose) for purpose in purposes]
    present = [block for block in blocks if block is not None and not is_unused(efuses, block)]
    if len(blocks) == 2 and len(present) == 1:
        raise halted(
            "port.flash_encryption.half",
            "key purposes",
            "one of the two blocks of an XTS-AES-256 key is burned, the other is not",
            "burn the other half, XTS_AES_256_KEY_1 and _2 belong together",
        )
    if not present:
        yield from _draw_key(run, purposes)
        return
    _check_burned_keys(run, present)


def _check_burned_keys(run: Run, blocks: list[int]) -> None:
    for block in blocks:
        if not is_locked(run.board.efuses, block):
            run.say("ERR", "[flash_encrypt] Invalid key state, check read&write protection for key and keypurpose")
            raise halted(
                "port.flash_encryption.key.open",
                f"eFuse block {block}",
                f"the flash-encryption key in eFuse block {block} lacks a protection: it must be read-protected and"
                " write-protected, its purpose write-protected",
                "burn keys with espefuse burn-key, which protects them; a block can be protected later unless RD_DIS"
                " itself is frozen",
            )
    run.say("INF", "[flash_encrypt] Using pre-loaded flash encryption key in efuse")
    run.findings.append(
        passed("port.flash_encryption.key", f"eFuse block {blocks[0]}", "the key that a host burned is used")
    )


def _draw_key(run: Run, purposes: tuple[str, ...]) -> Steps[None]:
    run.say("INF", "[flash_encrypt] Generating new flash encryption key...")
    size = 16 if purposes == (DERIVED,) else 32
    if run.board.efuses.chip.keys.purpose_by == "position":
        size = run.board.efuses.block_size(1)
    keys = [KeyToWrite(purpose, run.board.random(size)) for purpose in purposes]
    err = yield from write_keys(run.board, run.writer, keys)
    if err is not Err.OK:
        if err is Err.NOT_ENOUGH_UNUSED_KEY_BLOCKS:
            run.say("ERR", f"[flash_encrypt] Not enough free efuse key blocks (need {len(keys)}) to continue")
        raise halted(
            "port.flash_encryption.key.write",
            "eFuse key blocks",
            f"the drawn key cannot be staged: {len(keys)} free block(s) are needed that can hold it (error {err:#x})",
            "spent key blocks cannot be freed; use another chip",
        )


# The flash in place


def _encrypt_contents(run: Run) -> Steps[None]:
    """`esp_flash_encrypt_contents`: bootloader, slots and scratch, in this order."""
    try:
        yield from verify_bootloader(run)
    except HaltedError as error:
        run.say("WRN", "[flash_encrypt] No valid bootloader was found")
        raise halted(
            "port.flash_encryption.bootloader",
            "bootloader",
            f"the bootloader in flash does not verify as plaintext, so encryption stops: {error.finding.because}",
            "flash the plaintext bootloader again; an interrupted encryption cannot resume by itself",
        ) from None
    _note_unburned_key(run)
    run.say("INF", "[flash_encrypt] Encrypting bootloader...")
    yield from encrypt_area(run, _bootloader_area(run))
    run.say("INF", "[flash_encrypt] Bootloader encrypted successfully")
    primary = run.conf.slots(0)[0]
    at = primary.address + LOAD_HEADER_OFFSET
    if int.from_bytes(run.board.raw_flash.read(at, 4), "little") == LOAD_HEADER_MAGIC:
        run.say("INF", "[flash_encrypt] Encrypting primary slot...")
        yield from encrypt_area(run, Area(*primary))
    else:
        run.say("WRN", "[flash_encrypt] Slot already encrypted or no valid image was found")
        run.findings.append(
            warned(
                "port.flash_encryption.primary",
                primary.name,
                f"no load header in plaintext at {at:#x}: the primary slot stays as it is, and is read as ciphertext"
                " from the next boot on",
                "sign with a header size of 0x20, and flash the slot in plaintext",
            )
        )
    run.say("INF", "[flash_encrypt] Encrypting remaining flash...")
    for area in _remaining_areas(run):
        yield from encrypt_area(run, area)
    run.say("INF", "[flash_encrypt] Flash encryption completed")


def _note_unburned_key(run: Run) -> None:
    """main() holds the C2's one batch open until after the encryption; ESP-IDF's own bootloader commits before."""
    if run.writer.in_batch:
        run.findings.append(
            warned(
                "port.together.key",
                "eFuse key block",
                "the flash is encrypted while the key is only staged: the chip uses what the key block holds now, and"
                " reads noise after the reset (read in the port's source, not seen on a chip)",
                "burn the key and the digest from a host before the first boot",
            )
        )


def _bootloader_area(run: Run) -> Area:
    """Where the code believes itself: the offset is fixed for each chip, only the size comes from the options."""
    return Area("bootloader", run.board.chip.bootloader_offset, run.conf.integer("CONFIG_ESP_BOOTLOADER_SIZE"))


def _remaining_areas(run: Run) -> Iterator[Area]:
    yield Area(*run.conf.slots(0)[1])
    if run.conf.scratch is not None:
        yield Area(*run.conf.scratch)
    if run.conf.image_count == 2:
        for slot in run.conf.slots(1):
            yield Area(*slot)


def encrypt_area(run: Run, area: Area) -> Steps[None]:
    """`esp_flash_encrypt_region`: sector by sector, read plain, erase, write through the encryption unit."""
    if area.address % SECTOR_SIZE:
        run.say("ERR", f"[flash_encrypt] esp_flash_encrypt_region bad src_addr {area.address:#x}")
        raise halted(
            "port.flash_encryption.align",
            area.name,
            f"{area.name} begins at {area.address:#x}, which is no multiple of {SECTOR_SIZE:#x}: encryption stops",
            "align the layout to flash sectors",
        )
    for at in range(area.address, area.end, SECTOR_SIZE):
        if at + SECTOR_SIZE > run.board.raw_flash.size:
            run.say("ERR", "[flash_encrypt] flash operation failed")
            raise halted(
                "port.flash_encryption.bounds",
                area.name,
                f"{area.name} reaches {area.end:#x}, the flash ends at {run.board.raw_flash.size:#x}",
                "check CONFIG_ESP_FLASH_SIZE and the layout against the chip's flash",
            )
        plain = run.board.raw_flash.read(at, SECTOR_SIZE)
        yield Erase(at, SECTOR_SIZE, f"encrypt {area.name} in place")
        yield Write(at, plain, f"encrypt {area.name} in place", encrypted=True)


# The counter


def raise_counter(run: Run) -> Steps[None]:
    """`esp_flash_encrypt_enable`: one bit more in development, all that are left in release."""
    if not run.encryption_on:
        count = 1
        if run.conf.release_mode:
            run.say("INF", "[flash_encrypt] Setting CRYPT_CNT for permanent encryption")
            count = _counter_width(run) - run.crypt_count
        name = run.board.chip.flash_encryption.counter_field
        err = yield from run.writer.set_more_bits(name, count)
        if run.conf.release_mode and run.soc_options and run.board.chip.flash_encryption.derived_key:
            # freezes XTS_KEY_LENGTH_256 too, which would turn the derived key into another one
            yield from run.writer.set_bit(f"WR_DIS.{name}")
        run.say("INF", "[flash_encrypt] Flash encryption completed")
        if err is not Err.OK:
            raise halted(
                "port.flash_encryption.counter",
                name,
                f"{name} cannot be raised (error {err:#x}): the flash is encrypted and the chip reads it as it is",
                "flash everything in plaintext again",
            )
