"""ESP-IDF's second-stage bootloader: the partition table, the application, and the first boot that closes the chip.

The options are those of an sdkconfig, read with the same parser as a `bootloader.conf`. A boot that finds nothing
resets and tries again for ever: its outcome is a reset whose findings say why.

Source: ESP-IDF v6.0, components/bootloader/subproject/main/bootloader_start.c,
components/bootloader_support/src/bootloader_utility.c, secure_boot_v1/secure_boot.c, flash_encryption/flash_encrypt.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from bootwright.errors import NotModelledError
from bootwright.finding import Finding, passed, warned
from bootwright.flash import SECTOR_SIZE, Area
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.esp_partitions import (
    BINARY_SIZE,
    SUBTYPES,
    TABLE_OFFSET,
    Partition,
    PartitionFlags,
    PartitionType,
)
from bootwright.formats.keys import PublicKey
from bootwright.sim.board import Board, Ended, Outcome, Steps
from bootwright.sim.flash_encryption_stage import (
    check_encryption_wanted,
    encrypt_area,
    encryption_state,
    prepare_key,
    raise_counter,
)
from bootwright.sim.idf_efuse import EfuseWriter, Err
from bootwright.sim.idf_image import (
    VerifiedImage,
    check_own_header,
    verify_app,
    verify_bootloader,
    verify_other_bootloader,
)
from bootwright.sim.idf_ota import Choice, choose_app, note_chosen, passes_anti_rollback
from bootwright.sim.idf_partitions import FACTORY, BootState, load_table, verify_table
from bootwright.sim.idf_v1 import enable_v1, generate_digest_v1
from bootwright.sim.run import AbortedError, HaltedError, Run, halted
from bootwright.sim.secure_boot_stage import enable_secure_boot, stage_secure_boot
from bootwright.sim.virtual_efuse import VirtualBoard, without_encryption

TEST = -2  #: TEST_APP_INDEX
BURN_TOGETHER = "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdfBootloader:
    """ESP-IDF's own second-stage bootloader, as an sdkconfig builds it."""

    conf: BootloaderConf
    app_key: PublicKey | None = None  #: Secure Boot V1: the key for applications that is compiled in

    def run(self, board: Board) -> Steps[Ended]:
        """`call_start_cpu0`, to its end."""
        run = Run(board, self.conf, EfuseWriter(board), soc_options=True, app_key=self.app_key)
        try:
            run.say("INF", "[boot] ESP-IDF 2nd stage bootloader (model)")
            check_own_header(run)
            state = load_table(run)
            if not self.conf.defined("CONFIG_EFUSE_VIRTUAL"):
                return (yield from self._main(run, state))
            virtual = VirtualBoard(board, _virtual_region(self.conf, state))
            run = replace(run, board=virtual, writer=EfuseWriter(virtual, burn=virtual.burn))
            return (yield from without_encryption(self._virtual(run, state, virtual), board))
        except HaltedError as error:
            run.say("ERR", "[boot] reset")
            return Ended(outcome=Outcome.RESET, findings=(*run.findings, error.finding))

    def _virtual(self, run: Run, state: BootState, virtual: VirtualBoard) -> Steps[Ended]:
        run.say("WRN", "eFuse virtual mode is enabled. If Secure boot or Flash encryption is enabled it is insecure!")
        yield from virtual.load()
        return (yield from self._main(run, state))

    def _main(self, run: Run, state: BootState) -> Steps[Ended]:
        """`bootloader_utility_load_boot_image`: the next partition, also when the first boot fails with one."""
        choice = yield from choose_app(run, state)
        refused: list[HaltedError] = []
        for index, partition in _candidates(state, choice.index):
            ended = yield from self._try(run, state, _Try(choice, index, partition), refused)
            if ended is not None:
                return ended
            if index != TEST:
                label = "Factory app partition" if index == FACTORY else f"OTA app partition slot {index}"
                run.say("ERR", f"[boot] {label} is not bootable")
        run.say("ERR", "[boot] No bootable app partitions in the partition table")
        raise _nothing_boots(run, refused)

    def _try(self, run: Run, state: BootState, tried: _Try, refused: list[HaltedError]) -> Steps[Ended | None]:
        partition = tried.partition
        if not passes_anti_rollback(run, partition):
            return None
        try:
            image = yield from verify_app(run, Area(partition.name, partition.offset, partition.size))
            if tried.index == TEST:
                run.say("WRN", "[boot] Falling back to test app as only bootable partition")
            else:
                yield from note_chosen(run, state, tried.choice, tried.index)
            return (yield from self._start(run, state, tried.partition, image, tuple(map(_passed_over, refused))))
        except AbortedError:
            raise
        except HaltedError as error:
            refused.append(error)
            return None

    def _start(
        self, run: Run, state: BootState, partition: Partition, image: VerifiedImage, before: tuple[Finding, ...]
    ) -> Steps[Ended]:
        """`load_image`: the first boot's steps, then the application."""
        reset = yield from _close_chip(run, state, image)
        findings = (*before, *run.findings)
        if reset:
            run.say("INF", "[boot] Resetting with flash encryption enabled...")
            return Ended(outcome=Outcome.RESET, findings=findings)
        run.say("INF", "[boot] Disabling RNG early entropy source...")
        desc = image.app_desc
        version = "" if desc is None else desc.version.split(b"\0", 1)[0].decode("utf-8", "replace")
        checked = passed("idf.app", partition.name, f"the application at {partition.offset:#x} is started")
        return Ended(
            outcome=Outcome.APP,
            findings=(*findings, checked),
            image_offset=partition.offset,
            version=version,
        )


@dataclass(frozen=True, slots=True)
class _Try:
    """One partition that may be started."""

    choice: Choice
    index: int
    partition: Partition


def _candidates(state: BootState, start: int) -> Iterator[tuple[int, Partition]]:
    """Backwards to the factory application, then forwards, and at last the test application."""
    for index in (*range(start, FACTORY - 1, -1), *range(start + 1, state.count)):
        partition = state.app(index)
        if partition is not None:
            yield index, partition
    if state.test is not None:
        yield TEST, state.test


def _passed_over(error: HaltedError) -> Finding:
    found = error.finding
    return warned(found.code, found.subject, found.because, found.next)


def _nothing_boots(run: Run, refused: list[HaltedError]) -> HaltedError:
    """The failure that tells most: what stopped the first boot, else what is wrong with the last application."""
    if not refused:
        return halted("idf.app.none", "partition table", "no application partition can be tried", "flash a table")
    closing = [error for error in refused if not error.finding.code.startswith(("idf.app.", "secure_boot.v1."))]
    told = closing[0] if closing else refused[-1]
    run.findings.extend(error.finding for error in refused if error is not told)
    return told


def _virtual_region(conf: BootloaderConf, state: BootState) -> Area:
    """The partition for virtual eFuses; the bootloader keeps the last one that the table names."""
    found = [part for part in state.table if (part.type, part.subtype) == (PartitionType.DATA, _EFUSE)]
    if not conf.defined("CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH") or not found:
        raise NotModelledError(
            f"{conf.where}: virtual eFuses that are not kept in a partition of the table are not modelled",
            "set CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH and add a partition of subtype efuse",
        )
    return Area(found[-1].name, found[-1].offset, found[-1].size)


# The first boot


def _close_chip(run: Run, state: BootState, image: VerifiedImage) -> Steps[bool]:
    together = run.has(BURN_TOGETHER)
    if together and run.secure_boot_on != (run.crypt_count > 0):
        raise halted(
            "idf.together.half",
            "eFuses",
            "one of Secure Boot and flash encryption is enabled and the other is not; their keys share one block",
            "the other one cannot be added; use another chip",
        )
    if together and not (run.secure_boot_on and run.encryption_on):
        run.writer.begin()
    if run.has("CONFIG_SECURE_BOOT_V2_ENABLED") and not run.secure_boot_on:
        yield from stage_secure_boot(run, image)
        yield from enable_secure_boot(run)
    if run.has("CONFIG_SECURE_BOOT_V1_ENABLED"):
        yield from generate_digest_v1(run)
    was_on = True
    if run.has("CONFIG_SECURE_FLASH_ENC_ENABLED"):
        was_on = yield from _encrypt(run, state)
    if run.has("CONFIG_SECURE_BOOT_V1_ENABLED"):
        try:
            yield from enable_v1(run)
        except HaltedError as error:
            raise AbortedError(error.finding) from None
    return not was_on and run.encryption_on


def _encrypt(run: Run, state: BootState) -> Steps[bool]:
    """Flash encryption; says whether it was on before. Here the C2's one batch is burned before the encryption."""
    run.say("INF", "[boot] Checking flash encryption...")
    was_on = encryption_state(run)
    if not was_on:
        check_encryption_wanted(run)
        _refuse_key_manager(run)
        yield from prepare_key(run)
    if run.writer.in_batch and (yield from run.writer.commit()) is not Err.OK:
        raise halted("idf.together.burn", "eFuses", "the eFuses do not read back as asked for", "look for WR_DIS")
    if not was_on:
        yield from _encrypt_contents(run, state)
        yield from raise_counter(run)
    return was_on


def _refuse_key_manager(run: Run) -> None:
    option = "CONFIG_SECURE_FLASH_ENCRYPTION_KEY_SOURCE_KEY_MGR"
    if run.has(option):
        raise NotModelledError(
            f"{run.conf.where}: {option} is set: the flash key would come from the Key Manager",
            "only keys in eFuse blocks are modelled; set CONFIG_SECURE_FLASH_ENCRYPTION_KEY_SOURCE_EFUSES",
        )


def _encrypt_contents(run: Run, state: BootState) -> Steps[None]:
    """`esp_flash_encrypt_contents`: bootloader, table, and every partition that asks for it or holds an application."""
    offset = run.board.chip.bootloader_offset
    image = yield from verify_bootloader(run)
    yield from encrypt_area(run, Area("bootloader", offset, image.length))
    if run.has("CONFIG_SECURE_BOOT_V1_ENABLED"):
        yield from encrypt_area(run, Area("bootloader digest", 0, SECTOR_SIZE))
    table = run.conf.integer("CONFIG_PARTITION_TABLE_OFFSET", TABLE_OFFSET)
    yield from encrypt_area(run, Area("partition table", table, SECTOR_SIZE))
    for partition in state.table:
        size = yield from _size_to_encrypt(run, partition)
        if size:
            yield from encrypt_area(run, Area(partition.name, partition.offset, size))


def _size_to_encrypt(run: Run, partition: Partition) -> Steps[int]:
    """`encrypt_partition`: 0 for what stays in plaintext, which is data without the flag and what is not valid."""
    area = Area(partition.name, partition.offset, partition.size)
    if partition.type == PartitionType.DATA and partition.subtype in _ALWAYS_ENCRYPTED:
        return partition.size
    if partition.type not in (PartitionType.APP, PartitionType.BOOTLOADER, PartitionType.PARTITION_TABLE):
        return partition.size if partition.flags & PartitionFlags.ENCRYPTED else 0
    if partition.type != PartitionType.APP and partition.subtype == _PRIMARY:
        return 0  # encrypted already, whatever the table says of it
    try:
        if partition.type == PartitionType.PARTITION_TABLE:
            verify_table(run, run.board.raw_flash.read(area.address, min(area.size, BINARY_SIZE)), area.address)
            return partition.size
        image = yield from _VERIFY[partition.type](run, area)
    except HaltedError as error:
        because = f"{partition.name} holds nothing valid in plaintext and is not encrypted: {error.finding.because}"
        run.findings.append(warned("idf.encrypt.skipped", partition.name, because, "flash it encrypted later"))
        return 0
    only = run.has("CONFIG_SECURE_FLASH_ENCRYPT_ONLY_IMAGE_LEN_IN_APP_PART")
    return image.length if only and partition.type == PartitionType.APP else partition.size


_VERIFY: Mapping[int, Callable[[Run, Area], Steps[VerifiedImage]]] = {
    PartitionType.APP: verify_app,
    PartitionType.BOOTLOADER: verify_other_bootloader,
}
#: data that is encrypted whatever its flag says
_ALWAYS_ENCRYPTED = {SUBTYPES[PartitionType.DATA][name] for name in ("ota", "tee_ota", "nvs_keys")}
_PRIMARY = SUBTYPES[PartitionType.BOOTLOADER]["primary"]
_EFUSE = SUBTYPES[PartitionType.DATA]["efuse"]
