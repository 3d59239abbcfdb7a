"""Fuzz the parsers with atheris, guided by coverage: a job of its own, beside the examples that hypothesis draws.

    pip install atheris
    python tools/fuzz.py [TARGET] [-max_total_time=60] [other libFuzzer options]

A target is given any bytes and may refuse them with an error of ours; anything else it raises is a bug. Without a
target each is run for 60 seconds. `python tools/fuzz.py --replay TARGET FILE` runs one input, without atheris.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bootwright.errors import BootwrightError, FormatError
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.esp_image import EspImage
from bootwright.formats.esp_partitions import PartitionTable
from bootwright.formats.esp_secure_boot import find_signature_blocks
from bootwright.formats.hexfile import flatten, pack_hex, parse_hex
from bootwright.formats.keys import KeyType, generate_key, load_private_key, load_public_key
from bootwright.formats.mcuboot_compress import decompress_payload
from bootwright.formats.mcuboot_encrypt import KEY_TLVS, unwrap
from bootwright.formats.mcuboot_image import Image, ImageVersion, Tlv
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.formats.mcuboot_verify import BootRules, verify_image
from bootwright.host.image_view import as_text, view_image

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


def partitions(data: bytes) -> None:
    """Any bytes are a partition table or refused."""
    PartitionTable.parse(data)


def conf(data: bytes) -> None:
    """Any text is a bootloader.conf, or refused."""
    BootloaderConf.parse(data.decode("utf-8", "replace"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (image, verify, compressed, intel_hex, key, wrapped_key, esp_image, partitions, conf)
}


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
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], *words[1:]], lambda data: once(target, data))
        atheris.Fuzz()
    else:
        for name in TARGETS:
            print(f"== {name}", flush=True)
            subprocess.run([sys.executable, __file__, name, "-max_total_time=60", *words], check=True)


if __name__ == "__main__":
    main()
