"""Asking a device what an `mcumgr` command line wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from bootwright.cli.dropin.mcumgr_line import Line
from bootwright.errors import FormatError, RefusedError

if TYPE_CHECKING:
    from bootwright.host.smp import Session
    from bootwright.smp.client import Talk

T = TypeVar("T")


class Caller:
    """Asks a device, with the timeout and tries of the command line; prints a refusal as the original does."""

    def __init__(self, line: Line, session: Session) -> None:
        self._session = session
        self._timeout_ms = int(line.number("timeout", 10) * 1000)
        self._tries = max(int(line.number("tries", 1)), 1)

    @property
    def session(self) -> Session:
        """The session under it."""
        return self._session

    def ask(
        self, op: int, group: int, command: int, body: dict[str, object] | None = None, *, refusal: str = "Error"
    ) -> dict[str, Any] | None:
        """The answer, None after a refusal."""
        answer, code = self.answer(op, group, command, body)
        if code:
            click.echo(f"{refusal}: {code}")
            return None
        return answer

    def code(self, op: int, group: int, command: int) -> int:
        """The code in the answer."""
        return self.answer(op, group, command)[1]

    def answer(
        self, op: int, group: int, command: int, body: dict[str, object] | None = None
    ) -> tuple[dict[str, Any], int]:
        """The answer and its code; nothing besides a code after a refusal.

        Raises:
            RefusedError: the device is silent.
            WireError: it talks nonsense.
        """
        request = self._session.link.request(op, group, command, body, timeout_ms=self._timeout_ms, tries=self._tries)
        return self.run(request, {})

    def run(self, program: Talk[T], refused: T) -> tuple[T, int]:
        """Run a program; what it returns, or `refused` with the device's code."""
        from bootwright.host.smp import translated
        from bootwright.smp.errors import RefusedByDeviceError, SilenceError, SmpError

        try:
            return self._session.drive(program), 0
        except RefusedByDeviceError as error:
            return refused, error.rc
        except SilenceError as error:
            raise RefusedError("NMP timeout", error.hint) from None
        except SmpError as error:
            raise translated(error, self._session.transport.address) from None


def open_session(line: Line) -> Session:
    """The connection that the flags and the profile name.

    Raises:
        FormatError: no such profile, or a connection string that is none.
        RefusedError: a kind of connection that only the original offers.
        WireError: it cannot be opened.
    """
    from bootwright.host.mcumgr_profiles import Profile, Profiles
    from bootwright.host.smp import Session
    from bootwright.smp.header import V1

    name = line.flags.get("conn", "")
    known = Profiles().all().get(name)
    if known is None and (name or not line.flags.get("conntype")):
        raise FormatError(
            f'connection profile "{name}" doesn\'t exist' if name else "No connection type specified",
            "`conn add` makes a profile, -c names it; or give --conntype and --connstring",
        )
    kind = line.flags.get("conntype") or (known.kind if known else "")
    string = line.flags.get("connstring") or (known.string if known else "")
    extra = line.flags.get("connextra", "")
    address, baud = Profile(name, kind, f"{string},{extra}" if extra else string).address()
    return Session.open(address, baud=baud or 115200, version=V1)
