"""Fuzz the parsers with atheris, guided by coverage: a job of its own, beside the examples that hypothesis draws.

    pip install atheris
    python tools/fuzz.py [TARGET] [-max_total_time=60] [other libFuzzer options]

A target is given any bytes and may refuse them with an error of ours; anything else it raises is a bug. Without a
target each is run for 60 seconds. `python tools/fuzz.py --replay TARGET FILE` runs one input, without atheris.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FunctionType

from bootwright.chips.chip import load_chip
from bootwright.chips.memory import image_target
from bootwright.errors import BootwrightError, FormatError
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.esp_elf import image_from_elf
from bootwright.formats.esp_elf_ram_only import ram_only_image_from_elf
from bootwright.formats.esp_flash_detect import detect
from bootwright.formats.esp_image import EspImage
from bootwright.formats.esp_partition_csv import decode_csv, format_csv, parse_csv
from bootwright.formats.esp_partition_rules import verify_partitions
from bootwright.formats.esp_partitions import PartitionTable
from bootwright.formats.esp_secure_boot import SECTOR_SIZE, find_signature_blocks
from bootwright.formats.hexfile import flatten, pack_hex, parse_hex
from bootwright.formats.keys import KeyType, generate_key, load_private_key, load_public_key
from bootwright.formats.load_header import verify_load_header
from bootwright.formats.mcuboot_compress import decompress_payload
from bootwright.formats.mcuboot_encrypt import KEY_TLVS, unwrap
from bootwright.formats.mcuboot_image import Image, ImageVersion, Tlv
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_verify import BootRules, verify_image
from bootwright.formats.uf2 import parse_uf2
from bootwright.host.image_view import as_text, view_image
from bootwright.host.secure_boot import describe_blocks, verify_signed

KEYS = {key_type: generate_key(key_type) for key_type in (KeyType.ED25519, KeyType.ECDSA_P256, KeyType.X25519)}
PUBLIC = (KEYS[KeyType.ED25519].public, KEYS[KeyType.ECDSA_P256].public)


def image(data: bytes) -> None:
    """An image that parses packs to the same bytes, and can be shown."""
    parsed = Image.parse(data)
    if parsed.pack() != data:
        raise AssertionError("pack(parse(x)) != x")
    as_text(parsed, view_image(parsed), "x")


def verify(data: bytes) -> None:
    """Any bytes get findings."""
    rules = BootRules(encrypted=bool(data[:1] > b"\x40"), pure=bool(data[:1] > b"\x80"))
    if not verify_image(data[1:], PUBLIC, rules=rules):
        raise AssertionError("no finding")


def compressed(data: bytes) -> None:
    """Any payload decompresses or is refused."""
    made = Image.parse(sign_image(b"", SignOptions(version=ImageVersion(), pad_header=True, extra_flags=0x400), None))
    decompress_payload(replace(made, payload=data))


def intel_hex(data: bytes) -> None:
    """What is read can be written and read again."""
    segments = parse_hex(data)
    if parse_hex(pack_hex(segments)) != segments:
        raise AssertionError("parse(pack(x)) != x")
    flatten(segments)


def key(data: bytes) -> None:
    """Any bytes are a key or refused, as both halves."""
    for load in (load_private_key, load_public_key):
        try:
            load(data)
        except FormatError as error:
            if "found" not in error.message:
                raise AssertionError(error.message) from error


def wrapped_key(data: bytes) -> None:
    """Any TLV opens or is refused."""
    for holder in (KEYS[KeyType.ECDSA_P256], KEYS[KeyType.X25519]):
        unwrap(Tlv(KEY_TLVS[data[0] % len(KEY_TLVS)] if data else 0, data[1:]), holder)


def esp_image(data: bytes) -> None:
    """Any bytes are an ESP image or refused; signatures are looked for."""
    find_signature_blocks(data)
    EspImage.parse(data)


def signed_image(data: bytes) -> None:
    """Any signature block with a right CRC gets findings, and can be shown."""
    if len(data) > SECTOR_SIZE:
        return
    sector = bytearray(data.ljust(SECTOR_SIZE, b"\xff"))
    sector[1196:1200] = zlib.crc32(sector[:1196]).to_bytes(4, "little")
    signed = bytes(SECTOR_SIZE) + bytes(sector)
    if not verify_signed(signed, None, chip=load_chip("esp32c3"), is_bootloader=True, subject="x"):
        raise AssertionError("no finding")
    describe_blocks(signed)


def elf(data: bytes) -> None:
    """Any bytes make an image or are refused."""
    image_from_elf(data, image_target("esp32c3"))
    ram_only_image_from_elf(data, image_target("esp32c3"))


def partitions(data: bytes) -> None:
    """Any bytes are a partition table or refused; what parses packs to the same bytes and is judged."""
    table = PartitionTable.parse(data)
    if table.pack() != data:
        raise AssertionError("pack(parse(x)) != x")
    verify_partitions(table)
    format_csv(table)


def partition_text(data: bytes) -> None:
    """Any text is a partition table or refused; the table survives its binary form."""
    table = parse_csv(decode_csv(data))
    if PartitionTable.parse(table.pack()) != table:
        raise AssertionError("parse(pack(x)) != x")


def uf2(data: bytes) -> None:
    """Any bytes are UF2 or refused."""
    parse_uf2(data)


def flash(data: bytes) -> None:
    """Any bytes of a flash get an answer."""
    if not detect(data):
        raise AssertionError("no finding")
    verify_load_header(data)


def conf(data: bytes) -> None:
    """Any text is a bootloader.conf, or refused."""
    BootloaderConf.parse(data.decode("utf-8", "replace"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(image, verify, compressed, intel_hex, key, wrapped_key, conf),
        *(esp_image, signed_image, elf, partitions, partition_text, uf2, flash),
    )
}


def _ours() -> list[FunctionType]:
    """Our own functions that are loaded: instrumenting all of Python's takes minutes and guides to nothing."""
    found = (thing for thing in gc.get_objects() if isinstance(thing, FunctionType))
    return [function for function in found if str(function.__module__).startswith("bootwright.")]


def once(target: Callable[[bytes], None], data: bytes) -> None:
    """One input; refusing it is fine."""
    with suppress(BootwrightError):
        target(data)


def main() -> None:
    """Run what the command line asks for."""
    words = sys.argv[1:]
    if words[:1] == ["--replay"]:
        once(TARGETS[words[1]], Path(words[2]).read_bytes())
    elif words[:1] and words[0] in TARGETS:
        import atheris

        target = TARGETS[words[0]]
        once(target, b"x")  # imports what is imported late
        for function in _ours():
            atheris.instrument_func(function)
        atheris.Setup([sys.argv[0], *words[1:]], lambda data: once(target, data))
        atheris.Fuzz()
    else:
        for name in TARGETS:
            print(f"== {name}", flush=True)
            subprocess.run([sys.executable, __file__, name, "-max_total_time=60", *words], check=True)


if __name__ == "__main__":
    main()
