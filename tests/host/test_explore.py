from dataclasses import replace
from itertools import islice

import pytest
from tests.support.scenes import scene, signed, trace_scene
from tests.support.traces import trace_names

from bootwright.boot.config import Mode, SerialErase
from bootwright.boot.loader import boot_go
from bootwright.boot.runs import LONG
from bootwright.boot.trace import parse_trace
from bootwright.boot.trace_play import play
from bootwright.finding import Finding, Verdict
from bootwright.flash import drive
from bootwright.host.explore import Exploration, Question, Reach, explore
from bootwright.host.explore_answer import answer
from bootwright.host.explore_check import Property, operations_of
from bootwright.host.explore_graph import Cuts
from bootwright.host.explore_scene import Action, Pending, Scene, with_images

CLEAN_SWEEPS = [name for name in trace_names() if name.startswith("sweep-clean")]
ACTIONS = {"perm": Action.PERMANENT, "full": Action.PERMANENT, "test": Action.TEST, "revert": Action.REVERT}


def single(name: str, action: Action, cuts: Cuts = Cuts.CLEAN) -> Exploration:
    return explore(Question(scene=trace_scene(name, action), reach=Reach.SINGLE, cuts=cuts, remedies=False))


@pytest.mark.parametrize("name", CLEAN_SWEEPS)
def test_no_single_clean_cut_does_harm_without_flash_encryption(name: str) -> None:
    result = single(name, ACTIONS[name.split("-")[2]])
    assert result.violated == ()
    assert answer(result).verdict is Verdict.PASS


def test_with_flash_encryption_swap_move_bricks_at_3_of_614_single_clean_cuts() -> None:
    result = single("fe-active-sweep-clean-move", Action.PERMANENT)
    assert result.violated == (Property.BOOTS,)
    assert len(result.phases[0].closure.points) == 614
    assert result.counterexamples[0].points == 3


def test_with_flash_encryption_swap_scratch_loses_the_update_at_2_of_684_single_clean_cuts() -> None:
    result = single("fe-active-sweep-clean-scratch", Action.PERMANENT)
    assert result.violated == (Property.NOT_LOST,)
    assert len(result.phases[0].closure.points) == 684
    assert result.counterexamples[0].points == 2
    made_up_for = ["a later boot makes up for it" in violation.because for violation in result.violations]
    assert sorted(made_up_for) == [False, True]


@pytest.mark.parametrize(("name", "bad"), [("scr1000", 1), ("scr3000", 1), ("scr20000", 0)])
def test_a_torn_erase_of_the_last_scratch_sector_bricks_a_full_size_image(name: str, bad: int) -> None:
    result = single(f"sweep-torn-full-{name}-scratch", Action.PERMANENT, Cuts.TORN)
    assert [example.points for example in result.counterexamples] == [1] * bad
    if bad:
        assert result.violated == (Property.BOOTS,)
        assert "half-way through operation" in "".join(result.counterexamples[0].story.lines)
        assert "erase scratch" in next(line for line in result.counterexamples[0].story.lines if "half-way" in line)


@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.MOVE, Mode.OFFSET, Mode.OVERWRITE])
def test_an_unreadable_primary_stops_every_swap_and_overwrite_heals_it(mode: Mode) -> None:
    whole = scene(mode, Action.PERMANENT)
    primary, secondary = whole.images[0]
    cut_short = type(whole)(config=whole.config, images=((primary[:200], secondary),), action=whole.action)
    result = explore(Question(scene=cut_short))
    if mode is Mode.OVERWRITE:
        assert result.violated == ()
        return
    assert result.violated == (Property.BOOTS,)
    assert result.counterexamples[0].violation.way == (("boot", None),)
    assert "unreadable TLV area" in result.counterexamples[0].violation.because
    assert "overwrite-only" in [remedy.name for remedy in result.remedies if not remedy.violated]


@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.MOVE, Mode.OFFSET, Mode.OVERWRITE])
def test_any_number_of_clean_cuts_of_a_permanent_update_does_no_harm(mode: Mode) -> None:
    result = explore(Question(scene=scene(mode, Action.PERMANENT)))
    assert result.violated == ()


def test_two_clean_cuts_brick_a_swap_scratch_revert_and_the_way_there_replays() -> None:
    result = explore(Question(scene=scene(Mode.SCRATCH, Action.REVERT)))
    assert Property.BOOTS in result.violated
    example = result.counterexamples[0]
    assert sum(cut is not None for _, cut in example.violation.way) == 2
    assert play(parse_trace(example.story.trace)) == ()
    assert example.story.trace["steps"][-1]["outcome"] == "assert"
    assert "swap-move" in [remedy.name for remedy in result.remedies if not remedy.violated]


@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.OVERWRITE])
@pytest.mark.parametrize("cuts", [Cuts.TORN, Cuts.BITS])
def test_torn_and_partial_operations_are_explored_and_said_to_be_bounded(mode: Mode, cuts: Cuts) -> None:
    result = explore(Question(scene=scene(mode, Action.TEST), cuts=cuts, remedies=False))
    assert result.states > explore(Question(scene=scene(mode, Action.TEST), remedies=False)).states
    assert bool(result.bounds) == (cuts is Cuts.BITS)


def test_a_large_flash_bounds_torn_cuts_to_one_and_says_so() -> None:
    result = explore(Question(scene=scene(Mode.MOVE, Action.PERMANENT, slot=0x40000), cuts=Cuts.TORN, remedies=False))
    assert result.bounds == ("at most one torn cut among any number of clean ones (128 sectors)",)


def test_sampling_finds_the_same_with_the_same_seed() -> None:
    question = Question(scene=scene(Mode.SCRATCH, Action.TEST), reach=Reach.SAMPLE, samples=60, seed=3, remedies=False)
    first, second = explore(question), explore(question)
    assert first.states == second.states
    assert first.states > 10
    assert "60 random series" in first.bounds[0]


def test_counter_examples_of_partial_operations_replay() -> None:
    result = explore(Question(scene=scene(Mode.SCRATCH, Action.TEST), cuts=Cuts.BITS, remedies=False))
    assert result.counterexamples
    for example in result.counterexamples:
        assert play(parse_trace(example.story.trace)) == ()
        last = [step for step in example.story.trace["steps"] if step["do"] == "boot"][-1]
        runs = example.violation.runs
        assert last.get("version") == (None if runs is None else runs[0])


def test_wear_counts_the_erases_of_one_update() -> None:
    result = explore(Question(scene=scene(Mode.SCRATCH, Action.PERMANENT)))
    assert result.wear is not None
    assert result.wear.most_worn[0] == ("scratch sector 0", 3)
    assert result.wear.erases == 23


def test_a_limit_of_states_is_said() -> None:
    result = explore(Question(scene=scene(Mode.SCRATCH, Action.PERMANENT), max_states=20, remedies=False))
    assert result.bounds[0].startswith("the update stopped at ")
    assert result.states < 120


def recovery_of(mode: Mode, serial: SerialErase) -> Finding:
    plain = scene(mode, Action.REVERT)
    question = Question(scene=replace(plain, config=replace(plain.config, serial=serial)), remedies=False)
    return next(one for one in answer(explore(question)).findings if one.code == "explore.recovery")


def test_recovery_is_tried_from_the_states_in_which_nothing_boots() -> None:
    found = recovery_of(Mode.SCRATCH, SerialErase.WHOLE)
    assert found.verdict is Verdict.PASS
    assert "an upload was booted" in found.because


def test_an_upload_over_an_unconfirmed_image_is_reverted_away_where_erasing_is_progressive() -> None:
    found = recovery_of(Mode.MOVE, SerialErase.PROGRESSIVE)
    assert found.verdict is Verdict.WARN
    assert "1.0.0+0 runs, not the uploaded 2.0.0+0" in found.because


def dump_of(plain: Scene, *, boots: int, operations: int) -> Scene:
    """The scene as a dump of its flash, after some whole boots and some operations of another."""
    flash = plain.flash()
    for _ in range(boots):
        drive(boot_go(flash, plain.config), flash.apply)
    for op in islice(boot_go(flash, plain.config), operations):
        flash.apply(op)
    return replace(plain, dump=flash.raw())


@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.MOVE, Mode.OFFSET, Mode.OVERWRITE])
@pytest.mark.parametrize(
    ("boots", "operations", "pending"), [(0, 0, Pending.UPDATE), (0, 40, Pending.SWAP), (1, 0, Pending.REVERT)]
)
def test_a_dump_with_a_request_or_a_swap_under_way_is_explored_as_it_is(
    mode: Mode, boots: int, operations: int, pending: Pending
) -> None:
    place = dump_of(scene(mode, Action.PERMANENT if boots == 0 else Action.TEST), boots=boots, operations=operations)
    if mode is Mode.OVERWRITE:
        pending = Pending.NOTHING if boots else Pending.UPDATE
    assert place.pending == (pending,)
    assert (place.flash().raw() == place.dump) == (pending is not Pending.NOTHING)


def test_a_dump_without_a_request_gets_one() -> None:
    plain = scene(Mode.SCRATCH, Action.PERMANENT)
    place = replace(plain, dump=plain.unasked().raw())
    assert place.pending == (Pending.NOTHING,)
    assert place.flash().raw() == plain.flash().raw()


def test_the_revert_of_a_dump_that_is_about_to_revert_begins_with_the_dump() -> None:
    place = dump_of(scene(Mode.MOVE, Action.TEST), boots=1, operations=0)
    result = explore(Question(scene=replace(place, action=Action.REVERT), remedies=False))
    assert result.phases[0].roots[0].way == ()
    assert operations_of(result.phases[0])


def test_a_long_boot_after_which_nothing_runs_keeps_its_operations_where_everything_begins_with_it() -> None:
    first, second = (image[:10000] + b"?" + image[10001:] for image in (signed(1, 20000), signed(2, 20000)))
    plain = scene(Mode.MOVE, Action.PERMANENT, slot=0x110000)
    result = explore(Question(scene=replace(plain, images=((first, second),)), remedies=False))
    assert len(operations_of(result.phases[0])) > LONG
    assert result.states > 1


@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.MOVE, Mode.OFFSET])
def test_a_swap_under_way_in_a_dump_is_finished_and_judged_by_the_images_that_it_leaves(mode: Mode) -> None:
    place = dump_of(scene(mode, Action.TEST), boots=0, operations=60)
    held = with_images(replace(place, images=((b"", b""),)))
    result = explore(Question(scene=held, remedies=False))
    assert result.checker.old == ("1.0.0+0",)
    assert result.phases[0].expected == {("2.0.0+0",)}
    assert Property.AUTHENTIC not in result.violated
    assert not result.notes
