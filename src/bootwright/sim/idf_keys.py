"""Key blocks as ESP-IDF's eFuse API sees them, in the three ways that chips know what a key is for.

A purpose field of its own for each block (S2 and later), a purpose fixed by the block's place (ESP32), or one block
whose halves are shared (C2).

Source: ESP-IDF v6.0, components/efuse/src/efuse_controller/keys/*/esp_efuse_api_key.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bootwright.chips.efuses import Efuses
from bootwright.sim.board import Board, Steps
from bootwright.sim.idf_efuse import EfuseWriter, Err

DERIVED = "XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"
#: the name under which the ESP32 and the C2 keep their one digest
ONE_DIGEST = "SECURE_BOOT_V2"


@dataclass(frozen=True, slots=True)
class KeyToWrite:
    """A key and what it is for."""

    purpose: str
    data: bytes

    def __repr__(self) -> str:
        return f"KeyToWrite({self.purpose!r})"


def is_empty(efuses: Efuses, block: int) -> bool:
    """`esp_efuse_block_is_empty`: reads as zeros, which a read-protected block does too."""
    return not any(efuses.readable_block(block))


def is_hidden(efuses: Efuses, block: int) -> bool:
    """`esp_efuse_get_key_dis_read`."""
    bits = [bit for bit, _first, _width in efuses.chip.block(block).read_disable]
    if efuses.chip.keys.purpose_by == "halves" and not efuses.number("XTS_KEY_LENGTH_256"):
        bits = bits[:1]  # a derived key lies in the low half only
    return all(efuses.number("RD_DIS") >> bit & 1 for bit in bits)


def is_frozen(efuses: Efuses, block: int) -> bool:
    """`esp_efuse_get_key_dis_write`."""
    bit = efuses.chip.block(block).write_disable
    return bit is not None and bool(efuses.number("WR_DIS") >> bit & 1)


def is_unused(efuses: Efuses, block: int) -> bool:
    """`esp_efuse_key_block_unused`: no purpose, no protection, and no data that can be read."""
    if is_frozen(efuses, block) or is_hidden(efuses, block) or not is_empty(efuses, block):
        return False
    if efuses.chip.keys.purpose_by != "field":
        return True
    index = efuses.chip.keys.blocks.index(block)
    return not efuses.number(f"KEY_PURPOSE_{index}") and not efuses.number(f"WR_DIS.KEY_PURPOSE_{index}")


def is_locked(efuses: Efuses, block: int) -> bool:
    """What the port asks of a flash-encryption key that it finds: hidden, frozen, and its purpose frozen too."""
    hidden = is_hidden(efuses, block)
    if efuses.chip.keys.purpose_by != "field":
        return hidden and is_frozen(efuses, block)
    index = efuses.chip.keys.blocks.index(block)
    return hidden and is_frozen(efuses, block) and bool(efuses.number(f"WR_DIS.KEY_PURPOSE_{index}"))


def digest_purposes(efuses: Efuses) -> tuple[str, ...]:
    """The purposes of Secure Boot digests, one a slot."""
    slots = efuses.chip.secure_boot.digest_slots
    return (ONE_DIGEST,) if slots == 1 else tuple(f"SECURE_BOOT_DIGEST{slot}" for slot in range(slots))


def digest_blocks(efuses: Efuses) -> tuple[int | None, ...]:
    """`esp_efuse_find_purpose` for every slot; chips without purpose fields always name a block."""
    return tuple(efuses.find_key(purpose) for purpose in digest_purposes(efuses))


def trusted_digests(efuses: Efuses) -> tuple[bytes, ...]:
    """`esp_secure_boot_read_key_digests`: the digests that are burned and not revoked, as the CPU reads them."""
    secure_boot = efuses.chip.secure_boot
    if secure_boot.digest_slots == 1:
        block = digest_blocks(efuses)[0]
        if block is None or is_empty(efuses, block):
            return ()
        return (efuses.readable_block(block)[-secure_boot.digest_length :],)
    found: list[bytes] = []
    for slot in range(secure_boot.digest_slots):
        block = efuses.find_key(f"SECURE_BOOT_DIGEST{slot}")
        if block is not None and not efuses.number(f"SECURE_BOOT_KEY_REVOKE{slot}"):
            found.append(efuses.readable_block(block))
    return tuple(found)


def write_keys(board: Board, writer: EfuseWriter, keys: Sequence[KeyToWrite]) -> Steps[Err]:
    """`esp_efuse_write_keys`: all keys in one batch, each into the next block that is free for it."""
    writer.begin()
    err = yield from _WRITE[board.chip.keys.purpose_by](board, writer, keys)
    if err is not Err.OK:
        writer.cancel()
        return err
    return (yield from writer.commit())


def freeze(efuses: Efuses, writer: EfuseWriter, block: int) -> Steps[Err]:
    """`esp_efuse_set_key_dis_write`: no further writes to a key block."""
    bit = efuses.chip.block(block).write_disable
    return Err.OK if bit is None else (yield from writer.protect(bit))


def _hide(efuses: Efuses, writer: EfuseWriter, block: int, *, parts: int = 1) -> Steps[Err]:
    """`esp_efuse_set_key_dis_read`, for the first `parts` parts of the block that have a bit of their own."""
    first = efuses.chip.field("RD_DIS").bit
    for bit, _first, _width in efuses.chip.block(block).read_disable[:parts]:
        err = yield from writer.protect(first + bit)
        if err is not Err.OK:
            return err
    return Err.OK


#: ESP32: the purpose of a key is its place
_PLACES: Mapping[str, int] = {"FLASH_ENCRYPTION": 1, ONE_DIGEST: 2}


def _write_by_field(board: Board, writer: EfuseWriter, keys: Sequence[KeyToWrite]) -> Steps[Err]:
    efuses = board.efuses
    free = [block for block in efuses.chip.keys.blocks if is_unused(efuses, block)]
    if len(keys) > len(free):
        board.log(f"[ERR] [efuse] Not enough unused key blocks available. Required {len(keys)}, was {len(free)}")
        return Err.NOT_ENOUGH_UNUSED_KEY_BLOCKS
    for key, block in zip(keys, free, strict=False):
        index = efuses.chip.keys.blocks.index(block)
        number = efuses.chip.purpose(key.purpose).value
        board.log(f"[INF] [efuse] Writing EFUSE_BLK_KEY{index} with purpose {number}")
        err = yield from writer.set_block(block, key.data)
        if err is Err.OK:
            err = yield from freeze(efuses, writer, block)
        if err is Err.OK and efuses.quirk_forbids(block, efuses.chip.purpose(key.purpose)):
            board.log(f"[ERR] [efuse] BLOCK9 can not have the {number} purpose because of HW bug")
            err = Err.NOT_SUPPORTED
        if err is Err.OK and efuses.chip.purpose(key.purpose).secret:
            err = yield from _hide(efuses, writer, block)
        if err is Err.OK:
            err = yield from writer.set_number(f"KEY_PURPOSE_{index}", number)
        if err is Err.OK:
            err = yield from writer.set_bit(f"WR_DIS.KEY_PURPOSE_{index}")
        if err is not Err.OK:
            board.log(f"[ERR] [efuse] Failed to write EFUSE_BLK_KEY{index} with purpose {number}. Can't continue.")
            return err
    return Err.OK


def _write_by_position(board: Board, writer: EfuseWriter, keys: Sequence[KeyToWrite]) -> Steps[Err]:
    efuses = board.efuses
    for key in keys:
        block = _PLACES[key.purpose]
        number = efuses.chip.purpose(key.purpose).value
        board.log(f"[INF] [efuse] Writing EFUSE_BLK_KEY{block - 1} with purpose {number}")
        err = Err.OK if is_unused(efuses, block) else Err.INVALID_STATE
        if err is Err.OK:
            err = yield from writer.set_block(block, key.data[: efuses.block_size(block)])
        if err is Err.OK:
            err = yield from freeze(efuses, writer, block)
        if err is Err.OK and key.purpose == "FLASH_ENCRYPTION":
            err = yield from _hide(efuses, writer, block)
        if err is not Err.OK:
            board.log(f"[ERR] [efuse] Failed to write EFUSE_BLK_KEY{block - 1} with purpose {number}. Can't continue.")
            return err
    return Err.OK


def _write_by_halves(board: Board, writer: EfuseWriter, keys: Sequence[KeyToWrite]) -> Steps[Err]:
    efuses = board.efuses
    block = efuses.chip.keys.blocks[0]
    for key in keys:
        number = efuses.chip.purpose(key.purpose).value
        board.log(f"[INF] [efuse] Writing EFUSE_BLK_KEY0 with purpose {number}")
        err = Err.OK if is_unused(efuses, block) else Err.INVALID_STATE
        whole = key.purpose == "XTS_AES_128_KEY"
        if err is Err.OK:
            data = key.data if whole else key.data[:16]
            err = yield from writer.set_block(block, data, offset=16 if key.purpose == ONE_DIGEST else 0)
        if err is Err.OK and whole:
            err = yield from writer.set_bit("XTS_KEY_LENGTH_256")
        if err is Err.OK and efuses.chip.purpose(key.purpose).secret:
            err = yield from _hide(efuses, writer, block, parts=2 if whole else 1)
        if err is Err.OK:
            err = yield from freeze(efuses, writer, block)
        if err is not Err.OK:
            board.log(f"[ERR] [efuse] Failed to write EFUSE_BLK_KEY0 with purpose {number}. Can't continue.")
            return err
    return Err.OK


_WRITE: Mapping[str, Callable[[Board, EfuseWriter, Sequence[KeyToWrite]], Steps[Err]]] = {
    "field": _write_by_field,
    "position": _write_by_position,
    "halves": _write_by_halves,
}
