"""The part of CBOR (RFC 8949) that SMP uses, both directions.

Devices answer with zcbor, whose maps and lists have no length but an end mark; requests may have either. `Reader` walks
bytes without building anything, which is what an upload on a small device wants.
"""

import struct

from .errors import MalformedError

UINT = 0
NEGATIVE = 1
BYTES = 2
TEXT = 3
LIST = 4
MAP = 5
TAG = 6
SIMPLE = 7

INDEFINITE = -1
BREAK = 0xFF
DEPTH = 12


class Reader:
    """Reads items from `data[at:end]`; `reset` lets one reader serve many messages."""

    def __init__(self, data=b"", at=0, end=-1):
        self.major = 0
        self.info = 0
        self.argument = 0
        self.reset(data, at, end)

    def reset(self, data, at=0, end=-1):
        """Start over on other bytes."""
        self.data = data
        self.at = at
        self.end = len(data) if end < 0 else end

    def head(self):
        """Read the first byte of an item and its argument; `argument` is `INDEFINITE` where there is no length."""
        at = self.at
        end = self.end
        if at >= end:
            raise MalformedError("CBOR ends before its value")
        first = self.data[at]
        at += 1
        self.major = first >> 5
        info = first & 31
        self.info = info
        if info < 24:
            self.argument = info
        elif info < 28:
            width = 1 << (info - 24)
            if at + width > end:
                raise MalformedError("CBOR ends inside a number")
            value = 0
            for i in range(at, at + width):
                value = value << 8 | self.data[i]
            self.argument = value
            at += width
        elif info == 31:
            if self.major < BYTES or self.major == TAG:
                raise MalformedError("CBOR number without a length")
            self.argument = INDEFINITE
        else:
            raise MalformedError("CBOR with a reserved length code %d" % info)
        self.at = at

    def at_break(self):
        """Whether an indefinite item ends here; steps over the mark."""
        if self.at >= self.end:
            raise MalformedError("CBOR ends before the end mark of a map, list or string")
        if self.data[self.at] == BREAK:
            self.at += 1
            return True
        return False

    def take(self, length):
        """Step over `length` bytes; returns where they start."""
        start = self.at
        if start + length > self.end:
            raise MalformedError("CBOR string of %d bytes where only %d are left" % (length, self.end - start))
        self.at = start + length
        return start

    def skip(self, depth=DEPTH):
        """Step over one item of any kind."""
        self.head()
        major = self.major
        count = self.argument
        if major < BYTES:
            return
        if major == SIMPLE:
            if count == INDEFINITE:
                raise MalformedError("CBOR end mark outside of a map or list")
            return
        if depth == 0:
            raise MalformedError("CBOR nested deeper than %d" % DEPTH)
        if major == TAG:
            self.skip(depth - 1)
        elif count == INDEFINITE:
            while not self.at_break():
                self.skip(depth - 1)
                if major == MAP:
                    self.skip(depth - 1)
        elif major <= TEXT:
            self.take(count)
        else:
            for _ in range(count * 2 if major == MAP else count):
                self.skip(depth - 1)

    def value(self, depth=DEPTH):
        """Read one item as a Python value; tags are dropped."""
        self.head()
        if depth == 0:
            raise MalformedError("CBOR nested deeper than %d" % DEPTH)
        return _VALUES[self.major](self, self.argument, depth)

    def pairs(self, depth=DEPTH):
        """Read one map as a list of pairs: in order, and with its duplicates."""
        self.head()
        if self.major != MAP:
            raise MalformedError("CBOR of kind %d where a map is expected" % self.major)
        found = []
        count = self.argument
        if count == INDEFINITE:
            while not self.at_break():
                key = self.value(depth - 1)
                found.append((key, self.value(depth - 1)))
        else:
            for _ in range(count):
                key = self.value(depth - 1)
                found.append((key, self.value(depth - 1)))
        return found


def _uint(reader, argument, depth):
    return argument


def _negative(reader, argument, depth):
    return -1 - argument


def _bytes(reader, argument, depth):
    if argument == INDEFINITE:
        return b"".join(_chunks(reader, BYTES, depth))
    start = reader.take(argument)
    return bytes(reader.data[start : reader.at])


def _text(reader, argument, depth):
    if argument == INDEFINITE:
        return "".join(_chunks(reader, TEXT, depth))
    start = reader.take(argument)
    try:
        return str(reader.data[start : reader.at], "utf-8")
    except UnicodeError:
        raise MalformedError("CBOR text that is no UTF-8") from None


def _chunks(reader, major, depth):
    chunks = []
    while not reader.at_break():
        reader.head()
        if reader.major != major or reader.argument == INDEFINITE:
            raise MalformedError("CBOR string made of pieces of another kind")
        chunks.append(_VALUES[major](reader, reader.argument, depth - 1))
    return chunks


def _list(reader, argument, depth):
    items = []
    if argument == INDEFINITE:
        while not reader.at_break():
            items.append(reader.value(depth - 1))
    else:
        for _ in range(argument):
            items.append(reader.value(depth - 1))
    return items


def _map(reader, argument, depth):
    items = {}
    left = argument
    while left:
        if argument == INDEFINITE:
            if reader.at_break():
                break
        else:
            left -= 1
        key = reader.value(depth - 1)
        if isinstance(key, (list, dict)):
            raise MalformedError("CBOR map whose key is a list or a map")
        if key in items:
            raise MalformedError("CBOR map with the key %r twice" % (key,))
        items[key] = reader.value(depth - 1)
    return items


def _tagged(reader, argument, depth):
    return reader.value(depth - 1)


def _simple(reader, argument, depth):
    info = reader.info
    if info == 20:
        return False
    if info == 21:
        return True
    if info == 22 or info == 23:
        return None
    if info == 25:
        return _half(argument)
    if info == 26:
        return struct.unpack(">f", argument.to_bytes(4, "big"))[0]
    if info == 27:
        return struct.unpack(">d", argument.to_bytes(8, "big"))[0]
    raise MalformedError("CBOR simple value %d" % argument)


def _half(bits):
    exponent = bits >> 10 & 31
    fraction = bits & 1023
    if exponent == 0:
        size = fraction * 2.0**-24
    elif exponent == 31:
        size = float("inf") if fraction == 0 else float("nan")
    else:
        size = (fraction + 1024) * 2.0 ** (exponent - 25)
    return -size if bits >> 15 else size


_VALUES = (_uint, _negative, _bytes, _text, _list, _map, _tagged, _simple)


def decode(data):
    """The one value that `data` is; raises `MalformedError`, also for bytes behind it."""
    reader = Reader(data)
    value = reader.value()
    if reader.at != reader.end:
        raise MalformedError("%d bytes behind the CBOR value" % (reader.end - reader.at))
    return value


def encode(value):
    """`value` with lengths in front, as small as it gets."""
    out = bytearray()
    _put(out, value, _open_definite, _close_definite)
    return bytes(out)


def encode_indefinite(value):
    """`value` as zcbor writes it: maps and lists are closed by an end mark."""
    out = bytearray()
    _put(out, value, _open_indefinite, _close_indefinite)
    return bytes(out)


def put_head(buffer, at, major, argument):
    """Write an item's head into `buffer`; returns the offset behind it."""
    major <<= 5
    if argument < 24:
        buffer[at] = major | argument
        return at + 1
    if argument < 0x100:
        width = 0
    elif argument < 0x10000:
        width = 1
    else:
        width = 2
    buffer[at] = major | 24 + width
    at += 1
    shift = (8 << width) - 8
    while shift >= 0:
        buffer[at] = argument >> shift & 0xFF
        at += 1
        shift -= 8
    return at


def _head(out, major, argument):
    if argument < 24:
        out.append(major << 5 | argument)
    elif argument < 0x100:
        out.extend(bytes((major << 5 | 24, argument)))
    elif argument < 0x10000:
        out.extend(struct.pack(">BH", major << 5 | 25, argument))
    elif argument < 0x100000000:
        out.extend(struct.pack(">BI", major << 5 | 26, argument))
    else:
        out.extend(struct.pack(">BQ", major << 5 | 27, argument))


def _open_definite(out, major, count):
    _head(out, major, count)


def _close_definite(out):
    pass


def _open_indefinite(out, major, count):
    out.append(major << 5 | 31)


def _close_indefinite(out):
    out.append(BREAK)


def _put(out, value, opened, closed):
    if value is True:
        out.append(0xF5)
    elif value is False:
        out.append(0xF4)
    elif value is None:
        out.append(0xF6)
    elif isinstance(value, int):
        if value < 0:
            _head(out, NEGATIVE, -1 - value)
        else:
            _head(out, UINT, value)
    elif isinstance(value, str):
        text = value.encode("utf-8")
        _head(out, TEXT, len(text))
        out.extend(text)
    elif isinstance(value, dict):
        opened(out, MAP, len(value))
        for key in value:
            _put(out, key, opened, closed)
            _put(out, value[key], opened, closed)
        closed(out)
    elif isinstance(value, (list, tuple)):
        opened(out, LIST, len(value))
        for item in value:
            _put(out, item, opened, closed)
        closed(out)
    elif isinstance(value, float):
        out.append(0xFB)
        out.extend(struct.pack(">d", value))
    else:
        _head(out, BYTES, len(value))
        out.extend(value)
