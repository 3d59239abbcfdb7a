import pytest
from tests.support.traces import trace_document

from bootwright.boot.trace import parse_config, parse_trace, unpack
from bootwright.boot.trace_play import play
from bootwright.boot.trace_record import Recorder, config_part

SCENES = [
    "multi-cut-7-40-9-scratch",
    "test-confirm-offset-ed25519",
    "sweep-torn-full-scr3000-scratch",
    "fe-compiled-inactive-move",
    "serial-multi-plain",
    "unreadable-primary-interrupted-upload-scratch",
]


@pytest.mark.parametrize("name", SCENES)
def test_recording_the_steps_of_a_real_trace_writes_that_trace_again(name: str) -> None:
    real = trace_document(name)
    trace = parse_trace(real)
    recorder = Recorder(trace.config, trace.flash, name=name)
    for step in real["steps"]:
        match step["do"]:
            case "boot":
                recorder.boot(stop_before=step.get("stop_before_op"), cut=step.get("cut", "clean"))
            case "set_pending":
                recorder.set_pending(image=step["image"], permanent=step["permanent"])
            case "set_confirmed":
                recorder.set_confirmed(image=step["image"])
            case "serial":
                recorder.serial(bytes.fromhex(step["rx_hex"]))
            case "flash_put":
                recorder.flash_put(step["addr"], unpack(step["zlib_b64"]))
            case "sweep":
                recorder.sweep(cut=step["cut"])
    ours = recorder.document()
    for mine, theirs in zip(ours["steps"], real["steps"], strict=True):
        if theirs["do"] == "flash_put":
            assert unpack(mine["zlib_b64"]) == unpack(theirs["zlib_b64"])
        elif theirs.get("outcome") == "assert":
            assert mine["log"] == theirs["log"][:-1]  # the last line names the C file
        else:
            assert mine == theirs
    assert ours["final_sha256"] == real["final_sha256"]
    assert play(parse_trace(ours)) == ()


@pytest.mark.parametrize("name", SCENES)
def test_the_config_of_a_recording_reads_back_as_it_was(name: str) -> None:
    document = trace_document(name)
    config = parse_trace(document).config
    assert parse_config(config_part(config), document["pubkey_der_hex"]) == config
