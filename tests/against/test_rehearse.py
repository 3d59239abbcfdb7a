"""What a rehearsal leaves is what imgtool and espsecure make and accept, and what they make, it takes."""

import json
from pathlib import Path

import pytest
from tests.support.peers import run_bootwright, run_peer

PRIMARY, SECONDARY, SCRATCH = (0x20000, 0x1C0000), (0x1E0000, 0x1C0000), (0x3E0000, 0x1F000)
BOOTLOADER = (0, 0xF000)


def kept(folder: Path, *options: str) -> Path:
    ran = run_bootwright("rehearse", "--keep", folder, "--json", *options)
    assert ran.code == 0, ran.out
    return folder


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa-p256", "rsa-2048", "rsa-3072"])
def test_imgtool_verifies_and_dumps_the_signed_application(key_type: str, tmp_path: Path) -> None:
    folder = kept(tmp_path, "--key-type", key_type)
    verified = run_peer("imgtool", "verify", "-k", folder / "signing.pem", folder / "app-signed.bin")
    assert verified.code == 0, verified.out + verified.err
    assert "Image was correctly validated" in verified.out
    dumped = run_peer("imgtool", "dumpinfo", "-o", tmp_path / "dump.yaml", folder / "app-signed.bin")
    assert dumped.code == 0, dumped.err
    assert f"magic: {0x96F3B83D}" in (tmp_path / "dump.yaml").read_text()


def test_espsecure_verifies_the_signed_bootloader(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    ran = run_peer(
        "espsecure", "verify-signature", "-v", "2", "-k", folder / "secure_boot.pem", folder / "bootloader-signed.bin"
    )
    assert ran.code == 0, ran.out + ran.err
    assert "verification successful" in ran.out


@pytest.mark.parametrize("fe_key", ["host", "device"])
def test_espsecure_decrypts_the_encrypted_flash_to_what_we_signed(fe_key: str, tmp_path: Path) -> None:
    folder = kept(tmp_path, "--fe-key", fe_key)
    flash = (folder / "flash-final.bin").read_bytes()
    for name, (address, size), expected in [
        ("bootloader", BOOTLOADER, (folder / "bootloader-signed.bin").read_bytes()),
        ("secondary", SECONDARY, (folder / "update-signed.bin").read_bytes()),
    ]:
        (tmp_path / f"{name}.enc").write_bytes(flash[address : address + size])
        ran = run_peer(
            "espsecure",
            "decrypt-flash-data",
            "--aes-xts",
            "-k",
            folder / "flash_encryption.bin",
            "-a",
            hex(address),
            "-o",
            tmp_path / f"{name}.dec",
            tmp_path / f"{name}.enc",
        )
        assert ran.code == 0, ran.out + ran.err
        assert (tmp_path / f"{name}.dec").read_bytes().startswith(expected)


def test_espsecure_encrypts_to_the_very_bytes_of_the_virtual_flash(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    flash = (folder / "flash-final.bin").read_bytes()
    signed = (folder / "bootloader-signed.bin").read_bytes()
    (tmp_path / "plain.bin").write_bytes(signed)
    ran = run_peer(
        "espsecure",
        "encrypt-flash-data",
        "--aes-xts",
        "-k",
        folder / "flash_encryption.bin",
        "-a",
        "0x0",
        "-o",
        tmp_path / "cipher.bin",
        tmp_path / "plain.bin",
    )
    assert ran.code == 0, ran.out + ran.err
    assert (tmp_path / "cipher.bin").read_bytes() == flash[: len(signed)]


def test_keys_of_imgtool_and_espsecure_are_rehearsed_with(tmp_path: Path) -> None:
    made = [
        run_peer("imgtool", "keygen", "-t", "ecdsa-p256", "-k", tmp_path / "app.pem"),
        run_peer("espsecure", "generate-signing-key", "-v", "2", "-s", "rsa3072", tmp_path / "sb.pem"),
        run_peer("espsecure", "generate-flash-encryption-key", tmp_path / "fe.bin"),
    ]
    assert [ran.code for ran in made] == [0, 0, 0]
    (tmp_path / "bootwright.toml").write_text(
        '[keys]\ntype = "ecdsa-p256"\nsigning = "app.pem"\nsecure_boot = "sb.pem"\nflash_encryption = "fe.bin"\n'
        '[security]\nfe_key = "host"\nmode = "release"\n'
    )
    ran = run_bootwright("rehearse", tmp_path / "bootwright.toml", "--keep", tmp_path / "out", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["verdict"] == "pass"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "app-signed.bin",
        "bootloader-signed.bin",
        "bootloader.bin",
        "bootloader.conf",
        "flash-final.bin",
        "flash-plaintext.bin",
        "signing.pub.pem",
        "update-signed.bin",
    ]
    verified = run_peer("imgtool", "verify", "-k", tmp_path / "app.pem", tmp_path / "out" / "update-signed.bin")
    assert verified.code == 0
