"""The signature blocks of Secure Boot V2: 1216 bytes that hold an image's hash, a key, a signature and a CRC.

Three shapes exist, for RSA-3072, for the shorter curves and for P-384; all numbers are little-endian, as the chips'
accelerators read them. The chip's eFuses hold the hash of the key as it lies in the block.
Source: ESP-IDF components/bootloader_support/include/esp_secure_boot.h and the ROM's secure_boot.h; the values of
the fields that only hardware reads follow espsecure 5.6, our peer.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar, TypeAlias

from bootwright.errors import FormatError, TrustError
from bootwright.formats.keys import KeyType, PublicKey
from bootwright.formats.record import U8, U16, U32, Record, Size

BLOCK_SIZE = 1216
CRC_COVERS = 1196  #: bytes of a block before its CRC
MAGIC = 0xE7  #: ETS_SECURE_BOOT_V2_SIGNATURE_MAGIC
KEY_TYPES = (KeyType.RSA_3072, KeyType.ECDSA_P192, KeyType.ECDSA_P256, KeyType.ECDSA_P384)


class BlockVersion(IntEnum):
    """The kind of key in a block."""

    RSA = 2
    ECDSA = 3


class Curve(IntEnum):
    """`curve_id` of an ECDSA key."""

    P192 = 1
    P256 = 2
    P384 = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaKey(Record):
    """An RSA-3072 key with what Montgomery multiplication needs; little-endian numbers."""

    n: Annotated[bytes, Size(384)]
    e: U32
    rinv: Annotated[bytes, Size(384)]  #: 2^6144 mod n
    mdash: U32  #: -n⁻¹ mod 2³²


@dataclass(frozen=True, slots=True, kw_only=True)
class EcdsaKey(Record):
    """A point on P-192 or P-256, x then y, little-endian; a short one leaves zeros behind."""

    curve_id: U8
    point: Annotated[bytes, Size(64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EcdsaP384Key(Record):
    """A point on P-384."""

    curve_id: U8 = Curve.P384
    point: Annotated[bytes, Size(96)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaSignatureBlock(Record):
    """A block with an RSA-3072 key and a PSS signature (MGF1-SHA256, a salt of 32 bytes)."""

    HASH: ClassVar[str] = "sha256"

    magic_byte: U8 = MAGIC
    version: U8 = BlockVersion.RSA
    reserved: U16 = 0
    image_digest: Annotated[bytes, Size(32)]
    key: RsaKey
    signature: Annotated[bytes, Size(384)]
    block_crc: U32 = 0
    padding: Annotated[bytes, Size(16)] = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcdsaSignatureBlock(Record):
    """A block with a P-192 or P-256 key over SHA-256; filled up to the size of the RSA block."""

    HASH: ClassVar[str] = "sha256"

    magic_byte: U8 = MAGIC
    version: U8 = BlockVersion.ECDSA
    sha_version: U8 = 0
    reserved: U8 = 0
    image_digest: Annotated[bytes, Size(32)]
    key: EcdsaKey
    signature: Annotated[bytes, Size(64)]  #: r then s, little-endian
    fill: Annotated[bytes, Size(1031)] = bytes(1031)
    block_crc: U32 = 0
    padding: Annotated[bytes, Size(16)] = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcdsaP384SignatureBlock(Record):
    """A block with a P-384 key over SHA-384."""

    HASH: ClassVar[str] = "sha384"

    magic_byte: U8 = MAGIC
    version: U8 = BlockVersion.ECDSA
    sha_version: U8 = 1
    reserved: U8 = 0
    image_digest: Annotated[bytes, Size(48)]
    key: EcdsaP384Key
    signature: Annotated[bytes, Size(96)]  #: r then s, little-endian
    fill: Annotated[bytes, Size(951)] = bytes(951)
    block_crc: U32 = 0
    padding: Annotated[bytes, Size(16)] = bytes(16)


SignatureBlock: TypeAlias = RsaSignatureBlock | EcdsaSignatureBlock | EcdsaP384SignatureBlock

_SHAPES: dict[tuple[int, int], type[SignatureBlock]] = {
    (BlockVersion.ECDSA, 0): EcdsaSignatureBlock,
    (BlockVersion.ECDSA, 1): EcdsaP384SignatureBlock,
}
#: key type → (curve, bytes of one coordinate)
_CURVES = {
    KeyType.ECDSA_P192: (Curve.P192, 24),
    KeyType.ECDSA_P256: (Curve.P256, 32),
    KeyType.ECDSA_P384: (Curve.P384, 48),
}
_KEY_TYPES_OF_CURVES: dict[int, tuple[KeyType, int]] = {
    curve: (key_type, width) for key_type, (curve, width) in _CURVES.items()
}


def parse_block(data: bytes, offset: int = 0, *, where: str = "signature block") -> SignatureBlock:
    """Read the block at `offset`; CRC, digest and signature are not judged, see `verify_v2`.

    Raises:
        FormatError: no magic byte, a version that no ROM knows, or the data end before the block does.
    """
    if offset + BLOCK_SIZE > len(data):
        raise FormatError(
            f"{where}: found {max(len(data) - offset, 0)} bytes at {offset:#x}, expected a block of {BLOCK_SIZE}",
            "the signature sector is cut off",
        )
    magic, version, sha_version = data[offset : offset + 3]
    if magic != MAGIC:
        raise FormatError(f"{where}: found magic byte {magic:#04x}, expected {MAGIC:#04x}", "sign the image")
    shape = RsaSignatureBlock if version == BlockVersion.RSA else _SHAPES.get((version, sha_version))
    if shape is None:
        raise FormatError(
            f"{where}: found version {version} with hash {sha_version}, expected RSA (2) or ECDSA (3) with hash 0 or 1",
            "the block is damaged, or made for a later chip",
        )
    return shape.parse(data, offset, where=where)


def block_crc(block: SignatureBlock) -> int:
    """The CRC that the block should carry."""
    return zlib.crc32(block.pack()[:CRC_COVERS])


def block_key_digest(block: SignatureBlock) -> bytes:
    """What the chip's eFuses hold of the block's key: the SHA-256 of the key as it lies in the block."""
    return hashlib.sha256(block.key.pack()).digest()


def block_public_key(block: SignatureBlock) -> PublicKey:
    """The key in the block.

    Raises:
        FormatError: the numbers are no key, or the curve is unknown.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        if isinstance(block, RsaSignatureBlock):
            numbers = rsa.RSAPublicNumbers(block.key.e, int.from_bytes(block.key.n, "little"))
            return PublicKey.from_der(numbers.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1))
        key_type, width = _curve_of(block)
        x, y = (int.from_bytes(half, "little") for half in _halves(block.key.point, width))
        curve = {24: ec.SECP192R1(), 32: ec.SECP256R1(), 48: ec.SECP384R1()}[width]
        native = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        return PublicKey(key_type, native.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except ValueError as error:
        raise FormatError(f"signature block: the key is none: {error}", "the block is damaged") from None


def block_signature(block: SignatureBlock) -> bytes:
    """The signature as everyone else writes it: big-endian for RSA, DER for ECDSA.

    Raises:
        FormatError: the curve is unknown.
    """
    if isinstance(block, RsaSignatureBlock):
        return block.signature[::-1]
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    _, width = _curve_of(block)
    r, s = (int.from_bytes(half, "little") for half in _halves(block.signature, width))
    return encode_dss_signature(r, s)


def key_digest_v2(public: PublicKey) -> bytes:
    """The 32 bytes that a digest eFuse holds for this key (the ESP32-C2 keeps the first 16 only).

    Raises:
        FormatError: a kind of key that Secure Boot V2 does not know.
    """
    return hashlib.sha256(key_record(public).pack()).digest()


def image_digest(content: bytes, hash_name: str) -> bytes:
    """The hash of the padded image: what the block holds, and what is signed (an external signer gets it)."""
    return hashlib.new(hash_name, content).digest()


def key_record(public: PublicKey) -> RsaKey | EcdsaKey | EcdsaP384Key:
    """The key as a block holds it.

    Raises:
        FormatError: a kind of key that Secure Boot V2 does not know, or an even RSA modulus.
    """
    if public.key_type not in KEY_TYPES:
        raise FormatError(
            f"Secure Boot V2: found key type {public.key_type}, expected one of {', '.join(KEY_TYPES)}",
            "make a key for the scheme that the chip has: `bootwright secure-boot keygen`",
        )
    numbers = public.native().public_numbers()
    if public.key_type is KeyType.RSA_3072:
        n = numbers.n
        if n % 2 == 0:
            raise FormatError("RSA key: found an even modulus, expected the product of two primes", "it is damaged")
        return RsaKey(
            n=n.to_bytes(384, "little"),
            e=numbers.e,
            rinv=pow(2, 2 * 3072, n).to_bytes(384, "little"),
            mdash=-pow(n, -1, 1 << 32) % (1 << 32),
        )
    curve, width = _CURVES[public.key_type]
    point = numbers.x.to_bytes(width, "little") + numbers.y.to_bytes(width, "little")
    if curve is Curve.P384:
        return EcdsaP384Key(point=point)
    return EcdsaKey(curve_id=curve, point=point.ljust(64, b"\0"))


def make_block(content: bytes, public: PublicKey, signature: bytes) -> SignatureBlock:
    """A block for a signature made elsewhere: big-endian for RSA, DER for ECDSA; it is verified first.

    Raises:
        FormatError: a kind of key that Secure Boot V2 does not know.
        TrustError: the signature is not this key's over this content.
    """
    key = key_record(public)
    digest = image_digest(content, public.key_type.hash_name)
    if not public.verify_digest(signature, digest):
        raise TrustError(
            f"the signature of {len(signature)} bytes is not this {public.key_type} key's over the image of "
            f"{len(content):#x} bytes",
            "sign the padded image, without its signature sector, with the private half of this key",
        )
    if isinstance(key, RsaKey):
        return _sealed(RsaSignatureBlock(image_digest=digest, key=key, signature=signature[::-1]))
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    width = _CURVES[public.key_type][1]
    pair = b"".join(number.to_bytes(width, "little") for number in decode_dss_signature(signature))
    if isinstance(key, EcdsaP384Key):
        return _sealed(EcdsaP384SignatureBlock(image_digest=digest, key=key, signature=pair))
    return _sealed(EcdsaSignatureBlock(image_digest=digest, key=key, signature=pair.ljust(64, b"\0")))


def _sealed(block: SignatureBlock) -> SignatureBlock:
    packed = block.pack()
    return type(block).parse(packed[:CRC_COVERS] + zlib.crc32(packed[:CRC_COVERS]).to_bytes(4, "little") + bytes(16))


def _curve_of(block: EcdsaSignatureBlock | EcdsaP384SignatureBlock) -> tuple[KeyType, int]:
    known = _KEY_TYPES_OF_CURVES.get(block.key.curve_id)
    if known is None or 2 * known[1] > len(block.key.point):
        raise FormatError(f"signature block: found curve {block.key.curve_id}, expected 1 to 3", "the block is damaged")
    return known


def _halves(pair: bytes, width: int) -> tuple[bytes, bytes]:
    return pair[:width], pair[width : 2 * width]
