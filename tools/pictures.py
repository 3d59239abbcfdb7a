"""Draw the pictures of the README anew: `python tools/pictures.py`. Needs Chromium on the PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bootwright.cli.rehearse import draw_table
from bootwright.host.project import load_project
from bootwright.host.rehearse import prepare, rehearse
from bootwright.host.report import render

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def main() -> None:
    """Rehearse once, and draw the terminal and the report."""
    rehearsal = rehearse(prepare(load_project(None))).rehearsal
    IMAGES.mkdir(exist_ok=True)
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=118, file=nowhere, force_terminal=True)
        draw_table(rehearsal, console)
    console.save_svg(str(IMAGES / "rehearse.svg"), title="bootwright rehearse")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium here: the picture of the report was not drawn")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(render(rehearsal))
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1240,1300"]
        picture = f"--screenshot={IMAGES / 'report.png'}"
        subprocess.run([chromium, *options, picture, str(page)], check=True, capture_output=True)


if __name__ == "__main__":
    main()
