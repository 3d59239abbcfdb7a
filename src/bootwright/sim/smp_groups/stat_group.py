"""Statistics (Zephyr, grp/stat_mgmt/src/stat_mgmt.c): what the server itself counts, and what a test puts there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bootwright.sim.smp_refusal import SmpRefusal, text_of
from bootwright.smp import header as h

if TYPE_CHECKING:
    from bootwright.sim.smp_server import Application

INVALID_STAT_NAME = 3


def _groups(app: Application) -> dict[str, dict[str, int]]:
    return {"smp_svr_stats": {"requests": app.requests, "boots": app.state.boots}, **app.state.stats}


def names(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """The groups there are."""
    return {"stat_list": list(_groups(app))}


def data(app: Application, request: Mapping[str, Any]) -> dict[str, object]:
    """One group's counters."""
    name = text_of(request, "name")
    fields = _groups(app).get(name)
    if fields is None:
        raise SmpRefusal(INVALID_STAT_NAME, group=h.STAT)
    return {"name": name, "fields": dict(fields)}
