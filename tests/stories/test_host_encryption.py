"""The how-to pages on signing and encrypting: their commands work as they stand, and their case is as they tell it."""

import re
from pathlib import Path

import pytest
from tests.support.here import bootwright

from bootwright.errors import FormatError
from bootwright.finding import Verdict
from bootwright.formats.esp_flash_detect import Key, detect
from bootwright.formats.esp_flash_encryption import decrypt_esp32, encrypt_esp32
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_partition_csv import parse_csv
from bootwright.formats.esp_partitions import PartitionTable
from bootwright.formats.esp_secure_boot_v1 import SignatureV1, sign_v1, verify_v1
from bootwright.formats.keys import KeyType, generate_key

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def commands(page: str) -> list[list[str]]:
    """The lines of the page's shell blocks, without `bootwright`."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", (HOW_TO / page).read_text(), re.DOTALL | re.MULTILINE)
    return [line.split()[1:] for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("page", ["sign-a-bootloader.md", "encrypt-on-the-host.md"])
def test_every_command_of_the_page_works_in_its_order(page: str, tmp_path: Path) -> None:
    (tmp_path / "bootloader.bin").write_bytes(make_bootloader_image(5, size=0x5550))
    (tmp_path / "app.bin").write_bytes(make_bootloader_image(0, size=0x2000))
    (tmp_path / "app-signed.bin").write_bytes((0x96F3B83D).to_bytes(4, "little") + bytes(0x3001))
    if page != "sign-a-bootloader.md":
        bootwright(tmp_path, "secure-boot", "keygen", "--chip", "esp32c3", "boot-key.pem")
    lines = commands(page)
    assert len(lines) >= 7
    for words in lines:
        ran = bootwright(tmp_path, *words)
        assert ran.code == 0, (words, ran)


def test_the_case_from_the_forums_fails_where_the_page_says() -> None:
    key, signer = bytes(range(32)), generate_key(KeyType.ECDSA_P256)
    keys = [Key("fe.bin", key)]
    bootloader = encrypt_esp32(make_bootloader_image(0, size=0x4000), key, 0x1000)
    table = parse_csv("nvs,data,nvs,,24K\nfactory,app,factory,,1M").pack()
    application = make_bootloader_image(0, size=0x8000)
    flashed = sign_v1(encrypt_esp32(application, key, 0x10000), signer)

    # the ROM of a chip with FLASH_CRYPT_CONFIG 0 decrypts without tweak, and finds no 0xE9
    assert decrypt_esp32(bootloader, key, 0x1000, 0)[0] != 0xE9
    assert detect(bootloader, keys, address=0x1000)[0].code == "flash.ciphertext"

    # the plaintext table goes through decryption, and loses its magic
    assert detect(table, keys, address=0x8000)[0].code == "flash.plaintext"
    with pytest.raises(FormatError, match="expected aa 50"):
        PartitionTable.parse(decrypt_esp32(table, key, 0x8000))

    # the signature was made over ciphertext, lies there in plaintext, and is garbage once it is "decrypted"
    assert [one.code for one in detect(flashed, keys, address=0x10000)][1] == "flash.signed_after_encryption"
    seen = decrypt_esp32(flashed + b"\xff" * (-len(flashed) % 16), key, 0x10000)[: len(flashed)]
    assert seen[: len(application)] == application
    assert SignatureV1.parse(seen, len(application)).version != 0
    (finding,) = verify_v1(seen, signer.public)
    assert (finding.verdict, finding.code) == (Verdict.FAIL, "secure_boot.v1.signature.version")

    # sign first, encrypt then, and the bootloader is content
    right = sign_v1(application, signer)
    filled = right + b"\xff" * (-len(right) % 16)
    seen = decrypt_esp32(encrypt_esp32(filled, key, 0x10000), key, 0x10000)[: len(right)]
    assert verify_v1(seen, signer.public)[0].verdict is Verdict.PASS
