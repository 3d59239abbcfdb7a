"""The flash behind the chip's encryption unit, with the key that the eFuses hold.

Reading decrypts when the counter field has an odd number of bits set at reset; writing encrypts when it is asked to,
whatever the counter says. There is no integrity tag: a wrong key or a moved sector reads as noise, never as an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from bootwright.chips.efuses import Efuses
from bootwright.errors import NotModelledError, SiliconError
from bootwright.flash import Erase, FlashOp, NorFlash
from bootwright.formats.esp_flash_encryption import (
    BLOCK_SIZE,
    decrypt_esp32,
    decrypt_xts,
    efuse_key,
    encrypt_esp32,
    encrypt_xts,
)

_Transform = Callable[[bytes, int], bytes]

ERASED_PIECE = 1 << 16  #: bytes of erased flash that are encrypted together


@dataclass(frozen=True, slots=True)
class FlashCipher:
    """What the encryption unit does to bytes at an address; the key never shows."""

    encrypt: _Transform = field(repr=False)
    decrypt: _Transform = field(repr=False)
    _erased: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)

    def erased(self, address: int, length: int) -> bytes:
        """The ciphertext of `length` bytes of 0xFF.

        The port writes it over every range that it erases, 256 bytes at a time; encrypting it in large pieces, once,
        is what makes that quick.
        """
        base = address - address % ERASED_PIECE
        if address + length > base + ERASED_PIECE:
            return self.encrypt(b"\xff" * length, address)
        piece = self._erased.get(base)
        if piece is None:
            piece = self._erased[base] = self.encrypt(b"\xff" * ERASED_PIECE, base)
        return piece[address - base : address - base + length]


def is_encryption_on(efuses: Efuses) -> bool:
    """Whether the counter field has an odd number of bits set (`efuse_hal_flash_encryption_enabled`)."""
    return bool(efuses.true_number(efuses.chip.flash_encryption.counter_field).bit_count() & 1)


@lru_cache(maxsize=8)
def cipher_of(efuses: Efuses) -> FlashCipher:
    """The encryption unit keyed as the eFuses say; without a key it works with zeros.

    Raises:
        NotModelledError: the key comes from the key manager, or keys of both lengths are burned.
    """
    return _CIPHERS[efuses.chip.flash_encryption.algorithm](efuses)


def _esp32_cipher(efuses: Efuses) -> FlashCipher:
    key = efuse_key(efuses.block(1)[: efuses.block_size(1)])
    config = efuses.true_number("FLASH_CRYPT_CONFIG")
    return FlashCipher(
        lambda data, address: encrypt_esp32(data, key, address, config),
        lambda data, address: decrypt_esp32(data, key, address, config),
    )


def _xts_cipher(efuses: Efuses) -> FlashCipher:
    _refuse_key_manager(efuses)
    key = _shared_block_key(efuses) if efuses.chip.keys.purpose_by == "halves" else _xts_key(efuses)
    return FlashCipher(
        lambda data, address: encrypt_xts(data, key, address), lambda data, address: decrypt_xts(data, key, address)
    )


_CIPHERS: Mapping[str, Callable[[Efuses], FlashCipher]] = {"esp32": _esp32_cipher, "xts": _xts_cipher}


def _refuse_key_manager(efuses: Efuses) -> None:
    if efuses.chip.flash_encryption.key_manager and efuses.true_number("FORCE_USE_KEY_MANAGER_KEY"):
        raise NotModelledError(
            "FORCE_USE_KEY_MANAGER_KEY is burned: the flash key would come from the key manager",
            "only keys in eFuse blocks are modelled",
        )


def _shared_block_key(efuses: Efuses) -> bytes:
    """ESP32-C2: the whole block, or its low half from which the chip derives a key."""
    whole = efuses.block(efuses.chip.keys.blocks[0])
    return efuse_key(whole if efuses.true_number("XTS_KEY_LENGTH_256") else whole[:16])


def _xts_key(efuses: Efuses) -> bytes:
    short = _key_of(efuses, "XTS_AES_128_KEY")
    first, second = _key_of(efuses, "XTS_AES_256_KEY_1"), _key_of(efuses, "XTS_AES_256_KEY_2")
    if first is None and second is None:
        return efuse_key(short or bytes(32))
    if short is not None:
        raise NotModelledError(
            "keys of both lengths are burned, XTS_AES_128_KEY and XTS_AES_256_KEY_1/2",
            "nobody documents which one the chip takes",
        )
    return efuse_key((first or bytes(32)) + (second or bytes(32)))


def _key_of(efuses: Efuses, purpose: str) -> bytes | None:
    """The true content of the first block of that purpose, read-protected or not."""
    block = efuses.find_key(purpose)
    return None if block is None else efuses.block(block)


class EncryptedFlash:
    """A NOR flash as the CPU sees it: `read` decrypts when encryption was on at reset."""

    __slots__ = ("_cipher", "_decrypting", "_raw")

    def __init__(self, raw: NorFlash, cipher: FlashCipher, *, decrypting: bool) -> None:
        self._raw = raw
        self._cipher = cipher
        self._decrypting = decrypting

    @classmethod
    def at_reset(cls, raw: NorFlash, efuses: Efuses) -> EncryptedFlash:
        """The view that a chip with these eFuses sets up when it leaves reset."""
        return cls(raw, cipher_of(efuses), decrypting=is_encryption_on(efuses))

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._raw.size

    @property
    def sector_size(self) -> int:
        """Bytes of the smallest erase."""
        return self._raw.sector_size

    @property
    def decrypting(self) -> bool:
        """Whether reads pass through the decryption unit."""
        return self._decrypting

    def read(self, address: int, length: int) -> bytes:
        """Read `length` bytes at `address`, decrypted when encryption is on."""
        if not self._decrypting or not length:
            return self._raw.read(address, length)
        start = address - address % BLOCK_SIZE
        end = -(-(address + length) // BLOCK_SIZE) * BLOCK_SIZE
        plain = self._cipher.decrypt(self._raw.read(start, end - start), start)
        return plain[address - start : address - start + length]

    def stored(self, address: int, plain: bytes) -> bytes:
        """What an encrypted write of `plain` puts into the cells.

        Raises:
            SiliconError: address or length is not a multiple of 16.
        """
        if address % BLOCK_SIZE or len(plain) % BLOCK_SIZE:
            raise SiliconError(
                f"encrypted write of {len(plain):#x} bytes at {address:#x} is not made of whole blocks of {BLOCK_SIZE}",
                "align address and length to the encryption block",
            )
        if plain.count(0xFF) == len(plain):
            return self._cipher.erased(address, len(plain))
        return self._cipher.encrypt(plain, address)

    def apply(self, op: FlashOp) -> None:
        """Perform an operation; an encrypted write passes through the encryption unit."""
        if isinstance(op, Erase):
            self._raw.erase(op.address, op.length)
        else:
            self._raw.write(op.address, self.stored(op.address, op.data) if op.encrypted else op.data)
