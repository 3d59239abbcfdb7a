"""The keys that encrypt NVS: the partition that holds them, and the scheme that derives them from an eFuse key.

The partition holds two keys of 32 bytes for XTS-AES-256 and a CRC over both. Under the HMAC scheme nothing is stored:
the chip computes both keys with the key in an eFuse block of purpose HMAC_UP. Source: ESP-IDF
components/nvs_flash/src/nvs_api.cpp (`nvs_flash_generate_keys`), components/nvs_sec_provider/nvs_sec_provider.c.
Randomness is the caller's: take it from `secrets`, since whoever guesses these keys reads the device's NVS.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from dataclasses import dataclass
from typing import Annotated

from bootwright.errors import FormatError
from bootwright.formats.record import U32, Record, Size

PARTITION_SIZE = 0x1000
HMAC_KEY_SIZE = 32
ENTROPY_SIZE = 64

#: EKEY_SEED and TKEY_SEED, as they lie in memory
_EKEY_SEED = (0xAEBE_5A5A).to_bytes(4, "little") * 8
_TKEY_SEED = (0xCEDE_A5A5).to_bytes(4, "little") * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NvsKeys:
    """The two halves of the XTS key; shown nowhere."""

    eky: bytes
    tky: bytes

    def __repr__(self) -> str:
        return "NvsKeys(…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class NvsKeysEntry(Record):
    """The first 68 bytes of an `nvs_keys` partition."""

    eky: Annotated[bytes, Size(32)]
    tky: Annotated[bytes, Size(32)]
    crc: U32


def make_nvs_keys(entropy: bytes) -> NvsKeys:
    """Keys of 64 random bytes.

    Raises:
        FormatError: another number of bytes.
    """
    if len(entropy) != ENTROPY_SIZE:
        raise FormatError(f"NVS keys: found {len(entropy)} bytes of entropy, expected {ENTROPY_SIZE}", "give 64")
    return NvsKeys(eky=entropy[:32], tky=entropy[32:])


def derive_nvs_keys(hmac_key: bytes) -> NvsKeys:
    """The keys that a chip derives with the HMAC key of its eFuses.

    Raises:
        FormatError: the key has not 32 bytes.
    """
    if len(hmac_key) != HMAC_KEY_SIZE:
        raise FormatError(
            f"HMAC key: found {len(hmac_key)} bytes, expected {HMAC_KEY_SIZE}",
            "give the key burned with purpose HMAC_UP",
        )
    eky, tky = (hmac.digest(hmac_key, seed, hashlib.sha256) for seed in (_EKEY_SEED, _TKEY_SEED))
    return NvsKeys(eky=eky, tky=tky)


def pack_nvs_keys(keys: NvsKeys) -> bytes:
    """The 4096 bytes of the partition, in plaintext: they must be encrypted when they are flashed."""
    crc = zlib.crc32(keys.eky + keys.tky, 0xFFFF_FFFF)
    return NvsKeysEntry(eky=keys.eky, tky=keys.tky, crc=crc).pack().ljust(PARTITION_SIZE, b"\xff")


def parse_nvs_keys(data: bytes, *, where: str = "nvs_keys") -> NvsKeys:
    """The keys of a plaintext partition.

    Raises:
        FormatError: too short, erased, or the CRC does not fit.
    """
    entry = NvsKeysEntry.parse(data, where=where)
    if data[: NvsKeysEntry.size()] == b"\xff" * NvsKeysEntry.size():
        raise FormatError(f"{where}: found an erased partition, expected keys", "the device makes them at first boot")
    if zlib.crc32(entry.eky + entry.tky, 0xFFFF_FFFF) != entry.crc:
        raise FormatError(
            f"{where}: the CRC {entry.crc:#010x} is not that of the keys", "the partition is damaged, or encrypted"
        )
    return NvsKeys(eky=entry.eky, tky=entry.tky)
