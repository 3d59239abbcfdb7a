"""Whatever goes wrong with a key, nothing of it is shown."""

import base64
import re
from pathlib import Path

import pytest
from tests.support.dropin import run_cli
from tests.support.keys import SIGNING_TYPES, key_of

from bootwright.formats.keys import KeyType


def number_of(key_type: KeyType) -> bytes:
    """The number that makes the key private."""
    native = key_of(key_type).native()
    if key_type.is_rsa:
        d: int = native.private_numbers().d
        return d.to_bytes(-(-d.bit_length() // 8), "big")
    if key_type.is_ecdsa:
        return int(native.private_numbers().private_value).to_bytes(32 if key_type is KeyType.ECDSA_P256 else 48, "big")
    return bytes(native.private_bytes_raw())


def secrets_of(key_type: KeyType) -> list[str]:
    """Forms in which the number would be seen: hexadecimal, and base64 wherever it starts in a line of PEM."""
    number = number_of(key_type)
    return [number[:12].hex(), *(base64.b64encode(number[at : at + 12]).decode() for at in range(3))]


def test_the_forms_are_those_that_a_key_file_shows() -> None:
    for key_type in SIGNING_TYPES:
        pem = key_of(key_type).pem().decode().replace("\n", "")
        assert any(secret in pem for secret in secrets_of(key_type))


@pytest.mark.parametrize("key_type", [*SIGNING_TYPES, KeyType.X25519])
def test_no_command_shows_anything_of_a_private_key(tmp_path: Path, key_type: KeyType) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(key_of(key_type).pem())
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(re.sub(rb"\n(.{10})", rb"\n!\1", key.read_bytes(), count=1))
    (tmp_path / "app.bin").write_bytes(bytes(100))
    sign = ["image", "sign", str(tmp_path / "app.bin"), str(tmp_path / "out.bin"), "-v", "1"]
    said = ""
    for words in (
        ["key", "info", str(key)],
        ["key", "info", str(key), "--json"],
        ["key", "public", str(key)],
        ["key", "hash", str(key)],
        ["key", "info", str(damaged)],
        ["key", "private", str(key), "-o", str(tmp_path / "key.c")],
        [*sign, "-k", str(key)],
        [*sign, "-k", str(damaged)],
        [*sign, "-k", f"exec:public={key},false"],
        [*sign, "--unsigned", "--encrypt-for", str(key)],
        ["image", "decrypt", str(tmp_path / "app.bin"), str(tmp_path / "x"), "-k", str(key)],
        ["imgtool", "keyinfo", "-k", str(damaged)],
        ["imgtool", "getpub", "-k", str(damaged)],
    ):
        done = run_cli(*words)
        said += done.out + done.err
        assert "Traceback" not in said
    for secret in secrets_of(key_type):
        assert secret not in said


@pytest.mark.parametrize(
    "line",
    [
        "key info pkcs12:token=t;object=k?pin-value=8642",
        "key private pkcs11:token=t;object=k?module-path=/no/lib&pin-value=8642 -o out.c",
        "key public pkcs11:token=t;object=k?module-path=/no/lib&pin-value=8642",
        "key hash pkcs11:token=t?pin-value=8642&bogus=1 --json",
        "image decrypt in.bin out.bin -k pkcs11:token=t?module-path=/no/lib&pin-value=8642",
        "image sign in.bin out.bin -v 1 --unsigned --encrypt-for pkcs11:token=t?module-path=/no/lib&pin-value=8642",
        "imgtool getpub -k pkcs12:token=t?pin-value=8642",
        "imgtool verify -k pkcs11:token=t?module-path=/no/lib&pin-value=8642 in.bin",
    ],
)
def test_no_refusal_shows_the_pin_of_a_provider_string(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = ["imgtool", "sign", "-v", "1", "-H", "32", "-S", "0x8000", "--pad-header", "raw", "in.bin"]
    (tmp_path / "raw").write_bytes(b"app")
    assert run_cli(*image).code == 0
    done = run_cli(*line.split())
    assert done.code != 0
    assert "Traceback" not in done.err
    assert "8642" not in done.out + done.err


def test_a_provider_string_is_shown_without_its_pin() -> None:
    from bootwright.host.keys import shown

    assert shown("pkcs11:token=t?pin-value=1234&module-path=/m") == "pkcs11:token=t?pin-value=…&module-path=/m"
    assert shown("key.pem") == "key.pem"
