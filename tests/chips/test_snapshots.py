"""eFuse states as files."""

import base64
import contextlib
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.chips.snapshots import (
    parse_qemu,
    parse_token,
    parse_virtual,
    qemu,
    read_state,
    snapshot,
    token,
    virtual,
)
from bootwright.chips.summary import field_rows, summary
from bootwright.errors import FormatError, NotModelledError, SiliconError

KEY = bytes(range(32))
#: `espefuse --chip esp32c3 --virt dump --format token` (5.6.0) of a new virtual chip.
BLANK_C3 = "EFSR:esp32c3:000:::::::::::::eLh3fw"


@st.composite
def states(draw: st.DrawFn) -> Efuses:
    """Chips with anything burned, and with protections in force or not."""
    chip = load_chip(draw(st.sampled_from(CHIP_NAMES)))
    state = Efuses.blank(chip)
    for number in draw(st.lists(st.sampled_from(range(len(chip.blocks))), max_size=4)):
        state = state.program(number, draw(st.binary(min_size=1, max_size=chip.blocks[number].size)))
    return draw(st.sampled_from([state, state.latched()]))


@given(states())
def test_our_own_form_keeps_everything(state: Efuses) -> None:
    assert read_state(snapshot(state).encode()) == state


@given(states())
def test_readers_forms_keep_what_readers_see(state: Efuses) -> None:
    seen = state.latched()
    seen = Efuses.holding(seen.chip, {n: seen.readable_block(n) for n in range(len(seen.bits))}).hiding()
    if state.chip.has_field("CODING_SCHEME") and state.coding(1) != "none":
        return
    assert parse_virtual(virtual(state.latched()), state.chip).bits == seen.bits
    assert parse_token(token(state.latched())).bits == seen.bits


@given(states())
def test_qemus_file_keeps_all_bits(state: Efuses) -> None:
    data = qemu(state)
    assert len(data) in (124, 1024)
    again = parse_qemu(data, state.chip)
    assert all(again.block(n) == state.block(n) for n in range(len(state.bits)))


def test_espefuses_token_of_a_blank_chip_is_ours() -> None:
    blank = Efuses.holding(load_chip("esp32c3"), {})
    assert token(blank) == BLANK_C3
    assert read_state(f"espefuse v5.6.0\n\n=== Run ===\n{BLANK_C3}\n".encode()) == blank


def test_a_key_that_the_chip_hides_is_not_in_a_readers_form_and_stays_unknown() -> None:
    chip = load_chip("esp32c3")
    state = Efuses.blank(chip).burn_block(4, KEY).burn_fields({"RD_DIS.BLOCK_KEY0": 1}).latched()
    for data in (token(state).encode(), virtual(state), json.dumps(summary(state)).encode()):
        read = read_state(data, chip=chip)
        assert read.unknown == {4}
        assert KEY not in data
        assert KEY.hex() not in data.decode("latin-1")
        with pytest.raises(NotModelledError, match="content of block KEY0 is unknown"):
            read.block(4)
        with pytest.raises(SiliconError, match="may hold a key already"):
            read.burn_block(4, KEY)
    assert KEY.hex() in snapshot(state)
    assert KEY in qemu(state)


def test_whoever_has_the_key_can_tell_it() -> None:
    state = Efuses.blank(load_chip("esp32c3")).burn_block(4, KEY).burn_fields({"RD_DIS.BLOCK_KEY0": 1}).latched()
    assert state.hiding().knowing(4, KEY) == state


def test_a_spoiled_block_stays_spoiled_in_our_own_form() -> None:
    state = Efuses.blank(load_chip("esp32c3")).program(4, KEY).program(4, b"\xff")
    assert state.spoiled(4)
    assert read_state(snapshot(state).encode()).spoiled(4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the eFuse file is empty"),
        (b"hello", "holds neither a token nor JSON"),
        (b"\xff\xfe\x00" * 10, "found 30 bytes, expected 288 or 512"),
        (bytes(512), "512 bytes of eFuses, but the chip is not in them"),
        (BLANK_C3[:-1].encode() + b"A", "found CRC"),
        (b"EFSR:esp32c3:000:::eLh3fw", "found 1 blocks, expected 11"),
        (b"EFSR:esp32c3:0:::::eLh3fw", "found no token"),
        (b"EFSR:esp8266:000:::::eLh3fw", "found eFuses of 'esp8266'"),
        (b"EFSR:esp32c3:000:::::eLh3fw", "found 3 blocks, expected 11"),
        (BLANK_C3.replace("000:", "000:A").encode(), "'A' is no base64|found CRC"),
        (b'{"a": ', "Expecting value"),
        (b'{"bootwright": "efuses", "schema": 1}', "found no 'chip', expected it"),
        (b'{"bootwright": "efuses", "schema": 9}', "found schema 9, expected 1"),
        (
            b'{"bootwright": "efuses", "schema": 1, "chip": "esp32c3", "revision": 4, "blocks": []}',
            "not those of ESP32-C3",
        ),
        (b'{"WR_DIS": 1}', "'WR_DIS' is no field of an espefuse summary"),
        (b"{}", "tell of no one chip"),
        (
            b'{"WR_DIS": {"efuse_type": "uint:32", "value": 1, "block": 0, "word": 0, "pos": 0}}',
            "espefuse older than 5",
        ),
    ],
)
def test_a_file_of_no_known_form_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_state(data)


def test_a_block_too_long_for_its_chip_is_refused() -> None:
    body = BLANK_C3[: BLANK_C3.rindex(":")].replace("000:", "000:" + "A" * 36) + ":"
    crc = zlib.crc32(body.encode()).to_bytes(4, "little")
    with pytest.raises(FormatError, match="found 27 bytes for block 0, expected at most 24"):
        read_state((body + base64.urlsafe_b64encode(crc).decode().rstrip("=")).encode())


def test_the_wrong_chip_is_refused() -> None:
    chip = load_chip("esp32")
    with pytest.raises(FormatError, match="found eFuses of ESP32-C3, expected ESP32"):
        read_state(BLANK_C3.encode(), chip=chip)
    with pytest.raises(FormatError, match="found 512 bytes, expected 288 for ESP32"):
        read_state(bytes(512), chip=chip)
    with pytest.raises(FormatError, match="found 124 bytes, expected 336 and then zeros for ESP32-C3"):
        read_state(bytes(124), chip=load_chip("esp32c3"))


JUNK: st.SearchStrategy[object] = (
    st.none() | st.integers(-1, 300) | st.text(max_size=4) | st.lists(st.integers(0, 99), max_size=2) | st.just({})
)


@given(st.data())
def test_a_damaged_snapshot_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    values = json.loads(snapshot(Efuses.blank(load_chip("esp32c3")).program(4, KEY).program(4, b"\xff").hiding()))
    values["unknown"] = [4]
    values[data.draw(st.sampled_from(sorted(values)))] = data.draw(JUNK)
    with contextlib.suppress(FormatError):
        assert field_rows(read_state(json.dumps(values).encode()))


@given(st.data())
def test_a_damaged_summary_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    values = summary(Efuses.blank(load_chip("esp32c3")))
    row = values[data.draw(st.sampled_from(sorted(values)))]
    row[data.draw(st.sampled_from(sorted(row)))] = data.draw(JUNK)
    with contextlib.suppress(FormatError):
        assert field_rows(
            read_state(json.dumps(values).encode(), chip=data.draw(st.sampled_from([None, load_chip("esp32")])))
        )


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert read_state(data, chip=load_chip("esp32c3")).chip.name == "esp32c3"


def test_idf_py_qemus_default_files_are_blank_chips_of_revision_3_and_0_3() -> None:
    # ESP-IDF tools/idf_py_actions/qemu_ext.py, `default_efuse`: the bytes that are not zero.
    esp32 = bytearray(124)
    esp32[13], esp32[22] = 0x80, 0x10
    assert qemu(Efuses.blank(load_chip("esp32"), revision=300)) == esp32
    for name in ("esp32c3", "esp32s3"):
        small = bytearray(1024)
        small[38] = 0x0C
        assert qemu(Efuses.blank(load_chip(name), revision=3)) == small
