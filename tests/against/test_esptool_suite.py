"""esptool's own hardware tests, where somebody has a checkout of them: `tools/esptool_suite.py` runs them."""

import os
import subprocess
import sys

import pytest
from tests.support.peers import ROOT

CHECKOUT = os.environ.get("BOOTWRIGHT_ESPTOOL_CHECKOUT", "")


@pytest.mark.skipif(
    not CHECKOUT, reason="set BOOTWRIGHT_ESPTOOL_CHECKOUT to a clone of espressif/esptool (GPL, not in this repository)"
)
@pytest.mark.parametrize("suite", ["esptool", "esptool_sdm", "espefuse"])
def test_esptools_own_tests_take_a_virtual_chip_for_a_chip(suite: str) -> None:
    tool = str(ROOT / "tools" / "esptool_suite.py")
    command = [sys.executable, tool, CHECKOUT, "--chips", "esp32c3", "--suites", suite]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
