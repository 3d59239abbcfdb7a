"""Serial recovery's console lines: base64 between log text.

Sources: boot/boot_serial/src/boot_serial.c, `boot_serial_output`, `boot_serial_in_dec`, and mbedTLS's base64 (MCUboot
2d4bacc3).
"""

from __future__ import annotations

import base64
import binascii

FRAME_MTU = 124  #: BOOT_SERIAL_FRAME_MTU
LINE, LINE_BYTES = 127, 93  #: of such a line with its marker and LF, and what it decodes to
PACKET_START, PACKET_CONTINUED = b"\x06\x09", b"\x04\x14"


def whole_packet(data: bytes, at: int, room: int) -> tuple[bytearray, int] | None:
    """The packet whose lines begin at `at` and are all there, all but the last one full, and where they end.

    None says nothing: line by line is how it is read then. This is the same for what most hosts send, at once.
    """
    if data[at : at + 2] != PACKET_START or len(data) - at < LINE:
        return None
    try:
        size = int.from_bytes(binascii.a2b_base64(data[at + 2 : at + 6])[:2], "big") + 2
        end = at - size // -LINE_BYTES * 3 + (size + 2) // 3 * 4
        if size > room or data[end - 1 : end] != b"\n" or data[at + LINE - 1 : end : LINE].strip(b"\n"):
            return None
        text = data[at + 2 : end - 1].replace(b"\n" + PACKET_CONTINUED, b"")
        packet = bytearray(binascii.a2b_base64(text, strict_mode=True))
    except binascii.Error:
        return None
    return (packet, end) if len(packet) == size else None


def decode_base64(text: bytes, room: int) -> bytes | None:
    """mbedtls_base64_decode: line ends are skipped, digits behind the last group of four are dropped."""
    try:
        whole = binascii.a2b_base64(text.removesuffix(b"\n"), strict_mode=True)
    except binascii.Error:
        return _decode_leniently(text, room)
    return whole if len(whole) <= room else None


def _decode_leniently(text: bytes, room: int) -> bytes | None:
    digits = text.replace(b"\r\n", b"").replace(b"\n", b"")
    body = digits.rstrip(b" ").rstrip(b"=")
    padding = len(digits.rstrip(b" ")) - len(body)
    if padding > 2 or body.translate(None, _BASE64_DIGITS):
        return None
    count = len(body) + padding
    if (6 * count + 7) // 8 - padding > room:
        return None
    return base64.b64decode((body + b"=" * padding)[: count // 4 * 4])


_BASE64_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def framed(packet: bytes) -> bytes:
    """boot_serial_output: length, packet and CRC in base64, cut into console lines."""
    total = (len(packet) + 2).to_bytes(2, "big") + packet + binascii.crc_hqx(packet, 0).to_bytes(2, "big")
    text = base64.b64encode(total)
    pieces = [text[at : at + FRAME_MTU] for at in range(0, len(text), FRAME_MTU)]
    return b"".join((PACKET_CONTINUED if n else PACKET_START) + piece + b"\n" for n, piece in enumerate(pieces))
