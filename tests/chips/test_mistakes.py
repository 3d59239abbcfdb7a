"""The classic mistakes: each is found in a plan that makes it, and in no plan of the documented order."""

from collections.abc import Sequence

import pytest

from bootwright.chips.burning import BurnPlan, KeyWish, key_values, plan_burn, protection_values
from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.chips.mistakes import MISTAKES, check_plan, check_state, known_names, usable_digests
from bootwright.chips.release import check_release
from bootwright.errors import RefusedError
from bootwright.finding import Verdict, overall

KEY, DIGEST = bytes(range(32)), bytes(range(64, 96))
XTS = KeyWish("KEY0", KEY, "XTS_AES_128_KEY")
SB = KeyWish("KEY1", DIGEST, "SECURE_BOOT_DIGEST0")


def chip(name: str, *wishes: KeyWish, revision: int | None = None, **values: int) -> Efuses:
    """A chip with these keys and fields burned, all in force."""
    efuses = Efuses.blank(load_chip(name), revision=revision)
    efuses = efuses.burn_fields(key_values(efuses, wishes)).latched() if wishes else efuses
    return efuses.burn_fields(values).latched()


def burning(efuses: Efuses, **values: int) -> BurnPlan:
    return plan_burn(efuses, values)


def keys(efuses: Efuses, *wishes: KeyWish) -> BurnPlan:
    return plan_burn(efuses, key_values(efuses, wishes), keys=wishes)


def protecting(efuses: Efuses, register: str, *names: str) -> BurnPlan:
    return plan_burn(efuses, protection_values(efuses, names, register=register))


FE32 = KeyWish("flash_encryption", KEY)
#: mistake → a plan that makes it.
EXAMPLES: dict[str, Sequence[BurnPlan]] = {
    "cannot-clear": [burning(chip("esp32c3", XTS, SPI_BOOT_CRYPT_CNT=7), SPI_BOOT_CRYPT_CNT=1)],
    "encryption-off": [
        burning(chip("esp32s3", XTS, SPI_BOOT_CRYPT_CNT=1), SPI_BOOT_CRYPT_CNT=3),
        burning(chip("esp32", FE32, FLASH_CRYPT_CNT=1, FLASH_CRYPT_CONFIG=15), FLASH_CRYPT_CNT=3),
        burning(chip("esp32s3", XTS), SPI_BOOT_CRYPT_CNT=3),
    ],
    "no-flash-key": [
        burning(chip("esp32c3"), SPI_BOOT_CRYPT_CNT=7),
        burning(chip("esp32c3", SB), SPI_BOOT_CRYPT_CNT=7),
        burning(chip("esp32"), FLASH_CRYPT_CNT=127, FLASH_CRYPT_CONFIG=15),
        burning(chip("esp32c2", KeyWish("KEY0", DIGEST, "SECURE_BOOT_DIGEST")), SPI_BOOT_CRYPT_CNT=1),
    ],
    "crypt-config": [burning(chip("esp32", FE32), FLASH_CRYPT_CNT=1)],
    "no-digest": [
        burning(chip("esp32c3"), SECURE_BOOT_EN=1),
        burning(chip("esp32"), ABS_DONE_1=1),
        burning(chip("esp32c2"), SECURE_BOOT_EN=1),
        burning(chip("esp32c3", SB, SECURE_BOOT_KEY_REVOKE0=1), SECURE_BOOT_EN=1),
        burning(chip("esp32c3", SB, SECURE_BOOT_EN=1), SECURE_BOOT_KEY_REVOKE0=1),
    ],
    "hidden-digest": [
        protecting(chip("esp32c3", SB), "RD_DIS", "KEY1"),
        protecting(chip("esp32", KeyWish("secure_boot_v2", DIGEST), ABS_DONE_1=1), "RD_DIS", "BLOCK2"),
        protecting(chip("esp32c2", KeyWish("KEY0", DIGEST, "SECURE_BOOT_DIGEST")), "RD_DIS", "KEY0"),
    ],
    "last-block": [
        keys(chip(name), KeyWish("KEY5", KEY, "XTS_AES_128_KEY"))
        for name in ("esp32s3", "esp32c3", "esp32c6", "esp32h2")
    ],
    "same-digest-twice": [keys(chip("esp32s3", SB), KeyWish("KEY2", KEY, "SECURE_BOOT_DIGEST0"))],
    "two-key-lengths": [
        keys(chip("esp32s3", XTS), KeyWish("KEY1", KEY + DIGEST, "XTS_AES_256_KEY")),
        burning(chip("esp32s3", KeyWish("KEY0", KEY, "XTS_AES_256_KEY_1")), SPI_BOOT_CRYPT_CNT=1),
    ],
    "readable-key": [
        burning(chip("esp32c3", KeyWish("KEY0", KEY, "XTS_AES_128_KEY", read_protect=False)), SPI_BOOT_CRYPT_CNT=1)
    ],
    "rd-dis-frozen": [
        protecting(chip("esp32c3", SB), "WR_DIS", "RD_DIS"),
        protecting(chip("esp32"), "WR_DIS", "RD_DIS"),
    ],
    "frozen-early": [
        protecting(chip("esp32s3", XTS, SPI_BOOT_CRYPT_CNT=7), "WR_DIS", "DIS_ICACHE"),
        protecting(chip("esp32", FE32, FLASH_CRYPT_CNT=127, FLASH_CRYPT_CONFIG=15), "WR_DIS", "FLASH_CRYPT_CNT"),
        protecting(chip("esp32c2"), "WR_DIS", "SPI_BOOT_CRYPT_CNT"),
    ],
    "closed-early": [
        burning(chip("esp32c3"), ENABLE_SECURITY_DOWNLOAD=1),
        burning(chip("esp32c3"), DIS_DOWNLOAD_MODE=1),
        burning(chip("esp32"), UART_DOWNLOAD_DIS=1),
    ],
    "raw-block": [keys(chip("esp32"), KeyWish("BLOCK1", KEY))],
    "half-block": [
        keys(chip("esp32c2"), KeyWish("KEY0", DIGEST, "SECURE_BOOT_DIGEST")),
        keys(chip("esp32c2"), KeyWish("KEY0", KEY[:16], "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS")),
    ],
    "unheeded": [
        burning(chip("esp32", revision=100), ABS_DONE_1=1),
        burning(chip("esp32", revision=100), UART_DOWNLOAD_DIS=1),
        burning(chip("esp32h2", revision=100), XTS_DPA_PSEUDO_LEVEL=1),
    ],
    "coded-digest": [burning(chip("esp32", CODING_SCHEME=1), ABS_DONE_1=1)],
}


def failures(plan: BurnPlan, *, allow: Sequence[str] = ()) -> set[str]:
    return {f.code.rpartition(".")[2] for f in check_plan(plan, allow=allow) if f.verdict is Verdict.FAIL}


@pytest.mark.parametrize("name", [mistake.name for mistake in MISTAKES])
def test_each_mistake_is_found_and_can_be_insisted_on_by_name(name: str) -> None:
    for plan in EXAMPLES[name]:
        found = [f for f in check_plan(plan) if f.code == f"efuse.mistake.{name}"]
        assert found, plan.steps
        assert all(f.because and f"--allow {name}" in f.next for f in found)
        assert name not in failures(plan, allow=[name])


def play(efuses: Efuses, *wishes: tuple[str, object]) -> Efuses:
    """Burn wish after wish, each without a mistake."""
    for kind, wish in wishes:
        if kind == "keys":
            assert isinstance(wish, list)
            plan = keys(efuses, *wish)
        elif kind == "protect":
            assert isinstance(wish, list)
            plan = protecting(efuses, "WR_DIS", *wish)
        else:
            assert isinstance(wish, dict)
            plan = burning(efuses, **wish)
        assert failures(plan) == set(), (kind, wish)
        efuses = plan.after
    return efuses


@pytest.mark.parametrize("name", [name for name in CHIP_NAMES if load_chip(name).keys.purpose_by == "field"])
def test_the_documented_order_makes_no_mistake_and_ends_in_release_mode(name: str) -> None:
    silicon = load_chip(name)
    fields = {f: 1 for f in silicon.release_fields if f not in ("SOFT_DIS_JTAG", "DIS_ICACHE")}
    if silicon.flash_encryption.pseudo_round:
        fields["XTS_DPA_PSEUDO_LEVEL"] = 1
    locks = [f for f in ("DIS_ICACHE",) if f in silicon.release_fields]
    if silicon.has_field("WR_DIS.SECURE_BOOT_SHA384_EN"):
        locks.append("SECURE_BOOT_SHA384_EN")
    after = play(
        Efuses.blank(silicon),
        ("keys", [XTS]),
        ("burn", {"SPI_BOOT_CRYPT_CNT": 7}),
        ("burn", fields),
        *([("protect", locks)] if locks else []),
        ("keys", [SB]),
        ("burn", {"SECURE_BOOT_EN": 1, "SECURE_BOOT_KEY_REVOKE1": 1, "SECURE_BOOT_KEY_REVOKE2": 1}),
        ("protect", ["RD_DIS"]),
        ("burn", {"ENABLE_SECURITY_DOWNLOAD": 1}),
    )
    assert overall(check_release(after)) is Verdict.PASS, check_release(after)
    assert [f.code for f in check_state(after)] == ["efuse.mistake.none"]


def test_the_documented_order_of_the_esp32_makes_no_mistake_and_ends_in_release_mode() -> None:
    after = play(
        Efuses.blank(load_chip("esp32")),
        ("keys", [FE32]),
        ("burn", {"FLASH_CRYPT_CONFIG": 15, "FLASH_CRYPT_CNT": 127}),
        ("burn", {"DISABLE_DL_ENCRYPT": 1, "DISABLE_DL_DECRYPT": 1, "DISABLE_DL_CACHE": 1, "JTAG_DISABLE": 1}),
        ("burn", {"CONSOLE_DEBUG_DISABLE": 1}),
        ("protect", ["DIS_CACHE"]),
        ("keys", [KeyWish("secure_boot_v2", DIGEST)]),
        ("burn", {"ABS_DONE_1": 1}),
        ("protect", ["RD_DIS"]),
        ("burn", {"UART_DOWNLOAD_DIS": 1}),
    )
    assert overall(check_release(after)) is Verdict.PASS, check_release(after)


def test_the_documented_order_of_the_c2_makes_no_mistake_and_ends_in_release_mode() -> None:
    halves = [
        KeyWish("KEY0", KEY[:16], "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"),
        KeyWish("KEY0", DIGEST, "SECURE_BOOT_DIGEST"),
    ]
    after = play(
        Efuses.blank(load_chip("esp32c2")),
        ("keys", halves),
        ("burn", {"SPI_BOOT_CRYPT_CNT": 7, "SECURE_BOOT_EN": 1}),
        ("burn", {"DIS_DOWNLOAD_MANUAL_ENCRYPT": 1, "DIS_DOWNLOAD_ICACHE": 1, "DIS_PAD_JTAG": 1, "DIS_DIRECT_BOOT": 1}),
        ("protect", ["RD_DIS"]),
        ("burn", {"ENABLE_SECURITY_DOWNLOAD": 1}),
    )
    assert overall(check_release(after)) is Verdict.PASS, check_release(after)


def test_a_new_chip_misses_everything_and_made_no_mistake() -> None:
    for name in CHIP_NAMES:
        efuses = Efuses.blank(load_chip(name))
        assert overall(check_release(efuses)) is Verdict.FAIL
        assert overall(check_state(efuses)) is Verdict.PASS


def test_a_bricked_chip_says_by_what() -> None:
    codes = {f.code for f in check_state(chip("esp32", FLASH_CRYPT_CNT=1))}
    assert codes == {"efuse.mistake.no-flash-key", "efuse.mistake.crypt-config"}


def test_an_unused_digest_slot_that_is_not_revoked_is_worth_a_warning() -> None:
    open_slots = [f for f in check_release(chip("esp32c3", SB, SECURE_BOOT_EN=1)) if f.verdict is Verdict.WARN]
    assert [f.subject for f in open_slots] == ["SECURE_BOOT_DIGEST1", "SECURE_BOOT_DIGEST2"]
    assert not [f for f in check_release(chip("esp32c3", SB)) if f.verdict is Verdict.WARN]


def test_jtag_may_be_closed_softly_where_an_hmac_key_can_reopen_it() -> None:
    soft = chip("esp32c3", KeyWish("KEY2", KEY, "HMAC_DOWN_JTAG"), SOFT_DIS_JTAG=7)
    assert not [f for f in check_release(soft) if f.subject.endswith("JTAG")]
    assert [f for f in check_release(chip("esp32c3", SOFT_DIS_JTAG=7)) if f.subject == "DIS_PAD_JTAG"]


def test_the_key_manager_counts_as_a_flash_key() -> None:
    assert "no-flash-key" not in failures(burning(chip("esp32p4", FORCE_USE_KEY_MANAGER_KEY=2), SPI_BOOT_CRYPT_CNT=7))


def test_digests_that_the_rom_can_use() -> None:
    assert usable_digests(chip("esp32c3", SB)) == (5,)
    assert usable_digests(chip("esp32c3", SB, SECURE_BOOT_KEY_REVOKE0=1)) == ()


def test_an_override_of_no_mistake_is_refused() -> None:
    with pytest.raises(RefusedError, match="no mistake called 'brick-me'"):
        known_names(["brick-me"])


def missing(efuses: Efuses) -> set[str]:
    return {f.subject for f in check_release(efuses) if f.verdict is Verdict.FAIL}


def test_release_mode_asks_the_c2_to_hide_the_half_or_the_whole_that_holds_the_key() -> None:
    half = KeyWish("KEY0", KEY[:16], "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS", read_protect=False)
    assert {"RD_DIS.KEY0.LOW"} <= missing(chip("esp32c2", half))
    assert not {"RD_DIS.KEY0.LOW", "RD_DIS.BLOCK1"} & missing(chip("esp32c2", half, **{"RD_DIS.KEY0.LOW": 1}))
    whole = KeyWish("KEY0", KEY, "XTS_AES_128_KEY", read_protect=False)
    assert {"RD_DIS.KEY0.LOW"} <= missing(chip("esp32c2", whole, **{"RD_DIS.KEY0.LOW": 1}))
    assert {"WR_DIS.BLOCK_KEY0"} <= missing(chip("esp32c2"))
    assert {"RD_DIS.BLOCK1", "WR_DIS.BLOCK1", "WR_DIS.BLOCK2"} <= missing(chip("esp32"))


def test_release_mode_speaks_of_fields_by_their_first_name() -> None:
    assert "DIS_PAD_JTAG" in missing(chip("esp32s3"))
    assert "HARD_DIS_JTAG" in missing(chip("esp32s2"))


def test_release_mode_asks_the_c5_to_settle_on_a_hash() -> None:
    assert "WR_DIS.SECURE_BOOT_SHA384_EN" in missing(chip("esp32c5"))
    assert "WR_DIS.SECURE_BOOT_SHA384_EN" not in missing(chip("esp32c5", SECURE_BOOT_SHA384_EN=1))
    assert "WR_DIS.SECURE_BOOT_SHA384_EN" not in missing(chip("esp32p4"))


def test_release_mode_knows_secure_boot_v1() -> None:
    v1 = chip("esp32", KeyWish("secure_boot_v1", KEY), revision=100, ABS_DONE_0=1)
    assert not {"ABS_DONE_1", "UART_DOWNLOAD_DIS", "WR_DIS.RD_DIS", "RD_DIS.BLOCK2"} & missing(v1)
    open_key = chip("esp32", KeyWish("secure_boot_v1", KEY, read_protect=False), revision=100, ABS_DONE_0=1)
    assert "RD_DIS.BLOCK2" in missing(open_key)


def test_release_mode_asks_for_readable_filled_and_frozen_digests() -> None:
    bare = KeyWish("KEY1", DIGEST, "SECURE_BOOT_DIGEST0", write_protect=False)
    assert "WR_DIS.BLOCK_KEY1" in missing(chip("esp32c3", bare))
    assert "WR_DIS.BLOCK_KEY1" not in missing(chip("esp32c3", SB))
    assert "KEY1" in missing(chip("esp32c3", SB, **{"RD_DIS.BLOCK_KEY1": 1}))
    assert "KEY1" in missing(chip("esp32c3", KEY_PURPOSE_1=9))
    assert "WR_DIS.KEY_PURPOSE_1" in missing(chip("esp32c3", KEY_PURPOSE_1=9))
