"""What imgtool's dumpinfo shows, in its three forms."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from bootwright.formats.mcuboot_image import ENCRYPTED, ImageFlags, ImageHeader, TlvType
from bootwright.formats.mcuboot_trailer import MAGIC_ALIGN_8, MAGIC_REST, MAGIC_SIZE, align_up

WIDTH = 60
_STATES = {1: "SET", 2: "BAD", 3: "UNSET", 4: "ANY"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One TLV as dumpinfo names it."""

    type: int
    data: bytes
    length: int

    @property
    def name(self) -> str:
        """imgtool's name, or UNKNOWN."""
        known = self.type in TlvType.__members__.values() and self.type != TlvType.ECDSA224
        return TlvType(self.type).name if known else "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """Everything that dumpinfo shows."""

    filename: str
    header: dict[str, int | str]
    protected_info: tuple[int, int] | None
    protected: tuple[Entry, ...]
    area_info: tuple[int, int]
    entries: tuple[Entry, ...]
    trailer: dict[str, int | bytes] = field(default_factory=dict)


def read_info(filename: str, data: bytes) -> tuple[Info, bool]:
    """Read an image as far as imgtool does; the second value is false when a trailer's magic is unknown.

    Raises:
        struct.error, IndexError: the bytes end before what they announce.
    """
    struct.unpack_from("<28x", data)
    header = ImageHeader.parse(data.ljust(32, b"\x00"))
    shown: dict[str, int | str] = {
        "magic": header.magic,
        "load_addr": header.load_addr,
        "hdr_size": header.hdr_size,
        "protected_tlv_size": header.protect_tlv_size,
        "img_size": header.img_size,
        "flags": header.flags,
        "version": str(header.ver),
    }
    at = header.tlv_offset
    protected_info: tuple[int, int] | None = None
    protected: tuple[Entry, ...] = ()
    if header.protect_tlv_size:
        protected_info, protected, at = _area(data, at)
    area_info, entries, at = _area(data, at)
    trailer: dict[str, int | bytes] = {}
    known = True
    if len(data) != at:
        trailer, known = _trailer(data, header.flags)
    return Info(
        filename=filename,
        header=shown,
        protected_info=protected_info,
        protected=protected,
        area_info=area_info,
        entries=entries,
        trailer=trailer,
    ), known


def _area(data: bytes, at: int) -> tuple[tuple[int, int], tuple[Entry, ...], int]:
    magic, total = struct.unpack_from("<HH", data, at)
    end = at + total
    at += 4
    entries: list[Entry] = []
    while at < end:
        type_, length = struct.unpack_from("<HH", data, at)
        entries.append(Entry(type_, data[at + 4 : at + 4 + length], length))
        at += 4 + length
    return (magic, total), tuple(entries), at


def _trailer(data: bytes, flags: int) -> tuple[dict[str, int | bytes], bool]:
    magic = data[-MAGIC_SIZE:]
    trailer: dict[str, int | bytes] = {"magic": magic}
    if magic == MAGIC_ALIGN_8:
        align = 8
    elif magic[2:] == MAGIC_REST:
        align = int.from_bytes(magic[:2], "little")
    else:
        return trailer, False
    at = -max(MAGIC_SIZE, align)
    for name in ("image_ok", "copy_done", "swap_info"):
        at -= align
        trailer[name] = data[at]
    at -= align
    trailer["swap_size"] = int.from_bytes(data[at : at + 4], "little")
    if ImageFlags(flags) & ENCRYPTED:
        if align not in (8, 16, 32):
            raise IndexError
        trailer["key_field_len"] = align_up(16, align) * 2
    return trailer, True


def _plain(info: Info) -> dict[str, object]:
    area: dict[str, object] = {
        "tlv_hdr_prot": _info_dict(info.protected_info),
        "tlvs_prot": [_entry_dict(entry) for entry in info.protected],
        "tlv_hdr": _info_dict(info.area_info),
        "tlvs": [_entry_dict(entry) for entry in info.entries],
    }
    return {"filename": info.filename, "header": info.header, "tlv_area": area, "trailer": info.trailer}


def _info_dict(info: tuple[int, int] | None) -> dict[str, int]:
    return {} if info is None else {"magic": info[0], "tlv_tot": info[1]}


def _entry_dict(entry: Entry) -> dict[str, object]:
    return {"type": entry.type, "type_name": entry.name, "len": entry.length, "data": entry.data}


def as_json(info: Info) -> str:
    """JSON, bytes as hex."""
    return json.dumps(_plain(info), indent=2, default=bytes.hex)


def as_yaml(info: Info) -> str:
    """YAML as PyYAML writes it: bytes as base64."""
    return "".join(line + "\n" for line in _yaml(_plain(info), ""))


def _yaml(value: dict[str, object], indent: str) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{key}:", *_yaml(item, indent + "  ")] if item else [f"{indent}{key}: {{}}"]
        elif isinstance(item, list):
            lines.append(f"{indent}{key}:" if item else f"{indent}{key}: []")
            for row in item:
                first, *others = _yaml(row, indent + "  ")
                lines += [f"{indent}- {first.lstrip()}", *others]
        elif item == b"":
            lines.append(f'{indent}{key}: !!binary ""')
        elif isinstance(item, bytes):
            lines += [f"{indent}{key}: !!binary |", *_base64(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {_scalar(item)}")
    return lines


def _base64(data: bytes, indent: str) -> list[str]:
    return [indent + line for line in base64.encodebytes(data).decode().splitlines()]


#: text that YAML 1.1 takes for a value of another type: bool, null, merge, value, int, float, timestamp (yaml.org/type)
_OTHER_TYPES = re.compile(
    r"[Yy]es|YES|[Nn]o|NO|[Tt]rue|TRUE|[Ff]alse|FALSE|[Oo]n|ON|[Oo]ff|OFF|~|[Nn]ull|NULL|<<|="
    r"|[-+]?(0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(:[0-5]?\d)+)"
    r"|[-+]?\d[\d_]*\.[\d_]*([eE][-+]\d+)?|\.\d[\d_]*([eE][-+]\d+)?|[-+]?\d[\d_]*(:[0-5]?\d)+\.[\d_]*"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    r"|\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?([Tt]|[ \t]+)\d\d?:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:\d\d)?))?",
    re.ASCII,
)
#: where a text cannot do without quotes: an indicator at its start, a colon or hash that would end it, outer spaces
_NEEDS_QUOTES = re.compile(r"[#,\[\]{}&*!|>'\"%@`]|[-?:]( |$)|---|\.\.\.|.*(:( |$)| #)| |.* $")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\x85": "\\N", "\xa0": "\\_"}


def _scalar(value: object) -> str:
    text = str(value)
    if not isinstance(value, str):
        return text
    if re.fullmatch("[ -~]*", text) is None:
        return '"' + "".join(_escaped(char) for char in text) + '"'
    if text and not _NEEDS_QUOTES.match(text) and not _OTHER_TYPES.fullmatch(text):
        return text
    return "'" + text.replace("'", "''") + "'"


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if 0x20 <= code < 0x7F:
        return char
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def as_text(info: Info) -> str:
    """Frames of 60 columns, for people."""
    lines = [f"Printing content of signed image: {info.filename} ", "", _row("Image header (offset: 0x0)")]
    lines += [f"{key}:{' ' * (19 - len(key))}{_header_value(key, value)}" for key, value in info.header.items()]
    lines.append("#" * WIDTH)
    at = _int(info.header["hdr_size"])
    lines += _frame(f"Payload (offset: {at:#x})", f"FW image (size: {_int(info.header['img_size']):#x} Bytes)")
    at += _int(info.header["img_size"])
    if info.protected_info is not None:
        lines += _area_text(f"Protected TLV area (offset: {at:#x})", info.protected_info, info.protected)
    at += _int(info.header["protected_tlv_size"])
    lines += _area_text(f"TLV area (offset: {at:#x})", info.area_info, info.entries)
    if info.trailer.get("magic"):
        lines += _trailer_text(info.trailer)
    lines.append(_row("End of Image "))
    return "\n".join(lines) + "\n"


def _int(value: int | str) -> int:
    return int(value)


def _header_value(key: str, value: int | str) -> str:
    if key != "flags":
        return value if isinstance(value, str) else hex(value)
    if not value:
        return "0x0"
    names = [f"{flag.name} ({flag.value:#x})" for flag in ImageFlags if int(value) & flag]
    return ("\n" + " " * 20).join(names)


def _row(text: str) -> str:
    return f"#### {text} ".ljust(WIDTH, "#")


def _frame(title: str, content: str) -> list[str]:
    blank = "|" + " " * (WIDTH - 2) + "|"
    before = "|" + " " * ((WIDTH - len(content)) // 2 - 1)
    return [_row(title), blank, (before + content).ljust(WIDTH - 1) + "|", blank, "#" * WIDTH]


def _area_text(title: str, info: tuple[int, int], entries: tuple[Entry, ...]) -> list[str]:
    lines = [_row(title), f"magic:     {info[0]:#x}", f"area size: {info[1]:#x}"]
    margin = " " * (WIDTH // 8)
    body: list[str] = []
    for entry in entries:
        body += [
            f"{margin} " + "-" * 45,
            f"{margin} type: {entry.name} ({entry.type:#x})",
            f"{margin} len:  {entry.length:#x}",
        ]
        rows = [entry.data[at : at + 8] for at in range(0, len(entry.data), 8)] or [b""]
        texts = ["".join(f"{byte:#04x} " for byte in row) for row in rows]
        body += [f"{margin} data: {texts[0]}", *(f"{margin}       {text}" for text in texts[1:])]
    return [*lines, "\n".join(body), "#" * WIDTH]


def _trailer_text(trailer: dict[str, int | bytes]) -> list[str]:
    note = "(Note: some fields may not be used, depending on the update strategy)\n"
    lines = [
        _row("Image trailer (offset: unknown)"),
        "\n".join(note[at : at + WIDTH] for at in range(0, len(note), WIDTH)),
        "swap status: (len: unknown)",
    ]
    size = trailer.get("key_field_len")
    keys = f"(len: {size:#x}, if BOOT_SWAP_SAVE_ENCTLV is unset)" if isinstance(size, int) else "Image not encrypted"
    lines.append(f"enc. keys:   {keys}")
    for name, title in (("swap_size", "swap size:  "), ("swap_info", "swap_info:  ")):
        if name in trailer:
            lines.append(f"{title} {_SHOW[name](_number(trailer[name]))}")
    for name, title in (("copy_done", "copy_done:  "), ("image_ok", "image_ok:   ")):
        if name in trailer:
            lines.append(f"{title} {_state(_number(trailer[name]))}")
    magic = trailer["magic"]
    assert isinstance(magic, bytes)
    texts = ["".join(f"{byte:#04x} " for byte in magic[at : at + 8]) for at in (0, 8)]
    return [*lines, "boot magic:  " + ("\n" + " " * 13).join(texts), ""]


def _number(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value


def _size(value: int) -> str:
    return "unknown" if value == 0xFFFFFFFF else f"{value:#x} octal: {value}"


def _state(value: int) -> str:
    return f"{_STATES.get(value, 'INVALID')} ({value:#x})"


_SHOW: dict[str, Callable[[int], str]] = {"swap_size": _size, "swap_info": _state}

WRITERS: dict[str, Callable[[Info], str]] = {"human": as_text, "yaml": as_yaml, "json": as_json}
