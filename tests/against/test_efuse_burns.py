"""Our burns against espefuse's: the same wish gives the same fuses, and where we refuse, espefuse would have burned."""

from pathlib import Path

import pytest
from tests.support.peers import Ran, run_bootwright, run_peer

from bootwright.chips.burning import KeyWish, custom_mac_values, flash_voltage_values, key_values, plan_burn
from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.chips.snapshots import parse_virtual, virtual
from bootwright.host.efuse_file import load_efuses, store_efuses

KEY, DIGEST = bytes(range(0x40, 0x60)), bytes(range(0x80, 0xA0))
FILES = {"key": KEY, "digest": DIGEST, "half": KEY[:16], "long": KEY + DIGEST}


def espefuse(chip: str, folder: Path, *arguments: str) -> Ran:
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    options = ("--chip", chip, "--virt", "--path-efuse-file", folder / "theirs.bin", "--do-not-confirm")
    return run_peer("espefuse", *options, *(str(folder / word) if word in FILES else word for word in arguments))


@pytest.mark.parametrize(
    ("chip", "words"),
    [
        ("esp32", ("flash_encryption", "key")),
        ("esp32", ("secure_boot_v1", "key")),
        ("esp32", ("secure_boot_v2", "digest")),
        ("esp32", ("BLOCK1", "key")),
        ("esp32c2", ("BLOCK_KEY0", "key", "XTS_AES_128_KEY")),
        ("esp32c2", ("BLOCK_KEY0", "half", "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS")),
        ("esp32c2", ("BLOCK_KEY0", "digest", "SECURE_BOOT_DIGEST")),
        ("esp32c3", ("BLOCK_KEY3", "key", "XTS_AES_128_KEY")),
        ("esp32c3", ("BLOCK_KEY1", "key", "HMAC_UP")),
        ("esp32c3", ("BLOCK_KEY2", "digest", "SECURE_BOOT_DIGEST2")),
        ("esp32c3", ("BLOCK_KEY5", "key", "USER")),
        ("esp32c5", ("BLOCK_KEY0", "key", "KM_INIT_KEY")),
        ("esp32c61", ("BLOCK_KEY5", "key", "XTS_AES_128_KEY")),
        ("esp32p4", ("BLOCK_KEY4", "long", "XTS_AES_256_KEY")),
        ("esp32s2", ("BLOCK_KEY1", "key", "XTS_AES_256_KEY_1")),
        ("esp32s3", ("BLOCK_KEY0", "long", "XTS_AES_256_KEY")),
    ],
)
def test_burn_key_burns_what_espefuse_burns(chip: str, words: tuple[str, ...], tmp_path: Path) -> None:
    silicon = load_chip(chip)
    blank = Efuses.blank(silicon)
    (tmp_path / "theirs.bin").write_bytes(virtual(blank))
    ran = espefuse(chip, tmp_path, "burn-key", *words)
    assert ran.code == 0, ran.err
    values = key_values(blank, [KeyWish(words[0], FILES[words[1]], words[2] if len(words) > 2 else "")])
    ours = plan_burn(blank, values).after
    theirs = parse_virtual((tmp_path / "theirs.bin").read_bytes(), silicon)
    assert theirs.bits == ours.hiding().bits
    if chip != "esp32":  # espefuse leaves the bytes of the last program command in its file: hidden keys show there
        window = (tmp_path / "theirs.bin").read_bytes()[::-1]
        at = silicon.efuse.registers["check_value"]
        assert isinstance(at, int)
        block = silicon.block(words[0]).number if words[-1] != "XTS_AES_256_KEY" else -1
        assert block < 0 or window[at : at + 12] == ours.checks[block].to_bytes(12, "little")


@pytest.mark.parametrize("chip", ["esp32", "esp32c2", "esp32c3"])
def test_a_custom_mac_is_burned_as_espefuse_burns_it(chip: str, tmp_path: Path) -> None:
    blank = Efuses.blank(load_chip(chip))
    (tmp_path / "theirs.bin").write_bytes(virtual(blank))
    assert espefuse(chip, tmp_path, "burn-custom-mac", "aa:bb:cc:dd:ee:02").code == 0
    ours = plan_burn(blank, custom_mac_values(blank, bytes.fromhex("aabbccddee02"))).after
    assert ours.bits == parse_virtual((tmp_path / "theirs.bin").read_bytes(), load_chip(chip)).bits


@pytest.mark.parametrize("voltage", ["1.8V", "3.3V", "OFF"])
@pytest.mark.parametrize("chip", ["esp32", "esp32s2", "esp32s3"])
def test_the_voltage_of_the_flash_is_settled_as_espefuse_settles_it(chip: str, voltage: str, tmp_path: Path) -> None:
    blank = Efuses.blank(load_chip(chip))
    (tmp_path / "theirs.bin").write_bytes(virtual(blank))
    assert espefuse(chip, tmp_path, "set-flash-voltage", voltage).code == 0
    ours = plan_burn(blank, flash_voltage_values(blank, voltage)).after
    assert ours.bits == parse_virtual((tmp_path / "theirs.bin").read_bytes(), load_chip(chip)).bits


def test_several_blocks_of_data_are_burned_as_espefuse_burns_them(tmp_path: Path) -> None:
    chip = load_chip("esp32c6")
    (tmp_path / "theirs.bin").write_bytes(virtual(Efuses.blank(chip)))
    words = ["burn-block-data", "BLOCK3", "key", "BLOCK10", "digest"]
    assert espefuse("esp32c6", tmp_path, *words).code == 0
    store_efuses(tmp_path / "ours.json", Efuses.blank(chip))
    given = [str(tmp_path / word) if word in FILES else word for word in words[1:]]
    ran = run_bootwright("efuse", words[0], tmp_path / "ours.json", *given, "--yes")
    assert ran.code == 0, ran.out + ran.err
    theirs = parse_virtual((tmp_path / "theirs.bin").read_bytes(), chip)
    assert load_efuses(tmp_path / "ours.json").bits == theirs.bits


def test_what_espefuse_staged_is_burned_as_espefuse_would(tmp_path: Path) -> None:
    chip = load_chip("esp32c3")
    (tmp_path / "theirs.bin").write_bytes(virtual(Efuses.blank(chip)))
    ran = espefuse("esp32c3", tmp_path, "burn-key", "--show-token", "BLOCK_KEY0", "key", "XTS_AES_128_KEY")
    store_efuses(tmp_path / "ours.json", Efuses.blank(chip))
    (tmp_path / "staged").write_text(ran.out)
    ours = run_bootwright("efuse", "burn-token", tmp_path / "ours.json", tmp_path / "staged", "--yes")
    assert ours.code == 0, ours.out + ours.err
    found = load_efuses(tmp_path / "ours.json")
    assert found.block(4) == KEY[::-1]
    assert found.hiding().bits == parse_virtual((tmp_path / "theirs.bin").read_bytes(), chip).bits
    wrong = run_bootwright("efuse", "burn-token", tmp_path / "ours.json", "EFSW:esp32:000::::::17ZYDQ", "--yes")
    assert wrong.code == 3
    assert "found CRC" in wrong.err


#: What people asked espefuse for, how they lost a device by it, and the mistake's name.
LET_THROUGH = [
    ("esp32s3", ["burn-efuse", "SPI_BOOT_CRYPT_CNT", "7"], "no-flash-key"),
    ("esp32", ["burn-efuse", "FLASH_CRYPT_CNT", "127"], "no-flash-key"),
    ("esp32c3", ["burn-efuse", "SECURE_BOOT_EN", "1"], "no-digest"),
    ("esp32c3", ["burn-efuse", "ENABLE_SECURITY_DOWNLOAD", "1"], "closed-early"),
    ("esp32", ["burn-key", "BLOCK1", "key"], "raw-block"),
    ("esp32c2", ["burn-key", "BLOCK_KEY0", "digest", "SECURE_BOOT_DIGEST"], "half-block"),
    ("esp32s3", ["write-protect-efuse", "DIS_ICACHE"], "frozen-early"),
]


@pytest.mark.parametrize(("chip", "words", "mistake"), LET_THROUGH)
def test_espefuse_burns_what_we_refuse_by_name(chip: str, words: list[str], mistake: str, tmp_path: Path) -> None:
    (tmp_path / "theirs.bin").write_bytes(virtual(Efuses.blank(load_chip(chip))))
    assert espefuse(chip, tmp_path, *words).code == 0
    path = tmp_path / "ours.json"
    store_efuses(path, Efuses.blank(load_chip(chip)))
    command = words[0].replace("write-protect-efuse", "write-protect")
    given = [str(tmp_path / word) if word in FILES else word for word in words[1:]]
    ran = run_bootwright("efuse", command, path, *given, "--yes")
    assert ran.code == 7
    assert f"[efuse.mistake.{mistake}]" in ran.out
    assert run_bootwright("efuse", command, path, *given, "--yes", "--allow", mistake).code in (0, 7)


def test_the_forum_case_of_a_counter_from_1_to_3(tmp_path: Path) -> None:
    """esp32.com p=152118: espefuse burned SPI_BOOT_CRYPT_CNT 1 → 3, and the device was dark."""
    chip = load_chip("esp32s3")
    wish = KeyWish("KEY0", KEY, "XTS_AES_128_KEY")
    before = plan_burn(Efuses.blank(chip), key_values(Efuses.blank(chip), [wish])).after
    before = before.burn_fields({"SPI_BOOT_CRYPT_CNT": 1}).latched()
    (tmp_path / "theirs.bin").write_bytes(virtual(before))
    assert espefuse("esp32s3", tmp_path, "burn-efuse", "SPI_BOOT_CRYPT_CNT", "3").code == 0
    path = tmp_path / "ours.json"
    store_efuses(path, before)
    ran = run_bootwright("efuse", "burn-efuse", path, "SPI_BOOT_CRYPT_CNT", "3", "--yes")
    assert (ran.code, "efuse.mistake.encryption-off" in ran.out) == (7, True)
    assert load_efuses(path) == before
