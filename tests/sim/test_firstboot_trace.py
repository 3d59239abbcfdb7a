import contextlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.traces import first_boot_document, first_boot_names

from bootwright.chips.chip import load_chip
from bootwright.chips.efuses import Efuses
from bootwright.errors import BootwrightError, FormatError
from bootwright.flash import Erase, FlashOp, NorFlash, Write
from bootwright.sim.encrypted_flash import EncryptedFlash
from bootwright.sim.firstboot_trace import merge_ops, replay


@pytest.mark.parametrize("name", first_boot_names())
def test_the_virtual_chip_does_what_the_real_bootloader_did(name: str) -> None:
    assert replay(first_boot_document(name)) == ()


def test_a_changed_bit_in_a_program_is_a_difference() -> None:
    document = first_boot_document("04-fe-dev")
    program = document["boots"][0]["efuse_programs"][1]
    program["data_hex"] = "05" + program["data_hex"][2:]
    assert replay(document) == ("boot 0: eFuse program 1 asks for other bits of block 0 than in the trace",)


def test_a_missing_program_is_a_difference_that_shows_the_order() -> None:
    document = first_boot_document("04-fe-dev")
    del document["boots"][0]["efuse_programs"][2]
    assert replay(document)[0] == "boot 0: eFuse blocks burned: [4, 0, 0], in the trace [4, 0]"


def test_another_outcome_is_a_difference_that_says_why() -> None:
    document = first_boot_document("05d-fe-rel-hostkey-readable")
    document["boots"][0]["outcome"] = "app"
    (line,) = replay(document)
    assert line.startswith("boot 0: outcome is panic (the flash-encryption key in eFuse block 4 lacks a protection")


def change(document: Any, **values: object) -> tuple[str, ...]:
    """What replay says when the first boot of the trace had gone otherwise."""
    document["boots"][0] |= values
    return replay(document)


def test_other_fuses_in_the_end_are_a_difference() -> None:
    document = first_boot_document("03-sb")
    blocks = document["boots"][0]["final_efuse_blocks"] | {"9": "11" * 32}
    assert change(document, final_efuse_blocks=blocks) == ("boot 0: eFuse block 9 ends otherwise than in the trace",)


def test_other_flash_in_the_end_names_its_regions() -> None:
    document = first_boot_document("04-fe-dev")
    (line,) = change(document, final_flash_sha256_excl_bootloader="0" * 64)
    assert line == "boot 0: the flash ends otherwise than in the trace, in the gaps between regions"
    regions = dict.fromkeys(document["layout"], "0" * 64)
    (line,) = change(document, final_region_sha256=regions)
    assert line.startswith("boot 0: the flash ends otherwise than in the trace, in bootloader, ")


def test_other_operations_are_a_difference() -> None:
    document = first_boot_document("04-fe-dev")
    ops = document["boots"][0]["flash_ops"]
    found = change(document, flash_ops=ops[1:], flash_op_count=0)
    assert len(found) == 2
    assert found[0].endswith("flash operations, in the trace 0")
    assert found[1].startswith("boot 0: flash operations [")


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("block", 7, "eFuse program 0 burns block 4, in the trace 7"),
        ("fields", ["KEY9"], "eFuse program 0 changes ["),
        ("new_bits", [1], "eFuse program 0 sets bits ["),
    ],
)
def test_a_program_is_compared_in_every_part(key: str, value: object, wanted: str) -> None:
    document = first_boot_document("04-fe-dev")
    document["boots"][0]["efuse_programs"][0][key] = value
    assert any(line.startswith(f"boot 0: {wanted}") for line in replay(document))


def test_an_unknown_act_of_the_host_is_said() -> None:
    document = first_boot_document("03-sb")
    document["boots"][0]["before_this_boot"] = "host sang a song"
    assert replay(document) == ("boot 0: before_this_boot is not understood: host sang a song",)


def test_a_chip_that_was_encrypted_before_the_trace_has_its_bootloader_as_ciphertext() -> None:
    document = first_boot_document("04-fe-dev")
    burned = document["boots"][0]["final_efuse_blocks"]
    efuses = Efuses.holding(load_chip("esp32c3"), {int(n): bytes.fromhex(h) for n, h in burned.items()}).latched()
    bootloader, application = document["initial"]["flash_regions"]
    plain = NorFlash(document["initial"]["flash_size"])
    plain.load(application["addr"], zlib.decompress(b64decode(application["zlib_b64"])))
    regions = [bootloader]
    for name in ("slot0", "slot1", "scratch"):
        start, size = document["layout"][name]
        raw = NorFlash(start + size)
        EncryptedFlash.at_reset(raw, efuses).apply(Write(start, plain.read(start, size), encrypted=True))
        regions.append({"addr": start, "zlib_b64": b64encode(zlib.compress(raw.read(start, size), 1)).decode()})
    document["initial"] |= {"efuse_blocks": burned, "flash_regions": regions}
    document["boots"] = document["boots"][1:]
    assert replay(document) == ()


@pytest.mark.parametrize("document", [{}, {"schema": 2, "boots": []}, {"schema": 1}])
def test_another_document_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="expected 1 with boots"):
        replay(document)


def test_a_malformed_trace_is_refused() -> None:
    with pytest.raises(FormatError, match="found no 'chip', which it must have"):
        replay({"schema": 1, "boots": []})


def places(part: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a document, as (what holds it, its key)."""
    for key in list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
        yield part, key
        yield from places(part[key])


@pytest.mark.parametrize("wrong", [None, "no", -1, [{}], {"0": "zz"}], ids=repr)
def test_whatever_is_missing_or_wrong_is_a_difference_or_refused(wrong: object) -> None:
    document = first_boot_document("05d-fe-rel-hostkey-readable")
    del document["note"], document["boots"][1:]
    document["boots"][0]["console"] = []
    for holder, key in list(places(document)):
        if isinstance(holder, list) and len(holder) > 3:
            continue
        before = holder[key]
        holder[key] = wrong
        with contextlib.suppress(BootwrightError):
            replay(document)
        holder[key] = before
    assert replay(document) == ()


def test_operations_are_merged_as_traces_write_them() -> None:
    sector = b"\0" * 4096
    ops: list[FlashOp] = [
        Erase(0, 4096),
        Write(0, sector, encrypted=True),
        Erase(4096, 4096),
        Write(4096, sector, encrypted=True),
    ]
    assert merge_ops(ops) == [("E+WE", 0, 8192)]
    assert merge_ops([*ops, Erase(8192, 4096)]) == [("E+WE", 0, 8192), ("E", 8192, 4096)]
    assert merge_ops(ops, torn=True) == [("E+WE", 0, 4096), ("E", 4096, 4096), ("WE-torn-half", 4096, 4096)]
    assert merge_ops([Write(0, b"1234"), Write(4, b"5678"), Write(16, b"9")]) == [("W", 0, 8), ("W", 16, 1)]
