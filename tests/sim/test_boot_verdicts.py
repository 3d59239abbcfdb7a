"""The page of finding codes knows every code that the virtual chip's sources name."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "boot-verdicts.md"
CODE = re.compile(r'"((?:rom|port|idf|machine|mcuboot)\.[a-z0-9_]+(?:\.[a-z0-9_]+)*)"')
PARTIAL = {"port.bootloader"}  #: beginnings that are completed when a finding is made


def documented() -> set[str]:
    """Every code of the page; `.x` behind a code replaces or extends the end of the one before."""
    codes: set[str] = set()
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        first = ""
        for found in re.findall(r"`([a-z0-9_.]+)`", line.split("|")[1] if line.startswith("|") else ""):
            if not found.startswith("."):
                first = found
                codes.add(found)
            else:
                codes |= {first + found, first.rpartition(".")[0] + found}
    return codes


def test_every_code_of_the_sources_is_on_the_page() -> None:
    sources = [*(ROOT / "src/bootwright/sim").glob("*.py"), *(ROOT / "src/bootwright/boot").glob("*.py")]
    named = {code for path in sources for code in CODE.findall(path.read_text(encoding="utf-8"))}
    assert len(named) > 70
    assert named - documented() - PARTIAL == set()
