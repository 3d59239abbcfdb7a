"""Keys as source code and as the DER forms that bootloaders embed."""

from __future__ import annotations

from collections.abc import Iterator

from bootwright.errors import FormatError
from bootwright.formats.keys import KeyType, PrivateKey

PER_LINE = 8
_SHAPES = {
    KeyType.RSA_2048: ("openssl",),
    KeyType.RSA_3072: ("openssl",),
    KeyType.ECDSA_P256: ("pkcs8", "openssl"),
    KeyType.ECDSA_P384: ("pkcs8", "openssl"),
    KeyType.X25519: ("pkcs8",),
}
#: the names of keys in source code and messages, imgtool's (keys/*.py shortname)
SHORT_NAMES = {
    KeyType.RSA_2048: "rsa",
    KeyType.RSA_3072: "rsa",
    KeyType.ECDSA_P256: "ecdsa",
    KeyType.ECDSA_P384: "ecdsap384",
    KeyType.ED25519: "ed25519",
    KeyType.X25519: "x25519",
}
_SEQUENCE, _OCTETS, _PUBLIC_KEY = 0x30, 0x04, 0xA1


def c_array(name: str, data: bytes, *, first_line: str) -> str:
    """A C array and its length, eight bytes a line as imgtool writes them."""
    return (
        f"{first_line}\nconst unsigned char {name}[] = {{{_rows(data)}\n}};\n"
        f"const unsigned int {name}_len = {len(data)};\n"
    )


def rust_array(name: str, data: bytes, *, first_line: str) -> str:
    """A Rust slice."""
    return f"{first_line}\nstatic {name}: &[u8] = &[{_rows(data)}\n];\n"


def private_bytes(key: PrivateKey, *, shape: str | None = None, minimal: bool = False) -> bytes:
    """The private key's DER for a bootloader that decrypts: `openssl` is PKCS#1 or SEC1, `pkcs8` PKCS#8.

    `minimal` leaves out what decryption can do without: RSA's CRT numbers, the public half of an EC key.

    Raises:
        FormatError: this kind of key decrypts nothing, or has no such form.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    shapes = _SHAPES.get(key.key_type)
    if shapes is None:
        raise FormatError(f"Operation not supported with {key.key_type} keys")
    chosen = shape or shapes[0]
    if chosen not in shapes:
        raise FormatError(f"{SHORT_NAMES[key.key_type]} does not support {chosen}")
    native = {"openssl": PrivateFormat.TraditionalOpenSSL, "pkcs8": PrivateFormat.PKCS8}[chosen]
    der: bytes = key.native().private_bytes(Encoding.DER, native, NoEncryption())
    if not minimal or key.key_type is KeyType.X25519:
        return der
    if key.key_type.is_rsa:
        return _sequence(list(_children(der))[:6])  # version, n, e, d, p, q
    return _without_public_key(der, chosen)


def _without_public_key(der: bytes, shape: str) -> bytes:
    if shape == "openssl":
        return _sequence([child for child in _children(der) if child[0] != _PUBLIC_KEY])
    version, algorithm, wrapped = _children(der)
    inner = _content(wrapped)
    slim = _sequence([child for child in _children(inner) if child[0] != _PUBLIC_KEY])
    return _sequence([version, algorithm, _element(_OCTETS, slim)])


def _rows(data: bytes) -> str:
    return "".join(
        "\n    " + " ".join(f"0x{byte:02x}," for byte in data[at : at + PER_LINE])
        for at in range(0, len(data), PER_LINE)
    )


def _children(sequence: bytes) -> Iterator[bytes]:
    """The elements of a DER sequence, each with its tag and length."""
    body = _content(sequence)
    at = 0
    while at < len(body):
        start, size = _header(body[at:])
        yield body[at : at + start + size]
        at += start + size


def _content(element: bytes) -> bytes:
    start, size = _header(element)
    return element[start : start + size]


def _header(element: bytes) -> tuple[int, int]:
    first = element[1]
    if first < 0x80:
        return 2, first
    more = first & 0x7F
    return 2 + more, int.from_bytes(element[2 : 2 + more], "big")


def _sequence(children: list[bytes]) -> bytes:
    return _element(_SEQUENCE, b"".join(children))


def _element(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content
