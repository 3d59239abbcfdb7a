import codecs
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootwright.errors import FormatError
from bootwright.finding import Verdict
from bootwright.formats.esp_partition_csv import CsvContext, decode_csv, format_csv, parse_csv
from bootwright.formats.esp_partition_rules import verify_partitions
from bootwright.formats.esp_partitions import (
    BINARY_SIZE,
    Partition,
    PartitionTable,
    make_partition,
    make_table,
    without_md5,
)

u32 = st.integers(0, 2**32 - 1)
partitions = st.builds(
    make_partition,
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=16),
    st.integers(0, 255),
    st.integers(0, 255),
    u32,
    u32,
    st.integers(0, 3),
)
USUAL = """
nvs,      data, nvs,     ,        0x6000
otadata,  data, ota,     ,        8K
phy_init, data, phy,     ,        4K
ota_0,    app,  ota_0,   ,        1M
ota_1,    app,  ota_1,   ,        1M,  encrypted
"""


def codes(table: PartitionTable, **options: Any) -> list[str]:
    return [finding.code for finding in verify_partitions(table, **options)]


def row(text: str) -> list[str]:
    return codes(parse_csv(text))


@given(rows=st.lists(partitions, max_size=94))
def test_packing_what_was_parsed_gives_the_table_back(rows: list[Partition]) -> None:
    table = make_table(rows)
    data = table.pack()
    assert len(data) == BINARY_SIZE
    assert PartitionTable.parse(data) == table
    assert PartitionTable.parse(data + b"\xff" * 0x400).pack() == data + b"\xff" * 0x400
    bare = without_md5(table).pack()
    assert PartitionTable.parse(bare).pack() == bare


@given(data=st.binary(max_size=200), lead=st.sampled_from([b"", b"\xaa\x50", b"\xeb\xeb"]))
def test_any_bytes_give_a_table_or_a_format_error(data: bytes, lead: bytes) -> None:
    with suppress(FormatError):
        assert PartitionTable.parse(lead + data).pack() == lead + data


def test_gaps_are_filled_as_esp_idf_fills_them() -> None:
    table = parse_csv(USUAL)
    assert [(one.name, one.offset, one.size) for one in table] == [
        ("nvs", 0x9000, 0x6000),
        ("otadata", 0xF000, 0x2000),
        ("phy_init", 0x11000, 0x1000),
        ("ota_0", 0x20000, 0x100000),
        ("ota_1", 0x120000, 0x100000),
    ]
    assert codes(table) == ["partition.rules"]
    assert parse_csv(format_csv(table)) == table
    assert format_csv(table).splitlines()[-1] == "ota_1,app,ota_1,0x120000,1M,encrypted"


def test_a_negative_size_reaches_up_to_its_address() -> None:
    (partition,) = parse_csv("storage,data,fat,0x10000,-2M")
    assert partition.end == 0x200000


def test_the_project_says_where_bootloaders_and_tables_lie() -> None:
    text = "boot,bootloader,primary,,\ntable,partition_table,primary,,\nnext,bootloader,recovery,,\nown,data,mine,,4K"
    context = CsvContext(
        table_offset=0x10000,
        bootloader_offset=0x1000,
        recovery_bootloader_offset=0x20000,
        extra_subtypes={(1, "mine"): 0x99},
    )
    table = parse_csv(text, context=context)
    assert [(one.offset, one.size) for one in table] == [
        (0x1000, 0xF000),
        (0x10000, 0x1000),
        (0x20000, 0xF000),
        (0x2F000, 0x1000),
    ]
    assert table.find("own").subtype == 0x99
    assert codes(table, table_offset=0x10000) == ["partition.rules"]
    with pytest.raises(FormatError, match=r"partition table:1: the bootloader's offset is not known"):
        parse_csv(text)


def test_variables_are_taken_from_the_caller_only() -> None:
    (partition,) = parse_csv("a,data,fat,0x10000,$SIZE", context=CsvContext(variables={"SIZE": "8K"}))
    assert partition.size == 0x2000
    (partition,) = parse_csv("a,data,fat,0x10000,${SIZE}", context=CsvContext(variables={"SIZE": "8K"}))
    assert partition.size == 0x2000
    with pytest.raises(FormatError, match="found variable 'HOME'"):
        parse_csv("a,data,fat,$HOME,8K")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str) -> None:
    assert parse_csv(decode_csv("größe,data,fat,,4K".encode(encoding))).partitions[0].name == "größe"
    with pytest.raises(FormatError, match="found byte 0xff at offset 0x0"):
        decode_csv(b"\xff\x00\x00")
    assert decode_csv(codecs.BOM_UTF8) == ""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a", "table:1: type: found nothing, expected one of app"),
        ("a,data,fat,,", "table:1: found no size"),
        ("a,app,,,4K", "found no subtype, expected one for an app partition"),
        ("a,data,what,,4K", "subtype: found 'what', expected a number or one of ota, phy"),
        ("a,data,fat,here,4K", "offset: found 'here', expected a number"),
        ("a,data,fat,,4X", "size: found '4X', expected a number"),
        ("a,data,fat,,4K,secret", "found flag 'secret', expected encrypted or readonly"),
        ("#\na,data,fat,0x8000,4K", "table:2: partition 'a' starts at 0x8000, the partition table ends at 0x9000"),
        ("a,data,fat,,4K\nb,data,fat,0x9000,4K", "partition 'b' starts at 0x9000, the partition before ends at 0xa000"),
        ("a,data,fat,,-4K", "expected 32 and 8 bits"),
        ("a,300,1,,4K", "type 300"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(text: str, complaint: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_csv(text)
    assert complaint in caught.value.message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a,app,factory,0x11000,64K", "partition.offset.aligned"),
        ("a,data,fat,0x11100,64K", "partition.offset.aligned"),
        ("a,app,factory,0x10000,0x1800", "partition.size.aligned"),
        ("a,data,fat,0x10000,0", "partition.size.zero"),
        ("a,data,ota,,8K,readonly", "partition.readonly"),
        ("a,data,coredump,,64K,readonly", "partition.readonly"),
        ("a,data,nvs,,8K", "partition.nvs.size"),
        ("a,data,nvs,,16K,encrypted", "partition.nvs.encrypted"),
        ("a,data,nvs_keys,,0x800", "partition.nvs_keys.size"),
        ("a,data,fat,,4K\na,data,fat,,4K", "partition.name.duplicate"),
        ("a,data,ota,,4K", "partition.otadata.size"),
        ("a,data,tee_ota,,4K", "partition.otadata.size"),
        ("a,data,ota,,8K\nb,data,ota,,8K", "partition.otadata.duplicate"),
        ("app,data,fat,,4K", "partition.name.misleading"),
        ("nvs,data,fat,,4K", "partition.name.misleading"),
    ],
)
def test_each_rule_has_a_name(text: str, code: str) -> None:
    assert row(text) == [code]


def test_a_small_nvs_may_be_read_only() -> None:
    assert row("a,data,nvs,,8K,readonly") == ["partition.rules"]


def test_rules_that_a_text_table_cannot_break_are_checked_in_binary_ones() -> None:
    overlapping = make_table(
        [make_partition("a", 1, 0x81, 0x9000, 0x2000), make_partition("b", 1, 0x81, 0xA000, 0x1000)]
    )
    assert codes(overlapping) == ["partition.overlap"]
    below = make_table([make_partition("a", 1, 0x81, 0x8000, 0x1000)])
    assert codes(below) == ["partition.below_table"]
    odd = make_table([make_partition("a", 1, 0x81, 0x9000, 0x1000, 4)])
    assert codes(odd) == ["partition.flags"]


def test_the_flash_must_hold_all_and_secure_boot_v1_wants_whole_64_kib() -> None:
    table = parse_csv("a,app,factory,,0x11000")
    assert codes(table, secure_boot=2) == ["partition.rules"]
    assert codes(table, secure_boot=1) == ["partition.size.aligned"]
    assert codes(table, flash_size=0x21000) == ["partition.rules"]
    assert codes(table, flash_size=0x20FFF) == ["partition.flash_size"]


def test_any_flipped_bit_of_a_table_is_found() -> None:
    data = parse_csv(USUAL).pack()
    used = 6 * 32
    for at in range(used):
        broken = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        try:
            found = verify_partitions(PartitionTable.parse(broken))
        except FormatError:
            continue
        if 5 * 32 + 2 <= at < 5 * 32 + 16:
            continue  # the filler of the MD5 entry, which nobody reads
        assert any(finding.verdict is Verdict.FAIL for finding in found), f"at {at:#x}"


def test_without_md5_the_table_is_accepted_with_a_warning() -> None:
    assert codes(without_md5(parse_csv(USUAL))) == ["partition.md5.missing"]


def test_what_is_encrypted_follows_from_kind_and_flag() -> None:
    table = parse_csv(
        "n,data,nvs,,16K,encrypted\no,data,ota,,8K\nk,data,nvs_keys,,4K\nf,data,fat,,4K\ne,data,fat,,4K,encrypted\na,app,factory,,64K\nx,0x40,0,,4K"
    )
    assert {one.name for one in table if one.is_encrypted} == {"o", "k", "e", "a"}


def test_a_table_takes_94_partitions() -> None:
    row = make_partition("x", 1, 1, 0, 0)
    assert len(make_table([row] * 94).partitions) == 94
    with pytest.raises(FormatError, match="found 95 partitions, expected at most 94"):
        make_table([row] * 95)


def test_a_partition_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(FormatError, match="no partition 'x', expected one of nvs, otadata"):
        parse_csv(USUAL).find("x")
