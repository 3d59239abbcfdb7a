"""Base64 lines and CRC for MicroPython: tables and loops that allocate nothing. `fast` is the same for CPython."""

from array import array

RAW = 93
LINE = 127

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _crc_table():
    table = array("H", bytes(512))
    for i in range(256):
        crc = i << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
        table[i] = crc
    return table


def _values():
    values = bytearray(b"\xff" * 256)
    for i in range(64):
        values[_LETTERS[i]] = i
    return values


_CRC = _crc_table()
_VALUES = _values()


def crc16(data, start, end):
    """CRC-16/XMODEM of `data[start:end]`."""
    table = _CRC
    crc = 0
    i = start
    while i < end:
        crc = (crc << 8 & 0xFFFF) ^ table[crc >> 8 ^ data[i]]
        i += 1
    return crc


def encode_lines(frame, length, out):
    """Write `frame[:length]` as console lines into `out`; returns how many bytes they are."""
    letters = _LETTERS
    at = 0
    i = 0
    while i < length:
        out[at] = 6 if i == 0 else 4
        out[at + 1] = 9 if i == 0 else 20
        at += 2
        stop = min(i + RAW, length)
        while i + 2 < stop:
            b = frame[i + 1]
            c = frame[i + 2]
            out[at] = letters[frame[i] >> 2]
            out[at + 1] = letters[(frame[i] & 3) << 4 | b >> 4]
            out[at + 2] = letters[(b & 15) << 2 | c >> 6]
            out[at + 3] = letters[c & 63]
            at += 4
            i += 3
        if i < stop:
            a = frame[i]
            b = frame[i + 1] if i + 1 < stop else 0
            out[at] = letters[a >> 2]
            out[at + 1] = letters[(a & 3) << 4 | b >> 4]
            out[at + 2] = letters[(b & 15) << 2] if i + 1 < stop else 61
            out[at + 3] = 61
            at += 4
            i = stop
        out[at] = 10
        at += 1
    return at


def decode_line(line, start, end, out, at):
    """Decode the base64 in `line[start:end]` into `out` at `at`; returns how many bytes, -1 for bad or too many."""
    size = end - start
    if size % 4:
        return -1
    if size == 0:
        return 0
    padding = 0
    if line[end - 1] == 61:
        padding = 2 if line[end - 2] == 61 else 1
    if at + size // 4 * 3 - padding > len(out):
        return -1
    values = _VALUES
    limit = len(out)
    first = at
    i = start
    while i < end:
        a = values[line[i]]
        b = values[line[i + 1]]
        last = i + 4 == end
        c = 0 if last and padding == 2 else values[line[i + 2]]
        d = 0 if last and padding else values[line[i + 3]]
        if (a | b | c | d) & 0x80:
            return -1
        out[at] = a << 2 | b >> 4
        if at + 1 < limit:
            out[at + 1] = (b & 15) << 4 | c >> 2
        if at + 2 < limit:
            out[at + 2] = (c & 3) << 6 | d
        at += 3
        i += 4
    return at - padding - first


def copy_line(source, at, end, line, fill):
    """Copy bytes up to and with the first LF into `line` at `fill`, as far as they fit; returns how many."""
    first = at
    end = min(end, at + len(line) - fill)
    while at < end:
        byte = source[at]
        line[fill] = byte
        fill += 1
        at += 1
        if byte == 10:
            break
    return at - first
