import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from functools import partial
from multiprocessing.context import ForkProcess

import pytest
from tests.support.scenes import trace_scene

from bootwright.errors import BootwrightError, FormatError
from bootwright.host import explore_jobs, explore_walks
from bootwright.host.explore import Question, Reach, explore
from bootwright.host.explore_answer import answer, details
from bootwright.host.explore_graph import Cuts
from bootwright.host.explore_jobs import in_processes
from bootwright.host.explore_scene import Action


@pytest.fixture
def every_process_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (explore_jobs, explore_walks):
        monkeypatch.setattr(module, "WORTH", 1)
    monkeypatch.setattr(explore_jobs, "REMEDIES_WORTH", 1)
    monkeypatch.setattr(explore_jobs, "PIECE", 100)
    monkeypatch.setattr(explore_walks, "PIECE", 7)


def told(reach: Reach, cuts: Cuts, jobs: int) -> str:
    scene = trace_scene("fe-active-sweep-clean-move", Action.PERMANENT)
    result = explore(
        Question(scene=scene, reach=reach, cuts=cuts, samples=100, jobs=jobs, remedies=False, max_states=5000)
    )
    assert result.violated
    findings = [str(finding) for finding in answer(result).findings]
    traces = [example.story.trace for example in result.counterexamples]
    nodes = [(node.state.fingerprint, node.way()) for phase in result.phases for node in phase.closure.nodes.values()]
    return json.dumps([details(result), findings, traces, nodes])


@pytest.mark.usefixtures("every_process_pays")
@pytest.mark.parametrize(
    ("reach", "cuts"), [(Reach.SINGLE, Cuts.CLEAN), (Reach.SAMPLE, Cuts.CLEAN), (Reach.SAMPLE, Cuts.BITS)]
)
def test_what_is_found_does_not_depend_on_the_number_of_processes(
    reach: Reach, cuts: Cuts, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork").Process
    start, forked = context.start, list[object]()

    def noted(process: ForkProcess) -> None:
        forked.append(process)
        start(process)

    monkeypatch.setattr(context, "start", noted)
    one = told(reach, cuts, 1)
    assert forked == []
    assert told(reach, cuts, 2) == one
    assert forked


def _number(number: int) -> int:
    return number


def _refuse() -> int:
    raise FormatError("found nothing, expected something", "give something")


def _end_from_outside() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_results_come_in_the_order_of_the_tasks() -> None:
    assert list(in_processes([partial(_number, number) for number in range(40)], 3)) == list(range(40))


def test_an_error_in_a_worker_is_raised_here_and_no_worker_stays() -> None:
    with pytest.raises(FormatError, match="found nothing, expected something") as caught:
        list(in_processes([signal.pause, _refuse], 2))
    assert caught.value.hint == "give something"
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_ended_from_outside_is_said() -> None:
    with pytest.raises(BootwrightError, match="ended from outside"):
        list(in_processes([_end_from_outside, _end_from_outside], 2))
    assert multiprocessing.active_children() == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell lets what it runs in the background ignore SIGINT, and this would be inherited."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_workers_without_a_word_of_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt_all() -> int:
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C on a terminal does to every process of the group
        os.kill(os.getppid(), signal.SIGINT)
        signal.pause()
        return 0

    with pytest.raises(KeyboardInterrupt):
        list(in_processes([interrupt_all, signal.pause], 2))
    assert multiprocessing.active_children() == []
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_until_all_workers_are_known() -> None:
    began = []

    def begin() -> None:
        with explore_jobs._interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            began.append("a worker")

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert began
