import pytest
from tests.support.traces import odd_document, odd_names, trace_document, trace_names

from bootwright.boot.trace import parse_trace
from bootwright.boot.trace_play import play
from bootwright.boot.trace_record import Recorder
from bootwright.errors import FormatError


@pytest.mark.parametrize("name", trace_names())
def test_the_model_does_what_the_real_code_did(name: str) -> None:
    assert play(parse_trace(trace_document(name))) == ()


@pytest.mark.parametrize("name", odd_names())
def test_odd_scenes_go_on_as_they_were_recorded(name: str) -> None:
    assert play(parse_trace(odd_document(name))) == ()


def test_a_difference_names_the_first_differing_operation_on_both_sides() -> None:
    document = trace_document("test-confirm-scratch-ed25519")
    boot = next(step for step in document["steps"] if step["do"] == "boot" and step["ops"])
    boot["ops"][3][1] += 4096
    differences = play(parse_trace(document))
    assert len(differences) == 1
    assert "operation 4: model erase" in differences[0] or "operation 4: model write" in differences[0]
    assert ", trace " in differences[0]


def test_another_schema_is_refused() -> None:
    with pytest.raises(FormatError, match="found schema 2, expected 1"):
        parse_trace({"schema": 2})


def test_a_malformed_step_is_one_clear_error() -> None:
    document = trace_document("no-pending-scratch-none")
    del document["steps"][0]["outcome"]
    with pytest.raises(FormatError, match="not a trace of schema 1: KeyError: 'outcome'"):
        play(parse_trace(document))


def test_a_flash_that_was_changed_is_refused() -> None:
    document = trace_document("no-pending-scratch-none")
    document["flash"]["sha256"] = "0" * 64
    with pytest.raises(FormatError, match="another hash than the trace says"):
        parse_trace(document)


def test_the_console_says_what_the_real_one_says() -> None:
    for name in trace_names()[::6]:
        document = trace_document(name)
        trace = parse_trace(document)
        recorder = Recorder(trace.config, trace.flash, name=name)
        for step in document["steps"]:
            if step["do"] != "boot" or step["outcome"] in ("assert", "crash"):
                break
            recorder.boot(stop_before=step.get("stop_before_op"), cut=step.get("cut", "clean"))
            assert recorder.document()["steps"][-1]["log"] == step["log"], name
