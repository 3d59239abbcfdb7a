"""ECDSA signatures as MCUboot reads them: more leniently than DER allows.

Source: boot/bootutil/include/bootutil/crypto/ecdsa.h `bootutil_decode_sig`, `bootutil_read_bigint`. Of each number the
last bytes count, as many as the curve has; what follows the two numbers is ignored, and so is the outer length unless
it overruns.
"""

from __future__ import annotations

from bootwright.errors import FormatError

_SEQUENCE, _INTEGER = 0x30, 0x02


def read_signature(signature: bytes, size: int = 32) -> tuple[int, int]:
    """r and s, each of `size` bytes.

    Raises:
        FormatError: a tag is missing, or a length overruns the signature.
    """
    content, behind = _element(signature, _SEQUENCE)
    r, rest = _element(content + behind, _INTEGER)
    s, _ = _element(rest, _INTEGER)
    return int.from_bytes(r[-size:], "big"), int.from_bytes(s[-size:], "big")


def strict_signature(signature: bytes, size: int = 32) -> bytes:
    """The same two numbers in proper DER.

    Raises:
        FormatError: as `read_signature`.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    return encode_dss_signature(*read_signature(signature, size))


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """One element and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise FormatError(f"ECDSA signature: found {data[:1].hex() or 'nothing'}, expected the DER tag {tag:#04x}")
    length, at = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or len(data) < 2 + count:
            raise FormatError(f"ECDSA signature: found a DER length of {count} bytes, expected 1 to 4 that are there")
        length, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if length > len(data) - at:
        raise FormatError(f"ECDSA signature: found an element of {length} bytes, expected at most {len(data) - at}")
    return data[at : at + length], data[at + length :]
