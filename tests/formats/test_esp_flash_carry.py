"""espsecure's outcome at addresses that no ESP32 has; `tests/against` compares it with espsecure itself."""

from hypothesis import given
from hypothesis import strategies as st

from bootwright.formats.esp_flash_carry import decrypt_esp32_carrying, encrypt_esp32_carrying
from bootwright.formats.esp_flash_encryption import encrypt_esp32

KEY = bytes(range(32))
configs = st.integers(0, 15)
blocks = st.integers(1, 40).flatmap(lambda count: st.binary(min_size=16 * count, max_size=16 * count))


@given(data=blocks, block=st.integers(0, (1 << 20) - 40), config=configs)
def test_below_16_mib_it_is_what_the_chip_does(data: bytes, block: int, config: int) -> None:
    ours = encrypt_esp32_carrying(data, KEY, 16 * block, config)
    assert ours == encrypt_esp32(data, KEY, 16 * block, config)


@given(data=blocks, block=st.integers(-(1 << 24), 1 << 40), config=configs)
def test_decrypting_undoes_encrypting_at_any_address(data: bytes, block: int, config: int) -> None:
    ciphertext = encrypt_esp32_carrying(data, KEY, 16 * block, config)
    assert decrypt_esp32_carrying(ciphertext, KEY, 16 * block, config) == data


def test_beyond_16_mib_the_address_runs_over_into_the_next_field() -> None:
    data = bytes(32)
    assert encrypt_esp32_carrying(data, KEY, 1 << 24, 15) != encrypt_esp32(data, KEY, 0, 15)
