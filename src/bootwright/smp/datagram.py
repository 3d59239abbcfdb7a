"""SMP without framing: a message in a datagram (UDP, port 1337), or in pieces put together by its header (Bluetooth).

Source: Zephyr, subsys/mgmt/mcumgr/transport.
"""

from .console import MESSAGE_AT, OVERHEAD
from .header import SIZE

PORT = 1337
LARGEST = 1472  #: what one unfragmented datagram carries over IPv4 and Ethernet


def wire_size(length):
    """How many bytes a message of `length` bytes is on the wire, its IP and UDP headers not counted."""
    return length


class Outgoing:
    """Reused buffers for what is sent, with the face of `console.Outgoing`."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.frame = bytearray(capacity + OVERHEAD)
        self.out = memoryview(self.frame)[MESSAGE_AT:]

    def close(self, length):
        """Finish the message of `length` bytes; returns how many bytes of `out` it takes."""
        return length

    def lines(self, count, size):
        """A datagram goes out whole or not at all."""
        return size if count else 0


class Reader:
    """Takes each datagram as a message, with the face of `console.ClientReader`."""

    def __init__(self, capacity):
        self.frame = bytearray(capacity + OVERHEAD)
        self.ready = 0

    def scan(self, buffer, at, end):
        """Take the datagram `buffer[at:end]`; one too long for the buffer is dropped."""
        size = end - at
        self.ready = 0
        if size <= len(self.frame) - OVERHEAD:
            self.frame[MESSAGE_AT : MESSAGE_AT + size] = memoryview(buffer)[at:end]
            self.ready = size
        return end


class StreamReader:
    """Puts messages together from a stream of pieces by the length in their headers."""

    def __init__(self, capacity):
        self.frame = bytearray(capacity + OVERHEAD)
        self.fill = 0
        self.ready = 0

    def scan(self, buffer, at, end):
        """Take bytes up to the end of a message; one too long for the buffer is dropped with all that came of it."""
        frame = self.frame
        self.ready = 0
        while at < end:
            wanted = SIZE
            if self.fill >= SIZE:
                wanted += frame[MESSAGE_AT + 2] << 8 | frame[MESSAGE_AT + 3]
            if wanted > len(frame) - OVERHEAD:
                self.fill = 0
                return end
            count = min(wanted - self.fill, end - at)
            start = MESSAGE_AT + self.fill
            frame[start : start + count] = memoryview(buffer)[at : at + count]
            self.fill += count
            at += count
            if self.fill >= SIZE and self.fill == SIZE + (frame[MESSAGE_AT + 2] << 8 | frame[MESSAGE_AT + 3]):
                self.ready = self.fill
                self.fill = 0
                break
        return at
