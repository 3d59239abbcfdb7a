"""Chips as data."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.peers import ROOT

from bootwright.chips.chip import CHIP_NAMES, load_chip, meanings
from bootwright.errors import RefusedError

EVERY_CHIP = pytest.mark.parametrize("name", CHIP_NAMES)


@EVERY_CHIP
def test_a_chip_loads_in_a_few_milliseconds(name: str) -> None:
    started = time.perf_counter()
    load_chip.__wrapped__(name)
    assert time.perf_counter() - started < 0.1  # 2 ms alone; the bound allows for a busy machine


@EVERY_CHIP
def test_fields_stay_inside_their_blocks_and_apart(name: str) -> None:
    chip = load_chip(name)
    revisions = {f.first_revision for f in chip.fields} | {chip.default_revision}
    for revision in revisions:
        taken: dict[int, int] = {}
        for field in chip.fields_at(revision):
            assert field.mask < 1 << 8 * chip.blocks[field.block].size, field.name
            if "." in field.name or field.name in ("WR_DIS", "RD_DIS") or field.block:
                continue
            assert not taken.get(field.block, 0) & field.mask, field.name
            taken[field.block] = taken.get(field.block, 0) | field.mask


@EVERY_CHIP
def test_blocks_are_numbered_without_gaps_and_each_but_block0_can_be_frozen_whole(name: str) -> None:
    chip = load_chip(name)
    assert [block.number for block in chip.blocks] == list(range(len(chip.blocks)))
    assert all((block.write_disable is None) == (block.number == 0) for block in chip.blocks)


@EVERY_CHIP
def test_every_key_block_can_be_hidden_and_has_a_purpose(name: str) -> None:
    chip = load_chip(name)
    assert all(chip.blocks[number].read_disable for number in chip.keys.blocks)
    if chip.keys.purpose_by == "field":
        assert [chip.field(f"KEY_PURPOSE_{i}").width in (4, 5) for i in range(len(chip.keys.blocks))]


@EVERY_CHIP
def test_traits_name_fields_that_the_chip_has(name: str) -> None:
    chip = load_chip(name)
    secure_boot, encryption = chip.secure_boot, chip.flash_encryption
    for field in (secure_boot.enable_field, encryption.counter_field, encryption.manual_encrypt_field, "WR_DIS", "MAC"):
        assert chip.field(field).name == field


@EVERY_CHIP
def test_there_is_one_object_for_a_chip_even_after_pickling(name: str) -> None:
    chip = load_chip(name)
    assert pickle.loads(pickle.dumps(chip)) is chip
    assert load_chip(chip.title) is chip


def test_aliases_lead_to_the_field() -> None:
    chip = load_chip("esp32c3")
    assert chip.field("KEY0_PURPOSE") is chip.field("KEY_PURPOSE_0")
    assert chip.block("BLOCK_KEY0") is chip.block(4) is chip.block("KEY0") is chip.block("block4")


def test_an_unknown_chip_is_refused_with_the_names_of_the_known() -> None:
    with pytest.raises(RefusedError, match="unknown chip 'esp8266'") as caught:
        load_chip("esp8266")
    assert "esp32c3" in caught.value.hint


def test_a_misspelt_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RefusedError, match="ESP32-C3 has no eFuse field SPI_BOOT_CRYPT_CTN") as caught:
        load_chip("esp32c3").field("SPI_BOOT_CRYPT_CTN")
    assert "SPI_BOOT_CRYPT_CNT" in caught.value.hint


def test_a_field_of_another_revision_is_refused_as_such() -> None:
    chip = load_chip("esp32p4")
    assert chip.has_field("SECURE_BOOT_SHA384_EN", revision=300)
    with pytest.raises(RefusedError) as caught:
        chip.field("SECURE_BOOT_SHA384_EN", revision=100)
    assert caught.value.hint == "other revisions of this chip have it"


def test_an_unknown_block_or_purpose_is_refused_with_the_names_of_the_known() -> None:
    chip = load_chip("esp32c2")
    with pytest.raises(RefusedError, match="ESP32-C2 has no eFuse block KEY5"):
        chip.block("KEY5")
    with pytest.raises(RefusedError, match="no key purpose HMAC_UP"):
        chip.purpose("HMAC_UP")


def test_keys_for_flash_lie_reversed_and_secret_and_digests_do_not() -> None:
    chip = load_chip("esp32s3")
    assert chip.purpose("XTS_AES_256_KEY_1").reversed
    assert chip.purpose("XTS_AES_256_KEY_1").secret
    assert chip.purpose("HMAC_UP").secret
    assert not chip.purpose("HMAC_UP").reversed
    assert not chip.purpose("SECURE_BOOT_DIGEST0").secret


def test_every_meaning_is_of_a_field_that_some_chip_has() -> None:
    known = {name for chip in CHIP_NAMES for name in load_chip(chip).by_name}
    assert set(meanings()) <= known
    assert all(text and not text.endswith(".") for text in meanings().values())


@EVERY_CHIP
def test_what_release_mode_asks_for_has_a_meaning(name: str) -> None:
    chip = load_chip(name)
    asked = {*chip.release_fields, chip.secure_boot.enable_field, chip.flash_encryption.counter_field}
    assert asked <= set(meanings())


def test_the_reference_page_is_what_the_tables_say() -> None:
    tool = ROOT / "tools" / "document_chips.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tables_are_what_esp_idf_says() -> None:
    checkout = os.environ.get("BOOTWRIGHT_ESP_IDF")
    if not checkout or not Path(checkout).exists():
        pytest.skip("BOOTWRIGHT_ESP_IDF names no ESP-IDF checkout (a work tree or a bare git directory)")
    tool = ROOT / "tools" / "generate_chips.py"
    done = subprocess.run([sys.executable, str(tool), checkout, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
