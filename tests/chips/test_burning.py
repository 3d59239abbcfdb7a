"""Burn plans: what a wish burns, and in which program commands."""

import pytest

from bootwright.chips.burning import KeyWish, key_values, plan_bits, plan_blocks, plan_burn, protection_values
from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import RefusedError, SiliconError

KEY, OTHER = bytes(range(32)), bytes(range(64, 96))


def blank(name: str = "esp32c3") -> Efuses:
    return Efuses.blank(load_chip(name))


def steps(name: str, *wishes: KeyWish) -> list[tuple[int, list[str]]]:
    efuses = blank(name)
    plan = plan_burn(efuses, key_values(efuses, wishes))
    return [(step.block, [change.name for change in step.changes]) for step in plan.steps]


def test_a_key_is_burned_first_its_purpose_next_and_its_protections_last() -> None:
    assert steps("esp32c3", KeyWish("KEY1", KEY, "XTS_AES_128_KEY")) == [
        (5, ["KEY1"]),
        (0, ["KEY_PURPOSE_1"]),
        (0, ["WR_DIS.KEY_PURPOSE_1", "WR_DIS.BLOCK_KEY1", "RD_DIS.BLOCK_KEY1"]),
    ]


def test_blocks_are_burned_from_the_highest_down() -> None:
    wishes = [KeyWish("KEY0", KEY, "SECURE_BOOT_DIGEST0"), KeyWish("KEY3", OTHER, "HMAC_UP")]
    assert [block for block, _ in steps("esp32s3", *wishes)] == [7, 4, 0, 0]


def test_a_flash_key_is_burned_backwards_and_a_digest_as_it_is() -> None:
    efuses = blank()
    values = key_values(
        efuses, [KeyWish("KEY0", KEY, "XTS_AES_128_KEY"), KeyWish("KEY1", OTHER, "SECURE_BOOT_DIGEST0")]
    )
    after = plan_burn(efuses, values).after
    assert after.block(4) == KEY[::-1]
    assert after.block(5) == OTHER
    assert after.readable_block(4) == bytes(32)
    assert after.readable_block(5) == OTHER


def test_the_halves_of_a_512_bit_key_go_to_the_named_and_the_next_free_block() -> None:
    efuses = blank("esp32s3").burn_fields({"KEY_PURPOSE_1": 9})
    values = key_values(efuses, [KeyWish("KEY0", KEY + OTHER, "XTS_AES_256_KEY")])
    after = plan_burn(efuses, values).after
    assert (after.block(4), after.block(6)) == (KEY[::-1], OTHER[::-1])
    assert (after.key_purpose(4), after.key_purpose(6)) == ("XTS_AES_256_KEY_1", "XTS_AES_256_KEY_2")


def test_the_esp32s_roles_decide_on_byte_order_and_protection() -> None:
    efuses = blank("esp32")
    after = plan_burn(efuses, key_values(efuses, [KeyWish("flash_encryption", KEY)])).after
    assert after.block(1) == KEY[::-1]
    assert after.read_protected(1)
    after = plan_burn(efuses, key_values(efuses, [KeyWish("secure_boot_v2", KEY)])).after
    assert after.block(2) == KEY
    assert not after.read_protected(2)
    after = plan_burn(efuses, key_values(efuses, [KeyWish("BLOCK1", KEY)])).after
    assert after.block(1) == KEY
    assert not after.read_protected(1)


def test_the_c2s_two_halves_go_in_one_program_command() -> None:
    wishes = [
        KeyWish("KEY0", KEY[:16], "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"),
        KeyWish("KEY0", OTHER, "SECURE_BOOT_DIGEST"),
    ]
    assert steps("esp32c2", *wishes) == [(3, ["KEY0"]), (0, ["WR_DIS.BLOCK_KEY0", "RD_DIS.KEY0"])]
    efuses = blank("esp32c2")
    after = plan_burn(efuses, key_values(efuses, wishes)).after
    assert after.block(3) == KEY[:16][::-1] + OTHER[:16]
    assert after.readable_block(3) == bytes(16) + OTHER[:16]


def test_protections_may_be_left_out() -> None:
    wish = KeyWish("KEY0", KEY, "XTS_AES_128_KEY", read_protect=False, write_protect=False)
    assert steps("esp32c3", wish)[-1] == (0, ["WR_DIS.KEY_PURPOSE_0"])


@pytest.mark.parametrize(
    ("name", "wish", "message"),
    [
        ("esp32c3", KeyWish("KEY0", KEY[:31], "XTS_AES_128_KEY"), "found a key of 31 bytes .* expected 32 bytes"),
        ("esp32c3", KeyWish("KEY0", KEY + OTHER, "XTS_AES_128_KEY"), "found a key of 64 bytes"),
        ("esp32s3", KeyWish("KEY0", KEY, "XTS_AES_256_KEY"), "expected 64 bytes"),
        ("esp32c3", KeyWish("USER_DATA", KEY, "USER"), "block USER_DATA holds no key"),
        ("esp32c3", KeyWish("KEY0", KEY, "XTS_AES_256_KEY_1"), "no key purpose XTS_AES_256_KEY_1"),
        ("esp32c2", KeyWish("KEY0", KEY, "HMAC_UP"), "no key purpose HMAC_UP"),
        ("esp32", KeyWish("flash_encryption", KEY[:24]), "expected 32 bytes"),
        ("esp32", KeyWish("BLOCK3", KEY), "no field for all of block 3"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(name: str, wish: KeyWish, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        key_values(blank(name), [wish])


def test_a_block_in_use_is_refused_with_the_free_ones() -> None:
    efuses = blank().burn_fields({"KEY_PURPOSE_0": 9})
    with pytest.raises(RefusedError, match="block KEY0 is in use") as caught:
        key_values(efuses, [KeyWish("KEY0", KEY, "USER")])
    assert caught.value.hint == "free are KEY1, KEY2, KEY3, KEY4, KEY5"
    with pytest.raises(RefusedError, match="in use"):
        key_values(blank(), [KeyWish("KEY0", KEY, "USER"), KeyWish("KEY0", OTHER, "USER")])


def test_no_key_is_in_a_repr() -> None:
    assert repr(KeyWish("KEY0", KEY, "USER")) == "KeyWish(KEY0, USER, 32 bytes)"
    efuses = blank()
    plan = plan_burn(efuses, key_values(efuses, [KeyWish("KEY0", KEY, "XTS_AES_128_KEY")]))
    assert repr(plan.steps[0]) == "Step(block 4: KEY0)"


def test_protecting_a_block_or_a_field_burns_its_bit() -> None:
    efuses = blank()
    for names, register, expected in (
        (["DIS_ICACHE"], "WR_DIS", 1 << 2),
        (["KEY0", "RD_DIS"], "WR_DIS", 1 << 23 | 1),
        (["BLOCK_KEY0", "BLOCK_KEY1"], "RD_DIS", 3),
        (["CUSTOM_MAC"], "WR_DIS", 1 << 22),
    ):
        assert protection_values(efuses, names, register=register) == {register: expected}
    assert protection_values(blank("esp32"), ["FLASH_CRYPT_CONFIG"], register="RD_DIS") == {"RD_DIS": 1 << 3}
    assert protection_values(blank("esp32c2"), ["KEY0.FE_128BIT"], register="RD_DIS") == {"RD_DIS": 1}
    assert protection_values(blank("esp32c2"), ["BLOCK_KEY0"], register="RD_DIS") == {"RD_DIS": 3}


def test_what_cannot_be_protected_is_refused() -> None:
    with pytest.raises(RefusedError, match="SECURE_BOOT_EN cannot be read-protected on ESP32-C3"):
        protection_values(blank(), ["SECURE_BOOT_EN"], register="RD_DIS")


def test_single_bits_are_one_program_command() -> None:
    plan = plan_bits(blank(), 3, 1 << 3 | 1 << 77)
    assert [(step.block, step.bits) for step in plan.steps] == [(3, 1 << 3 | 1 << 77)]
    assert plan_bits(plan.after, 3, 1 << 3).steps == ()
    with pytest.raises(SiliconError, match="takes 24 bytes, found 25"):
        plan_bits(blank(), 0, 1 << 192)


def test_staged_blocks_are_burned_from_the_highest_down_and_protections_last() -> None:
    efuses = blank()
    wanted = plan_burn(efuses, key_values(efuses, [KeyWish("KEY1", KEY, "XTS_AES_128_KEY")]))
    content = {b.number: (wanted.after.bits[b.number] & ~efuses.bits[b.number]).to_bytes(b.size, "little")
               for b in efuses.chip.blocks}  # fmt: skip
    plan = plan_blocks(efuses, content)
    assert plan.after == wanted.after
    assert [(step.block, step.bits) for step in plan.steps] == [(step.block, step.bits) for step in wanted.steps]


def test_what_is_burned_already_needs_no_step() -> None:
    efuses = blank().burn_fields({"SPI_BOOT_CRYPT_CNT": 1})
    assert plan_burn(efuses, {"SPI_BOOT_CRYPT_CNT": 1}).steps == ()
