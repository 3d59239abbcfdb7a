"""Secure Boot V2 at rest: the signature sector behind an image, as the ROM wants it.

An image is filled with 0xFF to whole sectors, which is what is signed, and followed by one sector of up to three
signature blocks. A chip accepts the image when one of them holds the right hash, a key that the chip's eFuses trust,
and a good signature. Sources: ESP-IDF docs/en/security/secure-boot-v2.rst and
components/bootloader_support/src/secure_boot_v2/secure_boot_signatures_bootloader.c; espsecure 5.6 is the peer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, failed, passed
from bootwright.formats.esp_image import EspImage
from bootwright.formats.esp_signature_block import (
    BLOCK_SIZE,
    MAGIC,
    block_crc,
    block_key_digest,
    block_public_key,
    block_signature,
    image_digest,
    key_record,
    make_block,
    parse_block,
)
from bootwright.formats.esp_signature_block import SignatureBlock as SignatureBlock
from bootwright.formats.esp_signature_block import key_digest_v2 as key_digest_v2
from bootwright.formats.keys import Signer

SECTOR_SIZE = 4096
MAX_BLOCKS = 3
FILL = b"\xff"
DIGEST_SIZES = (16, 32)  #: what eFuses keep of a key's hash: the first half on the ESP32-C2, all of it elsewhere


def pad_to_sector(image: bytes) -> bytes:
    """The image filled with 0xFF to whole sectors, as it is hashed and signed."""
    return image + FILL * (-len(image) % SECTOR_SIZE)


def signature_sector(blocks: Sequence[SignatureBlock]) -> bytes:
    """The sector that follows the image.

    Raises:
        FormatError: no block, or more than three.
    """
    if not 1 <= len(blocks) <= MAX_BLOCKS:
        raise FormatError(f"signature sector: found {len(blocks)} blocks, expected 1 to {MAX_BLOCKS}", "use fewer keys")
    return b"".join(block.pack() for block in blocks).ljust(SECTOR_SIZE, FILL)


def sign_v2(image: bytes, signers: Sequence[Signer]) -> bytes:
    """The image padded, followed by its signature sector: one block for each signer, in this order.

    Raises:
        FormatError: nothing to sign, no signer or more than three, keys of different schemes or of one that Secure
            Boot V2 does not know.
    """
    if not image:
        raise FormatError("Secure Boot V2: found an empty image, expected something to sign", "check the path")
    content = pad_to_sector(image)
    return content + signature_sector(_sign(content, signers))


def append_v2(signed: bytes, signers: Sequence[Signer]) -> bytes:
    """A signed image with further blocks behind those that it has.

    Raises:
        FormatError: no signature sector, more than three blocks in all, or keys of different schemes.
    """
    content, blocks = split_v2(signed)
    return content + signature_sector([*blocks, *_sign(content, signers)])


def split_v2(signed: bytes, *, where: str = "signed image") -> tuple[bytes, tuple[SignatureBlock, ...]]:
    """The padded image and its signature blocks, those with a right CRC.

    Raises:
        FormatError: there is no signature sector, or no valid block in it.
    """
    at = find_signature_sector(signed)
    blocks = find_signature_blocks(signed)
    if at is None or not blocks:
        raise FormatError(f"{where}: found no valid signature block, expected a signature sector", "sign it first")
    return signed[:at], blocks


def find_signature_sector(data: bytes) -> int | None:
    """Where the signature sector begins: behind the ESP image, or else the last sector of the data."""
    try:
        at = -(-EspImage.parse(data).length // SECTOR_SIZE) * SECTOR_SIZE
        if data[at : at + 1] == bytes([MAGIC]):
            return at
    except FormatError:
        pass  # a partition table, say, can be signed too
    return len(data) - SECTOR_SIZE if len(data) > SECTOR_SIZE and len(data) % SECTOR_SIZE == 0 else None


def find_signature_blocks(data: bytes) -> tuple[SignatureBlock, ...]:
    """The blocks of the signature sector up to the first that has no magic byte or a wrong CRC."""
    at = find_signature_sector(data)
    found: list[SignatureBlock] = []
    for offset in [] if at is None else range(at, at + MAX_BLOCKS * BLOCK_SIZE, BLOCK_SIZE):
        try:
            block = parse_block(data, offset)
        except FormatError:
            break
        if block_crc(block) != block.block_crc:
            break
        found.append(block)
    return tuple(found)


def check_bootloader_size(
    signed_size: int, rom_limit: int, *, area: int | None = None, subject: str = "bootloader"
) -> Finding:
    """Whether the ROM can stage a bootloader of this size, without its signature sector, and its area can hold it.

    The limits are per chip: 48 KB on the ESP32 ("Bootloader is too large for 48KB staging area."), 64 or 80 KB on
    later ones. Source: ESP-IDF docs/en/api-guides/bootloader.rst. `area` bounds the bootloader with its sector.
    """
    if signed_size > rom_limit:
        why = f"the bootloader has {signed_size:#x} bytes without its signature sector, the ROM takes {rom_limit:#x}"
        return failed("bootloader.too_large", subject, why, "drop features or choose a smaller signature scheme")
    if area is not None and signed_size + SECTOR_SIZE > area:
        why = f"the bootloader and its signature sector take {signed_size + SECTOR_SIZE:#x} bytes, its area {area:#x}"
        return failed("bootloader.too_large", subject, why, "raise CONFIG_ESP_BOOTLOADER_SIZE or make it smaller")
    why = f"the bootloader has {signed_size:#x} bytes without its signature sector, the ROM takes {rom_limit:#x}"
    return passed("bootloader.size", subject, why)


def verify_v2(
    signed: bytes, trusted_digests: Sequence[bytes] | None = None, *, subject: str = "signed image"
) -> tuple[Finding, ...]:
    """What a ROM that trusts these key digests would say; without any, whether one block fits image and key.

    One good block is enough: what is wrong with the others then only warns. Digests are 32 bytes, or the first 16
    that an ESP32-C2 keeps.

    Raises:
        FormatError: a trusted digest is of another length.
    """
    for digest in trusted_digests or ():
        if len(digest) not in DIGEST_SIZES:
            raise FormatError(f"key digest: found {len(digest)} bytes, expected 16 or 32", "read it from the eFuses")
    at = find_signature_sector(signed)
    if at is None:
        why = f"{len(signed):#x} bytes hold no signature sector, expected one of {SECTOR_SIZE:#x} behind whole sectors"
        return (failed("secure_boot.sector.missing", subject, why, "sign the image"),)
    blocks = [
        tuple(_check_block(signed, at, index, trusted_digests, f"{subject}, signature block {index}"))
        for index in range(MAX_BLOCKS)
        if index == 0 or signed[at + index * BLOCK_SIZE] == MAGIC
    ]
    accepted = any(all(finding.verdict is Verdict.PASS for finding in block) for block in blocks)
    findings = [finding for block in blocks for finding in block]
    return tuple(_warning(finding) if accepted else finding for finding in findings)


def _sign(content: bytes, signers: Sequence[Signer]) -> list[SignatureBlock]:
    blocks = []
    digests: dict[str, bytes] = {}
    for signer in signers:
        key_record(signer.public)  # refuses other kinds before a token is asked
        digest = digests.setdefault(signer.key_type.hash_name, image_digest(content, signer.key_type.hash_name))
        blocks.append(make_block(content, signer.public, signer.sign(content, digest=digest)))
    return blocks


def _check_block(
    signed: bytes, at: int, index: int, trusted: Sequence[bytes] | None, subject: str
) -> Iterator[Finding]:
    """The checks in the ROM's order; the first that fails is the last that is made."""
    offset = at + index * BLOCK_SIZE
    try:
        block = parse_block(signed, offset, where=subject)
    except FormatError as error:
        yield failed("secure_boot.block.magic", subject, error.message, error.hint)
        return
    crc = block_crc(block)
    if crc != block.block_crc:
        why = f"the CRC is {block.block_crc:#010x}, the block gives {crc:#010x}"
        yield failed("secure_boot.block.crc", subject, why, "sign the image again")
        return
    yield passed("secure_boot.block", subject, f"magic byte, version and CRC of the block at {offset:#x} are right")
    yield from _check_trust(signed[:at], block, trusted, subject)


def _check_trust(
    content: bytes, block: SignatureBlock, trusted: Sequence[bytes] | None, subject: str
) -> Iterator[Finding]:
    key_digest = block_key_digest(block)
    shown = key_digest.hex()[:16]
    if trusted is not None and not any(key_digest.startswith(digest) for digest in trusted):
        why = f"the key's digest {shown}… is none of the {len(trusted)} that the chip trusts"
        yield failed("secure_boot.key.untrusted", subject, why, "sign with a key whose digest is burned, not revoked")
        return
    if trusted is not None:
        yield passed("secure_boot.key", subject, f"the chip trusts the key's digest {shown}…")
    digest = image_digest(content, block.HASH)
    if digest != block.image_digest:
        why = f"the block is for an image with hash {block.image_digest.hex()[:16]}…, this one has {digest.hex()[:16]}…"
        yield failed("secure_boot.digest.mismatch", subject, why, "the image changed after signing: sign it again")
        return
    yield passed("secure_boot.digest", subject, f"the block holds the image's hash {digest.hex()[:16]}…")
    yield _check_signature(block, digest, subject)


def _check_signature(block: SignatureBlock, digest: bytes, subject: str) -> Finding:
    try:
        public = block_public_key(block)
        good, as_it_should_be = public.verify_digest(block_signature(block), digest), key_record(public)
    except FormatError as error:
        return failed("secure_boot.signature.invalid", subject, error.message, error.hint)
    if as_it_should_be != block.key:
        why = "the values that the block precomputes of its key are wrong, hardware would fail with them"
        return failed("secure_boot.signature.invalid", subject, why, "sign the image again")
    if not good:
        why = f"the signature is not that of the {public.key_type} key in the block"
        return failed("secure_boot.signature.invalid", subject, why, "sign the image again")
    return passed("secure_boot.signature", subject, f"the signature is that of the {public.key_type} key in the block")


def _warning(finding: Finding) -> Finding:
    return replace(finding, verdict=Verdict.WARN) if finding.verdict is Verdict.FAIL else finding
