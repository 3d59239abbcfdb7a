"""eFuse states as files: ours, espefuse's tokens and virtual files, QEMU's file.

Only our own file and QEMU's carry what a chip hides; in the others a read-protected key is gone, and the state that is
read from them says so (`Efuses.unknown`).

- token: `EFSR:<chip>:<revision>:<block>:…:<coding errors>:<crc32>`, URL-safe base64 without padding, an empty part is
  all zeros, the CRC (little-endian) covers the text before it (`espefuse dump --format token`, 5.6.0, by observation)
- virtual file: the controller's register window as one big-endian number, so register 0 lies at the end of the file
  (`espefuse --virt --path-efuse-file`, by observation)
- QEMU: the blocks one after another, padded with zeros (ESP-IDF tools/idf_py_actions/qemu_ext.py, `default_efuse`)
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from bootwright.chips.chip import CHIP_NAMES, Chip, load_chip
from bootwright.chips.coding import encode_34, split_34
from bootwright.chips.efuses import Efuses
from bootwright.chips.summary import parse_summary
from bootwright.errors import FormatError

SCHEMA = 1
_TOKEN = re.compile(r"EFSR:[\w:-]+")
_URL_SAFE = str.maketrans("-_", "+/")
_QEMU_SIZES = {124: 124, 336: 1024, 1024: 1024}
_VIRTUAL_SIZES = (0x120, 0x200)


def read_state(data: bytes, *, chip: Chip | None = None, where: str = "") -> Efuses:
    """The eFuses in a file of any form that this module knows, told apart by their content.

    `chip` is needed for espefuse's virtual file and QEMU's, which do not say of what chip they are.

    Raises:
        FormatError: it is none of them, or a damaged one.
    """
    name = where or "the eFuse file"
    if not data:
        raise FormatError(f"{name} is empty", "expected an eFuse snapshot, an espefuse token, summary or virtual file")
    if not _is_text(data):
        return _read_binary(data, chip, name)
    text = data.decode()
    if match := _TOKEN.search(text):
        return _same_chip(parse_token(match.group(), where=name), chip, name)
    if "{" not in text:
        raise FormatError(f"{name} holds neither a token nor JSON", "expected text that contains `EFSR:` or an object")
    values = _json(text[text.index("{") :], name)
    if values.get("bootwright") == "efuses":
        return _same_chip(parse_snapshot(values, where=name), chip, name)
    return parse_summary(values, chip=chip, where=name)


def parse_token(token: str, *, where: str = "token") -> Efuses:
    """The eFuses that a read token tells; what the chip hides stays unknown.

    Raises:
        FormatError: parts are missing, the CRC is wrong, or a block is too long.
    """
    chip, revision, content = _parse_token("EFSR", token, where)
    return Efuses.holding(chip, content, revision=revision or None).hiding()


def parse_write_token(text: str, *, where: str = "token") -> tuple[Chip, dict[int, bytes]]:
    """The bits that a write token (`EFSW:…`, `espefuse burn-… --show-token`) stages, by block; keys are among them.

    Raises:
        FormatError: there is no such token in the text, or it is damaged.
    """
    match = re.search(r"EFSW:[\w:-]+", text)
    if match is None:
        raise FormatError(f"{where}: found no text that begins with EFSW:", "make it with `espefuse … --show-token`")
    chip, _, content = _parse_token("EFSW", match.group(), where)
    return chip, content


def _parse_token(kind: str, token: str, where: str) -> tuple[Chip, int, dict[int, bytes]]:
    parts = token.split(":")
    if len(parts) < 6 or parts[0] != kind or not re.fullmatch(r"\d{3}", parts[2]):
        raise FormatError(
            f"{where}: found no token of the form {kind}:chip:revision:blocks…:crc", "copy the whole line"
        )
    chip = _known_chip(parts[1], where)
    *blocks, errors, crc = parts[3:]
    if len(blocks) != len(chip.blocks):
        raise FormatError(
            f"{where}: found {len(blocks)} blocks, expected {len(chip.blocks)} for {chip.title}", "copy the whole line"
        )
    found = int.from_bytes(_unbase64(crc, where), "little")
    expected = zlib.crc32(token[: token.rindex(":") + 1].encode())
    if found != expected:
        raise FormatError(f"{where}: found CRC {found:08x}, expected {expected:08x}", "the token was changed or cut")
    if errors:
        raise FormatError(
            f"{where}: the chip reports coding errors ({errors})",
            "a block was cut or written twice; read it with espefuse",
        )
    content = {n: _unbase64(part, where) for n, part in enumerate(blocks)}
    for number, data in content.items():
        if len(data) > chip.blocks[number].size:
            raise FormatError(
                f"{where}: found {len(data)} bytes for block {number}, expected at most {chip.blocks[number].size}",
                "the token is of another chip",
            )
    return chip, int(parts[2]), content


def token(efuses: Efuses) -> str:
    """The state as espefuse's read token; hidden blocks read as zeros."""
    blocks = []
    for block in efuses.chip.blocks:
        data = efuses.readable_block(block.number)
        blocks.append(_base64(data) if any(data) else "")
    body = f"EFSR:{efuses.chip.name}:{efuses.revision:03}:" + ":".join(blocks) + "::"
    return body + _base64(zlib.crc32(body.encode()).to_bytes(4, "little"))


def parse_virtual(data: bytes, chip: Chip, *, where: str = "virtual file") -> Efuses:
    """The eFuses in a file of `espefuse --virt --path-efuse-file`; what is read-protected there is lost.

    Raises:
        FormatError: the file has another size than the chip's register window.
    """
    size = _window(chip)
    if len(data) != size:
        raise FormatError(f"{where}: found {len(data)} bytes, expected {size} for {chip.title}", "name the right chip")
    window = data[::-1]
    blocks = {block.number: window[block.read : block.read + block.size] for block in chip.blocks}
    return Efuses.holding(chip, blocks).hiding()


def virtual(efuses: Efuses) -> bytes:
    """The state as a file for `espefuse --virt --path-efuse-file`."""
    window = bytearray(_window(efuses.chip))
    for block in efuses.chip.blocks:
        data = efuses.readable_block(block.number)
        window[block.read : block.read + len(data)] = data
    return bytes(window[::-1])


def parse_qemu(data: bytes, chip: Chip, *, where: str = "QEMU eFuse file") -> Efuses:
    """The eFuses in QEMU's file: everything, hidden keys too.

    Raises:
        FormatError: the file is too short for the chip.
    """
    size = sum(block.size for block in chip.blocks)
    if len(data) < size or any(data[size:]):
        raise FormatError(
            f"{where}: found {len(data)} bytes, expected {size} and then zeros for {chip.title}", "name the right chip"
        )
    blocks: dict[int, bytes] = {}
    at = 0
    for block in chip.blocks:
        blocks[block.number] = data[at : at + block.size]
        at += block.size
    first = Efuses.holding(chip, {0: blocks[0]})
    coded = {n: split_34(raw)[0] if first.coding(n) == "3/4" else raw for n, raw in blocks.items()}
    return Efuses.holding(chip, coded)


def qemu(efuses: Efuses) -> bytes:
    """The state as QEMU's eFuse file, hidden keys included: keep it as safe as the keys."""
    blocks = []
    for block in efuses.chip.blocks:
        data = efuses.block(block.number)
        blocks.append(encode_34(data) if efuses.coding(block.number) == "3/4" else data.ljust(block.size, b"\0"))
    data = b"".join(blocks)
    return data.ljust(_QEMU_SIZES.get(len(data), 1024), b"\0")


def parse_snapshot(values: Mapping[str, Any], *, where: str = "snapshot") -> Efuses:
    """Our own form, hidden keys included.

    Raises:
        FormatError: a part is missing or is not what it must be.
    """
    try:
        if values["schema"] != SCHEMA:
            raise FormatError(f"{where}: found schema {values['schema']}, expected {SCHEMA}", "use a newer Bootwright")
        chip = _known_chip(values["chip"], where)
        blocks = {n: bytes.fromhex(text) for n, text in enumerate(values["blocks"])}
        checks = {int(n): bytes.fromhex(text) for n, text in values.get("checks", {}).items()}
        if len(blocks) != len(chip.blocks) or any(len(data) > chip.blocks[n].size for n, data in blocks.items()):
            raise FormatError(f"{where}: the blocks are not those of {chip.title}", "restore the file from a backup")
        if not 0 <= (revision := int(values["revision"])) < 10000:
            raise FormatError(f"{where}: found revision {revision}, expected major * 100 + minor", "correct the file")
        state = Efuses.holding(chip, blocks, revision=revision)
        latch = bytes.fromhex(values["latch"]) if "latch" in values else None
        unknown = frozenset(map(int, values.get("unknown", ())))
        if not unknown <= blocks.keys() or not checks.keys() <= blocks.keys():
            raise FormatError(f"{where}: names blocks that {chip.title} has not", "restore the file from a backup")
        return state.restored(checks=checks, latch=latch, unknown=unknown)
    except KeyError as error:
        raise FormatError(f"{where}: found no {error}, expected it", "restore the file from a backup") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{where}: found a part of the wrong kind: {error}", "restore the file from a backup"
        ) from error


def snapshot(efuses: Efuses) -> str:
    """The state as our own JSON, hidden keys included: keep it as safe as the keys."""
    numbers = range(len(efuses.bits))
    values: dict[str, object] = {
        "bootwright": "efuses",
        "schema": SCHEMA,
        "chip": efuses.chip.name,
        "revision": efuses.revision,
        "blocks": [efuses.bits[n].to_bytes(efuses.chip.blocks[n].size, "little").hex() for n in numbers],
    }
    if spoiled := {str(n): efuses.checks[n].to_bytes(12, "little").hex() for n in numbers if efuses.spoiled(n)}:
        values["checks"] = spoiled
    if efuses.latch != efuses.bits[0]:
        values["latch"] = efuses.latch.to_bytes(efuses.chip.blocks[0].size, "little").hex()
    if efuses.unknown:
        values["unknown"] = sorted(efuses.unknown)
    return json.dumps(values, indent=2) + "\n"


def _window(chip: Chip) -> int:
    """Bytes of the register window that espefuse keeps: the ESP32's is shorter."""
    return _VIRTUAL_SIZES[0] if chip.blocks[0].coding == "none" else _VIRTUAL_SIZES[1]


def _read_binary(data: bytes, chip: Chip | None, where: str) -> Efuses:
    if len(data) not in (*_VIRTUAL_SIZES, *_QEMU_SIZES):
        raise FormatError(
            f"{where}: found {len(data)} bytes, expected 288 or 512 (espefuse), or 124, 336 or 1024 (QEMU)",
            "convert it with `espefuse dump --format token`",
        )
    if chip is None:
        raise FormatError(f"{where}: {len(data)} bytes of eFuses, but the chip is not in them", "name it with --chip")
    parse = parse_virtual if len(data) in _VIRTUAL_SIZES else parse_qemu
    return parse(data, chip, where=where)


def _same_chip(efuses: Efuses, chip: Chip | None, where: str) -> Efuses:
    if chip is not None and chip is not efuses.chip:
        raise FormatError(f"{where}: found eFuses of {efuses.chip.title}, expected {chip.title}", "name the right chip")
    return efuses


def _known_chip(name: str, where: str) -> Chip:
    if name not in CHIP_NAMES:
        raise FormatError(f"{where}: found eFuses of {name!r}", f"known chips are {', '.join(CHIP_NAMES)}")
    return load_chip(name)


def _is_text(data: bytes) -> bool:
    try:
        return data.decode().isprintable() or bool(re.fullmatch(r"[\x20-\x7e\s│╭╮╰╯─]*", data.decode()))
    except UnicodeDecodeError:
        return False


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        values, _ = json.JSONDecoder().raw_decode(text)
    except ValueError as error:
        raise FormatError(f"{where}: {error}", "the file is cut or was edited by hand") from error
    if not isinstance(values, dict):
        raise FormatError(f"{where}: found a {type(values).__name__}, expected an object", "give another file")
    return values


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unbase64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise FormatError(f"{where}: {text!r} is no base64", "copy the whole line") from error
