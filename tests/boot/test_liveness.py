from collections.abc import Hashable
from dataclasses import replace

import pytest
from tests.support.scenes import scene

from bootwright.boot.config import ImageSlots, Mode
from bootwright.boot.layout import SECONDARY, layout_of
from bootwright.boot.liveness import joins_hold
from bootwright.boot.loader import boot_go
from bootwright.boot.probe import Part, Unwatched
from bootwright.boot.run_probe import Flow, RunProbe
from bootwright.boot.runs import Runs
from bootwright.boot.sectors import Sectors, stand_in_cipher
from bootwright.flash import Area, drive
from bootwright.host.explore import Exploration, Question, explore
from bootwright.host.explore_check import Property
from bootwright.host.explore_graph import Closure, Cuts, Limits
from bootwright.host.explore_scene import Action, Scene

MODES = [mode for mode in Mode if mode.swaps or mode.overwrites]


def facts(result: Exploration) -> list[object]:
    """What an exploration says, without how many states it told apart."""
    return [
        result.violated,
        [(phase.name, phase.expected, len(phase.closure.points)) for phase in result.phases],
        {(v.kind, v.phase.name, v.because, v.runs) for v in result.violations},
        [sum(cut is not None for _, cut in example.violation.way) for example in result.counterexamples],
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("cuts", [Cuts.CLEAN, Cuts.TORN])
@pytest.mark.parametrize("size", [9000, 40000])
def test_the_reduced_graph_says_what_the_whole_graph_says(mode: Mode, action: Action, cuts: Cuts, size: int) -> None:
    question = Question(scene=scene(mode, action, size=size), cuts=cuts, remedies=False)
    whole = Question(scene=question.scene, cuts=cuts, remedies=False, reduced=False)
    reduced, complete = explore(question), explore(whole)
    assert facts(reduced) == facts(complete)
    assert reduced.states <= complete.states


def encrypted(mode: Mode, action: Action, sectors: int) -> Scene:
    """A tiny layout with flash encryption active; the trailer takes one or two sectors."""
    plain = scene(mode, action, size=5000, slot=0x6000, scratch=0x1000)
    config = replace(plain.config, max_align=32, write_align=32, flash_encryption_active=True, max_img_sectors=sectors)
    return replace(plain, config=config)


@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.MOVE])
@pytest.mark.parametrize(
    ("action", "sectors", "cuts"),
    [
        (Action.PERMANENT, 32, Cuts.CLEAN),
        (Action.REVERT, 32, Cuts.CLEAN),
        (Action.PERMANENT, 64, Cuts.CLEAN),
        (Action.PERMANENT, 32, Cuts.TORN),
    ],
)
def test_the_reduced_graph_of_an_encrypted_flash_says_what_the_whole_one_says(
    mode: Mode, action: Action, sectors: int, cuts: Cuts
) -> None:
    question = Question(scene=encrypted(mode, action, sectors), cuts=cuts, remedies=False, max_spoilt=0)
    reduced, complete = explore(question), explore(replace(question, reduced=False))
    assert not any(phase.closure.stopped for phase in (*reduced.phases, *complete.phases))
    assert facts(reduced) == facts(complete)
    assert reduced.states < complete.states


@pytest.mark.parametrize(
    ("mode", "cuts"), [(Mode.SCRATCH, Cuts.CLEAN), (Mode.OVERWRITE, Cuts.CLEAN), (Mode.SCRATCH, Cuts.TORN)]
)
def test_the_graph_of_an_encrypted_update_with_the_trailer_of_the_port_is_closed(mode: Mode, cuts: Cuts) -> None:
    plain = scene(mode, Action.PERMANENT, size=5000, slot=0x10000, scratch=0x1000)
    config = replace(plain.config, max_align=32, write_align=32, flash_encryption_active=True)
    question = Question(scene=replace(plain, config=config), cuts=cuts, remedies=False, max_spoilt=0)
    result = explore(question)
    assert not any(phase.closure.stopped for phase in result.phases)
    assert result.states < 12_000


def closure_of(mode: Mode) -> Closure:
    place = scene(mode, Action.PERMANENT)
    runs = Runs(place.config, place.flash(), reduced=True)
    closure = Closure(runs, Limits())
    closure.close([(runs.state(), 0)])
    return closure


@pytest.mark.parametrize("mode", MODES)
def test_joins_of_real_explorations_hold(mode: Mode) -> None:
    closure = closure_of(mode)
    assert closure.runs.merges
    assert joins_hold(closure.runs, closure.torn)


def test_a_join_over_a_sector_that_a_later_boot_reads_is_found_out() -> None:
    closure = closure_of(Mode.OVERWRITE)
    merge = next(merge for merge in closure.runs.merges.values() if merge.at)
    secondary, flash = layout_of(closure.runs.config).slots[0][SECONDARY], closure.runs.flash
    closure.runs.enter(merge.others[0])
    flash.load(secondary.area.address + secondary.magic, bytes(16))  # each boot looks whether the magic is good
    merge.others[0] = closure.runs.state()
    merge.dropped |= 1 << (secondary.area.end - 1) // 0x1000
    assert not joins_hold(closure.runs, closure.torn)


@pytest.mark.parametrize(("mode", "action"), [(Mode.MOVE, Action.TEST), (Mode.MOVE, Action.PERMANENT)])
def test_states_behind_a_swap_that_went_on_at_a_wrong_place_are_followed_last(mode: Mode, action: Action) -> None:
    question = Question(scene=encrypted(mode, action, 512), remedies=False, max_spoilt=0, max_astray=0)
    slots = ImageSlots(Area("primary", 0x10000, 0x18000), Area("secondary", 0x28000, 0x18000))
    config = replace(question.scene.config, images=(slots,))
    result = explore(replace(question, scene=replace(question.scene, config=config)))
    assert not any(phase.closure.stopped for phase in result.phases)
    assert any("not followed further" in bound for bound in result.bounds)
    assert (Property.REVERTS in result.violated) == (action is Action.TEST)


def test_a_status_that_went_wrong_does_not_tell_which_sector_is_moved_next() -> None:
    keys = []

    class Marks(Unwatched):
        def mark(self, key: Hashable) -> None:
            keys.append(key)

    place = encrypted(Mode.MOVE, Action.PERMANENT, 32)
    flash = place.flash()
    drive(boot_go(flash, place.config, probe=Marks()), flash.apply)
    moves = [key for key in keys if isinstance(key, tuple) and str(key[0]).endswith(" up")]
    assert [key[0] for key in moves] == ["move: move 2 up", "move: move 1 up"]


def test_a_copy_is_needed_for_what_its_target_is_needed_for() -> None:
    probe = RunProbe(8)
    flash = Sectors.holding(bytes(8 * 4096), cipher=stand_in_cipher)
    probe.observe(flash, 5 * 4096 + 64, 32, "header", bytes)
    header = probe.of_sector[5] & ~(1 << 5)
    copied = Flow(5, (Part(1024, 3072, 5 * 4096 + 1024), Part(0, 1024, 2 * 4096)))
    there = probe.sources(copied, header)
    assert there == probe.of_sector[2] & ~(1 << 2)
    assert probe.sources(copied, 1 << 5) == 1 << 2 | 1 << 5
    assert probe.sources(Flow(5, (Part(0, 80, 5 * 4096), Part(80, 16, 2 * 4096))), header) == 1 << 2 | 1 << 5
    assert probe.sources(Flow(5, (Part(96, 4000, 5 * 4096 + 96),)), header) == 0
    assert probe.sources(Flow(2, (Part(0, 1024, 5 * 4096),)), there) == header


def test_a_copy_with_flash_encryption_active_is_not_looked_at() -> None:
    place = encrypted(Mode.MOVE, Action.PERMANENT, 32)
    runs = Runs(place.config, place.flash(), reduced=True)
    run = runs.boot_root(runs.state())
    first = next(at for at, op in enumerate(run.ops) if op.why == "move primary up")
    assert run.flows[first].parts[-1].source == 0x11000
    assert all(not read & 1 << 0x11 for read in run.reads[first : first + 8])
