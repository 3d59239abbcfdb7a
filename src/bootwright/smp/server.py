"""The device's half of a conversation: requests out of bytes, answers into bytes; what to answer is the caller's.

Answers are what zcbor makes of them: maps and lists without a length. Version bits, group, sequence and command come
back as they were asked, op plus one (MCUboot 2d4bacc3, boot/boot_serial/src/boot_serial.c, `boot_serial_input`,
`boot_serial_output`).
"""

from . import console
from .cbor import encode_indefinite
from .console import MESSAGE_AT
from .header import READ, SIZE, WRITE, Header, pack, parse


def requests(reader, data):
    """The requests that `data` completes, as (header, body); what MCUboot would not look at is left out.

    That is an op that is no request, and a header that announces less than came; more than came it takes.
    """
    buffer = bytearray(data)
    end = len(buffer)
    at = 0
    found = []
    while at < end:
        at = reader.scan(buffer, at, end)
        length = reader.ready
        if length >= SIZE:
            header = parse(reader.frame, MESSAGE_AT)
            if header.op in (READ, WRITE) and header.length >= length - SIZE:
                found.append((header, bytes(reader.frame[MESSAGE_AT + SIZE : MESSAGE_AT + length])))
    return found


def answer(header, body):
    """The message that answers a request with these CBOR bytes."""
    back = Header(header.op + 1, header.version, 0, len(body), header.group, header.sequence, header.command)
    return pack(back) + body


def answer_lines(header, value):
    """The console lines that answer a request with a map."""
    return console.encode(answer(header, encode_indefinite(value)))


def answer_datagram(header, value):
    """The datagram that answers a request with a map."""
    return answer(header, encode_indefinite(value))
