"""Base64 lines and CRC at C speed, where CPython's `binascii` is; `small` is the same for MicroPython."""

from binascii import Error, a2b_base64, b2a_base64, crc_hqx

RAW = 93  #: bytes that fill one line
LINE = 127  #: a full line: marker, 124 characters, LF


def crc16(data, start, end):
    """CRC-16/XMODEM of `data[start:end]`."""
    return crc_hqx(memoryview(data)[start:end], 0)


def encode_lines(frame, length, out):
    """Write `frame[:length]` as console lines into `out`; returns how many bytes they are."""
    text = b2a_base64(memoryview(frame)[:length], newline=False)
    size = len(text)
    if size <= 124:
        out[: size + 3] = b"\x06\x09%b\n" % text
        return size + 3
    lines = [text[at : at + 124] for at in range(0, size, 124)]
    whole = b"\x06\x09%b\n" % b"\n\x04\x14".join(lines)
    size = len(whole)
    out[:size] = whole
    return size


def decode_line(line, start, end, out, at):
    """Decode the base64 in `line[start:end]` into `out` at `at`; returns how many bytes, -1 for bad or too many."""
    try:
        raw = a2b_base64(line[start:end], strict_mode=True)
    except Error:
        return -1
    size = len(raw)
    if at + size > len(out):
        return -1
    out[at : at + size] = raw
    return size


def copy_line(source, at, end, line, fill):
    """Copy bytes up to and with the first LF into `line` at `fill`, as far as they fit; returns how many."""
    end = min(end, at + len(line) - fill)
    lf = source.find(b"\n", at, end)
    if lf >= 0:
        end = lf + 1
    line[fill : fill + end - at] = source[at:end]
    return end - at
