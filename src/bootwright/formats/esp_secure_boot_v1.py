"""Secure Boot V1, the ESP32's first scheme: a keyed digest of the bootloader, and ECDSA signatures of applications.

The chip's engine reads the bootloader in blocks of 128 bytes behind a random IV, encrypts all of it with the key in
BLOCK2, and compares the SHA-512 of the outcome with the digest at flash address 0. What the bootloader then starts
carries 68 bytes of signature at its end. Sources: ESP-IDF docs/en/security/secure-boot-v1.rst and
components/bootloader_support/src/secure_boot_v1; espsecure 5.6 is the peer.
"""

from __future__ import annotations

import hashlib
import hmac
from array import array
from dataclasses import dataclass
from typing import Annotated

from bootwright.errors import FormatError, TrustError
from bootwright.finding import Finding, failed, passed
from bootwright.formats.esp_flash_encryption import esp32_key
from bootwright.formats.esp_image import HASH_SIZE, EspImage
from bootwright.formats.keys import KeyType, PrivateKey, PublicKey, Signer
from bootwright.formats.record import U32, Record, Size

IV_SIZE = 128
ENGINE_BLOCK = 128  #: the engine reads whole blocks of SHA-512
BOOTLOADER_OFFSET = 0x1000  #: the digest lies at 0, the bootloader here
KEY_SIZES = (24, 32)  #: of the key in BLOCK2; 24 under 3/4 coding


@dataclass(frozen=True, slots=True, kw_only=True)
class BootloaderDigest(Record):
    """What lies at flash address 0."""

    iv: Annotated[bytes, Size(IV_SIZE)]
    digest: Annotated[bytes, Size(64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureV1(Record):
    """`esp_secure_boot_sig_block_t`: the last 68 bytes of a signed application."""

    version: U32 = 0
    signature: Annotated[bytes, Size(64)]  #: r then s, big-endian


def digest_v1(bootloader: bytes, key: bytes, iv: bytes) -> BootloaderDigest:
    """The digest that the ESP32's engine computes over IV and bootloader with the key of BLOCK2.

    Raises:
        FormatError: no ESP image, or key or IV of another length.
    """
    return _digest(as_the_engine_reads(bootloader), key, iv)


def _digest(blocks: bytes, key: bytes, iv: bytes) -> BootloaderDigest:
    if len(iv) != IV_SIZE:
        raise FormatError(f"IV: found {len(iv)} bytes, expected {IV_SIZE}", "leave the IV out, a random one is made")
    return BootloaderDigest(iv=iv, digest=engine_digest(iv + blocks, key))


def engine_digest(plaintext: bytes, key: bytes) -> bytes:
    """The 64 bytes that the engine makes of whole blocks of 16.

    Raises:
        FormatError: the key is neither 24 nor 32 bytes.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    # One key for all blocks, each to be reversed: reversing the whole reverses every block.
    cipher = Cipher(algorithms.AES(_engine_key(key)), modes.ECB()).encryptor()  # noqa: S305 - the engine's own mode
    ciphertext = _swap_words(cipher.update(plaintext[::-1])[::-1])
    return _swap_words(hashlib.sha512(ciphertext).digest())


def as_the_engine_reads(bootloader: bytes) -> bytes:
    """The bootloader filled with 0xFF to whole blocks of 128 bytes.

    The engine does not look for an appended hash: where the last block holds nothing but bytes of it, the engine
    stops before that block.

    Raises:
        FormatError: no ESP image.
    """
    image = EspImage.parse(bootloader, where="bootloader")
    return with_hash_cut_off(bootloader) if image.hash is not None else engine_blocks(bootloader)


def with_hash_cut_off(bootloader: bytes) -> bytes:
    """What the engine reads of a bootloader that ends in a hash."""
    tail = len(bootloader) % ENGINE_BLOCK
    return engine_blocks(bootloader[: len(bootloader) - tail] if tail <= HASH_SIZE else bootloader)


def engine_blocks(bootloader: bytes) -> bytes:
    """The bytes filled with 0xFF, as erased flash is, to whole blocks of 128."""
    return bootloader + b"\xff" * (-len(bootloader) % ENGINE_BLOCK)


def bootloader_with_digest(bootloader: bytes, key: bytes, iv: bytes) -> bytes:
    """A file for flash address 0: the digest, fill, and at 0x1000 the bootloader.

    Raises:
        FormatError: as `digest_v1`.
    """
    digest = digest_v1(bootloader, key, iv).pack()
    return digest.ljust(BOOTLOADER_OFFSET, b"\xff") + as_the_engine_reads(bootloader)


def verify_digest_v1(flash: bytes, key: bytes, *, subject: str = "bootloader digest") -> Finding:
    """Whether a (plaintext) flash that starts with a digest holds the bootloader that it was made for.

    Raises:
        FormatError: no digest, no ESP image at 0x1000, or a key of another length.
    """
    stored = BootloaderDigest.parse(flash, where=subject)
    bootloader = flash[BOOTLOADER_OFFSET:] + b"\xff" * HASH_SIZE  # the engine needs no whole hash, the parser does
    image = EspImage.parse(bootloader, where=f"{subject}: bootloader at {BOOTLOADER_OFFSET:#x}")
    end = image.length - len(image.hash or b"")
    computed = _digest(bootloader[:end] + _rest_of_block(bootloader[end:], end), key, stored.iv).digest
    if not hmac.compare_digest(stored.digest, computed):
        why = f"the digest at 0x0 begins with {stored.digest[:4].hex()}, bootloader and key give {computed[:4].hex()}"
        return failed(
            "secure_boot.v1.digest.mismatch", subject, why, "make the digest again, of this bootloader and with its key"
        )
    return passed("secure_boot.v1.digest", subject, "the digest at 0x0 is that of bootloader and key")


def sign_v1(data: bytes, signer: Signer) -> bytes:
    """The data with an ECDSA signature behind; a key in this process signs deterministically (RFC 6979).

    Raises:
        FormatError: not a P-256 key.
    """
    _require_p256(signer.public)
    digest = hashlib.sha256(data).digest()
    der = _deterministic(signer, digest) if isinstance(signer, PrivateKey) else signer.sign(data, digest=digest)
    return attach_v1(data, signer.public, der)


def attach_v1(data: bytes, public: PublicKey, der_signature: bytes) -> bytes:
    """The data with a signature made elsewhere, given as DER, behind; it is verified first.

    Raises:
        FormatError: not a P-256 key.
        TrustError: the signature is not this key's over the data.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    _require_p256(public)
    if not public.verify(der_signature, data):
        raise TrustError(
            f"the signature is not this key's over the {len(data):#x} bytes of data",
            "sign the file as it is, before flash encryption, with the private half of this key",
        )
    pair = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(der_signature))
    return data + SignatureV1(signature=pair).pack()


def verify_v1(signed: bytes, public: PublicKey, *, subject: str = "signed data") -> tuple[Finding, ...]:
    """What a bootloader that was built with this key would say.

    Raises:
        FormatError: not a P-256 key.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    _require_p256(public)
    if len(signed) <= SignatureV1.size():
        why = f"{len(signed)} bytes hold no data and signature, expected more than {SignatureV1.size()}"
        return (failed("secure_boot.v1.signature.missing", subject, why, "sign the data"),)
    at = len(signed) - SignatureV1.size()
    block = SignatureV1.parse(signed, at)
    if block.version != 0:
        why = f"the last 68 bytes begin with version {block.version:#010x}, expected 0"
        hint = "sign the plaintext, then encrypt; a signature behind ciphertext decrypts to garbage"
        return (failed("secure_boot.v1.signature.version", subject, why, hint),)
    r, s = (int.from_bytes(block.signature[i : i + 32], "big") for i in (0, 32))
    if not public.verify(encode_dss_signature(r, s), signed[:at]):
        why = f"the signature is not the key's over the {at:#x} bytes before it"
        return (failed("secure_boot.v1.signature.invalid", subject, why, "sign again with the right key"),)
    return (passed("secure_boot.v1.signature", subject, f"the signature is the key's over {at:#x} bytes"),)


def raw_public_key(public: PublicKey) -> bytes:
    """The 64 bytes, x then y, that an ESP-IDF bootloader is built with.

    Raises:
        FormatError: not a P-256 key.
    """
    _require_p256(public)
    numbers = public.native().public_numbers()
    raw: bytes = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    return raw


def public_key_from_raw(raw: bytes) -> PublicKey:
    """The key of 64 raw bytes.

    Raises:
        FormatError: another length, or no point of P-256.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        native = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    except ValueError:
        raise FormatError(
            f"public key: found {len(raw)} raw bytes that are no point of P-256, expected 64 bytes of x and y",
            "extract it with `secure-boot public-key`",
        ) from None
    return PublicKey(KeyType.ECDSA_P256, native.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def reflashable_key(signing_key: PrivateKey) -> bytes:
    """The key for BLOCK2 that a reflashable bootloader's digest takes: the SHA-256 of the signing key's number.

    Raises:
        FormatError: not a P-256 key.
    """
    _require_p256(signing_key.public)
    number = signing_key.native().private_numbers().private_value
    return hashlib.sha256(number.to_bytes(32, "big")).digest()


def _rest_of_block(following: bytes, end: int) -> bytes:
    missing = -end % ENGINE_BLOCK
    return following[:missing].ljust(missing, b"\xff")


def _engine_key(key: bytes) -> bytes:
    if len(key) not in KEY_SIZES:
        raise FormatError(
            f"secure-boot key: found {len(key)} bytes, expected 24 or 32", "give the raw key that BLOCK2 holds"
        )
    return esp32_key(key)


def _swap_words(data: bytes) -> bytes:
    words = array("I", data)
    words.byteswap()
    return words.tobytes()


def _deterministic(key: PrivateKey, digest: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    der: bytes = key.native().sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True))
    return der


def _require_p256(public: PublicKey) -> None:
    if public.key_type is not KeyType.ECDSA_P256:
        raise FormatError(
            f"Secure Boot V1: found key type {public.key_type}, expected ecdsa-p256", "V1 knows no other kind of key"
        )
