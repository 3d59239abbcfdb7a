"""What answers on a port: everything that a device tells about itself, and nothing about what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bootwright.host.smp import Session, is_recovery
from bootwright.smp.client import Link
from bootwright.smp.errors import RefusedByDeviceError
from bootwright.smp.messages import bootloader, datetime, os_info, params

if TYPE_CHECKING:
    from bootwright.smp.client import Talk

T = TypeVar("T")


def gather(session: Session) -> dict[str, object]:
    """Ask everything that can be asked; what the device does not support is None.

    Raises:
        WireError: the device is silent or talks nonsense.
    """
    recovery = session.run(is_recovery(session.link))
    told = session.negotiate()
    buffers = _maybe(session, params)
    boot = None if recovery else _maybe(session, bootloader)
    return {
        "server": "MCUboot serial recovery" if recovery else "application",
        "system": None if recovery else _maybe(session, os_info),
        "bootloader": boot.bootloader if boot else ("MCUboot" if recovery else None),
        "mode": MODES.get(boot.mode, str(boot.mode)) if boot else None,
        "no_downgrade": boot.no_downgrade if boot else None,
        "buf_size": buffers.buf_size if buffers else None,
        "buf_count": buffers.buf_count if buffers else None,
        "largest_message": session.link.largest,
        "largest_message_is": "told by the device" if told else "found by trying",
        "datetime": None if recovery else _maybe(session, datetime),
    }


#: what MCUboot's mode numbers mean (Zephyr, OS group, bootloader information)
MODES = {
    -1: "not told",
    0: "single slot",
    1: "swap using scratch",
    2: "overwrite only",
    3: "swap without scratch",
    4: "direct XIP without revert",
    5: "direct XIP with revert",
    6: "RAM load",
    7: "firmware loader",
    8: "swap using offset",
}


def _maybe(session: Session, ask: Callable[[Link], Talk[T]]) -> T | None:
    def quiet() -> Talk[T | None]:
        try:
            return (yield from ask(session.link))
        except RefusedByDeviceError:
            return None

    return session.run(quiet())
