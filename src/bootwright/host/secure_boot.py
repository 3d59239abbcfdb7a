"""Signing for a chip's Secure Boot: what the ROM of that chip would not accept is refused before it is signed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from bootwright.chips.chip import Chip
from bootwright.errors import FormatError, RefusedError, SiliconError
from bootwright.finding import Finding, Verdict, failed, passed, warned
from bootwright.formats.esp_flash_detect import reads_as
from bootwright.formats.esp_flash_scheme import FlashScheme
from bootwright.formats.esp_flash_structure import structure_of
from bootwright.formats.esp_image import EspImage, SpiMode, verify_esp_image
from bootwright.formats.esp_secure_boot import (
    append_v2,
    check_bootloader_size,
    find_signature_blocks,
    find_signature_sector,
    pad_to_sector,
    sign_v2,
    verify_v2,
)
from bootwright.formats.esp_signature_block import (
    SignatureBlock,
    block_key_digest,
    block_public_key,
    image_digest,
    key_digest_v2,
)
from bootwright.formats.keys import KeyType, PublicKey, Signer


def sign_image(image: bytes, signers: Sequence[Signer], *, chip: Chip | None = None) -> bytes:
    """An image with its first signature sector.

    Raises:
        RefusedError: it is signed already.
        SiliconError: the chip's ROM knows no such keys, or not so many.
        FormatError: no key, or one that Secure Boot V2 does not know.
    """
    if find_signature_blocks(image):
        raise RefusedError(
            f"found a signature sector behind {find_signature_sector(image):#x} bytes, expected an unsigned image",
            "add a signature with --append, or cut the old ones off with --again",
        )
    _check_keys(signers, len(signers), chip)
    return sign_v2(image, signers)


def sign_again(image: bytes, signers: Sequence[Signer], *, chip: Chip | None = None) -> bytes:
    """An image with a new signature sector in place of the one it has, if it has one; raises as `sign_image`."""
    _check_keys(signers, len(signers), chip)
    at = find_signature_sector(image) if find_signature_blocks(image) else None
    return sign_v2(image[:at], signers)


def add_signatures(signed: bytes, signers: Sequence[Signer], *, chip: Chip | None = None) -> bytes:
    """A signed image with further signatures; raises as `sign_image`, and FormatError where it is not signed."""
    _check_keys(signers, len(signers) + len(find_signature_blocks(signed)), chip)
    return append_v2(signed, signers)


def refuse_ciphertext(image: bytes, scheme: FlashScheme, address: int) -> None:
    """Signing comes before encryption: what is ciphertext under this key is not signed.

    Raises:
        RefusedError: a chip with this key reads a known structure at `address`.
    """
    known = reads_as(image, scheme, address)
    if known is not None:
        raise RefusedError(
            f"refused to sign ciphertext: the data are {known}, encrypted for address {address:#x}",
            "sign the plaintext, then encrypt image and signature together",
        )


def refuse_too_large(image: bytes, chip: Chip) -> None:
    """A bootloader that the chip's ROM cannot stage is not signed.

    Raises:
        SiliconError: it is larger than the ROM's limit.
    """
    finding = check_bootloader_size(len(pad_to_sector(image)), chip.bootloader_limit)
    if finding.verdict is Verdict.FAIL:
        raise SiliconError(finding.because, finding.next)


def recognise(image: bytes, subject: str) -> Finding:
    """What is about to be signed; data of no known structure may be ciphertext."""
    known = structure_of(image)
    if known is None:
        why = "the data have no known structure; if they are ciphertext, the signature will not hold"
        return warned("secure_boot.content.unknown", subject, why, "sign the plaintext, then encrypt")
    return passed("secure_boot.content", subject, f"the data are {known}")


def mixed_kinds(blocks: Sequence[Mapping[str, object]], subject: str) -> tuple[Finding, ...]:
    """A warning where P-384 signs beside another kind of key.

    A chip hashes either with SHA-384 or with SHA-256, and then refuses the others (ESP-IDF
    docs/en/security/secure-boot-v2.rst, "Multiple Keys").
    """
    kinds = {str(block["key_type"]) for block in blocks}
    if len(kinds) < 2 or KeyType.ECDSA_P384 not in kinds:
        return ()
    why = f"{' and '.join(sorted(kinds))} keys sign side by side, and a chip that is set to P-384 takes no other"
    return (warned("secure_boot.keys.mixed", subject, why, "sign with P-384 keys only, or with none"),)


def verify_signed(
    data: bytes, trusted: Sequence[bytes] | None, *, chip: Chip | None, is_bootloader: bool, subject: str
) -> tuple[Finding, ...]:
    """What a chip that trusts these digests says of a signed image; with a chip, its limits count too."""
    findings = list(verify_v2(data, trusted, subject=subject))
    if any(finding.code == "secure_boot.digest.mismatch" for finding in findings):
        findings += _explain_mismatch(data, subject)
    if chip is not None:
        findings += _check_for_chip(data, chip, subject, is_bootloader=is_bootloader)
    if data[:1] == b"\xe9":
        findings += verify_esp_image(data, chip_id=chip.chip_id if chip else None, subject=subject)
    return tuple(findings)


def describe_blocks(data: bytes) -> list[dict[str, object]]:
    """The signature blocks of an image, for a table or for JSON."""
    at = find_signature_sector(data)
    return [] if at is None else [_describe(block, data[:at]) for block in find_signature_blocks(data)]


def bytes_to_sign(image: bytes) -> bytes:
    """What an external signer signs: the image filled up to whole sectors."""
    return pad_to_sector(image)


def eligible_digest(public: PublicKey, chip: Chip | None) -> bytes:
    """The key digest in the length that the chip's eFuses hold.

    Raises:
        SiliconError: the chip's ROM knows no such keys.
        FormatError: Secure Boot V2 does not.
    """
    if chip is None:
        return key_digest_v2(public)
    _check_scheme(public, chip)
    return key_digest_v2(public)[: chip.secure_boot.digest_length]


def _check_keys(signers: Sequence[Signer], blocks: int, chip: Chip | None) -> None:
    if chip is None:
        return
    for signer in signers:
        _check_scheme(signer.public, chip)
    slots = chip.secure_boot.digest_slots
    if blocks > slots:
        raise SiliconError(
            f"found {blocks} signatures, the {chip.title} has {slots} digest slot{'s' if slots > 1 else ''}",
            "a signature without a slot for its key's digest is of no use",
        )


def _check_scheme(public: PublicKey, chip: Chip) -> None:
    if public.key_type not in chip.secure_boot.schemes:
        raise SiliconError(
            f"found key type {public.key_type}, the {chip.title} verifies {' or '.join(chip.secure_boot.schemes)}",
            "make a key for this chip: `bootwright secure-boot keygen --chip`",
        )


def _check_for_chip(data: bytes, chip: Chip, subject: str, *, is_bootloader: bool) -> Iterator[Finding]:
    blocks = find_signature_blocks(data)
    known = chip.secure_boot.schemes
    for number, block in enumerate(blocks):
        if _key_type(block) not in known:
            why = f"block {number} has key type {_key_type(block)}, the {chip.title} verifies {' or '.join(known)}"
            yield failed("secure_boot.scheme", subject, why, "sign with a key that this chip's ROM knows")
    slots = chip.secure_boot.digest_slots
    why = f"found {len(blocks)} signature blocks, the {chip.title} has {slots} digest slots"
    if len(blocks) > slots:
        yield failed("secure_boot.slots", subject, why, "sign with fewer keys")
    elif blocks:
        yield passed("secure_boot.slots", subject, why)
    at = find_signature_sector(data)
    if is_bootloader and at is not None:
        yield check_bootloader_size(at, chip.bootloader_limit, subject=subject)


def _describe(block: SignatureBlock, content: bytes) -> dict[str, object]:
    return {
        "key_type": _key_type(block),
        "key_digest": block_key_digest(block).hex(),
        "image_digest": block.image_digest.hex(),
        "image_digest_fits": block.image_digest == image_digest(content, block.HASH),
        "signed_bytes": len(content),
    }


def _explain_mismatch(data: bytes, subject: str) -> Iterator[Finding]:
    """Flashing tools patch mode, size and frequency into a header, and mend the hash behind the image; no signature
    survives that. All that they can have patched is tried.
    """
    at = find_signature_sector(data) or 0
    wanted = {(block.HASH, block.image_digest) for block in find_signature_blocks(data)}
    try:
        image = EspImage.parse(data[:at])
    except FormatError:
        return
    body, fill = image.body(), data[image.length : at]
    modes, sizes_and_speeds = range(len(SpiMode)), range(256)
    for mode, size_and_speed in product(modes, sizes_and_speeds):
        tried = body[:2] + bytes((mode, size_and_speed)) + body[4:]
        content = tried + (hashlib.sha256(tried).digest() if image.hash else b"") + fill
        if any(image_digest(content, name) == digest for name, digest in wanted):
            why = (
                f"bytes 2 and 3 of the header were patched after signing: found {body[2:4].hex(' ')}, "
                f"signed with {tried[2:4].hex(' ')}"
            )
            yield failed("secure_boot.header.patched", subject, why, "flash with flash mode, size and frequency `keep`")
            return


def _key_type(block: SignatureBlock) -> str:
    try:
        return str(block_public_key(block).key_type)
    except FormatError:
        return "unknown"
