"""Settings (Zephyr, grp/settings_mgmt/src/settings_mgmt.c), and erasing their storage (grp/zephyr_basic)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bootwright.sim.smp_refusal import EINVAL, SmpRefusal, text_of
from bootwright.smp import header as h

if TYPE_CHECKING:
    from bootwright.sim.smp_server import Application

KEY_TOO_LONG, KEY_NOT_FOUND = 2, 3
LONGEST_KEY = 32  #: CONFIG_MCUMGR_GRP_SETTINGS_NAME_LEN


def _key(request: Mapping[str, Any]) -> str:
    name = text_of(request, "name")
    if len(name) > LONGEST_KEY:
        raise SmpRefusal(KEY_TOO_LONG, group=h.SETTINGS)
    return name


def read(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """A value, cut at `max_size`."""
    name = _key(request)
    if name not in app.state.settings:
        raise SmpRefusal(KEY_NOT_FOUND, group=h.SETTINGS)
    limit = request.get("max_size", 256)
    value = app.state.settings[name]
    answer: dict[str, object] = {"val": value[:limit]}
    if len(value) > limit:
        answer["max_size"] = limit
    return answer


def write(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Set a value."""
    name, value = _key(request), request.get("val")
    if not isinstance(value, bytes):
        raise SmpRefusal(EINVAL)
    app.state.settings[name] = value
    return {}


def delete(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Forget a value."""
    if app.state.settings.pop(_key(request), None) is None:
        raise SmpRefusal(KEY_NOT_FOUND, group=h.SETTINGS)
    return {}


def done(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Commit, load, save: everything is in RAM and stays there."""
    return {}


def erase_all(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """Erase the storage partition."""
    app.state.settings.clear()
    return {}
