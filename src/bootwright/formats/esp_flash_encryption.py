"""Flash encryption of Espressif chips at rest: what the chip's encryption unit makes of bytes at an address.

Two schemes exist. The ESP32 (`encrypt_esp32`) runs AES-256 backwards, block by block, under a key that changes every
32 bytes of address. All later chips (`encrypt_xts`) use XTS-AES with a data unit of 128 bytes. Both see the bytes of
a block, or of a unit, in reversed order. Neither carries an integrity tag: decryption never fails, it yields garbage.

Addresses count from the start of the flash. Keys are in the form of espsecure's key files; `efuse_key` gives the
bytes that an eFuse block holds. Sources: ESP-IDF docs/en/security/flash-encryption.rst; espsecure 5.6 as the peer.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from operator import xor
from typing import TYPE_CHECKING, TypeAlias

from bootwright.errors import FormatError, SiliconError

if TYPE_CHECKING:
    import numpy as np
    from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes
    from numpy.typing import NDArray

    from bootwright.formats.aes_bitsliced import Planes

    Units: TypeAlias = NDArray[np.uint64]  #: one data unit a row, 16 words of 8 bytes
    _Direction: TypeAlias = Callable[[Cipher[modes.ECB]], CipherContext]
    BitslicedCipher: TypeAlias = Callable[[Planes, Sequence[Planes]], Planes]
    KeyPlanes: TypeAlias = Callable[[int, int], Planes]  #: of the first unit's address and the number of units

BLOCK_SIZE = 16  #: address and length of everything encrypted are multiples of this
XTS_UNIT_SIZE = 128
ESP32_UNIT_SIZE = 32  #: the ESP32 changes its key this often
ESP32_ADDRESS_SPACE = 1 << 24  #: the tweak takes address bits 5 to 23
DEFAULT_CRYPT_CONFIG = 0xF  #: all of FLASH_CRYPT_CONFIG: every key bit is tweaked

XTS_KEY_SIZES = (16, 32, 64)  #: derived (ESP32-C2), XTS-AES-128, XTS-AES-256
ESP32_KEY_SIZES = (24, 32)  #: 24 where BLOCK1 is 3/4 coded

#: The tweak, four groups that a bit of FLASH_CRYPT_CONFIG each switches on: which address bit is XORed to which key
#: bit, key bit 0 being the most significant bit of the key file's first byte.
_TWEAK_GROUPS = tuple(
    tuple(bit for _ in range(3) for bit in range(23, 4, -1)) + tuple(range(last, 4, -1)) for last in (14, 12, 10, 8)
)

_XTS_CHUNK = 1 << 20
_ESP32_FEW = 1 << 15  # up to here one key object a unit is quicker than the fixed cost of the bit planes
_ESP32_CHUNK = 1 << 18  # 128 words of 64 units: the planes of one round stay in the second-level cache


def encrypt_xts(data: bytes, key: bytes, address: int) -> bytes:
    """What an XTS chip stores for `data` at `address`; `key` is 16 (ESP32-C2, derived), 32 or 64 bytes.

    Raises:
        FormatError: the key has another length.
        SiliconError: address or length is not a multiple of 16, or leaves the 32 bits of address.
    """
    return _xts(data, key, address, lambda blocks: blocks.encryptor())


def decrypt_xts(data: bytes, key: bytes, address: int) -> bytes:
    """What an XTS chip reads back where its flash holds `data` at `address`; raises as `encrypt_xts` does."""
    return _xts(data, key, address, lambda blocks: blocks.decryptor())


def encrypt_esp32(data: bytes, key: bytes, address: int, crypt_config: int = DEFAULT_CRYPT_CONFIG) -> bytes:
    """What an ESP32 stores for `data` at `address`; `key` is 32 bytes, or 24 under 3/4 coding.

    Raises:
        FormatError: the key has another length, or `crypt_config` does not fit the four bits of FLASH_CRYPT_CONFIG.
        SiliconError: address or length is not a multiple of 16, or leaves the 16 MiB that the tweak tells apart.
    """
    _check_esp32(data, address, crypt_config)
    if len(data) <= _ESP32_FEW:
        return _esp32_few(data, esp32_key(key), address, crypt_config, lambda blocks: blocks.decryptor())
    from bootwright.formats.aes_bitsliced import decrypt

    return esp32_many(data, address, partial(_esp32_key_planes, esp32_key(key), crypt_config), decrypt)


def decrypt_esp32(data: bytes, key: bytes, address: int, crypt_config: int = DEFAULT_CRYPT_CONFIG) -> bytes:
    """What an ESP32 reads back where its flash holds `data` at `address`; raises as `encrypt_esp32` does."""
    _check_esp32(data, address, crypt_config)
    if len(data) <= _ESP32_FEW:
        return _esp32_few(data, esp32_key(key), address, crypt_config, lambda blocks: blocks.encryptor())
    from bootwright.formats.aes_bitsliced import encrypt

    return esp32_many(data, address, partial(_esp32_key_planes, esp32_key(key), crypt_config), encrypt)


def xts_key(key: bytes) -> bytes:
    """The two halves that XTS works with, 32 or 64 bytes; a 16-byte key is stretched as the ESP32-C2 does.

    Raises:
        FormatError: the key has none of these lengths.
    """
    _check_key(key, XTS_KEY_SIZES, "XTS-AES")
    return hashlib.sha256(key).digest() if len(key) == 16 else key


def esp32_key(key: bytes) -> bytes:
    """The 256 bits that the ESP32's AES gets: the 24 bytes of a 3/4-coded block give their middle third twice.

    Raises:
        FormatError: the key is neither 24 nor 32 bytes.
    """
    _check_key(key, ESP32_KEY_SIZES, "the ESP32's flash encryption")
    return key + key[8:16] if len(key) == 24 else key


def efuse_key(key: bytes) -> bytes:
    """The bytes as eFuse blocks hold them, or back: each half of 32 bytes in reversed order."""
    return b"".join(key[at : at + 32][::-1] for at in range(0, len(key), 32))


def _check_key(key: bytes, sizes: tuple[int, ...], scheme: str) -> None:
    if len(key) not in sizes:
        expected = ", ".join(map(str, sizes[:-1])) + f" or {sizes[-1]}"
        raise FormatError(
            f"flash-encryption key: found {len(key)} bytes, expected {expected} for {scheme}",
            "give the raw key file that `flash-encryption keygen` or espsecure writes",
        )


def _check_range(data: bytes, address: int, space: int) -> None:
    if address % BLOCK_SIZE or len(data) % BLOCK_SIZE:
        raise SiliconError(
            f"flash encryption: found {len(data)} bytes at {address:#x}, expected multiples of {BLOCK_SIZE}",
            "pad the data to 16 bytes and choose a 16-byte-aligned address",
        )
    if not 0 <= address <= space - len(data):
        raise SiliconError(
            f"flash encryption: found {len(data)} bytes at {address:#x}, expected them inside {space:#x}",
            "give the address in flash, counted from 0",
        )


def _chunks(data: bytes, address: int, size: int) -> Iterator[tuple[int, memoryview]]:
    """Cut at multiples of `size` in address space, so that no data unit is torn."""
    view = memoryview(data)
    at = 0
    while at < len(data):
        end = min(len(data), at + size - (address + at) % size)
        yield address + at, view[at:end]
        at = end


def _in_whole_units(chunk: memoryview, address: int, unit: int) -> tuple[memoryview | bytes, int, int]:
    """The chunk filled up to whole units, the address it then starts at, and the bytes put before it."""
    before = address % unit
    after = -(before + len(chunk)) % unit
    if not before and not after:
        return chunk, address, 0
    return bytes(before) + bytes(chunk) + bytes(after), address - before, before


def _xts(data: bytes, key: bytes, address: int, direction: _Direction) -> bytes:
    import numpy as np
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = xts_key(key)
    _check_range(data, address, 1 << 32)
    half = len(key) // 2
    # ECB is the building block here: XTS is ECB between two additions of the tweak, and one call does a whole chunk.
    cipher = direction(Cipher(algorithms.AES(key[:half]), modes.ECB()))  # noqa: S305
    tweaker = Cipher(algorithms.AES(key[half:]), modes.ECB()).encryptor()  # noqa: S305
    out = io.BytesIO()
    for at, chunk in _chunks(data, address, _XTS_CHUNK):
        whole, start, before = _in_whole_units(chunk, at, XTS_UNIT_SIZE)
        units = np.frombuffer(whole, np.uint64).reshape(-1, 16)
        tweaks = _xts_tweaks(start, len(units), tweaker.update)
        text = np.ascontiguousarray(units[:, ::-1]).byteswap(inplace=True)
        text ^= tweaks
        text = np.frombuffer(cipher.update(text.view(np.uint8).data), np.uint64).reshape(-1, 16) ^ tweaks
        done = np.ascontiguousarray(text[:, ::-1]).byteswap(inplace=True)
        out.write(done.view(np.uint8).reshape(-1).data[before : before + len(chunk)])
    return out.getvalue()


def _xts_tweaks(start: int, count: int, encrypt: Callable[[memoryview], bytes]) -> Units:
    """The tweaks of whole units: E(address of the unit), then multiplied by x in GF(2¹²⁸) from block to block."""
    import numpy as np

    numbers = np.zeros((count, 2), np.uint64)
    numbers[:, 0] = start + np.arange(count, dtype=np.uint64) * np.uint64(XTS_UNIT_SIZE)
    first = np.frombuffer(encrypt(numbers.view(np.uint8).data), np.uint64).reshape(-1, 2)
    low, high = first[:, 0].copy(), first[:, 1].copy()
    tweaks = np.empty((count, 16), np.uint64)
    top, one = np.uint64(63), np.uint64(1)
    for block in range(8):
        tweaks[:, 2 * block], tweaks[:, 2 * block + 1] = low, high
        carry = (high >> top) * np.uint64(0x87)
        high = high << one | low >> top
        low = low << one ^ carry
    return tweaks


def _check_esp32(data: bytes, address: int, crypt_config: int) -> None:
    if not 0 <= crypt_config <= 0xF:
        raise FormatError(
            f"FLASH_CRYPT_CONFIG: found {crypt_config:#x}, expected 0x0..0xf", "the field has four bits; 0xf is usual"
        )
    _check_range(data, address, ESP32_ADDRESS_SPACE)


def _tweaking_bits(crypt_config: int) -> list[int | None]:
    """For each of the 256 key bits, the address bit that tweaks it under this FLASH_CRYPT_CONFIG."""
    groups = enumerate(_TWEAK_GROUPS)
    return [bit if crypt_config >> group & 1 else None for group, bits in groups for bit in bits]


def _esp32_few(data: bytes, key: bytes, address: int, crypt_config: int, direction: _Direction) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    masks = dict.fromkeys(range(5, 24), 0)
    for index, bit in enumerate(_tweaking_bits(crypt_config)):
        if bit is not None:
            masks[bit] |= 1 << 255 - index
    base = int.from_bytes(key, "big")
    out = bytearray()
    for at, unit in _chunks(data, address, ESP32_UNIT_SIZE):
        tweak = reduce(xor, (mask for bit, mask in masks.items() if at >> bit & 1), 0)
        cipher = direction(Cipher(algorithms.AES((base ^ tweak).to_bytes(32, "big")), modes.ECB()))  # noqa: S305
        # Reversing a unit turns its blocks round and swaps them; reversing the result does both again.
        out += cipher.update(bytes(unit[::-1]))[::-1]
    return bytes(out)


def esp32_many(data: bytes, address: int, keys: KeyPlanes, cipher: BitslicedCipher) -> bytes:
    """The ESP32's scheme over many units at once: `cipher` turns each unit under its own of the `keys`.

    `keys` gives the key planes `[8, 4, 8, words]` of so many units from an address on.
    """
    import numpy as np

    from bootwright.formats.aes_bitsliced import bytes_from_planes, expand_keys, planes_from_bytes

    out = io.BytesIO()
    for at, chunk in _chunks(data, address, _ESP32_CHUNK):
        lanes = 64 * ESP32_UNIT_SIZE
        padded, start, before = _in_whole_units(chunk, at, ESP32_UNIT_SIZE)
        padded = bytes(padded) + bytes(-len(padded) % lanes)
        units = np.frombuffer(padded, np.uint8).reshape(-1, 2, BLOCK_SIZE)[:, :, ::-1]
        state = planes_from_bytes(np.ascontiguousarray(units.transpose(2, 1, 0)))
        state = cipher(state, expand_keys(keys(start, len(units))))
        done = bytes_from_planes(state).transpose(2, 1, 0)[:, :, ::-1]
        out.write(done.tobytes()[before : before + len(chunk)])
    return out.getvalue()


def _esp32_key_planes(key: bytes, crypt_config: int, start: int, units: int) -> Planes:
    """The tweaked key of every unit as bit planes `[bit, row, column, word]`, without making one key."""
    import numpy as np

    addresses = start + np.arange(units, dtype=np.uint32) * np.uint32(ESP32_UNIT_SIZE)
    address_planes = {
        bit: np.packbits((addresses >> np.uint32(bit)).astype(np.uint8) & 1, bitorder="little").view(np.uint64)
        for bit in range(5, 24)
    }
    none = np.zeros(units // 64, np.uint64)
    planes = np.empty((8, 4, 8, units // 64), np.uint64)
    for index, bit in enumerate(_tweaking_bits(crypt_config)):
        byte, place = divmod(index, 8)
        plane = none if bit is None else address_planes[bit]
        is_set = key[byte] >> (7 - place) & 1
        planes[7 - place, byte % 4, byte // 4] = ~plane if is_set else plane
    return planes
