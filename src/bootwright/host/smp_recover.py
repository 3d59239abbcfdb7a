"""A whole recovery in one go: catch the device, upload, look, restart, watch it boot."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootwright.errors import WireError
from bootwright.finding import Finding, failed, passed, warned
from bootwright.host.smp import Session
from bootwright.host.smp_upload import Payload, Sent, send, warn_of_overwriting
from bootwright.smp import header as h
from bootwright.smp.client import Link, write
from bootwright.smp.errors import RefusedByDeviceError, SilenceError, SmpError
from bootwright.smp.messages import reset

if TYPE_CHECKING:
    from bootwright.smp.client import Talk

KNOCK_MS = 100  #: MCUboot's boot window is 500 ms by default (CONFIG_BOOT_SERIAL_WAIT_FOR_DFU_TIMEOUT)
REOPEN_S = 0.2
RESET_DELAY_S = 0.4  #: MCUboot restarts 250 ms after its answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """How a recovery went."""

    waited_s: float
    sent: Sent
    console: tuple[str, ...]  #: what the device printed after the restart
    findings: tuple[Finding, ...]


def catch(open_session: Callable[[], Session], *, wait_s: float, say: Callable[[str], object]) -> tuple[Session, float]:
    """Knock until MCUboot answers: it may be there already, or only for half a second after its next start.

    An application that answers instead and can is sent into its bootloader.

    Raises:
        WireError: nobody answered in time.
    """
    start = time.monotonic()
    last: WireError | None = None
    asked_application = False
    while (waited := time.monotonic() - start) < wait_s:
        try:
            session = open_session()
        except WireError as error:
            last = error
            time.sleep(REOPEN_S)
            continue
        try:
            while (waited := time.monotonic() - start) < wait_s:
                answer = session.drive(knock(session.link))
                if answer is None:
                    continue
                if answer:
                    return session, waited
                if not asked_application:
                    asked_application = True
                    say("an application answers; asking it to restart into the bootloader")
                    session.drive(into_bootloader(session.link))
        except WireError as error:  # the port went away, as USB ports do at a reset
            last = error
        session.close()
        time.sleep(REOPEN_S)
    if last is not None:
        raise last
    raise WireError(
        f"no bootloader answered within {wait_s:.0f} s",
        "hold the recovery pin and reset the device, or reset it while this command waits; check port and baud rate",
    )


def knock(link: Link) -> Talk[bool | None]:
    """Program: one question that MCUboot answers; true for MCUboot, false for an application, None for silence."""
    try:
        yield from write(link, h.OS, h.OS_CONSOLE_ECHO, {"echo": 0}, timeout_ms=KNOCK_MS, tries=1)
    except SilenceError:
        return None
    except RefusedByDeviceError:
        return False
    return True


def into_bootloader(link: Link) -> Talk[None]:
    """Program: ask an application to restart into the bootloader; one that cannot just restarts or says so."""
    try:
        yield from reset(link, boot_mode=1)
    except SmpError:
        return


def recover(
    session: Session,
    payload: Payload,
    *,
    image: int = 0,
    watch_s: float = 3.0,
    waited_s: float = 0.0,
    console: list[str],
    say: Callable[[str], object],
    progress: Callable[[int], object] | None = None,
) -> Recovered:
    """Upload to a device in recovery, of which is known how much it takes at a time; restart it, say what came of it.

    Raises:
        WireError: the upload did not get through.
    """
    recovery, warnings = warn_of_overwriting(session, image)
    for finding in warnings:
        say(finding.because)
    sent = send(session, payload, image=image, recovery=recovery, progress=progress)
    findings = [*warnings, *sent.findings]
    if all(finding.verdict.value != "fail" for finding in sent.findings):
        session.run(reset(session.link))
        console.clear()
        findings.append(watch(session, watch_s))
    return Recovered(waited_s=waited_s, sent=sent, console=tuple(console), findings=tuple(findings))


def watch(session: Session, watch_s: float) -> Finding:
    """What the device does after its restart: who answers, if anybody."""
    subject = "restart"
    try:
        session.listen(RESET_DELAY_S)
        end = time.monotonic() + watch_s
        while time.monotonic() < end:
            answer = session.drive(knock(session.link))
            if answer is False:
                return passed("smp.recover.booted", subject, "the application answers")
            if answer:
                return failed(
                    "smp.recover.still_there",
                    subject,
                    "the bootloader answers again: it boots nothing, or its recovery pin is still held",
                    "let go of the pin and reset; if it stays, read the bootloader's log",
                )
    except WireError as error:
        return warned("smp.recover.gone", subject, f"the port went away with the restart: {error.message}")
    return warned(
        "smp.recover.unseen",
        subject,
        f"the bootloader has left recovery, and nothing answered for {watch_s:.0f} s: the application speaks no SMP"
        " here, or the bootloader found nothing to boot",
        "look at the device's console",
    )
