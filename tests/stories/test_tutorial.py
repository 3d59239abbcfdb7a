"""The tutorial, run as it is written."""

import re
from pathlib import Path

from tests.support.here import bootwright
from tests.support.peers import Ran, run_peer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-rehearsal.md"


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def run(place: Path, line: str) -> Ran:
    command, _, target = line.partition(" > ")
    name, *words = command.split()
    ran = bootwright(place, *words) if name == "bootwright" else run_peer(name, *words, cwd=place)
    if target:
        (place / target).write_text(ran.out)
    return ran


def test_every_command_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    lines = [line for block in blocks("") for line in block.splitlines()]
    assert len(lines) == 7
    said = {line: run(tmp_path, line) for line in lines}
    assert {line: ran.code for line, ran in said.items()} == dict.fromkeys(lines, 0)
    for line, ran in said.items():
        if line.startswith("bootwright rehearse") and ">" not in line:
            assert "The chain holds: all 9 steps worked, all 9 attacks were refused." in ran.out
    assert {"report.html", "release.html", "bootwright.toml", "out"} <= {path.name for path in tmp_path.iterdir()}
    assert "Image was correctly validated" in said[lines[-2]].out
    assert "verification successful" in said[lines[-1]].out


def test_the_two_ways_to_break_it_break_what_the_page_says(tmp_path: Path) -> None:
    (without,) = blocks("toml")
    (tmp_path / "bootwright.toml").write_text(without)
    ran = bootwright(tmp_path, "rehearse", "bootwright.toml")
    assert ran.code == 1
    assert re.search(r"attack-downgrade +got through", ran.out)
    assert "next: switch on CONFIG_ESP_DOWNGRADE_PREVENTION" in ran.out
    (tmp_path / "bootwright.toml").write_text('[layout]\nupgrade = "overwrite"\n')
    ran = bootwright(tmp_path, "rehearse", "bootwright.toml")
    assert ran.code == 1
    assert re.search(r"update-revert +failed", ran.out)
