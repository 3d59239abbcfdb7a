"""The client's half of a conversation: sequence numbers, retries, answers; no I/O.

A `Link` owns the buffers. Its programs yield a buffer to send or a number of milliseconds to wait; the driver answers a
wait with how many bytes it put at the start of `link.inbox`, 0 if none came in time.
"""

from . import console, datagram
from .cbor import Reader, encode
from .console import MESSAGE_AT
from .errors import MalformedError, NonsenseError, RefusedByDeviceError, SilenceError
from .header import READ, SIZE, V2, WRITE, pack_into

BODY_AT = MESSAGE_AT + SIZE
TIMEOUT_MS = 1000
TRIES = 3


class Link:
    """One device on one line.

    `clock` has `now()` and `since(then)`, both in milliseconds. `largest` is the longest message that the device takes,
    as far as we know; `negotiate` finds out. `credit_cap` is how many lines (datagrams) of a next message the device
    can hold while it works on the one before.
    """

    def __init__(self, outgoing, reader, clock, inbox=512, version=V2, sequence=0):
        self.outgoing = outgoing
        self.reader = reader
        self.clock = clock
        self.inbox = bytearray(inbox)
        self.view = memoryview(outgoing.out)
        self.version = version
        self.sequence = sequence & 0xFF
        self.largest = min(128, outgoing.capacity)
        self.credit_cap = 0
        self.rtt_ms = -1
        self.wire_size = console.wire_size
        self.in_lines = True
        self.at = 0
        self.fill = 0
        self._body = Reader()

    def begin(self, op, group, command, length):
        """Write the header of a request whose body has `length` bytes; returns the message's length."""
        self.sequence = sequence = (self.sequence + 1) & 0xFF
        pack_into(self.outgoing.frame, MESSAGE_AT, op, self.version, length, group, sequence, command)
        return SIZE + length

    def answered(self, sequence, op, group, command, other=-1):
        """Look through what has been heard for the reply to one of two requests; other messages are dropped."""
        reader = self.reader
        frame = reader.frame
        while self.at < self.fill:
            self.at = reader.scan(self.inbox, self.at, self.fill)
            if (
                reader.ready >= SIZE
                and (frame[MESSAGE_AT + 6] == sequence or frame[MESSAGE_AT + 6] == other)
                and frame[MESSAGE_AT] & 7 == op + 1
                and frame[MESSAGE_AT + 7] == command
                and (frame[MESSAGE_AT + 4] << 8 | frame[MESSAGE_AT + 5]) == group
            ):
                return True
        return False

    def heard(self, count):
        """Take note that the driver put `count` bytes into `inbox`."""
        self.at = 0
        self.fill = count

    def replied_to(self):
        """The sequence number of the reply in hand."""
        return self.reader.frame[MESSAGE_AT + 6]

    def body(self):
        """A reader over the body of the reply in hand."""
        frame = self.reader.frame
        end = MESSAGE_AT + self.reader.ready
        claimed = frame[MESSAGE_AT + 2] << 8 | frame[MESSAGE_AT + 3]
        if BODY_AT + claimed != end:
            raise NonsenseError(
                "the reply's header announces %d bytes, and %d came" % (claimed, end - BODY_AT),
                "check the device's firmware; this is no loss on the line, the checksum was right",
            )
        self._body.reset(frame, BODY_AT, end)
        return self._body

    def request(self, op, group, command, body=None, timeout_ms=TIMEOUT_MS, tries=TRIES):
        """Program: ask and return the reply's map; a repeated request keeps its sequence number.

        Raises `SilenceError`, `RefusedByDeviceError`, `NonsenseError`.
        """
        payload = encode({} if body is None else body)
        length = SIZE + len(payload)
        outgoing = self.outgoing
        if length > outgoing.capacity:
            raise NonsenseError(
                "a request of %d bytes does not fit the buffer of %d" % (length, outgoing.capacity),
                "send less at a time",
            )
        clock = self.clock
        self.begin(op, group, command, len(payload))
        sequence = self.sequence
        outgoing.frame[BODY_AT : BODY_AT + len(payload)] = payload
        size = outgoing.close(length)
        for _ in range(tries):
            start = clock.now()
            yield self.view[:size]
            while not self.answered(sequence, op, group, command):
                left = timeout_ms - clock.since(start)
                if left <= 0:
                    break
                self.heard((yield left))
            else:
                self.rtt_ms = clock.since(start)
                return self.result(group, command)
        raise SilenceError(
            "no answer to group %d command %d within %d ms, asked %d times" % (group, command, timeout_ms, tries),
            "is the device in recovery (or its application running an SMP server), are port and baud rate right,"
            " and does no terminal hold the port?",
        )

    def result(self, group, command):
        """The map in the reply in hand, without its return code."""
        reader = self.body()
        try:
            found = reader.value()
        except MalformedError as error:
            raise NonsenseError(
                "the reply to group %d command %d is no CBOR: %s" % (group, command, error.message),
                "check the device's firmware",
            ) from None
        if not isinstance(found, dict):
            raise NonsenseError(
                "the reply to group %d command %d is no map" % (group, command), "check the device's firmware"
            )
        check(found, "group %d command %d" % (group, command))
        found.pop("rc", None)
        return found


def check(found, what):
    """Raise if a reply carries an error in either of SMP's two forms."""
    error = found.get("err")
    if isinstance(error, dict):
        refuse(what, error.get("group", -1), error.get("rc", 1))
    rc = found.get("rc", 0)
    if rc != 0:
        refuse(what, -1, rc)


def refuse(what, group, rc):
    """Raise `RefusedByDeviceError`."""
    if not isinstance(rc, int) or not isinstance(group, int):
        raise NonsenseError("the device refused %s with a code that is no number" % what, "check its firmware")
    raise RefusedByDeviceError(what, group, rc)


def console_link(clock, capacity=1024, replies=4096, on_text=None, **options):
    """A link over a serial console, for messages of at most `capacity` bytes and replies of at most `replies`."""
    return Link(console.Outgoing(capacity), console.ClientReader(replies, on_text), clock, **options)


def datagram_link(clock, capacity=datagram.LARGEST, **options):
    """A link over UDP."""
    link = Link(datagram.Outgoing(capacity), datagram.Reader(2048), clock, inbox=2048, **options)
    link.wire_size = datagram.wire_size
    link.in_lines = False
    link.largest = min(512, capacity)
    return link


def stream_link(clock, capacity=datagram.LARGEST, **options):
    """A link over a stream of bare messages, as Bluetooth is."""
    link = datagram_link(clock, capacity, **options)
    link.reader = datagram.StreamReader(4096)
    return link


def read(link, group, command, body=None, **options):
    """Program: a read request."""
    return link.request(READ, group, command, body, **options)


def write(link, group, command, body=None, **options):
    """Program: a write request."""
    return link.request(WRITE, group, command, body, **options)
