"""Images of another chip are refused before anything is explored."""

import json
from pathlib import Path

import pytest
from tests.cli.test_explore import CONF
from tests.support.peers import run_bootwright
from tests.support.scenes import signed, signing_key

from bootwright.formats.esp_image import Segment
from bootwright.formats.load_header import make_application
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image

#: (IRAM, DRAM) that only the loader of that chip takes, or of those chips
RAM = {"esp32": (0x40080000, 0x3FFB0000), "esp32c3": (0x40380000, 0x3FC84000), "none": (0x10000000, 0x10000000)}


def app(chip: str, version: int) -> bytes:
    iram, dram = RAM[chip]
    payload = make_application(iram, Segment(iram, bytes(64)), Segment(dram, bytes([version] * 64)))
    options = SignOptions(version=ImageVersion(major=version, minor=0, revision=0, build=0), pad_header=True)
    return sign_image(payload, options, signing_key())


def scene(folder: Path, primary: bytes, secondary: bytes) -> list[str | Path]:
    (folder / "bootloader.conf").write_text(CONF)
    (folder / "key.pem").write_bytes(signing_key().public.pem)
    (folder / "old.bin").write_bytes(primary)
    (folder / "new.bin").write_bytes(secondary)
    return [
        "--config", folder / "bootloader.conf", "--key", folder / "key.pem", "--action", "permanent",
        "--primary", folder / "old.bin", "--secondary", folder / "new.bin",
    ]  # fmt: skip


def test_an_image_of_another_chip_than_the_one_named_is_refused(tmp_path: Path) -> None:
    given = scene(tmp_path, app("esp32c3", 1), app("esp32", 2))
    ran = run_bootwright("explore", *given, "--chip", "ESP32-C3")
    assert (ran.code, ran.out) == (3, "")
    assert f"{tmp_path / 'new.bin'}: found an image of another chip: the IRAM part goes to 0x40080000" in ran.err
    assert "expected IRAM of the ESP32-C3" in ran.err
    assert "its addresses fit the ESP32;" in ran.err


@pytest.mark.parametrize("chip", [(), ("--chip", "esp32c3")])
def test_images_of_the_chip_are_explored(tmp_path: Path, chip: tuple[str, ...]) -> None:
    ran = run_bootwright("explore", *scene(tmp_path, app("esp32c3", 1), app("esp32c3", 2)), *chip, "--json")
    assert (ran.code, json.loads(ran.out)["verdict"]) == (0, "pass"), ran.err


def test_without_a_chip_two_images_of_different_chips_are_refused(tmp_path: Path) -> None:
    ran = run_bootwright("explore", *scene(tmp_path, app("esp32c3", 1), app("esp32", 2)))
    assert (ran.code, ran.out) == (3, "")
    assert f"new.bin: found an image for the ESP32, while {tmp_path / 'old.bin'} is for the ESP32-C3" in ran.err


def test_an_image_that_no_chip_starts_is_refused(tmp_path: Path) -> None:
    ran = run_bootwright("explore", *scene(tmp_path, app("esp32c3", 1), app("none", 2)))
    assert ran.code == 3
    assert "new.bin: found a load header with addresses outside the RAM of every chip" in ran.err


def test_an_image_without_a_load_header_does_not_tell_its_chip(tmp_path: Path) -> None:
    given = scene(tmp_path, signed(1, 12000), app("esp32c3", 2))
    ran = run_bootwright("explore", *given, "--chip", "esp32c3", "--json")
    warned = [one["subject"] for one in json.loads(ran.out)["findings"] if one["code"] == "explore.image.chip"]
    assert (ran.code, warned) == (0, [str(tmp_path / "old.bin")])
    plain = run_bootwright("explore", *given, "--json")
    assert "explore.image.chip" not in plain.out


def test_a_dump_with_an_image_of_another_chip_is_refused(tmp_path: Path) -> None:
    given = scene(tmp_path, app("esp32c3", 1), app("esp32c3", 2))
    dump = bytearray(b"\xff" * 0x33000)
    for at, image in ((0x10000, app("esp32", 1)), (0x20000, app("esp32", 2))):
        dump[at : at + len(image)] = image
    (tmp_path / "dump.bin").write_bytes(dump)
    ran = run_bootwright("explore", *given[:4], "--flash", tmp_path / "dump.bin", "--chip", "esp32c3")
    assert ran.code == 3
    assert "dump.bin, primary: found an image of another chip" in ran.err
    same = run_bootwright("explore", *given[:4], "--flash", tmp_path / "dump.bin", "--chip", "esp32", "--no-remedies")
    assert same.code in (0, 1), same.err


def test_a_project_refuses_an_application_of_another_chip(tmp_path: Path) -> None:
    iram, dram = RAM["esp32"]
    payload = make_application(iram, Segment(iram, bytes(64)), Segment(dram, bytes(64)))
    (tmp_path / "app.bin").write_bytes(payload)
    project = tmp_path / "bootwright.toml"
    project.write_text('[project]\nchip = "esp32c3"\n[app]\nfile = "app.bin"\n')
    ran = run_bootwright("explore", project, "--mode", "sample", "--samples", "1")
    assert (ran.code, ran.out) == (3, "")
    assert f"{tmp_path / 'app.bin'}: found an image of another chip" in ran.err


def test_a_project_names_its_own_chip() -> None:
    ran = run_bootwright("explore", "--chip", "esp32")
    assert ran.code == 2
    assert "a project names its own chip" in ran.err


def test_an_unknown_chip_is_refused(tmp_path: Path) -> None:
    ran = run_bootwright("explore", *scene(tmp_path, app("esp32", 1), app("esp32", 2)), "--chip", "esp99")
    assert ran.code == 7
    assert "unknown chip 'esp99'" in ran.err
