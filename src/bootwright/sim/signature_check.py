"""The blocks of a signature sector against an image, one by one: what the ROM and the bootloaders look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bootwright.errors import FormatError
from bootwright.formats.esp_secure_boot import MAX_BLOCKS, SECTOR_SIZE
from bootwright.formats.esp_signature_block import (
    BLOCK_SIZE,
    Curve,
    EcdsaSignatureBlock,
    SignatureBlock,
    block_crc,
    block_key_digest,
    block_public_key,
    block_signature,
    image_digest,
    parse_block,
)


class BlockFault(StrEnum):
    """What is wrong with a signature block, in the order in which it is looked at."""

    NONE = ""
    ABSENT = "no block with a known magic byte and version"
    CRC = "the CRC is wrong"
    HASH = "its image digest is made with another hash than is asked for here"
    DIGEST = "the image digest in the block is not the image's"
    SIGNATURE = "the signature does not verify with the key in the block"


@dataclass(frozen=True, slots=True)
class CheckedBlock:
    """One of the three places for a block."""

    index: int
    fault: BlockFault
    version: int  #: the byte as it lies there: 2 is RSA, 3 is ECDSA
    key_digest: bytes = b""  #: of the key in the block, when magic byte and CRC are right
    is_p192: bool = False  #: whether the key in the block is on the curve that newer silicon keeps closed at first

    @property
    def is_valid(self) -> bool:
        """Magic byte, version and CRC: what every reader asks first."""
        return self.fault not in (BlockFault.ABSENT, BlockFault.CRC)


def check_blocks(content: bytes, sector: bytes, *, hash: str = "sha256") -> tuple[CheckedBlock, ...]:  # noqa: A002
    """Judge all three places of `sector` against the padded image `content`, digested with `hash`."""
    return tuple(_check(content, sector, index, hash) for index in range(MAX_BLOCKS))


def first_trusted(blocks: Iterable[CheckedBlock], trusted: Iterable[bytes]) -> CheckedBlock | None:
    """The block that makes the ROM accept: a right signature by a key whose digest is trusted."""
    digests = tuple(trusted)
    return next((b for b in blocks if b.fault is BlockFault.NONE and _matches(b.key_digest, digests)), None)


def knows(block: CheckedBlock, trusted: Iterable[bytes]) -> bool:
    """Whether the block's key is trusted, its signature aside."""
    return block.is_valid and _matches(block.key_digest, tuple(trusted))


def _matches(digest: bytes, trusted: tuple[bytes, ...]) -> bool:
    return any(digest[: len(one)] == one for one in trusted if one)


def _check(content: bytes, sector: bytes, index: int, wanted: str) -> CheckedBlock:
    offset = index * BLOCK_SIZE
    version = sector[offset + 1] if offset + 1 < len(sector) else 0
    try:
        block = parse_block(sector, offset)
    except FormatError:
        return CheckedBlock(index, BlockFault.ABSENT, version)
    if block_crc(block) != block.block_crc:
        return CheckedBlock(index, BlockFault.CRC, version)
    p192 = isinstance(block, EcdsaSignatureBlock) and block.key.curve_id == Curve.P192
    return CheckedBlock(index, _fault(content, block, wanted), version, block_key_digest(block), p192)


def _fault(content: bytes, block: SignatureBlock, wanted: str) -> BlockFault:
    if wanted != block.HASH:
        return BlockFault.HASH
    try:
        public = block_public_key(block)
        signature = block_signature(block)
    except FormatError:
        return BlockFault.SIGNATURE
    digest = image_digest(content, block.HASH)
    if block.image_digest != digest:
        return BlockFault.DIGEST
    return BlockFault.NONE if public.verify_digest(signature, digest) else BlockFault.SIGNATURE


def padded(length: int) -> int:
    """`length` up to the next sector: where the signature sector begins."""
    return -(-length // SECTOR_SIZE) * SECTOR_SIZE
