import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import NotModelledError, SiliconError
from bootwright.flash import Erase, NorFlash, Write
from bootwright.formats.esp_flash_encryption import efuse_key, encrypt_esp32, encrypt_xts
from bootwright.sim.encrypted_flash import EncryptedFlash, cipher_of, is_encryption_on

KEY = bytes(range(64))


def chip(name: str, blocks: dict[int, bytes] | None = None, **fields: int) -> Efuses:
    fuses = Efuses.blank(load_chip(name))
    for number, data in (blocks or {}).items():
        fuses = fuses.burn_block(number, data)
    return fuses.burn_fields(fields).latched()


@pytest.mark.parametrize(
    ("fuses", "stored"),
    [
        (chip("esp32c3", {4: efuse_key(KEY[:32])}, KEY_PURPOSE_0=4), encrypt_xts(b"x" * 256, KEY[:32], 0x1000)),
        (
            chip("esp32s2", {4: efuse_key(KEY[:32]), 7: efuse_key(KEY[32:])}, KEY_PURPOSE_0=2, KEY_PURPOSE_3=3),
            encrypt_xts(b"x" * 256, KEY, 0x1000),
        ),
        (chip("esp32c2", {3: efuse_key(KEY[:32])}, XTS_KEY_LENGTH_256=1), encrypt_xts(b"x" * 256, KEY[:32], 0x1000)),
        (chip("esp32c2", {3: efuse_key(KEY[:16])}), encrypt_xts(b"x" * 256, KEY[:16], 0x1000)),
        (
            chip("esp32", {1: efuse_key(KEY[:32])}, FLASH_CRYPT_CONFIG=0xF),
            encrypt_esp32(b"x" * 256, KEY[:32], 0x1000, 0xF),
        ),
        (chip("esp32", {1: efuse_key(KEY[:32])}), encrypt_esp32(b"x" * 256, KEY[:32], 0x1000, 0)),
        (
            chip("esp32", {1: efuse_key(KEY[:24])}, CODING_SCHEME=1, FLASH_CRYPT_CONFIG=0xF),
            encrypt_esp32(b"x" * 256, KEY[:24], 0x1000, 0xF),
        ),
        (chip("esp32c6"), encrypt_xts(b"x" * 256, bytes(32), 0x1000)),
    ],
    ids=["xts-128", "xts-256", "c2-whole", "c2-derived", "esp32", "esp32-untweaked", "esp32-3/4", "no key"],
)
def test_the_unit_works_with_the_key_that_the_efuses_hold(fuses: Efuses, stored: bytes) -> None:
    raw = NorFlash(0x2000)
    view = EncryptedFlash(raw, cipher_of(fuses), decrypting=True)
    view.apply(Write(0x1000, b"x" * 256, encrypted=True))
    assert raw.read(0x1000, 256) == stored
    assert view.read(0x1000, 256) == b"x" * 256


@pytest.mark.parametrize(("count", "on"), [(0, False), (1, True), (3, False), (7, True), (5, False)])
def test_an_odd_number_of_counter_bits_turns_it_on(count: int, on: bool) -> None:
    assert is_encryption_on(chip("esp32c3", SPI_BOOT_CRYPT_CNT=count)) is on


@given(start=st.integers(0, 511), length=st.integers(0, 300))
def test_any_range_reads_as_what_was_written(start: int, length: int) -> None:
    fuses = chip("esp32c3", {4: efuse_key(KEY[:32])}, KEY_PURPOSE_0=4, SPI_BOOT_CRYPT_CNT=1)
    plain = bytes(i * 7 % 256 for i in range(1024))
    raw = NorFlash(4096)
    view = EncryptedFlash.at_reset(raw, fuses)
    view.apply(Write(0, plain, encrypted=True))
    assert view.read(start, length) == plain[start : start + length]


def test_a_plain_write_is_stored_as_it_is_and_reads_as_noise() -> None:
    fuses = chip("esp32c3", {4: efuse_key(KEY[:32])}, KEY_PURPOSE_0=4, SPI_BOOT_CRYPT_CNT=1)
    raw = NorFlash(8192)
    view = EncryptedFlash.at_reset(raw, fuses)
    assert (view.size, view.sector_size, view.decrypting) == (8192, 4096, True)
    view.apply(Write(0, b"plaintext!!!!!!!"))
    assert raw.read(0, 16) == b"plaintext!!!!!!!"
    assert view.read(0, 16) != b"plaintext!!!!!!!"
    view.apply(Erase(0, 4096))
    assert raw.read(0, 16) == b"\xff" * 16


@pytest.mark.parametrize(("address", "length"), [(8, 16), (16, 8)])
def test_encrypted_writes_are_made_of_whole_blocks(address: int, length: int) -> None:
    view = EncryptedFlash.at_reset(NorFlash(4096), chip("esp32c3"))
    with pytest.raises(SiliconError, match="not made of whole blocks of 16"):
        view.apply(Write(address, bytes(length), encrypted=True))


def test_the_key_never_shows() -> None:
    cipher = cipher_of(chip("esp32c3", {4: efuse_key(KEY[:32])}, KEY_PURPOSE_0=4))
    assert repr(cipher) == "FlashCipher()"


def test_keys_of_both_lengths_are_not_modelled() -> None:
    with pytest.raises(NotModelledError, match="keys of both lengths"):
        cipher_of(chip("esp32s3", KEY_PURPOSE_0=4, KEY_PURPOSE_1=2))


def test_the_key_manager_is_not_modelled() -> None:
    with pytest.raises(NotModelledError, match="FORCE_USE_KEY_MANAGER_KEY"):
        cipher_of(chip("esp32p4", FORCE_USE_KEY_MANAGER_KEY=1))
