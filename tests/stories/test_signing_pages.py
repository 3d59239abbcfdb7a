"""The how-tos about signing, run as they are written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.host.test_key_pkcs11 import MODULES

from bootwright.formats.esp_image import Segment
from bootwright.formats.load_header import make_application

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "how-to"


def blocks(section: str) -> str:
    """The shell blocks of one section of the page."""
    return shell((PAGES / "sign-with-hsm.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0])


def shell(text: str) -> str:
    return "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tests.cli.test_image import C3

    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "bootwright"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bootwright "$@"\n')
    command.chmod(0o755)
    (tmp_path / "bootloader.conf").write_text(C3.replace("SIGN_ED25519", "SIGN_EC256"))
    application = make_application(0x40380000, Segment(0x40380000, bytes(64)), Segment(0x3FC80000, bytes(64)))
    (tmp_path / "app.bin").write_bytes(application)
    return tmp_path


def run(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_token_signs_as_the_page_says(folder: Path) -> None:
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (pip install 'bootwright[pkcs11]')")
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed (apt-get install softhsm2)")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    script = blocks("A token that speaks PKCS#11").replace("pip install 'bootwright[pkcs11]'\n", "")
    script = script.replace("/usr/lib/softhsm/libsofthsm2.so", module)
    done = run(script, folder, SOFTHSM2_CONF=str(folder / "softhsm2.conf"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("[image.signature.valid]") == 2


def test_a_command_signs_as_the_page_says(folder: Path) -> None:
    """With openssl in the place of the cloud's client."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    script = blocks("A key service behind a command")
    client = "openssl pkeyutl -sign -inkey app-key.pem | base64"
    script = re.sub(r"aws kms sign .*?--output text", f'sh -c "{client}"', script, flags=re.DOTALL)
    made = "bootwright key generate ecdsa-p256 app-key.pem; bootwright key public app-key.pem -o app-key.pub.pem\n"
    done = run(made + script, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[image.signature.valid]" in done.stdout


def test_a_signature_is_carried_as_the_page_says(folder: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    script = blocks("A signer that no program reaches")
    assert "# … app.digest is signed" in script
    by_hand = "openssl pkeyutl -sign -inkey app-key.pem -in app.digest | base64 > app.sig"
    script = re.sub(r"# … app\.digest is signed.*", by_hand, script)
    made = "bootwright key generate ecdsa-p256 app-key.pem; bootwright key public app-key.pem -o app-key.pub.pem\n"
    done = run(made + script, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[image.signature.valid]" in done.stdout


def test_an_application_is_signed_as_the_page_says(folder: Path) -> None:
    conf = folder / "bootloader.conf"
    conf.write_text(conf.read_text().replace("SIGN_EC256", "SIGN_ED25519"))
    done = run(shell((PAGES / "sign-an-application.md").read_text()), folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warn" not in done.stdout
    assert "FAIL" not in done.stdout
