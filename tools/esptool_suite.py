"""Run esptool's own hardware tests against virtual chips.

    python tools/esptool_suite.py CHECKOUT [--chips esp32c3,esp32] [--python PYTHON] [--jobs 2]
        [--out PAGE.md] [--reports DIRECTORY]

CHECKOUT is a clone of espressif/esptool; PYTHON has esptool and its test dependencies installed (`pip install
CHECKOUT[dev]`), by default the Python that runs this. esptool is GPL: its tests are run where they lie, as processes.

`test_esptool.py` runs on a pty; the tests that reset the chip through DTR and RTS run on an RFC 2217 port, those for a
flash of 32 MB on a chip that has one. `test_esptool_sdm.py` runs on a chip in secure download mode.
`test_espefuse.py` runs in its mode for FPGA boards, in which a second port erases the eFuses: a plugin turns that
second port into `bootwright chip renew`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
#: Tests that open the port through its reset lines: a pty has none.
ON_LINES = "TestStubReuse or TestReset or custom_reset_sequence or open_port_attempts"
#: Tests that need a flash of 32 MB.
ON_LARGE = "32M"
#: Chips on which esptool reaches flash beyond 16 MB.
LARGE_FLASH = ("esp32s3", "esp32p4", "esp32c5", "esp32c61")
#: Tests of what no model without a processor can do, and why.
SILICON = {
    "test_load_ram": "runs code in RAM",
    "test_load_ram_hex": "runs code in RAM",
    "test_auto_detect_virtual_port": "sets both lines by an ioctl of terminal drivers: no pty or RFC 2217 port has it",
    "test_highspeed_flash_virtual_port": "as test_auto_detect_virtual_port",
    "test_multy_burn_cmds_produce_token": "expects the revision that espefuse's own emulator states",
    "test_postpone_efuses": "asks a chip for its eFuses that has just closed its download mode",
    "test_public_api_summary_json_to_file": "needs espefuse's own emulator, which the suite makes only without a port",
    "test_public_api_batch_mode": "needs espefuse's own emulator, which the suite makes only without a port",
    "test_public_api_nesting": "needs espefuse's own emulator, which the suite makes only without a port",
    "test_burn_key_digest": "ESP32: needs espefuse's own emulator, which the suite makes only without a port",
    "test_close_port_on_init_failure": "needs espefuse's own emulator, which the suite makes only without a port",
}
PLUGIN = '''
import os, subprocess, sys
import serial

class ResetPort:
    """Erases the eFuses of the board, as the FPGA's second port does."""
    def __init__(self, *args, **kwargs):
        self._dtr = self._rts = False
    @property
    def dtr(self):
        return self._dtr
    @dtr.setter
    def dtr(self, value):
        self._dtr = value
    @property
    def rts(self):
        return self._rts
    @rts.setter
    def rts(self, value):
        self._rts = value
        if value and self._dtr:
            subprocess.run(os.environ["BOOTWRIGHT_RENEW"].split(), check=True, stdout=subprocess.DEVNULL)

real = serial.Serial
class Serial(real):
    def __new__(cls, port=None, *args, **kwargs):
        if port == "renew":
            return ResetPort()
        return super().__new__(cls)
serial.Serial = Serial
'''


@dataclass(frozen=True)
class Result:
    """How one test ended."""

    name: str
    verdict: str  #: passed, failed, skipped
    message: str = ""


def main() -> None:
    """Run the suites, write the page, and end with 1 where a test failed that a model should pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--chips", default="esp32,esp32c3,esp32s3")
    parser.add_argument("--suites", default="esptool,esptool_sdm,espefuse")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="suites at a time")
    parser.add_argument("--reports", type=Path, help="keep pytest's reports there")
    options = parser.parse_args()
    runs = [(chip, suite) for chip in options.chips.split(",") for suite in options.suites.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        reports = options.reports or Path(scratch)
        reports.mkdir(parents=True, exist_ok=True)

        def run(chip: str, suite: str) -> tuple[str, str, list[Result]]:
            return chip, suite, SUITES[suite](options.checkout / "test", chip, options.python, reports)

        for row in pool.map(run, *zip(*runs, strict=True)):
            rows.append(row)
            print(summary_row(*row), flush=True)
            for result in row[2]:
                if result.verdict == "failed":
                    print(f"    {result.name}: {result.message}", flush=True)
    if options.out:
        options.out.write_text(page(options.checkout, rows))
    results = [result for _, _, found in rows for result in found]
    sys.exit(any(result.verdict == "failed" and not reason_of(result) for result in results) or not results)


def run_esptool(tests: Path, chip: str, python: str, reports: Path) -> list[Result]:
    """`test_esptool.py`."""
    suite = "test_esptool.py"
    with chip_on(chip, "--pty", strap="download") as (port, _):
        report = reports / f"{chip}-esptool-pty.xml"
        elsewhere = f"{ON_LINES} or {ON_LARGE}" if chip in LARGE_FLASH else ON_LINES
        results = run_pytest(tests, python, suite, chip, port, "-k", f"not ({elsewhere})", report=report)
    with chip_on(chip, "--rfc2217=0", strap="normal") as (port, _):
        report = reports / f"{chip}-esptool-lines.xml"
        results += run_pytest(tests, python, suite, chip, port, "-k", ON_LINES, report=report)
    return results + run_large(tests, chip, python, reports) if chip in LARGE_FLASH else results


def run_large(tests: Path, chip: str, python: str, reports: Path) -> list[Result]:
    """The tests of `test_esptool.py` that a flash of 4 MB skips."""
    with chip_on(chip, "--pty", strap="download", flash="32MB") as (port, _):
        report = reports / f"{chip}-esptool-large.xml"
        environment = {"ESPTOOL_TEST_FLASH_SIZE": "32"}
        words = ("test_esptool.py", chip, port, "-k", ON_LARGE)
        return run_pytest(tests, python, *words, report=report, environment=environment)


def run_esptool_sdm(tests: Path, chip: str, python: str, reports: Path) -> list[Result]:
    """`test_esptool_sdm.py`; the ESP32 has no such mode, and the suite skips it."""
    burned = () if chip == "esp32" else ("ENABLE_SECURITY_DOWNLOAD",)
    with chip_on(chip, "--pty", strap="download", burned=burned) as (port, _):
        report = reports / f"{chip}-esptool_sdm.xml"
        return run_pytest(tests, python, "test_esptool_sdm.py", chip, port, report=report)


def run_espefuse(tests: Path, chip: str, python: str, reports: Path) -> list[Result]:
    """`test_espefuse.py`, in its mode for boards: FPGAs without a factory's eFuses; ESP32 and P4 at least v3.0."""
    blank = "" if chip in ("esp32", "esp32p4") else " --unprogrammed"
    with chip_on(chip, "--pty", strap="download") as (port, directory), tempfile.TemporaryDirectory() as plugins:
        Path(plugins, "renewing.py").write_text(PLUGIN)
        environment = {
            "BOOTWRIGHT_RENEW": f"{sys.executable} -m bootwright chip renew {directory}/chip{blank}",
            "PYTHONPATH": f"{plugins}:{ROOT / 'src'}",
        }
        extra = ("-p", "renewing", "--reset-port", "renew")
        report = reports / f"{chip}-espefuse.xml"
        return run_pytest(tests, python, "test_espefuse.py", chip, port, *extra, report=report, environment=environment)


SUITES = {"esptool": run_esptool, "esptool_sdm": run_esptool_sdm, "espefuse": run_espefuse}


@contextmanager
def chip_on(
    model: str, option: str, *, strap: str, flash: str = "4MB", burned: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """A new chip on a port, with these eFuses set; gives the port and the directory of its file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    bootwright = [sys.executable, "-m", "bootwright"]
    insisting = ["--yes", "--allow", "closed-early", "--allow", "brick"]
    with tempfile.TemporaryDirectory() as directory:
        quiet = {"check": True, "env": environment, "cwd": directory, "stdout": subprocess.DEVNULL}
        for words in (
            ["chip", "new", model, "--flash", flash, "chip"],
            ["chip", "strap", "chip", strap],
            *(["efuse", "burn-efuse", "chip.chip", field, "1", *insisting] for field in burned),
        ):
            subprocess.run([*bootwright, *words], **quiet)  # type: ignore[call-overload] # a dict of options
        with subprocess.Popen(
            [*bootwright, "chip", "serve", "chip", option],
            env=environment,
            cwd=directory,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                line = server.stdout.readline() if server.stdout else ""
                yield line.split("listening on ")[1].strip(), directory
            finally:
                server.send_signal(signal.SIGINT)


def run_pytest(
    tests: Path,
    python: str,
    file: str,
    chip: str,
    port: str,
    *extra: str,
    report: Path,
    environment: dict[str, str] | None = None,
) -> list[Result]:
    """One run of pytest in the checkout; its report stays at `report`, its output beside it."""
    path = f"{Path(python).parent}:{os.environ['PATH']}"
    junit = f"--junitxml={report.resolve()}"
    command = [python, "-m", "pytest", file, "--chip", chip, "--port", port, junit, "-q", *extra]
    with report.with_suffix(".log").open("w") as log:
        subprocess.run(
            command,
            cwd=tests,
            env={**os.environ, "PATH": path, **(environment or {})},
            check=False,
            stdout=log,
            stderr=log,
        )
    return [result_of(case) for case in ElementTree.parse(report).iter("testcase")]


def result_of(case: ElementTree.Element) -> Result:
    """What pytest's report says of one test."""
    name = case.get("name", "")
    for tag, verdict in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            lines = (found.get("message") or found.text or "").strip().splitlines()
            return Result(name, verdict, lines[0][:160] if lines else "")
    return Result(name, "passed")


def summary_row(chip: str, suite: str, results: list[Result]) -> str:
    """A row of the table."""
    counts = [sum(result.verdict == verdict for result in results) for verdict in ("passed", "failed", "skipped")]
    silicon = sum(result.verdict == "failed" and reason_of(result) != "" for result in results)
    return f"| {chip} | test_{suite}.py | {counts[0]} | {counts[1] - silicon} | {silicon} | {counts[2]} |"


def reason_of(result: Result) -> str:
    """Why only silicon can pass the test; empty when a model should."""
    return SILICON.get(re.sub(r"\[.*", "", result.name), "")


def page(checkout: Path, rows: list[tuple[str, str, list[Result]]]) -> str:
    """The results for the docs."""
    commit = subprocess.run(
        ["git", "-C", str(checkout), "log", "-1", "--format=%H %ad", "--date=short"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    lines = [
        "# esptool's own hardware tests on virtual chips",
        "",
        "esptool's repository holds tests that need a chip on a serial port. `tools/esptool_suite.py CHECKOUT` runs",
        f"them against `bootwright chip serve`. Last run {datetime.date.today()}, esptool {commit or '(no commit)'}.",
        "",
        "| chip | suite | passed | failed | no chip on a port passes, or code runs | skipped by the suite |",
        "|---|---|---|---|---|---|",
        *(summary_row(*row) for row in rows),
        "",
    ]
    failed = [(chip, suite, r) for chip, suite, results in rows for r in results if r.verdict == "failed"]
    for chip, suite, result in failed:
        lines.append(f"* {chip}, test_{suite}.py, `{result.name}`: {reason_of(result) or result.message}")
    lines += [
        "",
        "The fourth column counts tests that run code in the chip's RAM, which a model without a processor cannot, and",
        "tests that no chip on a port passes; the script names each with its reason. The suite itself skips tests for",
        "other chips, for USB modes and for hardware that is not connected.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
