"""Our eFuse tables and rules against espefuse, run as a process on its virtual chips."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.peers import run_peer

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.chips.snapshots import parse_virtual, read_state, token, virtual
from bootwright.chips.summary import espefuse_name, summary

#: Chips, and for those whose tables depend on it two revisions.
STATES = [*((name, None) for name in CHIP_NAMES), ("esp32p4", 100), ("esp32h2", 1), ("esp32", 0)]
EVERY_STATE = pytest.mark.parametrize(("name", "revision"), STATES)
COMPARED = ("bit_len", "block", "word", "pos", "raw_value", "readable", "writeable")


def espefuse_summary(efuses: Efuses, folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / "efuses.bin"
    file.write_bytes(virtual(efuses))
    arguments = ("--chip", efuses.chip.name, "--virt", "--path-efuse-file", file, "summary", "--format", "json")
    ran = run_peer("espefuse", *arguments)
    assert ran.code == 0, ran.err
    rows: dict[str, dict[str, Any]] = json.loads(ran.out[ran.out.index("{") :])
    return {name: row for name, row in rows.items() if row["word"] is not None}


#: Fields that espefuse has and ESP-IDF's tables have not.
ESPEFUSE_ALONE = {("esp32p4", "DOWNLOAD_MODE_XPD_ON")}


def assert_same(efuses: Efuses, theirs: dict[str, dict[str, Any]]) -> None:
    """Compare row by row; a part of a field that espefuse splits is compared with those bits of ours."""
    ours = summary(efuses)
    for name, row in theirs.items():
        if (efuses.chip.name, name) in ESPEFUSE_ALONE:
            continue
        if name in ours and ours[name]["bit_len"] == row["bit_len"]:
            assert {key: ours[name][key] for key in COMPARED} == {key: row[key] for key in COMPARED}, name
            continue
        bits = (1 << row["bit_len"]) - 1 << 32 * row["word"] + row["pos"]
        owners = [f for f in efuses.chip.fields_at(efuses.revision) if f.block == row["block"] and f.mask & bits]
        assert owners, name
        assert sum(f.mask & bits for f in owners[:1]) == bits or name == "BLOCK3", name
        assert efuses.write_protected(owners[0].name) is not row["writeable"], name
        assert bool(efuses.hidden_bits(row["block"]) & bits) is not row["readable"], name


@EVERY_STATE
def test_espefuse_shows_the_same_fields_at_the_same_places(name: str, revision: int | None, tmp_path: Path) -> None:
    efuses = Efuses.blank(load_chip(name), revision=revision, mac=bytes.fromhex("a0764e102030"))
    assert_same(efuses, espefuse_summary(efuses, tmp_path))


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_espefuse_agrees_on_what_each_bit_of_wr_dis_and_rd_dis_protects(name: str, tmp_path: Path) -> None:
    chip = load_chip(name)
    width, hides = chip.field("WR_DIS").width, chip.field("RD_DIS").width
    for digit in range((width - 1).bit_length()):  # the sets in which a bit is, and is not, tell which bit it is
        bits = [bit for bit in range(width) if bit >> digit & 1]
        values = {"WR_DIS": sum(1 << bit for bit in bits), "RD_DIS": sum(1 << bit for bit in bits if bit < hides)}
        efuses = Efuses.blank(chip).burn_fields(values).latched()
        assert_same(efuses, espefuse_summary(efuses, tmp_path))


@pytest.mark.parametrize("name", [name for name in CHIP_NAMES if load_chip(name).keys.purpose_by == "field"])
def test_espefuse_calls_the_key_purposes_the_same(name: str, tmp_path: Path) -> None:
    chip = load_chip(name)
    purposes = [
        p for p in chip.purposes if p.value < 1 << chip.field("KEY_PURPOSE_0", revision=chip.default_revision).width
    ]
    for first in range(0, len(purposes), 6):
        chosen = purposes[first : first + 6]
        values = {f"KEY_PURPOSE_{i}": purpose.value for i, purpose in enumerate(chosen)}
        rows = espefuse_summary(Efuses.blank(chip).burn_fields(values), tmp_path)
        for i, purpose in enumerate(chosen):
            theirs = rows[f"KEY_PURPOSE_{i}"]["value"]
            same_value = {p.name for p in chip.purposes if p.value == purpose.value}
            assert theirs in same_value or theirs == f"CUSTOM_{purpose.value}" or purpose.name == "RESERVED"


@EVERY_STATE
def test_espefuse_prints_the_token_that_we_make(name: str, revision: int | None, tmp_path: Path) -> None:
    chip = load_chip(name)
    efuses = Efuses.blank(chip, revision=revision, mac=bytes.fromhex("a0764e102030"))
    efuses = efuses.burn_block(chip.keys.blocks[0], bytes(range(1, 33))).burn_fields({"WR_DIS": 0x88}).latched()
    file = tmp_path / "efuses.bin"
    file.write_bytes(virtual(efuses))
    arguments = ("--chip", name, "--virt", "--path-efuse-file", file, "dump", "--format", "token")
    printed = run_peer("espefuse", *arguments).out.split()[-1]
    if chip.efuse.base == 0x3FF5A000:  # the third revision bit of the ESP32 is no eFuse: a virtual one lacks it
        printed_state = read_state(printed.encode())
        assert printed_state.bits == efuses.bits
    else:
        assert printed == token(efuses)
        assert read_state(printed.encode()) == efuses.hiding()


KEY, DIGEST = bytes(range(0x40, 0x60)), bytes(range(0x80, 0xA0))

#: chip → (arguments of one espefuse call, what we burn for it), in order.
SEQUENCES: dict[str, list[tuple[list[str], dict[str, int | bytes]]]] = {
    "esp32": [
        (["burn-key", "flash_encryption", "key"],
         {"BLOCK1": KEY[::-1], "RD_DIS.BLOCK1": 1, "WR_DIS.BLOCK1": 1}),
        (["burn-efuse", "FLASH_CRYPT_CONFIG", "0xF", "FLASH_CRYPT_CNT", "127"],
         {"FLASH_CRYPT_CONFIG": 15, "FLASH_CRYPT_CNT": 127}),
        (["burn-efuse", "DISABLE_DL_ENCRYPT", "1", "DISABLE_DL_DECRYPT", "1", "DISABLE_DL_CACHE", "1"],
         {"DISABLE_DL_ENCRYPT": 1, "DISABLE_DL_DECRYPT": 1, "DISABLE_DL_CACHE": 1}),
        (["write-protect-efuse", "DIS_CACHE"], {"WR_DIS.DIS_CACHE": 1}),
        (["burn-key", "secure_boot_v2", "digest"], {"BLOCK2": DIGEST, "WR_DIS.BLOCK2": 1}),
        (["burn-efuse", "ABS_DONE_1", "1"], {"ABS_DONE_1": 1}),
    ],
    "esp32c2": [
        (["burn-key", "BLOCK_KEY0", "half", "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS",
          "BLOCK_KEY0", "digest", "SECURE_BOOT_DIGEST"],
         {"KEY0": KEY[:16][::-1] + DIGEST[:16], "RD_DIS.KEY0.LOW": 1, "WR_DIS.BLOCK_KEY0": 1}),
        (["burn-efuse", "SPI_BOOT_CRYPT_CNT", "1"], {"SPI_BOOT_CRYPT_CNT": 1}),
    ],
    "esp32s3": [
        (["burn-key", "BLOCK_KEY0", "long", "XTS_AES_256_KEY"],
         {"KEY0": KEY[::-1], "KEY1": DIGEST[::-1], "KEY_PURPOSE_0": 2, "KEY_PURPOSE_1": 3,
          "RD_DIS.BLOCK_KEY0": 1, "RD_DIS.BLOCK_KEY1": 1, "WR_DIS.BLOCK_KEY0": 1, "WR_DIS.BLOCK_KEY1": 1,
          "WR_DIS.KEY_PURPOSE_0": 1, "WR_DIS.KEY_PURPOSE_1": 1}),
        (["burn-key", "BLOCK_KEY2", "digest", "SECURE_BOOT_DIGEST0"],
         {"KEY2": DIGEST, "KEY_PURPOSE_2": 9, "WR_DIS.BLOCK_KEY2": 1, "WR_DIS.KEY_PURPOSE_2": 1}),
        (["burn-efuse", "SPI_BOOT_CRYPT_CNT", "7", "SECURE_BOOT_EN", "1", "DIS_DOWNLOAD_DCACHE", "1"],
         {"SPI_BOOT_CRYPT_CNT": 7, "SECURE_BOOT_EN": 1, "DIS_DOWNLOAD_DCACHE": 1}),
        (["burn-bit", "BLOCK3", "3", "77"], {"USER_DATA": 1 << 3 | 1 << 77}),
        (["write-protect-efuse", "RD_DIS"], {"WR_DIS.RD_DIS": 1}),
    ],
}  # fmt: skip
for _name in sorted(set(CHIP_NAMES) - set(SEQUENCES)):
    SEQUENCES[_name] = [
        (["burn-key", "BLOCK_KEY0", "key", "XTS_AES_128_KEY", "BLOCK_KEY1", "digest", "SECURE_BOOT_DIGEST0"],
         {"KEY0": KEY[::-1], "KEY1": DIGEST, "KEY_PURPOSE_0": 4, "KEY_PURPOSE_1": 9, "RD_DIS.BLOCK_KEY0": 1,
          "WR_DIS.BLOCK_KEY0": 1, "WR_DIS.BLOCK_KEY1": 1, "WR_DIS.KEY_PURPOSE_0": 1, "WR_DIS.KEY_PURPOSE_1": 1}),
        (["burn-efuse", "SPI_BOOT_CRYPT_CNT", "7", "SECURE_BOOT_EN", "1", "SECURE_VERSION", "3"],
         {"SPI_BOOT_CRYPT_CNT": 7, "SECURE_BOOT_EN": 1, "SECURE_VERSION": 3}),
        (["write-protect-efuse", "RD_DIS"], {"WR_DIS.RD_DIS": 1}),
        (["burn-efuse", "ENABLE_SECURITY_DOWNLOAD", "1"], {"ENABLE_SECURITY_DOWNLOAD": 1}),
    ]  # fmt: skip


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_the_same_burns_give_the_same_file(name: str, tmp_path: Path) -> None:
    chip = load_chip(name)
    ours = Efuses.blank(chip)
    theirs = tmp_path / "efuses.bin"
    theirs.write_bytes(virtual(ours))
    for file, content in {"key": KEY, "digest": DIGEST, "half": KEY[:16], "long": KEY + DIGEST}.items():
        (tmp_path / file).write_bytes(content)
    for arguments, values in SEQUENCES[name]:
        given = [str(tmp_path / word) if word in ("key", "digest", "half", "long") else word for word in arguments]
        options = ("--chip", name, "--virt", "--path-efuse-file", theirs, "--do-not-confirm")
        ran = run_peer("espefuse", *options, *given)
        assert ran.code == 0, ran.out + ran.err
        ours = ours.burn_fields(values).latched()
        found = parse_virtual(theirs.read_bytes(), chip)
        assert found.bits == ours.hiding().bits, arguments
    assert read_state(json.dumps(espefuse_summary(ours, tmp_path)).encode(), chip=chip).bits[0] == ours.bits[0]


def test_a_summary_tells_of_what_chip_it_is(tmp_path: Path) -> None:
    for name in CHIP_NAMES:
        rows = espefuse_summary(Efuses.blank(load_chip(name)), tmp_path)
        assert read_state(json.dumps(rows).encode()).chip is load_chip(name)


def test_names_of_fields_are_espefuses() -> None:
    chip = load_chip("esp32c3")
    assert espefuse_name(chip.field("KEY3")) == "BLOCK_KEY3"
    assert espefuse_name(chip.field("MAC")) == "MAC"
