"""espsecure's `--hsm` with its own configuration file, over a software token."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.peers import run_bootwright, run_peer

from bootwright.formats.keys import KeyType, generate_key

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
KEYS = {"rsa": KeyType.RSA_3072, "p256": KeyType.ECDSA_P256}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A token with two keys, and a configuration file for each."""
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (pip install 'bootwright[pkcs11]')")
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed (apt-get install softhsm2)")
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    made = run_peer(
        "softhsm2-util", *["--init-token", "--free", "--label", "boot", "--pin", "1234", "--so-pin", "5678"]
    )
    slot = re.search(r"slot (\d+)", made.out)
    assert slot is not None, made
    for number, (name, key_type) in enumerate(KEYS.items(), 1):
        key = generate_key(key_type)
        (folder / f"{name}.pem").write_bytes(key.pem())
        (folder / f"{name}.pub").write_bytes(key.public.pem)
        words = f"--import {folder / name}.pem --token boot --label {name} --id 0{number} --pin 1234"
        assert run_peer("softhsm2-util", *words.split()).code == 0
        lines = [f"pkcs11_lib = {module}", "credentials = 1234", f"slot = {slot[1]}", f"label = {name}"]
        (folder / f"{name}.ini").write_text("[hsm_config]\n" + "\n".join(lines) + "\n")
    (folder / "data").write_bytes(b"\xe9" + bytes(4095))
    (folder / "broken.ini").write_text("[hsm_config]\nslot = 1\n")
    yield folder
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.mark.parametrize("name", KEYS)
def test_a_token_signs_as_espsecure_lets_it(place: Path, name: str) -> None:
    line = f"sign-data --version 2 --hsm --hsm-config {name}.ini --output {{}} data"
    ours = run_bootwright("espsecure", *line.format(f"{name}.ours").split(), cwd=place)
    theirs = run_peer("espsecure", *line.format(f"{name}.theirs").split(), cwd=place)
    assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
    assert ours.out.splitlines()[-1] == theirs.out.splitlines()[-1]
    for check in (f"--keyfile {name}.pub", f"--hsm --hsm-config {name}.ini"):
        words = f"verify-signature --version 2 {check}".split()
        assert run_peer("espsecure", *words, f"{name}.ours", cwd=place).code == 0
        ran = run_bootwright("espsecure", *words, f"{name}.theirs", cwd=place)
        assert ran.code == 0, ran.err


@pytest.mark.parametrize("options", ["", "--hsm-config broken.ini"])
def test_without_a_whole_configuration_both_say_so(place: Path, options: str) -> None:
    words = f"sign-data --version 2 --hsm {options} --output out data".split()
    ours, theirs = run_bootwright("espsecure", *words, cwd=place), run_peer("espsecure", *words, cwd=place)
    assert (ours.code, theirs.code) == (2, 2)
    assert ours.err.splitlines()[1].split("(")[0] == theirs.err.splitlines()[1].split("(")[0]
    assert "1234" not in ours.err
