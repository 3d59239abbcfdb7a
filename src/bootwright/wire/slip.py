"""SLIP framing (RFC 1055) as Espressif's serial loaders use it: `C0 … C0`, with `DB` → `DB DD` and `C0` → `DB DC`.

No I/O: bytes in, packets out. What is not a frame disappears without a sound, as it does in the chip.
"""

from __future__ import annotations

END = b"\xc0"
ESCAPE = b"\xdb"
ESCAPED_END = b"\xdb\xdc"
ESCAPED_ESCAPE = b"\xdb\xdd"

#: Longest packet kept: the flasher stub takes blocks of 0x4000 bytes behind a header of 24.
MAX_PACKET = 0x10000


def encode(packet: bytes) -> bytes:
    """One frame around a packet."""
    return END + packet.replace(ESCAPE, ESCAPED_ESCAPE).replace(END, ESCAPED_END) + END


def decode_body(body: bytes) -> bytes | None:
    """The packet between two `C0`, or None when an escape is not one of the two that exist."""
    if ESCAPE not in body:
        return body
    head, *rest = body.split(ESCAPE)
    parts = [head]
    for part in rest:
        if part[:1] == b"\xdc":
            parts.append(END)
        elif part[:1] == b"\xdd":
            parts.append(ESCAPE)
        else:
            return None
        parts.append(part[1:])
    return b"".join(parts)


class Decoder:
    """Cuts a stream into packets; a packet may arrive in any number of pieces."""

    __slots__ = ("_limit", "_overlong", "_pieces", "_size")

    def __init__(self, *, limit: int = MAX_PACKET) -> None:
        self._limit = 2 * limit
        self.reset()

    def reset(self) -> None:
        """Forget a packet that has begun."""
        self._pieces: list[bytes] = []
        self._size = 0
        self._overlong = False

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that end in `data`; a packet that is longer than any chip could take is dropped."""
        head, *rest = data.split(END)
        self._keep(head)
        packets: list[bytes] = []
        for piece in rest:
            body = b"".join(self._pieces)
            if body and not self._overlong and (packet := decode_body(body)) is not None:
                packets.append(packet)
            self.reset()
            self._keep(piece)
        return packets

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._overlong = True
            self._pieces.clear()
        elif piece and not self._overlong:
            self._pieces.append(piece)
