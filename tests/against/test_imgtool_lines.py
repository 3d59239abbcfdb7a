"""Random command lines of imgtool's sign, good and bad ones: ours ends, says and writes what imgtool does."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.against.test_imgtool import both, both_keeping, place
from tests.support.keys import SIGNING_TYPES
from tests.support.peers import Ran

from bootwright.formats.hexfile import pack_hex, parse_hex
from bootwright.formats.keys import KeyType

some = settings(max_examples=20)
#: words that ECDSA, RSA and encryption fill anew each time: signatures and wrapped keys, by TLV
_DRAWN = (0x20, 0x22, 0x23, 0x30, 0x32, 0x33, 0x34)
#: sentences that imgtool leaves unfinished, or in which it names a Python class
_OWN_ENDS = re.compile(r"(?<=0x00a0 and).*|(?<=allowed sha are one of).*|(?<=hash algorithms for).*")

KEYS = [f"@{key_type}.pem" for key_type in SIGNING_TYPES]
OPTIONS: list[list[str]] = [
    *([["-k", key] for key in [*KEYS, *KEYS, "@x25519.pem", "@ed25519.pub", "@missing", "@in.bin"]]),
    *([["-v", text] for text in ["1.2.3+4", "256.0", "1.2.65536", "01.2", "", "1.2.3+"]]),
    *([["-H", text] for text in ["64", "31", "65536", "0b100000", "x"]]),
    *([["-S", text] for text in ["0", "-1", "0x700", "1e3", "0x8000"]]),
    *([["--align", text] for text in ["4", "32", "3"]]),
    *([["--max-align", text] for text in ["8", "16", "64"]]),
    *([["-M", text] for text in ["512", "0", "-1", "-100", "0x10"]]),
    *([[flag] for flag in ["--pad", "--confirm", "--test", "--overwrite-only", "--pad-sig", "--non-bootable"]]),
    *([[flag] for flag in ["--save-enctlv", "--clear", "--pure", "--bogus", "--pad=1"]]),
    *([["-e", "big"], ["-e", "middle"], ["-R", "0"], ["-R", "255"], ["-L", "0x40000000"], ["-L", "-1"], ["-F", "1"]]),
    *([["-x", text] for text in ["0", "0x08000000", "-1", "0xfffffff0"]]),
    *([["-s", text] for text in ["auto", "AUTO", "7", "4294967296", "-1", "many", ""]]),
    *([["-d", text] for text in ["(1,1.2.3+4)", "(1, 1.2)(2,3)", "(256,1.0)", "(1)", "none", "(1,01.2)", "(1,256.0)"]]),
    *([["--boot-record", text] for text in ["CoFM", "", "thirteenchars"]]),
    *([["--custom-tlv", *pair] for pair in [("0xa0", "text"), ("0xa1", "0x01"), ("0x12a0", "0x"), ("160", "again")]]),
    *([["--custom-tlv", *pair] for pair in [("0x9f", "x"), ("0x10", "x"), ("x", "x"), ("0xa2", "0x1"), ("-1", "x")]]),
    *([["--custom-tlv-file", *pair] for pair in [("0xb0", "@in.bin"), ("0xb1", "@missing"), ("0x40", "@missing")]]),
    *([["--vid", text] for text in ["example.com", "12345678-1234-5678-1234-567812345678", ""]]),
    *([["--cid", text] for text in ["gadget", "12345678123456781234567812345678"]]),
    *([["--public-key-format", "full"], ["--sha", "512"], ["--sha", "384"], ["--sha", "256"]]),
    *([["--vector-to-sign", "payload"], ["--vector-to-sign", "digest"], ["--sig-out", "@sig"], ["--sig-out", "@no/s"]]),
    *([["--fix-sig", "@fixed"], ["--fix-sig", "@in.bin"], ["--fix-sig-pubkey", "@ed25519.pub"]]),
    *([["-E", f"@{name}"] for name in ["x25519.pub", "ecdsa-p256.pub", "rsa-2048.pub", "ed25519.pub", "missing"]]),
    *([["--encrypt-keylen", "256"], ["--hmac-sha", "512"]]),
]
lines = st.lists(st.sampled_from(OPTIONS), max_size=7).map(lambda groups: [word for group in groups for word in group])


@some
@given(lines, st.sampled_from(["@out.bin", "@out.bin", "@out.hex", "@no/out.bin"]), st.booleans(), st.data())
def test_ours_ends_says_and_writes_what_imgtool_does(
    line: list[str], outfile: str, pad: bool, data: st.DataObject
) -> None:
    header = ["--pad-header"] if pad else []
    with place() as folder:
        (folder / "fixed").write_bytes(b"aGVsbG8=")
        infile = _input(folder, data, pad)
        words = ["sign", "-v", "1.2.3", "-H", "32", "-S", "0x20000", *header, *line, infile, outfile]
        out = Path(outfile[1:]).name
        theirs, their_file, ours, our_file = both(folder, *words, out=out)
        assert ours.code == theirs.code, (words, theirs.err, ours.err)
        assert "Traceback" not in ours.err
        if theirs.code == 0:
            big = "big" in line
            assert ours.out == theirs.out, words
            assert _settled(our_file, out, big) == _settled(their_file, out, big), words
        else:
            assert our_file == b""
            assert "Traceback" in theirs.err or _sentences(ours) == _sentences(theirs), words


def _input(folder: Path, data: st.DataObject, pad: bool) -> str:
    payload = bytes(0 if pad else 64) + data.draw(st.sampled_from([b"", b"x", bytes(range(256)) * 3, bytes(3000)]))
    if data.draw(st.booleans()):
        (folder / "in.bin").write_bytes(payload)
        return "@in.bin"
    base = data.draw(st.sampled_from([0, 0x20, 0x1000, 0xFF80, 0x42000020]))
    (folder / "in.hex").write_bytes(pack_hex([(base, payload)]))
    return "@in.hex"


def _sentences(ran: Ran) -> list[str]:
    text = _OWN_ENDS.sub("", re.sub(r"\n +", " ", ran.err))
    return [row for row in text.splitlines() if row.startswith(("Error", "Usage", "Try"))]


def _settled(file: bytes, name: str, big: bool) -> object:
    """The file with everything masked that is drawn anew each time, encrypted payloads included."""
    order = ">" if big else "<"
    if name.endswith(".hex"):
        return [(address, _masked(data, order)) for address, data in parse_hex(file)] if b":" in file else file
    return _masked(file, order)


def _masked(data: bytes, order: str) -> object:
    magic, _, start, protected, size, flags = struct.unpack_from(order + "IIHHII", data.ljust(32, b"\0"))
    at = start + size + protected
    if magic != 0x96F3B83D or at + 4 > len(data):
        return data if len(data) > 100 else len(data)
    head = data[:start] + (bytes(size) if flags & 0xC else data[start : start + size])
    tlvs: list[tuple[int, bytes]] = []
    for area, many in ((start + size, protected), (at, struct.unpack_from(order + "H", data, at + 2)[0])):
        tlvs += _tlvs(data, area, many, order)
    end = at + struct.unpack_from(order + "H", data, at + 2)[0]
    return head, tlvs, len(data.rstrip(b"\xff\0")) and data[end:].lstrip(b"\xff\0")


def _tlvs(data: bytes, area: int, many: int, order: str) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    at = area + 4
    while at < area + many:
        type_, length = data[at], struct.unpack_from(order + "H", data, at + 2)[0]
        found.append((type_, b"" if type_ in _DRAWN else data[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


@settings(max_examples=6)
@given(st.text("ab1.-+_:# '\"0xeE,[]{}!&*?=~yYnNoé", min_size=1, max_size=8).filter(lambda name: name not in ".."))
def test_the_yaml_of_dumpinfo_quotes_names_as_imgtool_does(name: str) -> None:
    with place() as folder:
        words = ["-v", "1", "-H", "32", "-S", "0x20000", "--pad-header", "--custom-tlv", "0xa0", "0x", "@in.bin"]
        assert both(folder, "sign", *words, f"@{name}", out=name)[2].code == 0
        theirs, _, ours, _ = both_keeping(folder, "dumpinfo", "-f", "yaml", f"@{name}")
        assert ours == theirs


def test_encrypted_images_of_keyless_recipients_are_as_long_as_imgtools() -> None:
    for recipient in (KeyType.ED25519, KeyType.ECDSA_P384):
        with place() as folder:
            words = ["-v", "1", "-H", "32", "-S", "0x20000", "--pad-header", "-E", f"@{recipient}.pub"]
            theirs, their_file, ours, our_file = both(folder, "sign", *words, "@in.bin", "@out.bin")
            assert (ours.code, len(our_file)) == (theirs.code, len(their_file)) == (0, len(their_file))
            assert _settled(our_file, "out.bin", False) == _settled(their_file, "out.bin", False)
