"""Encrypted MCUboot images: AES-CTR over the payload, and the image key wrapped for the bootloader in a TLV.

MCUboot boot/bootutil/src/encrypted.c, docs/encrypted_images.md. Hash and signature cover the plaintext, so an image
is decrypted before it is verified. The Espressif port is built without all this and refuses such images.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bootwright.errors import FormatError, TrustError
from bootwright.formats.keys import KeyType, PrivateKey, PublicKey, generate_key
from bootwright.formats.mcuboot_image import ENCRYPTED, Image, ImageFlags, Tlv, TlvType
from bootwright.formats.mcuboot_trailer import align_up

ECIES_INFO = b"MCUBoot_ECIES_v1"  # encrypted.c; 16 bytes, no NUL
BLOCK_SIZE = 16
#: wrapped-key TLVs, for an image to hold one of
KEY_TLVS = (TlvType.ENCRSA2048, TlvType.ENCKW, TlvType.ENCEC256, TlvType.ENCX25519, TlvType.ENCX25519_SHA512)
_POINT_SIZES = {TlvType.ENCEC256: 65, TlvType.ENCX25519: 32, TlvType.ENCX25519_SHA512: 32}
_HMACS = {TlvType.ENCEC256: "sha256", TlvType.ENCX25519: "sha256", TlvType.ENCX25519_SHA512: "sha512"}


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """A symmetric key of 16 or 32 bytes that the bootloader holds; wraps an image key of the same length."""

    key: bytes = field(repr=False)

    @classmethod
    def load(cls, data: bytes, *, where: str = "key") -> WrappingKey:
        """Read raw bytes, or base64 of them as MCUboot's own `enc-aes128kw.b64`.

        Raises:
            FormatError: neither 16 nor 32 bytes.
        """
        if len(data) in (16, 32):
            return cls(data)
        try:
            raw = base64.b64decode(data.strip(), validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) not in (16, 32):
            raise FormatError(
                f"{where}: found {len(data)} bytes, expected a wrapping key of 16 or 32, raw or in base64",
                "for example: head -c 16 /dev/urandom | base64 > kw.b64",
            )
        return cls(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """For whom an image is encrypted and with what; `new_encryption` draws the secrets."""

    recipient: PublicKey | WrappingKey
    key: bytes = field(repr=False)  #: the image key, 16 or 32 bytes
    ephemeral: PrivateKey | None = None  #: the sender's half of ECIES
    hmac_name: str = "sha256"  #: HMAC and HKDF of ECIES; sha512 goes with X25519 only
    clear: bool = False  #: leave the payload plain, for an image that is put into the primary slot by wire
    keyless: bool = False  #: put the image key nowhere, as imgtool does with kinds of key that cannot encrypt

    @property
    def flag(self) -> ImageFlags:
        """What the header says of it."""
        return ImageFlags.ENCRYPTED_AES128 if len(self.key) == 16 else ImageFlags.ENCRYPTED_AES256


def new_encryption(
    recipient: PublicKey | WrappingKey,
    *,
    bits: int = 128,
    hmac_name: str = "sha256",
    clear: bool = False,
    random: Callable[[int], bytes],
) -> Encryption:
    """Draw an image key and, for ECIES, a key pair.

    Raises:
        FormatError: the recipient's key wraps no image key of that kind.
    """
    if bits not in (128, 256):
        raise FormatError(f"image key: found {bits} bits, expected 128 or 256")
    ephemeral = None
    if isinstance(recipient, WrappingKey):
        if len(recipient.key) * 8 != bits:
            raise FormatError(
                f"wrapping key: found {len(recipient.key) * 8} bits, expected {bits} as for the image key",
                "MCUboot takes wrapping key and image key of the same length",
            )
    elif recipient.key_type in (KeyType.ECDSA_P256, KeyType.X25519):
        ephemeral = generate_key(recipient.key_type)
    elif not recipient.key_type.is_rsa:
        raise FormatError(
            f"encryption key: found {recipient.key_type}, expected rsa-2048, ecdsa-p256 or x25519",
            "MCUboot decrypts with those only",
        )
    if hmac_name == "sha512" and (ephemeral is None or ephemeral.key_type is not KeyType.X25519):
        raise FormatError("HMAC-SHA512: found a key of another kind, expected x25519", "take HMAC-SHA256")
    return Encryption(recipient=recipient, key=random(bits // 8), ephemeral=ephemeral, hmac_name=hmac_name, clear=clear)


def tlv_size(encryption: Encryption) -> int:
    """Bytes of the TLV's data, known before it is made."""
    recipient, size = encryption.recipient, len(encryption.key)
    if encryption.keyless:
        return 0
    if isinstance(recipient, WrappingKey):
        return size + 8
    if recipient.key_type.is_rsa:
        return 256 if recipient.key_type is KeyType.RSA_2048 else 384
    type_ = _ecies_type(recipient.key_type, encryption.hmac_name)
    return _POINT_SIZES[type_] + (32 if encryption.hmac_name == "sha256" else 64) + size


def wrap(encryption: Encryption) -> Tlv:
    """The TLV that carries the image key."""
    recipient, key = encryption.recipient, encryption.key
    if isinstance(recipient, WrappingKey):
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        return Tlv(TlvType.ENCKW, aes_key_wrap(recipient.key, key), byte_first=True)
    if recipient.key_type.is_rsa:
        return Tlv(TlvType.ENCRSA2048, recipient.encrypt_oaep(key), byte_first=True)
    if encryption.ephemeral is None:
        raise FormatError("ECIES: found no ephemeral key, expected one", "make it with new_encryption")
    type_ = _ecies_type(recipient.key_type, encryption.hmac_name)
    point_size = _POINT_SIZES[type_]
    shared = encryption.ephemeral.exchange(recipient.der[-point_size:])
    cipher_key, mac_key = _derive(shared, len(key), encryption.hmac_name)
    sealed = apply_keystream(cipher_key, key)
    tag = hmac.digest(mac_key, sealed, encryption.hmac_name)
    return Tlv(type_, encryption.ephemeral.public.der[-point_size:] + tag + sealed, byte_first=True)


def unwrap(tlv: Tlv, key: PrivateKey | WrappingKey) -> bytes:
    """The image key out of its TLV.

    Raises:
        TrustError: it was wrapped for another key.
        FormatError: TLV and key are of different kinds, or the TLV's length is wrong.
    """
    if tlv.type == TlvType.ENCKW:
        return _unwrap_kw(tlv.data, key)
    if isinstance(key, WrappingKey) or tlv.type not in KEY_TLVS:
        raise FormatError(f"image key: found a {tlv.name} TLV, expected ENCKW for a wrapping key")
    if tlv.type == TlvType.ENCRSA2048:
        return key.decrypt_oaep(tlv.data)
    type_ = TlvType(tlv.type)
    if key.key_type not in (KeyType.ECDSA_P256, KeyType.X25519) or _ecies_type(key.key_type, _HMACS[type_]) != type_:
        raise FormatError(f"image key: found a {tlv.name} TLV, which a {key.key_type} key cannot open")
    point_size, hash_name = _POINT_SIZES[type_], _HMACS[type_]
    tag_size = 32 if hash_name == "sha256" else 64
    if len(tlv.data) - point_size - tag_size not in (16, 32):
        raise FormatError(
            f"image key: found a {tlv.name} TLV of {len(tlv.data)} bytes, "
            f"expected {point_size + tag_size + 16} or {point_size + tag_size + 32}"
        )
    point, tag, sealed = (
        tlv.data[:point_size],
        tlv.data[point_size : point_size + tag_size],
        tlv.data[point_size + tag_size :],
    )
    cipher_key, mac_key = _derive(key.exchange(point), len(sealed), hash_name)
    if not hmac.compare_digest(tag, hmac.digest(mac_key, sealed, hash_name)):
        raise TrustError(
            f"the image key was not encrypted for this {key.key_type} key: its HMAC differs",
            "use the private half of the key given at signing",
        )
    return apply_keystream(cipher_key, sealed)


def apply_keystream(key: bytes, data: bytes | memoryview) -> bytes:
    """AES-CTR with a counter that starts at zero: encrypts and decrypts alike."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CTR

    return Cipher(AES(key), CTR(bytes(BLOCK_SIZE))).encryptor().update(data)


def filling(header_size: int, payload_size: int) -> bytes:
    """The zeros that bring header and payload to whole cipher blocks."""
    return bytes(align_up(header_size + payload_size, BLOCK_SIZE) - header_size - payload_size)


def decrypt_image(image: Image, key: PrivateKey | WrappingKey) -> Image:
    """The same image with its payload in plain, as `--clear` makes it: hash and signature hold for this one.

    Raises:
        FormatError: it is not encrypted, or carries no key.
        TrustError: it was encrypted for another key.
    """
    return replace(image, payload=apply_keystream(image_key(image, key), image.payload))


def image_key(image: Image, key: PrivateKey | WrappingKey) -> bytes:
    """The key that an image's payload is encrypted with.

    Raises:
        FormatError: it is not encrypted, or carries no key.
        TrustError: it was encrypted for another key.
    """
    if not ImageFlags(image.header.flags) & ENCRYPTED:
        raise FormatError("image: found no ENCRYPTED flag, expected an encrypted image", "it is plain already")
    wrapped = [tlv for tlv in image.unprotected if tlv.type in KEY_TLVS]
    if not wrapped:
        raise FormatError("image: found no encrypted key among its TLVs, expected one of ENCRSA2048, ENCKW, ENC…")
    trouble: FormatError | TrustError | None = None
    for tlv in wrapped:
        try:
            return unwrap(tlv, key)
        except (FormatError, TrustError) as error:
            trouble = error
    assert trouble is not None
    raise trouble


def _unwrap_kw(data: bytes, key: PrivateKey | WrappingKey) -> bytes:
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

    if not isinstance(key, WrappingKey):
        raise FormatError(f"image key: found an ENCKW TLV, which a {key.key_type} key cannot open")
    try:
        return aes_key_unwrap(key.key, data)
    except (InvalidUnwrap, ValueError):
        raise TrustError("the image key was not wrapped with this key", "use the key given at signing") from None


def _ecies_type(key_type: KeyType, hash_name: str) -> TlvType:
    if key_type is KeyType.ECDSA_P256:
        return TlvType.ENCEC256
    return TlvType.ENCX25519 if hash_name == "sha256" else TlvType.ENCX25519_SHA512


def _derive(shared: bytes, key_size: int, hash_name: str) -> tuple[bytes, bytes]:
    """HKDF with an empty salt: the key that seals the image key, then the HMAC's."""
    size = 32 if hash_name == "sha256" else 64
    seed = hmac.digest(bytes(size), shared, hash_name)
    stream, block = b"", b""
    while len(stream) < key_size + size:
        block = hmac.digest(seed, block + ECIES_INFO + bytes([len(stream) // size + 1]), hash_name)
        stream += block
    return stream[:key_size], stream[key_size : key_size + size]
