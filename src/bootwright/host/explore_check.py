"""What must hold in every state that power cuts can reach, and what to say where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bootwright.boot.config import BootConfig, Mode
from bootwright.boot.header import HEADER_SIZE, IMAGE_MAGIC, parse_header
from bootwright.boot.loader import set_confirmed
from bootwright.boot.outcome import Booted, BootOutcome, NoImage, Panic
from bootwright.boot.runs import Run, Runs, State, final, operations
from bootwright.boot.sectors import Sectors
from bootwright.finding import Verdict, overall
from bootwright.flash import Erase, FlashOp
from bootwright.formats.keys import PublicKey
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_verify import verify_image
from bootwright.host.explore_graph import Closure, Cut, Cuts, Limits, Node, Progress


class Property(StrEnum):
    """The properties, in the order of the report."""

    BOOTS = "boots"
    TERMINATES = "terminates"
    AUTHENTIC = "authentic"
    NOT_LOST = "not_lost"
    REVERTS = "reverts"
    STAYS = "stays"
    NO_DOWNGRADE = "no_downgrade"
    RECOVERY = "recovery"


#: what each property says
SENTENCES: Mapping[Property, str] = {
    Property.BOOTS: "the device always boots",
    Property.TERMINATES: "every boot comes to an end",
    Property.AUTHENTIC: "only an authentic image runs",
    Property.NOT_LOST: "an update is never lost silently",
    Property.REVERTS: "an unconfirmed image reverts",
    Property.STAYS: "a confirmed image stays",
    Property.NO_DOWNGRADE: "no lower version takes over",
    Property.RECOVERY: "serial recovery stays reachable",
}

Versions = tuple[str, ...]


class Before(StrEnum):
    """What leads to the states that a phase begins with, from those that the phase before ends with."""

    REQUEST = "the update was requested"
    RESET = "the chip was reset"
    CONFIRM = "the application confirmed the image"


class Root(NamedTuple):
    """A state that a phase begins with, and the cuts on the way to it."""

    state: State
    way: tuple[tuple[str, Cut | None], ...] = ()  #: ("boot" or "confirm", where it was cut) in order

    @property
    def cuts(self) -> int:
        """Power cuts on the way."""
        return sum(cut is not None for _, cut in self.way)


@dataclass(slots=True)
class Phase:
    """One part of an update's life, closed under power cuts."""

    name: str
    before: Before
    roots: list[Root]
    wrong: Property  #: what another outcome than the one without cuts violates
    closure: Closure
    expected: frozenset[Versions | None] = frozenset()  #: what may run
    ends: dict[int, Root] = field(default_factory=dict)  #: states that a good boot ended in

    @property
    def baseline(self) -> Run:
        """The boot without a cut."""
        return self.closure.runs.boot(self.roots[0].state)


@dataclass(frozen=True, slots=True)
class Violation:
    """A state in which a property does not hold."""

    kind: Property
    phase: Phase
    node: Node
    because: str
    runs: Versions | None  #: what boots there, None for nothing

    @property
    def way(self) -> tuple[tuple[str, Cut | None], ...]:
        """Every boot from the beginning, the last one without a cut."""
        root = self.phase.roots[self.node.root]
        return (*root.way, *(("boot", cut) for cut in self.node.way()), ("boot", None))


@dataclass(slots=True)
class Checker:
    """Follows an update through its phases and judges every state."""

    config: BootConfig
    runs: Runs
    limits: Limits
    progress: Progress | None = None
    phases: list[Phase] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    authentic: set[bytes] = field(default_factory=set)  #: digests of the images that may run
    old: Versions | None = None  #: what ran before the update, None without a valid image

    def phase(
        self,
        name: str,
        before: Before,
        roots: list[Root],
        wrong: Property,
        *,
        also: frozenset[Versions | None] = frozenset(),
    ) -> Phase:
        """Close one phase and judge its states: what runs without a cut is right, and what `also` says."""
        closure = Closure(self.runs, self.limits)
        phase = Phase(name, before, roots, wrong, closure)
        self.phases.append(phase)
        outcome, _ = final(self.runs.boot(roots[0].state))
        phase.expected = also | {versions_of(outcome)}
        closure.good = lambda found: versions_of(found) in phase.expected
        closure.close(((root.state, root.cuts) for root in roots), self.progress)
        for node in closure.nodes.values():
            self.judge(phase, node)
        return phase

    def leaves_its_areas(self) -> FlashOp | None:
        """An operation outside of the slots and scratch, where the bootloader and with it serial recovery live."""
        areas = self.config.areas
        for run in self.runs.runs:
            for op in run.ops:
                end = op.address + (op.length if isinstance(op, Erase) else len(op.data))
                if not any(area.address <= op.address and end <= area.end for area in areas):
                    return op
        return None

    def confirmed(self, roots: list[Root]) -> list[Root]:
        """The states after the application confirmed, in each of `roots`."""
        found = []
        for root in roots:
            self.runs.enter(root.state)
            for op in _confirming(self.runs, self.config):
                self.runs.flash.apply(op)
            found.append(Root(self.runs.state(), (*root.way, ("confirm", None))))
        return found

    def half_confirmed(self, roots: list[Root]) -> list[Root]:
        """The states in which power was lost while the application confirmed."""
        found = []
        for root in roots:
            self.runs.enter(root.state)
            for number, op in enumerate(_confirming(self.runs, self.config)):
                if number:
                    found.append(Root(self.runs.state(), (*root.way, ("confirm", Cut(number, Cuts.CLEAN)))))
                if self.limits.cuts is not Cuts.CLEAN:
                    whole = self.runs.state()
                    self.runs.flash.apply_torn(op)
                    found.append(Root(self.runs.state(), (*root.way, ("confirm", Cut(number, Cuts.TORN)))))
                    self.runs.enter(whole)
                self.runs.flash.apply(op)
        return found

    def judge(self, phase: Phase, node: Node) -> None:
        """Boot a state without a further cut and compare."""
        outcome, end = phase.closure.outcome(node)
        if isinstance(outcome, Booted):
            self._judge_running(phase, node, outcome, end)
            return
        ends = outcome.why[0] if isinstance(outcome, NoImage | Panic) and outcome.why else None
        endless = ends is not None and ("endless" in ends.code or "endless" in ends.because)
        kind = Property.TERMINATES if endless else Property.BOOTS
        because = "nothing boots" if ends is None else ends.because
        self.violations.append(Violation(kind, phase, node, because, None))

    def _judge_running(self, phase: Phase, node: Node, outcome: Booted, end: State) -> None:
        running = versions_of(outcome)
        self.runs.enter(end)
        if not self._all_authentic():
            because = f"{' and '.join(running or ())} runs and is none of the authentic images"
            self.violations.append(Violation(Property.AUTHENTIC, phase, node, because, running))
        if self._takes_over_downwards(phase, running):
            because = f"{_text(running)} runs after {_text(self.old)}"
            self.violations.append(Violation(Property.NO_DOWNGRADE, phase, node, because, running))
        if running in phase.expected:
            phase.ends.setdefault(end.fingerprint, self._end(phase, node, end))
            return
        later = "; a later boot makes up for it" if self._comes_later(phase, end) else ""
        because = f"{_text(running)} runs, expected {' or '.join(sorted(map(_text, phase.expected)))}{later}"
        self.violations.append(Violation(phase.wrong, phase, node, because, running))

    def _end(self, phase: Phase, node: Node, end: State) -> Root:
        root = phase.roots[node.root]
        return Root(end, (*root.way, *(("boot", cut) for cut in node.way()), ("boot", None)))

    def _comes_later(self, phase: Phase, state: State) -> bool:
        """Whether one of the next two boots does what was asked."""
        for _ in range(2):
            outcome, state = final(self.runs.boot(state))
            if versions_of(outcome) in phase.expected:
                return True
        return False

    def _takes_over_downwards(self, phase: Phase, running: Versions | None) -> bool:
        """Under downgrade prevention by version, an update never runs something older; a revert may."""
        config = self.config
        if not config.downgrade_prevention or config.security_counter or phase.before is not Before.REQUEST:
            return False
        return running is not None and self.old is not None and is_lower(running, self.old)

    def _all_authentic(self) -> bool:
        flash = self.runs.flash
        return all(_digest(flash, slots.primary.address) in self.authentic for slots in self.config.images)


def _confirming(runs: Runs, config: BootConfig) -> Iterator[FlashOp]:
    for image in range(len(config.images)):
        yield from set_confirmed(runs.flash, config, image=image)


def _digest(flash: Sectors, address: int) -> bytes:
    """SHA-256 over what the image at an address signs."""
    header = parse_header(flash.read(address, HEADER_SIZE))
    size = header.hdr_size + header.img_size + header.protect_tlv_size
    if header.magic != IMAGE_MAGIC or address + size > flash.size:
        return b""
    return flash.sha256(address, size)


def authentic_digests(config: BootConfig, flash: Sectors) -> set[bytes]:
    """The digests of the images in the slots that a verifier other than the model accepts under the build's keys."""
    import hashlib

    keys = tuple(PublicKey.from_der(key) for key in config.keys)
    up = config.sector_size if config.mode is Mode.OFFSET else 0
    places = [
        place for pair in config.images for place in ((pair.primary, 0), (pair.secondary, 0), (pair.secondary, up))
    ]
    digests = set()
    for area, offset in places:
        data = flash.read(area.address + offset, area.size - offset)
        header = parse_header(data)
        signed = header.hdr_size + header.img_size + header.protect_tlv_size
        if header.magic == IMAGE_MAGIC and overall(verify_image(data, keys)) is not Verdict.FAIL:
            digests.add(hashlib.sha256(data[:signed]).digest())
    return digests


def versions_of(outcome: BootOutcome) -> Versions | None:
    """The versions of all images that run, None when nothing does."""
    if not isinstance(outcome, Booted):
        return None
    return (outcome.version, *(version for _, version in outcome.others))


def is_lower(first: Versions, second: Versions) -> bool:
    """Whether any image of `first` is older than in `second`; build numbers do not count."""
    pairs = zip(first, second, strict=True)
    return any(ImageVersion.from_text(a).precedes(ImageVersion.from_text(b)) for a, b in pairs)


def _text(versions: Versions | None) -> str:
    return "nothing" if versions is None else " and ".join(versions)


def operations_of(phase: Phase) -> list[FlashOp]:
    """The operations of a phase's boot without a cut."""
    return operations(phase.baseline)
