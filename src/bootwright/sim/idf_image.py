"""How bootloaders verify images in flash before they trust them: themselves, and ESP-IDF's applications.

Source: ESP-IDF v6.0, components/bootloader_support/src/esp_image_format.c (`image_load`),
secure_boot_v2/secure_boot_signatures_bootloader.c; MCUboot 2d4bacc3, boot/espressif/hal/src/secure_boot.c
(`s_calculate_image_public_key_digests`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bootwright.chips.memory import image_target
from bootwright.errors import FormatError
from bootwright.finding import Verdict, passed
from bootwright.flash import Area
from bootwright.formats.esp_image import (
    AppDesc,
    EspImage,
    EspImageHeader,
    Segment,
    SegmentHeader,
    segments_checksum,
)
from bootwright.formats.esp_secure_boot import SECTOR_SIZE
from bootwright.formats.esp_secure_boot_v1 import SignatureV1, verify_v1
from bootwright.formats.esp_signature_block import BlockVersion
from bootwright.sim.board import Steps
from bootwright.sim.idf_efuse import Err
from bootwright.sim.idf_keys import trusted_digests
from bootwright.sim.run import HaltedError, Run, halted
from bootwright.sim.signature_check import BlockFault, CheckedBlock, check_blocks, first_trusted, padded

_UNSET = (0, 0xFFFF)  #: revisions that ask for nothing (IS_FIELD_SET)
#: values of ECDSA_CURVE_MODE (`esp_efuse_ecdsa_curve_mode_t`)
_P192_ALLOWED = (1, 2)
_BOTH_CURVES = 2
_P256_LOCKED = 3

PARTITION_TABLE_OFFSET = 0x10000  #: CONFIG_PARTITION_TABLE_OFFSET of the port's sdkconfig.h: it bounds the bootloader
_MMU_PAGE = 0x1_0000  #: CONFIG_MMU_PAGE_SIZE of most builds
_MMU_PAGE_BITS = range(13, 19)  #: MMU_PAGE_SIZE_MIN to MMU_PAGE_SIZE_MAX, as powers of two
LONGEST_BOOTLOADER = 0x4_0000  #: more than any


@dataclass(frozen=True, slots=True)
class VerifiedImage:
    """An image that `esp_image_verify` accepts."""

    address: int
    length: int  #: `image_len`: with the signature when that was checked, else without
    app_desc: AppDesc | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is verified, and how findings name it."""

    area: Area  #: where it must fit
    code: str  #: the findings' prefix
    is_bootloader: bool


def check_own_header(run: Run) -> None:
    """`bootloader_init`, of both bootloaders: the running one's own header must fit chip and revision.

    Raises:
        HaltedError: it does not.
    """
    chip, revision = run.board.chip, run.board.efuses.revision
    run.say("INF", f"[boot] chip revision: {_version(revision)}")
    header = EspImageHeader.parse(run.board.flash.read(chip.bootloader_offset, EspImageHeader.size()))
    if header.chip_id != chip.chip_id:
        run.say("ERR", f"[boot_comm] mismatch chip ID, expected {chip.chip_id}, found {header.chip_id}")
        raise halted(
            "port.init.chip",
            "bootloader",
            f"the bootloader's header names chip id {header.chip_id:#06x}, this chip is {chip.chip_id:#06x}",
            "flash a bootloader that was built for this chip",
        )
    if revision < header.min_chip_rev_full:
        needed = _version(header.min_chip_rev_full)
        _say_revision(run, ">=", header.min_chip_rev_full)
        raise halted(
            "port.init.revision",
            "bootloader",
            f"the bootloader asks for chip revision {needed}, this one is {_version(revision)}",
            "take newer silicon, or build for this revision",
        )


def _version(revision: int) -> str:
    return f"v{revision // 100}.{revision % 100}"


def verify_bootloader(run: Run) -> Steps[VerifiedImage]:
    """`esp_image_verify_bootloader_data`; opening a curve for its key is all that it may burn.

    Raises:
        HaltedError: with the first check that fails.
    """
    offset = run.board.chip.bootloader_offset
    size = run.conf.integer("CONFIG_PARTITION_TABLE_OFFSET", PARTITION_TABLE_OFFSET) - offset
    asked = _Asked(Area("bootloader", offset, size), "port.bootloader", is_bootloader=True)
    return (yield from _verify(run, asked))


def verify_other_bootloader(run: Run, area: Area) -> Steps[VerifiedImage]:
    """`esp_image_verify` for a bootloader in a partition, beside the one that runs.

    Raises:
        HaltedError: with the first check that fails.
    """
    return (yield from _verify(run, _Asked(area, "port.bootloader", is_bootloader=True)))


def verify_app(run: Run, area: Area) -> Steps[VerifiedImage]:
    """`bootloader_load_image` for an application in a partition.

    Raises:
        HaltedError: with the first check that fails.
    """
    return (yield from _verify(run, _Asked(area, "idf.app", is_bootloader=False)))


def _verify(run: Run, asked: _Asked) -> Steps[VerifiedImage]:
    address = asked.area.address
    most = LONGEST_BOOTLOADER if asked.is_bootloader else asked.area.size
    data = _read(run, address, most)
    image = _parse(run, asked, data)
    _check_segments(run, asked, image)
    computed = segments_checksum(image.segments)
    if image.checksum != computed:
        run.say("ERR", f"[esp_image] Checksum failed. Calculated {computed:#x} read {image.checksum:#x}")
        raise _invalid(asked, "checksum", "the checksum does not fit the segments")
    whole = image.length + _signature_length(run, asked, image.length)
    if whole > asked.area.size:
        run.say("ERR", f"[esp_image] Image length {whole} doesn't fit in partition length {asked.area.size}")
        raise _invalid(asked, "size", f"{whole:#x} bytes with what belongs to it do not fit the {asked.area.size:#x}")
    length = yield from _verify_content(run, asked, image, data)
    return VerifiedImage(address, length, None if asked.is_bootloader else image.app_desc)


def _check_segments(run: Run, asked: _Asked, image: EspImage) -> None:
    """`verify_segment_header`: an application begins with its description, and flash can be mapped by whole pages."""
    at, page = asked.area.address + EspImageHeader.size(), 0
    for index, segment in enumerate(image.segments):
        at += SegmentHeader.size()
        if not asked.is_bootloader:  # all of a bootloader is in RAM
            page = page or _described_page(run, asked, segment)
            _check_mapping(run, asked, index, segment, at, page)
        size = f"size={len(segment.data):05x}h ({len(segment.data):6d})"
        run.say("INF", f"[esp_image] segment {index}: vaddr={segment.load_addr:08x} {size} ")
        if index == 0 and not asked.is_bootloader:
            _check_efuse_block(run, asked, AppDesc.parse(segment.data[: AppDesc.size()]))
        at += len(segment.data)


def _check_mapping(run: Run, asked: _Asked, index: int, segment: Segment, at: int, page: int) -> None:
    """What is mapped, and not loaded, lies in flash as it does in memory, as far as a page goes."""
    mapped = any(segment.load_addr in flash for flash in image_target(run.board.chip.name).flash)
    if mapped and (segment.load_addr - at) % page:
        because = f"Segment {index} load address {segment.load_addr:#010x}, doesn't match data {at:#010x}"
        run.say("ERR", f"[esp_image] {because}")
        raise _invalid(asked, "place", f"{because}: flash is mapped in pages of {page:#x}")


def _described_page(run: Run, asked: _Asked, segment: Segment) -> int:
    """The size of a page of mapped flash: as the description says, where chips let it be chosen, or as it was built."""
    built = run.conf.integer("CONFIG_MMU_PAGE_SIZE", _MMU_PAGE) or _MMU_PAGE
    if len(segment.data) < AppDesc.size():
        found = f"{len(segment.data):#x}"
        run.say("ERR", f"[esp_image] Segment 0: length {found} is too short for app description")
        raise _invalid(
            asked, "description", f"its first segment has {found} bytes, its description {AppDesc.size():#x}"
        )
    if len(image_target(run.board.chip.name).mmu_page_sizes) == 1:
        return built
    desc = AppDesc.parse(segment.data[: AppDesc.size()])
    if desc.magic_word != AppDesc.MAGIC:
        run.say("ERR", "[esp_image] Failed to fetch app description header!")
        raise _invalid(asked, "description", "its first segment does not begin with the description of an application")
    page = 1 << desc.mmu_page_size if desc.mmu_page_size in _MMU_PAGE_BITS else built
    if page != built:
        run.say("INF", f"[esp_image] MMU page size mismatch, configured: {built:#x}, found: {page:#x}")
    return page


def _check_efuse_block(run: Run, asked: _Asked, desc: AppDesc) -> None:
    """`bootloader_common_check_efuse_blk_validity`: the factory's data must be those that the application reads."""
    efuses = run.board.efuses
    if not efuses.chip.has_field("BLK_VERSION_MAJOR"):
        return  # the ESP32 has no such number
    found = 100 * efuses.number("BLK_VERSION_MAJOR") + efuses.number("BLK_VERSION_MINOR")
    oldest, newest = desc.min_efuse_blk_rev_full, desc.max_efuse_blk_rev_full
    if oldest not in _UNSET and found < oldest:
        relation, wanted = ">=", oldest
    elif newest not in _UNSET and found > newest and not efuses.number("DISABLE_BLK_VERSION_MAJOR"):
        relation, wanted = "<=", newest
    else:
        return
    text = f"efuse blk rev {relation} {_version(wanted)}, but chip is {_version(found)}"
    run.say("ERR", f"[boot_comm] Image requires {text}")
    raise _invalid(asked, "efuse_block", f"it requires {text}")


def _signature_length(run: Run, asked: _Asked, length: int) -> int:
    """What lies behind an image: a padded signature sector, or 68 bytes behind a V1 application."""
    if not run.has("CONFIG_SECURE_BOOT") and not run.has("CONFIG_SECURE_SIGNED_APPS_NO_SECURE_BOOT"):
        return 0
    if not _is_v1(run):
        return padded(length) - length + SECTOR_SIZE
    return 0 if asked.is_bootloader else SignatureV1.size()


def _is_v1(run: Run) -> bool:
    return run.has("CONFIG_SECURE_SIGNED_APPS_ECDSA_SCHEME") or run.has("CONFIG_SECURE_BOOT_V1_ENABLED")


def _verify_content(run: Run, asked: _Asked, image: EspImage, data: bytes) -> Steps[int]:
    """Signature or hash, whichever the build asks for; a bootloader without Secure Boot V2 is checked no further."""
    if asked.is_bootloader and not run.has("CONFIG_SECURE_BOOT_V2_ENABLED"):
        return image.length
    if not run.has("CONFIG_SECURE_SIGNED_ON_BOOT"):
        if image.hash is not None and image.hash != hashlib.sha256(image.body()).digest():
            run.say("ERR", "[esp_image] Image hash failed - image is corrupt")
            raise _invalid(asked, "hash", "the appended SHA-256 is not its hash")
        return image.length
    if _is_v1(run):
        return _check_signature_v1(run, asked, image, data)
    end = padded(image.length)
    yield from _check_signature(run, asked, data[:end], data[end : end + SECTOR_SIZE])
    return end + SECTOR_SIZE


def verified_block_digests(run: Run, image: VerifiedImage) -> tuple[bytes, ...]:
    """The key digests of the signature blocks, up to the first that is not valid.

    The signature sector is looked for one sector before the end of `image`, which is where it lies only when the
    signature was checked: without CONFIG_SECURE_SIGNED_ON_BOOT the port looks in the middle of its own code. The port
    always digests with SHA-256, so that it takes no block of a P-384 key for valid; ESP-IDF's bootloader does.

    Raises:
        HaltedError: a valid block whose signature does not verify with its own key.
    """
    at = image.address + padded(image.length - SECTOR_SIZE)
    content = _read(run, image.address, at - image.address)
    digests: list[bytes] = []
    blocks = check_blocks(content, _read(run, at, SECTOR_SIZE), hash=_hash(run) if run.soc_options else "sha256")
    for block in blocks[: run.board.chip.secure_boot.digest_slots]:
        if block.fault is BlockFault.SIGNATURE:
            run.say("ERR", f"[secure_boot_v2] Secure boot key ({block.index}) verification failed.")
            raise halted(
                "port.secure_boot.signature",
                f"image at {image.address:#x}",
                f"signature block {block.index} does not verify with the key that it carries",
                "sign the image again",
            )
        if block.fault is not BlockFault.NONE:
            break
        digests.append(block.key_digest)
    return tuple(digests)


def _read(run: Run, address: int, length: int) -> bytes:
    """`bootloader_flash_read` with decryption allowed; flash ends where it ends."""
    flash = run.board.flash
    return flash.read(address, max(0, min(length, flash.size - address)))


def _parse(run: Run, asked: _Asked, data: bytes) -> EspImage:
    if data[:1] != bytes([EspImageHeader.MAGIC]):
        at = asked.area.address
        run.say("ERR", f"[esp_image] image at {at:#x} has invalid magic byte (nothing flashed here?)")
    try:
        image = EspImage.parse(data, where=asked.area.name)
    except FormatError as error:
        raise halted(f"{asked.code}.image", asked.area.name, error.message, error.hint) from None
    header, chip, revision = image.header, run.board.chip, run.board.efuses.revision
    if header.chip_id != chip.chip_id:
        run.say("ERR", f"[boot_comm] mismatch chip ID, expected {chip.chip_id}, found {header.chip_id}")
        raise _invalid(asked, "chip", f"it is for chip id {header.chip_id:#06x}")
    if revision < header.min_chip_rev_full:
        _say_revision(run, ">=", header.min_chip_rev_full)
        raise _invalid(asked, "revision", f"it asks for chip revision {header.min_chip_rev_full}, this is {revision}")
    if not asked.is_bootloader and _is_beyond(run, header.max_chip_rev_full):
        _say_revision(run, "<=", header.max_chip_rev_full)
        raise _invalid(asked, "revision", f"it goes up to revision {header.max_chip_rev_full}, this is {revision}")
    if any(len(segment.data) % 4 for segment in image.segments):
        raise _invalid(asked, "image", "a segment's length is no multiple of 4")
    return image


def _say_revision(run: Run, relation: str, wanted: int) -> None:
    found = _version(run.board.efuses.revision)
    text = f"chip revision check failed. Required {relation} {_version(wanted)}, found {found}."
    run.say("ERR", f"[boot_comm] {text}")


def _is_beyond(run: Run, newest: int) -> bool:
    """Whether the silicon is newer than an image allows; an eFuse can lift the limit."""
    efuses, lifted = run.board.efuses, "DISABLE_WAFER_VERSION_MAJOR"
    if efuses.chip.has_field(lifted) and efuses.number(lifted):
        return False
    return newest not in _UNSET and efuses.revision > newest


def _check_signature_v1(run: Run, asked: _Asked, image: EspImage, data: bytes) -> int:
    """An application's ECDSA signature by the key that the bootloader was built with."""
    if run.app_key is None:
        raise _invalid(asked, "signature", "the bootloader was built without a key for applications")
    end = image.length + SignatureV1.size()
    for finding in verify_v1(data[:end], run.app_key, subject=asked.area.name):
        if finding.verdict is Verdict.FAIL:
            raise HaltedError(finding)
    return end


def _hash(run: Run) -> str:
    """What the build digests images with."""
    return "sha384" if run.conf.integer("CONFIG_SECURE_BOOT_ECDSA_KEY_LEN_384_BITS", 0) else "sha256"


def _open_curve(run: Run, blocks: tuple[CheckedBlock, ...]) -> Steps[frozenset[int]]:
    """`esp_efuse_enable_ecdsa_p192_curve_mode` for each block that needs it; names the blocks that it fails for.

    Newer silicon of the H2 verifies with P-192 only when an eFuse allows both curves, which a first boot burns.
    """
    mode, revision = "ECDSA_CURVE_MODE", run.board.efuses.revision
    chip = run.board.chip
    if not chip.has_field(mode, revision=revision) or revision < chip.heeded_since.get(mode, 0):
        return frozenset()
    failed_for = set()
    for block in blocks:
        if not block.is_p192:
            continue
        now = run.board.efuses.number(mode)
        if now in _P192_ALLOWED:
            continue
        err = Err.FAIL
        if not run.board.efuses.number(f"WR_DIS.{mode}") and now != _P256_LOCKED:
            err = yield from run.writer.set_number(mode, _BOTH_CURVES)
        if err is not Err.OK:
            run.say("ERR", f"[secure_boot_v2] Failed to enable ECDSA-192 curve mode: {int(err)}")
            failed_for.add(block.index)
    return frozenset(failed_for)


def _check_signature(run: Run, asked: _Asked, content: bytes, sector: bytes) -> Steps[None]:
    """`esp_secure_boot_verify_sbv2_signature_block`: against the eFuses, or at first against the blocks themselves."""
    run.say("INF", "[esp_image] Verifying image signature...")
    scheme = BlockVersion.RSA if run.has("CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME") else BlockVersion.ECDSA
    blocks = check_blocks(content, sector, hash=_hash(run))
    of_scheme = tuple(b for b in blocks if b.is_valid and b.version == scheme)
    trusted = trusted_digests(run.board.efuses)
    if not trusted and run.secure_boot_on:
        raise _invalid(asked, "signature", "no digest is readable in eFuse, and Secure Boot is on")
    closed: frozenset[int] = frozenset()
    if not run.secure_boot_on:
        closed = yield from _open_curve(run, of_scheme)
    if not trusted:
        run.say("INF", "[secure_boot_v2] Secure boot V2 is not enabled yet and eFuse digest keys are not set")
        trusted = tuple(b.key_digest for b in of_scheme if b.index not in closed)
    run.say("INF", f"[secure_boot_v2] Verifying with {'RSA-PSS' if scheme is BlockVersion.RSA else 'ECDSA'}...")
    if not any(block.version == scheme for block in blocks):
        raise _unsigned(run, asked, f"no signature block of the {scheme.name} scheme that the build asks for")
    accepted = first_trusted(blocks, trusted)
    if accepted is None:
        raise _unsigned(run, asked, _why_refused(blocks))
    run.say("INF", "[secure_boot_v2] Signature verified successfully!")
    because = f"signature block {accepted.index} verifies, key digest {accepted.key_digest[:4].hex()}…"
    run.findings.append(passed(f"{asked.code}.signature", asked.area.name, because))


def _why_refused(blocks: tuple[CheckedBlock, ...]) -> str:
    present = [block for block in blocks if block.fault is not BlockFault.ABSENT]
    if not present:
        return "the sector behind it holds no signature block"
    reasons = [f"block {b.index}: {b.fault or 'its key is not the one whose digest is burned'}" for b in present]
    return "; ".join(reasons)


def _unsigned(run: Run, asked: _Asked, why: str) -> HaltedError:
    run.say("ERR", "[esp_image] Secure boot signature verification failed")
    return _invalid(asked, "signature", f"its signature does not verify: {why}")


def _invalid(asked: _Asked, what: str, because: str) -> HaltedError:
    name = f"{asked.area.name} at {asked.area.address:#x}"
    return halted(f"{asked.code}.{what}", asked.area.name, f"{name}: {because}", "flash the image as it was built")
