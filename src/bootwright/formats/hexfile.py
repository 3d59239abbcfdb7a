"""Intel HEX: addressed bytes as text. Written byte for byte as the `intelhex` package writes it, 16 bytes a record."""

from __future__ import annotations

from binascii import Error as NotHexError
from binascii import hexlify, unhexlify
from collections.abc import Iterable, Iterator

from bootwright.errors import FormatError

Segment = tuple[int, bytes]  #: address and bytes

RECORD_SIZE = 16
LARGEST_SPAN = 256 << 20  #: bytes between the lowest and highest address that `flatten` will fill

_DATA, _END, _SEGMENT, _START_SEGMENT, _LINEAR, _START_LINEAR = range(6)
_LENGTHS = {_END: 0, _SEGMENT: 2, _START_SEGMENT: 4, _LINEAR: 2, _START_LINEAR: 4}


def parse_hex(text: bytes, *, where: str = "hex file") -> tuple[Segment, ...]:
    """Read all data records up to the end-of-file record; adjoining ones are joined. Start addresses are dropped.

    Raises:
        FormatError: a line is no record, its checksum or length is wrong, two records hold the same address, or there
            are two start addresses.
    """
    segments: list[tuple[int, bytearray]] = []
    base = 0
    started = False
    for number, record in enumerate(text.splitlines(), 1):
        if not record:
            continue
        kind, address, data = _record(record, f"{where}, line {number}")
        if kind == _DATA:
            address += base
            if segments and segments[-1][0] + len(segments[-1][1]) == address:
                segments[-1][1].extend(data)
            else:
                segments.append((address, bytearray(data)))
        elif kind == _END:
            break
        elif kind in (_SEGMENT, _LINEAR):
            base = int.from_bytes(data, "big") << (4 if kind == _SEGMENT else 16)
        elif started:
            raise FormatError(f"{where}, line {number}: found a second start address, expected one")
        else:
            started = True
    return _joined(segments, where)


def pack_hex(segments: Iterable[Segment]) -> bytes:
    """Write data records in address order and the end-of-file record; adjoining segments share records.

    Raises:
        FormatError: two segments hold the same address, or one lies beyond what 32 bits can address.
    """
    ordered = _joined([(address, bytearray(data)) for address, data in segments], "segments")
    end = ordered[-1][0] + len(ordered[-1][1]) if ordered else 0
    if end > 1 << 32:
        raise FormatError(
            f"Intel HEX: found data up to {end:#x}, expected it to end at {1 << 32:#x}", "choose a lower address"
        )
    far = end > 0x10000
    if far and ordered[0][0] < 0:
        raise FormatError(f"Intel HEX: found data at address {ordered[0][0]}, expected addresses from 0")
    lines: list[bytes] = []
    high = -1
    for address, data in ordered:
        for start, part in _records(address, data):
            if far and start >> 16 != high:
                high = start >> 16
                lines.append(_line(b"\x02\x00\x00\x04" + high.to_bytes(2, "big")))
            lines.append(_line(bytes((len(part), start >> 8 & 0xFF, start & 0xFF, _DATA)) + part))
    lines.append(b":00000001FF\n")
    return b"".join(lines)


def flatten(segments: tuple[Segment, ...], *, fill: int = 0xFF, where: str = "hex file") -> bytes:
    """The bytes from the lowest to the highest address, gaps filled.

    Raises:
        FormatError: the addresses lie further apart than any flash is large.
    """
    if not segments:
        return b""
    start = segments[0][0]
    span = segments[-1][0] + len(segments[-1][1]) - start
    if span > LARGEST_SPAN:
        raise FormatError(
            f"{where}: found addresses {start:#x} to {start + span:#x}, expected at most {LARGEST_SPAN:#x} bytes apart",
            "the file holds data for several memories; split it first",
        )
    flat = bytearray([fill]) * span
    for address, data in segments:
        flat[address - start : address - start + len(data)] = data
    return bytes(flat)


def _record(line: bytes, where: str) -> tuple[int, int, bytes]:
    try:
        raw = unhexlify(line[1:]) if line[:1] == b":" else b""
    except (NotHexError, ValueError):
        raw = b""
    if len(raw) < 5:
        raise FormatError(f"{where}: found {line[:20]!r}, expected an Intel HEX record", "is this an Intel HEX file?")
    if len(raw) != raw[0] + 5:
        raise FormatError(f"{where}: found a record of {len(raw)} bytes, expected {raw[0] + 5} by its length byte")
    kind, data = raw[3], raw[4:-1]
    if kind > _START_LINEAR or len(data) != _LENGTHS.get(kind, len(data)):
        raise FormatError(f"{where}: found a record of type {kind} with {len(data)} bytes, expected types 0 to 5")
    if sum(raw) & 0xFF:
        raise FormatError(f"{where}: found checksum {raw[-1]:#04x}, expected {-sum(raw[:-1]) & 0xFF:#04x}")
    return kind, raw[1] << 8 | raw[2], data


def _joined(segments: list[tuple[int, bytearray]], where: str) -> tuple[Segment, ...]:
    joined: list[tuple[int, bytearray]] = []
    for address, data in sorted(segments, key=lambda segment: segment[0]):
        end = joined[-1][0] + len(joined[-1][1]) if joined else None
        if end is not None and address < end:
            raise FormatError(f"{where}: found two records for address {address:#x}, expected one")
        if address == end:
            joined[-1][1].extend(data)
        elif data:
            joined.append((address, bytearray(data)))
    return tuple((address, bytes(data)) for address, data in joined)


def _records(address: int, data: bytes) -> Iterator[Segment]:
    """Pieces of at most 16 bytes, none across a 64 KiB boundary."""
    at = 0
    while at < len(data):
        size = min(RECORD_SIZE, 0x10000 - (address + at & 0xFFFF), len(data) - at)
        yield address + at, data[at : at + size]
        at += size


def _line(record: bytes) -> bytes:
    return b":" + hexlify(record + bytes((-sum(record) & 0xFF,))).upper() + b"\n"
