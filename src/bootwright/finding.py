"""Findings: every "why" is a value that people, reports and scripts read alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What a finding says; a command's own verdict is never `WARN`."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    WARN = "warn"  #: deserves attention, does not change the answer
    FAIL = "fail"
    NOT_MODELLED = "not_modelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One answer to "why": what was looked at, how it came out, because of what, and what to do next."""

    code: str  #: stable, dotted, for scripts: `image.hash.mismatch`
    subject: str  #: what was looked at: a file, a slot, an eFuse field
    verdict: Verdict
    because: str  #: one sentence: found, expected, where
    next: str = ""  #: what to do; empty when there is nothing to do

    def as_dict(self) -> dict[str, str]:
        """The JSON form, the same everywhere."""
        return {
            "code": self.code,
            "subject": self.subject,
            "verdict": self.verdict.value,
            "because": self.because,
            "next": self.next,
        }


def passed(code: str, subject: str, because: str) -> Finding:
    """A finding that says yes."""
    return Finding(code=code, subject=subject, verdict=Verdict.PASS, because=because)


def warned(code: str, subject: str, because: str, next: str = "") -> Finding:  # noqa: A002 - the field's name
    """A finding that deserves attention and does not change the answer."""
    return Finding(code=code, subject=subject, verdict=Verdict.WARN, because=because, next=next)


def failed(code: str, subject: str, because: str, next: str = "") -> Finding:  # noqa: A002 - the field's name
    """A finding that says no."""
    return Finding(code=code, subject=subject, verdict=Verdict.FAIL, because=because, next=next)


def overall(findings: Iterable[Finding]) -> Verdict:
    """The verdict over many findings: one failure fails, else one gap in the model says so, else pass."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    if Verdict.NOT_MODELLED in verdicts:
        return Verdict.NOT_MODELLED
    return Verdict.PASS


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command says: its findings, and whatever else it shows."""

    command: str
    findings: tuple[Finding, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)  #: further keys of the JSON object, JSON-ready

    @property
    def verdict(self) -> Verdict:
        """The verdict over all findings."""
        return overall(self.findings)

    def as_dict(self) -> dict[str, object]:
        """The JSON object that every command prints under `--json`."""
        return {
            "schema": 1,
            "command": self.command,
            "verdict": self.verdict.value,
            "findings": [finding.as_dict() for finding in self.findings],
            **self.details,
        }
