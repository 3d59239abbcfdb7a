"""`bootwright config lint` from the outside."""

import json
from pathlib import Path

import pytest
from tests.support.peers import run_bootwright

SOUND = """CONFIG_ESP_FLASH_SIZE=4MB
CONFIG_ESP_BOOTLOADER_SIZE=0xF000
CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x20000
CONFIG_ESP_APPLICATION_SIZE=0x1C0000
CONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x1E0000
CONFIG_ESP_BOOT_SWAP_USING_MOVE=y
CONFIG_ESP_SIGN_EC256=y
CONFIG_ESP_USE_TINYCRYPT=y
CONFIG_ESP_SIGN_KEY_FILE=k.pem
"""


def test_a_sound_file_ends_with_0_and_a_trap_in_a_later_one_with_1(tmp_path: Path) -> None:
    (tmp_path / "sound.conf").write_text(SOUND)
    (tmp_path / "later.conf").write_text("CONFIG_ESP_BOOT_UPGRADE_ONLY=y # no way back\n")
    assert run_bootwright("config", "lint", "sound.conf", cwd=tmp_path).code == 0
    both = run_bootwright("config", "lint", "sound.conf", "later.conf", "--json", cwd=tmp_path)
    assert both.code == 1
    answer = json.loads(both.out)
    assert (answer["command"], answer["verdict"]) == ("config lint", "fail")
    assert [finding["code"] for finding in answer["findings"]] == ["conf.comment.drops_option"]
    assert answer["findings"][0]["subject"] == "later.conf:1"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "found nothing"), (b"", "found an empty file"), (b"\xff\xfe", "expected text in UTF-8")],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.conf"
    if content is not None:
        path.write_bytes(content)
    ran = run_bootwright("config", "lint", path)
    assert ran.code == 3
    assert message in ran.err
    assert "Traceback" not in ran.err + ran.out
    assert len(ran.err.splitlines()) == 2
