"""Virtual eFuses kept in flash (CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH): a first boot that burns nothing.

The bootloader keeps a copy of all blocks in a flash region and works on that. Nothing protects it: write and read
protection are bits like any other, a block can be written as often as one likes, and the flash "encrypted in place"
stays plaintext as long as the real counter is even. A host's espefuse knows nothing of it and burns the real eFuses.

Source: ESP-IDF v6.0, components/efuse/src/esp_efuse_utility.c (`esp_efuse_init_virtual_mode_in_flash` and below),
components/bootloader_support/bootloader_flash/src/bootloader_flash.c (`ENCRYPTION_IS_VIRTUAL`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bootwright.chips.chip import Chip
from bootwright.chips.efuses import Efuses
from bootwright.flash import Area, Erase, Flash, Write
from bootwright.sim.board import Board, Steps, T
from bootwright.sim.encrypted_flash import is_encryption_on
from bootwright.sim.idf_efuse import Err
from bootwright.sim.run import halted

BLOCK_SIZE = 32  #: COUNT_EFUSE_REG_PER_BLOCK words, whatever a block really holds


def stored_size(chip: Chip) -> int:
    """Bytes that the copy takes (`sizeof(virt_blocks)`)."""
    return BLOCK_SIZE * len(chip.blocks)


def pack_virtual(efuses: Efuses) -> bytes:
    """The copy as it lies in flash."""
    return b"".join(efuses.block(block.number).ljust(BLOCK_SIZE, b"\0") for block in efuses.chip.blocks)


def read_virtual(flash: Flash, region: Area, real: Efuses) -> Efuses | None:
    """The virtual eFuses of `region`, or None where none were written yet.

    The code looks at four times as many bytes as it uses (it counts bytes and compares words).
    """
    size = stored_size(real.chip)
    looked_at = flash.read(region.address, min(4 * size, flash.size - region.address))
    if not looked_at.strip(b"\xff"):
        return None
    blocks = {block.number: looked_at[block.number * BLOCK_SIZE :][: block.size] for block in real.chip.blocks}
    return _unprotected(Efuses.holding(real.chip, blocks, revision=real.revision))


def _unprotected(efuses: Efuses) -> Efuses:
    """Protections are never in force: no hardware looks at the copy."""
    return replace(efuses, latch=0)


class VirtualBoard:
    """A board whose eFuses are the copy in flash."""

    def __init__(self, board: Board, region: Area) -> None:
        self._board = board
        self._region = region
        self._fuses = board.efuses

    @property
    def chip(self) -> Chip:
        """The model's facts."""
        return self._board.chip

    @property
    def flash(self) -> Flash:
        """The flash as the real eFuses let it be seen."""
        return self._board.flash

    @property
    def raw_flash(self) -> Flash:
        """The flash past the decryption unit."""
        return self._board.raw_flash

    @property
    def efuses(self) -> Efuses:
        """The copy."""
        return self._fuses

    def random(self, length: int) -> bytes:
        """Bytes from the random number generator."""
        return self._board.random(length)

    def log(self, text: str) -> None:
        """One line on the console."""
        self._board.log(text)

    def load(self) -> Steps[None]:
        """`esp_efuse_init_virtual_mode_in_flash`: take the copy, or make it from the real eFuses."""
        if not self._region.address:
            raise halted(
                "port.virtual_efuse.offset",
                "CONFIG_EFUSE_VIRTUAL_OFFSET",
                "the region of the virtual eFuses begins at 0, which the code takes for no region: it aborts",
                "set CONFIG_EFUSE_VIRTUAL_OFFSET to a free region",
            )
        found = read_virtual(self._board.raw_flash, self._region, self._board.efuses)
        if found is not None:
            self.log("[WRN] [efuse] [Virtual] Loading virtual efuse blocks from flash")
            self._fuses = found
            return
        self.log("[WRN] [efuse] [Virtual] Loading virtual efuse blocks from real efuses")
        real = self._board.efuses
        readable = {block.number: real.readable_block(block.number) for block in real.chip.blocks}
        self._fuses = _unprotected(Efuses.holding(real.chip, readable, revision=real.revision))
        yield from self._save()

    def burn(self, staged: Mapping[int, int]) -> Steps[Err]:
        """All staged blocks at once, and one rewrite of the region."""
        self.log("[WRN] [efuse] Virtual efuses enabled: Not really burning eFuses")
        for block, bits in staged.items():
            self._fuses = self._fuses.program(block, bits.to_bytes(self.chip.blocks[block].size, "little"))
        yield from self._save()
        return Err.OK

    def _save(self) -> Steps[None]:
        yield Erase(self._region.address, self._region.size, "virtual eFuses")
        yield Write(self._region.address, pack_virtual(self._fuses), "virtual eFuses")


def without_encryption(steps: Steps[T], board: Board) -> Steps[T]:
    """The same steps as the hardware performs them: no write is encrypted while the real counter is even."""
    try:
        while True:
            step = next(steps)
            if isinstance(step, Write) and step.encrypted and not is_encryption_on(board.efuses):
                step = Write(step.address, step.data, step.why)
            yield step
    except StopIteration as end:
        result: T = end.value
        return result
