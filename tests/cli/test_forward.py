from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.cli.dropin.forward import ESPEFUSE, ESPTOOL, Tool, order


@pytest.mark.parametrize(
    ("line", "ordered"),
    [
        (
            "-p /dev/ttyUSB0 -b 2000000 --before default_reset --after no_reset --chip esp32 write_flash"
            " --flash_mode dio --flash_size keep 0x1000 boot.bin",
            "-p /dev/ttyUSB0 -b 2000000 --before default-reset --after no-reset --chip esp32 write-flash"
            " --flash-mode dio --flash-size keep 0x1000 boot.bin",
        ),
        (
            "write-flash 0x0 a.bin --port /dev/ttyUSB0 --chip=esp32c3",
            "--port /dev/ttyUSB0 --chip esp32c3 write-flash 0x0 a.bin",
        ),
        ("write_flash -p 0x0 a.bin", "write-flash -p 0x0 a.bin"),
        ("write_flash -p /dev/ttyACM0 0x0 a.bin", "-p /dev/ttyACM0 write-flash 0x0 a.bin"),
        ("write_flash -s 0x0 a.bin", "write-flash -s 0x0 a.bin"),
        ("write-flash --verify 0x0 a.bin", "write-flash 0x0 a.bin"),
        ("verify_flash --diff yes 0x0 a.bin", "verify-flash --diff 0x0 a.bin"),
        ("verify_flash --diff=yes 0x0 a.bin", "verify-flash --diff 0x0 a.bin"),
        ("verify_flash -d no 0x0 a.bin", "verify-flash 0x0 a.bin"),
        ("verify_flash --diff=no 0x0 a.bin", "verify-flash 0x0 a.bin"),
        ("verify-flash --diff 0x0 a.bin", "verify-flash --diff 0x0 a.bin"),
        ("image_info --version 2 a.bin", "image-info a.bin"),
        ("image_info --version=1 a.bin", "image-info a.bin"),
        ("elf2image --spi-connection HSPI app.elf", "elf2image app.elf"),
        ("merge_bin -o m.bin --spi_connection=HSPI 0x0 a.bin", "merge-bin -o m.bin 0x0 a.bin"),
        ("read_flash --spi-connection HSPI 0 16 a.bin", "read-flash --spi-connection HSPI 0 16 a.bin"),
        (
            "write_flash --ignore-flash-encryption-efuse-setting 0x0 a.bin",
            "write-flash --ignore-flash-enc-efuse 0x0 a.bin",
        ),
        ("merge_bin -t 0x1000 -o all.bin 0x0 a.bin", "merge-bin -t 0x1000 -o all.bin 0x0 a.bin"),
        ("write-flash -fm dio -ff 80m 0x0 a.bin -b921600", "-b 921600 write-flash -fm dio -ff 80m 0x0 a.bin"),
        ("flash_id --port-filter vid=1 pid=2 --no-stub", "--port-filter vid=1 pid=2 --no-stub flash-id"),
        ("elf2image --use_segments app.elf", "elf2image --use-segments app.elf"),
        ("write-flash 0x0 my_file_name.bin", "write-flash 0x0 my_file_name.bin"),
    ],
)
def test_an_esptool_line_from_a_document_becomes_one_that_esptool_takes(line: str, ordered: str) -> None:
    assert " ".join(order(ESPTOOL, line.split()).arguments) == ordered


@pytest.mark.parametrize(
    ("line", "ordered"),
    [
        ("burn-efuse --port /dev/ttyUSB0 SPI_BOOT_CRYPT_CNT 7", "--port /dev/ttyUSB0 burn-efuse SPI_BOOT_CRYPT_CNT 7"),
        (
            "-p /dev/ttyUSB0 burn_key BLOCK_KEY0 k.bin XTS_AES_128_KEY",
            "-p /dev/ttyUSB0 burn-key BLOCK_KEY0 k.bin XTS_AES_128_KEY",
        ),
        ("burn_key KEY_BLOCK0 k.bin USER --do-not-confirm", "--do-not-confirm burn-key BLOCK_KEY0 k.bin USER"),
        ("dump --file_name d.bin --virt", "--virt dump --file-name d.bin"),
        ("burn_bit BLOCK3 1 2 burn_efuse DIS_CACHE 1 -p P", "-p P burn-bit BLOCK3 1 2 burn-efuse DIS_CACHE 1"),
        ("burn-efuse --port P DIS_DOWNLOAD_MSPI 0x1", "--port P burn-efuse SPI_DOWNLOAD_MSPI_DIS 0x1"),
        (
            "burn-efuse -p P A 0x1 WR_DIS_ECDSA_CURVE_MODE 0x1 B 1 summary",
            "-p P burn-efuse A 0x1 B 1 write-protect-efuse ECDSA_CURVE_MODE summary",
        ),
        ("burn-efuse WR_DIS_SECURE_BOOT_SHA384_EN", "write-protect-efuse SECURE_BOOT_SHA384_EN"),
        ("write-protect-efuse WR_DIS_X", "write-protect-efuse WR_DIS_X"),
    ],
)
def test_an_espefuse_line_from_a_document_becomes_one_that_espefuse_takes(line: str, ordered: str) -> None:
    assert " ".join(order(ESPEFUSE, line.split()).arguments) == ordered


def test_the_halves_of_a_key_are_found_under_the_names_that_split_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.binaa").write_bytes(bytes(32))
    (tmp_path / "key.bin.ab").write_bytes(bytes(32))
    found = order(ESPEFUSE, ["burn-key", "BLOCK_KEY0", "key.bin.aa", "XTS_AES_256_KEY_1"])
    assert found.arguments == ("burn-key", "BLOCK_KEY0", "key.binaa", "XTS_AES_256_KEY_1")
    assert "key.binaa" in found.notes[0]
    assert "key.bin.ab" in order(ESPEFUSE, ["burn-key", "BLOCK_KEY1", "key.bin.ab", "XTS_AES_256_KEY_2"]).arguments


PIECES = st.sampled_from(
    [
        ("write_flash",),
        ("read-flash",),
        ("burn-efuse",),
        ("--port", "/dev/ttyUSB0"),
        ("--chip=esp32",),
        ("-b", "9600"),
        ("--no-stub",),
        ("--virt",),
        ("0x1000", "file.bin"),
        ("-s",),
        ("--before", "no_reset"),
        ("--flash_size", "keep"),
    ]
)


@pytest.mark.parametrize("tool", [ESPTOOL, ESPEFUSE], ids=lambda tool: tool.name)
@given(pieces=st.lists(PIECES, max_size=8))
def test_a_line_in_order_stays_as_it_is(tool: Tool, pieces: list[tuple[str, ...]]) -> None:
    once = order(tool, [word for piece in pieces for word in piece]).arguments
    assert order(tool, once).arguments == once
