import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.formats.esp_nvs_keys import derive_nvs_keys, make_nvs_keys, pack_nvs_keys, parse_nvs_keys


@given(entropy=st.binary(min_size=64, max_size=64).filter(lambda data: set(data) != {0xFF}))
def test_a_partition_gives_its_keys_back(entropy: bytes) -> None:
    partition = pack_nvs_keys(make_nvs_keys(entropy))
    assert len(partition) == 4096
    assert parse_nvs_keys(partition) == make_nvs_keys(entropy)
    for at in range(0, 68, 7):
        broken = partition[:at] + bytes([partition[at] ^ 1]) + partition[at + 1 :]
        with pytest.raises(FormatError, match="is not that of the keys"):
            parse_nvs_keys(broken)


def test_keys_are_never_shown() -> None:
    keys = derive_nvs_keys(bytes(range(32)))
    assert keys.eky.hex() not in repr(keys)
    assert repr(keys) == "NvsKeys(…)"


def test_wrong_lengths_and_erased_partitions_are_refused() -> None:
    with pytest.raises(FormatError, match="found 32 bytes of entropy, expected 64"):
        make_nvs_keys(bytes(32))
    with pytest.raises(FormatError, match="HMAC key: found 16 bytes, expected 32"):
        derive_nvs_keys(bytes(16))
    with pytest.raises(FormatError, match="erased partition"):
        parse_nvs_keys(b"\xff" * 4096)
    with pytest.raises(FormatError, match="found 10 bytes"):
        parse_nvs_keys(bytes(10))
