"""ESP-IDF's eFuse API as boot code uses it: staged fields, nested batches, burning from the highest block down.

The order, the grouping and the failures of a first boot follow from these rules, so they are kept here exactly:
reads see what is burned, never what is staged; a batch inside a batch commits with the outer one; a block is
programmed, read back and programmed again up to three times; after a block that cannot be read back as asked, the
lower blocks are skipped, BLOCK0 with its protections among them.

Source: ESP-IDF v6.0, components/efuse/src/esp_efuse_api.c, esp_efuse_utility.c, <chip>/esp_efuse_utility.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum

from bootwright.chips.chip import Field
from bootwright.chips.efuses import Efuses
from bootwright.sim.board import Board, BurnEfuse, Steps

#: programs of one block before the API gives up (`repeat_burn_op`)
ATTEMPTS = 3


class Err(IntEnum):
    """`esp_err_t` values of the eFuse component; what the console prints when a first boot fails."""

    OK = 0
    FAIL = -1
    INVALID_ARG = 0x102
    INVALID_STATE = 0x103
    NOT_SUPPORTED = 0x106
    CNT_IS_FULL = 0x1602
    REPEATED_PROG = 0x1603
    CODING = 0x1604
    NOT_ENOUGH_UNUSED_KEY_BLOCKS = 0x1605


Burner = Callable[[Mapping[int, int]], Steps[Err]]


class EfuseWriter:
    """The write half of the API: what is staged, and how deep the batches are nested.

    `burn` takes the staged bits of each block; by default it drives the controller.
    """

    __slots__ = ("_board", "_burn", "_depth", "_staged")

    def __init__(self, board: Board, *, burn: Burner | None = None) -> None:
        self._board = board
        self._burn = self._burn_chip if burn is None else burn
        self._depth = 0
        self._staged: dict[int, int] = {}

    @property
    def in_batch(self) -> bool:
        """Whether writes are only staged now."""
        return self._depth > 0

    def begin(self) -> None:
        """`esp_efuse_batch_write_begin`: stage from now on; nests."""
        self._depth += 1
        if self._depth == 1:
            self._staged.clear()
            self._board.log("[INF] [efuse] Batch mode of writing fields is enabled")

    def cancel(self) -> None:
        """`esp_efuse_batch_write_cancel`: leave a batch; the outermost forgets what was staged."""
        self._depth -= 1
        if self._depth == 0:
            self._staged.clear()
            self._board.log("[INF] [efuse] Batch mode of writing fields is cancelled")

    def commit(self) -> Steps[Err]:
        """`esp_efuse_batch_write_commit`: leave a batch; the outermost burns what was staged."""
        self._depth -= 1
        if self._depth:
            return Err.OK
        err = self._forbidden()
        if err is Err.OK:
            err = yield from self._burn(self._staged)
            self._board.log("[INF] [efuse] Batch mode. Prepared fields are committed")
        self._staged.clear()
        return err

    def set_bit(self, name: str) -> Steps[Err]:
        """`esp_efuse_write_field_bit`: nothing to do when the bit is already burned."""
        if self._board.efuses.number(name):
            return Err.OK
        return (yield from self.set_number(name, 1))

    def protect(self, bit: int) -> Steps[Err]:
        """Set one bit of BLOCK0, named by its position: a protection bit, which several fields share."""
        if self._board.efuses.bits[0] >> bit & 1:
            return Err.OK
        return (yield from self._write(0, 1 << bit))

    def set_number(self, name: str, value: int) -> Steps[Err]:
        """`esp_efuse_write_field_blob`: bits that are already burned must not be asked for again."""
        place = self._field(name)
        return (yield from self._write(place.block, place.place(value)))

    def set_more_bits(self, name: str, count: int) -> Steps[Err]:
        """`esp_efuse_write_field_cnt`: set the `count` lowest bits of the field that are still 0."""
        place = self._field(name)
        burned = self._board.efuses.number(name)
        bits = 0
        for position in range(place.width):
            if count and not burned >> position & 1:
                bits |= 1 << position
                count -= 1
        if count:
            self._board.log(f"[ERR] [efuse] The required number of bits can not be set. [Not set {count}]")
            self._stage_in_batch(place.block, place.place(bits))
            return Err.CNT_IS_FULL
        return (yield from self._write(place.block, place.place(bits)))

    def set_block(self, block: int, data: bytes, *, offset: int = 0) -> Steps[Err]:
        """`esp_efuse_write_block`: data from byte `offset` of a whole block."""
        if self._board.efuses.block_size(block) < offset + len(data):
            return Err.CODING
        return (yield from self._write(block, int.from_bytes(data, "little") << 8 * offset))

    def _write(self, block: int, bits: int) -> Steps[Err]:
        again = bits & int.from_bytes(self._board.efuses.readable_block(block), "little")
        if again:
            self._board.log("[ERR] [efuse] Repeated programming of programmed bits is strictly forbidden")
            refused = (again & -again).bit_length() - 1
            self._stage_in_batch(block, bits & ((1 << refused // 32 * 32) - 1))
            return Err.REPEATED_PROG
        if self._depth:
            self._stage(block, bits)
            return Err.OK
        self._staged.clear()
        self._stage(block, bits)
        err = self._forbidden()
        if err is Err.OK:
            err = yield from self._burn(self._staged)
        self._staged.clear()
        return err

    def _field(self, name: str) -> Field:
        return self._board.chip.field(name, revision=self._board.efuses.revision)

    def _stage(self, block: int, bits: int) -> None:
        self._staged[block] = self._staged.get(block, 0) | bits

    def _stage_in_batch(self, block: int, bits: int) -> None:
        """The API works register by register: what it did before it failed stays staged in a batch."""
        if self._depth:
            self._stage(block, bits)

    def _forbidden(self) -> Err:
        """`esp_efuse_utility_apply_new_coding_scheme`: coded blocks are written once."""
        for block, bits in sorted(self._staged.items()):
            if not _may_encode(self._board.efuses, block, bits):
                self._board.log("[ERR] [efuse] Bits are not empty. Write operation is forbidden.")
                return Err.CODING
        return Err.OK

    def _burn_chip(self, staged: Mapping[int, int]) -> Steps[Err]:
        """`esp_efuse_utility_burn_chip`: highest block first, because BLOCK0 protects the others."""
        err = Err.OK
        for block in sorted((block for block, bits in staged.items() if bits), reverse=True):
            if err is not Err.OK:
                self._board.log(
                    f"[ERR] [efuse] BLOCK{block} can not be burned because a previous block got an error, skipped."
                )
                continue
            err = yield from self._burn_block(block, staged[block])
        return err

    def _burn_block(self, block: int, bits: int) -> Steps[Err]:
        data = bits.to_bytes(self._board.chip.blocks[block].size, "little")
        for attempt in range(1, ATTEMPTS + 1):
            self._board.log(f"[INF] [efuse] BURN BLOCK{block}")
            yield BurnEfuse(block, data, "ESP-IDF eFuse API")
            if _as_asked(self._board, block, data):
                return Err.OK
            self._board.log(f"[WRN] [efuse] BLOCK{block}: next retry to fix an error [{attempt}/{ATTEMPTS}]...")
        self._board.log("[ERR] [efuse] Written data are incorrect")
        return Err.FAIL


def _may_encode(efuses: Efuses, block: int, bits: int) -> bool:
    """Whether the block's coding still takes these bits, as far as its data can be read."""
    coding = efuses.coding(block) if block else "none"
    old = int.from_bytes(efuses.readable_block(block), "little")
    if coding == "rs":
        return not old or not bits
    if coding == "3/4":
        unit = (1 << 48) - 1
        return not any(bits >> at & unit and old >> at & unit for at in range(0, 192, 48))
    return True


def _as_asked(board: Board, block: int, data: bytes) -> bool:
    """`esp_efuse_utility_is_correct_written_data`: every bit that was asked for reads as 1."""
    read = board.efuses.readable_block(block)
    data = data[: len(read)]
    if read == data:
        board.log(f"[INF] [efuse] BURN BLOCK{block} - OK (write block == read block)")
        return True
    if all(have & want == want for have, want in zip(read, data, strict=True)):
        board.log(f"[INF] [efuse] BURN BLOCK{block} - OK (all write block bits are set)")
        return True
    board.log(f"[ERR] [efuse] BURN BLOCK{block} - ERROR (written bits != read bits)")
    return False
