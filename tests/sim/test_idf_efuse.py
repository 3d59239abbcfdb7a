"""ESP-IDF's eFuse API on its own: batches, failures, and what of it reaches the controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.chips.chip import Chip, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.flash import NorFlash
from bootwright.sim.board import BurnEfuse, Steps, T
from bootwright.sim.idf_efuse import EfuseWriter, Err
from bootwright.sim.idf_keys import KeyToWrite, is_locked, is_unused, trusted_digests, write_keys


@dataclass
class Bench:
    """A board with nothing but eFuses."""

    chip: Chip
    efuses: Efuses
    flash: NorFlash = field(default_factory=lambda: NorFlash(0))
    lines: list[str] = field(default_factory=list)
    burned: list[int] = field(default_factory=list)

    @property
    def raw_flash(self) -> NorFlash:
        return self.flash

    def random(self, length: int) -> bytes:
        return bytes(length)

    def log(self, text: str) -> None:
        self.lines.append(text)

    def drive(self, steps: Steps[T]) -> T:
        try:
            while True:
                step = next(steps)
                assert isinstance(step, BurnEfuse)
                self.burned.append(step.block)
                self.efuses = self.efuses.program(step.block, step.data).latched()
        except StopIteration as end:
            result: T = end.value
            return result


def bench(chip: str = "esp32c3", /, **fields: int) -> Bench:
    facts = load_chip(chip)
    return Bench(facts, Efuses.blank(facts).burn_fields(fields).latched())


def test_without_a_batch_a_field_is_burned_at_once() -> None:
    it = bench()
    assert it.drive(EfuseWriter(it).set_bit("DIS_DIRECT_BOOT")) is Err.OK
    assert it.burned == [0]
    assert it.efuses.is_set("DIS_DIRECT_BOOT")


def test_a_bit_that_is_burned_already_is_no_program() -> None:
    it = bench(DIS_DIRECT_BOOT=1)
    assert it.drive(EfuseWriter(it).set_bit("DIS_DIRECT_BOOT")) is Err.OK
    assert it.burned == []


def test_a_batch_burns_the_highest_block_first_and_block0_last() -> None:
    it = bench()
    writer = EfuseWriter(it)
    writer.begin()
    it.drive(writer.set_bit("DIS_DIRECT_BOOT"))
    it.drive(writer.set_block(4, b"\x01" * 32))
    it.drive(writer.set_block(7, b"\x02" * 32))
    assert it.burned == []
    assert it.drive(writer.commit()) is Err.OK
    assert it.burned == [7, 4, 0]


def test_a_batch_in_a_batch_commits_with_the_outer_one() -> None:
    it = bench()
    writer = EfuseWriter(it)
    writer.begin()
    writer.begin()
    it.drive(writer.set_bit("DIS_DIRECT_BOOT"))
    it.drive(writer.commit())
    assert (it.burned, writer.in_batch) == ([], True)
    it.drive(writer.commit())
    assert (it.burned, writer.in_batch) == ([0], False)


def test_a_cancelled_batch_forgets_what_was_staged() -> None:
    it = bench()
    writer = EfuseWriter(it)
    writer.begin()
    it.drive(writer.set_bit("DIS_DIRECT_BOOT"))
    writer.cancel()
    writer.begin()
    assert it.drive(writer.commit()) is Err.OK
    assert it.burned == []


def test_programmed_bits_are_not_programmed_again() -> None:
    it = bench(KEY_PURPOSE_0=9)
    assert it.drive(EfuseWriter(it).set_number("KEY_PURPOSE_0", 1)) is Err.REPEATED_PROG
    assert it.burned == []


def test_a_counter_takes_the_lowest_free_bits() -> None:
    it = bench(SPI_BOOT_CRYPT_CNT=1)
    assert it.drive(EfuseWriter(it).set_more_bits("SPI_BOOT_CRYPT_CNT", 1)) is Err.OK
    assert it.efuses.number("SPI_BOOT_CRYPT_CNT") == 3
    assert it.drive(EfuseWriter(it).set_more_bits("SPI_BOOT_CRYPT_CNT", 2)) is Err.CNT_IS_FULL
    assert it.efuses.number("SPI_BOOT_CRYPT_CNT") == 3


def test_in_a_batch_a_counter_that_is_too_full_still_takes_what_fits() -> None:
    it = bench(SOFT_DIS_JTAG=1)
    writer = EfuseWriter(it)
    writer.begin()
    assert it.drive(writer.set_more_bits("SOFT_DIS_JTAG", 3)) is Err.CNT_IS_FULL
    it.drive(writer.commit())
    assert it.efuses.number("SOFT_DIS_JTAG") == 7


def test_a_frozen_field_is_tried_three_times_and_keeps_block0_from_lower_blocks() -> None:
    it = bench(**{"WR_DIS.KEY_PURPOSE_0": 1})
    assert it.drive(EfuseWriter(it).set_number("KEY_PURPOSE_0", 4)) is Err.FAIL
    assert it.burned == [0, 0, 0]
    assert any("next retry to fix an error [3/3]" in line for line in it.lines)


def test_a_block_that_fails_leaves_the_lower_ones_alone() -> None:
    it = bench(**{"WR_DIS.BLOCK_KEY1": 1})
    writer = EfuseWriter(it)
    writer.begin()
    it.drive(writer.set_block(5, b"\x01" * 32))
    it.drive(writer.set_bit("DIS_DIRECT_BOOT"))
    assert it.drive(writer.commit()) is Err.FAIL
    assert it.burned == [5, 5, 5]
    assert not it.efuses.is_set("DIS_DIRECT_BOOT")


def test_a_coded_block_is_written_once() -> None:
    it = bench()
    it.drive(EfuseWriter(it).set_block(4, b"\x01" * 32))
    writer = EfuseWriter(it)
    writer.begin()
    it.drive(writer.set_block(4, b"\x02" * 32))
    assert it.drive(writer.commit()) is Err.CODING
    assert it.burned == [4]


@pytest.mark.parametrize(("again", "err"), [(b"\x02" * 6, Err.CODING), (bytes(6) + b"\x02" * 6, Err.OK)])
def test_under_3_4_coding_each_six_bytes_are_written_once(again: bytes, err: Err) -> None:
    it = bench("esp32", CODING_SCHEME=1)
    it.drive(EfuseWriter(it).set_block(3, b"\x01" * 6))
    assert it.drive(EfuseWriter(it).set_block(3, again)) is err


def test_a_block_under_3_4_coding_takes_24_bytes() -> None:
    it = bench("esp32", CODING_SCHEME=1)
    assert it.drive(EfuseWriter(it).set_block(3, bytes(32))) is Err.CODING


# Keys


def write(it: Bench, *keys: KeyToWrite) -> Err:
    return it.drive(write_keys(it, EfuseWriter(it), keys))


def test_a_key_does_not_show() -> None:
    assert repr(KeyToWrite("XTS_AES_128_KEY", b"secret")) == "KeyToWrite('XTS_AES_128_KEY')"


def test_keys_take_the_free_blocks_from_below() -> None:
    it = bench(KEY_PURPOSE_0=8)
    assert write(it, *(KeyToWrite(f"SECURE_BOOT_DIGEST{n}", bytes([n + 1]) * 32) for n in range(2))) is Err.OK
    assert it.burned == [6, 5, 0]
    assert trusted_digests(it.efuses) == (b"\x01" * 32, b"\x02" * 32)
    assert not is_unused(it.efuses, 5)
    assert not is_locked(it.efuses, 5)  # a digest stays readable


def test_a_flash_key_is_locked_and_a_digest_is_not_hidden() -> None:
    it = bench()
    assert write(it, KeyToWrite("XTS_AES_128_KEY", b"\x07" * 32)) is Err.OK
    assert is_locked(it.efuses, 4)
    assert it.efuses.readable_block(4) == bytes(32)
    assert it.efuses.block(4) == b"\x07" * 32


def test_the_last_block_takes_no_flash_key_on_chips_with_the_bug() -> None:
    taken = {f"KEY_PURPOSE_{n}": 8 for n in range(5)}
    it = bench(**taken)
    assert write(it, KeyToWrite("XTS_AES_128_KEY", b"\x07" * 32)) is Err.NOT_SUPPORTED
    assert it.burned == []
    without_bug = bench("esp32s2", **taken)
    assert write(without_bug, KeyToWrite("XTS_AES_128_KEY", b"\x07" * 32)) is Err.OK


def test_without_free_blocks_nothing_is_staged() -> None:
    it = bench(**{f"KEY_PURPOSE_{n}": 8 for n in range(6)})
    assert write(it, KeyToWrite("HMAC_UP", bytes(32))) is Err.NOT_ENOUGH_UNUSED_KEY_BLOCKS


@pytest.mark.parametrize(
    ("purpose", "data", "block", "hidden"),
    [("FLASH_ENCRYPTION", b"\x01" * 32, 1, True), ("SECURE_BOOT_V2", b"\x02" * 32, 2, False)],
)
def test_on_the_esp32_a_key_s_place_is_its_purpose(purpose: str, data: bytes, block: int, hidden: bool) -> None:
    it = bench("esp32")
    assert write(it, KeyToWrite(purpose, data)) is Err.OK
    assert it.burned == [block, 0]
    assert it.efuses.read_protected(block) is hidden
    assert write(it, KeyToWrite(purpose, data)) is Err.INVALID_STATE


def test_on_the_c2_both_keys_share_a_block() -> None:
    it = bench("esp32c2")
    digest, flash_key = b"\x0d" * 32, b"\x0f" * 16
    writer = EfuseWriter(it)
    writer.begin()
    assert it.drive(write_keys(it, writer, [KeyToWrite("SECURE_BOOT_V2", digest)])) is Err.OK
    derived = KeyToWrite("XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS", flash_key)
    assert it.drive(write_keys(it, writer, [derived])) is Err.OK
    it.drive(writer.commit())
    assert it.burned == [3, 0]
    assert it.efuses.block(3) == flash_key + digest[:16]
    assert trusted_digests(it.efuses) == (digest[:16],)
    assert it.efuses.readable_block(3) == bytes(16) + digest[:16]


def test_on_the_c2_a_whole_key_leaves_no_room() -> None:
    it = bench("esp32c2")
    assert write(it, KeyToWrite("XTS_AES_128_KEY", b"\x01" * 32)) is Err.OK
    assert it.efuses.is_set("XTS_KEY_LENGTH_256")
    assert is_locked(it.efuses, 3)
    assert write(it, KeyToWrite("SECURE_BOOT_V2", b"\x02" * 32)) is Err.INVALID_STATE


_FIELDS = ("DIS_DIRECT_BOOT", "KEY_PURPOSE_0", "SPI_BOOT_CRYPT_CNT", "WR_DIS.KEY_PURPOSE_0", "SOFT_DIS_JTAG")


@given(st.lists(st.tuples(st.sampled_from(_FIELDS), st.integers(1, 7), st.booleans()), max_size=8))
def test_whatever_is_written_no_bit_is_lost(writes: list[tuple[str, int, bool]]) -> None:
    it = bench()
    writer = EfuseWriter(it)
    acts: dict[bool, Callable[[str, int], Steps[Err]]] = {
        True: writer.set_more_bits,
        False: lambda name, value: writer.set_number(name, value & (1 << it.chip.field(name).width) - 1),
    }
    for name, value, counts in writes:
        before = it.efuses.bits
        it.drive(acts[counts](name, value))
        assert all(old & new == old for old, new in zip(before, it.efuses.bits, strict=True))
