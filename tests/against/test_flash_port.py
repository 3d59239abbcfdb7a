"""`bootwright flash` on a serial port: the installed esptool does the work, our gates come first."""

import json
from pathlib import Path

import pytest
from tests.support.peers import peer_path, run_bootwright
from tests.support.virtual import new_served_chip

from bootwright.formats.esp_image import make_bootloader_image
from bootwright.sim.chip_file import peek_chip_file
from bootwright.sim.encrypted_flash import cipher_of

APP = b"\x3d\xb8\xf3\x96" + bytes(range(256)) * 20
KEYED: dict[str, int | bytes] = {
    "BLOCK_KEY0": bytes(range(32)),
    "KEY_PURPOSE_0": 4,
    "RD_DIS": 1,
    "SPI_BOOT_CRYPT_CNT": 1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    peer_path("esptool")
    (tmp_path / "bootloader.bin").write_bytes(make_bootloader_image(5, size=0x4000))
    (tmp_path / "app.bin").write_bytes(APP)
    return tmp_path


def test_a_plain_chip_is_identified_written_verified_and_erased(folder: Path) -> None:
    with new_served_chip(folder, "esp32c3") as chip:
        found = run_bootwright("flash", "id", chip.port, "--json", cwd=folder)
        assert '"flash_size": 4194304' in found.out
        words = ("0x0", "bootloader.bin", "0x20000", "app.bin")
        assert run_bootwright("flash", "write", chip.port, *words, cwd=folder).code == 0
        assert run_bootwright("flash", "verify", chip.port, *words, cwd=folder).code == 0
        assert run_bootwright("flash", "erase", chip.port, "0x20000", "0x1000", cwd=folder).code == 0
        assert run_bootwright("flash", "verify", chip.port, *words, cwd=folder).code == 1


def test_a_chip_that_encrypts_gets_what_it_can_read(folder: Path) -> None:
    with new_served_chip(folder, "esp32c3", burned=KEYED) as chip:
        refused = run_bootwright("flash", "write", chip.port, "0x20000", "app.bin", cwd=folder)
        assert (refused.code, "flash.plaintext" in refused.out) == (1, True)
        written = run_bootwright("flash", "write", chip.port, "0x20000", "app.bin", "--encrypt", cwd=folder)
        assert written.code == 0, written.out + written.err
        state, flash = peek_chip_file(folder / "chip.chip")
        assert cipher_of(state.efuses).decrypt(flash[0x20000:0x21000], 0x20000) == APP[:0x1000]


def test_a_chip_in_secure_download_mode_tells_what_it_may_and_takes_what_it_can_read(folder: Path) -> None:
    (folder / "key.bin").write_bytes(bytes(range(32))[::-1])
    with new_served_chip(folder, "esp32c3", burned={**KEYED, "ENABLE_SECURITY_DOWNLOAD": 1}) as chip:
        known = json.loads(run_bootwright("flash", "id", chip.port, "--json", cwd=folder).out)
        assert (known["secure_download_mode"], known["flash_encryption"], known["secure_boot"]) == (True, True, False)
        assert known["flash_size"] is None
        refused = run_bootwright("flash", "write", chip.port, "0x20000", "app.bin", cwd=folder)
        assert "flash.plaintext" in refused.out
        words = ("write", chip.port, "--key", "key.bin", "0x20000", "app.bin")
        written = run_bootwright("flash", *words, cwd=folder)
        assert written.code == 0, written.out + written.err
        state, flash = peek_chip_file(folder / "chip.chip")
        assert cipher_of(state.efuses).decrypt(flash[0x20000:0x21000], 0x20000) == APP[:0x1000]
        whole = run_bootwright("flash", "erase", chip.port, cwd=folder)
        assert (whole.code, "give ADDRESS and SIZE" in whole.err) == (7, True)


def test_nobody_on_the_port_is_the_lines_fault(folder: Path) -> None:
    ran = run_bootwright("flash", "id", "socket://127.0.0.1:9", cwd=folder)
    assert ran.code == 6
    assert "esptool" in ran.err
