"""What an application with an SMP server answers: Zephyr's groups as far as the field's clients use them.

A program like the bootloader's: it yields what it does to the flash and returns what it says. Sources: Zephyr,
subsys/mgmt/mcumgr (smp, grp/os_mgmt, grp/img_mgmt, …) and doc/services/device_mgmt/smp_protocol.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bootwright.boot.config import BootConfig
from bootwright.flash import Flash, Program
from bootwright.sim.smp_groups import fs_group, os_group, settings_group, shell_group, stat_group
from bootwright.sim.smp_image import ImageGroup
from bootwright.sim.smp_refusal import SmpRefusal, legacy_code
from bootwright.smp import header as h
from bootwright.smp.cbor import Reader
from bootwright.smp.console import DeviceReader
from bootwright.smp.datagram import Reader as DatagramReader
from bootwright.smp.errors import MalformedError
from bootwright.smp.server import answer_datagram, answer_lines, requests

Handler = Callable[["Application", Mapping[str, Any]], dict[str, object]]

UART_LINE = 128  #: CONFIG_UART_MCUMGR_RX_BUF_SIZE
REFUSED_UNSUPPORTED, REFUSED_INVALID = 8, 3


@dataclass(slots=True)
class AppState:
    """What the application keeps in RAM."""

    name: str = "zephyr"
    board: str = "virtual"
    clock_offset_us: int = 0
    boots: int = 0
    settings: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    stats: dict[str, dict[str, int]] = field(default_factory=dict)


class Application:
    """The booted application's SMP server, on the serial console and on UDP.

    `now_us` is the device's clock. After a reset was asked for, `reset_wanted` is true and `boot_mode` says whether the
    bootloader shall stay in recovery.
    """

    def __init__(
        self,
        flash: Flash,
        config: BootConfig,
        *,
        now_us: Callable[[], int],
        state: AppState | None = None,
        active: int = 0,
        buffer_size: int = 2048,
        buffer_count: int = 4,
    ) -> None:
        self.config = config
        self.state = state or AppState()
        self.now_us = now_us
        self.buffer_size = buffer_size
        self.buffer_count = buffer_count
        self.reset_wanted = False
        self.boot_mode = 0
        self.requests = 0
        self.file_upload = ""
        self._images = ImageGroup(flash, config, active=active)
        self._lines = DeviceReader(buffer_size, UART_LINE)
        self._datagrams = DatagramReader(buffer_size)

    def receive(self, data: bytes) -> Program[bytes]:
        """Take bytes from the serial console; returns the bytes sent back."""
        answer = b""
        for header, body in requests(self._lines, data):
            answer += answer_lines(header, (yield from self._answer(header, body)))
        return answer

    def datagram(self, data: bytes) -> Program[bytes]:
        """Take a datagram; returns the one sent back, empty for none."""
        for header, body in requests(self._datagrams, data):
            return answer_datagram(header, (yield from self._answer(header, body)))
        return b""

    def _answer(self, header: h.Header, body: bytes) -> Program[dict[str, object]]:
        self.requests += 1
        try:
            found = Reader(body).value() if body else {}
        except MalformedError:
            return {"rc": REFUSED_INVALID}
        if not isinstance(found, dict):
            return {"rc": REFUSED_INVALID}
        request = {key: value for key, value in found.items() if isinstance(key, str)}
        try:
            if header.group == h.IMAGE:
                return (yield from self._images.answer(header.op, header.command, request))
            return self._simple(header, request)
        except SmpRefusal as refusal:
            if refusal.group < 0:
                return {"rc": refusal.rc}
            if header.version == h.V1:
                return {"rc": legacy_code(refusal)}
            return {"err": {"group": refusal.group, "rc": refusal.rc}}

    def _simple(self, header: h.Header, request: Mapping[str, Any]) -> dict[str, object]:
        handler = HANDLERS.get((header.group, header.command, header.op))
        if handler is None:
            return {"rc": REFUSED_UNSUPPORTED}
        return handler(self, request)


#: (group, command, op) → what to do
HANDLERS: dict[tuple[int, int, int], Handler] = {
    (h.OS, h.OS_ECHO, h.READ): os_group.echo,
    (h.OS, h.OS_ECHO, h.WRITE): os_group.echo,
    (h.OS, h.OS_TASKSTAT, h.READ): os_group.taskstat,
    (h.OS, h.OS_MPSTAT, h.READ): os_group.mpstat,
    (h.OS, h.OS_DATETIME, h.READ): os_group.read_datetime,
    (h.OS, h.OS_DATETIME, h.WRITE): os_group.set_datetime,
    (h.OS, h.OS_RESET, h.WRITE): os_group.reset,
    (h.OS, h.OS_PARAMS, h.READ): os_group.params,
    (h.OS, h.OS_INFO, h.READ): os_group.info,
    (h.OS, h.OS_BOOTLOADER, h.READ): os_group.bootloader,
    (h.STAT, h.STAT_DATA, h.READ): stat_group.data,
    (h.STAT, h.STAT_LIST, h.READ): stat_group.names,
    (h.SETTINGS, h.SETTINGS_VALUE, h.READ): settings_group.read,
    (h.SETTINGS, h.SETTINGS_VALUE, h.WRITE): settings_group.write,
    (h.SETTINGS, h.SETTINGS_DELETE, h.WRITE): settings_group.delete,
    (h.SETTINGS, h.SETTINGS_COMMIT, h.WRITE): settings_group.done,
    (h.SETTINGS, h.SETTINGS_STORE, h.READ): settings_group.done,
    (h.SETTINGS, h.SETTINGS_STORE, h.WRITE): settings_group.done,
    (h.FS, h.FS_FILE, h.READ): fs_group.download,
    (h.FS, h.FS_FILE, h.WRITE): fs_group.upload,
    (h.FS, h.FS_STATUS, h.READ): fs_group.status,
    (h.FS, h.FS_HASH, h.READ): fs_group.digest,
    (h.FS, h.FS_TYPES, h.READ): fs_group.types,
    (h.FS, h.FS_CLOSE, h.WRITE): fs_group.close,
    (h.SHELL, h.SHELL_EXEC, h.WRITE): shell_group.execute,
    (h.ENUM, h.ENUM_COUNT, h.READ): os_group.group_count,
    (h.ENUM, h.ENUM_LIST, h.READ): os_group.group_list,
    (h.ZEPHYR, h.ZEPHYR_ERASE_STORAGE, h.WRITE): settings_group.erase_all,
}
