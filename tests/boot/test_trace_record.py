from dataclasses import replace

import pytest
from tests.support.scenes import build, signed
from tests.support.traces import trace_document

from bootwright.boot.config import ImageSlots, Mode
from bootwright.boot.trace import parse_config, parse_trace, unpack
from bootwright.boot.trace_play import play
from bootwright.boot.trace_record import Recorder, config_part
from bootwright.flash import Area

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


@pytest.mark.parametrize("word", ["assert", "crash", "hang"])
def test_a_boot_that_panics_after_a_cut_agrees_however_the_code_fell(word: str) -> None:
    one = build(Mode.MOVE)
    second = ImageSlots(Area("primary 1", 0x30000, 0x10000), Area("secondary 1", 0x40000, 0x10000))
    config = replace(one, images=(*one.images, second))
    flash = bytearray(b"\xff" * 0x50000)
    for slots in config.images:
        for area, version in ((slots.primary, 1), (slots.secondary, 2)):
            flash[area.address : area.address + 2000] = signed(version, 2000)
    tlvs = flash.rindex(b"\x07\x69", second.primary.address, second.primary.end)
    flash[tlvs] = 0
    recorder = Recorder(config, bytes(flash), name="panics")
    recorder.set_pending(image=0)
    recorder.set_pending(image=1)
    recorder.sweep()
    document = recorder.document()
    rows = document["steps"][-1]["results"]
    assert {row[2] for row in rows} == {"assert"}
    for row in rows:
        row[2] = word
    assert play(parse_trace(document)) == ()
