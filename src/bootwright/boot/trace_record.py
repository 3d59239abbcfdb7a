"""Recording traces: what the model does, in the document that `trace_play` plays and that the real code wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from bootwright.boot.config import BootConfig, Mode, SerialErase
from bootwright.boot.loader import boot_go, set_confirmed, set_pending
from bootwright.boot.outcome import Booted, BootOutcome
from bootwright.boot.probe import Console
from bootwright.boot.recovery import SerialRecovery
from bootwright.boot.run import operations
from bootwright.boot.runs import Runs
from bootwright.boot.sectors import Sectors, stand_in_cipher
from bootwright.boot.trace import SCHEMA, SIGNATURES, pack
from bootwright.boot.trace_ops import OpRow, op_row, without_data
from bootwright.boot.trace_play import Sweep, outcome_word
from bootwright.errors import NotModelledError
from bootwright.flash import FlashOp, drive

COLUMNS = ["k", "sha_after_cut", "outcome", "version", "resume_nops", "resume_ops_sha", "final_sha"]
MODEL = "bootwright model of 2d4bacc3"


class Recorder:
    """A virtual flash that writes down everything that is done to it."""

    def __init__(self, config: BootConfig, flash: bytes, *, name: str, chip: str = "esp32") -> None:
        self.config = config
        self._name = name
        self._chip = chip
        self._initial = flash
        cipher = stand_in_cipher if config.flash_encryption_active else None
        self.flash = Sectors.holding(flash, cipher=cipher, sector_size=config.sector_size)
        self._steps: list[dict[str, Any]] = []
        self._recovery: SerialRecovery | None = None

    def boot(self, *, stop_before: int | None = None, cut: str = "clean") -> BootOutcome | None:
        """Boot; with `stop_before`, power is lost at that operation (counted from 1). None for a power cut."""
        self._recovery = None
        console = Console(self._chip)
        rows: list[OpRow] = []
        outcome: BootOutcome | None = None
        program = boot_go(self.flash, self.config, probe=console)
        try:
            while True:
                op = next(program)
                if len(rows) + 1 == stop_before:
                    if cut == "torn":
                        rows.append(op_row(op, self.flash, torn=True))
                        self.flash.apply_torn(op)
                    break
                rows.append(op_row(op, self.flash))
                self.flash.apply(op)
        except StopIteration as end:
            outcome = end.value
        step: dict[str, Any] = {"do": "boot"}
        if stop_before is not None:
            step |= {"stop_before_op": stop_before, "cut": cut}
        word = "power_cut" if outcome is None else outcome_word(outcome)
        step |= {"outcome": word, "nops": len(rows), "log": console.lines}
        if isinstance(outcome, Booted):
            step |= {"image_off": outcome.image_offset, "version": outcome.version}
        self._keep(step | {"ops": rows})
        return outcome

    def set_pending(self, *, image: int = 0, permanent: bool = False) -> int:
        """Request the secondary image, as an application does."""
        rc = drive(set_pending(self.flash, self.config, image=image, permanent=permanent), self.flash.apply)
        self._keep({"do": "set_pending", "image": image, "permanent": permanent, "rc": rc})
        return rc

    def set_confirmed(self, *, image: int = 0) -> int:
        """Confirm the running image, as an application does."""
        rc = drive(set_confirmed(self.flash, self.config, image=image), self.flash.apply)
        self._keep({"do": "set_confirmed", "image": image, "rc": rc})
        return rc

    def flash_put(self, address: int, data: bytes) -> None:
        """Bytes put into the flash by someone else."""
        self.flash.load(address, data)
        self._steps.append({"do": "flash_put", "addr": address, "zlib_b64": pack(data)})

    def serial(self, data: bytes) -> bytes:
        """Bytes sent to serial recovery; returns its answer."""
        if self._recovery is None:
            self._recovery = SerialRecovery(self.flash, self.config)
        rows: list[OpRow] = []

        def perform(op: FlashOp) -> None:
            rows.append(without_data(op_row(op, self.flash)))
            self.flash.apply(op)

        answer = drive(self._recovery.receive(data), perform)
        state = self._recovery.state
        word = "assert" if state == "panic" else state.value
        self._keep({"do": "serial", "rx_hex": data.hex(), "tx_hex": answer.hex(), "state": word, "ops": rows})
        if state != "waiting":
            self._recovery = None
        return answer

    def sweep(self, *, cut: str = "clean", progress: Callable[[int, int], None] | None = None) -> None:
        """Lose power at every operation of one boot, and boot again each time; the flash stays as it is."""
        runs = Runs(self.config, self.flash)
        start = runs.state()
        total = len(operations(runs.boot(start)))
        rows = Sweep(runs, self.flash, torn=cut == "torn").rows(start, progress=progress)
        self._steps.append({"do": "sweep", "cut": cut, "full_nops": total, "columns": COLUMNS, "results": rows})

    def document(self) -> dict[str, Any]:
        """The trace so far."""
        sha256 = hashlib.sha256(self._initial).hexdigest()
        return {
            "schema": SCHEMA,
            "name": self._name,
            "mcuboot": MODEL,
            "config": config_part(self.config),
            "pubkey_der_hex": self.config.keys[0].hex() if self.config.keys else None,
            "flash": {"size": len(self._initial), "zlib_b64": pack(self._initial), "sha256": sha256},
            "steps": self._steps,
            "final_sha256": self._sha256(),
        }

    def _keep(self, step: dict[str, Any]) -> None:
        self._steps.append(step | {"sha256": self._sha256()})

    def _sha256(self) -> str:
        return hashlib.sha256(self.flash.raw()).hexdigest()


def config_part(config: BootConfig) -> dict[str, Any]:
    """The `config` of a trace.

    Raises:
        NotModelledError: a build with image encryption, whose private key no trace should carry.
    """
    if config.encryption is not None:
        raise NotModelledError("traces of builds with image encryption are not modelled", "a trace carries no keys")
    conf: dict[str, object] = {
        "CONFIG_ESP_BOOTLOADER_SIZE": "0xF000",
        "CONFIG_ESP_APPLICATION_SIZE": hex(config.images[0].primary.size),
    }
    for number, slots in enumerate(config.images):
        conf[f"CONFIG_ESP_IMAGE{number}_PRIMARY_START_ADDRESS"] = hex(slots.primary.address)
        if slots.secondary.size:
            conf[f"CONFIG_ESP_IMAGE{number}_SECONDARY_START_ADDRESS"] = hex(slots.secondary.address)
    if config.scratch is not None:
        conf["CONFIG_ESP_SCRATCH_OFFSET"] = hex(config.scratch.address)
        conf["CONFIG_ESP_SCRATCH_SIZE"] = hex(config.scratch.size)
    conf |= dict.fromkeys(_switches(config), 1)
    if len(config.images) > 1:
        conf["CONFIG_ESP_IMAGE_NUMBER"] = len(config.images)
    ram = {} if config.ram is None else {"ram": [config.ram.address, config.ram.size]}
    return ram | {
        "serial_recovery": None if config.serial is None else config.serial.value,
        "mode": config.mode.value,
        "sig": next(name for name, kind in SIGNATURES.items() if kind is config.signature),
        "images": len(config.images),
        "downgrade_prevention": config.downgrade_prevention,
        "security_counter": config.security_counter,
        "boot_max_align": config.max_align,
        "write_align": config.write_align,
        "flash_encryption_active": config.flash_encryption_active,
        "max_img_sectors": config.max_img_sectors,
        "sector": config.sector_size,
        "bootloader_conf": conf,
    }


_MODE_OPTIONS = {
    Mode.MOVE: "CONFIG_ESP_BOOT_SWAP_USING_MOVE",
    Mode.OVERWRITE: "CONFIG_ESP_BOOT_UPGRADE_ONLY",
    Mode.OFFSET: "CONFIG_ESP_BOOT_SWAP_USING_OFFSET",
    Mode.DIRECT_XIP: "CONFIG_ESP_BOOT_DIRECT_XIP",
    Mode.RAM_LOAD: "CONFIG_ESP_BOOT_RAM_LOAD",
    Mode.SINGLE: "CONFIG_ESP_SINGLE_APPLICATION_SLOT",
}


def _switches(config: BootConfig) -> list[str]:
    """The options that are set to 1."""
    wanted = {
        _MODE_OPTIONS.get(config.mode, ""): config.mode in _MODE_OPTIONS,
        "CONFIG_SECURE_FLASH_ENC_ENABLED": config.max_align == 32,
        "CONFIG_ESP_DOWNGRADE_PREVENTION": config.downgrade_prevention,
        "CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER": config.security_counter,
        "CONFIG_ESP_MCUBOOT_SERIAL": config.serial is not None,
        "CONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY": config.serial is SerialErase.PROGRESSIVE,
    }
    return [name for name, on in wanted.items() if on]
