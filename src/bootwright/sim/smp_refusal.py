"""How an application says no: a code of SMP itself or of a group, which old clients get as a code of SMP."""

from __future__ import annotations

from bootwright.smp import header as h


class SmpRefusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """The answer is this code; group -1 is SMP's own table."""

    def __init__(self, rc: int, *, group: int = -1) -> None:
        super().__init__(f"group {group} rc {rc}")
        self.rc = rc
        self.group = group


EUNKNOWN, ENOMEM, EINVAL, ENOENT, EBADSTATE, ENOTSUP = 1, 2, 3, 5, 6, 8

#: group → its code → the code that a client of SMP version 1 gets (the groups' translate functions)
_LEGACY: dict[int, dict[int, int]] = {
    h.IMAGE: {
        3: ENOENT,
        8: ENOENT,
        9: ENOMEM,
        14: EINVAL,
        20: EINVAL,
        21: EINVAL,
        22: EINVAL,
        23: EINVAL,
        24: EINVAL,
        27: EBADSTATE,
        28: EBADSTATE,
        30: EINVAL,
        31: EINVAL,
        32: EBADSTATE,
        33: EBADSTATE,
    },
    h.STAT: {2: EINVAL, 3: ENOENT},
    h.SETTINGS: {2: EINVAL, 3: ENOENT, 5: ENOENT},
    h.FS: {2: EINVAL, 3: ENOENT, 11: EINVAL, 12: EINVAL, 13: ENOENT},
}


def legacy_code(refusal: SmpRefusal) -> int:
    """The code of SMP that stands for a group's."""
    return _LEGACY.get(refusal.group, {}).get(refusal.rc, EUNKNOWN)


def text_of(request: object, key: str) -> str:
    """A text that the request must carry."""
    value = request.get(key) if isinstance(request, dict) else None
    if not isinstance(value, str):
        raise SmpRefusal(EINVAL)
    return value
