"""What a plan must not do: each check is one finding, and each refusal has a name by which a person can insist.

The gates are those that esptool leaves open (plaintext onto an encrypted chip, ciphertext encrypted again, ciphertext
for another place, a bootloader that the ROM rejects) and those that no wish opens (encryption that the chip refuses).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

from bootwright.chips.efuses import Efuses
from bootwright.chips.release import download_closed
from bootwright.errors import BootwrightError, FormatError
from bootwright.finding import Finding, Verdict, failed, passed, warned
from bootwright.flash import SECTOR_SIZE, NorFlash
from bootwright.formats.esp_image import EspImage, verify_esp_image
from bootwright.formats.esp_secure_boot import verify_v2
from bootwright.host.flashing import FlashPlan, Form, PlannedWrite, Role, Target
from bootwright.sim.rom_boot import RomRun, boot_rom

_MCUBOOT_MAGIC = struct.pack("<I", 0x96F3B83D)
_PARTITION_MAGIC = b"\xaa\x50"
#: Bytes of a file's beginning that are looked at, and how many different ones ciphertext shows there at least.
_SAMPLE, _RANDOM = 1024, 220

#: named overrides: what a person insists on, in the words of `--allow`
OVERRIDES = {
    "plaintext": "flash.plaintext",
    "encrypt-again": "flash.encrypted_twice",
    "foreign-ciphertext": "flash.foreign_ciphertext",
    "rejected-bootloader": "flash.bootloader_rejected",
    "rewritten-header": "flash.header_rewritten",
    "other-chip": "flash.other_chip",
    "erase-secured": "flash.erase_secured",
}

Check = Callable[[Target, PlannedWrite], Finding | None]


def judge(plan: FlashPlan, *, allowed: frozenset[str] = frozenset()) -> FlashPlan:
    """The plan with its findings; what `allowed` names is a warning instead of a refusal."""
    findings = list(_chip_findings(plan))
    for write in plan.writes:
        found = [finding for check in CHECKS if (finding := check(plan.target, write)) is not None]
        if all(finding.verdict is not Verdict.FAIL for finding in found):  # else the ROM's word is a consequence
            found += filter(None, [check_bootloader(plan.target, write)])
        findings += found
    codes = {OVERRIDES[name] for name in allowed}
    return replace(plan, findings=tuple(_softened(finding, codes) for finding in findings))


def _softened(finding: Finding, codes: set[str]) -> Finding:
    if finding.verdict is Verdict.FAIL and finding.code in codes:
        return replace(finding, verdict=Verdict.WARN, next="allowed by name")
    return finding


def _chip_findings(plan: FlashPlan) -> Iterator[Finding]:
    target = plan.target
    if closed := _loader_closed(target):
        yield closed
    if any(write.form is not Form.AS_IS for write in plan.writes) and not target.encryption_on:
        counter = target.chip.flash_encryption.counter_field
        yield warned(
            "flash.encryption_off",
            target.name,
            f"flash encryption is off: until {counter} is burned, {target.name} does not decrypt what it reads",
            f"burn {counter} before the next boot, or write plaintext",
        )
    if not any(write.form is Form.ENCRYPTED_BY_CHIP for write in plan.writes):
        return
    if target.efuses is None:
        yield warned(
            "flash.encrypt.unknown", target.name, "the eFuses cannot be read; whether the chip encrypts is open"
        )
        return
    gate = target.chip.flash_encryption.manual_encrypt_field
    if target.efuses.is_set(gate):
        yield failed(
            "flash.encrypt.closed",
            gate,
            f"{gate} is burned: the ROM loader of {target.name} does not encrypt any more",
            "encrypt on the host with --key, or update through the bootloader",
        )
    elif not has_flash_key(target):
        yield failed(
            "flash.encrypt.no_key",
            target.name,
            "no flash-encryption key is burned",
            "burn a key, or boot once to make one",
        )
    elif target.chip.flash_encryption.algorithm == "esp32" and target.efuses.number("FLASH_CRYPT_CONFIG") != 0xF:
        found = target.efuses.number("FLASH_CRYPT_CONFIG")
        yield failed(
            "flash.encrypt.config",
            "FLASH_CRYPT_CONFIG",
            f"FLASH_CRYPT_CONFIG is {found:#x}, expected 0xf: the key would not depend on the address",
            "burn FLASH_CRYPT_CONFIG 0xF first",
        )
    else:
        yield passed("flash.encrypt", target.name, "the chip has a key, and its ROM loader may encrypt")


def _loader_closed(target: Target) -> Finding | None:
    """A chip without a ROM loader takes nothing from a cable; secure download mode still takes writes."""
    field = "" if target.efuses is None else download_closed(target.efuses)
    if field in ("", "ENABLE_SECURITY_DOWNLOAD"):
        return None
    because = f"{field} is burned: {target.name} has no ROM loader any more that could be told to change its flash"
    return failed("flash.loader_closed", target.name, because, "update it through its bootloader or its application")


def has_flash_key(target: Target) -> bool:
    """Whether a flash-encryption key is burned, read-protected or not."""
    efuses = target.efuses
    if efuses is None:
        return False
    return any(efuses.read_protected(number) or any(efuses.block(number)) for number in flash_keys(efuses))


def flash_keys(efuses: Efuses) -> list[int]:
    """The blocks that hold a flash-encryption key, or half of one."""
    return [
        number for purpose in efuses.chip.purposes if purpose.is_flash_key for number in efuses.find_keys(purpose.name)
    ]


def _is_plain(data: bytes) -> bool:
    """Whether the bytes begin as something that a chip reads as plaintext."""
    if data[:4] == _MCUBOOT_MAGIC or data[:2] == _PARTITION_MAGIC:
        return True
    return data[:1] == b"\xe9" and 0 < data[1] <= 16


def _surely_plain(target: Target, data: bytes) -> bool:
    """Whether decrypted bytes are plaintext beyond chance: a thousand wrong places must not show one."""
    if data[:4] == _MCUBOOT_MAGIC:
        return True
    if data[:1] == b"\xe9":
        return 0 < data[1] <= 16 and data[2] < 6 and data[12:14] == target.chip.chip_id.to_bytes(2, "little")
    return data[:2] == _PARTITION_MAGIC and data[4:6] in (b"\0\x90", b"\0\xf0", b"\0\x10", b"\0\0")


def _is_random(data: bytes) -> bool:
    return len(set(data[:_SAMPLE])) >= min(_RANDOM, len(data) // 2)


def check_plaintext(target: Target, write: PlannedWrite) -> Finding | None:
    """Plaintext for a chip that decrypts what it reads."""
    if write.form is not Form.AS_IS or not target.encryption_on or write.piece.role is Role.PLAIN_DATA:
        return None
    if _is_plain(write.data):
        return failed(
            "flash.plaintext",
            write.piece.name,
            f"plaintext at {write.address:#x}, but flash encryption of {target.name} is on: it would read noise there",
            "add --encrypt, or --key with the chip's key; --allow plaintext insists",
        )
    if write.piece.role is Role.UNKNOWN and not _is_random(write.data):
        return warned(
            "flash.maybe_plaintext",
            write.piece.name,
            f"flash encryption of {target.name} is on, and the data at {write.address:#x} do not look like ciphertext",
            "fine for partitions that are never encrypted, such as NVS",
        )
    return None


def check_encrypted_twice(target: Target, write: PlannedWrite) -> Finding | None:
    """Ciphertext that would be encrypted again."""
    data = write.piece.data
    if write.form is Form.AS_IS or _is_plain(data) or not _is_random(data):
        return None
    if target.cipher is not None and _surely_plain(target, _decrypted(target, data, write.address)):
        because = f"the file is ciphertext for {write.address:#x} with this chip's key already"
    elif write.piece.role in (Role.BOOTLOADER, Role.PARTITION_TABLE, Role.APP):
        because = f"the file begins with {data[:4].hex(' ')}, as no {write.piece.role} does: it looks encrypted already"
    else:
        return None
    return failed(
        "flash.encrypted_twice", write.piece.name, because, "leave --encrypt out; --allow encrypt-again insists"
    )


def check_foreign_ciphertext(target: Target, write: PlannedWrite) -> Finding | None:
    """Ciphertext that this chip cannot read at this address."""
    data = write.data
    if write.form is Form.ENCRYPTED_HERE:
        return _check_key(target, write)
    if write.form is not Form.AS_IS or not target.encryption_on or target.cipher is None:
        return None
    if _is_plain(data) or not _is_random(data) or write.piece.role is Role.PLAIN_DATA:
        return None
    if _surely_plain(target, _decrypted(target, data, write.address)):
        return passed(
            "flash.ciphertext", write.piece.name, f"ciphertext that {target.name} can read at {write.address:#x}"
        )
    elsewhere = _other_place(target, data)
    if elsewhere is None and write.piece.role in (Role.UNKNOWN, Role.ENCRYPTED_DATA):
        return None
    because = (
        f"ciphertext that decrypts with no key of {target.name} at {write.address:#x}: it is for another chip"
        if elsewhere is None
        else f"ciphertext for {elsewhere:#x}, not for {write.address:#x}"
    )
    return failed(
        "flash.foreign_ciphertext",
        write.piece.name,
        because,
        "encrypt it for this chip and this address; --allow foreign-ciphertext insists",
    )


def _check_key(target: Target, write: PlannedWrite) -> Finding | None:
    """Encrypted here, with a key that is not the chip's."""
    if target.cipher is None or not (target.encryption_on or has_flash_key(target)):
        return None
    if target.cipher.decrypt(write.data[:128], write.address).startswith(write.piece.data[:128]):
        return None
    return failed(
        "flash.foreign_ciphertext",
        write.piece.name,
        f"the key that was given is not the one burned in {target.name}: it would read noise at {write.address:#x}",
        "give the chip's own key, or let the chip encrypt with --encrypt; --allow foreign-ciphertext insists",
    )


def _decrypted(target: Target, data: bytes, address: int) -> bytes:
    if target.cipher is None or address % 16 or len(data) < 32:
        return b"\0\0"
    return target.cipher.decrypt(data[:128][: len(data) // 16 * 16], address)


def _other_place(target: Target, data: bytes) -> int | None:
    """The address for which the ciphertext was made, if it is the start of a sector."""
    for address in range(0, target.flash_size, SECTOR_SIZE):
        if _surely_plain(target, _decrypted(target, data[:128], address)):
            return address
    return None


def check_bootloader(target: Target, write: PlannedWrite) -> Finding | None:
    """A bootloader that the ROM would not start: the ROM's model is asked."""
    offset = target.chip.bootloader_offset
    if not write.address <= offset < write.address + len(write.data):
        return None
    plain = _as_the_chip_reads(target, write)
    if plain is None:
        return warned(
            "flash.bootloader.unknown", write.piece.name, "the key is not known, so the ROM's view is not, either"
        )
    if target.efuses is None:
        return _without_efuses(target, write, plain[offset - write.address :])
    flash = NorFlash(target.flash_size)
    flash.load(write.address, plain)
    run = RomRun(target.chip, flash, target.efuses)
    try:
        steps = boot_rom(run)
        while True:
            next(steps)
    except StopIteration as end:
        if end.value:
            return passed("flash.bootloader", write.piece.name, "the ROM would start this bootloader")
    except BootwrightError as error:
        return warned("flash.bootloader.not_modelled", write.piece.name, error.message)
    why = next(finding for finding in reversed(run.findings) if finding.verdict is Verdict.FAIL)
    return failed(
        "flash.bootloader_rejected",
        write.piece.name,
        f"the ROM would reject it: {why.because}",
        f"{why.next}; --allow rejected-bootloader insists",
    )


def _without_efuses(target: Target, write: PlannedWrite, image: bytes) -> Finding:
    bad = [f for f in verify_esp_image(image, chip_id=target.chip.chip_id) if f.verdict is Verdict.FAIL]
    if bad:
        return failed(
            "flash.bootloader_rejected",
            write.piece.name,
            f"the ROM would reject it: {bad[0].because}",
            "--allow rejected-bootloader insists",
        )
    return passed("flash.bootloader", write.piece.name, "a whole image for this chip; its signature was not checked")


def _as_the_chip_reads(target: Target, write: PlannedWrite) -> bytes | None:
    if write.form is Form.ENCRYPTED_BY_CHIP or (write.form is Form.ENCRYPTED_HERE and not target.encryption_on):
        return write.piece.data
    if not target.encryption_on or (target.efuses is None and _is_plain(write.data)):
        return write.data
    if target.cipher is None or write.address % 16:
        return None
    return target.cipher.decrypt(write.data + b"\xff" * (-len(write.data) % 16), write.address)


def check_other_chip(target: Target, write: PlannedWrite) -> Finding | None:
    """An image whose header names another chip, or silicon that is newer than this one."""
    plain = _as_the_chip_reads(target, write)
    if plain is not None and plain[:1] != b"\xe9" and write.address < target.chip.bootloader_offset:
        plain = plain[target.chip.bootloader_offset - write.address :]  # a whole flash image
    if plain is None or plain[:1] != b"\xe9":
        return None
    revision = target.efuses.revision if target.efuses is not None else None
    for finding in verify_esp_image(plain, chip_id=target.chip.chip_id, revision=revision):
        if finding.verdict is Verdict.FAIL and finding.code in ("esp.image.chip", "esp.image.revision"):
            return failed(
                "flash.other_chip",
                write.piece.name,
                f"{finding.because}; {target.name} is an {target.chip.title}",
                f"{finding.next}; --allow other-chip insists",
            )
    return None


def check_rewritten_header(target: Target, write: PlannedWrite) -> Finding | None:
    """Flash mode, size or frequency changed in the header after the image was signed or hashed."""
    data = write.piece.data
    if not _is_plain(data) or data[:1] != b"\xe9":
        return None
    try:
        image = EspImage.parse(data)
    except FormatError:
        return None
    broken = _broken_seal(image, data)
    if not broken:
        return None
    original = _header_that_fits(image, data, broken)
    if original is None:
        return None
    return failed(
        "flash.header_rewritten",
        write.piece.name,
        f"{broken} was made for header bytes {original.hex(' ')}, the file has {data[2:4].hex(' ')}: "
        "flash mode, size or frequency were changed afterwards",
        "sign after the last change, and flash with modes kept; --allow rewritten-header insists",
    )


def _broken_seal(image: EspImage, data: bytes) -> str:
    """`the signature` or `the appended hash`, whichever no longer fits the image."""
    signed = [finding for finding in verify_v2(data) if finding.code != "secure_boot.sector.missing"]
    if any(finding.verdict is Verdict.FAIL for finding in signed):
        return "the signature"
    if image.hash is not None and any(
        finding.verdict is Verdict.FAIL and "hash" in finding.code for finding in verify_esp_image(data)
    ):
        return "the appended hash"
    return ""


def _header_that_fits(image: EspImage, data: bytes, broken: str) -> bytes | None:
    """The two header bytes with which the seal fits again."""
    for mode in range(6):
        for size_and_speed in range(256):
            changed = data[:2] + bytes([mode, size_and_speed]) + data[4:]
            if _seal_fits(image, changed, broken):
                return changed[2:4]
    return None


def _seal_fits(image: EspImage, changed: bytes, broken: str) -> bool:
    if broken == "the appended hash":
        body = changed[: image.length - 32]
        return hashlib.sha256(body).digest() == image.hash
    end = -(-image.length // SECTOR_SIZE) * SECTOR_SIZE
    digest = hashlib.sha256(changed[:end]).digest()
    return changed[end + 4 : end + 36] == digest


CHECKS: tuple[Check, ...] = (
    check_plaintext,
    check_encrypted_twice,
    check_foreign_ciphertext,
    check_other_chip,
    check_rewritten_header,
)


def erase_finding(target: Target, address: int, length: int, *, insisted: bool) -> Finding:
    """Whether erasing is wise: a secured chip without its bootloader stays dark until someone can write a valid one."""
    where = f"{length:#x} bytes at {address:#x} of {target.name}"
    if address % SECTOR_SIZE or length % SECTOR_SIZE or not 0 < length <= target.flash_size - address:
        return failed(
            "flash.erase.place",
            target.name,
            f"{where} are not whole sectors of {SECTOR_SIZE:#x} inside its {target.flash_size:#x} bytes",
            "align address and size",
        )
    if closed := _loader_closed(target):
        return closed
    efuses = target.efuses
    secured = efuses is None or target.encryption_on or efuses.is_set(target.chip.secure_boot.enable_field)
    if secured and not insisted:
        return failed(
            "flash.erase_secured",
            target.name,
            f"flash encryption or Secure Boot is on: with {where} erased, only images made for this chip bring it back",
            "--allow erase-secured insists",
        )
    return passed("flash.erase", target.name, f"erased {where}")
