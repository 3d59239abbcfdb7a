"""The Espressif port's `main()`: every boot of MCUboot, and the first one, which closes the chip.

Source: MCUboot 2d4bacc3, boot/espressif/main.c. Its build defines NDEBUG, so the asserts of main.c are not there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bootwright.boot.loader import boot_go
from bootwright.boot.outcome import Booted, NoImage, Panic, Recovery
from bootwright.boot.probe import Listening
from bootwright.errors import NotModelledError
from bootwright.finding import Finding, Verdict, passed
from bootwright.flash import Area
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.sim.app_start import start_application
from bootwright.sim.board import Board, Ended, Outcome, Steps
from bootwright.sim.flash_encryption_stage import enable_flash_encryption, encryption_state
from bootwright.sim.idf_efuse import EfuseWriter, Err
from bootwright.sim.idf_image import check_own_header
from bootwright.sim.port_config import boot_config
from bootwright.sim.run import HaltedError, Run, halted
from bootwright.sim.secure_boot_stage import enable_secure_boot, stage_secure_boot
from bootwright.sim.virtual_efuse import VirtualBoard, without_encryption

BURN_TOGETHER = "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class McubootPort:
    """MCUboot as the Espressif port builds it from a `bootloader.conf`."""

    conf: BootloaderConf
    keys: tuple[bytes, ...] = ()  #: the public keys compiled in, as DER
    detect_pin: bool = False  #: whether the serial recovery pin is held as `boot_serial_detect_pin` wants it

    def run(self, board: Board) -> Steps[Ended]:
        """`main()`, to its end."""
        region = self.conf.virtual_efuses
        if region is None:
            _refuse_virtual_in_ram(self.conf)
            return (yield from self._run(Run(board, self.conf, EfuseWriter(board))))
        virtual = VirtualBoard(board, Area(*region))
        run = Run(virtual, self.conf, EfuseWriter(virtual, burn=virtual.burn))
        return (yield from without_encryption(self._run(run, virtual.load), board))

    def _run(self, run: Run, prepare: Callable[[], Steps[None]] | None = None) -> Steps[Ended]:
        try:
            _start(run)
            if prepare is not None:
                run.say("WRN", "eFuse virtual mode is enabled. FOR TESTING ONLY!")
                yield from prepare()
            return (yield from self._main(run))
        except HaltedError as error:
            return Ended(outcome=Outcome.PANIC, findings=(*run.findings, error.finding))

    def _main(self, run: Run) -> Steps[Ended]:
        _begin_together(run)
        secure_boot_was_on = run.secure_boot_on
        if self.conf.secure_boot:
            yield from _secure_boot_first_half(run)
        if run.has("CONFIG_ESP_MCUBOOT_SERIAL"):
            run.say("INF", "Initializing serial boot pins")
            if self.detect_pin:
                run.say("INF", "Enter the serial recovery mode")
                return Ended(outcome=Outcome.RECOVERY, findings=tuple(run.findings))
        booted = yield from self._boot_go(run)
        if self.conf.secure_boot and not secure_boot_was_on:
            yield from enable_secure_boot(run)
        if self.conf.flash_encryption and (yield from _flash_encryption(run)):
            run.say("INF", "Resetting with flash encryption enabled...")
            return Ended(outcome=Outcome.RESET, findings=tuple(run.findings))
        run.say("INF", "Disabling RNG early entropy source...")
        start_application(run, booted)
        return Ended(
            outcome=Outcome.APP,
            findings=tuple(run.findings),
            image_offset=booted.image_offset,
            version=booted.version,
        )

    def _boot_go(self, run: Run) -> Steps[Booted]:
        """MCUboot's own part: validate, swap, choose; a failure burns nothing."""
        config = boot_config(self.conf, self.keys, encryption_active=self.conf.flash_encryption and run.encryption_on)
        outcome = yield from boot_go(run.board.flash, config, probe=_Watch(run))
        if isinstance(outcome, Booted):
            because = f"version {outcome.version} in the slot at {outcome.image_offset:#x} is valid"
            run.findings.append(passed("mcuboot.image", f"slot at {outcome.image_offset:#x}", because))
            return outcome
        return self._no_image(run, outcome)

    def _no_image(self, run: Run, outcome: NoImage | Panic | Recovery) -> Booted:
        run.say("ERR", "Unable to find bootable image")
        if self.conf.secure_boot and run.writer.in_batch:
            run.writer.cancel()
        why = () if isinstance(outcome, Recovery) else outcome.why
        run.findings.extend(why[:-1])
        if why:
            raise HaltedError(why[-1])
        raise halted("mcuboot.no_image", "slots", "MCUboot finds no image that it would start", "flash a valid image")


class _Watch(Listening):
    """Puts MCUboot's lines on the board's console, and keeps why it refused an update."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def log(self, level: str, text: str) -> None:
        """One line of MCUboot's own."""
        self._run.board.log(f"[{level}] {text}")

    def refused(self, finding: Finding) -> None:
        """A warning: the boot goes on with the image that runs."""
        self._run.findings.append(replace(finding, verdict=Verdict.WARN))


def _refuse_virtual_in_ram(conf: BootloaderConf) -> None:
    if conf.defined("CONFIG_EFUSE_VIRTUAL"):
        raise NotModelledError(
            f"{conf.where}: CONFIG_EFUSE_VIRTUAL without CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH is not modelled",
            "keep the virtual eFuses in flash: in RAM they are forgotten at every reset",
        )


def _start(run: Run) -> None:
    run.say("INF", "*** Booting MCUboot build (model) ***")
    check_own_header(run)


def _begin_together(run: Run) -> None:
    """ESP32-C2: both keys lie in one block, so everything goes into one batch that main() holds open."""
    if not run.has(BURN_TOGETHER):
        return
    if run.secure_boot_on != (run.crypt_count > 0):
        raise halted(
            "port.together.half",
            "eFuses",
            "one of Secure Boot and flash encryption is enabled and the other is not; their keys share one block",
            "the other one cannot be added; use another chip",
        )
    if not run.secure_boot_on or not run.encryption_on:
        run.writer.begin()


def _secure_boot_first_half(run: Run) -> Steps[None]:
    run.say("INF", "enabling secure boot v2...")
    if run.secure_boot_on:
        run.say("INF", "secure boot v2 is already enabled, continuing..")
    else:
        yield from stage_secure_boot(run)


def _flash_encryption(run: Run) -> Steps[bool]:
    """Steps 4 to 7 of main(); True asks for a reset."""
    run.say("INF", "Checking flash encryption...")
    was_on = encryption_state(run)
    if not was_on:
        yield from enable_flash_encryption(run)
    if run.has(BURN_TOGETHER) and (not run.secure_boot_on or not was_on):
        err = yield from run.writer.commit()
        if err is not Err.OK:
            raise halted(
                "port.together.burn",
                "eFuses",
                "the eFuses do not read back as they were asked for",
                "look for write protections burned beforehand: WR_DIS",
            )
        run.say("INF", "Secure boot permanently enabled")
    return not was_on and run.encryption_on
