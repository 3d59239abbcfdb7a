"""What counts as a downgrade: seen on a bootloader that asks for nothing, judged by the promise of one that asks."""

from dataclasses import replace

import pytest
from tests.support.scenes import build, scene, signing_key

from bootwright.boot.config import Mode
from bootwright.boot.runs import Runs
from bootwright.finding import Finding
from bootwright.formats.mcuboot_image import ImageVersion
from bootwright.formats.mcuboot_sign import SignOptions, sign_image
from bootwright.host.explore import Question, explore
from bootwright.host.explore_answer import answer
from bootwright.host.explore_check import Before, Checker, Property, Root, authentic_digests
from bootwright.host.explore_graph import Limits
from bootwright.host.explore_scene import Action, Scene

Release = tuple[int, int | None]  #: major version, security counter


def image(release: Release) -> bytes:
    version, counter = release
    options = SignOptions(
        version=ImageVersion(major=version, minor=0, revision=0, build=0), pad_header=True, security_counter=counter
    )
    return sign_image(bytes(range(256)) * 20, options, signing_key())


def update(mode: Mode, old: Release, new: Release, *, counter: bool) -> Scene:
    config = replace(build(mode), downgrade_prevention=True, security_counter=counter)
    return Scene(config=config, images=((image(old), image(new)),), action=Action.PERMANENT)


def judged(asked: Scene) -> list[tuple[Property, str]]:
    flash = asked.flash()
    asks_nothing = replace(asked.config, downgrade_prevention=False, security_counter=False)
    runs = Runs(asks_nothing, flash)
    checker = Checker(asked.config, runs, Limits(max_level=0))
    checker.authentic = authentic_digests(asked.config, flash)
    checker.old = (f"{asked.images[0][0][20]}.0.0+0",)
    checker.phase("update", Before.REQUEST, [Root(runs.state())], Property.NOT_LOST)
    return [(found.kind, found.because) for found in checker.violations if found.kind is Property.NO_DOWNGRADE]


SWAPS = (Mode.SCRATCH, Mode.MOVE)


@pytest.mark.parametrize("mode", SWAPS)
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ((1, 5), (2, 4), "2.0.0+0 with security counter 4 runs after 1.0.0+0 with security counter 5"),
        ((1, 5), (2, None), "2.0.0+0 with security counter none runs after 1.0.0+0 with security counter 5"),
    ],
)
def test_a_swap_to_a_lower_counter_is_a_downgrade_whatever_the_version(
    mode: Mode, old: Release, new: Release, told: str
) -> None:
    assert judged(update(mode, old, new, counter=True)) == [(Property.NO_DOWNGRADE, told)]


@pytest.mark.parametrize("mode", SWAPS)
@pytest.mark.parametrize(
    ("old", "new"), [((2, 4), (1, 5)), ((2, 4), (1, 4)), ((2, None), (1, 0)), ((2, None), (1, None))]
)
def test_a_swap_to_a_lower_version_is_none_where_the_counter_does_not_go_back(
    mode: Mode, old: Release, new: Release
) -> None:
    assert judged(update(mode, old, new, counter=True)) == []


@pytest.mark.parametrize("counter", [False, True])
def test_overwrite_goes_by_the_version_with_a_counter_too(counter: bool) -> None:
    lower = judged(update(Mode.OVERWRITE, (2, 4), (1, 5), counter=counter))
    assert lower == [(Property.NO_DOWNGRADE, "1.0.0+0 runs after 2.0.0+0")]
    assert judged(update(Mode.OVERWRITE, (1, 5), (2, 4), counter=counter)) == []


def said(asked: Scene) -> Finding:
    findings = answer(explore(Question(scene=asked, remedies=False))).findings
    return next(one for one in findings if one.code == "explore.no_downgrade")


@pytest.mark.parametrize(
    ("mode", "by"), [(Mode.SCRATCH, "security counter"), (Mode.MOVE, "security counter"), (Mode.OVERWRITE, "version")]
)
def test_the_finding_says_what_a_downgrade_is_judged_by(mode: Mode, by: str) -> None:
    found = said(update(mode, (2, 4), (1, 5), counter=True))
    assert found.because.startswith(f"by {by}, ")
    assert found.verdict == "pass"


def test_an_exploration_reads_the_counters_from_encrypted_flash_too() -> None:
    asked = update(Mode.MOVE, (1, 5), (2, 4), counter=True)
    active = replace(asked, config=replace(asked.config, max_align=32, write_align=32, flash_encryption_active=True))
    assert len(judged(active)) == 1


def test_without_downgrade_prevention_nothing_is_promised() -> None:
    assert said(scene(Mode.MOVE, Action.PERMANENT)).because.startswith("not promised")
