"""MCUboot images: our imgtool against imgtool, whole processes; signing and verifying against the bare hash."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import Figure, compare, process, report, seconds

from bootwright.formats.keys import KeyType, generate_key
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SIGNATURE_TLVS, SignOptions, sign_image
from bootwright.formats.mcuboot_verify import verify_image

OURS = [sys.executable, "-c", "from bootwright.cli.dropin.imgtool import run; run()"]
NATIVE = [sys.executable, "-m", "bootwright", "image", "sign"]
PEER = [str(Path(sys.executable).parent / "imgtool")]


#: signing key → keys to encrypt for
ENCRYPTED = {
    KeyType.RSA_2048: (KeyType.RSA_2048,),
    KeyType.ECDSA_P256: (KeyType.ECDSA_P256,),
    KeyType.ED25519: (KeyType.X25519,),
}


def signing(folder: Path, size: int) -> list[Figure]:
    """Whole processes: sign with each key type, with imgtool's command line and with our own; encrypt as well."""
    (folder / "in.bin").write_bytes(os.urandom(size))
    for key_type in (*SIGNATURE_TLVS, KeyType.X25519):
        (folder / f"{key_type}.pem").write_bytes(generate_key(key_type).pem())
    figures = []
    for key_type in SIGNATURE_TLVS:
        theirs = PEER + _words(key_type)
        native = [*NATIVE, "-k", f"{key_type}.pem", "-v", "1.2.3", "in.bin", "out.bin"]
        figures.append(_whole(folder, f"sign 4 MiB, {key_type}", OURS + _words(key_type), theirs))
        figures.append(_whole(folder, f"sign and verify 4 MiB, {key_type}, `bootwright image sign`", native, theirs))
        for recipient in ENCRYPTED.get(key_type, ()):
            for bits in ("128", "256"):
                words = [*_words(key_type), "-E", f"{recipient}.pem", "--encrypt-keylen", bits]
                work = f"sign and encrypt 4 MiB, {key_type}, {recipient}, {bits} bits"
                figures.append(_whole(folder, work, OURS + words, PEER + words))
    return figures


def _words(key_type: KeyType) -> list[str]:
    options = ["-k", f"{key_type}.pem", "-v", "1.2.3", "-H", "32", "--pad-header", "-S", "0x800000"]
    return ["sign", *options, "in.bin", "out.bin"]


def _whole(folder: Path, work: str, ours: list[str], theirs: list[str]) -> Figure:
    mine, other = process(ours, cwd=folder), process(theirs, cwd=folder)
    return compare(work, mine, "imgtool", other, target="≤ 0.8", runs=15)


def in_process(size: int) -> list[Figure]:
    """In this process: sign and verify with Ed25519, against the SHA-256 that either needs."""
    payload, key = os.urandom(size), generate_key(KeyType.ED25519)
    options = SignOptions(version=ImageVersion(major=1), pad_header=True)
    image = sign_image(payload, options, key)
    works: dict[str, Callable[[], object]] = {
        "sign 1 MiB, ed25519": lambda: sign_image(payload, options, key),
        "verify 1 MiB, ed25519": lambda: verify_image(image, [key.public]),
    }
    bare = partial(hashlib.sha256, payload)
    return [
        compare(f"{work}, in process", partial(many, run), "SHA-256", partial(many, bare), target="≤ 1.3", runs=25)
        for work, run in works.items()
    ]


def many(run: Callable[[], object], times: int = 5) -> float:
    """One run is too short to be measured alone."""
    return sum(seconds(run) for _ in range(times))


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode, as the peer's has
    with tempfile.TemporaryDirectory() as name:
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(name) / "bytecode")
        report(signing(Path(name), 4 << 20) + in_process(1 << 20))
