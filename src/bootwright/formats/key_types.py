"""The kinds of key, and the schemes that they sign and encrypt with."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from bootwright.errors import FormatError

PSS_SALT_SIZE = 32  # MCUboot boot/bootutil/src/image_rsa.c: the salt is as long as the hash


class KeyType(StrEnum):
    """The kinds of key that MCUboot images and Secure Boot signature blocks know, by imgtool's names."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    ECDSA_P192 = "ecdsa-p192"
    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    ED25519 = "ed25519"
    X25519 = "x25519"

    @property
    def hash_name(self) -> str:
        """The hash that the signature scheme takes of a message, by hashlib's name."""
        return "sha384" if self is KeyType.ECDSA_P384 else "sha256"

    @property
    def is_rsa(self) -> bool:
        """RSA: RSASSA-PSS, MGF1-SHA256, a salt of 32 bytes; the public key is PKCS#1."""
        return self in RSA_BITS

    @property
    def is_ecdsa(self) -> bool:
        """ECDSA: signatures are DER."""
        return self in CURVES


RSA_BITS = {KeyType.RSA_2048: 2048, KeyType.RSA_3072: 3072}
CURVES = {KeyType.ECDSA_P192: "secp192r1", KeyType.ECDSA_P256: "secp256r1", KeyType.ECDSA_P384: "secp384r1"}
_CURVE_TYPES = {curve: key_type for key_type, curve in CURVES.items()}
_RSA_TYPES = {bits: key_type for key_type, bits in RSA_BITS.items()}


def type_of(native: Any, where: str) -> KeyType:
    """The kind of a public key that `cryptography` holds.

    Raises:
        FormatError: one that MCUboot does not know.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

    found: KeyType | None = None
    kind = type(native).__name__
    if isinstance(native, rsa.RSAPublicKey):
        found, kind = _RSA_TYPES.get(native.key_size), f"a {native.key_size}-bit RSA key"
    elif isinstance(native, ec.EllipticCurvePublicKey):
        found, kind = _CURVE_TYPES.get(native.curve.name), f"an EC key on {native.curve.name}"
    elif isinstance(native, ed25519.Ed25519PublicKey):
        found = KeyType.ED25519
    elif isinstance(native, x25519.X25519PublicKey):
        found = KeyType.X25519
    if found is None:
        raise FormatError(f"{where}: found {kind}, expected one of {', '.join(KeyType)}", "generate a key of those")
    return found


def signature_scheme(key_type: KeyType) -> tuple[Any, ...]:
    """The arguments of `cryptography`'s sign and verify for a message that is hashed already."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    hashed = Prehashed(hashes.SHA384() if key_type.hash_name == "sha384" else hashes.SHA256())
    if key_type.is_rsa:
        from cryptography.hazmat.primitives.asymmetric import padding

        return padding.PSS(padding.MGF1(hashes.SHA256()), PSS_SALT_SIZE), hashed
    from cryptography.hazmat.primitives.asymmetric import ec

    return (ec.ECDSA(hashed),)


def encryption_scheme() -> Any:
    """RSAES-OAEP with SHA-256 and no label."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def accepts(verify: Any, *arguments: Any) -> bool:
    """Whether `cryptography`'s `verify` takes these arguments."""
    from cryptography.exceptions import InvalidSignature

    try:
        verify(*arguments)
    except InvalidSignature:
        return False
    return True
