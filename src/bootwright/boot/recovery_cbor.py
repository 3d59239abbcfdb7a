"""Reading a request map as serial recovery does: known keys once, unknown ones skipped.

Sources: boot/boot_serial/src/zcbor_bulk.c, boot/zcbor/src/zcbor_decode.c (MCUboot 2d4bacc3). What follows the map is
not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

_BYTES = {"uint": 4, "size": 8}  #: widest encoding that the decoder of each kind takes, whatever the value


class CborError(Exception):
    """The request is not what zcbor_map_decode_bulk accepts."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self._data):
            raise CborError("the request ends early")
        self.at += count
        return self._data[self.at - count : self.at]

    def peek(self) -> int:
        if self.at >= len(self._data):
            raise CborError("the request ends early")
        return self._data[self.at]

    def head(self) -> tuple[int, int | None]:
        """Major type and value; None for an indefinite length."""
        first = self.take(1)[0]
        major, low = first >> 5, first & 0x1F
        if low < 24:
            return major, low
        if low == 31 and major in (4, 5):
            return major, None
        if low > 27:
            raise CborError(f"reserved length {low}")
        return major, int.from_bytes(self.take(1 << (low - 24)), "big")

    def items(self, count: int | None) -> bool:
        """Whether another item follows in a list or map of `count` items left, None for an indefinite one."""
        if count is not None:
            return count > 0
        if self.peek() == 0xFF:
            self.take(1)
            return False
        return True

    def skip(self, depth: int = 0) -> None:
        """zcbor_any_skip."""
        major, value = self.head()
        if major in (2, 3) and value is not None:
            self.take(value)
        elif major in (4, 5):
            left = value if value is None or major == 4 else 2 * value
            while self.items(left):
                self.skip(depth + 1)
                left = None if left is None else left - 1
        elif major == 6:
            self.skip(depth + 1)

    def text(self) -> bytes:
        major, value = self.head()
        if major != 3 or value is None:
            raise CborError("a key is no text")
        return self.take(value)

    def value(self, kind: str) -> int | bytes:
        begin = self.at
        major, value = self.head()
        if kind == "bool":
            if major != 7 or value not in (20, 21):
                raise CborError("expected true or false")
            return value - 20
        if kind == "bytes":
            if major != 2 or value is None:
                raise CborError("expected bytes")
            return self.take(value)
        if major != 0 or value is None or self.at - begin - 1 > _BYTES[kind]:
            raise CborError("expected an unsigned number")
        return value


def read_first_text(data: bytes, wanted: str) -> str:
    """The text under `wanted`, which ends the map, as bs_echo reads it: what comes after is not there.

    Raises:
        CborError: no map, no such key, no text, or more behind it.
    """
    reader = _Reader(data)
    major, count = reader.head()
    if major != 5:
        raise CborError("the request is no map")
    while reader.items(count):
        count = None if count is None else count - 1
        if reader.text() == wanted.encode():
            found = reader.text()
            if reader.items(count):
                raise CborError("more behind the text")
            return found.decode()
        reader.skip()
    raise CborError(f"no {wanted}")


def read_map(data: bytes, keys: Mapping[str, str]) -> dict[str, int | bytes]:
    """zcbor_map_decode_bulk.

    Raises:
        CborError: no map, a known key twice or of another type, or an early end.
    """
    return locate_map(data, keys)[0]


def locate_map(data: bytes, keys: Mapping[str, str]) -> tuple[dict[str, int | bytes], dict[str, int]]:
    """As `read_map`; also where in `data` each value ends.

    Raises:
        CborError: no map, a known key twice or of another type, or an early end.
    """
    reader = _Reader(data)
    major, count = reader.head()
    if major != 5:
        raise CborError("the request is no map")
    found: dict[str, int | bytes] = {}
    ends: dict[str, int] = {}
    while reader.items(count):
        key = reader.text().decode("latin-1")
        if key not in keys:
            reader.skip()
        elif key in found:
            raise CborError(f"{key} comes twice")
        else:
            found[key] = reader.value(keys[key])
            ends[key] = reader.at
        count = None if count is None else count - 1
    return found, ends
