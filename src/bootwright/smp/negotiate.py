"""Finding out how much the device takes at a time: by asking where it tells, by trying where it does not.

Trying is harmless: the console echo command (OS 1) of MCUboot ignores whatever stands in its body and answers, and so
does the "not supported" of an application; a message beyond the device's buffer is met with silence.
"""

from .cbor import encode
from .client import read
from .console import MESSAGE_AT, OVERHEAD
from .errors import RefusedByDeviceError
from .header import OS, OS_CONSOLE_ECHO, OS_PARAMS, SIZE, WRITE

SIZES = (512, 1024, 2048, 4096, 8192)
SMALL_SIZES = (384, 256, 192)
ZEPHYR_LINES = 7  #: MCUboot's Zephyr port has 8 line buffers; the line in work holds one
ESPRESSIF_LINES = 1  #: the native Espressif port polls a FIFO of 128 bytes
ALL_LINES = 1000  #: the whole next message


def negotiate(link):
    """Program: set `link.largest` and `link.credit_cap`; returns whether the device told. Raises `SilenceError`."""
    try:
        params = yield from read(link, OS, OS_PARAMS)
    except RefusedByDeviceError:
        if link.in_lines:
            yield from _try_out(link)
        return False
    size = params.get("buf_size", 0)
    count = params.get("buf_count", 0)
    if isinstance(size, int) and size > 2 * OVERHEAD + SIZE:
        link.largest = min(link.outgoing.capacity, size - OVERHEAD)
    if count == 1:
        link.credit_cap = ZEPHYR_LINES
    elif isinstance(count, int) and count > 2:
        link.credit_cap = ALL_LINES
    return True


def _try_out(link):
    limit = link.outgoing.capacity + OVERHEAD
    best = 0
    for size in SIZES:
        if size > limit or not (yield from _passes(link, size)):
            break
        best = size
    if not best:
        for size in SMALL_SIZES:
            if size <= limit and (yield from _passes(link, size)):
                best = size
                break
    if best:
        link.largest = best - OVERHEAD
    if best == 512 and (yield from _takes_long_lines(link)):
        link.credit_cap = ESPRESSIF_LINES


def _padded(link, size):
    """Build a request whose frame has `size` bytes; returns its size on the wire."""
    length = size - OVERHEAD
    body = encode({"pad": bytes(length - SIZE - 8)})
    body += bytes(length - SIZE - len(body))
    frame = link.outgoing.frame
    at = MESSAGE_AT + link.begin(WRITE, OS, OS_CONSOLE_ECHO, len(body)) - len(body)
    frame[at : at + len(body)] = body
    return link.outgoing.close(length)


def _answers(link, view, tries):
    wait = 250 + 3 * link.rtt_ms
    sequence = link.sequence
    for _ in range(tries):
        start = link.clock.now()
        yield view
        while not link.answered(sequence, WRITE, OS, OS_CONSOLE_ECHO):
            left = wait - link.clock.since(start)
            if left <= 0:
                break
            link.heard((yield left))
        else:
            return True
    return False


def _passes(link, size):
    return _answers(link, link.view[: _padded(link, size)], 2)


def _takes_long_lines(link):
    """Program: whether one line of more than 128 characters arrives, as only in the native Espressif port."""
    size = _padded(link, 192)
    text = bytes(link.view[:size])
    lines = text.split(b"\n")
    joined = lines[0] + b"".join([line[2:] for line in lines[1:]]) + b"\n"
    return _answers(link, memoryview(joined), 2)
