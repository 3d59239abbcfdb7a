"""The mask ROM between reset and the bootloader: what it checks, in its order, and what it says.

The ROM has no public source. What is modelled: the image format, the flash-decryption view, Secure Boot V2 as
ESP-IDF's documents describe it, and the messages of public logs. Every line that no log shows is marked.
Sources: ESP-IDF docs/en/security/secure-boot-v2.rst, docs/en/api-guides/bootloader.rst; the logs named below.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, failed, passed, warned
from bootwright.flash import Flash
from bootwright.formats.esp_image import EspImage, EspImageHeader, segments_checksum
from bootwright.formats.esp_secure_boot import SECTOR_SIZE, check_bootloader_size
from bootwright.sim.board import BurnEfuse, Steps
from bootwright.sim.console import ConsoleLine
from bootwright.sim.encrypted_flash import is_encryption_on
from bootwright.sim.idf_keys import trusted_digests
from bootwright.sim.rom_v1 import SEEN as _SEEN_V1
from bootwright.sim.rom_v1 import check_v1
from bootwright.sim.signature_check import BlockFault, CheckedBlock, check_blocks, first_trusted, knows, padded

MOST_READ = 0x4_0000  #: more than any bootloader that a ROM loads

# public logs that show the words
_SEEN_INVALID_HEADER = "espressif/esp-idf#12281"
_SEEN_READ_ERROR = "espressif/esp-idf#4949"
_SEEN_CHECKSUM = "espressif/esp-idf#4717"
_SEEN_HASH = "platformio/platform-espressif32#821"
_SEEN_LOAD = "mcu-tools/mcuboot#2221"
_SEEN_V2 = "espressif/esp-idf#15959"
_SEEN_DIGEST = "espressif/esp-idf#8414"
_SEEN_TOO_LARGE = "mcu-tools/mcuboot#1249"


class Cause(StrEnum):
    """Why the chip came out of reset."""

    POWER_ON = "power_on"
    SOFTWARE = "software"  #: the bootloader asked for it
    WATCHDOG = "watchdog"  #: the boot before went nowhere


class RomRefused(Exception):  # noqa: N818 - an outcome of the ROM, not an error of the caller
    """The first check that failed; the ROM resets and tries again for ever."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.because)
        self.finding = finding


@dataclass(slots=True)
class RomRun:
    """One run of the ROM: its findings and lines grow as it goes."""

    chip: Chip
    flash: Flash  #: through the decryption unit
    efuses: Efuses
    cause: Cause = Cause.POWER_ON
    findings: list[Finding] = field(default_factory=list)
    console: list[ConsoleLine] = field(default_factory=list)

    def say(self, text: str, seen: str = "") -> None:
        """Print a line; `seen` names the public log that shows its words."""
        self.console.append(ConsoleLine("rom", text, seen))

    def refuse(self, code: str, because: str, next: str = "") -> RomRefused:  # noqa: A002 - the finding's field
        """What to raise at the first check that fails."""
        return RomRefused(failed(code, "bootloader", because, next))


def boot_rom(run: RomRun) -> Steps[bool]:
    """Check the bootloader and load it; False means that the ROM resets instead. Only key revocation burns."""
    _greet(run)
    _doubt_key(run)
    try:
        image = _load(run)
        yield from _secure_boot(run, image)
    except RomRefused as refusal:
        run.findings.append(refusal.finding)
        return False
    run.say(f"entry {image.header.entry_addr:#010x}", _SEEN_LOAD)
    return True


def _is_older(run: RomRun) -> bool:
    older = run.chip.rom.older
    return older is not None and run.efuses.revision < older.before


def reset_line(chip: Chip, cause: Cause) -> ConsoleLine:
    """The line with which the ROM says why the chip came out of reset."""
    words, seen = chip.rom.resets[cause]
    return ConsoleLine("rom", f"rst:{words},boot:{chip.rom.boot:#x} (SPI_FAST_FLASH_BOOT)", seen)


def _greet(run: RomRun) -> None:
    rom = run.chip.rom
    source = rom.older if rom.older is not None and _is_older(run) else rom
    for line in source.banner:
        run.say(line, source.seen)
    run.console.append(reset_line(run.chip, run.cause))


def _doubt_key(run: RomRun) -> None:
    """What a chip does with an XTS key in the block that a hardware bug keeps from serving it, nobody wrote down."""
    if not is_encryption_on(run.efuses) or run.chip.keys.purpose_by != "field":
        return
    last = run.chip.keys.blocks[-1]
    purpose = run.efuses.key_purpose(last)
    if purpose.startswith("XTS") and run.efuses.quirk_forbids(last, run.chip.purpose(purpose)):
        run.findings.append(
            warned(
                "rom.flash_encryption.last_block",
                f"eFuse block {last}",
                f"the flash-encryption key lies in block {last}, from which this chip cannot use it (a hardware bug);"
                " the model decrypts with it all the same",
                "burn the key into another block, on another chip",
            )
        )


def _load(run: RomRun) -> EspImage:
    offset = run.chip.bootloader_offset
    data = run.flash.read(offset, min(MOST_READ, run.flash.size - offset))
    if data[0] != EspImageHeader.MAGIC:
        raise _no_magic(run, data)
    try:
        image = EspImage.parse(data, where=f"bootloader at {offset:#x}")
    except FormatError as error:
        raise run.refuse("rom.image.segments", error.message, "flash the bootloader again") from None
    run.findings.append(passed("rom.image.header", "bootloader", f"an ESP image begins at {offset:#x}"))
    for segment in image.segments:
        run.say(f"load:{segment.load_addr:#010x},len:{len(segment.data):#x}", _SEEN_LOAD)
    _check_checksum(run, image)
    _check_hash(run, image)
    return image


def _no_magic(run: RomRun, data: bytes) -> RomRefused:
    word = int.from_bytes(data[:4], "little")
    if _is_older(run):
        run.say("flash read err, 1000", _SEEN_READ_ERROR)
        run.say("ets_main.c 371", _SEEN_READ_ERROR)
    else:
        run.say(f"invalid header: {word:#010x}", _SEEN_INVALID_HEADER)
    counter = run.efuses.number(run.chip.flash_encryption.counter_field)
    view = "decrypted" if counter.bit_count() & 1 else "plain, flash encryption being off"
    older = ", for which silicon before v3.0 says 'flash read err, 1000'" if run.chip.rom.older else ""
    return run.refuse(
        "rom.image.magic",
        f"the flash at {run.chip.bootloader_offset:#x} reads {word:#010x} ({view}), expected the magic byte"
        f" 0xe9{older}",
        "flash the bootloader as the chip reads it: ciphertext for this key and address when encryption is on,"
        " plaintext when it is off",
    )


def _check_checksum(run: RomRun, image: EspImage) -> None:
    computed = segments_checksum(image.segments)
    if image.checksum != computed:
        run.say(f"csum err:{computed:#04x}!={image.checksum:#04x}", _SEEN_CHECKSUM)
        because = f"the checksum of the segments is {computed:#04x}, the image says {image.checksum:#04x}"
        raise run.refuse("rom.image.checksum", because, "the bootloader is damaged: flash it again")
    run.findings.append(passed("rom.image.checksum", "bootloader", f"checksum {computed:#04x} fits the segments"))


def _check_hash(run: RomRun, image: EspImage) -> None:
    """A wrong hash is reported and ignored; only Secure Boot refuses."""
    if image.hash is None:
        return
    computed = hashlib.sha256(image.body()).digest()
    if computed == image.hash:
        run.findings.append(passed("rom.image.hash", "bootloader", "the appended SHA-256 fits"))
        return
    run.say("SHA-256 comparison failed:", _SEEN_HASH)
    run.say(f"Calculated: {computed.hex()}", _SEEN_HASH)
    run.say(f"Expected: {image.hash.hex()}", _SEEN_HASH)
    run.say("Attempting to boot anyway...", _SEEN_HASH)
    because = "the appended SHA-256 does not fit; the ROM says so and boots all the same"
    run.findings.append(warned("rom.image.hash", "bootloader", because, "flash the bootloader as it was built"))


# Secure Boot


def _secure_boot(run: RomRun, image: EspImage) -> Steps[None]:
    if 1 in run.chip.secure_boot.versions and run.efuses.is_set("ABS_DONE_0"):
        _secure_boot_v1(run, image)
    enable = run.chip.secure_boot.enable_field
    if run.efuses.is_set(enable) and run.efuses.revision >= run.chip.heeded_since.get(enable, 0):
        yield from _secure_boot_v2(run, image)


def _secure_boot_v1(run: RomRun, image: EspImage) -> None:
    finding = check_v1(run.flash, run.efuses, image.length)
    if finding.verdict is not Verdict.PASS:
        run.say("secure boot check fail", _SEEN_V1)
        run.say("ets_main.c 371", _SEEN_V1)
        raise RomRefused(finding)
    run.findings.append(finding)


def _secure_boot_v2(run: RomRun, image: EspImage) -> Steps[None]:
    end = padded(image.length)
    size = check_bootloader_size(end, run.chip.bootloader_limit)
    if size.code == "bootloader.too_large":
        limit = run.chip.bootloader_limit // 1024
        run.say(f"Bootloader is too large for {limit}KB staging area.", _SEEN_TOO_LARGE if limit == 48 else "")
        raise run.refuse("rom.image.too_large", size.because, size.next)
    trusted = trusted_digests(run.efuses)
    if not trusted:
        run.say("secure boot verification failed", _SEEN_V2)
        raise run.refuse(
            "rom.secure_boot.no_digest",
            "Secure Boot is on and no key digest can be read that is not revoked",
            "no bootloader can ever be accepted; use another chip",
        )
    whole = run.flash.read(run.chip.bootloader_offset, end + SECTOR_SIZE)
    hash_name = "sha384" if run.efuses.is_set("SECURE_BOOT_SHA384_EN") else "sha256"
    blocks = check_blocks(whole[:end], whole[end:], hash=hash_name)
    valid = [block for block in blocks if block.is_valid]
    run.say("Valid secure boot key blocks: " + " ".join(str(block.index) for block in valid), _SEEN_V2)
    accepted = first_trusted(blocks, trusted)
    yield from _revoke_aggressively(run, blocks, accepted)
    if accepted is None:
        raise _refused_v2(run, whole[end], blocks, trusted)
    run.say("secure boot verification succeeded", _SEEN_V2)
    because = f"signature block {accepted.index} verifies with the key of digest {accepted.key_digest[:4].hex()}…"
    run.findings.append(passed("rom.secure_boot.signature", "bootloader", because))


def _refused_v2(run: RomRun, first: int, blocks: tuple[CheckedBlock, ...], trusted: tuple[bytes, ...]) -> RomRefused:
    code, because = _reason(first, blocks, trusted)
    if code == "rom.secure_boot.unsigned":
        run.say(
            f"No signature block magic byte found at signature sector (found {first:#04x} not 0xe7)."
            " Image not V2 signed?",
            _SEEN_V2,
        )
    if code == "rom.secure_boot.digest":
        run.say("Sig block 0 invalid: Image digest does not match", _SEEN_DIGEST)
    run.say("secure boot verification failed", _SEEN_V2)
    return run.refuse(code, because, "flash a bootloader signed by a key whose digest is burned")


def _reason(first: int, blocks: tuple[CheckedBlock, ...], trusted: tuple[bytes, ...]) -> tuple[str, str]:
    """The check that failed, of the block that came furthest."""
    if not any(block.is_valid for block in blocks):
        if any(block.fault is BlockFault.CRC for block in blocks):
            return "rom.secure_boot.crc", "the CRC of the signature block is wrong"
        return "rom.secure_boot.unsigned", f"the signature sector begins with {first:#04x}, expected 0xe7"
    known = [block for block in blocks if knows(block, trusted)]
    if not known:
        found = ", ".join(f"{block.key_digest[:4].hex()}…" for block in blocks if block.is_valid)
        return "rom.secure_boot.key", f"the bootloader is signed with key digest {found}, which no eFuse trusts"
    if known[0].fault is BlockFault.HASH:
        return "rom.secure_boot.hash", f"block {known[0].index}: {known[0].fault}; SECURE_BOOT_SHA384_EN decides which"
    if known[0].fault is BlockFault.DIGEST:
        return "rom.secure_boot.digest", f"block {known[0].index}: {known[0].fault}; it was changed after signing"
    return "rom.secure_boot.signature", f"block {known[0].index}: {known[0].fault}"


def _revoke_aggressively(run: RomRun, blocks: tuple[CheckedBlock, ...], accepted: CheckedBlock | None) -> Steps[None]:
    """With SECURE_BOOT_AGGRESSIVE_REVOKE a trusted key whose signature is wrong loses its slot."""
    if not run.efuses.is_set("SECURE_BOOT_AGGRESSIVE_REVOKE"):
        return
    tried = blocks if accepted is None else blocks[: accepted.index]
    for slot in _slots_to_revoke(run.efuses, tried):
        place = run.chip.field(f"SECURE_BOOT_KEY_REVOKE{slot}", revision=run.efuses.revision)
        because = f"aggressive revocation: the ROM revokes digest slot {slot}, whose key's signature is wrong"
        run.findings.append(warned("rom.secure_boot.revoked", place.name, because, "sign with another trusted key"))
        yield BurnEfuse(0, place.place(1).to_bytes(run.chip.blocks[0].size, "little"), because)


def _slots_to_revoke(efuses: Efuses, tried: tuple[CheckedBlock, ...]) -> Iterator[int]:
    for slot in range(efuses.chip.secure_boot.digest_slots):
        number = efuses.find_key(f"SECURE_BOOT_DIGEST{slot}")
        if number is None or efuses.number(f"SECURE_BOOT_KEY_REVOKE{slot}"):
            continue
        digest = efuses.readable_block(number)
        if any(
            b.fault in (BlockFault.HASH, BlockFault.DIGEST, BlockFault.SIGNATURE) and knows(b, [digest]) for b in tried
        ):
            yield slot
