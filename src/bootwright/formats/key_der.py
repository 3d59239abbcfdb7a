"""Keys in their commonest forms, read without `cryptography`'s general reader.

Importing that reader takes a fifth of a whole signing process, for it brings SSH's key formats along. What is not read
here, because it is rarer, encrypted or damaged, is left to it: these functions answer None and refuse nothing.

Forms: PKCS#8 (RFC 5208) and SubjectPublicKeyInfo (RFC 5280) of RSA (RFC 8017), EC with a named curve and an
uncompressed point (RFC 5915, RFC 5480), Ed25519 and X25519 (RFC 8410).
"""

from __future__ import annotations

from binascii import Error as BinasciiError
from binascii import a2b_base64
from typing import Any

from bootwright.formats.key_types import CURVES, RSA_BITS, KeyType

_INTEGER, _BITS, _OCTETS, _OID, _SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x30
_PARAMETERS, _PUBLIC_KEY = 0xA0, 0xA1  # the tags of an EC private key's optional elements
#: the AlgorithmIdentifier of each kind of key, in the one encoding that DER allows
_ALGORITHMS = {
    bytes.fromhex("300506032b6570"): KeyType.ED25519,
    bytes.fromhex("300506032b656e"): KeyType.X25519,
    bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"): KeyType.ECDSA_P256,
    bytes.fromhex("301006072a8648ce3d020106052b81040022"): KeyType.ECDSA_P384,
}
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")
_RSA_TYPES = {bits: key_type for key_type, bits in RSA_BITS.items()}
_POINT_SIZES = {KeyType.ECDSA_P256: 65, KeyType.ECDSA_P384: 97}


class _OddError(Exception):
    """This is not one of the forms that are read here."""


def plain_private(data: bytes) -> tuple[KeyType, bytes, Any] | None:
    """Kind, public DER as MCUboot compiles it in, and native key of an unencrypted PKCS#8 key."""
    try:
        version, algorithm, wrapped = _elements(_element(_decoded(data, b"PRIVATE KEY"), _SEQUENCE), 3)
        if version != b"\x02\x01\x00":
            return None
        inner = _content(wrapped, _OCTETS)
        if algorithm == _RSA:
            return _rsa_private(inner)
        key_type = _ALGORITHMS[algorithm]
        if key_type in _POINT_SIZES:
            return _ec_private(key_type, algorithm, inner)
        return _raw_private(key_type, algorithm, _content(inner, _OCTETS))
    except (_OddError, KeyError, ValueError):
        return None


def plain_public(data: bytes) -> tuple[KeyType, bytes] | None:
    """Kind and DER, as MCUboot compiles it in, of a SubjectPublicKeyInfo."""
    try:
        der = _decoded(data, b"PUBLIC KEY")
        algorithm, bits = _elements(_element(der, _SEQUENCE), 2)
        key = _content(bits, _BITS)
        if not key or key[0]:
            return None
        if algorithm == _RSA:
            key_type, der = _rsa_type(_numbers(key[1:], 2)[0]), key[1:]
        else:
            key_type = _ALGORITHMS[algorithm]
        native_public(key_type, der)
    except (_OddError, KeyError, ValueError):
        return None
    return key_type, der


def native_public(key_type: KeyType, der: bytes) -> Any:
    """A public key as `cryptography` holds it, from the DER that MCUboot compiles in.

    Raises:
        ValueError: the bytes are no such key.
    """
    if key_type is KeyType.ED25519:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(der[-32:])
    if key_type is KeyType.X25519:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        return X25519PublicKey.from_public_bytes(der[-32:])
    if key_type.is_rsa:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

        try:
            modulus, exponent = _numbers(der, 2)
        except _OddError:
            raise ValueError(f"no PKCS#1 in these {len(der)} bytes") from None
        return RSAPublicNumbers(exponent, modulus).public_key()
    if key_type in _POINT_SIZES:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

        return EllipticCurvePublicKey.from_encoded_point(_curve(key_type), der[-_POINT_SIZES[key_type] :])
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return load_der_public_key(der)


def _raw_private(key_type: KeyType, algorithm: bytes, raw: bytes) -> tuple[KeyType, bytes, Any]:
    native: Any
    if key_type is KeyType.ED25519:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        native = Ed25519PrivateKey.from_private_bytes(raw)
    else:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        native = X25519PrivateKey.from_private_bytes(raw)
    return key_type, _spki(algorithm, native.public_key().public_bytes_raw()), native


def _ec_private(key_type: KeyType, algorithm: bytes, inner: bytes) -> tuple[KeyType, bytes, Any]:
    from cryptography.hazmat.primitives.asymmetric.ec import derive_private_key

    version, secret, *optional = _elements(_element(inner, _SEQUENCE))
    if optional and optional[0][0] == _PARAMETERS and algorithm.endswith(_content(optional[0], _PARAMETERS)):
        del optional[0]
    if version != b"\x02\x01\x01" or len(optional) > 1:
        raise _OddError
    native = derive_private_key(int.from_bytes(_content(secret, _OCTETS), "big"), _curve(key_type))
    numbers, size = native.public_key().public_numbers(), _POINT_SIZES[key_type] // 2
    point = b"\x04" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")
    for element in optional:
        if _content(_content(element, _PUBLIC_KEY), _BITS) != b"\x00" + point:
            raise _OddError
    return key_type, _spki(algorithm, point), native


def _rsa_private(inner: bytes) -> tuple[KeyType, bytes, Any]:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers, RSAPublicNumbers

    version, n, e, d, p, q, dp, dq, qi = _numbers(inner, 9)
    if version:
        raise _OddError
    numbers = RSAPrivateNumbers(p, q, d, dp, dq, qi, RSAPublicNumbers(e, n))
    native = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    elements = _elements(_element(inner, _SEQUENCE))
    return _rsa_type(n), _pack(_SEQUENCE, elements[1] + elements[2]), native


def _rsa_type(modulus: int) -> KeyType:
    return _RSA_TYPES[modulus.bit_length()]


def _curve(key_type: KeyType) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.SECP256R1() if CURVES[key_type] == "secp256r1" else ec.SECP384R1()


def _spki(algorithm: bytes, key: bytes) -> bytes:
    return _pack(_SEQUENCE, algorithm + _pack(_BITS, b"\x00" + key))


def _decoded(data: bytes, label: bytes) -> bytes:
    """The DER in a file of one PEM block, or the file."""
    if b"-----BEGIN " not in data:
        return data
    lines = data.split(b"\n")
    begin, *body, end = [line.strip() for line in lines if line.strip()]
    if begin != b"-----BEGIN %b-----" % label or end != b"-----END %b-----" % label:
        raise _OddError
    try:
        return a2b_base64(b"".join(body), strict_mode=True)
    except BinasciiError:
        raise _OddError from None


def _numbers(sequence: bytes, count: int) -> list[int]:
    """The unsigned integers of a sequence."""
    contents = [_content(element, _INTEGER) for element in _elements(_element(sequence, _SEQUENCE), count)]
    if any(not content or content[0] & 0x80 for content in contents):
        raise _OddError
    return [int.from_bytes(content, "big") for content in contents]


def _element(data: bytes, tag: int) -> bytes:
    """The content of an element that is all there is."""
    content = _content(data, tag)
    if _pack(tag, content) != data:
        raise _OddError
    return content


def _content(element: bytes, tag: int) -> bytes:
    if not element or element[0] != tag:
        raise _OddError
    start, end = _bounds(element)
    if end != len(element):
        raise _OddError
    return element[start:end]


def _elements(content: bytes, count: int = 0) -> list[bytes]:
    """The elements side by side; `count` of them, if it is given."""
    found: list[bytes] = []
    while content:
        _, end = _bounds(content)
        found.append(content[:end])
        content = content[end:]
    if count and len(found) != count:
        raise _OddError
    return found


def _bounds(data: bytes) -> tuple[int, int]:
    """Where the content of the first element starts and ends."""
    if len(data) < 2:
        raise _OddError
    start, size = 2, data[1]
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
        if start > 4 or size < 0x80:
            raise _OddError
    if start + size > len(data):
        raise _OddError
    return start, start + size


def _pack(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
