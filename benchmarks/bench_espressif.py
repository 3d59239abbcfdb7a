"""Flash encryption and Secure Boot: ours against espsecure, whole processes and bare algorithms.

What espsecure takes in process is its process on 16 MiB less its process on 16 bytes, in the same run.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness import Figure, compare, process, report, seconds

from bootwright.formats.esp_flash_encryption import encrypt_esp32, encrypt_xts
from bootwright.formats.keys import KeyType, generate_key

SIZE = 16 << 20
OURS = [sys.executable, "-c", "from bootwright.cli.dropin.espsecure import run; run()"]
PEER = [str(Path(sys.executable).parent / "espsecure")]
SCHEMES = {"XTS-AES-128": (["--aes-xts"], 32), "XTS-AES-256": (["--aes-xts"], 64), "ESP32 AES": ([], 32)}


def words(options: list[str], key_size: int, name: str) -> list[str]:
    """An espsecure command line."""
    files = ["--keyfile", f"k{key_size}", "--address", "0", "--output", "out", name]
    return ["encrypt-flash-data", *options, *files]


def encrypting(folder: Path) -> list[Figure]:
    """Whole processes: encrypt 16 MiB."""
    figures = []
    for scheme, (options, key_size) in SCHEMES.items():
        line = words(options, key_size, "large")
        ours, theirs = process(OURS + line, cwd=folder), process(PEER + line, cwd=folder)
        target = "≤ 0.45" if options else "≤ 0.5"
        figures.append(compare(f"encrypt 16 MiB, {scheme}", ours, "espsecure", theirs, target=target, runs=7))
    return figures


def in_process(folder: Path) -> list[Figure]:
    """The algorithms alone."""
    data = (folder / "large").read_bytes()
    figures = []
    for scheme, (options, key_size) in SCHEMES.items():
        key = (folder / f"k{key_size}").read_bytes()
        encrypt = encrypt_xts if options else encrypt_esp32
        run = partial(encrypt, data, key, 0)
        run()
        large, small = (process(PEER + words(options, key_size, name), cwd=folder) for name in ("large", "small"))
        rounds = [(seconds(run), seconds(large) - seconds(small)) for _ in range(7)]
        ours, theirs = (statistics.median(pair[side] for pair in rounds) for side in (0, 1))
        target = "≤ 0.1" if options else "≤ 0.4"
        figures.append(
            Figure(f"encrypt 16 MiB, {scheme}, in process", ours, "espsecure", theirs, ours / theirs, target)
        )
    return figures


def signing(folder: Path) -> list[Figure]:
    """Whole processes: sign and verify 1 MiB; no target, start-up is nearly all of it."""
    figures = []
    for key_type in (KeyType.RSA_3072, KeyType.ECDSA_P256, KeyType.ECDSA_P384):
        (folder / "key.pem").write_bytes(generate_key(key_type).pem())
        sign = ["sign-data", "-v", "2", "-k", "key.pem", "-o", "signed", "medium"]
        verify = ["verify-signature", "-v", "2", "-k", "key.pem", "signed"]
        for verb, line in (("sign", sign), ("verify", verify)):
            ours, theirs = process(OURS + line, cwd=folder), process(PEER + line, cwd=folder)
            figures.append(compare(f"{verb} 1 MiB, {key_type}", ours, "espsecure", theirs, target="≤ 1", runs=7))
    return figures


def memory(folder: Path) -> list[Figure]:
    """The largest resident set of our process encrypting 128 MiB, as a multiple of the file (not of seconds)."""
    (folder / "huge").write_bytes(os.urandom(128 << 20))
    line = words(["--aes-xts"], 32, "huge")
    subprocess.run(OURS + line, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    times = peak / (128 << 20)
    print(f"memory: encrypting 128 MiB takes {times:.2f} times the file (target: under 3)", file=sys.stderr)
    return []


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode, as the peer's has
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["PYTHONPYCACHEPREFIX"] = str(place / "bytecode")
        for key_size in (32, 64):
            (place / f"k{key_size}").write_bytes(os.urandom(key_size))
        for file, size in (("large", SIZE), ("medium", 1 << 20), ("small", 16)):
            (place / file).write_bytes(os.urandom(size))
        memory(place)
        report(encrypting(place) + in_process(place) + signing(place))
