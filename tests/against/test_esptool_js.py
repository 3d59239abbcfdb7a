"""esptool-js, the tool behind web flashers, against chips in software."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.peers import ROOT
from tests.support.virtual import make_chip, served

from bootwright.chips.chip import CHIP_NAMES

VERSION = "0.7.0"


@pytest.fixture(scope="module")
def esptool_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds esptool-js."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node and npm are not installed here")
    folder = tmp_path_factory.mktemp("esptool-js")
    (folder / "package.json").write_text('{"private": true}')
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", f"esptool-js@{VERSION}"]
    if subprocess.run(install, cwd=folder, timeout=100, check=False, capture_output=True).returncode:
        pytest.skip(f"npm could not install esptool-js {VERSION}: no network?")
    shutil.copy(ROOT / "tests" / "support" / "js" / "flash.mjs", folder)
    return folder


@pytest.mark.parametrize("model", CHIP_NAMES)
def test_what_esptool_js_flashes_it_reads_back(tmp_path: Path, esptool_js: Path, model: str) -> None:
    firmware = random.Random(1).randbytes(20_000) + bytes(20_000)
    (tmp_path / "firmware.bin").write_bytes(firmware)
    make_chip(tmp_path, model)
    with served(tmp_path, "chip", options=("--tcp", "0")) as (chip,):
        port = chip.port.rsplit(":", 1)[1]
        ran = subprocess.run(
            ["node", "flash.mjs", port, "0x10000", tmp_path / "firmware.bin", tmp_path / "back.bin"],
            cwd=esptool_js,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.upper().startswith(model.upper()[:5])
    assert (tmp_path / "back.bin").read_bytes() == firmware
