"""Traces: what a bootloader did with a flash, operation by operation, as a JSON document.

The schema (`schema` 1) is described in docs/reference/trace.md. This module reads and writes the document; `trace_play`
plays it on the model.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootwright.boot.config import BootConfig, ImageSlots, Mode, SerialErase, Signature, single_slot
from bootwright.errors import FormatError, NotModelledError
from bootwright.flash import SECTOR_SIZE, Area

SCHEMA = 1
LARGEST = 64 << 20  #: bytes of flash; the largest chip has 32 MiB

SIGNATURES = {
    "none": None,
    "ed25519": Signature.ED25519,
    "ec256": Signature.ECDSA_P256,
    "rsa2048": Signature.RSA_2048,
    "rsa3072": Signature.RSA_3072,
}


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace, read: the build, the flash it begins with, and what was done."""

    name: str
    config: BootConfig
    flash: bytes  #: raw content at the beginning
    steps: tuple[Mapping[str, Any], ...]
    final_sha256: str


def parse_trace(document: object, *, where: str = "trace") -> Trace:
    """Read a trace document.

    Raises:
        FormatError: another schema, or a part that is missing or malformed.
    """
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise FormatError(f"{where}: found schema {found!r}, expected {SCHEMA}", "see docs/reference/trace.md")
    try:
        return Trace(
            name=str(document["name"]),
            config=parse_config(document["config"], document.get("pubkey_der_hex")),
            flash=_flash(document["flash"], where),
            steps=tuple(document["steps"]),
            final_sha256=str(document["final_sha256"]),
        )
    except MALFORMED as error:
        raise malformed(error, where) from error


#: what reading a document of another shape raises
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, binascii.Error, zlib.error)


def malformed(error: Exception, where: str) -> FormatError:
    """The error for a document that says schema 1 and is of another shape."""
    return FormatError(
        f"{where}: not a trace of schema {SCHEMA}: {type(error).__name__}: {error}", "see docs/reference/trace.md"
    )


def unpack(text: str) -> bytes:
    """Bytes of a `zlib_b64` value, at most 64 MiB of them."""
    stream = zlib.decompressobj()
    data = stream.decompress(base64.b64decode(text, validate=True), LARGEST)
    if not stream.eof:
        raise ValueError("the compressed data are cut short or too long")
    return data


def pack(data: bytes) -> str:
    """A `zlib_b64` value."""
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _flash(part: Mapping[str, Any], where: str) -> bytes:
    from hashlib import sha256

    data = unpack(part["zlib_b64"])
    if len(data) != int(part["size"]) or sha256(data).hexdigest() != part["sha256"]:
        raise FormatError(
            f"{where}: the initial flash has {len(data)} bytes and another hash than the trace says", "copy it again"
        )
    return data


def parse_config(part: Mapping[str, Any], pubkey: str | None) -> BootConfig:
    """The build that a trace was made with."""
    conf = {name: _number(value) for name, value in part["bootloader_conf"].items()}
    size = conf["CONFIG_ESP_APPLICATION_SIZE"]
    if int(part["sector"]) != SECTOR_SIZE:
        raise NotModelledError(
            f"flash sectors of {part['sector']} bytes are not modelled", "the Espressif port works on sectors of 4096"
        )
    count = int(part["images"])
    mode = Mode(part["mode"])
    slots = tuple(_slots(conf, n, size, single=mode is Mode.SINGLE) for n in range(count))
    scratch = None
    if mode is Mode.SCRATCH:
        scratch = Area("scratch", conf["CONFIG_ESP_SCRATCH_OFFSET"], conf["CONFIG_ESP_SCRATCH_SIZE"])
    return BootConfig(
        mode=mode,
        images=slots,
        scratch=scratch,
        signature=SIGNATURES[part["sig"]],
        keys=(bytes.fromhex(pubkey),) if pubkey else (),
        downgrade_prevention=bool(part["downgrade_prevention"]),
        security_counter=bool(part["security_counter"]),
        max_align=int(part["boot_max_align"]),
        write_align=int(part["write_align"]),
        flash_encryption_active=bool(part["flash_encryption_active"]),
        max_img_sectors=int(part["max_img_sectors"]),
        sector_size=int(part["sector"]),
        serial=SerialErase(part["serial_recovery"]) if part.get("serial_recovery") else None,
        ram=Area("RAM", *map(int, part["ram"])) if part.get("ram") else None,
    )


def _slots(conf: Mapping[str, int], image: int, size: int, *, single: bool) -> ImageSlots:
    primary = Area(f"image {image} primary", conf[f"CONFIG_ESP_IMAGE{image}_PRIMARY_START_ADDRESS"], size)
    if single:
        return single_slot(primary)
    at = conf[f"CONFIG_ESP_IMAGE{image}_SECONDARY_START_ADDRESS"]
    return ImageSlots(primary, Area(f"image {image} secondary", at, size))


def _number(value: object) -> int:
    if isinstance(value, bool | int):
        return int(value)
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no number")
    return {"y": 1, "Y": 1, "n": 0, "N": 0}[value] if value in ("y", "Y", "n", "N") else int(value, 0)


def compact(value: Sequence[object]) -> str:
    """Compact JSON, as the hashes of a trace are made over it."""
    return json.dumps(value, separators=(",", ":"))
