import json
from pathlib import Path

from tests.support.peers import run_bootwright
from tests.support.scenes import signed, signing_key

from bootwright.host.project import load_project

CONF = (
    "CONFIG_ESP_BOOTLOADER_SIZE=0xF000\nCONFIG_ESP_APPLICATION_SIZE=0x10000\n"
    "CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS=0x10000\nCONFIG_ESP_IMAGE0_SECONDARY_START_ADDRESS=0x20000\n"
    "CONFIG_ESP_SCRATCH_OFFSET=0x30000\nCONFIG_ESP_SCRATCH_SIZE=0x3000\n"
    "CONFIG_ESP_SIGN_ED25519=y\nCONFIG_ESP_USE_TINYCRYPT=y\n"
)


def scene(folder: Path) -> list[str | Path]:
    (folder / "bootloader.conf").write_text(CONF)
    (folder / "key.pem").write_bytes(signing_key().public.pem)
    for version in (1, 2):
        (folder / f"{version}.bin").write_bytes(signed(version, 12000))
    return [
        "--config", folder / "bootloader.conf", "--key", folder / "key.pem",
        "--primary", folder / "1.bin", "--secondary", folder / "2.bin",
    ]  # fmt: skip


def test_a_permanent_update_holds_and_exits_with_0(tmp_path: Path) -> None:
    ran = run_bootwright("explore", *scene(tmp_path), "--action", "permanent", "--json")
    body = json.loads(ran.out)
    assert (ran.code, body["verdict"], body["mode"]) == (0, "pass", "exhaustive")
    assert body["phases"][0]["states"] > 50


def test_a_revert_through_scratch_is_told_and_exits_with_1(tmp_path: Path) -> None:
    report, traces = tmp_path / "report.html", tmp_path / "traces"
    ran = run_bootwright("explore", *scene(tmp_path), "--action", "revert", "--report", report, "--traces", traces)
    assert ran.code == 1
    assert "Counter-example (boots):" in ran.out
    assert "explored without a violation: swap-move" in ran.out
    assert report.read_text().count("<svg") >= 2
    assert "https://" not in report.read_text()
    played = run_bootwright("trace", "replay", traces)
    assert played.out == "2 passed, 0 failed\n"


def test_the_key_is_the_one_that_bootloader_conf_names(tmp_path: Path) -> None:
    arguments = scene(tmp_path)
    (tmp_path / "bootloader.conf").write_text(f"{CONF}CONFIG_ESP_SIGN_KEY_FILE=key.pem\n")
    del arguments[2:4]
    ran = run_bootwright("explore", *arguments, "--action", "permanent", "--json")
    assert ran.code == 0, ran.err
    body = json.loads(ran.out)
    reverts = next(finding for finding in body["findings"] if finding["code"] == "explore.reverts")
    assert reverts["because"].startswith("not asked")
    assert sum(row["erases"] for row in body["wear"]["sectors"]) == body["wear"]["erases"]


def test_a_configuration_that_the_port_does_not_build_is_refused(tmp_path: Path) -> None:
    arguments = scene(tmp_path)
    (tmp_path / "bootloader.conf").write_text(CONF.replace("USE_TINYCRYPT", "USE_MBEDTLS"))
    ran = run_bootwright("explore", *arguments)
    assert ran.code == 3
    assert "the build stops" in ran.err


def test_a_strategy_that_the_port_cannot_link_is_explored_with_a_warning(tmp_path: Path) -> None:
    arguments = scene(tmp_path)
    (tmp_path / "bootloader.conf").write_text(f"{CONF}CONFIG_ESP_BOOT_SWAP_USING_OFFSET=y\n")
    ran = run_bootwright("explore", *arguments, "--action", "permanent", "--no-remedies", "--json")
    body = json.loads(ran.out)
    assert body["strategy"] == "offset"
    found = next(finding for finding in body["findings"] if finding["code"] == "conf.mode.unsupported")
    assert (found["verdict"], ran.code) == ("warn", 0)


def test_slots_that_overlap_are_refused(tmp_path: Path) -> None:
    arguments = scene(tmp_path)
    (tmp_path / "bootloader.conf").write_text(CONF.replace("0x20000", "0x18000"))
    ran = run_bootwright("explore", *arguments)
    assert ran.code == 3
    assert "overlaps secondary" in ran.err


def test_two_images_are_explored_together(tmp_path: Path) -> None:
    arguments = scene(tmp_path)
    conf = CONF.replace("0x30000", "0x50000") + (
        "CONFIG_ESP_IMAGE_NUMBER=2\nCONFIG_ESP_IMAGE1_PRIMARY_START_ADDRESS=0x30000\n"
        "CONFIG_ESP_IMAGE1_SECONDARY_START_ADDRESS=0x40000\n"
    )
    (tmp_path / "bootloader.conf").write_text(conf)
    second: list[str | Path] = ["--primary", tmp_path / "1.bin", "--secondary", tmp_path / "2.bin"]
    ran = run_bootwright("explore", *arguments, *second, "--action", "permanent", "--json")
    body = json.loads(ran.out)
    assert ran.code == 0, ran.out + ran.err
    assert body["phases"][0]["runs"] == ["2.0.0+0 and 2.0.0+0"]


def test_a_project_is_explored_as_it_will_be_built() -> None:
    ran = run_bootwright("explore", "--mode", "sample", "--samples", "3", "--no-remedies", "--json")
    assert ran.code in (0, 1), ran.err
    assert json.loads(ran.out)["states"] > 0


def test_a_project_of_two_images_has_both_in_their_slots(tmp_path: Path) -> None:
    lines = "".join(f"{line.name}={line.value}\n" for line in load_project(None).conf.definitions)
    two = (
        "CONFIG_ESP_IMAGE_NUMBER=2\nCONFIG_ESP_APPLICATION_SIZE=0x80000\n"
        "CONFIG_ESP_IMAGE1_PRIMARY_START_ADDRESS=0x280000\nCONFIG_ESP_IMAGE1_SECONDARY_START_ADDRESS=0x300000\n"
    )
    (tmp_path / "b.conf").write_text(lines + two)
    (tmp_path / "p.toml").write_text('[bootloader]\nconf = "b.conf"\n[second]\nversion = "7.0.1"\n')
    ran = run_bootwright(
        "explore", tmp_path / "p.toml", "--mode", "sample", "--samples", "1", "--no-remedies", "--json"
    )
    body = json.loads(ran.out)
    assert body["phases"][0]["runs"] == ["1.1.0+0 and 7.0.1+0"], ran.err
    boots = next(finding for finding in body["findings"] if finding["code"] == "explore.boots")
    assert boots["verdict"] == "pass"


def test_cuts_of_the_first_boot_are_tried_one_chip_each() -> None:
    ran = run_bootwright("explore", "--provisioning", "--points", "4", "--json")
    body = json.loads(ran.out)
    kinds = {trial["kind"] for trial in body["trials"]}
    assert kinds == {"efuse", "partial", "flash"}
    assert any("is assumed" in bound for bound in body["bounds"])
    stopped = [trial for trial in body["trials"] if trial["kind"] == "flash" and trial["outcome"] != "app"]
    assert stopped, "a cut during in-place encryption is known to end in the ROM refusing the bootloader"
