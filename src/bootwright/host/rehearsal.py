"""What a rehearsal leaves: its steps, and the state of the chip before and after; values only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

from bootwright.finding import Finding, Verdict, overall


class Kind(StrEnum):
    """What a step is for: it must work, or it must fail."""

    CHAIN = "chain"
    ATTACK = "attack"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the chip during a step, for the timeline."""

    lane: str  #: `boot`, `efuse`, `flash` or `power`
    what: str
    amount: int = 1  #: how many of it: operations, bits
    bad: bool = False  #: a boot that was refused, power that was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was done, and how it came out."""

    id: str
    title: str
    kind: Kind
    findings: tuple[Finding, ...]
    story: tuple[str, ...] = ()  #: what happened, in order, a sentence each
    console: tuple[str, ...] = ()  #: what the chip printed
    events: tuple[Event, ...] = ()
    seconds: float = 0.0
    played: bool = True  #: False: a step that this one builds on had failed

    @property
    def verdict(self) -> Verdict:
        """Pass when the step ended as it must: a legitimate one well, an attack in a refusal."""
        return overall(self.findings)

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "id": self.id,
            "title": self.title,
            "verdict": self.verdict.value,
            "findings": [finding.as_dict() for finding in self.findings],
            "story": list(self.story),
        }


class Content(StrEnum):
    """What the bytes of a sector are."""

    ERASED = "erased"
    PLAIN = "plaintext"
    CIPHER = "ciphertext"
    CIPHER_ERASED = "ciphertext of erased flash"


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring sectors with the same kind of content."""

    address: int
    size: int
    content: Content


@dataclass(frozen=True, slots=True)
class FlashPicture:
    """The flash at one moment."""

    title: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class FuseChange:
    """One eFuse field that changed; nothing makes a burned bit 0 again."""

    name: str
    block: str
    bit: int
    width: int
    before: str
    after: str
    meaning: str
    reversible: bool = False
    way_back: str = ""  #: how what the field does can be undone although its bits cannot; empty where it cannot

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain of trust: what is held, by whom it is checked, and what the check saw."""

    title: str
    holder: str  #: where it lies
    value: str  #: a short public fingerprint
    checker: str  #: who checks it
    checks: tuple[str, ...]  #: what was checked, a phrase each


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A whole rehearsal, ready to be shown."""

    name: str
    chip: str
    mode: str
    key_type: str
    fe_key: str
    regions: tuple[tuple[str, int, int], ...]  #: (name, address, size) of the layout
    flash_size: int
    steps: tuple[Step, ...]
    notes: tuple[Finding, ...]  #: about the rehearsal as a whole: what is a model, what was assumed
    before: FlashPicture
    after: FlashPicture
    fuses: tuple[FuseChange, ...]
    chain: tuple[Link, ...]
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """Pass when every legitimate step succeeded and every attack failed."""
        return overall(finding for step in self.steps for finding in step.findings)

    @property
    def burned_bits(self) -> int:
        """eFuse bits that the first boot made permanent."""
        return sum(event.amount for step in self.steps for event in step.events if event.lane == "efuse")
