"""SMP over a console: base64 lines between log text, byte for byte as MCUboot and Zephyr write and read them.

frame = u16 length of what follows | message | u16 CRC-16/XMODEM of the message, big endian. Lines are `06 09` (first)
or `04 14` (next), at most 124 characters of base64, LF (MCUboot 2d4bacc3, boot/boot_serial/src/boot_serial.c,
`boot_serial_output`, `boot_serial_in_dec`).
"""

try:
    from .fast import LINE, RAW, copy_line, crc16, decode_line, encode_lines
except ImportError:  # MicroPython has no `crc_hqx`
    from .small import LINE, RAW, copy_line, crc16, decode_line, encode_lines

MESSAGE_AT = 2  #: where the message starts in a frame
OVERHEAD = 4  #: length and CRC around a message


def lines_for(length):
    """How many lines a message of `length` bytes takes."""
    return (length + OVERHEAD + RAW - 1) // RAW


def wire_size(length):
    """How many bytes a message of `length` bytes is on the wire."""
    return lines_for(length) * 3 + (length + OVERHEAD + 2) // 3 * 4


def encode(message):
    """The lines that carry a message."""
    length = len(message)
    framing = Outgoing(length)
    framing.frame[MESSAGE_AT : MESSAGE_AT + length] = message
    return bytes(framing.out[: framing.close(length)])


class Outgoing:
    """Reused buffers for what is sent: write the message into `frame` at `MESSAGE_AT`, then `close` it into `out`."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.frame = bytearray(capacity + OVERHEAD)
        self.out = bytearray(wire_size(capacity))

    def close(self, length):
        """Frame the message of `length` bytes; returns how many bytes of `out` it takes."""
        frame = self.frame
        frame[0] = (length + 2) >> 8
        frame[1] = (length + 2) & 0xFF
        end = MESSAGE_AT + length
        crc = crc16(frame, MESSAGE_AT, end)
        frame[end] = crc >> 8
        frame[end + 1] = crc & 0xFF
        return encode_lines(frame, end + 2, self.out)

    def lines(self, count, size):
        """Where line `count` of an `out` of `size` bytes ends."""
        return min(count * LINE, size)


class Assembler:
    """Puts the lines of a message together; a bad line is as if it had never come."""

    def __init__(self, capacity):
        self.frame = bytearray(capacity)
        self.fill = 0

    def first(self, line, start, end):
        """Take a first line; returns the message's length if that completes it, else 0."""
        self.fill = 0
        return self.next(line, start, end)

    def next(self, line, start, end):
        """Take a continuation line; returns the message's length if that completes it, else 0."""
        frame = self.frame
        size = decode_line(line, start, end, frame, self.fill)
        if size < 0:
            return 0
        fill = self.fill = self.fill + size
        if fill <= OVERHEAD or (frame[0] << 8 | frame[1]) != fill - 2 or crc16(frame, MESSAGE_AT, fill):
            return 0
        return fill - OVERHEAD


class DeviceReader:
    """Reads lines as MCUboot does: the marker must come first, LF ends a line, whatever is wrong is silence.

    `capacity` counts the decoded frame (where 512 or 1024 is configured one more fits), `line_limit` a whole line.
    """

    def __init__(self, capacity, line_limit):
        self.assembler = Assembler(capacity)
        self.frame = self.assembler.frame
        self.line = bytearray(line_limit)
        self.fill = 0
        self.ready = 0

    def scan(self, buffer, at, end):
        """Take bytes up to the end of a message; returns where it stopped, `ready` is the message's length or 0."""
        return _scan(self, buffer, at, end)

    def take(self, end):
        """Take the line of `end` bytes, its LF not counted."""
        line = self.line
        if end < 2:
            return
        if line[0] == 6 and line[1] == 9:
            self.ready = self.assembler.first(line, 2, end)
        elif line[0] == 4 and line[1] == 20:
            self.ready = self.assembler.next(line, 2, end)

    def overflow(self):
        """Forget what is too long for a line."""


class ClientReader:
    """Reads lines as a client should: log text before, between and even in front of the lines is no obstacle.

    Text goes to `on_text`, a line at a time, if there is somebody to take it.
    """

    def __init__(self, capacity, on_text=None, line_limit=512):
        self.assembler = Assembler(capacity + OVERHEAD)
        self.frame = self.assembler.frame
        self.line = bytearray(line_limit)
        self.fill = 0
        self.ready = 0
        self.on_text = on_text

    def scan(self, buffer, at, end):
        """Take bytes up to the end of a message; returns where it stopped, `ready` is the message's length or 0."""
        return _scan(self, buffer, at, end)

    def take(self, end):
        """Take the line of `end` bytes, its LF not counted."""
        line = self.line
        if end and line[end - 1] == 13:
            end -= 1
        start = _marker(line, end)
        if start < 0:
            if self.on_text and end:
                self.on_text(bytes(line[:end]))
        elif line[start] == 6:
            self.ready = self.assembler.first(line, start + 2, end)
        else:
            self.ready = self.assembler.next(line, start + 2, end)

    def overflow(self):
        """Hand on what is too long for a line: it can only be text."""
        if self.on_text:
            self.on_text(bytes(self.line))


def _scan(reader, buffer, at, end):
    reader.ready = 0
    line = reader.line
    while at < end and not reader.ready:
        count = copy_line(buffer, at, end, line, reader.fill)
        at += count
        fill = reader.fill + count
        if line[fill - 1] == 10:
            reader.fill = 0
            reader.take(fill - 1)
        elif fill == len(line):
            reader.fill = 0
            reader.overflow()
        else:
            reader.fill = fill
    return at


def _marker(line, end):
    if end >= 2 and ((line[0] == 6 and line[1] == 9) or (line[0] == 4 and line[1] == 20)):
        return 0
    at = end - 2
    while at >= 0:
        if (line[at] == 6 and line[at + 1] == 9) or (line[at] == 4 and line[at + 1] == 20):
            return at
        at -= 1
    return -1
