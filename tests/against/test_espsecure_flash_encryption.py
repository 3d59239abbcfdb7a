"""espsecure encrypts and decrypts what we do, byte for byte, for every scheme of every chip."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.peers import run_peer

from bootwright.formats.esp_flash_encryption import (
    ESP32_KEY_SIZES,
    XTS_KEY_SIZES,
    decrypt_esp32,
    decrypt_xts,
    encrypt_esp32,
    encrypt_xts,
)

data = st.one_of(
    st.integers(1, 300).flatmap(lambda n: st.binary(min_size=16 * n, max_size=16 * n)),
    st.binary(min_size=16, max_size=16).map(lambda block: block * 4099),  # into the bulk path, ends inside a unit
)
addresses = st.integers(0, (1 << 24) - (1 << 17)).map(lambda address: address & ~15)
keys_of = {size: st.binary(min_size=size, max_size=size) for size in (*XTS_KEY_SIZES, *ESP32_KEY_SIZES)}


def espsecure(verb: str, content: bytes, key: bytes, address: int, *options: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        key_file, given_file, made = Path(place, "key"), Path(place, "in"), Path(place, "out")
        key_file.write_bytes(key)
        given_file.write_bytes(content)
        where = ("--address", hex(address), "--keyfile", key_file, "--output", made)
        ran = run_peer("espsecure", verb, *options, *where, given_file)
        assert ran.code == 0, ran.err
        return made.read_bytes()


@pytest.mark.parametrize("size", XTS_KEY_SIZES)
@settings(max_examples=8)
@given(draw=st.data())
def test_xts_is_espsecures_for_every_key_length(size: int, draw: st.DataObject) -> None:
    content, key, address = draw.draw(data), draw.draw(keys_of[size]), draw.draw(addresses)
    if size > 16 and key[: size // 2] == key[size // 2 :]:
        return  # espsecure refuses equal halves
    theirs = espsecure("encrypt-flash-data", content, key, address, "--aes-xts")
    assert encrypt_xts(content, key, address) == theirs
    ours = encrypt_xts(content[::-1], key, address)
    assert espsecure("decrypt-flash-data", ours, key, address, "--aes-xts") == content[::-1]
    assert decrypt_xts(theirs, key, address) == content


@pytest.mark.parametrize("size", ESP32_KEY_SIZES)
@settings(max_examples=8)
@given(draw=st.data(), crypt_config=st.integers(0, 15))
def test_the_esp32s_scheme_is_espsecures_for_every_crypt_config(
    size: int, draw: st.DataObject, crypt_config: int
) -> None:
    content, key, address = draw.draw(data), draw.draw(keys_of[size]), draw.draw(addresses)
    config = f"--flash-crypt-conf={crypt_config:#x}"
    theirs = espsecure("encrypt-flash-data", content, key, address, config)
    assert encrypt_esp32(content, key, address, crypt_config) == theirs
    ours = encrypt_esp32(content[::-1], key, address, crypt_config)
    assert espsecure("decrypt-flash-data", ours, key, address, config) == content[::-1]
    assert decrypt_esp32(theirs, key, address, crypt_config) == content


@pytest.mark.parametrize("crypt_config", range(16))
def test_each_value_of_flash_crypt_config_tweaks_as_espsecure_does(crypt_config: int) -> None:
    content, key, address = bytes(96), bytes(range(32)), 0xABCDE0
    theirs = espsecure("encrypt-flash-data", content, key, address, f"--flash-crypt-conf={crypt_config}")
    assert encrypt_esp32(content, key, address, crypt_config) == theirs
