"""What counts as a refusal, and what does not: the judge of the attacks, on chips that are not yet closed."""

import os
from functools import cache
from pathlib import Path

import pytest

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, failed, overall, warned
from bootwright.formats.esp_flash_encryption import efuse_key
from bootwright.host.flash_key import host_key_size, key_file, plan_host_key
from bootwright.host.project import load_project, parse_project
from bootwright.host.rehearse import prepare, set_the_stage
from bootwright.host.rehearse_attacks import judge, readout
from bootwright.host.rehearse_chain import flash, keys, sign_app, sign_bootloader
from bootwright.host.rehearse_world import Notes, World, bumped, how_it_ended, lowered
from bootwright.sim.board import Outcome
from bootwright.sim.machine import BootReport


@cache
def flashed() -> World:
    """A chip that was flashed and never booted: everything lies open."""
    world = set_the_stage(prepare(load_project(None)))
    for play in (keys, sign_app, sign_bootloader, flash):
        notes = Notes()
        play(world, notes)
        assert overall(notes.findings) is Verdict.PASS
    return world


def judged(outcome: Outcome, *findings: Finding, tampered: bool = False) -> tuple[Finding, ...]:
    world, notes = flashed(), Notes()
    bench = world.bench.copy()
    if tampered:
        bench.flip(world.primary.address + 0x100)
    judge(world, notes, bench, BootReport(outcome=outcome, findings=findings, console=(), version="9.9.9"))
    return tuple(notes.findings)


def test_an_image_that_runs_and_is_not_the_legitimate_one_got_through() -> None:
    (finding,) = judged(Outcome.APP, tampered=True)
    assert (finding.code, finding.verdict) == ("attack.got_through", Verdict.FAIL)
    assert "version 9.9.9 runs" in finding.because


def test_a_refusal_without_a_check_that_says_why_does_not_count() -> None:
    (finding,) = judged(Outcome.PANIC)
    assert (finding.code, finding.verdict) == ("attack.unexplained", Verdict.FAIL)


def test_a_refusal_carries_the_check_s_own_code_and_words() -> None:
    check = failed("rom.secure_boot.digest", "bootloader", "block 0: changed after signing")
    (finding,) = judged(Outcome.ROM_REFUSED, check)
    assert (finding.code, finding.because, finding.verdict) == (check.code, check.because, Verdict.PASS)


def test_an_update_that_was_refused_while_the_old_image_runs_counts() -> None:
    (finding,) = judged(Outcome.APP, warned("mcuboot.image.signature", "secondary", "no signature"))
    assert (finding.code, finding.verdict) == ("mcuboot.image.signature", Verdict.PASS)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.APP])
def test_every_end_has_its_words(outcome: Outcome) -> None:
    assert how_it_ended(BootReport(outcome=outcome, findings=(), console=()))


def test_an_open_chip_leaks_and_the_readout_says_so() -> None:
    notes = Notes()
    readout(flashed(), notes)
    codes = {finding.code: finding.verdict for finding in notes.findings}
    assert codes["flash_encryption.plaintext"] is Verdict.FAIL


def test_a_readable_flash_key_is_a_failure() -> None:
    world = set_the_stage(prepare(load_project(None)))
    efuses = world.bench.efuses
    key = efuses.burn_block(4, os.urandom(32)).burn_fields({"KEY_PURPOSE_0": 4}).latched()
    world.bench.machine.efuses = key
    notes = Notes()
    readout(world, notes)
    assert "efuse.key.readable" in {finding.code for finding in notes.findings if finding.verdict is Verdict.FAIL}


@pytest.mark.parametrize("chip", ["esp32", "esp32c2", "esp32c3", "esp32s2"])
def test_a_burned_host_key_is_hidden_and_known(chip: str) -> None:
    blank = Efuses.blank(load_chip(chip))
    key, digest = os.urandom(host_key_size(blank.chip)), os.urandom(32)
    assert key_file(blank) is None
    after = plan_host_key(blank, key, digest).after
    assert key_file(after) == key
    assert not any(efuse_key(key) in after.readable_block(block.number) for block in after.chip.blocks)


def test_a_host_key_of_a_wrong_size_is_refused_and_a_right_one_is_used(tmp_path: Path) -> None:
    text = '[security]\nfe_key = "host"\n[keys]\nflash_encryption = "fe.bin"\n'
    (tmp_path / "fe.bin").write_bytes(os.urandom(31))
    project = parse_project(text, folder=tmp_path, where="x")
    with pytest.raises(FormatError, match=r"fe\.bin: found a flash-encryption key of 31 bytes, expected 32"):
        prepare(project)
    key = os.urandom(32)
    (tmp_path / "fe.bin").write_bytes(key)
    inputs = prepare(project)
    world = set_the_stage(inputs)
    keys(world, Notes())
    assert key_file(world.bench.efuses) == key
    assert key.hex() not in repr(inputs)


def test_an_unsupported_upgrade_mode_is_refused(tmp_path: Path) -> None:
    lines = [f"{line.name}={line.value}\n" for line in load_project(None).conf.definitions]
    (tmp_path / "b.conf").write_text("".join(lines) + "CONFIG_ESP_BOOT_SWAP_USING_OFFSET=y\n")
    with pytest.raises(FormatError, match="found upgrade mode offset, expected scratch, move or overwrite"):
        prepare(parse_project('[bootloader]\nconf = "b.conf"\n', folder=tmp_path, where="x"))


def test_versions_are_raised_and_lowered_within_their_fields() -> None:
    assert [bumped(v) for v in ("1.2.3", "1.2.65535", "1.255.65535")] == ["1.2.4", "1.3.0", "2.0.0"]
    assert [lowered(v) for v in ("1.2.3", "1.2.0", "1.0.0", "0.0.0")] == ["1.2.2", "1.1.0", "0.0.0", None]
