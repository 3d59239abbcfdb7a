"""otadata: the two sectors in which ESP-IDF notes the application slot to boot.

Each sector starts with an entry; the valid one with the higher sequence number counts, and names the slot
`(ota_seq - 1) mod slots`. Source: ESP-IDF components/bootloader_support/include/esp_flash_partitions.h and
src/bootloader_common_loader.c, components/app_update/esp_ota_ops.c.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from bootwright.errors import FormatError
from bootwright.finding import Finding, passed, warned
from bootwright.formats.record import U32, Record, Size

SECTOR_SIZE = 0x1000
UNUSED = 0xFFFF_FFFF


class OtaState(IntEnum):
    """`esp_ota_img_states_t`."""

    NEW = 0
    PENDING_VERIFY = 1
    VALID = 2
    INVALID = 3
    ABORTED = 4
    UNDEFINED = UNUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class OtaSelectEntry(Record):
    """`esp_ota_select_entry_t`."""

    ota_seq: U32
    seq_label: Annotated[bytes, Size(20)] = b"\xff" * 20
    ota_state: U32 = OtaState.UNDEFINED
    crc: U32

    @property
    def crc_fits(self) -> bool:
        """Whether the CRC, over the sequence number alone, is right."""
        return self.crc == sequence_crc(self.ota_seq)

    @property
    def is_valid(self) -> bool:
        """Whether the bootloader takes it into account."""
        refused = (OtaState.INVALID, OtaState.ABORTED)
        return self.ota_seq != UNUSED and self.crc_fits and self.ota_state not in refused

    @property
    def state_name(self) -> str:
        """The state in words, or its number."""
        return OtaState(self.ota_state).name if self.ota_state in set(OtaState) else f"{self.ota_state:#x}"


@dataclass(frozen=True, slots=True)
class OtaData:
    """Both entries, and whatever else the two sectors hold."""

    entries: tuple[OtaSelectEntry, OtaSelectEntry]
    fills: tuple[bytes, bytes] = (b"\xff" * (SECTOR_SIZE - 32),) * 2

    @classmethod
    def parse(cls, data: bytes, *, where: str = "otadata") -> OtaData:
        """Read the two sectors.

        Raises:
            FormatError: anything but 0x2000 bytes.
        """
        if len(data) != 2 * SECTOR_SIZE:
            raise FormatError(
                f"{where}: found {len(data):#x} bytes, expected {2 * SECTOR_SIZE:#x}", "read the whole partition"
            )
        first, second = data[:SECTOR_SIZE], data[SECTOR_SIZE:]
        size = OtaSelectEntry.size()
        return cls((OtaSelectEntry.parse(first), OtaSelectEntry.parse(second)), (first[size:], second[size:]))

    def pack(self) -> bytes:
        """The bytes of the partition."""
        return b"".join(entry.pack() + fill for entry, fill in zip(self.entries, self.fills, strict=True))

    def active(self) -> int | None:
        """Which of the two entries counts; `None` when neither is valid and the factory application boots."""
        valid = [index for index, entry in enumerate(self.entries) if entry.is_valid]
        return max(valid, key=lambda index: (self.entries[index].ota_seq, -index), default=None)

    def slot(self, slots: int) -> int | None:
        """The `ota_N` that boots where there are `slots` of them, or `None` for factory."""
        index = self.active()
        return None if index is None else (self.entries[index].ota_seq - 1) % slots


def sequence_crc(ota_seq: int) -> int:
    """The CRC of an entry: of the four bytes of the sequence number, started with all ones."""
    return zlib.crc32(ota_seq.to_bytes(4, "little"), 0xFFFF_FFFF)


def erased_otadata() -> OtaData:
    """What a new device has: nothing chosen."""
    return OtaData.parse(b"\xff" * 2 * SECTOR_SIZE)


def choose_slot(otadata: OtaData, slot: int, slots: int, *, state: OtaState = OtaState.UNDEFINED) -> OtaData:
    """What `esp_ota_set_boot_partition` makes of otadata; the other sector is left alone.

    Raises:
        FormatError: there is no such slot.
    """
    if not 0 <= slot < slots <= 16:
        raise FormatError(f"otadata: found slot {slot} of {slots}, expected 0 to {min(slots, 16) - 1}", "count from 0")
    active = otadata.active()
    if active is None:
        target, sequence = 0, slot + 1
    elif otadata.slot(slots) == slot:
        target, sequence = active, otadata.entries[active].ota_seq
    else:
        seen = otadata.entries[active].ota_seq
        target, sequence = 1 - active, seen + (slot - (seen - 1)) % slots
    entry = OtaSelectEntry(ota_seq=sequence, ota_state=state, crc=sequence_crc(sequence))
    erased = b"\xff" * (SECTOR_SIZE - OtaSelectEntry.size())
    first, second = otadata.entries
    fill_1, fill_2 = otadata.fills
    if target == 0:
        return OtaData((entry, second), (erased, fill_2))
    return OtaData((first, entry), (fill_1, erased))


def verify_otadata(otadata: OtaData, slots: int, *, subject: str = "otadata") -> tuple[Finding, ...]:
    """What the bootloader makes of it: which slot boots, and why an entry does not count."""
    findings = [_entry_finding(entry, f"{subject}, entry {i}") for i, entry in enumerate(otadata.entries)]
    slot = otadata.slot(slots)
    chosen = (
        "nothing is chosen: the factory application boots, or the first slot" if slot is None else f"ota_{slot} boots"
    )
    return (*findings, passed("otadata.slot", subject, chosen))


def _entry_finding(entry: OtaSelectEntry, subject: str) -> Finding:
    if entry.ota_seq == UNUSED:
        return passed("otadata.entry.unused", subject, "the entry was never written")
    if not entry.crc_fits:
        why = f"the CRC is {entry.crc:#010x}, the sequence number gives {sequence_crc(entry.ota_seq):#010x}"
        return warned("otadata.entry.crc", subject, why, "the write was cut short, or the dump is encrypted")
    if not entry.is_valid:
        why = f"the state is {entry.state_name}: the bootloader passes it over"
        return warned("otadata.entry.state", subject, why, "the application of this entry was given up")
    return passed("otadata.entry", subject, f"sequence {entry.ota_seq}, state {entry.state_name}")
