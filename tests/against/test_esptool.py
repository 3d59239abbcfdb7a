"""esptool as its users run it, against chips in software."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.peers import Ran, peer_path, run_bootwright
from tests.support.virtual import ServedChip, make_chip, new_served_chip, served

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.sim.chip_file import open_chip_file

FIRMWARE = bytes(range(256)) * 300 + os.urandom(20_000)


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServedChip]]:
    """One chip of every model, all in one process."""
    peer_path("esptool")
    directory = tmp_path_factory.mktemp("rack")
    (directory / "firmware.bin").write_bytes(FIRMWARE)
    for name in CHIP_NAMES:
        make_chip(directory, name, name=name)
    with served(directory, *CHIP_NAMES) as chips:
        yield {chip.name: chip for chip in chips}


def ok(ran: Ran) -> str:
    assert ran.code == 0, ran.out + ran.err
    return ran.out


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_esptool_knows_the_chip_and_its_flash(rack: dict[str, ServedChip], name: str) -> None:
    out = ok(rack[name].esptool("flash-id"))
    assert f"Detecting chip type... {load_chip(name).title}" in out
    assert "Stub flasher running." in out
    assert "Detected flash size: 4MB" in out


@pytest.mark.parametrize("name", ["esp32", "esp32c3", "esp32s3", "esp32p4"])
@pytest.mark.parametrize("stub", [(), ("--no-stub",)])
def test_what_esptool_writes_it_reads_back(rack: dict[str, ServedChip], name: str, stub: tuple[str, ...]) -> None:
    chip = rack[name]
    written = ok(chip.esptool(*stub, "write-flash", "0x10000", "firmware.bin"))
    assert "Hash of data verified." in written
    ok(chip.esptool(*stub, "read-flash", "0x10000", "8000", "back.bin"))
    assert (chip.directory / "back.bin").read_bytes() == FIRMWARE[:8000]
    ok(chip.esptool(*stub, "erase-region", "0x11000", "0x1000"))
    different = chip.esptool(*stub, "verify-flash", "0x10000", "firmware.bin")
    assert different.code != 0
    assert "Verification failed" in different.out + different.err


def test_uncompressed_writes_and_a_whole_erase_work(rack: dict[str, ServedChip]) -> None:
    chip = rack["esp32c6"]
    ok(chip.esptool("write-flash", "-u", "0x10000", "firmware.bin"))
    assert "Verification successful" in ok(chip.esptool("verify-flash", "0x10000", "firmware.bin"))
    ok(chip.esptool("erase-flash"))
    ok(chip.esptool("read-flash", "0x10000", "4096", "erased.bin"))
    assert (chip.directory / "erased.bin").read_bytes() == b"\xff" * 4096


def test_memory_and_registers_can_be_read_and_written(rack: dict[str, ServedChip]) -> None:
    chip = rack["esp32h2"]
    assert "Wrote 0xabad1dea" in ok(chip.esptool("write-mem", "0x40820000", "0xabad1dea"))
    assert "0x600b0800" in ok(chip.esptool("read-mem", "0x600b0800")).lower()
    ok(chip.esptool("dump-mem", "0x40820000", "64", "memory.bin"))
    assert len((chip.directory / "memory.bin").read_bytes()) == 64


def test_the_old_spelling_works_as_the_readme_prints_it(rack: dict[str, ServedChip]) -> None:
    chip = rack["esp32"]
    line = "-b 2000000 --before default_reset --after no_reset --chip esp32 write_flash --flash_mode dio 0x1000"
    assert "Hash of data verified." in ok(chip.esptool(*line.split(), "firmware.bin"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("chip_id", "MAC:"),
        ("read_flash_status --bytes 2", "Flash memory status: 0x"),
        ("write_flash_status --bytes 2 --non-volatile 0x0", "After flash memory status:"),
        ("write_flash --ignore-flash-encryption-efuse-setting 0x10000 firmware.bin", "Hash of data verified."),
        ("verify_flash --diff yes 0x10000 firmware.bin", "Verification successful"),
        ("verify_flash --diff=no 0x10000 firmware.bin", "Verification successful"),
        ("merge_bin -o merged.bin --spi-connection HSPI --fill-flash-size 1MB 0x10000 firmware.bin", "Wrote 0x100000"),
    ],
)
def test_lines_of_esptool_4_run_as_pasted(rack: dict[str, ServedChip], line: str, said: str) -> None:
    chip = rack["esp32"]
    words = ["--chip", "esp32", *line.split(), "--port", chip.port]
    assert said in ok(run_bootwright("esptool", *words, cwd=chip.directory))


@pytest.mark.parametrize(
    ("line", "said"),
    [("adc_info", "ADC VRef calibration"), ("get_custom_mac", "Custom MAC"), ("set_flash_voltage 3.3V", "Successful.")],
)
def test_lines_of_espefuse_4_run_as_pasted(rack: dict[str, ServedChip], line: str, said: str) -> None:
    words = ["--chip", "esp32", *line.split(), "--do-not-confirm", "--port", rack["esp32"].port]
    assert said in ok(run_bootwright("espefuse", *words))


def test_security_info_shows_the_state(rack: dict[str, ServedChip]) -> None:
    out = ok(rack["esp32c3"].esptool("get-security-info"))
    assert "Chip ID: 5" in out
    assert "Secure Boot: Disabled" in out
    assert "Flash Encryption: Disabled" in out


def test_a_reset_through_the_lines_of_rfc2217_enters_download_mode_and_leaves_it(tmp_path: Path) -> None:
    make_chip(tmp_path, "esp32c3")
    ok(run_bootwright("chip", "strap", "chip", "normal", cwd=tmp_path))
    with served(tmp_path, "chip", options=("--rfc2217", "0")) as (chip,):
        assert chip.port.startswith("rfc2217://127.0.0.1:")
        assert "Uploading stub" not in ok(chip.esptool("--chip", "esp32c3", "--no-stub", "read-mac"))
        assert '"mode": "booted"' in ok(chip.switch("state", "--json"))


def test_over_tcp_the_end_of_the_connection_is_the_reset(tmp_path: Path) -> None:
    make_chip(tmp_path, "esp32s3")
    with served(tmp_path, "chip", options=("--tcp", "0")) as (chip,):
        ok(chip.esptool("--after", "no-reset-stub", "flash-id"))
        assert '"mode": "download"' in ok(chip.switch("state", "--json"))


def test_a_killed_server_loses_nothing_that_it_confirmed(tmp_path: Path) -> None:
    (tmp_path / "firmware.bin").write_bytes(FIRMWARE)
    make_chip(tmp_path, "esp32c3")
    with served(tmp_path, "chip") as (chip,):
        ok(chip.esptool("--chip", "esp32c3", "write-flash", "0x10000", "firmware.bin"))
        os.kill(chip.process, signal.SIGKILL)
    with open_chip_file(tmp_path / "chip.chip") as file:
        assert file.flash.read(0x10000, len(FIRMWARE)) == FIRMWARE


def test_fifty_chips_are_served_by_one_process(tmp_path: Path) -> None:
    names = [make_chip(tmp_path, "esp32c3", name="chip0", flash="256KB")]
    data = (tmp_path / "chip0.chip").read_bytes()
    for at in range(1, 50):
        names.append(f"chip{at}")
        (tmp_path / f"chip{at}.chip").write_bytes(data)
    with served(tmp_path, *names) as chips:
        assert len({chip.port for chip in chips}) == 50
        assert "ESP32-C3" in ok(chips[49].esptool("read-mac"))


def test_a_missing_chip_is_a_refusal_with_advice(tmp_path: Path) -> None:
    ran = run_bootwright("chip", "serve", "nobody", cwd=tmp_path)
    assert ran.code == 7
    assert "chip new" in ran.err


def test_one_server_holds_a_chip(tmp_path: Path) -> None:
    with new_served_chip(tmp_path, "esp32c3"):
        assert run_bootwright("chip", "serve", "chip", cwd=tmp_path).code == 7
