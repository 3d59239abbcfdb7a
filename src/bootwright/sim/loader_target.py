"""What the serial loader reaches on a chip, and how it says no."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from bootwright.wire.rom import RomStatus, StubStatus


class Leave(Enum):
    """How a session ends, other than by a reset from outside."""

    RESET = "reset"  #: the chip resets and samples its straps
    RUN = "run"  #: the chip boots from flash, whatever the straps say


class Target(Protocol):
    """What a loader reaches: memory and registers, the flash behind its SPI controller, and the chip's state."""

    def read_word(self, address: int) -> int:
        """A word of memory or a register."""
        ...

    def write_word(self, address: int, value: int) -> None:
        """Write a word; a register may act on it."""
        ...

    def load(self, address: int, data: bytes) -> None:
        """Put bytes into RAM."""
        ...

    def flash_size(self) -> int:
        """Bytes of the attached flash."""
        ...

    def read_flash(self, address: int, length: int) -> bytes:
        """Raw flash content, no decryption. Raises `SiliconError` outside the flash."""
        ...

    def erase_flash(self, address: int, length: int) -> None:
        """Erase whole sectors."""
        ...

    def write_flash(self, address: int, data: bytes) -> None:
        """Program plain bytes."""
        ...

    def write_flash_encrypted(self, address: int, data: bytes) -> None:
        """Program through the encryption unit. Raises `SiliconError` where the chip forbids it."""
        ...

    def attach_flash(self) -> None:
        """Connect the SPI controller to the flash."""
        ...

    def security_info(self) -> bytes | None:
        """The answer to GET_SECURITY_INFO; None on a ROM that does not know the request."""
        ...

    def secure_download(self) -> bool:
        """Whether the loader is restricted to secure download mode."""
        ...

    def change_baudrate(self, baud: int) -> None:
        """Talk at another rate from now on."""
        ...

    def is_stub(self, entry: int) -> bool:
        """Whether the code in RAM at `entry` is a flasher stub."""
        ...

    def run_code(self, entry: int) -> None:
        """Leave the loader for code in RAM that is not modelled."""
        ...

    def hijacked_read(self) -> int:
        """Where the ROM's flash-read pointer was redirected to, 0 if nowhere (a work-around of esptool on S3)."""
        ...

    def leave(self, how: Leave) -> None:
        """End the session."""
        ...


class Refused(Exception):  # noqa: N818 - an answer of the loader, not an error of ours
    """The loader answers with this status: `rom` in ROM, `stub` in the stub."""

    def __init__(self, rom: RomStatus, stub: StubStatus) -> None:
        super().__init__(rom.name)
        self.rom = rom
        self.stub = stub


class Unanswered(Exception):  # noqa: N818 - as above
    """The loader says nothing: control went elsewhere."""


BAD_LENGTH = (RomStatus.BAD_MESSAGE, StubStatus.BAD_LENGTH)
BAD_CHECKSUM = (RomStatus.BAD_CHECKSUM, StubStatus.BAD_CHECKSUM)
BAD_PARAMETER = (RomStatus.BAD_PARAMETER, StubStatus.INVALID)
NOT_STARTED = (RomStatus.FAILED, StubStatus.NOT_IN_FLASH_MODE)
FLASH_FAILED = (RomStatus.FLASH_WRITE, StubStatus.FAILED_SPI)
READ_FAILED = (RomStatus.FLASH_READ, StubStatus.FAILED_SPI)
INFLATE_FAILED = (RomStatus.DEFLATE, StubStatus.INFLATE)
TOO_MUCH = (RomStatus.FAILED, StubStatus.TOO_MUCH_DATA)
TOO_LITTLE = (RomStatus.FAILED, StubStatus.NOT_ENOUGH_DATA)
UNKNOWN = (RomStatus.BAD_MESSAGE, StubStatus.NOT_IMPLEMENTED)
