"""Keys and signatures: what MCUboot and the Secure Boot ROM sign and verify with.

A `PublicKey` is a value: a type and the DER bytes that MCUboot compiles in. A `Signer` signs with a private key
wherever that key lives; `PrivateKey` is the one that lives in this process. `cryptography` is imported only when
a key is really used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from bootwright.errors import FormatError, TrustError
from bootwright.formats.key_types import CURVES, RSA_BITS, accepts, encryption_scheme, signature_scheme, type_of
from bootwright.formats.key_types import KeyType as KeyType

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


class PasswordError(TrustError):
    """The key file is encrypted, and its password is missing or wrong."""


class NeedsMessageError(FormatError):
    """The signer takes whole messages only, and was given a hash."""


class Signer(Protocol):
    """Whatever signs: a key in memory, in a token, behind a command. The key itself is never asked for."""

    @property
    def key_type(self) -> KeyType:
        """The kind of key, which decides the signature scheme."""
        ...

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, message: bytes | memoryview, *, digest: bytes | None = None) -> bytes:
        """Sign a message; `digest` is its `key_type.hash_name` hash where the caller has it already.

        RSA gives PSS with a salt of 32 bytes, ECDSA gives DER, Ed25519 signs the message itself.
        """
        ...

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign the hash of a message (RSA, ECDSA); Ed25519 signs the digest as if it were the message.

        Raises:
            NeedsMessageError: this signer must be given the message with `sign`.
        """
        ...


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key as a value; two are equal when their bytes are."""

    key_type: KeyType
    der: bytes = field(repr=False)  #: what MCUboot compiles in: PKCS#1 for RSA, SubjectPublicKeyInfo for all others

    @classmethod
    def from_der(cls, der: bytes, *, where: str = "") -> PublicKey:
        """Read PKCS#1 or SubjectPublicKeyInfo.

        Raises:
            FormatError: no public key, or one of a kind that MCUboot does not know.
        """
        return load_public_key(der, where=where)

    @property
    def pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM, what `openssl` and imgtool read."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        pem: bytes = self.native().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def key_hash(self, hash_name: str = "sha256") -> bytes:
        """The hash of `der`, what the KEYHASH TLV holds."""
        return hashlib.new(hash_name, self.der).digest()

    def native(self) -> Any:
        """The key as `cryptography` holds it."""
        from bootwright.formats.key_der import native_public

        return native_public(self.key_type, self.der)

    def encrypt_oaep(self, plaintext: bytes) -> bytes:
        """RSAES-OAEP with SHA-256 and no label."""
        if not self.key_type.is_rsa:
            raise FormatError(f"found a {self.key_type} key, expected an RSA key to encrypt with OAEP")
        ciphertext: bytes = self.native().encrypt(plaintext, encryption_scheme())
        return ciphertext

    def verify(self, signature: bytes, message: bytes | memoryview) -> bool:
        """Say whether `signature` is this key's over `message`."""
        if self.key_type is KeyType.ED25519:
            return accepts(self.native().verify, signature, message)
        return self.verify_digest(signature, hashlib.new(self.key_type.hash_name, message).digest())

    def verify_digest(self, signature: bytes, digest: bytes) -> bool:
        """Say whether `signature` is this key's over the message with this hash (Ed25519: over `digest` itself)."""
        if self.key_type is KeyType.X25519:
            return False
        if self.key_type is KeyType.ED25519:
            return accepts(self.native().verify, signature, digest)
        if len(digest) != hashlib.new(self.key_type.hash_name).digest_size:
            return False
        return accepts(self.native().verify, signature, digest, *signature_scheme(self.key_type))


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key in this process. Its repr shows the type only."""

    key_type: KeyType
    public: PublicKey
    _native: Any = field(repr=False, compare=False)

    def sign(self, message: bytes | memoryview, *, digest: bytes | None = None) -> bytes:
        """Sign a message, see `Signer.sign`."""
        if self.key_type is KeyType.ED25519:
            return self._signature(message)
        return self.sign_digest(digest or hashlib.new(self.key_type.hash_name, message).digest())

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign the hash of a message, see `Signer.sign_digest`."""
        if self.key_type is KeyType.ED25519:
            return self._signature(digest)
        signature = self._signature(digest, *signature_scheme(self.key_type))
        if self.key_type.is_rsa and not self.public.verify_digest(signature, digest):
            raise TrustError(  # loading skips the slow consistency checks; this is what makes that safe
                f"the {self.key_type} private key is inconsistent: its own public half refuses its signature",
                "the key file is damaged; restore it from a backup",
            )
        return signature

    def _signature(self, *arguments: Any) -> bytes:
        if self.key_type is KeyType.X25519:
            raise FormatError(
                "an x25519 key cannot sign: found a key for encryption, expected a signing key",
                "sign with an rsa-2048, rsa-3072, ecdsa-p256, ecdsa-p384 or ed25519 key",
            )
        signature: bytes = self._native.sign(*arguments)
        return signature

    def exchange(self, peer: bytes) -> bytes:
        """The shared secret with the peer's public point: raw for X25519, uncompressed X9.62 for ECDSA keys.

        Raises:
            FormatError: the bytes are no point that this key can meet.
        """
        from cryptography.hazmat.primitives.asymmetric import ec, x25519

        try:
            if self.key_type is KeyType.X25519:
                return bytes(self._native.exchange(x25519.X25519PublicKey.from_public_bytes(peer)))
            if self.key_type.is_ecdsa:
                point = ec.EllipticCurvePublicKey.from_encoded_point(self._native.curve, peer)
                return bytes(self._native.exchange(ec.ECDH(), point))
        except ValueError as error:
            raise FormatError(f"the peer's {len(peer)} bytes are no {self.key_type} public key: {error}") from None
        raise FormatError(f"a {self.key_type} key agrees on no secret", "use an ecdsa-p256 or x25519 key")

    def decrypt_oaep(self, ciphertext: bytes) -> bytes:
        """RSAES-OAEP with SHA-256 and no label.

        Raises:
            TrustError: the ciphertext was not made for this key.
        """
        if not self.key_type.is_rsa:
            raise FormatError(f"found a {self.key_type} key, expected an RSA key to decrypt with OAEP")
        try:
            plaintext: bytes = self._native.decrypt(ciphertext, encryption_scheme())
        except ValueError:
            raise TrustError(
                "the image key was not encrypted for this RSA key", "use the private half of the key given at signing"
            ) from None
        return plaintext

    def pem(self, password: bytes | None = None) -> bytes:
        """PKCS#8 in PEM, encrypted when there is a password."""
        from cryptography.hazmat.primitives import serialization as s

        seal = s.NoEncryption() if password is None else s.BestAvailableEncryption(password)
        pem: bytes = self._native.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, seal)
        return pem

    def native(self) -> Any:
        """The key as `cryptography` holds it; for the few formats that need its numbers."""
        return self._native


def generate_key(key_type: KeyType) -> PrivateKey:
    """Make a new key from the system's randomness."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

    if key_type.is_rsa:
        return _private(rsa.generate_private_key(65537, RSA_BITS[key_type]))
    if key_type.is_ecdsa:
        curves: dict[str, ec.EllipticCurve] = {
            "secp192r1": ec.SECP192R1(),
            "secp256r1": ec.SECP256R1(),
            "secp384r1": ec.SECP384R1(),
        }
        return _private(ec.generate_private_key(curves[CURVES[key_type]]))
    if key_type is KeyType.ED25519:
        return _private(ed25519.Ed25519PrivateKey.generate())
    return _private(x25519.X25519PrivateKey.generate())


def load_private_key(pem: bytes, *, password: bytes | None = None, where: str = "") -> PrivateKey:
    """Read a private key, PEM or DER: PKCS#8, SEC1 or PKCS#1, encrypted or not.

    RSA's consistency checks, which take longer than a signature, are skipped on loading; `PrivateKey.sign_digest`
    verifies what it made instead.

    Raises:
        PasswordError: the key is encrypted and the password is missing or wrong.
        FormatError: no private key, or one of a kind that MCUboot does not know.
    """
    from bootwright.formats.key_der import plain_private

    if (plain := plain_private(pem)) is not None:
        key_type, der, native = plain
        return PrivateKey(key_type, PublicKey(key_type, der), native)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    load = load_pem_private_key if _is_pem(pem) else load_der_private_key
    at = where or "the key"
    try:
        try:
            native = load(pem, password, unsafe_skip_rsa_key_validation=True)
        except TypeError:
            if password is None:
                raise PasswordError(
                    f"{at}: found an encrypted private key, and no password for it",
                    "set BOOTWRIGHT_KEY_PASSWORD, or run this on a terminal, which asks for it",
                ) from None
            native = load(pem, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, UnsupportedAlgorithm) as error:
        if password is not None and _says_password(error):
            raise PasswordError(f"{at}: the password does not open the private key", "try it again") from None
        raise FormatError(f"{at}: found {_what_is(pem)}, expected a private key in PEM or DER", _hint(pem)) from None
    return _private(native, at)


def load_public_key(pem_or_der: bytes, *, where: str = "") -> PublicKey:
    """Read a public key, PEM or DER; an unencrypted private key will do, its public half is taken.

    Raises:
        FormatError: no key, or one of a kind that MCUboot does not know.
        PasswordError: an encrypted private key.
    """
    from bootwright.formats.key_der import plain_public

    if (plain := plain_public(pem_or_der)) is not None:
        return PublicKey(*plain)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    load = load_pem_public_key if _is_pem(pem_or_der) else load_der_public_key
    at = where or "the key"
    try:
        return _public(load(pem_or_der), at)
    except (ValueError, UnsupportedAlgorithm):
        pass
    try:
        return load_private_key(pem_or_der, where=at).public
    except FormatError as error:
        if type(error) is FormatError and "expected a private key" in error.message:
            raise FormatError(
                f"{at}: found {_what_is(pem_or_der)}, expected a public key in PEM or DER", error.hint
            ) from None
        raise


def _private(native: PrivateKeyTypes, where: str = "the key") -> PrivateKey:
    public = _public(native.public_key(), where)
    return PrivateKey(public.key_type, public, native)


def _public(native: Any, where: str) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key_type = type_of(native, where)
    shape = PublicFormat.PKCS1 if key_type.is_rsa else PublicFormat.SubjectPublicKeyInfo
    return PublicKey(key_type, native.public_bytes(Encoding.DER, shape))


def _is_pem(data: bytes) -> bool:
    return b"-----BEGIN " in data


def _says_password(error: Exception) -> bool:
    text = str(error).lower()
    return "password" in text or "decrypt" in text


def _what_is(data: bytes) -> str:
    if not data:
        return "an empty file"
    if not _is_pem(data):
        return f"{len(data)} bytes of another format"
    label = data.split(b"-----BEGIN ", 1)[1].split(b"-----", 1)[0].decode("ascii", "replace").strip()
    return f"PEM of a {label[:40].lower()}"


def _hint(data: bytes) -> str:
    if _is_pem(data) and b"PUBLIC KEY" in data:
        return "this is the public half; signing needs the private key"
    return "check the path; `bootwright key generate` makes a new key"
