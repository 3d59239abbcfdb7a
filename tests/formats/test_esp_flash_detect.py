import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootwright.errors import FormatError, SiliconError
from bootwright.finding import Finding, Verdict
from bootwright.formats.esp_flash_detect import Key, detect
from bootwright.formats.esp_flash_encryption import efuse_key
from bootwright.formats.esp_flash_scheme import Algorithm, FlashScheme, reencrypt
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_nvs_keys import make_nvs_keys, pack_nvs_keys
from bootwright.formats.esp_otadata import choose_slot, erased_otadata
from bootwright.formats.esp_partition_csv import parse_csv
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_secure_boot_v1 import sign_v1
from bootwright.formats.keys import KeyType, generate_key

RAW = hashlib.sha256(b"the key").digest()
KEY = Key("fe.bin", RAW)
XTS, ESP32 = FlashScheme(Algorithm.XTS, RAW), FlashScheme(Algorithm.ESP32, RAW)
IMAGE = make_bootloader_image(5, size=0x1400)
AT = 0x1000
PLAINTEXTS = {
    "an ESP image for chip id 5 of 0x1400 bytes": IMAGE,
    "an MCUboot image": (0x96F3B83D).to_bytes(4, "little") + bytes(0x3FC),
    "a partition table of 1 partitions": parse_csv("nvs,data,nvs,,24K").pack(),
    "otadata": choose_slot(erased_otadata(), 1, 2).pack(),
    "NVS keys": pack_nvs_keys(make_nvs_keys(bytes(range(64)))),
}


def first(data: bytes, *keys: Key, **options: object) -> Finding:
    return detect(data, keys or [KEY], **{"address": AT, **options})[0]  # type: ignore[arg-type]  # names match


@pytest.mark.parametrize("kind", PLAINTEXTS)
@pytest.mark.parametrize("scheme", [XTS, ESP32])
def test_plaintext_is_known_by_its_structure_and_ciphertext_by_what_a_key_gives(kind: str, scheme: FlashScheme) -> None:
    plaintext = PLAINTEXTS[kind]
    found = first(plaintext)
    assert (found.code, found.verdict) == ("flash.plaintext", Verdict.PASS)
    assert kind in found.because
    found = first(scheme.encrypt(plaintext, AT))
    assert (found.code, found.verdict) == ("flash.ciphertext", Verdict.PASS)
    assert kind in found.because
    assert "fe.bin" in found.because


@pytest.mark.parametrize("scheme", [XTS, ESP32])
def test_each_mistake_has_its_own_name(scheme: FlashScheme) -> None:
    swapped = FlashScheme(scheme.algorithm, efuse_key(RAW))
    other = {Algorithm.XTS: Algorithm.ESP32, Algorithm.ESP32: Algorithm.XTS}[scheme.algorithm]
    mistakes = {
        "flash.other_address": scheme.encrypt(IMAGE, 0x8000),
        "flash.encrypted_twice": scheme.encrypt(scheme.encrypt(IMAGE, AT), AT),
        "flash.decrypted_plaintext": scheme.decrypt(IMAGE, AT),
        "flash.key_form": swapped.encrypt(IMAGE, AT),
        "flash.wrong_algorithm": FlashScheme(other, RAW).encrypt(IMAGE, AT),
    }
    for code, data in mistakes.items():
        found = first(data, algorithm=scheme.algorithm)
        assert (found.code, found.verdict) == (code, Verdict.FAIL)
        assert found.next


@pytest.mark.parametrize("crypt_config", range(15))
def test_a_forgotten_flash_crypt_config_is_found(crypt_config: int) -> None:
    found = first(FlashScheme(Algorithm.ESP32, RAW, crypt_config).encrypt(IMAGE, AT))
    assert found.code == "flash.crypt_config"
    assert f"FLASH_CRYPT_CONFIG {crypt_config:#x}" in found.because


def test_swapped_halves_of_a_512_bit_key_are_found() -> None:
    long = bytes(range(64))
    found = first(FlashScheme(Algorithm.XTS, long[32:] + long[:32]).encrypt(IMAGE, AT), Key("long", long))
    assert found.code == "flash.key_form"
    assert "halves swapped" in found.because


def test_one_of_several_keys_is_named() -> None:
    found = first(XTS.encrypt(IMAGE, AT), Key("other.bin", bytes(32)), KEY)
    assert "with fe.bin" in found.because


def test_without_an_address_all_sectors_are_tried() -> None:
    found = first(ESP32.encrypt(IMAGE, 0x12000), address=None)
    assert (found.code, found.verdict) == ("flash.ciphertext", Verdict.PASS)
    assert "0x12000" in found.because


def test_signing_after_encryption_is_seen() -> None:
    v2 = sign_v2(XTS.encrypt(IMAGE, AT), [generate_key(KeyType.ECDSA_P256)])
    v1 = sign_v1(ESP32.encrypt(IMAGE, AT), generate_key(KeyType.ECDSA_P256))
    for data in (v1, v2):
        assert [finding.code for finding in detect(data, [KEY], address=AT)] == [
            "flash.ciphertext",
            "flash.signed_after_encryption",
        ]


def test_fill_betrays_the_esp32s_scheme_without_any_key() -> None:
    data = ESP32.encrypt(IMAGE + b"\xff" * 0x1000, AT)
    assert detect(data)[0].code == "flash.ciphertext.esp32"
    assert detect(XTS.encrypt(IMAGE + b"\xff" * 0x1000, AT))[0].code == "flash.unknown"


def test_erased_flash_and_unknown_data_are_said_to_be_that() -> None:
    assert first(b"\xff" * 0x100).code == "flash.erased"
    assert first(b"").code == "flash.erased"
    noise = hashlib.shake_128(b"noise").digest(0x1000)
    assert first(noise).code == "flash.unknown"
    assert "fe.bin is tried" in first(noise).because
    assert "give the key" in detect(noise)[0].next


@given(data=st.binary(max_size=300))
@settings(max_examples=5)
def test_any_bytes_get_an_answer(data: bytes) -> None:
    assert detect(data, [Key("xts", bytes(64)), Key("short", bytes(24))], address=0x123)


@given(
    data=st.integers(0, 20).flatmap(lambda n: st.binary(min_size=16 * n, max_size=16 * n)),
    source=st.sampled_from([XTS, ESP32]),
    target=st.sampled_from([XTS, ESP32, FlashScheme(Algorithm.XTS, bytes(64))]),
    addresses=st.tuples(*[st.integers(0, 1 << 16).map(lambda n: 16 * n)] * 2),
)
def test_ciphertext_moves_to_another_key_and_address(
    data: bytes, source: FlashScheme, target: FlashScheme, addresses: tuple[int, int]
) -> None:
    moved = reencrypt(source.encrypt(data, addresses[0]), source, addresses[0], target, addresses[1])
    assert target.decrypt(moved, addresses[1]) == data


def test_moving_long_data_leaves_no_seams() -> None:
    data = hashlib.shake_128(b"long").digest((1 << 20) + 0x90)
    moved = reencrypt(XTS.encrypt(data, 0x1010), XTS, 0x1010, XTS, 0x20)
    assert XTS.decrypt(moved, 0x20) == data


def test_what_cannot_be_moved_is_refused_before_anything_is_made() -> None:
    with pytest.raises(FormatError, match="found 15 bytes, expected a multiple of 16"):
        reencrypt(bytes(15), XTS, 0, XTS, 0)
    with pytest.raises(SiliconError, match="inside 0x1000000"):
        reencrypt(bytes(64), XTS, 0, ESP32, 0xFF_FFE0)
    with pytest.raises(FormatError, match="expected 24 or 32"):
        FlashScheme(Algorithm.ESP32, bytes(16))
    assert "fe" not in repr(FlashScheme(Algorithm.XTS, b"\xfe" * 32))
