"""Command lines of espsecure, ours and theirs, each in a copy of the same inputs."""

import io
import shutil
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.support.peers import Ran, run_peer

from bootwright.cli.dropin.espsecure import answer
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_secure_boot_v1 import raw_public_key, sign_v1
from bootwright.formats.keys import KeyType, generate_key

KEY_TYPES = {
    "rsa": KeyType.RSA_3072,
    "small": KeyType.RSA_2048,
    "p192": KeyType.ECDSA_P192,
    "p256": KeyType.ECDSA_P256,
    "p384": KeyType.ECDSA_P384,
    "ed": KeyType.ED25519,
}


def make_inputs(place: Path) -> None:
    """Keys, images and signatures that all command lines start from."""
    for size in (16, 17, 24, 32, 64):
        (place / f"k{size}").write_bytes(bytes(range(1, size + 1)))
    (place / "twins").write_bytes(bytes(range(32)) * 2)
    image = make_bootloader_image(5, size=0x1230)
    (place / "image").write_bytes(image)
    (place / "cut").write_bytes(image[:200])
    (place / "cut-hash").write_bytes(image[:-10])
    (place / "data").write_bytes(b"\xe9" + bytes(4095))
    (place / "odd").write_bytes(bytes(100))
    (place / "empty").write_bytes(b"")
    (place / "iv").write_bytes(bytes(range(128)))
    (place / "short-iv").write_bytes(bytes(5))
    (place / "dir").mkdir()
    for name, key_type in KEY_TYPES.items():
        _make_key(place, name, key_type)
    other = ec.generate_private_key(ec.SECP521R1())
    (place / "p521.pem").write_bytes(
        other.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (place / "p521.pub").write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    broken = bytearray((place / "p256.signed").read_bytes())
    broken[100] ^= 1
    (place / "broken").write_bytes(broken)


def _make_key(place: Path, name: str, key_type: KeyType) -> None:
    key = generate_key(key_type)
    form = PrivateFormat.PKCS8 if name == "ed" else PrivateFormat.TraditionalOpenSSL
    (place / f"{name}.pem").write_bytes(key.native().private_bytes(Encoding.PEM, form, NoEncryption()))
    (place / f"{name}.pub").write_bytes(key.public.pem)
    (place / f"{name}.locked").write_bytes(key.pem(b"password"))
    der = key.native().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    (place / f"{name}.der").write_bytes(der)
    if name in ("rsa", "p192", "p256", "p384"):
        content = (place / "data").read_bytes()
        (place / f"{name}.sig").write_bytes(key.sign(content))
        (place / f"{name}.signed").write_bytes(sign_v2(content, [key]))
    if name == "p256":
        (place / "p256.raw").write_bytes(raw_public_key(key.public))
        signed = sign_v1((place / "odd").read_bytes(), key)
        (place / "v1.signed").write_bytes(signed)
        (place / "v1.sig").write_bytes(signed[-64:])


def ours_in(place: Path, line: str) -> Ran:
    """Our answer to a line, without the start-up of a process."""
    written = io.BytesIO()
    out, err = io.TextIOWrapper(written, "utf-8", write_through=True), io.StringIO()
    with chdir(place), redirect_stdout(out), redirect_stderr(err):
        code = answer(line.split())
    return Ran(code, written.getvalue().decode("utf-8", "replace"), err.getvalue(), written.getvalue())


def theirs_in(place: Path, line: str) -> Ran:
    """espsecure's answer to a line."""
    return run_peer("espsecure", *line.split(), cwd=place)


def both(inputs: Path, tmp_path: Path, *lines: str) -> tuple[tuple[Ran, Path], tuple[Ran, Path]]:
    """Run the lines with ours and with espsecure, each in a copy of the inputs; the last line's outcome counts."""
    for name in ("ours", "theirs"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        shutil.copytree(inputs, tmp_path / name)
    ours = [ours_in(tmp_path / "ours", line) for line in lines][-1]
    theirs = [theirs_in(tmp_path / "theirs", line) for line in lines][-1]
    return (ours, tmp_path / "ours"), (theirs, tmp_path / "theirs")
