"""What imgtool once made; see tests/vectors/imgtool/README.md."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.dropin import run_here

from bootwright.cli.dropin.imgtool import answer
from bootwright.finding import Verdict, overall
from bootwright.formats.keys import KeyType, load_private_key, load_public_key
from bootwright.formats.mcuboot_compress import decompress_payload
from bootwright.formats.mcuboot_encrypt import decrypt_image
from bootwright.formats.mcuboot_image import COMPRESSED, ENCRYPTED, Image, ImageFlags, TlvType
from bootwright.formats.mcuboot_verify import BootRules, verify_image

VECTORS = Path(__file__).parents[1] / "vectors" / "imgtool"


def vectors(name: str) -> list[Any]:
    found: list[Any] = json.loads((VECTORS / f"{name}.json").read_text())["vectors"]
    return found


KEYS = {vector["name"]: vector["pem"].encode() for vector in vectors("keys")}
IMAGES = vectors("images")


def after(arguments: list[str], option: str) -> str | None:
    return arguments[arguments.index(option) + 1] if option in arguments else None


def plain(image: Image, arguments: list[str]) -> Image:
    """The image as the bootloader hashes it."""
    encrypted = bool(ImageFlags(image.header.flags) & ENCRYPTED) and "--clear" not in arguments
    if not encrypted:
        return image
    recipient = str(after(arguments, "-E"))
    return decrypt_image(image, load_private_key(KEYS[recipient.replace("-pub", "-priv")]))


@pytest.mark.parametrize("vector", IMAGES, ids=lambda vector: str(vector["name"]))
def test_imgtools_images_are_read_verified_and_hold_the_payload(vector: Any) -> None:
    data, payload, arguments = bytes.fromhex(vector["image"]), bytes.fromhex(vector["payload"]), vector["arguments"]
    image = Image.parse(data)
    assert image.pack() == data
    opened = plain(image, arguments)
    shrunk = ImageFlags(image.header.flags) & COMPRESSED
    assert (decompress_payload(opened) if shrunk else opened.payload).startswith(payload)
    if image.endian == ">" or "--non-bootable" in arguments:
        return
    signer = after(arguments, "-k")
    rules = BootRules(
        encrypted=True,
        compressed=True,
        pure="--pure" in arguments,
        hardware_key="full" in arguments,
        hash_name="sha512" if "--sha" in arguments else None,
    )
    keys = [load_public_key(KEYS[signer])] if signer else []
    findings = verify_image(opened.pack(), keys, rules=rules)
    assert overall(findings) is Verdict.PASS, findings[-1]
    assert findings[-1].code == ("image.signature.valid" if signer else "image.signature.unchecked")


def is_deterministic(arguments: list[str]) -> bool:
    signer = after(arguments, "-k")
    fixed = signer is None or load_public_key(KEYS[signer]).key_type is KeyType.ED25519
    return fixed and "-E" not in arguments


@pytest.mark.parametrize("vector", IMAGES, ids=lambda vector: str(vector["name"]))
def test_the_same_command_line_makes_the_same_image(
    vector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pem in KEYS.items():
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "in.bin").write_bytes(bytes.fromhex(vector["payload"]))
    monkeypatch.chdir(tmp_path)
    assert run_here(answer, *vector["arguments"]).code == 0
    made, expected = (tmp_path / "out.bin").read_bytes(), bytes.fromhex(vector["image"])
    if is_deterministic(vector["arguments"]):
        assert made == expected
        return
    ours, theirs = Image.parse(made), Image.parse(expected)
    assert [tlv.type for tlv in ours.tlvs] == [tlv.type for tlv in theirs.tlvs]
    assert ours.header == theirs.header
    random = {TlvType.RSA2048, TlvType.RSA3072, TlvType.ECDSASIG}
    if "-E" not in vector["arguments"]:
        assert [tlv for tlv in ours.tlvs if tlv.type not in random] == [
            tlv for tlv in theirs.tlvs if tlv.type not in random
        ]


@pytest.mark.parametrize("vector", vectors("dumps"), ids=lambda vector: str(vector["name"]))
@pytest.mark.parametrize("form", ["human", "yaml", "json"])
def test_dumpinfo_says_what_imgtool_said(
    vector: Any, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signed.bin").write_bytes(bytes.fromhex(vector["image"]))
    monkeypatch.chdir(tmp_path)
    done = run_here(answer, "dumpinfo", "-f", form, "signed.bin")
    assert (done.code, done.out) == (0, vector[form])


@pytest.mark.parametrize("vector", vectors("sources"), ids=lambda vector: " ".join(vector["arguments"]))
def test_key_commands_say_what_imgtool_said(vector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, pem in KEYS.items():
        (tmp_path / name).write_bytes(pem)
    monkeypatch.chdir(tmp_path)
    done = run_here(answer, *vector["arguments"])
    if "--minimal" in vector["arguments"] and "root-ec-p384.pem" in vector["arguments"]:
        assert done.code in (0, vector["code"])  # imgtool cannot shorten a P-384 key
        return
    assert (done.code, done.out) == (vector["code"], vector["out"])
