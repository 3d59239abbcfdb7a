"""Signing for a chip's Secure Boot: what the ROM of that chip would not accept is refused before it is signed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bootwright.chips.chip import Chip
from bootwright.errors import FormatError, RefusedError, SiliconError
from bootwright.finding import Finding, failed, passed
from bootwright.formats.esp_image import verify_esp_image
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
from bootwright.formats.keys import PublicKey, Signer


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


def verify_signed(
    data: bytes, trusted: Sequence[bytes] | None, *, chip: Chip | None, is_bootloader: bool, subject: str
) -> tuple[Finding, ...]:
    """What a chip that trusts these digests says of a signed image; with a chip, its limits count too."""
    findings = list(verify_v2(data, trusted, subject=subject))
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


def _key_type(block: SignatureBlock) -> str:
    try:
        return str(block_public_key(block).key_type)
    except FormatError:
        return "unknown"
