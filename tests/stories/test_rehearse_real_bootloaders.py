"""The rehearsal runs on bootloaders that nobody here wrote."""

import json
from pathlib import Path

import pytest
from tests.support.corpus import idf_bootloader
from tests.support.peers import run_bootwright


@pytest.mark.parametrize("name", ["esp32c3", "esp32c3-qio"])
def test_a_genuine_idf_bootloader_goes_through_the_whole_chain(name: str, tmp_path: Path) -> None:
    path = idf_bootloader(name)
    ran = run_bootwright("rehearse", "--bootloader", path, "--mode", "release", "--json", "--keep", tmp_path)
    assert ran.code == 0
    result = json.loads(ran.out)
    assert {step["verdict"] for step in result["steps"]} == {"pass"}
    signed = (tmp_path / "bootloader-signed.bin").read_bytes()
    assert signed.startswith(path.read_bytes())
    assert len(signed) % 4096 == 0
    story = next(step for step in result["steps"] if step["id"] == "sign-bootloader")
    assert str(path) in json.dumps(story)


def test_a_bootloader_of_another_chip_is_refused() -> None:
    ran = run_bootwright("rehearse", "--bootloader", idf_bootloader("esp32c6"))
    assert ran.code == 3
    assert "the image is for chip id 0x000d, expected 0x0005" in ran.err
