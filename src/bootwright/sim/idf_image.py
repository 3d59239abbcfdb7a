"""How the running bootloader verifies itself in flash before it lets the chip trust it.

Source: ESP-IDF v6.0, components/bootloader_support/src/esp_image_format.c (`image_load` with ESP_IMAGE_VERIFY),
secure_boot_v2/secure_boot_signatures_bootloader.c; MCUboot 2d4bacc3, boot/espressif/hal/src/secure_boot.c
(`s_calculate_image_public_key_digests`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bootwright.errors import FormatError
from bootwright.finding import passed
from bootwright.formats.esp_image import EspImage, segments_checksum
from bootwright.formats.esp_secure_boot import SECTOR_SIZE
from bootwright.formats.esp_signature_block import BlockVersion
from bootwright.sim.idf_keys import trusted_digests
from bootwright.sim.run import HaltedError, Run, halted
from bootwright.sim.signature_check import BlockFault, CheckedBlock, check_blocks, first_trusted, padded

PARTITION_TABLE_OFFSET = 0x10000  #: CONFIG_PARTITION_TABLE_OFFSET of the port's sdkconfig.h: it bounds the bootloader
MOST_READ = 0x4_0000  #: more than any bootloader's area


@dataclass(frozen=True, slots=True)
class VerifiedBootloader:
    """A bootloader that `esp_image_verify_bootloader` accepts."""

    address: int
    length: int  #: `image_len`: with the signature sector when the signature was checked, else without


def verify_bootloader(run: Run) -> VerifiedBootloader:
    """`esp_image_verify_bootloader_data`.

    Raises:
        HaltedError: with the first check that fails.
    """
    chip = run.board.chip
    data = _read(run, chip.bootloader_offset, MOST_READ)
    image = _parse(run, data)
    for index, segment in enumerate(image.segments):
        size = f"size={len(segment.data):05x}h ({len(segment.data):6d})"
        run.say("INF", f"[esp_image] segment {index}: vaddr={segment.load_addr:08x} {size} ")
    if image.checksum != segments_checksum(image.segments):
        raise _invalid("port.bootloader.checksum", "the checksum of the bootloader in flash does not fit its segments")
    signed = run.conf.secure_boot
    whole = padded(image.length) + SECTOR_SIZE if signed else image.length
    most = PARTITION_TABLE_OFFSET - chip.bootloader_offset
    if whole > most:
        raise _invalid(
            "port.bootloader.size",
            f"the bootloader takes {whole:#x} bytes{' with its signature sector' if signed else ''}; the port's"
            f" partition table offset leaves it {most:#x}",
        )
    if not run.has("CONFIG_SECURE_BOOT_V2_ENABLED"):
        return VerifiedBootloader(chip.bootloader_offset, image.length)
    if not run.has("CONFIG_SECURE_SIGNED_ON_BOOT"):
        _check_hash(image)
        return VerifiedBootloader(chip.bootloader_offset, image.length)
    end = padded(image.length)
    _check_signature(run, data[:end], data[end : end + SECTOR_SIZE])
    return VerifiedBootloader(chip.bootloader_offset, end + SECTOR_SIZE)


def verified_block_digests(run: Run, image: VerifiedBootloader) -> tuple[bytes, ...]:
    """The key digests of the signature blocks, up to the first that is not valid.

    The signature sector is looked for one sector before the end of `image`, which is where it lies only when the
    signature was checked: without CONFIG_SECURE_SIGNED_ON_BOOT the port looks in the middle of its own code.

    Raises:
        HaltedError: a valid block whose signature does not verify with its own key.
    """
    at = image.address + padded(image.length - SECTOR_SIZE)
    content = _read(run, image.address, at - image.address)
    digests: list[bytes] = []
    for block in check_blocks(content, _read(run, at, SECTOR_SIZE))[: run.board.chip.secure_boot.digest_slots]:
        if block.fault is BlockFault.SIGNATURE:
            run.say("ERR", f"[secure_boot_v2] Secure boot key ({block.index}) verification failed.")
            raise _invalid("port.secure_boot.signature", f"signature block {block.index} does not verify with its key")
        if block.fault is not BlockFault.NONE:
            break
        digests.append(block.key_digest)
    return tuple(digests)


def _read(run: Run, address: int, length: int) -> bytes:
    """`bootloader_flash_read` with decryption allowed; flash ends where it ends."""
    flash = run.board.flash
    return flash.read(address, max(0, min(length, flash.size - address)))


def _parse(run: Run, data: bytes) -> EspImage:
    try:
        image = EspImage.parse(data, where="bootloader")
    except FormatError as error:
        raise _invalid("port.bootloader.image", error.message) from None
    if image.header.chip_id != run.board.chip.chip_id:
        raise _invalid("port.bootloader.chip", f"the bootloader in flash is for chip id {image.header.chip_id:#06x}")
    if run.board.efuses.revision < image.header.min_chip_rev_full:
        raise _invalid("port.bootloader.revision", "the bootloader in flash asks for a newer chip revision")
    if any(len(segment.data) % 4 for segment in image.segments):
        raise _invalid("port.bootloader.image", "a segment's length is no multiple of 4")
    return image


def _check_hash(image: EspImage) -> None:
    """`verify_simple_hash`: only when the header announces a hash."""
    if image.hash is not None and image.hash != hashlib.sha256(image.body()).digest():
        raise _invalid("port.bootloader.hash", "the appended SHA-256 is not the hash of the bootloader in flash")


def _check_signature(run: Run, content: bytes, sector: bytes) -> None:
    """`esp_secure_boot_verify_sbv2_signature_block`: against the eFuses, or at first against the blocks themselves."""
    run.say("INF", "[esp_image] Verifying image signature...")
    scheme = BlockVersion.RSA if run.has("CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME") else BlockVersion.ECDSA
    blocks = check_blocks(content, sector)
    trusted = trusted_digests(run.board.efuses)
    if not trusted and run.secure_boot_on:
        raise _invalid("port.secure_boot.digest.none", "no digest is readable in eFuse, and Secure Boot is on")
    if not trusted:
        run.say("INF", "[secure_boot_v2] Secure boot V2 is not enabled yet and eFuse digest keys are not set")
        trusted = tuple(b.key_digest for b in blocks if b.is_valid and b.version == scheme)
    run.say("INF", f"[secure_boot_v2] Verifying with {'RSA-PSS' if scheme is BlockVersion.RSA else 'ECDSA'}...")
    if not any(block.version == scheme for block in blocks):
        raise _unsigned(run, f"no signature block of the {scheme.name} scheme that the build asks for")
    accepted = first_trusted(blocks, trusted)
    if accepted is None:
        raise _unsigned(run, _why_refused(blocks))
    run.say("INF", "[secure_boot_v2] Signature verified successfully!")
    because = f"signature block {accepted.index} verifies, key digest {accepted.key_digest[:4].hex()}…"
    run.findings.append(passed("port.bootloader.signature", "bootloader", because))


def _why_refused(blocks: tuple[CheckedBlock, ...]) -> str:
    present = [block for block in blocks if block.fault is not BlockFault.ABSENT]
    if not present:
        return "the sector behind the bootloader holds no signature block"
    reasons = [f"block {b.index}: {b.fault or 'its key is not the one whose digest is burned'}" for b in present]
    return "; ".join(reasons)


def _unsigned(run: Run, why: str) -> HaltedError:
    run.say("ERR", "[esp_image] Secure boot signature verification failed")
    return _invalid("port.bootloader.signature", f"the bootloader's signature does not verify: {why}")


def _invalid(code: str, because: str) -> HaltedError:
    return halted(code, "bootloader", because, "flash the plaintext, signed bootloader again")
