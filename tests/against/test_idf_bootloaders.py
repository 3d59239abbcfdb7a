"""Genuine ESP-IDF bootloaders, one for each chip: parsed, judged, signed, encrypted, and seen as esptool sees them."""

from pathlib import Path

import pytest
from tests.support.corpus import idf_bootloader
from tests.support.peers import run_peer

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.finding import Verdict
from bootwright.formats.esp_flash_detect import Key, detect
from bootwright.formats.esp_flash_scheme import Algorithm, FlashScheme
from bootwright.formats.esp_image import EspImage, verify_esp_image
from bootwright.formats.esp_secure_boot import check_bootloader_size, find_signature_sector, sign_v2, verify_v2
from bootwright.formats.keys import KeyType, generate_key


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_a_genuine_bootloader_comes_apart_and_together_again(name: str) -> None:
    data, chip = bootloader(name), load_chip(name)
    image = EspImage.parse(data)
    assert image.pack() == data
    assert image.length == len(data)
    assert {finding.verdict for finding in verify_esp_image(data, chip_id=chip.chip_id)} == {Verdict.PASS}
    assert check_bootloader_size(-(-len(data) // 4096) * 4096, chip.bootloader_limit).verdict is Verdict.PASS


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_esptool_sees_the_same_segments(name: str, tmp_path: Path) -> None:
    data = bootloader(name)
    (tmp_path / "b.bin").write_bytes(data)
    ran = run_peer("esptool", "--chip", name, "image-info", "b.bin", cwd=tmp_path)
    assert ran.code == 0, ran.err
    image = EspImage.parse(data)
    assert f"Entry point: {image.header.entry_addr:#x}" in ran.out
    for segment in image.segments:
        assert f"{len(segment.data):#07x}  {segment.load_addr:#010x}" in ran.out
    assert "(valid)" in ran.out
    if "Bootloader Information" in ran.out:  # esptool does not look for it on every chip
        assert image.bootloader_desc is not None
        assert image.bootloader_desc.idf_ver.split(b"\0")[0].decode() in ran.out


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_it_is_signed_with_the_chips_scheme_and_recognised_once_encrypted(name: str) -> None:
    data, chip = bootloader(name), load_chip(name)
    signed = sign_v2(data, [generate_key(KeyType(chip.secure_boot.schemes[0]))])
    assert {finding.verdict for finding in verify_v2(signed)} == {Verdict.PASS}
    assert find_signature_sector(signed + b"\xff" * 0x3000) == len(signed) - 4096
    key = bytes(range(32))
    scheme = FlashScheme(Algorithm(chip.flash_encryption.algorithm), key)
    at = chip.bootloader_offset
    (found,) = detect(scheme.encrypt(signed, at), [Key("k", key)], address=at, algorithm=scheme.algorithm)
    assert found.code == "flash.ciphertext"
    assert f"an ESP image for chip id {chip.chip_id}" in found.because


def bootloader(name: str) -> bytes:
    return idf_bootloader({"esp32p4": "esp32p4-v3"}.get(name, name)).read_bytes()
