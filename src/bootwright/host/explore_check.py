"""What must hold in every state that power cuts can reach, and what to say where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bootwright.boot.config import BootConfig, Mode
from bootwright.boot.header import HEADER_SIZE, IMAGE_MAGIC, parse_header
from bootwright.boot.layout import SECONDARY, layout_of
from bootwright.boot.loader import set_confirmed
from bootwright.boot.outcome import Booted, BootOutcome, NoImage, Panic
from bootwright.boot.run import Run, State, Way, final, operations
from bootwright.boot.runs import Runs
from bootwright.boot.sectors import Sectors
from bootwright.errors import FormatError
from bootwright.finding import Verdict, overall
from bootwright.flash import Area, FlashOp
from bootwright.formats.keys import PublicKey
from bootwright.formats.mcuboot_image import Image, ImageVersion, TlvType
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
    Property.NO_DOWNGRADE: "nothing older takes over",
    Property.RECOVERY: "serial recovery stays reachable",
}

Versions = tuple[str, ...]
Counters = tuple[int | None, ...]  #: security counter of each image, None where it has none


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
    jobs: int = 1
    reverts: bool = False  #: whether an image that was swapped away has to come back
    phases: list[Phase] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    authentic: set[bytes] = field(default_factory=set)  #: digests of the images that may run
    old: Versions | None = None  #: what ran before the update, None without a valid image
    confirms: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  #: as `boot.liveness.Ends`
    old_counters: Counters = ()  #: of the images that lay in the primary slots when the update was requested
    _counters: dict[bytes, int | None] = field(default_factory=dict)  #: security counters by digest of the image

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
        closure = Closure(self.runs, self.limits, jobs=self.jobs)
        phase = Phase(name, before, roots, wrong, closure)
        self.phases.append(phase)
        if before is Before.REQUEST and by_counter(self.config):
            self.runs.enter(roots[0].state)
            self.old_counters = self._running_counters()
        outcome, _ = final(self.runs.boot(roots[0].state))
        phase.expected = also | {versions_of(outcome)}
        closure.judge = self._ways(phase, roots[0])
        closure.close(((root.state, root.cuts) for root in roots), self.progress)
        for node in closure.nodes.values():
            self.judge(phase, node)
        return phase

    def _ways(self, phase: Phase, root: Root) -> Callable[[BootOutcome, State], Way]:
        """Which states of a phase are followed first: those after which the other slot holds the image it should."""
        _, end = final(self.runs.boot(root.state))
        spares = self.config.mode.swaps and self._spare_images(end)
        self.runs.spare = self._spare_sectors() if spares else 0
        lost = Way.BAD if self.reverts and phase.before is Before.REQUEST else Way.ASTRAY

        def way(outcome: BootOutcome, end: State) -> Way:
            if versions_of(outcome) not in phase.expected:
                return Way.BAD
            return Way.RIGHT if not spares or self._spare_images(end) else lost

        return way

    def _spare_images(self, state: State) -> bool:
        """Whether the secondary slots hold authentic images."""
        self.runs.enter(state)
        places = [slots.secondary.address for slots in self.config.images]
        up = (0, self.config.sector_size) if self.config.mode is Mode.OFFSET else (0,)  # a revert puts it one sector up
        return all(any(_digest(self.runs.flash, place + at) in self.authentic for at in up) for place in places)

    def _spare_sectors(self) -> int:
        layout, size = layout_of(self.config), self.config.sector_size
        mask = 0
        for image, (_, place) in enumerate(layout.slots):
            first = place.area.address // size
            mask |= (1 << first + layout.first_trailer_sector(image, SECONDARY)) - (1 << first)
        return mask

    def leaves_its_areas(self) -> FlashOp | None:
        """An operation outside of the slots and scratch, of the first boot that has one."""
        return next((op for run in self.runs.runs if (op := self.runs.stray_of(run)) is not None), None)

    def confirmed(self, roots: list[Root]) -> list[Root]:
        """The states after the application confirmed, in each of `roots`."""
        found: list[Root] = []
        for root in roots:
            self._confirm_from(root)
            for op in _confirming(self.runs, self.config):
                self.runs.flash.apply(op)
            found.append(Root(self.runs.state(), (*root.way, ("confirm", None))))
            self._note_confirmed(root, found[-1:])
        return found

    def _confirm_from(self, root: Root) -> None:
        self.runs.enter(root.state)
        self.runs.flash.seen = 0

    def _note_confirmed(self, root: Root, after: list[Root]) -> None:
        """What the application looked at or changed: no less will do for a state that stands for another."""
        looked, pairs = self.runs.flash.seen, self.confirms.setdefault(root.state.fingerprint, [])
        for sector in range(self.runs.flash.size // self.runs.flash.sector_size):
            if any(root.state.number(sector) != one.state.number(sector) for one in after):
                looked |= 1 << sector
        pairs += [(one.state.fingerprint, looked) for one in after]

    def half_confirmed(self, roots: list[Root]) -> list[Root]:
        """The states in which power was lost while the application confirmed."""
        found: list[Root] = []
        for root in roots:
            self._confirm_from(root)
            before = len(found)
            for number, op in enumerate(_confirming(self.runs, self.config)):
                if number:
                    found.append(Root(self.runs.state(), (*root.way, ("confirm", Cut(number, Cuts.CLEAN)))))
                if self.limits.cuts is not Cuts.CLEAN:
                    whole = self.runs.state()
                    self.runs.flash.apply_torn(op)
                    found.append(Root(self.runs.state(), (*root.way, ("confirm", Cut(number, Cuts.TORN)))))
                    self.runs.enter(whole)
                self.runs.flash.apply(op)
            self._note_confirmed(root, found[before:])
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
        because = self._step_down(phase, running)
        if because:
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

    def _step_down(self, phase: Phase, running: Versions | None) -> str:
        """What makes the update a step back that downgrade prevention rules out, or nothing; a revert may be one."""
        if not self.config.downgrade_prevention or phase.before is not Before.REQUEST:
            return ""
        if running is None or self.old is None:
            return ""
        if not by_counter(self.config):
            return f"{_text(running)} runs after {_text(self.old)}" if is_lower(running, self.old) else ""
        now = self._running_counters()
        if not is_lower_counter(now, self.old_counters):
            return ""
        was = f"{_text(self.old)} with security counter {_counter_text(self.old_counters)}"
        return f"{_text(running)} with security counter {_counter_text(now)} runs after {was}"

    def _running_counters(self) -> Counters:
        """The security counters of the images in the primary slots of the flash as it was entered last."""
        return tuple(self._counter(slots.primary) for slots in self.config.images)

    def _counter(self, area: Area) -> int | None:
        flash = self.runs.flash
        digest = _digest(flash, area.address)
        if digest not in self._counters:
            self._counters[digest] = security_counter_in(flash.read(area.address, area.size))
        return self._counters[digest]

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


def by_counter(config: BootConfig) -> bool:
    """Whether the build compares security counters instead of versions; overwrite ignores the counters."""
    return config.security_counter and config.mode.swaps


def is_lower_counter(first: Counters, second: Counters) -> bool:
    """Whether any image of `first` is behind `second`: it has no counter where there was one, or a lower one."""
    pairs = zip(first, second, strict=True)
    return any(was is not None and (now is None or now < was) for now, was in pairs)


def security_counter_in(slot: bytes) -> int | None:
    """The first security counter among the protected TLVs, as MCUboot looks for it; None where there is none."""
    try:
        image = Image.parse(slot)
    except FormatError:
        return None
    data = next((tlv.data for tlv in image.protected or () if tlv.type == TlvType.SEC_CNT), b"")
    return int.from_bytes(data, "little") if len(data) == 4 else None


def _counter_text(counters: Counters) -> str:
    return " and ".join("none" if counter is None else str(counter) for counter in counters)


def _text(versions: Versions | None) -> str:
    return "nothing" if versions is None else " and ".join(versions)


def operations_of(phase: Phase) -> list[FlashOp]:
    """The operations of a phase's boot without a cut."""
    return operations(phase.baseline)
