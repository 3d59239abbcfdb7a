"""Make tests/vectors/imgtool anew: run the real imgtool with MCUboot's own sample keys and write down what it made.

    python tools/make_image_vectors.py MCUBOOT_CHECKOUT

imgtool must be installed beside this Python (`pip install -e '.[peers]'`). Nothing here computes an expected value.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VECTORS = ROOT / "tests" / "vectors" / "imgtool"
IMGTOOL = str(Path(sys.executable).parent / "imgtool")
KEYS = (
    "root-rsa-2048.pem",
    "root-rsa-3072.pem",
    "root-ec-p256.pem",
    "root-ec-p384.pem",
    "root-ed25519.pem",
    "enc-rsa2048-priv.pem",
    "enc-rsa2048-pub.pem",
    "enc-ec256-priv.pem",
    "enc-ec256-pub.pem",
    "enc-x25519-priv.pem",
    "enc-x25519-pub.pem",
)
PAYLOAD = bytes(range(256)) + b"compress me " * 40
BASE = "-v 1.2.3+4 -H 0x20 --pad-header -S 0x4000 -M 32"

#: name → the words between `sign` and the files
IMAGES = {
    "unsigned": "",
    "rsa-2048": "-k root-rsa-2048.pem",
    "rsa-3072": "-k root-rsa-3072.pem",
    "ecdsa-p256": "-k root-ec-p256.pem",
    "ecdsa-p256 padded signature": "-k root-ec-p256.pem --pad-sig",
    "ecdsa-p384": "-k root-ec-p384.pem",
    "ed25519": "-k root-ed25519.pem",
    "ed25519 sha512": "-k root-ed25519.pem --sha 512",
    "ed25519 pure": "-k root-ed25519.pem --pure",
    "whole public key": "-k root-ed25519.pem --public-key-format full",
    "protected tlvs": "-k root-ed25519.pem -s auto -d (1,2.3.4+5) --boot-record app --custom-tlv 0xa0 0x0102 "
    "--custom-tlv 0x12a0 text --vid example.com --cid gadget",
    "big-endian": "-k root-ed25519.pem -e big -s 7 -d (1,2.3.4+5)",
    "test": "-k root-ed25519.pem --test --align 4",
    "confirmed": "-k root-ed25519.pem --confirm --align 4",
    "confirmed, alignment 32": "-k root-ed25519.pem --confirm --align 32 -M 16",
    "load address": "-k root-ed25519.pem -L 0x40080000 --non-bootable",
    "rom fixed": "-k root-ed25519.pem -F 0x20000",
    "compressed": "-k root-ed25519.pem --compression lzma2",
    "compressed, arm thumb": "-k root-ed25519.pem --compression lzma2armthumb",
    "encrypted rsa-2048": "-k root-rsa-2048.pem -E enc-rsa2048-pub.pem",
    "encrypted ecdsa-p256": "-k root-ec-p256.pem -E enc-ec256-pub.pem --encrypt-keylen 256",
    "encrypted x25519": "-k root-ed25519.pem -E enc-x25519-pub.pem",
    "encrypted x25519, hmac sha512": "-k root-ed25519.pem -E enc-x25519-pub.pem --hmac-sha 512",
    "clear": "-k root-ed25519.pem -E enc-x25519-pub.pem --clear",
    "compressed and encrypted": "-k root-ed25519.pem -E enc-x25519-pub.pem --compression lzma2",
}


DUMPS = ("protected tlvs", "confirmed", "confirmed, alignment 32", "encrypted x25519", "unsigned")
SOURCES = (
    "getpub",
    "getpub -e lang-rust --name-suffix _2",
    "getpub -e pem",
    "getpubhash",
    "getpriv",
    "getpriv -f openssl --minimal",
    "getpriv -f pkcs8 --minimal",
    "keyinfo",
    "keyinfo --require private",
)


def main() -> None:
    """Run imgtool and write the files."""
    checkout = Path(sys.argv[1])
    commit = run("git", "-C", str(checkout), "rev-parse", "HEAD").strip()
    version = run(IMGTOOL, "version").strip()
    keys = {name: run("git", "-C", str(checkout), "show", f"HEAD:{name}") for name in KEYS}
    write("keys", f"sample keys of mcu-tools/mcuboot {commit}", [{"name": n, "pem": pem} for n, pem in keys.items()])
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        for name, pem in keys.items():
            (work / name).write_text(pem)
        (work / "in.bin").write_bytes(PAYLOAD)
        write("images", f"imgtool {version}", [image(work, name, words) for name, words in IMAGES.items()])
        write(
            "dumps", f"imgtool {version}", [dump(work, name, words) for name, words in IMAGES.items() if name in DUMPS]
        )
        write("sources", f"imgtool {version}", [source(work, name, line) for name in KEYS for line in SOURCES])


def image(work: Path, name: str, words: str) -> dict[str, object]:
    """One image, as imgtool makes it."""
    arguments = ["sign", *BASE.split(), *words.split(), "in.bin", "out.bin"]
    run(IMGTOOL, *arguments, cwd=work)
    made = (work / "out.bin").read_bytes()
    return {"name": name, "arguments": arguments, "payload": PAYLOAD.hex(), "image": made.hex()}


def dump(work: Path, name: str, words: str) -> dict[str, object]:
    """What dumpinfo says of one image, in its three forms."""
    made = bytes.fromhex(str(image(work, name, words)["image"]))
    (work / "signed.bin").write_bytes(made)
    shown = {form: run(IMGTOOL, "dumpinfo", "-f", form, "signed.bin", cwd=work) for form in ("human", "yaml", "json")}
    return {"name": name, "image": made.hex(), **shown}


def source(work: Path, key: str, line: str) -> dict[str, object]:
    """What a key command says, and how it ends."""
    command = [IMGTOOL, *line.split(), "-k", key]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    return {"arguments": command[1:], "code": done.returncode, "out": done.stdout}


def run(*command: str, cwd: Path | None = None) -> str:
    """What a tool says; it must succeed."""
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def write(name: str, made_by: str, vectors: list[dict[str, object]] | list[dict[str, str]]) -> None:
    """One file of vectors."""
    document = {"schema": 1, "made_by": made_by, "vectors": vectors}
    (VECTORS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
