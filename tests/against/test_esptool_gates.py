"""The gates of esptool: the same state of a chip in, the same refusal out as on silicon.

Each chip is put into its state in its file; esptool learns it over the line.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.peers import peer_path
from tests.support.virtual import new_served_chip

from bootwright.formats.esp_image import make_bootloader_image

KEY = bytes(range(32))
XTS = {"BLOCK_KEY0": KEY, "KEY_PURPOSE_0": 4}
E32 = {"BLOCK1": KEY, "FLASH_CRYPT_CONFIG": 0xF}
PLAIN = "write-flash 0x10000 plain.bin"
ENCRYPT = "write-flash --encrypt 0x10000 plain.bin"

#: (chip, what is burned, esptool's words, exit code, what it says)
GATES = [
    ("esp32", {}, ENCRYPT, 2, "Flash encryption key is not programmed"),
    ("esp32", {"BLOCK1": KEY}, ENCRYPT, 2, "Unexpected FLASH_CRYPT_CONFIG value: 0x0"),
    ("esp32", {"BLOCK1": KEY}, f"{ENCRYPT} --ignore-flash-enc-efuse", 0, "Wrote 4096 bytes"),
    ("esp32", E32, "write-flash --encrypt 0x10010 plain.bin", 2, "is not 32 byte aligned"),
    ("esp32c3", XTS, "write-flash --encrypt 0x10008 plain.bin", 2, "is not 16 byte aligned"),
    ("esp32", E32, f"--no-stub {ENCRYPT}", 2, "does not support encrypted writes"),
    ("esp32", {**E32, "DISABLE_DL_ENCRYPT": 1}, ENCRYPT, 2, "Production mode"),
    ("esp32s3", {**XTS, "DIS_DOWNLOAD_MANUAL_ENCRYPT": 1}, ENCRYPT, 2, "Production mode"),
    ("esp32c3", XTS, f"{ENCRYPT} --compress", 0, "Wrote 4096 bytes"),
    ("esp32c3", {**XTS, "SPI_BOOT_CRYPT_CNT": 1}, PLAIN, 0, "Hash of data verified"),
    (
        "esp32c6",
        {**XTS, "SPI_BOOT_CRYPT_CNT": 7, "DIS_DOWNLOAD_MANUAL_ENCRYPT": 1},
        PLAIN,
        2,
        "Data must be encrypted appropriately",
    ),
    ("esp32", {"ABS_DONE_0": 1}, "write-flash 0x1000 plain.bin", 2, "Secure Boot V1 detected"),
    ("esp32h2", {"SECURE_BOOT_EN": 1}, "write-flash 0x0 boot.bin", 0, "not changing any flash settings"),
    ("esp32s2", {"SECURE_BOOT_EN": 1}, "erase-flash", 2, "Active security features detected"),
    ("esp32s3", {**XTS, "SPI_BOOT_CRYPT_CNT": 1}, "erase-region 0x0 0x1000", 2, "Active security features detected"),
    ("esp32c3", {"SECURE_BOOT_EN": 1}, "flash-id", 0, "not supported on ESP32-C3 with Secure Boot"),
    ("esp32s3", {"SECURE_BOOT_EN": 1}, "flash-id", 0, "Stub flasher running"),
    ("esp32s2", {"ENABLE_SECURITY_DOWNLOAD": 1}, "read-mac", 2, "not available in Secure Download Mode"),
    ("esp32c6", {"ENABLE_SECURITY_DOWNLOAD": 1}, "erase-region 0x0 0x1000", 0, "erased successfully"),
    (
        "esp32c3",
        {**XTS, "SPI_BOOT_CRYPT_CNT": 7, "ENABLE_SECURITY_DOWNLOAD": 1},
        PLAIN,
        2,
        "Flashing plaintext binary may brick",
    ),
    ("esp32c3", {"ENABLE_SECURITY_DOWNLOAD": 1}, PLAIN, 0, "Wrote 4096 bytes"),
    ("esp32", {"UART_DOWNLOAD_DIS": 1}, "--connect-attempts 1 read-mac", 2, "No serial data received"),
    ("esp32c3", {}, "--chip esp32c6 read-mac", 2, "Wrong chip argument"),
    ("esp32c3", {}, "write-flash 0x0 other.bin", 2, "is not an ESP32-C3 image"),
]


@pytest.mark.parametrize(("model", "burned", "words", "code", "said"), GATES)
def test_gate(tmp_path: Path, model: str, burned: dict[str, int | bytes], words: str, code: int, said: str) -> None:
    peer_path("esptool")
    (tmp_path / "plain.bin").write_bytes(bytes(range(256)) * 16)
    (tmp_path / "boot.bin").write_bytes(make_bootloader_image(16, size=0x4000))
    (tmp_path / "other.bin").write_bytes(make_bootloader_image(9, size=0x4000))
    with new_served_chip(tmp_path, model, burned=burned) as chip:
        ran = chip.esptool(*words.split())
    talk = " ".join((ran.out + ran.err).split())
    assert (ran.code, said in talk) == (code, True), talk
