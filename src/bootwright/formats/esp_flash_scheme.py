"""Flash encryption as one value: a scheme with its key, which encrypts, decrypts, and moves ciphertext."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from enum import StrEnum

from bootwright.errors import FormatError
from bootwright.formats.esp_flash_encryption import (
    BLOCK_SIZE,
    DEFAULT_CRYPT_CONFIG,
    decrypt_esp32,
    decrypt_xts,
    encrypt_esp32,
    encrypt_xts,
    esp32_key,
    xts_key,
)

_CHUNK = 1 << 20


class Algorithm(StrEnum):
    """The schemes, in the words of the chip tables."""

    XTS = "xts"
    ESP32 = "esp32"


@dataclass(frozen=True, slots=True)
class FlashScheme:
    """A flash-encryption scheme with its key; the key is shown nowhere."""

    algorithm: Algorithm
    key: bytes = field(repr=False)  #: as in espsecure's key files
    crypt_config: int = DEFAULT_CRYPT_CONFIG  #: FLASH_CRYPT_CONFIG; only the ESP32 heeds it

    def __post_init__(self) -> None:
        """Refuse a key that the scheme cannot use.

        Raises:
            FormatError: the key has another length.
        """
        (xts_key if self.algorithm is Algorithm.XTS else esp32_key)(self.key)

    def encrypt(self, data: bytes, address: int) -> bytes:
        """What the flash holds for `data` at `address`; raises as `encrypt_xts` and `encrypt_esp32` do."""
        if self.algorithm is Algorithm.XTS:
            return encrypt_xts(data, self.key, address)
        return encrypt_esp32(data, self.key, address, self.crypt_config)

    def decrypt(self, data: bytes, address: int) -> bytes:
        """What the chip reads where the flash holds `data` at `address`; raises as `encrypt` does."""
        if self.algorithm is Algorithm.XTS:
            return decrypt_xts(data, self.key, address)
        return decrypt_esp32(data, self.key, address, self.crypt_config)


def reencrypt(data: bytes, source: FlashScheme, source_address: int, target: FlashScheme, target_address: int) -> bytes:
    """Ciphertext of one address and key as ciphertext of another; of the plaintext, 1 MiB at a time exists.

    Raises:
        FormatError, SiliconError: as `FlashScheme.encrypt`, before anything is made.
    """
    if len(data) % BLOCK_SIZE:
        raise FormatError(
            f"ciphertext: found {len(data)} bytes, expected a multiple of {BLOCK_SIZE}", "read whole blocks from flash"
        )
    for cipher, address in ((source, source_address), (target, target_address)):
        cipher.decrypt(data[:BLOCK_SIZE], address)
        cipher.decrypt(data[-BLOCK_SIZE:], address + max(len(data) - BLOCK_SIZE, 0))
    out = io.BytesIO()
    view = memoryview(data)
    for at in range(0, len(data), _CHUNK):
        plaintext = source.decrypt(bytes(view[at : at + _CHUNK]), source_address + at)
        out.write(target.encrypt(plaintext, target_address + at))
    return out.getvalue()
