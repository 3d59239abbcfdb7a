"""The rehearsal in process: every chip, what the first boot burns, what a broken chain says."""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import pytest

from bootwright.errors import FormatError, RefusedError
from bootwright.finding import Verdict, failed
from bootwright.formats.keys import KeyType, PrivateKey, generate_key
from bootwright.host.project import Project, load_project, parse_project
from bootwright.host.rehearsal import Content, Kind, Rehearsal, Step
from bootwright.host.rehearse import ACTS, STEP_IDS, keep_artefacts, prepare, rehearse
from bootwright.host.report import badge, headline


@cache
def secure_boot_key(key_type: KeyType) -> PrivateKey:
    return generate_key(key_type)  # RSA keys are slow to make; one for all tests will do


def played(project: Project) -> Rehearsal:
    """Played with the same dice every time: which check meets noise first is chance."""
    inputs = prepare(project, random=Random(2).randbytes)
    return rehearse(replace(inputs, given_secure_boot=secure_boot_key(inputs.secure_boot_type))).rehearsal


@cache
def built_in(mode: str = "development") -> Rehearsal:
    return played(load_project(None, security_mode=mode))


def burned(rehearsal: Rehearsal) -> list[list[str]]:
    """The fields of each eFuse program of the first boot, as the timeline has them."""
    step = next(step for step in rehearsal.steps if step.id == "first-boot")
    return [event.what.partition(": ")[2].split(", ") for event in step.events if event.lane == "efuse"]


@pytest.mark.parametrize(
    "chip", ["esp32", "esp32s2", "esp32s3", "esp32c5", "esp32c6", "esp32c61", "esp32h2", "esp32p4"]
)
def test_the_chain_holds_on_every_chip_with_separate_key_blocks(chip: str) -> None:
    mode, owner = ("release", "host") if chip in ("esp32", "esp32s3", "esp32h2") else ("development", "device")
    result = played(load_project(None, project_chip=chip, security_mode=mode, security_fe_key=owner))
    assert [step.id for step in result.steps] == list(STEP_IDS)
    assert [(step.id, step.findings) for step in result.steps if step.verdict is not Verdict.PASS] == []
    assert headline(result) == "The chain holds: all 9 steps worked, all 9 attacks were refused."


def test_on_the_c2_the_port_encrypts_before_its_key_is_burned_and_the_rom_refuses_what_it_left() -> None:
    """main.c commits the batch of both keys behind `esp_flash_encrypt_contents`; ESP-IDF's own code does it before."""
    result = played(load_project(None, project_chip="esp32c2"))
    wrong = next(step for step in result.steps if step.verdict is Verdict.FAIL)
    assert wrong.id == "first-boot"
    assert [finding.code for finding in wrong.findings if finding.verdict is Verdict.FAIL] == ["rom.image.magic"]
    assert "rehearse.chip.untraced" in [note.code for note in result.notes]


def test_on_the_c2_the_port_asks_a_host_s_block_to_be_hidden_and_readable() -> None:
    """secure_boot.c asks `CONFIG_SOC_EFUSE_CONSISTS_OF_ONE_KEY_BLOCK`, which no build of the port defines."""
    result = played(load_project(None, project_chip="esp32c2", security_fe_key="host"))
    wrong = next(step for step in result.steps if step.verdict is Verdict.FAIL)
    assert wrong.id == "first-boot"
    failures = [finding for finding in wrong.findings if finding.verdict is Verdict.FAIL]
    assert [finding.code for finding in failures] == ["port.secure_boot.digest.hidden"]
    assert "flash-encryption key" in failures[0].because
    assert burned(result) == []


#: what the real bootloader burns at its first boot, program by program (MCUboot v2.4.0-114 on ESP-IDF v6.0, C3)
DEVELOPMENT = [
    ["KEY0"],
    [
        "WR_DIS.KEY_PURPOSE_0",
        "WR_DIS.BLOCK_KEY0",
        "SECURE_BOOT_KEY_REVOKE1",
        "SECURE_BOOT_KEY_REVOKE2",
        "KEY_PURPOSE_0",
        "SECURE_BOOT_EN",
        "DIS_DIRECT_BOOT",
    ],
    ["KEY1"],
    [
        "WR_DIS.RD_DIS",
        "WR_DIS.DIS_ICACHE",
        "WR_DIS.KEY_PURPOSE_1",
        "WR_DIS.BLOCK_KEY1",
        "RD_DIS.BLOCK_KEY1",
        "KEY_PURPOSE_1",
    ],
    ["SPI_BOOT_CRYPT_CNT"],
]
RELEASE = [
    ["KEY0"],
    [*DEVELOPMENT[1], "DIS_USB_JTAG", "SOFT_DIS_JTAG", "DIS_PAD_JTAG"],
    ["KEY1"],
    [*DEVELOPMENT[3], "DIS_DOWNLOAD_ICACHE", "DIS_DOWNLOAD_MANUAL_ENCRYPT"],
    ["SPI_BOOT_CRYPT_CNT"],
]


@pytest.mark.parametrize(("mode", "expected"), [("development", DEVELOPMENT), ("release", RELEASE)])
def test_the_first_boot_burns_what_the_real_one_burns_in_its_order(mode: str, expected: list[list[str]]) -> None:
    result = built_in(mode)
    assert [sorted(fields) for fields in burned(result)] == [sorted(fields) for fields in expected]
    counter = next(fuse for fuse in result.fuses if fuse.name == "SPI_BOOT_CRYPT_CNT")
    assert (counter.block, counter.bit, counter.before, counter.after) == (
        "BLOCK0",
        82,
        "0",
        "1" if mode == "development" else "7",
    )
    assert not any(fuse.reversible for fuse in result.fuses)
    ways_back = {fuse.name: fuse.way_back for fuse in result.fuses if fuse.way_back}
    once = {"SPI_BOOT_CRYPT_CNT": "one more bit switches it off, once"}
    assert ways_back == (once if mode == "development" else {})
    assert {fuse.name for fuse in result.fuses} == {name for fields in expected for name in fields}


def test_the_flash_is_plaintext_before_and_ciphertext_after() -> None:
    result = built_in()
    assert {run.content for run in result.before.runs} == {Content.ERASED, Content.PLAIN}
    for name, address, size in result.regions:
        inside = {
            run.content
            for run in result.after.runs
            if run.address < address + size and address < run.address + run.size
        }
        assert inside <= {Content.CIPHER, Content.CIPHER_ERASED}, name
    assert sum(run.size for run in result.after.runs) == result.flash_size


def test_every_attack_names_a_check_that_the_chip_found() -> None:
    result = built_in()
    codes = {step.id: {finding.code for finding in step.findings} for step in result.steps if step.kind is Kind.ATTACK}
    assert codes["attack-bit-app"] == {"mcuboot.image.hash"}
    assert "rom.secure_boot.digest" in codes["attack-bit-bootloader"]
    assert codes["attack-bit-bootloader"] & {"rom.image.checksum", "rom.image.segments"}
    assert codes["attack-bit-bootloader"] & {"rom.secure_boot.crc", "rom.secure_boot.unsigned"}
    assert codes["attack-bit-tlv"] == {"mcuboot.image.hash", "mcuboot.image.signature"}
    assert codes["attack-unsigned"] == {"mcuboot.image.signature"}
    assert codes["attack-wrong-key"] == {"mcuboot.image.signature"}
    assert codes["attack-downgrade"] == {"mcuboot.image.downgrade"}
    assert codes["attack-plaintext-over-encrypted"] == {"mcuboot.image.header", "rom.image.magic"}
    assert codes["attack-moved-slot"] == {"mcuboot.image.header"}
    assert codes["attack-readout"] == {"flash_encryption.ciphertext", "efuse.key.read_protected", "download.open"}


def test_the_security_counter_decides_when_the_bootloader_asks_for_it(tmp_path: Path) -> None:
    conf = tmp_path / "b.conf"
    conf.write_text(
        "".join(f"{line.name}={line.value}\n" for line in load_project(None).conf.definitions)
        + "CONFIG_ESP_DOWNGRADE_PREVENTION_SECURITY_COUNTER=y\n"
    )
    project = parse_project('[bootloader]\nconf = "b.conf"\n', folder=tmp_path, where="bootwright.toml")
    result = played(project)
    assert result.verdict is Verdict.PASS
    step = next(step for step in result.steps if step.id == "attack-downgrade")
    assert "security counter 1 is lower than the 2" in step.findings[0].because


def test_swap_move_plays_too_and_overwrite_says_that_nothing_goes_back() -> None:
    move = parse_project('[layout]\nupgrade = "move"\n', folder=Path(), where="x")
    assert played(move).verdict is Verdict.PASS
    overwrite = played(parse_project('[layout]\nupgrade = "overwrite"\n', folder=Path(), where="x"))
    assert overwrite.verdict is Verdict.FAIL
    (stays,) = [step for step in overwrite.steps if step.verdict is Verdict.FAIL]
    assert [finding.code for finding in stays.findings] == ["update.swapped", "update.no_revert"]
    assert stays.findings[1].because == "version 1.1.1, never confirmed, stays: overwrite mode keeps no old image"
    assert [event.what for event in stays.events if event.lane == "boot"] == ["runs 1.1.1", "runs 1.1.1"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE", "answers READ_FLASH_SLOW with status 0105"),
        ("CONFIG_SECURE_DISABLE_ROM_DL_MODE", "answers no SYNC; it prints: Download boot modes disabled"),
    ],
)
def test_a_closed_loader_refuses_the_readout(option: str, words: str, tmp_path: Path) -> None:
    lines = [f"{line.name}={line.value}\n" for line in load_project(None, security_mode="release").conf.definitions]
    (tmp_path / "b.conf").write_text("".join(lines) + f"{option}=1\n")
    result = played(parse_project('[bootloader]\nconf = "b.conf"\n', folder=tmp_path, where="x"))
    readout = next(step for step in result.steps if step.id == "attack-readout")
    (closed,) = [finding for finding in readout.findings if finding.code == "download.closed"]
    assert words in closed.because


def test_after_a_failed_step_the_others_say_that_they_were_not_played(tmp_path: Path) -> None:
    lines = [f"{line.name}={line.value}\n" for line in load_project(None).conf.definitions]
    (tmp_path / "b.conf").write_text("".join(line for line in lines if "SIGNED_ON_BOOT" not in line))
    result = played(parse_project('[bootloader]\nconf = "b.conf"\n', folder=tmp_path, where="x"))
    assert result.verdict is Verdict.FAIL
    by_id = {step.id: step for step in result.steps}
    assert [finding.code for finding in by_id["first-boot"].findings] == ["port.secure_boot.unsigned"]
    assert badge(by_id["first-boot"]) == "failed"
    assert {badge(step) for step in result.steps[5:]} == {"not played"}
    assert headline(result) == "The chain does not hold: first-boot failed, so 13 of 18 steps were not played."
    assert result.chain == ()


def test_an_application_without_a_load_header_is_played_with_one_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "app.bin").write_bytes(Random(1).randbytes(5001))
    result = played(load_project(None, app_file=str(tmp_path / "app.bin")))
    assert result.verdict is Verdict.PASS
    step = next(step for step in result.steps if step.id == "sign-app")
    assert [finding.verdict for finding in step.findings if finding.code == "app.load_header.added"] == [Verdict.WARN]


def test_same_versions_still_have_something_older_to_attack_with() -> None:
    text = '[app]\nversion = "2.0.0"\n[update]\nversion = "2.0.0"\n'
    result = played(parse_project(text, folder=Path(), where="x"))
    step = next(step for step in result.steps if step.id == "attack-downgrade")
    assert step.story[0].startswith("Version 1.0.0, rightly signed")


def test_a_verdict_follows_from_the_findings() -> None:
    step = Step(id="x", title="X", kind=Kind.ATTACK, findings=(failed("a.b", "c", "d"),))
    assert badge(step) == "got through"
    assert badge(replace(step, kind=Kind.CHAIN)) == "failed"


def test_kept_files_go_into_a_directory_that_can_be_made(tmp_path: Path) -> None:
    outcome = rehearse(prepare(load_project(None)))
    keep_artefacts(outcome.artefacts, tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "app-signed.bin").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(RefusedError):
        keep_artefacts(outcome.artefacts, tmp_path / "file")
    assert "bytes)" in repr(outcome.artefacts[0])


def test_the_progress_hears_every_title_in_order() -> None:
    titles: list[str] = []
    rehearse(prepare(load_project(None)), on_step=titles.append)
    assert titles == [act.title for act in ACTS]


def test_what_the_linter_has_against_the_conf_is_in_the_notes(tmp_path: Path) -> None:
    lines = [f"{line.name}={line.value}\n" for line in load_project(None).conf.definitions]
    serial = "CONFIG_ESP_MCUBOOT_SERIAL=y\nCONFIG_ESP_MCUBOOT_ERASE_PROGRESSIVELY=y\n"
    (tmp_path / "b.conf").write_text("".join(lines) + serial)
    result = played(parse_project('[bootloader]\nconf = "b.conf"\n', folder=tmp_path, where="x"))
    assert result.verdict is Verdict.PASS
    assert "conf.serial.progressive_encrypted" in [note.code for note in result.notes]


def test_an_update_that_is_older_fails_with_the_check_that_refused_it_and_the_rest_is_played() -> None:
    text = '[app]\nversion = "3.0.0"\n'
    result = played(parse_project(text, folder=Path(), where="x"))
    wrong = {step.id: step.findings[-1] for step in result.steps if step.verdict is Verdict.FAIL}
    assert set(wrong) == {"update-confirm", "update-revert", "power-cut"}
    assert {finding.code for finding in wrong.values()} == {"mcuboot.image.downgrade"}
    assert "version 1.1.0+0 is lower than the 3.0.0+0" in wrong["update-confirm"].because


TWO_IMAGES = """
CONFIG_ESP_IMAGE_NUMBER=2
CONFIG_ESP_APPLICATION_SIZE=0x80000
CONFIG_ESP_IMAGE1_PRIMARY_START_ADDRESS=0x280000
CONFIG_ESP_IMAGE1_SECONDARY_START_ADDRESS=0x300000
"""


@pytest.mark.parametrize("more", ["", "CONFIG_ESP_BOOT_SWAP_USING_MOVE=y\n"], ids=["scratch", "move"])
def test_of_two_images_the_other_is_signed_flashed_encrypted_and_guarded_too(tmp_path: Path, more: str) -> None:
    lines = [f"{line.name}={line.value}\n" for line in load_project(None).conf.definitions]
    (tmp_path / "b.conf").write_text("".join(lines) + TWO_IMAGES + more)
    text = '[bootloader]\nconf = "b.conf"\n[second]\nversion = "7.0.1"\n'
    result = played(parse_project(text, folder=tmp_path, where="x"))
    assert result.verdict is Verdict.PASS
    steps = {step.id: step for step in result.steps}
    assert ("image.signature.valid", "image 1 7.0.1") in {(f.code, f.subject) for f in steps["sign-app"].findings}
    assert "primary of image 1" in {f.subject for f in steps["flash"].findings}
    assert any("in image 1" in sentence for sentence in steps["attack-bit-app"].story)


def test_a_second_image_needs_a_bootloader_for_two() -> None:
    with pytest.raises(FormatError, match=r"found second\.version with a bootloader for one image"):
        parse_project('[second]\nversion = "1.0.0"\n', folder=Path(), where="x")


SIGNER = """#!{python}
import sys
sys.path.insert(0, {source!r})
from bootwright.formats.keys import load_private_key
key = load_private_key(open({key!r}, "rb").read())
if sys.argv[1:] == ["public-key"]:
    sys.stdout.buffer.write(key.public.pem)
else:
    sys.stdout.buffer.write(key.sign_digest(sys.stdin.buffer.read()))
"""


def test_a_key_behind_a_command_signs_and_is_not_kept(tmp_path: Path) -> None:
    key, script = tmp_path / "elsewhere.pem", tmp_path / "sign"
    key.write_bytes(generate_key(KeyType.ED25519).pem())
    source = str(Path(__file__).resolve().parents[2] / "src")
    script.write_text(SIGNER.format(python=sys.executable, source=source, key=str(key)))
    script.chmod(0o700)
    project = parse_project(f'[keys]\nsigning = "exec:{script}"\n', folder=tmp_path, where="x")
    outcome = rehearse(replace(prepare(project), given_secure_boot=secure_boot_key(KeyType.RSA_3072)))
    assert outcome.rehearsal.verdict is Verdict.PASS
    assert {artefact.name for artefact in outcome.artefacts if artefact.secret} == {"flash_encryption.bin"}
