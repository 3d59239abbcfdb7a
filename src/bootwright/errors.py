"""The ways in which a request can fail, by whose fault it is.

Each error carries one sentence (found, expected, where) and a hint (what to do); `exit_code` is what the command
line ends with. Errors are for callers; what people read as an answer is a `bootwright.finding.Finding`.
"""

from typing import ClassVar


class BootwrightError(Exception):
    """Base of everything that Bootwright raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class FormatError(BootwrightError):
    """The bytes lack the shape of their format: the file's fault."""

    exit_code = 3


class TrustError(BootwrightError):
    """Well formed, but must not be accepted: the signer's fault."""

    exit_code = 4


class SiliconError(BootwrightError):
    """The chip forbids it: physics."""

    exit_code = 5


class WireError(BootwrightError):
    """Timeout, checksum or a refused answer: the line's fault."""

    exit_code = 6


class RefusedError(BootwrightError):
    """We decline: irreversible, unconfirmed, or it would break the device."""

    exit_code = 7


class NotModelledError(RefusedError):
    """The model does not cover this; it stops instead of guessing."""
