"""Which application ESP-IDF's second-stage bootloader tries first: otadata, rollback, anti-rollback.

Source: ESP-IDF v6.0, components/bootloader_support/src/bootloader_utility.c
(`bootloader_utility_get_selected_boot_partition`, `set_actual_ota_seq`), components/efuse/src/esp_efuse_fields.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bootwright.finding import failed, warned
from bootwright.flash import SECTOR_SIZE, Erase, Write
from bootwright.formats.esp_image import AppDesc
from bootwright.formats.esp_otadata import UNUSED, OtaData, OtaSelectEntry, OtaState, sequence_crc
from bootwright.formats.esp_partitions import Partition
from bootwright.sim.board import Steps
from bootwright.sim.idf_partitions import FACTORY, BootState
from bootwright.sim.run import Run, halted

APP_DESC_OFFSET = 0x20  #: behind the headers of the image and of its first segment
ROLLBACK = "CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE"
ANTI_ROLLBACK = "CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK"


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the search begins; `is_initial`: otadata says nothing yet, and will be written when a slot is found."""

    index: int
    is_initial: bool = False


def choose_app(run: Run, state: BootState) -> Steps[Choice]:
    """Read otadata, mark what rollback marks, and say where to begin."""
    if state.otadata is None:
        return Choice(FACTORY)
    entries = list(_read_otadata(run, state.otadata).entries)
    if run.has(ROLLBACK):
        yield from _abort_pending(run, state.otadata, entries)
    unwritten = all(entry.ota_seq == UNUSED or not entry.crc_fits for entry in entries)
    if run.has(ANTI_ROLLBACK):
        if unwritten:
            return Choice(FACTORY, is_initial=True)
    elif not state.count or all(map(_is_dead, entries)):
        return Choice(FACTORY) if state.factory is not None else Choice(0, is_initial=unwritten)
    return (yield from _follow(run, state, state.otadata, entries))


def note_chosen(run: Run, state: BootState, choice: Choice, index: int) -> Steps[None]:
    """`set_actual_ota_seq`: a first boot without factory application writes down which slot it found."""
    if not choice.is_initial or index <= FACTORY or state.otadata is None:
        return
    sequence = index + 1
    entry = OtaSelectEntry(ota_seq=sequence, ota_state=OtaState.VALID, crc=sequence_crc(sequence))
    yield from _write_entry(run, state.otadata, 0, entry)
    run.say("INF", f"[boot] Set actual ota_seq={sequence} in otadata[0]")
    slot = state.app(index)
    if run.has(ANTI_ROLLBACK) and slot is not None:
        yield from _raise_secure_version(run, slot)


def passes_anti_rollback(run: Run, partition: Partition) -> bool:
    """`check_anti_rollback`: an application older than the eFuses say is not tried."""
    if not run.has(ANTI_ROLLBACK):
        return True
    desc = _app_desc(run, partition)
    burned = secure_version(run)
    if desc is not None and desc.secure_version >= burned:
        return True
    found = "no description" if desc is None else f"secure version {desc.secure_version}"
    because = f"{partition.name} has {found}, the eFuses ask for {burned}"
    run.findings.append(warned("idf.anti_rollback", partition.name, because, "flash an application that is new enough"))
    return False


def secure_version(run: Run) -> int:
    """`esp_efuse_read_secure_version`: the bits set in the part of the field that the build uses."""
    return (run.board.efuses.number("SECURE_VERSION") & (1 << _version_bits(run)) - 1).bit_count()


def _version_bits(run: Run) -> int:
    width = run.board.chip.field("SECURE_VERSION", revision=run.board.efuses.revision).width
    return min(run.conf.integer("CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD", 4), width)


def _raise_secure_version(run: Run, partition: Partition) -> Steps[None]:
    """`esp_efuse_update_secure_version`: burn the bits up to the application's version."""
    desc = _app_desc(run, partition)
    burned = secure_version(run)
    if desc is None or desc.secure_version <= burned:
        return
    if desc.secure_version > _version_bits(run):
        because = f"{partition.name} has secure version {desc.secure_version}, the field counts to {_version_bits(run)}"
        run.findings.append(failed("idf.anti_rollback.full", partition.name, because, "use a lower secure version"))
        return
    new = (1 << desc.secure_version) - (1 << burned)
    yield from run.writer.set_number("SECURE_VERSION", new)
    run.say("INF", f"[efuse] Anti-rollback is set. eFuse field is updated({desc.secure_version}).")


def _app_desc(run: Run, partition: Partition) -> AppDesc | None:
    desc = AppDesc.parse(run.board.flash.read(partition.offset + APP_DESC_OFFSET, AppDesc.size()))
    return desc if desc.magic_word == AppDesc.MAGIC else None


def _read_otadata(run: Run, partition: Partition) -> OtaData:
    if partition.size < 2 * SECTOR_SIZE:
        raise halted(
            "idf.otadata.size",
            partition.name,
            f"otadata has {partition.size:#x} bytes, expected {2 * SECTOR_SIZE:#x}",
            "make the otadata partition 0x2000 long",
        )
    return OtaData.parse(run.board.flash.read(partition.offset, 2 * SECTOR_SIZE))


def _abort_pending(run: Run, otadata: Partition, entries: list[OtaSelectEntry]) -> Steps[None]:
    """An application that was tried and did not confirm itself is given up."""
    for index, entry in enumerate(entries):
        if entry.ota_state == OtaState.PENDING_VERIFY:
            entries[index] = replace(entry, ota_state=OtaState.ABORTED)
            because = f"the application of sequence {entry.ota_seq} was started once and did not confirm itself"
            run.findings.append(warned("idf.rollback", f"otadata, entry {index}", because, "confirm it when it works"))
            yield from _write_entry(run, otadata, index, entries[index])


def _is_dead(entry: OtaSelectEntry) -> bool:
    """`bootloader_common_ota_select_invalid`; a wrong CRC is another matter."""
    return entry.ota_seq == UNUSED or entry.ota_state in (OtaState.INVALID, OtaState.ABORTED)


def _follow(run: Run, state: BootState, otadata: Partition, entries: Sequence[OtaSelectEntry]) -> Steps[Choice]:
    usable = [at for at, entry in enumerate(entries) if entry.is_valid and _may_run(run, state, entry)]
    if not usable or not state.count:
        instead = "and no factory, will try all partitions" if state.factory is None else "falling back to factory"
        run.say("ERR", f"[boot] ota data partition invalid{', ' if state.factory else ' '}{instead}")
        because = "no entry of otadata counts: the factory application is tried first, if there is one"
        hint = "flash otadata; under flash encryption it must be encrypted for its address"
        run.findings.append(warned("idf.otadata.invalid", "otadata", because, hint))
        return Choice(FACTORY)
    active = max(usable, key=lambda at: (entries[at].ota_seq, -at))
    index = (entries[active].ota_seq - 1) % state.count
    if run.has(ROLLBACK) and entries[active].ota_state == OtaState.NEW:
        marked = replace(entries[active], ota_state=OtaState.PENDING_VERIFY)
        yield from _write_entry(run, otadata, active, marked)
    slot = state.app(index)
    if run.has(ANTI_ROLLBACK) and entries[active].ota_state == OtaState.VALID and slot is not None:
        yield from _raise_secure_version(run, slot)
    return Choice(index)


def _may_run(run: Run, state: BootState, entry: OtaSelectEntry) -> bool:
    slot = state.app((entry.ota_seq - 1) % state.count) if state.count else None
    return slot is None or passes_anti_rollback(run, slot)


def _write_entry(run: Run, partition: Partition, index: int, entry: OtaSelectEntry) -> Steps[None]:
    at = partition.offset + index * SECTOR_SIZE
    yield Erase(at, SECTOR_SIZE, "otadata")
    yield Write(at, entry.pack(), "otadata", encrypted=run.encryption_on)
