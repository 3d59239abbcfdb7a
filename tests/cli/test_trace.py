import json
from pathlib import Path

from tests.support.peers import run_bootwright
from tests.support.traces import first_boot_document, trace_document


def test_replay_counts_files_and_ends_with_the_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "good.json").write_text(json.dumps(trace_document("test-confirm-scratch-ed25519")))
    ran = run_bootwright("trace", "replay", tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, "1 passed, 0 failed\n", "")


def test_replay_shows_a_line_for_each_difference_and_fails(tmp_path: Path) -> None:
    document = trace_document("test-confirm-scratch-ed25519")
    document["final_sha256"] = "0" * 64
    (tmp_path / "changed.json").write_text(json.dumps(document))
    (tmp_path / "other.json").write_text('{"schema": 2}')
    (tmp_path / "broken.json").write_text("{")
    ran = run_bootwright("trace", "replay", tmp_path, tmp_path / "missing.json")
    lines = ran.out.splitlines()
    assert ran.code == 1
    assert lines[-1] == "0 passed, 4 failed"
    assert "cannot be read as a trace" in lines[0]
    assert lines[1].startswith(f"{tmp_path / 'changed.json'}: the flash at the end hashes to ")
    assert "found schema 2, expected 1" in lines[2]
    assert "missing.json" in lines[3]


def test_replay_without_any_trace_fails(tmp_path: Path) -> None:
    ran = run_bootwright("trace", "replay", tmp_path)
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == "0 passed, 0 failed"


def test_a_first_boot_trace_of_another_shape_is_one_failed_file(tmp_path: Path) -> None:
    document = first_boot_document("03-sb")
    document["boots"][0]["flash_ops"] = [3]
    (tmp_path / "bad.json").write_text(json.dumps(document))
    ran = run_bootwright("trace", "replay", tmp_path)
    assert (ran.code, ran.err) == (1, "")
    assert "first-boot trace: malformed: 'int' object is not iterable" in ran.out.splitlines()[0]
    assert ran.out.splitlines()[-1] == "0 passed, 1 failed"


def test_replay_speaks_json(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(trace_document("no-pending-scratch-none")))
    body = json.loads(run_bootwright("trace", "replay", tmp_path, "--json").out)
    assert (body["verdict"], body["passed"], body["failed"]) == ("pass", 1, 0)


def test_record_writes_what_replay_plays(tmp_path: Path) -> None:
    conf = tmp_path / "bootloader.conf"
    conf.write_text(
        "CONFIG_ESP_BOOTLOADER_SIZE=0xF000\nCONFIG_ESP_APPLICATION_SIZE=0x10000\n"
        "CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x10000\nCONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x20000\n"
        "CONFIG_ESP_SCRATCH_OFFSET=0x30000\nCONFIG_ESP_SCRATCH_SIZE=0x2000\n"
    )
    for version in (1, 2):
        _image(tmp_path / f"{version}.bin", version)
    output = tmp_path / "update.json"
    ran = run_bootwright(
        "trace", "record", output, "--config", conf, "--primary", tmp_path / "1.bin", "--secondary", tmp_path / "2.bin",
        "--do", "pending", "--do", "boot:20", "--do", "boot", "--do", "confirm", "--do", "sweep:torn",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "the last boot ended as boot" in ran.out
    steps = json.loads(output.read_text())["steps"]
    assert [step["do"] for step in steps] == ["set_pending", "boot", "boot", "set_confirmed", "sweep"]
    assert steps[2]["version"] == "2.0.0+0"
    assert run_bootwright("trace", "replay", output).out == "1 passed, 0 failed\n"


def test_record_of_a_mode_without_traces_says_so(tmp_path: Path) -> None:
    conf = tmp_path / "bootloader.conf"
    conf.write_text(
        "CONFIG_ESP_BOOTLOADER_SIZE=0xF000\nCONFIG_ESP_APPLICATION_SIZE=0x10000\nCONFIG_ESP_BOOT_DIRECT_XIP=y\n"
        "CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x10000\nCONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x20000\n"
    )
    for version in (1, 2):
        _image(tmp_path / f"{version}.bin", version)
    output, put = tmp_path / "xip.json", f"put:0x20000:{tmp_path / '2.bin'}"
    ran = run_bootwright(
        "trace", "record", output, "--config", conf, "--primary", tmp_path / "1.bin", "--do", "boot", "--do", put,
        "--do", "boot", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert [finding["code"] for finding in json.loads(ran.out)["findings"]] == ["trace.recorded", "trace.not_compared"]
    boots = [step for step in json.loads(output.read_text())["steps"] if step["do"] == "boot"]
    assert [(step["image_off"], step["version"]) for step in boots] == [(0x10000, "1.0.0+0"), (0x20000, "2.0.0+0")]
    assert run_bootwright("trace", "replay", output).out == "1 passed, 0 failed\n"


def test_replay_without_a_path_is_no_trace_at_all() -> None:
    ran = run_bootwright("trace", "replay")
    assert (ran.code, ran.out) == (1, "no trace given\n0 passed, 0 failed\n")


def test_record_refuses_an_unknown_action(tmp_path: Path) -> None:
    conf = tmp_path / "bootloader.conf"
    conf.write_text("CONFIG_ESP_APPLICATION_SIZE=0x10000\nCONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x10000\n")
    ran = run_bootwright("trace", "record", tmp_path / "x.json", "--config", conf, "--do", "boot:0")
    assert ran.code == 3


def _image(path: Path, major: int) -> None:
    from bootwright.formats.mcuboot_image import ImageVersion
    from bootwright.formats.mcuboot_sign import SignOptions, sign_image

    options = SignOptions(
        version=ImageVersion(major=major, minor=0, revision=0, build=0), slot_size=0x10000, pad_header=True
    )
    path.write_bytes(sign_image(b"payload" * 1000, options, None))
