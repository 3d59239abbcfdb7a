"""espefuse as its users run it, against chips in software: it burns, protects and reads as on silicon."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.peers import Ran, peer_path, run_peer
from tests.support.virtual import ServedChip, make_chip, served

from bootwright.chips.chip import CHIP_NAMES
from bootwright.sim.chip_file import peek_chip_file

KEY = bytes(range(1, 33))
MODERN = [name for name in CHIP_NAMES if name not in ("esp32", "esp32c2")]


def ok(ran: Ran) -> str:
    assert ran.code == 0, ran.out + ran.err
    return ran.out


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServedChip]]:
    """One chip of every model, all in one process; each is burned on by one test."""
    peer_path("espefuse")
    directory = tmp_path_factory.mktemp("rack")
    (directory / "key.bin").write_bytes(KEY)
    (directory / "plain.bin").write_bytes(random.Random(1).randbytes(4096))
    for scheme in ("rsa3072", "ecdsa256"):
        ok(run_peer("espsecure", "generate-signing-key", "-v", "2", "-s", scheme, directory / f"{scheme}.pem"))
    for name in CHIP_NAMES:
        make_chip(directory, name, name=name)
    with served(directory, *CHIP_NAMES) as chips:
        yield {chip.name: chip for chip in chips}


def true_block(chip: ServedChip, number: int) -> bytes:
    return peek_chip_file(chip.directory / f"{chip.name}.chip")[0].efuses.block(number)


@pytest.mark.parametrize("name", MODERN)
def test_a_chip_is_secured_step_by_step_and_closes_itself(rack: dict[str, ServedChip], name: str) -> None:
    chip = rack[name]
    pem = "ecdsa256.pem" if name == "esp32c61" else "rsa3072.pem"
    out = ok(
        chip.espefuse(
            *("burn-key", "BLOCK_KEY0", "key.bin", "XTS_AES_128_KEY"),
            *("burn-key-digest", "BLOCK_KEY1", pem, "SECURE_BOOT_DIGEST0"),
            *("burn-bit", "BLOCK3", "1", "2"),
            *("burn-efuse", "SPI_BOOT_CRYPT_CNT", "1"),
            "check-error",
        )
    )
    assert "Successful" in out
    assert true_block(chip, 4) == KEY[::-1]
    fields = chip.efuses()
    assert fields["KEY_PURPOSE_0"] == "XTS_AES_128_KEY"
    assert set(str(fields["BLOCK_KEY0"]).split()) <= {"00", "??"}
    ok(chip.esptool("write-flash", "--encrypt", "0x10000", "plain.bin"))
    assert peek_chip_file(chip.directory / f"{name}.chip")[1][0x10000:0x11000] == ciphertext(chip)
    ok(chip.espefuse("burn-efuse", "SECURE_BOOT_EN", "1", "write-protect-efuse", "RD_DIS"))
    flash_id = ok(chip.esptool("flash-id"))
    assert ("Stub flasher running." in flash_id) == (
        name != "esp32c3"
    )  # esptool keeps it from a C3 that boots securely
    assert "Successful" in ok(chip.espefuse("burn-efuse", "ENABLE_SECURITY_DOWNLOAD", "1"))
    assert chip.espefuse("summary").code == 2
    assert "Secure Boot: Enabled" in ok(chip.esptool("get-security-info"))
    assert chip.esptool("read-mac").code == 2
    ok(chip.esptool("write-flash", "--force", "0x10000", "plain.bin"))


def ciphertext(chip: ServedChip) -> bytes:
    """What espsecure makes of `plain.bin` at 0x10000 with the key."""
    words = ["encrypt-flash-data", "--aes-xts", "--keyfile", "key.bin", "--address", "0x10000", "-o", "cipher.bin"]
    ok(run_peer("espsecure", *words, "plain.bin", cwd=chip.directory))
    return (chip.directory / "cipher.bin").read_bytes()


def test_the_esp32_is_secured_as_its_documents_say(rack: dict[str, ServedChip]) -> None:
    chip = rack["esp32"]
    refused = chip.esptool("write-flash", "--encrypt", "0x1000", "plain.bin")
    assert "Flash encryption key is not programmed." in refused.out
    ok(chip.espefuse("burn-key", "flash_encryption", "key.bin"))
    ok(chip.espefuse("burn-efuse", "FLASH_CRYPT_CONFIG", "0xF", "FLASH_CRYPT_CNT", "1"))
    assert true_block(chip, 1) == KEY[::-1]
    ok(chip.esptool("write-flash", "--encrypt", "0x1000", "plain.bin"))
    ok(chip.espefuse("burn-key-digest", "rsa3072.pem", "burn-efuse", "ABS_DONE_1", "1"))
    ok(chip.espefuse("write-protect-efuse", "RD_DIS", "DIS_CACHE", "set-flash-voltage", "3.3V"))
    summary = ok(chip.espefuse("summary"))
    assert "(CRC 0x" in summary
    assert "invalid" not in summary
    assert "set to 3.3V by efuse" in summary.replace("\n", " ")
    ok(chip.espefuse("burn-efuse", "UART_DOWNLOAD_DIS", "1"))


def test_the_c2_takes_both_its_keys_in_one_command(rack: dict[str, ServedChip]) -> None:
    chip = rack["esp32c2"]
    (chip.directory / "half.bin").write_bytes(KEY[:16])
    ok(
        chip.espefuse(
            *("burn-key", "BLOCK_KEY0", "half.bin", "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"),
            *("burn-key-digest", "ecdsa256.pem"),
        )
    )
    assert true_block(chip, 3)[:16] == KEY[15::-1]
    assert "No errors detected" in ok(chip.espefuse("check-error"))


def test_a_block_written_twice_is_spoiled_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(KEY)
    (tmp_path / "b.bin").write_bytes(KEY[::-1])
    make_chip(tmp_path, "esp32s3")
    with served(tmp_path, "chip") as (chip,):
        ok(chip.espefuse("burn-block-data", "BLOCK_USR_DATA", "a.bin"))
        assert chip.espefuse("burn-block-data", "BLOCK_USR_DATA", "b.bin").code == 2
        chip.espefuse("burn-block-data", "--force-write-always", "BLOCK_USR_DATA", "b.bin")
        assert "Error(s) in BLOCK3" in chip.espefuse("check-error").out


def test_custom_addresses_dumps_and_tokens_are_read_back(tmp_path: Path) -> None:
    make_chip(tmp_path, "esp32c6")
    with served(tmp_path, "chip", options=("--tcp", "0")) as (chip,):
        ok(chip.espefuse("burn-custom-mac", "aa:cd:ef:01:02:03"))
        assert "aa:cd:ef:01:02:03" in ok(chip.espefuse("get-custom-mac"))
        assert "EFSR:" in ok(chip.espefuse("dump", "--format", "token"))
