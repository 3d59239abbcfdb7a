"""Encrypting files for a flash: the right scheme for the chip, and nothing encrypted twice."""

from __future__ import annotations

from bootwright.chips.chip import Chip
from bootwright.errors import RefusedError, SiliconError
from bootwright.finding import Finding
from bootwright.formats.esp_flash_detect import Key, detect, reads_as
from bootwright.formats.esp_flash_encryption import BLOCK_SIZE, DEFAULT_CRYPT_CONFIG
from bootwright.formats.esp_flash_scheme import Algorithm, FlashScheme

XTS_AES_256_KEY_SIZE = 64  #: bytes; what a key manager can deploy beside the eFuses (ESP-IDF, soc_caps.h)


def scheme_for(
    key: bytes,
    *,
    chip: Chip | None = None,
    algorithm: Algorithm | None = None,
    crypt_config: int = DEFAULT_CRYPT_CONFIG,
) -> FlashScheme:
    """The scheme of a chip, or the one named, with this key.

    Raises:
        RefusedError: neither chip nor algorithm is known.
        SiliconError: the chip takes no key of this length.
        FormatError: the scheme takes none.
    """
    if chip is None:
        if algorithm is None:
            raise RefusedError("neither chip nor algorithm is known", "give --chip, or --algorithm xts or esp32")
        return FlashScheme(algorithm, key, crypt_config)
    scheme = FlashScheme(Algorithm(chip.flash_encryption.algorithm), key, crypt_config)
    taken = key_sizes(chip)
    if chip.flash_encryption.key_manager:
        taken = tuple(dict.fromkeys((*taken, XTS_AES_256_KEY_SIZE)))  # no eFuse purpose need exist for such a key
    if len(key) not in taken:
        expected = " or ".join(map(str, taken))
        raise SiliconError(
            f"flash-encryption key: found {len(key)} bytes, the {chip.title} takes {expected}",
            "make a key for this chip: `bootwright flash-encryption keygen --chip`",
        )
    return scheme


def key_sizes(chip: Chip) -> tuple[int, ...]:
    """Bytes of the key files that the chip's eFuses can hold."""
    unit = chip.flash_encryption
    if unit.algorithm == Algorithm.ESP32:
        return (32, 24)
    derived = (16,) if unit.derived_key else ()
    return (*(bits // 4 for bits in unit.key_lengths), *derived)


def encrypt_once(data: bytes, scheme: FlashScheme, address: int) -> bytes:
    """Encrypt what is not encrypted yet, as far as its structure under this key tells.

    Raises:
        RefusedError: it is ciphertext of this key for this address already.
        SiliconError: address or length is not a multiple of 16.
    """
    known = reads_as(data, scheme, address)
    if known is not None:
        raise RefusedError(
            f"refused to encrypt twice: the data are {known}, ciphertext of this key for address {address:#x} already",
            "give --force if it is meant",
        )
    return scheme.encrypt(data, address)


def fill_up(data: bytes) -> bytes:
    """The data with 0xFF up to a whole block, as the erased flash behind them would be."""
    return data + b"\xff" * (-len(data) % BLOCK_SIZE)


def what_is(
    data: bytes, keys: list[Key], *, address: int | None, chip: Chip | None, subject: str
) -> tuple[Finding, ...]:
    """What bytes of a flash are; see `formats.esp_flash_detect`."""
    algorithm = Algorithm(chip.flash_encryption.algorithm) if chip else None
    return detect(data, keys, address=address, algorithm=algorithm, subject=subject)
