"""What the steps of a boot share: the board, the build's options, the staged eFuses, and what was found so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from bootwright.finding import Finding, failed
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.keys import PublicKey
from bootwright.sim.board import Board
from bootwright.sim.encrypted_flash import is_encryption_on
from bootwright.sim.idf_efuse import EfuseWriter


class HaltedError(Exception):
    """Thrown where the C code stops for good; the bootloader's `run` turns it into a panic."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.because)
        self.finding = finding


class AbortedError(HaltedError):
    """Thrown where ESP-IDF's bootloader aborts, and does not even try the next application."""


def halted(code: str, subject: str, because: str, next: str = "") -> HaltedError:  # noqa: A002 - the finding's field
    """The error to raise where the C code stops."""
    return HaltedError(failed(code, subject, because, next))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a bootloader."""

    board: Board
    conf: BootloaderConf
    writer: EfuseWriter
    findings: list[Finding] = field(default_factory=list)
    soc_options: bool = False  #: whether `CONFIG_SOC_…` exist: ESP-IDF's builds have them, the MCUboot port's have not
    app_key: PublicKey | None = None  #: Secure Boot V1: the key for applications that is compiled in

    def say(self, level: str, text: str) -> None:
        """A line on the console, `level` is INF, WRN or ERR."""
        self.board.log(f"[{level}] {text}")

    def has(self, option: str) -> bool:
        """Whether the build defines the option."""
        return self.conf.defined(option)

    @property
    def secure_boot_on(self) -> bool:
        """`esp_secure_boot_enabled`: of the version that the build has."""
        v1 = self.conf.defined("CONFIG_SECURE_BOOT_V1_ENABLED")
        return bool(self.board.efuses.number("ABS_DONE_0" if v1 else self.board.chip.secure_boot.enable_field))

    @property
    def encryption_on(self) -> bool:
        """`esp_flash_encryption_enabled`."""
        return is_encryption_on(self.board.efuses)

    @property
    def crypt_count(self) -> int:
        """`get_flash_encrypt_cnt_value`: bits set in the counter field."""
        return self.board.efuses.number(self.board.chip.flash_encryption.counter_field).bit_count()
