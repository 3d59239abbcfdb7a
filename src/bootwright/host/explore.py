"""Exploring an update: every series of power cuts, what it leads to, and what helps against the bad ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial

from bootwright.boot.config import Mode
from bootwright.boot.header import IMAGE_MAGIC, parse_header
from bootwright.boot.liveness import wrongly_dropped
from bootwright.boot.outcome import Booted
from bootwright.boot.run import final
from bootwright.boot.run_probe import RunProbe
from bootwright.boot.runs import Kept, Runs
from bootwright.errors import BootwrightError
from bootwright.finding import Finding, warned
from bootwright.flash import SECTOR_SIZE, FlashOp
from bootwright.host.explore_check import (
    Before,
    Checker,
    Phase,
    Property,
    Root,
    Versions,
    Violation,
    authentic_digests,
    operations_of,
    versions_of,
)
from bootwright.host.explore_graph import Cuts, Limits
from bootwright.host.explore_jobs import REMEDIES_WORTH, in_processes
from bootwright.host.explore_scene import Action, Pending, Scene, image_in, with_layout
from bootwright.host.explore_story import Story, tell
from bootwright.host.explore_walks import walks
from bootwright.host.explore_wear import Wear, wear_of

RETRIES = 8  #: reduced explorations before the whole graph is explored
TORN_CLOSED_UP_TO = 64  #: sectors of the areas; above, one torn cut among any number of clean ones


class Reach(StrEnum):
    """How many power cuts are tried."""

    EXHAUSTIVE = "exhaustive"  #: any number
    SINGLE = "single"  #: one
    SAMPLE = "sample"  #: random series


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is explored, and how far."""

    scene: Scene
    reach: Reach = Reach.EXHAUSTIVE
    cuts: Cuts = Cuts.CLEAN
    seed: int = 0
    samples: int = 1000
    max_states: int = 100_000  #: of each phase; a limit that memory sets
    max_spoilt: int = 5_000  #: of each phase, found behind states that already violate a property
    max_astray: int = 5_000  #: of each phase, found behind states that boot well and lost the other image
    remedies: bool = True
    reduced: bool = True  #: join states that differ only in sectors about to be erased
    jobs: int = 1  #: processes, for single cuts under flash encryption, random series and the remedies
    progress: Callable[[str, int, int], None] | None = None


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The shortest way to a violated property, and what was tried against it."""

    violation: Violation
    states: int  #: states that violate the property in the same phase
    points: int  #: cuts of the boot without further cuts that violate it
    story: Story


@dataclass(frozen=True, slots=True)
class Remedy:
    """Another layout, explored in the same way."""

    name: str
    states: int
    violated: tuple[Property, ...]
    detail: str = ""


@dataclass(slots=True)
class Exploration:
    """Everything that came out."""

    question: Question
    checker: Checker
    phases: list[Phase]
    violations: list[Violation]
    bounds: tuple[str, ...]
    notes: tuple[Finding, ...]
    stray: FlashOp | None = None  #: an operation outside of the slots and scratch
    wear: Wear | None = None
    counterexamples: list[Counterexample] = field(default_factory=list)
    remedies: list[Remedy] = field(default_factory=list)

    @property
    def states(self) -> int:
        """Distinct flash contents, over all phases."""
        return sum(len(phase.closure.nodes) for phase in self.phases)

    @property
    def violated(self) -> tuple[Property, ...]:
        """The properties that do not hold, in the order of the report."""
        found = {violation.kind for violation in self.violations}
        return tuple(kind for kind in Property if kind in found)


def explore(question: Question) -> Exploration:
    """Follow an update through every power cut that the question allows.

    Raises:
        FormatError: the scene cannot be laid out.
    """
    result = _explore(question)
    result.counterexamples = list(_counterexamples(result))
    if result.violations and question.remedies:
        worth = result.states >= REMEDIES_WORTH
        result.remedies = list(_remedies(question, jobs=question.jobs if worth else 1))
    first = result.phases[0]
    result.wear = wear_of(question.scene.config, operations_of(first))
    return result


def _explore(question: Question) -> Exploration:
    """Explore the reduced graph; facts that were joined over wrongly are told apart the next time."""
    kept: dict[int, int] = {}
    probe = None
    for _ in range(RETRIES if question.reduced and not _exact(question) else 0):
        found = _explore_graph(question, reduced=True, kept=kept, probe=probe)
        probe = found.checker.runs.probe
        halves = question.cuts is not Cuts.BITS
        wrong = wrongly_dropped(found.checker.runs, _torn(found), found.checker.confirms, halves=halves)
        if not wrong:
            return _go_behind(found)
        del found
        for mark, facts in wrong.items():
            kept[mark] = kept.get(mark, 0) | facts
    return _go_behind(_explore_graph(question, reduced=False))


def _exact(question: Question) -> bool:
    """Whether boots are joined where equal only: the boots of swaps after single cuts under flash encryption have
    little else in common, and what a random series comes by must not depend on the series before it."""
    config = question.scene.config
    single = question.reach is Reach.SINGLE and config.flash_encryption_active and config.mode.swaps
    return single or question.reach is Reach.SAMPLE


def _go_behind(found: Exploration) -> Exploration:
    """Follow cuts of states in which a property is violated already; their boots are joined where equal only."""
    for phase in found.phases:
        phase.closure.runs.reduced = False
        for node in phase.closure.go_behind():
            found.checker.judge(phase, node)
    found.bounds += tuple(
        f"{phase.closure.left} states of the {phase.name} that violate a property were not followed further"
        for phase in found.phases
        if phase.closure.left
    )
    return found


def _torn(found: Exploration) -> dict[tuple[int, int], list[int]]:
    merged: dict[tuple[int, int], list[int]] = {}
    for phase in found.phases:
        for key, states in phase.closure.torn.items():
            merged.setdefault(key, []).extend(states)
    return merged


def _explore_graph(
    question: Question, *, reduced: bool, kept: Kept | None = None, probe: RunProbe | None = None
) -> Exploration:
    scene = question.scene
    flash = scene.flash()
    runs = Runs(scene.config, flash, reduced=reduced, kept=kept, probe=probe)
    limits, bounds = _limits(question)
    checker = Checker(scene.config, runs, limits, jobs=question.jobs)
    checker.authentic = authentic_digests(scene.config, flash)
    checker.old = _old_versions(scene.images)
    if Pending.SWAP in scene.pending:
        _look_behind_the_swap(scene, checker)
    checker.reverts = scene.action is Action.TEST and scene.config.mode.swaps
    notes: list[Finding] = []
    root = Root(runs.state())
    if scene.action is Action.REVERT:
        if not scene.ran_before:
            root = Root(final(runs.boot(root.state))[1], (("boot", None),))
        _follow(question, checker, notes, _reverts(checker, [root]))
    else:
        _follow(question, checker, notes, _updates(scene, checker, root))
    bounds += tuple(sentence for phase in checker.phases for sentence in _not_followed(phase, question))
    return Exploration(
        question, checker, checker.phases, checker.violations, bounds, tuple(notes), stray=checker.leaves_its_areas()
    )


def _not_followed(phase: Phase, question: Question) -> Iterator[str]:
    """What of a phase was found and not gone through."""
    closure = phase.closure
    if closure.stopped:
        left = f", {closure.given_up} more were found and left" if closure.given_up else ""
        yield (
            f"the {phase.name} stopped at its limit of {question.max_states} states: {len(closure.nodes)} were booted"
            f"{left}; what lies behind the last of them was not seen"
        )
    if closure.left_astray:
        yield (
            f"{closure.left_astray} states of the {phase.name} that boot well but lost the other image on the way were "
            "not followed further"
        )


def _limits(question: Question) -> tuple[Limits, tuple[str, ...]]:
    """The bounds of the graph, and the sentences that say so."""
    sectors = sum(area.size // SECTOR_SIZE for area in question.scene.config.areas)
    bounds: list[str] = []
    level = {Reach.EXHAUSTIVE: None, Reach.SINGLE: 1, Reach.SAMPLE: 0}[question.reach]
    torn: int | None = None
    if level == 1:
        bounds.append("one power cut in each part of the update")
    if question.reach is Reach.SAMPLE:
        bounds.append(f"{question.samples} random series of up to 8 cuts, seed {question.seed}")
    elif question.cuts is Cuts.TORN and sectors > TORN_CLOSED_UP_TO and level is None:
        torn = 1
        bounds.append(f"at most one torn cut among any number of clean ones ({sectors} sectors)")
    elif question.cuts is Cuts.BITS:
        torn = 1
        bounds.append(f"at most one partial operation, two draws of each, seed {question.seed}")
    return Limits(
        cuts=question.cuts,
        max_level=level,
        max_torn=torn,
        max_states=question.max_states,
        max_spoilt=question.max_spoilt,
        max_astray=question.max_astray,
        seed=question.seed,
    ), tuple(bounds)


Plan = Iterator[tuple[str, Before, list[Root], Property, frozenset[Versions | None]]]


def _updates(scene: Scene, checker: Checker, root: Root) -> Plan:
    """The parts of an update's life; each is planned from the ends of the one before."""
    nothing: frozenset[Versions | None] = frozenset()
    yield "update", Before.REQUEST, [root], Property.NOT_LOST, nothing
    ends = list(checker.phases[-1].ends.values())
    if not ends:
        return
    if scene.action is Action.PERMANENT or not scene.config.mode.swaps:
        yield "next boots", Before.RESET, ends, Property.STAYS, nothing
        return
    yield "confirmed", Before.CONFIRM, checker.confirmed(ends), Property.STAYS, nothing
    half = checker.half_confirmed(ends[:1])
    if half:
        both: frozenset[Versions | None] = checker.phases[0].expected | {checker.old}
        yield "half confirmed", Before.CONFIRM, half, Property.STAYS, both
    yield from _reverts(checker, ends)


def _reverts(checker: Checker, roots: list[Root]) -> Plan:
    nothing: frozenset[Versions | None] = frozenset()
    yield "revert", Before.RESET, roots, Property.REVERTS, nothing
    ends = list(checker.phases[-1].ends.values())
    if ends:
        yield "after the revert", Before.RESET, ends, Property.STAYS, nothing


def _follow(question: Question, checker: Checker, notes: list[Finding], plan: Plan) -> None:
    for name, before, roots, wrong, also in plan:
        if question.progress is not None:
            checker.progress = partial(question.progress, name)
        phase = checker.phase(name, before, roots, wrong, also=also)
        if question.reach is Reach.SAMPLE:
            _sample(question, checker, phase)
        notes += _notes(question.scene, checker, phase)


def _sample(question: Question, checker: Checker, phase: Phase) -> None:
    """Random series of cuts; every state on the way is a node to judge."""
    first = question.seed * 1_000_003
    seeds = range(first, first + question.samples)
    for node in walks(checker.runs, phase.roots[0].state, seeds=seeds, cuts=question.cuts, jobs=question.jobs):
        if node.state.fingerprint not in phase.closure.nodes:
            phase.closure.nodes[node.state.fingerprint] = node
            checker.judge(phase, node)


def _notes(scene: Scene, checker: Checker, phase: Phase) -> Iterator[Finding]:
    """What is no violation and worth knowing."""
    outcome, _ = final(phase.baseline)
    running = versions_of(outcome)
    if phase.name == "update" and running is not None and running == checker.old:
        because = f"without any power cut {' and '.join(running)} stays: the bootloader refuses or ignores the update"
        yield warned("explore.update.refused", "update", because, "look at the log of `bootwright trace record`")
    if phase.name == "update" and not scene.config.mode.swaps and scene.action is Action.TEST:
        yield warned("explore.overwrite.no_revert", "update", "overwrite-only has no revert: a test image stays")
    if phase.name == "revert" and isinstance(outcome, Booted) and running != checker.old:
        because = "without any power cut nothing reverts: there was no valid image before, or a dependency holds it"
        yield warned("explore.revert.none", "revert", because, "confirm the image, or keep a valid image to return to")


def _old_versions(images: Sequence[tuple[bytes, bytes]]) -> Versions | None:
    headers = [parse_header(primary) if primary else None for primary, _ in images]
    versions = tuple(header.version for header in headers if header is not None and header.magic == IMAGE_MAGIC)
    return versions if len(versions) == len(images) else None


def _look_behind_the_swap(scene: Scene, checker: Checker) -> None:
    """In a dump with a swap under way the images lie in pieces: which they are shows when it went to its end."""
    runs = checker.runs
    root = runs.state()
    runs.enter(final(runs.boot(root))[1])
    checker.authentic |= authentic_digests(scene.config, runs.flash)
    areas = [pair.secondary for pair in scene.config.images]
    swapped = [image_in(runs.flash.read(area.address, area.size)) for area in areas]
    checker.old = _old_versions(
        [
            (image, b"") if pending is Pending.SWAP else held
            for image, held, pending in zip(swapped, scene.images, scene.pending, strict=True)
        ]
    )
    runs.enter(root)


def _counterexamples(result: Exploration) -> Iterator[Counterexample]:
    """The shortest way to each violated property."""
    scene = result.question.scene
    for kind in result.violated:
        ways = [violation for violation in result.violations if violation.kind is kind]
        shortest = min(ways, key=_length)
        same = {id(v.node) for v in ways if v.phase is shortest.phase}
        points = sum(id(node) in same for _, node in shortest.phase.closure.points)
        story = tell(scene.config, scene.flash(), shortest.way, name=f"counter-example-{kind.value}")
        yield Counterexample(shortest, len(same), points, story)


def _length(violation: Violation) -> tuple[int, int]:
    cuts = [cut for _, cut in violation.way if cut is not None]
    return len(cuts), sum(cut.after for cut in cuts)


def _remedies(question: Question, *, jobs: int) -> Iterator[Remedy]:
    """Other layouts for the same images, explored like the first one."""
    quiet = replace(question, remedies=False, progress=None, jobs=1)
    tasks = [partial(_try, name, replace(quiet, scene=scene)) for name, scene in candidates(question.scene)]
    return in_processes(tasks, jobs)


def _try(name: str, question: Question) -> Remedy:
    """Explore one layout."""
    try:
        found = _explore(question)
    except BootwrightError as error:
        return Remedy(name, 0, (), f"cannot be laid out: {error.message}")
    refused = any(note.code == "explore.update.refused" for note in found.notes)
    return Remedy(name, found.states, found.violated, "the update is refused" if refused else "")


def candidates(scene: Scene) -> Iterator[tuple[str, Scene]]:
    """Layouts to try: another strategy, another scratch size, larger slots."""
    config = scene.config
    scratch = config.scratch.size if config.scratch is not None else 8 * SECTOR_SIZE
    names = {Mode.SCRATCH: "swap-scratch", Mode.MOVE: "swap-move", Mode.OVERWRITE: "overwrite-only"}
    if config.mode is Mode.SCRATCH:
        for size in (scratch * 2, max(scratch // 2 // SECTOR_SIZE, 1) * SECTOR_SIZE):
            if size != scratch:
                many = size // SECTOR_SIZE
                name = f"swap-scratch with {many} scratch sector{'' if many == 1 else 's'}"
                yield name, _laid(scene, config.mode, size)
    if config.mode.swaps:
        larger = 4 * SECTOR_SIZE
        name = f"{names.get(config.mode, config.mode.value)} with slots larger by {larger // SECTOR_SIZE} sectors"
        yield name, with_layout(scene, mode=config.mode, scratch_size=scratch, extra=larger)
    for mode, name in names.items():
        if mode is not config.mode:
            yield name, _laid(scene, mode, scratch)


def _laid(scene: Scene, mode: Mode, scratch: int) -> Scene:
    return with_layout(scene, mode=mode, scratch_size=scratch)
