"""`bootwright rehearse` from the outside: every step, every bad input, and no secret anywhere."""

import json
from pathlib import Path
from typing import Any

from tests.support.peers import Ran, run_bootwright

STEPS = (
    "keys",
    "sign-app",
    "sign-bootloader",
    "flash",
    "first-boot",
    "boot",
    "update-confirm",
    "update-revert",
    "attack-bit-app",
    "attack-bit-bootloader",
    "attack-bit-tlv",
    "attack-unsigned",
    "attack-wrong-key",
    "attack-downgrade",
    "attack-plaintext-over-encrypted",
    "attack-moved-slot",
    "attack-readout",
    "power-cut",
)


def answer(ran: Ran) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(ran.out)
    return loaded


def test_the_built_in_rehearsal_passes_with_every_step_in_order(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    ran = run_bootwright("rehearse", "--json", "--report", report)
    assert (ran.code, ran.err) == (0, "")
    result = answer(ran)
    assert (result["schema"], result["command"], result["verdict"]) == (1, "rehearse", "pass")
    assert tuple(step["id"] for step in result["steps"]) == STEPS
    assert {step["verdict"] for step in result["steps"]} == {"pass"}
    assert all(step["findings"] and step["title"] for step in result["steps"])
    assert "model" in next(f["because"] for f in result["findings"] if f["code"] == "rehearse.bootloader.modelled")
    page = report.read_text()
    assert all(f'id="{step}"' for step in STEPS)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
