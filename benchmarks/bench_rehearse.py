"""The rehearsal as a whole, how fast the door opens, and flash encryption in bulk beside AES alone."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from harness import Figure, compare, process, report

from bootwright.formats.esp_flash_encryption import encrypt_xts

BULK = 16 << 20


def bulk() -> Figure:
    """XTS-AES-128 of 16 MiB in process, beside one AES-ECB of the same bytes: the least that XTS can cost is two."""
    data, key = os.urandom(BULK), os.urandom(32)

    def ecb() -> None:
        Cipher(algorithms.AES(key[:16]), modes.ECB()).encryptor().update(data)

    return compare("XTS 16 MiB, in process", lambda: encrypt_xts(data, key, 0), "AES-ECB", ecb, target="250 MB/s")


def processor_rate() -> float:
    """MB of XTS in a second of processor time, which a busy machine does not change as it changes the clock's."""
    data, key = os.urandom(BULK), os.urandom(32)
    spent = []
    for _ in range(9):
        start = time.process_time()
        encrypt_xts(data, key, 0)
        spent.append(time.process_time() - start)
    return BULK / statistics.median(spent) / 1e6


def main() -> None:
    """Compare."""
    beside = Path(sys.executable).parent / "imgtool"
    imgtool = str(beside) if beside.exists() else shutil.which("imgtool")
    if imgtool is None:
        sys.exit("imgtool is not installed here")
    ours = [sys.executable, "-m", "bootwright"]
    report(
        [
            compare(
                "--help", process([*ours, "--help"]), "imgtool", process([imgtool, "--help"]), target="1.0 or less"
            ),
            compare(
                "built-in rehearsal, 18 steps",
                process([*ours, "rehearse"]),
                "imgtool --help",
                process([imgtool, "--help"]),
                target="under 5 s",
                runs=5,
            ),
            bulk(),
        ]
    )
    print(f"XTS: {processor_rate():.0f} MB in a second of processor time (target: 250)", file=sys.stderr)


if __name__ == "__main__":
    main()
