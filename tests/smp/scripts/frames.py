# mypy: ignore-errors
# ruff: noqa: T201 - a script for MicroPython as well: it prints, names are the board's, types stay at home
# Runs unchanged on CPython and MicroPython: what both must print alike.
from smp.errors import MalformedError

from smp import cbor, console, header, server

for text in (
    "0800000100000006a0",
    "0a00000600000200a16164626869",
    "0a00001900010401a3636c656e08636f6666006464617461480001020304050607",
):
    message = bytes.fromhex(text)
    lines = console.encode(message)
    print(lines)
    reader = console.DeviceReader(513, 128)
    buffer = bytearray(lines)
    reader.scan(buffer, 0, len(buffer))
    print(bytes(reader.frame[2 : 2 + reader.ready]) == message, tuple(header.parse(message)))

long = bytes([i * 31 & 255 for i in range(1000)])
lines = console.encode(long)
client = console.ClientReader(1024)
buffer = bytearray(b"log line\r\nhalf" + lines)
at = client.scan(buffer, 0, len(buffer))
print(at == len(buffer), bytes(client.frame[2 : 2 + client.ready]) == long)
bent = bytearray(lines)
bent[200] ^= 1
client.scan(bent, 0, len(bent))
print(client.ready)

value = {"off": 70000, "data": b"\x00\x01", "list": [1, -5, True, None, "grüß"], "f": 1.5, "big": 5000000000}
print(cbor.encode({"off": 70000}), cbor.encode_indefinite({"images": [{"slot": 0}]}))
print(cbor.decode(cbor.encode(value)) == value, cbor.decode(cbor.encode_indefinite(value)) == value)
for bad in (b"", b"\xbf", b"\x19\xff", b"\x1f", b"\xa2aaa", b"\x81" * 40, b"\xa2\x61a\x00\x61a\x01", b"\x00\x00"):
    try:
        cbor.decode(bad)
        print("accepted", bad)
    except MalformedError as error:
        print(error.message)

request = header.parse(bytes.fromhex("0200001900010401"))
print(server.answer_lines(request, {"rc": 0, "off": 8}))
print(console.crc16(b"123456789", 0, 9))
