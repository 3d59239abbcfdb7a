"""A board that is no Espressif chip and runs MCUboot: the one that an ESP32 on the same board updates.

An STM32-like target with Zephyr's MCUboot: its own flash, swap-move or scratch, recovery on the UART when its pin is
held (or within the window after a reset, or when the application asks for it), and an application with an SMP server.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bootwright.boot.config import BootConfig, ImageSlots, Mode, SerialErase, Signature
from bootwright.boot.image_key import ImageEncryption
from bootwright.boot.loader import boot_go
from bootwright.boot.outcome import Booted, BootOutcome, NoImage, Panic, Recovery
from bootwright.boot.probe import Console
from bootwright.boot.recovery import RecoveryState, SerialRecovery
from bootwright.boot.recovery_options import ESPRESSIF, ZEPHYR, RecoveryOptions
from bootwright.errors import FormatError
from bootwright.flash import Area, FlashOp, NorFlash, Program, T
from bootwright.formats.keys import load_private_key
from bootwright.sim.smp_server import Application, AppState

RESET_DELAY_S = 0.25  #: bs_reset: k_busy_wait(250000) after the answer; Zephyr's OS group waits as long
CONSOLE_KEPT = 1 << 14
WINDOW_S = 0.5  #: CONFIG_BOOT_SERIAL_WAIT_FOR_DFU_TIMEOUT

OPTIONS = {"zephyr": ZEPHYR, "espressif": ESPRESSIF}


class Doing(StrEnum):
    """What the board is doing."""

    OFF = "off"
    RECOVERY = "recovery"
    APPLICATION = "application"
    SILENT = "silent"  #: an application without an SMP server, or nothing to boot


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What was built for the board."""

    flash_size: int = 512 << 10
    slot_size: int = 208 << 10
    bootloader_size: int = 48 << 10
    images: int = 1
    mode: Mode = Mode.MOVE
    erase: SerialErase = SerialErase.WHOLE
    profile: str = "zephyr"  #: which port's recovery, a name in `OPTIONS`
    window: bool = False  #: wait for a command after each reset (CONFIG_BOOT_SERIAL_WAIT_FOR_DFU)
    signature: Signature | None = None
    keys: tuple[bytes, ...] = ()
    decryption: bytes = field(default=b"", repr=False)  #: a private key (PKCS#8): images may be encrypted for it
    downgrade_prevention: bool = False
    server: bool = True  #: the application has an SMP server

    def config(self) -> BootConfig:
        """MCUboot's configuration on this flash."""
        at = self.bootloader_size
        pairs = []
        for number in range(self.images):
            areas = []
            for slot in ("primary", "secondary"):
                areas.append(Area(f"image {number} {slot}", at, self.slot_size))
                at += self.slot_size
            pairs.append(ImageSlots(*areas))
        scratch = Area("scratch", at, self.flash_size - at) if self.mode is Mode.SCRATCH else None
        if at > self.flash_size or (scratch is not None and scratch.size < 4096):
            raise FormatError(
                f"{self.images * 2} slots of {self.slot_size:#x} bytes do not fit a flash of {self.flash_size:#x}",
                "make the slots smaller",
            )
        return BootConfig(
            mode=self.mode,
            images=tuple(pairs),
            scratch=scratch,
            signature=self.signature,
            keys=self.keys,
            downgrade_prevention=self.downgrade_prevention,
            serial=self.erase,
            write_align=8,
            max_img_sectors=128,
            encryption=ImageEncryption.for_key(load_private_key(self.decryption)) if self.decryption else None,
        )

    @property
    def options(self) -> RecoveryOptions:
        """What of recovery is compiled in."""
        if self.profile not in OPTIONS:
            raise FormatError(f"{self.profile!r} is no recovery profile", f"use one of {', '.join(OPTIONS)}")
        return OPTIONS[self.profile]


class Neighbour:
    """The board, its power on or off, its recovery pin held or not.

    `now_s` is a clock; `due` and `act` are for whoever waits for time to pass. `on_flash` sees every flash operation.
    """

    def __init__(
        self,
        build: Build,
        *,
        now_s: Callable[[], float],
        flash: NorFlash | None = None,
        on_flash: Callable[[FlashOp], None] | None = None,
    ) -> None:
        self.build = build
        self.config = build.config()
        self.options = build.options
        self.flash = flash or NorFlash(build.flash_size)
        self.recovery_pin = False
        self.doing = Doing.OFF
        self.outcome: BootOutcome | None = None
        self.state = AppState()
        self._now_s = now_s
        self._on_flash = on_flash
        self._recovery: SerialRecovery | None = None
        self._application: Application | None = None
        self._deadline: tuple[float, Callable[[], None]] | None = None
        self._retained_boot_mode = 0
        self._said = b""
        self.console = ""  #: the last that it printed

    # Power and pins

    def power_on(self) -> None:
        """Start."""
        self._retained_boot_mode = 0
        self.reset()

    def power_off(self) -> None:
        """Stop at once; what was in RAM is gone."""
        self._leave()
        self.doing = Doing.OFF

    def reset(self) -> None:
        """Start over: into recovery if it is asked for, else boot."""
        self._leave()
        wanted, self._retained_boot_mode = self._retained_boot_mode, 0
        if self.recovery_pin or wanted:
            self._recover()
        elif self.build.window:
            self._recover()
            self._deadline = self._now_s() + WINDOW_S, self._boot
        else:
            self._boot()

    def _leave(self) -> None:
        self._recovery = self._application = None
        self._deadline = None
        self._said = b""

    def _recover(self) -> None:
        key = load_private_key(self.build.decryption) if self.build.decryption else None
        self._recovery = SerialRecovery(self.flash, self.config, options=self.options, decryption=key)
        self.doing = Doing.RECOVERY
        self.outcome = Recovery()

    def _boot(self) -> None:
        self._leave()
        console = Console("neighbour")
        self.outcome = self._perform(boot_go(self.flash, self.config, probe=console))
        self._said = "".join(f"{line}\r\n" for line in console.lines).encode()
        self.doing = Doing.SILENT
        if isinstance(self.outcome, Booted) and self.build.server:
            self.doing = Doing.APPLICATION
            self.state.boots += 1
            self._application = Application(
                self.flash, self.config, now_us=lambda: int(self._now_s() * 1e6), state=self.state
            )
        elif isinstance(self.outcome, NoImage | Panic):
            self._said += b"E: Unable to find bootable image\r\n"
        self.console = (self.console + self._said.decode(errors="replace"))[-CONSOLE_KEPT:]

    def _perform(self, program: Program[T]) -> T:
        try:
            while True:
                op = next(program)
                self.flash.apply(op)
                if self._on_flash is not None:
                    self._on_flash(op)
        except StopIteration as end:
            result: T = end.value
            return result

    # The wires

    def feed(self, data: bytes) -> bytes:
        """Bytes on the UART; returns the bytes that it sends."""
        if self._recovery is not None:
            answer = self._perform(self._recovery.receive(data))
            if answer and self._deadline is not None and self._recovery.state is RecoveryState.WAITING:
                self._deadline = None  # a command within the window keeps recovery open
            self._after_recovery()
            return answer
        if self._application is not None:
            answer = self._perform(self._application.receive(data))
            self._after_application()
            return answer
        return b""

    def datagram(self, data: bytes) -> bytes:
        """A datagram for the application; returns its answer, empty for none."""
        if self._application is None:
            return b""
        answer = self._perform(self._application.datagram(data))
        self._after_application()
        return answer

    def take(self) -> bytes:
        """What was printed since on the console, which is the same UART."""
        said, self._said = self._said, b""
        return said

    def _after_recovery(self) -> None:
        if self._recovery is None or self._recovery.state is RecoveryState.WAITING:
            return
        if self._recovery.state is RecoveryState.RESET:
            self._deadline = self._now_s() + RESET_DELAY_S, self.reset
        else:
            self._recovery = None
            self.doing = Doing.SILENT

    def _after_application(self) -> None:
        if self._application is not None and self._application.reset_wanted and self._deadline is None:
            self._retained_boot_mode = self._application.boot_mode
            self._deadline = self._now_s() + RESET_DELAY_S, self.reset

    def due(self) -> float | None:
        """When `act` has something to do, by the clock; None for never."""
        return self._deadline[0] if self._deadline else None

    def act(self) -> None:
        """Time has passed."""
        if self._deadline is not None and self._deadline[0] <= self._now_s():
            self._deadline[1]()


def dump(neighbour: Neighbour) -> str:
    """The board as text."""
    build = neighbour.build
    body = {
        "schema": 1,
        "board": "zephyr-neighbour",
        "flash_size": build.flash_size,
        "slot_size": build.slot_size,
        "bootloader_size": build.bootloader_size,
        "images": build.images,
        "mode": build.mode.value,
        "erase": build.erase.value,
        "profile": build.profile,
        "window": build.window,
        "signature": build.signature.value if build.signature else None,
        "keys": [key.hex() for key in build.keys],
        "decryption": build.decryption.hex(),
        "downgrade_prevention": build.downgrade_prevention,
        "server": build.server,
        "recovery_pin": neighbour.recovery_pin,
        "flash": base64.b64encode(zlib.compress(neighbour.flash.snapshot())).decode(),
    }
    return json.dumps(body, indent=1)


def load(text: str, *, where: str) -> tuple[Build, NorFlash, bool]:
    """The build, the flash and whether the recovery pin is held, as `dump` wrote them.

    Raises:
        FormatError: it is no such file.
    """
    try:
        body = json.loads(text)
        flash = zlib.decompress(base64.b64decode(body.pop("flash")))
        if body.pop("schema") != 1 or body.pop("board") != "zephyr-neighbour":
            raise ValueError("another schema")
        signature, pin = body.pop("signature"), bool(body.pop("recovery_pin", False))
        build = replace(
            Build(),
            mode=Mode(body.pop("mode")),
            erase=SerialErase(body.pop("erase")),
            signature=Signature(signature) if signature else None,
            keys=tuple(bytes.fromhex(key) for key in body.pop("keys")),
            decryption=bytes.fromhex(body.pop("decryption", "")),
            **body,
        )
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise FormatError(
            f"{where} is no virtual neighbour: {error}", "make one: bootwright neighbour new NAME"
        ) from None
    if len(flash) != build.flash_size:
        raise FormatError(f"{where} holds {len(flash)} bytes of flash, expected {build.flash_size}", "make it anew")
    return build, NorFlash.holding(flash), pin
