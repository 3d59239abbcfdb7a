"""Secure Boot V1 in the ESP32's ROM: a digest over the bootloader, keyed with an eFuse block nobody can read."""

from __future__ import annotations

from bootwright.errors import NotModelledError


def refuse_v1() -> None:
    """Stop where ABS_DONE_0 is burned.

    Raises:
        NotModelledError: always.
    """
    raise NotModelledError("ABS_DONE_0 is burned: Secure Boot V1 is not modelled", "use Secure Boot V2")
