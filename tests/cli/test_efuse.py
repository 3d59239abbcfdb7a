"""`bootwright efuse` on snapshots and virtual chips."""

import io
import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.peers import ROOT

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.chips.snapshots import qemu, token, virtual
from bootwright.cli.main import run
from bootwright.formats.keys import KeyType, generate_key
from bootwright.host.efuse_file import load_efuses, store_efuses

KEY = bytes(range(32))


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True)
class Bench:
    """A folder with a snapshot of a new C3 and a key file, and the command line."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def say(self, *arguments: str | Path, stdin: str = "") -> Said:
        self.monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            run(["efuse", *map(str, arguments)])
        printed = self.capsys.readouterr()
        return Said(int(ended.value.code or 0), printed.out, printed.err)

    def snapshot(self, efuses: Efuses, name: str = "chip.json") -> Path:
        store_efuses(self.folder / name, efuses)
        return self.folder / name

    def blank(self, chip: str = "esp32c3") -> Path:
        return self.snapshot(Efuses.blank(load_chip(chip)), f"{chip}.json")

    @property
    def key(self) -> Path:
        path = self.folder / "key.bin"
        path.write_bytes(KEY)
        return path


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, capsys, monkeypatch)


def test_a_new_snapshot_is_for_its_owner_only(bench: Bench) -> None:
    path = bench.folder / "new.json"
    said = bench.say("new", "ESP32-S3", path, "--revision", "0.1", "--mac", "a0:76:4e:10:20:30")
    assert said.code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    efuses = load_efuses(path)
    assert (efuses.chip.name, efuses.revision) == ("esp32s3", 1)
    assert efuses.read("MAC") == bytes.fromhex("a0764e102030")
    assert bench.say("new", "esp32s3", path).code == 7


def test_a_key_is_burned_shown_as_bits_and_journaled_without_its_bytes(bench: Bench) -> None:
    path = bench.blank()
    said = bench.say("burn-key", path, "BLOCK_KEY0", bench.key, "XTS_AES_128_KEY", "--yes")
    assert said.code == 0, said
    assert "KEY0                                 256 bits" in said.out
    assert load_efuses(path).block(4) == KEY[::-1]
    journal = path.with_name("esp32c3.json.journal")
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    events = [json.loads(line)["event"] for line in journal.read_text().splitlines()]
    assert events == ["burning", "burned"] * 3
    for text in (said.out, said.err, journal.read_text()):
        assert KEY.hex() not in text
        assert KEY[::-1].hex() not in text


def test_burning_asks_for_the_word_and_declines_any_other(bench: Bench) -> None:
    path = bench.blank()
    said = bench.say("burn-efuse", path, "DIS_DIRECT_BOOT", "1", stdin="yes\n")
    assert said.code == 7
    assert "not confirmed" in said.err
    assert not load_efuses(path).number("DIS_DIRECT_BOOT")
    assert bench.say("burn-efuse", path, "DIS_DIRECT_BOOT", "1", stdin="BURN\n").code == 0
    assert load_efuses(path).number("DIS_DIRECT_BOOT")


def test_a_dry_run_burns_nothing(bench: Bench) -> None:
    path = bench.blank()
    before = path.read_bytes()
    said = bench.say("burn-efuse", path, "SECURE_VERSION", "0x3", "--dry-run", "--json")
    assert said.code == 0
    assert said.answer["burned"] is False
    assert said.answer["steps"][0]["changes"][0]["name"] == "SECURE_VERSION"
    assert path.read_bytes() == before
    assert not path.with_name("esp32c3.json.journal").exists()


def test_a_plan_says_what_freezes_along(bench: Bench) -> None:
    said = bench.say("write-protect", bench.blank(), "DIS_TWAI", "--dry-run", "--allow", "frozen-early")
    assert "freezes for ever: DIS_ICACHE, DIS_USB_JTAG, DIS_DOWNLOAD_ICACHE" in said.out
    said = bench.say("write-protect", bench.blank(), "KEY0", "--dry-run", "--json")
    assert said.answer["freezes"] == ["KEY0"]


def test_json_asks_no_question(bench: Bench) -> None:
    said = bench.say("burn-efuse", bench.blank(), "DIS_DIRECT_BOOT", "1", "--json")
    assert said.code == 7
    assert said.answer["error"]["hint"] == "--json asks no questions; add --yes"


def test_a_classic_mistake_is_refused_unless_it_is_named(bench: Bench) -> None:
    path = bench.blank()
    said = bench.say("burn-efuse", path, "SPI_BOOT_CRYPT_CNT", "7", "--yes", "--json")
    assert said.code == 7
    assert [f["code"] for f in said.answer["findings"]] == ["efuse.mistake.no-flash-key"]
    assert said.answer["burned"] is False
    assert load_efuses(path).number("SPI_BOOT_CRYPT_CNT") == 0
    said = bench.say("burn-efuse", path, "SPI_BOOT_CRYPT_CNT", "7", "--yes", "--allow", "no-flash-key")
    assert said.code == 0
    assert load_efuses(path).number("SPI_BOOT_CRYPT_CNT") == 7
    assert "no mistake called 'typo'" in bench.say("burn-bit", path, "BLOCK3", "1", "--allow", "typo").err


def test_what_is_burned_already_is_said_to_be(bench: Bench) -> None:
    path = bench.snapshot(Efuses.blank(load_chip("esp32c3")).burn_fields({"DIS_DIRECT_BOOT": 1}).latched())
    said = bench.say("burn-efuse", path, "DIS_DIRECT_BOOT", "1")
    assert said.code == 0
    assert "nothing to burn" in said.out


def test_the_chips_refusal_is_exit_code_5(bench: Bench) -> None:
    frozen = Efuses.blank(load_chip("esp32c3")).burn_fields({"WR_DIS.DIS_DIRECT_BOOT": 1}).latched()
    said = bench.say("burn-efuse", bench.snapshot(frozen), "DIS_DIRECT_BOOT", "1", "--yes")
    assert said.code == 5
    assert "write-protected" in said.err


def test_nothing_is_burned_through_a_closed_rom_loader(bench: Bench) -> None:
    closed = Efuses.blank(load_chip("esp32c3")).burn_fields({"ENABLE_SECURITY_DOWNLOAD": 1}).latched()
    said = bench.say("burn-efuse", bench.snapshot(closed), "DIS_DIRECT_BOOT", "1", "--yes")
    assert said.code == 5
    assert "ENABLE_SECURITY_DOWNLOAD is burned" in said.err


def test_digests_come_from_pem_files(bench: Bench) -> None:
    key = generate_key(KeyType.RSA_3072)
    (bench.folder / "sb.pem").write_bytes(key.public.pem)
    path = bench.blank()
    assert bench.say("burn-key-digest", path, "KEY1", bench.folder / "sb.pem", "SECURE_BOOT_DIGEST0", "--yes").code == 0
    assert load_efuses(path).find_key("SECURE_BOOT_DIGEST0") == 5
    esp32 = bench.blank("esp32")
    assert bench.say("burn-key-digest", esp32, bench.folder / "sb.pem", "--yes").code == 0
    assert load_efuses(esp32).block(2) == load_efuses(path).block(5)


def test_bits_blocks_and_protections(bench: Bench) -> None:
    path = bench.blank()
    (bench.folder / "data").write_bytes(b"\x01\x02")
    assert bench.say("burn-block-data", path, "BLOCK3", bench.folder / "data", "--offset", "4", "--yes").code == 0
    assert bench.say("burn-bit", path, "BLOCK10", "0", "9", "--yes").code == 0
    assert bench.say("write-protect", path, "BLOCK_USR_DATA", "--yes").code == 0
    assert bench.say("read-protect", path, "BLOCK_SYS_DATA2", "--yes").code == 0
    efuses = load_efuses(path)
    assert efuses.block(3)[:8] == b"\0\0\0\0\x01\x02\0\0"
    assert efuses.block(10)[:2] == b"\x01\x02"
    assert efuses.block_write_protected(3)
    assert efuses.readable_block(10) == bytes(32)


def test_a_mac_address_of_ones_own_and_espefuses_words(bench: Bench) -> None:
    path = bench.blank("esp32c2")
    assert bench.say("burn-custom-mac", path, "a0:76:4e:10:20:30", "--do-not-confirm").code == 0
    assert bench.say("write-protect-efuse", path, "CUSTOM_MAC", "--yes").code == 0
    efuses = load_efuses(path)
    assert efuses.read("CUSTOM_MAC") == bytes.fromhex("a0764e102030")
    assert efuses.is_set("CUSTOM_MAC_USED")
    assert efuses.block_write_protected(1)
    for wrong in ("01:00:00:00:00:00", "xy", "a0:76"):
        said = bench.say("burn-custom-mac", bench.blank(), wrong, "--yes")
        assert said.code == 7
        assert "MAC address" in said.err


def test_a_mac_address_of_ones_own_is_read_back_with_its_checksum(bench: Bench) -> None:
    path = bench.blank("esp32")
    said = bench.say("get-custom-mac", path, "--json")
    assert (said.code, said.answer["mac"]) == (1, None)
    assert bench.say("burn-custom-mac", path, "24:0a:c4:01:02:03", "--yes").code == 0
    said = bench.say("get-custom-mac", path)
    assert said.code == 0
    assert said.out.startswith("24:0a:c4:01:02:03")
    assert bench.say("burn-efuse", path, "CUSTOM_MAC", "26:0a:c4:01:02:03", "--yes").code == 0
    said = bench.say("get-custom-mac", path)
    assert said.code == 1
    assert "the checksum of 26:0a:c4:01:02:03 is" in said.out
    assert bench.say("get-custom-mac", bench.blank("esp32c3")).code == 1


def test_blocks_whose_check_bits_do_not_fit_are_named(bench: Bench) -> None:
    assert bench.say("check-error", bench.blank()).code == 0
    twice = Efuses.blank(load_chip("esp32c3")).program(4, KEY).program(4, KEY[::-1])
    said = bench.say("check-error", bench.snapshot(twice), "--json")
    assert said.code == 1
    assert said.answer["spoiled"] == [4]
    assert said.answer["findings"][0]["code"] == "efuse.coding"


def test_the_flash_s_voltage_can_be_raised_later_and_never_lowered(bench: Bench) -> None:
    path = bench.blank("esp32s3")
    assert bench.say("set-flash-voltage", path, "1.8V", "--yes").code == 0
    lower = bench.say("set-flash-voltage", path, "off", "--yes")
    assert lower.code == 7
    assert "efuse.mistake.cannot-clear" in lower.out
    assert bench.say("set-flash-voltage", path, "3.3V", "--yes").code == 0
    assert [load_efuses(path).number(f"VDD_SPI_{part}") for part in ("FORCE", "XPD", "TIEH")] == [1, 1, 1]
    other = bench.say("set-flash-voltage", bench.blank("esp32c3"), "1.8V", "--yes")
    assert other.code == 7
    assert "no eFuses for the voltage of its flash" in other.err


def test_a_dump_is_what_readers_see(bench: Bench) -> None:
    efuses = Efuses.blank(load_chip("esp32c3")).burn_block(4, KEY).burn_fields({"RD_DIS.BLOCK_KEY0": 1}).latched()
    path = bench.snapshot(efuses)
    assert bench.say("dump", path, "--format", "token").out.strip() == token(efuses)
    said = bench.say("dump", path)
    assert "BLOCK4  KEY0            " + "00" * 32 in said.out
    assert KEY.hex() not in said.out
    assert bench.say("dump", path, "--json").answer["blocks"]["4"] == "00" * 32


def test_the_last_value_may_be_left_out_for_a_single_bit(bench: Bench) -> None:
    path = bench.blank()
    assert bench.say("burn-efuse", path, "SECURE_VERSION", "3", "DIS_PAD_JTAG", "--yes").code == 0
    assert [load_efuses(path).number(name) for name in ("SECURE_VERSION", "DIS_PAD_JTAG")] == [3, 1]


def test_purposes_and_addresses_may_be_written_as_words(bench: Bench) -> None:
    path = bench.blank()
    arguments = ("KEY_PURPOSE_3", "HMAC_UP", "CUSTOM_MAC", "a0:76:4e:10:20:30")
    assert bench.say("burn-efuse", path, *arguments, "--yes").code == 0
    efuses = load_efuses(path)
    assert efuses.key_purpose(7) == "HMAC_UP"
    assert efuses.read("CUSTOM_MAC") == bytes.fromhex("a0764e102030")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("burn-efuse", "SECURE_VERSION"), "found no VALUE for SECURE_VERSION, which takes 16 bits"),
        (("burn-efuse", "SECURE_VERSION", "many"), "found 'many', expected a number"),
        (("burn-efuse", "SECURE_VERSIONS", "1"), "no eFuse field SECURE_VERSIONS"),
        (("burn-key", "BLOCK_KEY0", "key.bin"), "found 2 words"),
        (("burn-key", "BLOCK_KEY0", "absent.bin", "USER"), "absent.bin: found nothing, expected a key file"),
        (("burn-key-digest", "BLOCK_KEY0", "key.bin"), "found 2 words"),
        (("burn-block-data", "BLOCK3"), "found 1 words"),
        (("burn-block-data", "BLOCK3", "key.bin", "3", "key.bin"), "found a block twice"),
        (("burn-block-data", "-o", "4", "BLOCK3", "key.bin", "10", "key.bin"), "found an offset for 2 blocks"),
        (("read-protect", "SECURE_BOOT_EN"), "cannot be read-protected"),
        (("burn-bit", "BLOCK1", "3", "200"), "found bit 200 of block BLOCK1, expected 0 to 191"),
    ],
)
def test_a_wrong_word_is_refused_in_one_sentence(bench: Bench, arguments: tuple[str, ...], message: str) -> None:
    command, *words = arguments
    said = bench.say(command, bench.blank(), *words, "--yes")
    assert said.code in (3, 7)
    assert message in said.err
    assert "Traceback" not in said.err


def test_the_summary_shows_what_a_reader_sees_and_no_secret(bench: Bench) -> None:
    efuses = Efuses.blank(load_chip("esp32c3")).burn_block(4, KEY).burn_block(5, b"\x77" * 32)
    path = bench.snapshot(
        efuses.burn_fields({"KEY_PURPOSE_0": 4, "KEY_PURPOSE_1": 4, "RD_DIS.BLOCK_KEY1": 1}).latched()
    )
    said = bench.say("summary", path, "--active")
    assert "SPI_BOOT_CRYPT_CNT" not in said.out
    assert "(readable, not shown)" in said.out
    assert "?? (hidden)" in said.out
    assert KEY.hex(" ") not in said.out
    rows = {row["name"]: row for row in bench.say("summary", path, "--json").answer["fields"]}
    assert rows["KEY_PURPOSE_0"]["value"] == rows["KEY_PURPOSE_0"]["text"] == "XTS_AES_128_KEY"
    assert rows["KEY1"] == {"name": "KEY1", "block": 5, "value": None, "text": "?? (hidden)", "readable": False,
                            "writeable": True}  # fmt: skip


def test_fields_lists_places_and_protections(bench: Bench) -> None:
    rows = {row["name"]: row for row in bench.say("fields", "esp32c3", "--json").answer["fields"]}
    assert rows["SPI_BOOT_CRYPT_CNT"]["bit"] == 82
    assert rows["SPI_BOOT_CRYPT_CNT"]["write_disable"] == 4
    assert "SPI_BOOT_CRYPT_CNT" in bench.say("fields", "esp32c3").out


def test_check_finds_mistakes_and_what_release_mode_misses(bench: Bench) -> None:
    path = bench.snapshot(Efuses.blank(load_chip("esp32c3")).burn_fields({"SPI_BOOT_CRYPT_CNT": 1}).latched())
    assert bench.say("check", path, "--json").answer["findings"][0]["code"] == "efuse.mistake.no-flash-key"
    said = bench.say("check", bench.blank(), "--release")
    assert said.code == 1
    assert "SPI_BOOT_CRYPT_CNT: flash encryption is off" in said.out
    assert bench.say("check", bench.blank()).code == 0


def test_diff_shows_changes_and_says_no_when_bits_were_lost(bench: Bench) -> None:
    old = bench.snapshot(Efuses.blank(load_chip("esp32c3")), "old.json")
    new = bench.snapshot(load_efuses(old).burn_fields({"SPI_BOOT_CRYPT_CNT": 3}), "new.json")
    said = bench.say("diff", old, new)
    assert said.code == 0
    assert "SPI_BOOT_CRYPT_CNT                   BLOCK0   0x0 → 0x3" in said.out
    assert bench.say("diff", old, old).out.startswith("no difference")
    said = bench.say("diff", new, old, "--json")
    assert said.code == 1
    assert said.answer["findings"][0]["code"] == "efuse.diff.lost-bits"
    assert bench.say("diff", old, bench.blank("esp32")).code == 7
    keyed = load_efuses(old).burn_block(4, KEY).burn_fields({"RD_DIS.BLOCK_KEY0": 1}).latched()
    said = bench.say("diff", bench.snapshot(keyed, "a.json"), bench.snapshot(keyed.hiding(), "b.json"))
    assert said.code == 0
    assert "KEY0: not compared" in said.out


def test_other_tools_files_are_imported_and_exported(bench: Bench) -> None:
    efuses = (
        Efuses.blank(load_chip("esp32c3"))
        .burn_block(4, KEY)
        .burn_fields({"KEY_PURPOSE_0": 4, "RD_DIS.BLOCK_KEY0": 1})
        .latched()
    )
    path = bench.snapshot(efuses)
    for form, content in (
        ("token", token(efuses).encode() + b"\n"),
        ("virtual", virtual(efuses)),
        ("qemu", qemu(efuses)),
    ):
        target = bench.folder / f"out.{form}"
        assert bench.say("export", path, target, "--format", form).code == 0
        assert target.read_bytes() == content
        said = bench.say("import", target, bench.folder / f"{form}.json", "--chip", "esp32c3", "--json")
        assert said.code == 0
        hidden = [f["code"] for f in said.answer["findings"]]
        assert hidden == ([] if form == "qemu" else ["efuse.snapshot.hidden"])
    assert bench.say("import", target, bench.folder / "qemu.json").code == 7
    assert bench.say("export", path, bench.folder / "s.json", "--format", "summary").code == 0
    assert bench.say("import", bench.folder / "s.json", bench.folder / "again.json").code == 0
    assert bench.say("export", path, bench.folder / "b.json", "--format", "bootwright").code == 0
    assert load_efuses(bench.folder / "b.json") == efuses
    assert bench.say("import", bench.folder / "out.qemu", bench.folder / "q.json", "--chip", "esp32c3",
                     "--format", "qemu").code == 0  # fmt: skip


def test_an_export_never_takes_the_place_of_what_it_is_made_from(bench: Bench) -> None:
    path = bench.blank()
    before = path.read_bytes()
    for target in (path, path.with_suffix(".chip")):
        said = bench.say("export", path, target, "--format", "token")
        assert (said.code, path.read_bytes()) == (7, before)
        assert "would be lost" in said.err
    folder = bench.say("summary", Path("."))
    assert (folder.code, "Traceback" in folder.err) == (3, False)
    revision = bench.say("new", "esp32c3", path.with_name("new.json"), "--revision", "9.9")
    assert (revision.code, path.with_name("new.json").exists()) == (5, False)


def test_a_hidden_key_can_be_told(bench: Bench) -> None:
    efuses = (
        Efuses.blank(load_chip("esp32c3"))
        .burn_block(4, KEY[::-1])
        .burn_fields({"KEY_PURPOSE_0": 4, "RD_DIS.BLOCK_KEY0": 1})
        .latched()
    )
    path = bench.snapshot(efuses.hiding())
    assert bench.say("know", path, "KEY0", bench.key).code == 0
    assert load_efuses(path) == efuses
    assert bench.say("know", path, "KEY0", bench.key).code == 7


def test_burning_needs_a_file_that_keeps_what_the_chip_hides(bench: Bench) -> None:
    path = bench.folder / "token"
    path.write_text(token(Efuses.blank(load_chip("esp32c3"))))
    said = bench.say("burn-bit", path, "BLOCK3", "1", "--yes")
    assert said.code == 7
    assert "bootwright efuse import" in said.err


def test_a_virtual_chip_becomes_the_twin_of_one_that_was_read(bench: Bench) -> None:
    from bootwright.sim.chip_file import create_chip_file

    state = Efuses.blank(load_chip("esp32c3"), revision=3).burn_block(4, KEY)
    state = state.burn_fields({"KEY_PURPOSE_0": 4, "RD_DIS.BLOCK_KEY0": 1}).latched()
    (bench.folder / "token").write_text(token(state))
    twin, other = bench.folder / "twin.chip", bench.folder / "other.chip"
    create_chip_file(twin, Efuses.blank(load_chip("esp32c3")), 1 << 20)
    create_chip_file(other, Efuses.blank(load_chip("esp32")), 1 << 20)
    assert bench.say("import", bench.folder / "token", twin).code == 7
    assert bench.say("import", bench.folder / "token", twin, "--force").code == 0
    assert load_efuses(twin) == state.hiding()
    assert bench.say("know", twin, "KEY0", bench.key).code == 0
    assert load_efuses(twin).block(4) == KEY[::-1]
    said = bench.say("import", bench.folder / "token", other, "--force")
    assert said.code == 7
    assert "is an ESP32, the eFuses are those of an ESP32-C3" in said.err


def test_a_virtual_chip_is_burned_through_its_server(bench: Bench) -> None:
    from bootwright.sim.chip_file import create_chip_file

    path = bench.folder / "dev.chip"
    create_chip_file(path, Efuses.blank(load_chip("esp32c3")), 1 << 20)
    command = [sys.executable, "-m", "bootwright", "chip", "serve", "dev", "--tcp", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    server = subprocess.Popen(command, cwd=bench.folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert "listening" in server.stdout.readline()
        assert bench.say("burn-key", bench.folder / "dev", "KEY0", bench.key, "XTS_AES_128_KEY", "--yes").code == 0
        assert bench.say("summary", bench.folder / "dev", "--active").out.count("XTS_AES_128_KEY") == 1
        assert bench.say("burn-bit", bench.folder / "dev", "KEY0", "1", "--yes").code == 5
    finally:
        server.terminate()
        assert server.wait(20) == 0
        assert server.stdout is not None
        server.stdout.close()
    assert load_efuses(path).block(4) == KEY[::-1]


def test_a_virtual_chip_is_burned_in_its_file(bench: Bench) -> None:
    from bootwright.sim.chip_file import create_chip_file

    path = bench.folder / "dev.chip"
    create_chip_file(path, Efuses.blank(load_chip("esp32c3")), 1 << 20)
    assert bench.say("burn-key", path, "KEY0", bench.key, "XTS_AES_128_KEY", "--yes").code == 0
    efuses = load_efuses(path, chip=load_chip("esp32c3"))
    assert efuses.block(4) == KEY[::-1]
    assert efuses.readable_block(4) == bytes(32)
    assert bench.say("summary", path, "--chip", "esp32").code == 3
