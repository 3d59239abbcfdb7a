"""The virtual chip on the engineer's desk: flash it, boot it, copy it, and see what the flash holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootwright.boot.config import BootConfig
from bootwright.boot.loader import set_confirmed, set_pending
from bootwright.chips.efuses import Efuses
from bootwright.flash import SECTOR_SIZE, FlashOp, NorFlash, Program, T, drive
from bootwright.formats.bootloader_conf import BootloaderConf, Region
from bootwright.host.rehearsal import Content, Event, FlashPicture, Run
from bootwright.sim.board import Outcome
from bootwright.sim.encrypted_flash import is_encryption_on
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.machine import BootReport, Cut, Machine
from bootwright.sim.port_config import boot_config

_ERASED_SECTOR = b"\xff" * SECTOR_SIZE


@dataclass(slots=True)
class Bench:
    """A machine and the bootloader that it runs."""

    machine: Machine
    port: McubootPort

    @property
    def conf(self) -> BootloaderConf:
        """What the bootloader is built with."""
        return self.port.conf

    @property
    def efuses(self) -> Efuses:
        """The eFuses as they are."""
        return self.machine.efuses

    @property
    def raw(self) -> bytes:
        """Every byte of the flash as it lies there."""
        return self.machine.flash.read(0, self.machine.flash.size)

    @property
    def encrypting(self) -> bool:
        """Whether flash encryption is on."""
        return is_encryption_on(self.machine.efuses)

    def copy(self) -> Bench:
        """Another chip in the very same state."""
        machine = Machine(
            self.machine.chip,
            flash=NorFlash.holding(self.raw),
            efuses=self.machine.efuses,
            straps=self.machine.straps,
            entropy=self.machine.entropy,
        )
        return Bench(machine, self.port)

    def boot(self, *, cut: Cut | None = None) -> BootReport:
        """Power on, and follow the resets that the code asks for."""
        return self.machine.boot(self.port, cut=cut)

    def read(self, region: Region, length: int | None = None) -> bytes:
        """The beginning of a region as the CPU sees it."""
        return self.machine.view().read(region.address, region.size if length is None else length)

    def flash_raw(self, address: int, data: bytes) -> None:
        """What a programmer does: erase the sectors that `data` touches, and write the bytes as they are."""
        data += b"\xff" * (-len(data) % SECTOR_SIZE)
        self.machine.flash.erase(address, len(data))
        self.machine.flash.write(address, data)

    def fill(self, region: Region, data: bytes) -> None:
        """What a careful application does with an update: the whole region, empty space too, as the CPU will read it.

        Under flash encryption the bytes pass through the encryption unit, so that empty space reads as erased.
        """
        content = data + b"\xff" * (region.size - len(data))
        stored = self.machine.view().stored(region.address, content) if self.encrypting else content
        self.flash_raw(region.address, stored)

    def flip(self, address: int, *, bit: int = 0) -> None:
        """Change one bit of the flash where it lies."""
        sector = address - address % SECTOR_SIZE
        content = bytearray(self.machine.flash.read(sector, SECTOR_SIZE))
        content[address - sector] ^= 1 << bit
        self.flash_raw(sector, bytes(content))

    def request(self, *, permanent: bool) -> int:
        """The application asks for the secondary image at the next boot; 0 is success."""
        return self._apply(set_pending(self.machine.view(), self._config(), permanent=permanent))

    def confirm(self) -> int:
        """The running application confirms itself; 0 is success."""
        return self._apply(set_confirmed(self.machine.view(), self._config()))

    def _config(self) -> BootConfig:
        return boot_config(self.conf, self.port.keys, encryption_active=self.encrypting)

    def _apply(self, program: Program[T]) -> T:
        view = self.machine.view()

        def perform(op: FlashOp) -> None:
            view.apply(op)

        return drive(program, perform)


def events_of(report: BootReport) -> tuple[Event, ...]:
    """What a boot did, for the timeline."""
    return tuple(_events(report))


def _events(report: BootReport) -> Iterator[Event]:
    for boot in report.boots or (report,):
        for program in boot.efuse_programs:
            if program.new_bits:
                yield Event("efuse", f"block {program.block}: {', '.join(program.fields)}", len(program.new_bits))
        if boot.flash_ops:
            yield Event("flash", "flash operations", len(boot.flash_ops))
        if boot.outcome is Outcome.APP:
            yield Event("boot", f"runs {boot.version.removesuffix('+0')}")
        elif boot.outcome is Outcome.RESET:
            yield Event("power", "reset by the bootloader")
        elif boot.outcome is Outcome.POWER_CUT:
            yield Event("power", "power lost", bad=True)
        else:
            yield Event("boot", boot.failure.code if boot.failure else boot.outcome.value, bad=True)


def picture(bench: Bench, title: str) -> FlashPicture:
    """What lies in each sector, told apart by the bytes and by the regions that are encrypted."""
    raw = bench.raw
    view = bench.machine.view()
    plain = view.read(0, view.size) if bench.encrypting else raw
    encrypted = [(region.address, region.end) for region in bench.conf.regions() if region.name != "virtual eFuses"]
    runs: list[Run] = []
    for at in range(0, len(raw), SECTOR_SIZE):
        inside = bench.encrypting and any(start <= at < end for start, end in encrypted)
        content = _content(raw[at : at + SECTOR_SIZE], plain[at : at + SECTOR_SIZE], inside)
        if runs and runs[-1].content is content:
            runs[-1] = Run(runs[-1].address, runs[-1].size + SECTOR_SIZE, content)
        else:
            runs.append(Run(at, SECTOR_SIZE, content))
    return FlashPicture(title, tuple(runs))


def _content(raw: bytes, plain: bytes, encrypted: bool) -> Content:
    if raw == _ERASED_SECTOR:
        return Content.ERASED
    if not encrypted:
        return Content.PLAIN
    return Content.CIPHER_ERASED if plain == _ERASED_SECTOR else Content.CIPHER
