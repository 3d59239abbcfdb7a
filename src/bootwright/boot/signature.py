"""Verifying an image signature the way each crypto library of the port does.

Sources: boot/bootutil/src/image_{rsa,ecdsa,ed25519}.c, include/bootutil/crypto/ecdsa.h (MCUboot 2d4bacc3).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from bootwright.boot.config import Signature
from bootwright.errors import FormatError
from bootwright.formats.mcuboot_ecdsa import strict_signature


@lru_cache(maxsize=256)
def verify(kind: Signature, key: bytes, digest: bytes, signature: bytes) -> bool:
    """bootutil_verify_sig: whether `signature` over the image digest was made by the owner of `key` (DER)."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        _VERIFIERS[kind](key, digest, signature)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, FormatError):
        return False
    return True


def _rsa(key: bytes, digest: bytes, signature: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    public = load_der_public_key(key)
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("no RSA key")
    pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)
    public.verify(signature, digest, pss, utils.Prehashed(SHA256()))


def _ecdsa_p256(key: bytes, digest: bytes, signature: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    public = load_der_public_key(key)
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise TypeError("no P-256 key")
    public.verify(strict_signature(signature), digest, ec.ECDSA(utils.Prehashed(SHA256())))


def _ed25519(key: bytes, digest: bytes, signature: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    public = load_der_public_key(key)
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise TypeError("no Ed25519 key")
    public.verify(signature, digest)


_VERIFIERS: dict[Signature, Callable[[bytes, bytes, bytes], None]] = {
    Signature.RSA_2048: _rsa,
    Signature.RSA_3072: _rsa,
    Signature.ECDSA_P256: _ecdsa_p256,
    Signature.ED25519: _ed25519,
}
