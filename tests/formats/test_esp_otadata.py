import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.formats.esp_otadata import OtaData, OtaState, choose_slot, erased_otadata, verify_otadata


@given(data=st.binary(min_size=64, max_size=64))
def test_packing_what_was_parsed_gives_the_sectors_back(data: bytes) -> None:
    sectors = data[:32].ljust(0x1000, b"\x5a") + data[32:].ljust(0x1000, b"\xff")
    otadata = OtaData.parse(sectors)
    assert otadata.pack() == sectors
    assert len(verify_otadata(otadata, 2)) == 3


@given(slots=st.integers(1, 16), choices=st.lists(st.integers(0, 15), min_size=1, max_size=20))
def test_the_slot_chosen_last_boots_and_one_write_never_touches_the_entry_that_counts(
    slots: int, choices: list[int]
) -> None:
    otadata = erased_otadata()
    assert otadata.slot(slots) is None
    for choice in choices:
        before, active = otadata, otadata.active()
        otadata = choose_slot(otadata, choice % slots, slots)
        assert otadata.slot(slots) == choice % slots
        if active is not None and before.slot(slots) != choice % slots:
            assert otadata.entries[active] == before.entries[active]


def test_an_entry_is_what_esp_idf_writes() -> None:
    data = choose_slot(erased_otadata(), 0, 2, state=OtaState.NEW).pack()
    assert data[:32] == bytes.fromhex("01000000" + "ff" * 20 + "00000000" + "9a98434 7".replace(" ", ""))
    assert set(data[32:]) == {0xFF}


def test_given_up_applications_do_not_count() -> None:
    otadata = choose_slot(choose_slot(erased_otadata(), 0, 2), 1, 2, state=OtaState.ABORTED)
    assert otadata.slot(2) == 0
    assert [finding.code for finding in verify_otadata(otadata, 2)] == [
        "otadata.entry",
        "otadata.entry.state",
        "otadata.slot",
    ]


def test_a_torn_write_leaves_the_other_entry_in_charge() -> None:
    data = bytearray(choose_slot(choose_slot(erased_otadata(), 0, 2), 1, 2).pack())
    data[0x1000 + 28] ^= 1
    otadata = OtaData.parse(bytes(data))
    assert otadata.slot(2) == 0
    assert "otadata.entry.crc" in [finding.code for finding in verify_otadata(otadata, 2)]


def test_other_sizes_and_slots_are_refused() -> None:
    with pytest.raises(FormatError, match="found 0x1000 bytes, expected 0x2000"):
        OtaData.parse(bytes(0x1000))
    with pytest.raises(FormatError, match="found slot 2 of 2, expected 0 to 1"):
        choose_slot(erased_otadata(), 2, 2)
