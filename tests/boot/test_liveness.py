from dataclasses import replace

import pytest
from tests.support.scenes import scene

from bootwright.boot.config import Mode
from bootwright.boot.liveness import joins_hold
from bootwright.boot.runs import Runs
from bootwright.host.explore import Exploration, Question, explore
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
@pytest.mark.parametrize(("action", "sectors"), [(Action.PERMANENT, 32), (Action.REVERT, 32), (Action.PERMANENT, 64)])
def test_the_reduced_graph_of_an_encrypted_flash_says_what_the_whole_one_says(
    mode: Mode, action: Action, sectors: int
) -> None:
    question = Question(scene=encrypted(mode, action, sectors), remedies=False, max_spoilt=0)
    reduced, complete = explore(question), explore(replace(question, reduced=False))
    assert not any(phase.closure.stopped for phase in (*reduced.phases, *complete.phases))
    assert facts(reduced) == facts(complete)
    assert reduced.states < complete.states


@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.OVERWRITE])
def test_the_graph_of_an_encrypted_update_with_the_trailer_of_the_port_is_closed(mode: Mode) -> None:
    plain = scene(mode, Action.PERMANENT, size=5000, slot=0x10000, scratch=0x1000)
    config = replace(plain.config, max_align=32, write_align=32, flash_encryption_active=True)
    question = Question(scene=replace(plain, config=config), remedies=False, max_spoilt=0)
    result = explore(question)
    assert not any(phase.closure.stopped for phase in result.phases)
    assert result.states < 40_000


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
    trailer = (0x20000 - 1) // 0x1000  # the last sector of primary: every boot reads it
    flash = closure.runs.flash
    closure.runs.enter(merge.others[0])
    flash.load(trailer * 0x1000, bytes(0x1000))
    merge.others[0] = closure.runs.state()
    merge.dropped |= 1 << trailer
    assert not joins_hold(closure.runs, closure.torn)
