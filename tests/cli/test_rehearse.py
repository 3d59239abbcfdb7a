"""`bootwright rehearse` from the outside: every step, every bad input, and no secret anywhere."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.peers import Ran, run_bootwright

from bootwright.cli.main import run as bootwright

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


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process: what it prints and ends with."""

    def once(*arguments: str | Path) -> Ran:
        with pytest.raises(SystemExit) as ended:
            bootwright(list(map(str, arguments)))
        out, err = capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return once


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
    burned = {fuse["name"]: (fuse["block"], fuse["bit"], fuse["before"], fuse["after"]) for fuse in result["efuses"]}
    assert burned["SECURE_BOOT_EN"] == ("BLOCK0", 116, "0", "1")
    assert all(not fuse["reversible"] for fuse in result["efuses"])
    assert "model" in next(f["because"] for f in result["findings"] if f["code"] == "rehearse.bootloader.modelled")
    page = report.read_text()
    assert all(f'id="{step}"' for step in STEPS)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "rsa-2048", "rsa-3072"])
def test_every_key_type_mode_and_owner_of_the_flash_key_passes(key_type: str, run: Run) -> None:
    mode = "development" if key_type == "rsa-2048" else "release"
    ran = run("rehearse", "--key-type", key_type, "--mode", mode, "--fe-key", "host", "--json")
    assert ran.code == 0
    result = answer(ran)
    assert result["project"] == {
        "name": "built-in project",
        "chip": "esp32c3",
        "mode": mode,
        "key_type": key_type,
        "fe_key": "host",
    }
    assert {step["verdict"] for step in result["steps"]} == {"pass"}


def test_a_person_gets_a_table_and_a_sentence() -> None:
    ran = run_bootwright("rehearse")
    assert ran.code == 0
    assert "The chain holds: all 9 steps worked, all 9 attacks were refused." in ran.out
    assert all(step in ran.out for step in STEPS)
    assert "\x1b" not in ran.out
    assert not [line for line in ran.out.splitlines() if line != line.rstrip()]
    assert ran.err == ""


def test_a_bootloader_without_downgrade_prevention_ends_with_1_and_says_what_to_do(tmp_path: Path, run: Run) -> None:
    project = tmp_path / "bootwright.toml"
    project.write_text("[security]\ndowngrade_prevention = false\n")
    ran = run("rehearse", project, "--json")
    assert ran.code == 1
    result = answer(ran)
    assert [step["id"] for step in result["steps"] if step["verdict"] == "fail"] == ["attack-downgrade"]
    assert [finding["code"] for finding in result["findings"] if finding["verdict"] == "fail"] == ["attack.got_through"]


def test_the_printed_project_can_be_rehearsed(tmp_path: Path) -> None:
    printed = run_bootwright("rehearse", "--print-project")
    assert printed.code == 0
    (tmp_path / "bootwright.toml").write_text(printed.out)
    assert run_bootwright("rehearse", "bootwright.toml", "--json", cwd=tmp_path).code == 0


def test_the_printed_project_holds_what_the_command_line_says_also_as_json(tmp_path: Path, run: Run) -> None:
    words = ["rehearse", "--app", "my.bin", "--key-type", "rsa-3072", "--mode", "release", "--print-project"]
    printed = run(*words)
    assert (printed.code, printed.err) == (0, "")
    document = tomllib.loads(printed.out)
    assert document["app"]["file"] == "my.bin"
    assert (document["keys"]["type"], document["security"]["mode"]) == ("rsa-3072", "release")
    assert answer(run(*words, "--json"))["project_file"] == printed.out


def secrets_of(folder: Path) -> list[bytes]:
    """What must not be seen anywhere: the bodies of the PEM files, the raw key and its hex."""
    found: list[bytes] = []
    for path in folder.iterdir():
        data = path.read_bytes()
        if path.name.endswith(".pem") and b"PRIVATE" in data:
            found += [line for line in data.splitlines() if not line.startswith(b"-----") and len(line) > 20]
        elif path.name == "flash_encryption.bin":
            found += [data, data.hex().encode(), data[::-1].hex().encode()]
    return found


def test_kept_keys_are_for_their_owner_and_shown_nowhere(tmp_path: Path, run: Run) -> None:
    kept, report = tmp_path / "kept", tmp_path / "report.html"
    ran = run("rehearse", "--keep", kept, "--report", report, "--json")
    assert ran.code == 0
    keys = {path.name for path in kept.iterdir() if path.stat().st_mode & 0o077 == 0}
    assert keys == {"signing.pem", "secure_boot.pem", "flash_encryption.bin"}
    secrets = secrets_of(kept)
    assert len(secrets) > 3
    shown = ran.out.encode() + ran.err.encode() + report.read_bytes()
    assert not [secret for secret in secrets if secret in shown]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The artefacts of a rehearsal, with an EC key beside them."""
    from bootwright.formats.keys import KeyType, generate_key

    key = generate_key(KeyType.ECDSA_P256)
    (tmp_path / "ec.pem").write_bytes(key.pem())
    (tmp_path / "locked.pem").write_bytes(generate_key(KeyType.ED25519).pem(b"open sesame"))
    (tmp_path / "empty.bin").write_bytes(b"")
    (tmp_path / "app.elf").write_bytes(b"\x7fELF" + bytes(500))
    (tmp_path / "large.bin").write_bytes(b"\x01" * 0x1C0001)
    (tmp_path / "fitting-no-more.bin").write_bytes(b"\x01" * (0x1C0000 - 49408))
    return tmp_path


def ends_in_one_sentence(ran: Ran, code: int, *parts: str) -> None:
    assert ran.code == code
    assert ran.out == ""
    message, hint = ran.err.splitlines()
    assert message.startswith("error: ")
    assert hint.startswith("  hint: ")
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("project", "code", "parts"),
    [
        ('[app]\nfile = "none.bin"\n', 3, ["none.bin", "found nothing", "expected an application"]),
        ('[app]\nfile = "empty.bin"\n', 3, ["empty.bin", "found an empty file"]),
        ('[app]\nfile = "large.bin"\n', 3, ["large.bin: found", "expected at most 0x1b3f00"]),
        ('[app]\nfile = "fitting-no-more.bin"\n', 3, ["fitting-no-more.bin: found", "trailer of 512 sectors"]),
        ('[update]\nfile = "none.bin"\n', 3, ["none.bin", "found nothing"]),
        ('[bootloader]\nfile = "none.bin"\n', 3, ["none.bin", "found nothing"]),
        ('[bootloader]\nfile = "empty.bin"\n', 3, ["empty.bin", "found an empty file"]),
        ('[bootloader]\nfile = "large.bin"\n', 3, ["large.bin", "0xe9"]),
        ('[keys]\nsigning = "none.pem"\n', 3, ["none.pem", "expected a key file"]),
        ('[keys]\nsigning = "ec.pem"\n', 3, ["ec.pem", "found a key of type ecdsa-p256, expected ed25519"]),
        ('[keys]\nsecure_boot = "ec.pem"\n', 3, ["ec.pem", "found a key of type ecdsa-p256, expected rsa-3072"]),
        ('[keys]\nsigning = "locked.pem"\n', 4, ["locked.pem", "encrypted private key"]),
        ('[keys]\nsigning = "large.bin"\n', 3, ["large.bin", "at most 0x10000"]),
        (
            '[security]\nfe_key = "host"\n[keys]\nflash_encryption = "ec.pem"\n',
            3,
            ["ec.pem", "more than 0x40 bytes"],
        ),
        ("[layout]\nsecondary = 0x100000\n", 3, ["share flash"]),
        ("[keys]\ntpye = 1\n", 3, ["unknown key keys.tpye"]),
        ('[app]\nfile = "."\n', 3, ["found a directory"]),
        ('[app]\nfile = "app.elf"\n', 3, ["app.elf", "found an ELF file"]),
        ('[keys]\npassword_env = "NO_SUCH_VARIABLE"\n', 4, ["NO_SUCH_VARIABLE"]),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(
    kept: Path, run: Run, project: str, code: int, parts: list[str]
) -> None:
    (kept / "bootwright.toml").write_text(project)
    before = sorted(kept.iterdir())
    ran = run("rehearse", kept / "bootwright.toml", "--report", kept / "r.html", "--keep", kept / "out")
    ends_in_one_sentence(ran, code, *parts)
    assert sorted(kept.iterdir()) == before


def test_a_truncated_and_a_signed_bootloader_are_refused(tmp_path: Path, run: Run) -> None:
    kept = tmp_path / "kept"
    assert run("rehearse", "--keep", kept).code == 0
    image = (kept / "bootloader.bin").read_bytes()
    cases = {
        image[:-100]: "found",
        image[:200] + bytes([image[200] ^ 0xFF]) + image[201:]: "checksum",
        (kept / "bootloader-signed.bin").read_bytes(): "expected an unsigned bootloader",
        b"\x00" * 64: "0xe9",
    }
    for data, part in cases.items():
        (tmp_path / "bad.bin").write_bytes(data)
        ran = run("rehearse", "--bootloader", tmp_path / "bad.bin")
        ends_in_one_sentence(ran, 3, "bad.bin", part)
    ran = run("rehearse", "--app", kept / "app-signed.bin")
    ends_in_one_sentence(ran, 3, "app-signed.bin", "signed already")


def test_a_bootloader_too_large_for_its_region_is_refused(tmp_path: Path, run: Run) -> None:
    from bootwright.formats.esp_image import make_bootloader_image

    (tmp_path / "big.bin").write_bytes(make_bootloader_image(5, size=0xF000))
    ran = run("rehearse", "--bootloader", tmp_path / "big.bin")
    ends_in_one_sentence(ran, 3, "big.bin", "its area 0xf000")


def test_the_right_password_opens_the_key(kept: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept / "bootwright.toml").write_text('[keys]\nsigning = "locked.pem"\npassword_env = "SESAME"\n')
    monkeypatch.setenv("SESAME", "open sesame")
    ran = run("rehearse", kept / "bootwright.toml", "--json")
    assert ran.code == 0
    assert "open sesame" not in ran.out
    monkeypatch.setenv("SESAME", "shut")
    ends_in_one_sentence(run("rehearse", kept / "bootwright.toml"), 4, "password does not open")


def test_a_report_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path, run: Run) -> None:
    ran = run("rehearse", "--report", tmp_path / "no" / "where.html", "--json")
    assert ran.code == 7
    assert answer(ran)["error"]["kind"] == "RefusedError"


def test_a_place_for_artefacts_that_is_a_file_is_refused_before_anything_is_played(tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("mine")
    ran = run("rehearse", "--keep", tmp_path / "file", "--report", tmp_path / "r.html")
    ends_in_one_sentence(ran, 7, "file: found a file, expected a directory")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_usage_errors_end_with_2(run: Run) -> None:
    assert run("rehearse", "--key-type", "dsa").code == 2
    assert run("rehearse", "--no-such-option").code == 2
