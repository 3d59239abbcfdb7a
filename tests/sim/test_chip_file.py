import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.coding import crc8
from bootwright.errors import FormatError, RefusedError, SiliconError
from bootwright.sim.chip_file import STATE_AT, ChipState, chip_path, create_chip_file, open_chip_file, peek_chip_file
from bootwright.sim.factory import draw_mac, factory_efuses, parse_mac, parse_revision
from bootwright.sim.virtual_chip import Booted, VirtualChip

MAC = bytes.fromhex("240ac4010203")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "dev1.chip"
    create_chip_file(made, factory_efuses(load_chip("esp32c3"), mac=MAC), 1 << 18)
    return made


def test_a_new_chip_is_its_owners_alone_erased_and_strapped_for_download(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    with open_chip_file(path) as file:
        assert file.flash.snapshot() == b"\xff" * (1 << 18)
        assert file.state.download
        assert file.state.efuses.read("MAC") == MAC


def test_what_was_saved_is_there_when_the_file_is_opened_again(path: Path) -> None:
    with open_chip_file(path) as file:
        efuses = file.state.efuses.burn_fields({"SPI_BOOT_CRYPT_CNT": 1, "BLOCK_KEY0": b"k" * 32, "RD_DIS": 1})
        file.save(ChipState(efuses=efuses, download=False, powered=False, gpio=((3, 1),), console="hello"))
        file.flash.write(0x1000, b"data")
    with open_chip_file(path) as file:
        assert file.state == ChipState(efuses=efuses, download=False, powered=False, gpio=((3, 1),), console="hello")
        assert file.flash.read(0x1000, 4) == b"data"
        assert file.state.efuses.block(4) == b"k" * 32


def test_a_state_torn_while_it_was_written_leaves_the_one_before(path: Path) -> None:
    with open_chip_file(path) as file:
        first = ChipState(efuses=file.state.efuses, console="first")
        file.save(first)
        file.save(ChipState(efuses=file.state.efuses, console="second"))
    data = bytearray(path.read_bytes())
    data[STATE_AT[0] + 40] ^= 1
    path.write_bytes(data)
    with open_chip_file(path) as file:
        assert file.state == first


def test_a_chip_is_not_replaced_unless_that_is_asked_for(path: Path) -> None:
    efuses = factory_efuses(load_chip("esp32"), mac=MAC)
    with pytest.raises(RefusedError, match="exists already"):
        create_chip_file(path, efuses, 1 << 18)
    create_chip_file(path, efuses, 1 << 18, replacing=True)
    with open_chip_file(path) as file:
        assert file.state.efuses.chip.name == "esp32"
    assert [entry.name for entry in path.parent.iterdir()] == ["dev1.chip"]


def test_two_processes_do_not_hold_one_chip(path: Path) -> None:
    with open_chip_file(path), pytest.raises(RefusedError, match="in use"):
        open_chip_file(path)
    with open_chip_file(path), pytest.raises(RefusedError, match="in use"):
        create_chip_file(path, factory_efuses(load_chip("esp32"), mac=MAC), 1 << 18, replacing=True)


def test_a_file_that_is_no_chip_or_is_cut_short_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other.chip").write_bytes(b"something else")
    with pytest.raises(FormatError, match="expected a chip file"):
        open_chip_file(tmp_path / "other.chip")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="expected"):
        open_chip_file(path)
    with pytest.raises(RefusedError, match="cannot open"):
        open_chip_file(tmp_path / "missing.chip")


def test_a_chip_that_cannot_be_made_there_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    efuses = factory_efuses(load_chip("esp32"), mac=MAC)
    with pytest.raises(RefusedError, match=r"cannot make .*nowhere.dev1\.chip: No such file or directory"):
        create_chip_file(tmp_path / "nowhere" / "dev1.chip", efuses, 1 << 18)
    for name in ("", ".", "/"):
        with pytest.raises(RefusedError, match="is no name"):
            chip_path(name)
    assert not list(tmp_path.iterdir())


def test_a_state_of_another_shape_is_no_crash(path: Path) -> None:
    body = b'{"revision": 4}'
    record = struct.pack("<QII", 9, len(body), zlib.crc32(body)) + body
    with path.open("r+b") as file:
        file.seek(STATE_AT[1])
        file.write(record)
    with pytest.raises(FormatError, match="not as this version writes it"):
        open_chip_file(path)


def test_a_name_and_its_file_name_mean_the_same() -> None:
    assert chip_path("dev1") == chip_path("dev1.chip") == Path("dev1.chip")
    assert chip_path("rack/esp32.a") == Path("rack/esp32.a.chip")


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_every_chip_leaves_the_factory_with_an_address_and_nothing_protected(name: str) -> None:
    efuses = factory_efuses(load_chip(name), mac=MAC)
    assert efuses.read("MAC") == MAC
    assert efuses.number("WR_DIS") == 0
    assert not any(efuses.spoiled(block.number) for block in efuses.chip.blocks)


def test_the_esp32s_address_is_guarded_by_a_crc() -> None:
    assert factory_efuses(load_chip("esp32"), mac=MAC).number("MAC_CRC") == crc8(MAC)
    assert crc8(b"\x01") == 0x5E  # the reflected polynomial 0x31 once around


@given(st.integers(0, 3), st.integers(0, 99))
def test_a_revision_is_major_and_minor(major: int, minor: int) -> None:
    assert parse_revision(f"v{major}.{minor}", load_chip("esp32")) == 100 * major + minor


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_every_known_revision_can_be_made_and_its_neighbours_in_time(name: str) -> None:
    chip = load_chip(name)
    assert chip.default_revision in chip.revisions
    for revision in chip.revisions:
        text = f"{revision // 100}.{revision % 100}"
        assert factory_efuses(chip, mac=MAC, revision=parse_revision(text, chip)).revision == revision
    newest = chip.revisions[-1]
    assert parse_revision(f"{newest // 100}.{newest % 100 + 1}", chip) == newest + 1


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_a_major_version_that_the_chip_never_had_is_refused_with_those_it_had(name: str) -> None:
    chip = load_chip(name)
    with pytest.raises(SiliconError, match=r"has no revision v9\.9") as caught:
        parse_revision("9.9", chip)
    assert f"v{chip.revisions[-1] // 100}.{chip.revisions[-1] % 100}" in caught.value.hint


def test_between_major_versions_there_is_none() -> None:
    with pytest.raises(SiliconError, match=r"the ESP32-P4 has no revision v2\.0"):
        parse_revision("2", load_chip("esp32p4"))


@pytest.mark.parametrize("text", ["", "24:0a:c4", "zz:zz:zz:zz:zz:zz", "01:00:00:00:00:00"])
def test_what_is_no_address_of_a_device_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="MAC"):
        parse_mac(text)
    assert parse_mac(draw_mac().hex(":"))[:3] == MAC[:3]


def test_what_is_no_revision_is_refused() -> None:
    for text in ("new", "3.100", "٣.١", "3.x", ""):
        with pytest.raises(RefusedError, match="revision"):
            parse_revision(text, load_chip("esp32"))


OPERATIONS = st.one_of(
    st.tuples(st.just("erase"), st.integers(0, 63)),
    st.tuples(st.just("write"), st.integers(0, 63), st.binary(min_size=1, max_size=64)),
    st.tuples(st.just("burn"), st.sampled_from(["SPI_BOOT_CRYPT_CNT", "DIS_PAD_JTAG", "SECURE_BOOT_EN"])),
    st.tuples(st.just("strap"), st.booleans()),
    st.tuples(st.just("reset")),
)


@settings(max_examples=20)
@given(st.lists(OPERATIONS, max_size=12))
def test_whatever_a_chip_has_done_another_process_finds_in_its_file_at_once(
    operations: list[tuple[str, *tuple[object, ...]]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "chip.chip"
        create_chip_file(path, factory_efuses(load_chip("esp32c3"), mac=MAC), 1 << 18)
        with open_chip_file(path) as file:
            chip = VirtualChip(file, boot=lambda chip: Booted("booted\r\n"))
            for operation in operations:
                act(chip, *operation)
                assert peek_chip_file(path) == (chip.state, file.flash.snapshot())


def act(chip: VirtualChip, verb: str, *values: object) -> None:
    match verb, *values:
        case "erase", int(sector):
            chip.erase_flash(sector * 4096, 4096)
        case "write", int(sector), bytes(data):
            chip.write_flash(sector * 4096, data)
        case "burn", str(name):
            chip.set_efuses(chip.efuses.burn_fields({name: 1}))
        case "strap", bool(download):
            chip.strap(download=download)
        case _:
            chip.reset()
