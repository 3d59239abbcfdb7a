"""The rules of the silicon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.efuses import Efuses, diff
from bootwright.errors import SiliconError

EVERY_CHIP = pytest.mark.parametrize("name", CHIP_NAMES)
KEY = bytes(range(32))


def blank(name: str = "esp32c3") -> Efuses:
    return Efuses.blank(load_chip(name))


@EVERY_CHIP
def test_a_new_chip_states_its_revision_and_mac_and_nothing_else(name: str) -> None:
    chip = load_chip(name)
    mac = bytes.fromhex("a0764e102030")
    efuses = Efuses.blank(chip, mac=mac)
    assert efuses.read("MAC") == mac
    copy = Efuses.holding(chip, {block.number: efuses.block(block.number) for block in chip.blocks})
    assert copy == efuses
    assert not efuses.number("WR_DIS")
    assert not any(efuses.spoiled(block.number) for block in chip.blocks)


def test_a_field_keeps_bits_that_a_later_value_lacks() -> None:
    efuses = blank().burn_fields({"SPI_BOOT_CRYPT_CNT": 1}).burn_fields({"SPI_BOOT_CRYPT_CNT": 2})
    assert efuses.read("SPI_BOOT_CRYPT_CNT") == 3


def test_a_value_too_wide_for_its_field_is_refused() -> None:
    with pytest.raises(SiliconError, match="SPI_BOOT_CRYPT_CNT takes 3 bits, found a value of 4 bits"):
        blank().burn_fields({"SPI_BOOT_CRYPT_CNT": 8})


def test_write_protection_holds_from_the_next_latch_on_and_not_before() -> None:
    burned = blank().burn_fields({"WR_DIS.SPI_BOOT_CRYPT_CNT": 1})
    assert burned.burn_fields({"SPI_BOOT_CRYPT_CNT": 1}).read("SPI_BOOT_CRYPT_CNT") == 1
    with pytest.raises(SiliconError, match="SPI_BOOT_CRYPT_CNT cannot be burned: write-protected"):
        burned.latched().burn_fields({"SPI_BOOT_CRYPT_CNT": 1})


def test_the_controller_skips_frozen_bits_in_silence() -> None:
    frozen = blank().burn_fields({"WR_DIS.SPI_BOOT_CRYPT_CNT": 1}).latched()
    after = frozen.program_fields({"SPI_BOOT_CRYPT_CNT": 7, "SECURE_BOOT_EN": 1})
    assert (after.read("SPI_BOOT_CRYPT_CNT"), after.read("SECURE_BOOT_EN")) == (0, 1)


def test_what_is_burned_already_may_be_asked_for_again_though_frozen() -> None:
    frozen = blank().burn_fields({"SECURE_BOOT_EN": 1, "WR_DIS.SECURE_BOOT_EN": 1}).latched()
    assert frozen.burn_fields({"SECURE_BOOT_EN": 1}) == frozen


def test_a_read_protected_key_is_known_to_the_chip_and_hidden_from_readers() -> None:
    efuses = blank().burn_block(4, KEY).burn_fields({"RD_DIS.BLOCK_KEY0": 1})
    assert efuses.readable_block(4) == KEY
    efuses = efuses.latched()
    assert efuses.readable_block(4) == bytes(32)
    assert efuses.read("KEY0") == bytes(32)
    assert efuses.block(4) == KEY


def test_a_frozen_hidden_block_does_not_tell_which_bits_are_set() -> None:
    efuses = blank().burn_block(4, KEY).burn_fields({"RD_DIS.BLOCK_KEY0": 1, "WR_DIS.BLOCK_KEY0": 1}).latched()
    for content in (KEY, b"\xff" * 32):
        with pytest.raises(SiliconError, match="KEY0 cannot be burned: write-protected"):
            efuses.burn_block(4, content)


def test_no_secret_is_in_the_repr() -> None:
    assert repr(blank().burn_block(4, KEY)) == "Efuses(esp32c3, revision 0.4)"


def test_a_reed_solomon_block_is_written_once() -> None:
    once = blank().burn_block(4, KEY)
    assert once.burn_block(4, KEY) == once
    with pytest.raises(SiliconError, match="block KEY0 cannot be burned: it is written already"):
        once.burn_block(4, b"\xff" * 32)


def test_a_second_program_command_spoils_a_reed_solomon_block() -> None:
    once = blank().program(4, KEY)
    assert not once.spoiled(4)
    twice = once.program(4, b"\xff" * 32)
    assert twice.spoiled(4)
    assert twice.block(4) == b"\xff" * 32
    assert once.program(4, KEY) == once


def test_a_cut_program_command_leaves_a_subset_and_spoils_a_reed_solomon_block() -> None:
    before, whole = blank(), blank().program(4, KEY)
    assert before.program_torn(4, KEY, landed=0) == before
    assert before.program_torn(4, KEY, landed=-1) == whole
    torn = before.program_torn(4, KEY, landed=(1 << 128) - 1)
    assert torn.block(4) == KEY[:16] + bytes(16)
    assert torn.checks[4] == 0
    assert torn.spoiled(4)
    assert torn.program_torn(4, KEY, landed=-1) == whole
    parity_only = before.program_torn(4, KEY, landed=-1 << 256)
    assert parity_only.block(4) == bytes(32)
    assert parity_only.spoiled(4)
    with pytest.raises(SiliconError, match="written already"):
        parity_only.burn_block(4, KEY)


def test_block0_takes_bit_after_bit() -> None:
    efuses = blank().burn_fields({"SECURE_BOOT_EN": 1}).burn_fields({"DIS_PAD_JTAG": 1})
    assert not efuses.spoiled(0)


def test_a_frozen_block_keeps_its_parity_too() -> None:
    frozen = blank().burn_block(4, KEY).burn_fields({"WR_DIS.BLOCK_KEY0": 1}).latched()
    assert frozen.program(4, b"\xff" * 32) == frozen


def test_the_esp32_under_3_4_coding_holds_24_bytes_a_block_and_each_unit_once() -> None:
    efuses = blank("esp32").burn_fields({"CODING_SCHEME": 1}).latched()
    assert efuses.block_size(1) == 24
    once = efuses.burn_block(1, KEY[:24])
    assert once.block(1) == KEY[:24]
    with pytest.raises(SiliconError, match="bytes 0 to 5 are written already"):
        once.burn_block(1, b"\xff" * 24)
    with pytest.raises(SiliconError, match="takes 24 bytes under 3/4 coding, found 32"):
        efuses.burn_block(2, KEY)
    assert once.program(1, b"\xff" * 24).spoiled(1)
    assert efuses.burn_block(3, KEY[:6]).burn_block(3, bytes(6) + KEY[1:7]).block(3)[:12] == KEY[:6] + KEY[1:7]


def test_rd_dis_of_the_esp32_hides_fields_of_block0_too() -> None:
    efuses = blank("esp32").burn_fields({"FLASH_CRYPT_CONFIG": 15, "RD_DIS.FLASH_CRYPT_CONFIG": 1}).latched()
    assert efuses.read("FLASH_CRYPT_CONFIG") == 0
    assert efuses.true_number("FLASH_CRYPT_CONFIG") == 15


def test_the_halves_of_the_c2s_key_block_are_hidden_one_by_one() -> None:
    efuses = blank("esp32c2").burn_block(3, KEY).burn_fields({"RD_DIS.KEY0.LOW": 1}).latched()
    assert efuses.readable_block(3) == bytes(16) + KEY[16:]
    assert efuses.burn_fields({"RD_DIS.KEY0.HI": 1}).latched().readable_block(3) == bytes(32)


def test_key_purposes_find_their_blocks() -> None:
    efuses = blank().burn_fields({"KEY_PURPOSE_2": 9, "KEY_PURPOSE_4": 4})
    assert efuses.find_key("SECURE_BOOT_DIGEST0") == 6
    assert efuses.find_key("XTS_AES_128_KEY") == 8
    assert efuses.find_key("HMAC_UP") is None
    assert efuses.key_purpose(4) == "USER"
    assert efuses.find_keys("USER") == (4, 5, 7, 9)


def test_the_last_key_block_is_not_offered_for_a_flash_key_where_it_cannot_serve() -> None:
    used = {f"KEY_PURPOSE_{i}": 9 for i in range(5)}
    assert blank("esp32c3").burn_fields(used).free_key_block("XTS_AES_128_KEY") is None
    assert blank("esp32c3").burn_fields(used).free_key_block("HMAC_UP") == 9
    assert blank("esp32p4").burn_fields(used).free_key_block("XTS_AES_128_KEY") == 9


def test_a_key_block_is_used_when_anything_about_it_is_burned() -> None:
    fresh = blank()
    assert fresh.key_block_unused(4)
    for burned in (
        fresh.burn_block(4, KEY),
        fresh.burn_fields({"KEY_PURPOSE_0": 4}),
        fresh.burn_fields({"WR_DIS.KEY_PURPOSE_0": 1}),
        fresh.burn_fields({"WR_DIS.BLOCK_KEY0": 1}),
        fresh.burn_fields({"RD_DIS.BLOCK_KEY0": 1}),
    ):
        assert not burned.latched().key_block_unused(4)
    assert not fresh.key_block_unused(3)


def test_place_is_purpose_on_the_esp32_and_length_is_purpose_on_the_c2() -> None:
    assert blank("esp32").find_key("FLASH_ENCRYPTION") == 1
    assert blank("esp32").find_key("SECURE_BOOT_V2") == 2
    derived = blank("esp32c2")
    assert derived.key_purpose(3) == "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"
    assert derived.burn_fields({"XTS_KEY_LENGTH_256": 1}).key_purpose(3) == "XTS_AES_128_KEY"


def test_the_purpose_field_of_the_p4_grew_a_fifth_bit_with_revision_3() -> None:
    chip = load_chip("esp32p4")
    efuses = Efuses.blank(chip, revision=300).burn_fields({"KEY_PURPOSE_0": 17})
    assert efuses.find_key("ECDSA_KEY_P384_L") == 4
    with pytest.raises(SiliconError, match="takes 4 bits"):
        Efuses.blank(chip, revision=100).burn_fields({"KEY_PURPOSE_0": 17})


def test_a_difference_names_what_was_protected_and_hides_what_nobody_may_read() -> None:
    before = blank()
    after = before.burn_block(4, KEY).burn_fields(
        {"WR_DIS.DIS_ICACHE": 1, "RD_DIS.BLOCK_KEY0": 1, "KEY_PURPOSE_0": 4, "SPI_BOOT_CRYPT_CNT": 7}
    )
    rows = [(row.name, row.block, row.bit, row.before, row.after) for row in diff(before, after)]
    assert rows == [
        ("WR_DIS.DIS_ICACHE", 0, 2, 0, 1),
        ("RD_DIS.BLOCK_KEY0", 0, 32, 0, 1),
        ("SPI_BOOT_CRYPT_CNT", 0, 82, 0, 7),
        ("KEY_PURPOSE_0", 0, 88, 0, 4),
        ("KEY0", 4, 0, None, None),
    ]
    assert not any(row.reversible for row in diff(before, after))


def test_bits_of_no_field_can_still_be_burned_and_have_no_name() -> None:
    efuses = blank().burn_block(0, bytes(23) + b"\x80")
    assert efuses.block(0)[23] == 0x80
    assert efuses.names_of(0, 1 << 191) == ()


def test_data_longer_than_a_block_are_refused() -> None:
    with pytest.raises(SiliconError, match="block BLOCK0 takes 24 bytes, found 25"):
        blank().burn_block(0, bytes(24) + b"\x01")


@given(st.sampled_from(CHIP_NAMES), st.data())
def test_reading_undoes_burning_for_every_field(name: str, data: st.DataObject) -> None:
    chip = load_chip(name)
    efuses = Efuses.blank(chip)
    field = data.draw(st.sampled_from([f for f in chip.fields_at(efuses.revision) if f.name != "RD_DIS"]))
    size = efuses.block_size(field.block)
    width = min(field.width, 8 * size)
    value = data.draw(st.integers(0, (1 << width) - 1))
    after = efuses.program_fields({field.name: value})
    assert after.true_number(field.name) == value | efuses.true_number(field.name)


def test_the_revision_of_the_esp32_lies_in_scattered_bits() -> None:
    for revision, bits in ((0, (0, 0, 0)), (101, (1, 0, 1)), (300, (1, 1, 0)), (302, (1, 1, 2))):
        efuses = Efuses.blank(load_chip("esp32"), revision=revision)
        found = tuple(efuses.number(name) for name in ("CHIP_VER_REV1", "CHIP_VER_REV2", "WAFER_VERSION_MINOR"))
        assert found == bits
        assert Efuses.holding(efuses.chip, {0: efuses.block(0)}).revision == revision


def test_a_minor_revision_may_be_split_over_two_fields() -> None:
    efuses = Efuses.blank(load_chip("esp32c3"), revision=111)
    assert (efuses.number("WAFER_VERSION_MINOR_LO"), efuses.number("WAFER_VERSION_MINOR_HI")) == (3, 1)
    assert Efuses.holding(efuses.chip, {1: efuses.block(1)}).revision == 111
