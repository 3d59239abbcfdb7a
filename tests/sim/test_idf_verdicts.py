"""How ESP-IDF's second-stage bootloader refuses: each a named check."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest
from tests.support.idf_scene import (
    ANTI_ROLLBACK,
    ENCRYPTION,
    FACTORY,
    NO_FACTORY,
    NVS,
    OTA_0,
    OTA_1,
    OTADATA,
    V1,
    V2,
    WHOLE,
    Scene,
    app,
    code,
    said,
    scene,
)
from tests.support.keys import key_of

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.memory import image_target
from bootwright.errors import NotModelledError
from bootwright.finding import Verdict
from bootwright.flash import Erase
from bootwright.formats.esp_image import AppDesc, EspImageHeader, Segment, make_bootloader_image, make_image
from bootwright.formats.esp_otadata import OtaSelectEntry, OtaState, erased_otadata, sequence_crc
from bootwright.formats.esp_partitions import make_partition, make_table
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.keys import KeyType
from bootwright.sim.board import Outcome
from bootwright.sim.idf_boot import IdfBootloader

SLOTS = (FACTORY, OTA_0, OTA_1)
C2 = {
    "CONFIG_SECURE_SIGNED_APPS_RSA_SCHEME": "n",
    "CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": "y",
    "CONFIG_SECURE_BOOT_FLASH_ENC_KEYS_BURN_TOGETHER": "y",
    "CONFIG_SECURE_FLASH_ENCRYPTION_AES128_DERIVED": "y",
}


def c2_scene() -> Scene:
    it = scene(V2, ENCRYPTION, C2, chip="esp32c2")
    signer = key_of(KeyType.ECDSA_P256, 0)
    it.machine.flash.load(0, sign_v2(make_bootloader_image(12, size=0x5000), [signer]))
    for slot in SLOTS:
        it.machine.flash.load(slot, sign_v2(app("app", chip="esp32c2"), [signer]))
    return it


DESC = AppDesc().pack()


def in_every_slot(it: Scene, image: bytes) -> Scene:
    for slot in SLOTS:
        it.machine.flash.load(slot, b"\xff" * 0x8000)
        it.machine.flash.load(slot, image)
    return it


def image_of(**header: Any) -> bytes:
    facts = EspImageHeader(segment_count=1, entry_addr=0x4200_0020, chip_id=load_chip("esp32c3").chip_id)
    return make_image(replace(facts, **header), [Segment(0x3C00_0020, DESC + b"code" * 64)]).pack()


# Applications


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (image_of(chip_id=9), "idf.app.chip"),
        (image_of(min_chip_rev_full=900), "idf.app.revision"),
        (image_of(max_chip_rev_full=2), "idf.app.revision"),
        (image_of()[:-1] + b"\0", "idf.app.hash"),
        (b"\0" * 64, "idf.app.image"),
    ],
)
def test_an_application_is_refused_by_a_named_check(image: bytes, wanted: str) -> None:
    assert code(in_every_slot(scene(), image).boot()) == wanted


def test_an_application_must_fit_its_partition_with_its_signature() -> None:
    table = make_table([make_partition("factory", 0, 0, FACTORY, 0x10000)])
    it = scene(V2, signed="v2", table=table.pack())
    it.machine.flash.load(
        FACTORY,
        make_image(
            EspImageHeader(segment_count=1, entry_addr=0x4200_0020, chip_id=5),
            [Segment(0x3C00_0020, DESC.ljust(0xFF00, b"c"))],
        ).pack(),
    )
    assert code(it.boot()) == "idf.app.size"


def test_a_table_without_applications_boots_nothing() -> None:
    it = scene(table=make_table([make_partition("nvs", 1, 2, NVS, 0x4000)]).pack())
    assert code(it.boot()) == "idf.app.none"


def test_a_table_without_otadata_boots_the_factory_application() -> None:
    it = scene(table=make_table([make_partition("factory", 0, 0, FACTORY, 0x10000)]).pack())
    assert it.boot().version == "factory"


def test_otadata_of_one_sector_stops_the_boot() -> None:
    parts = [make_partition("otadata", 1, 0, OTADATA, 0x1000), make_partition("factory", 0, 0, FACTORY, 0x10000)]
    assert code(scene(table=make_table(parts).pack()).boot()) == "idf.otadata.size"


def test_an_efuse_lifts_the_newest_revision_that_an_application_allows() -> None:
    it = in_every_slot(scene(), image_of(max_chip_rev_full=2))
    it.machine.efuses = it.machine.efuses.burn_fields({"DISABLE_WAFER_VERSION_MAJOR": 1}).latched()
    assert it.boot().booted


@pytest.mark.parametrize(
    ("at", "value", "wanted", "words"),
    [
        (12, 9, "port.init.chip", "mismatch chip ID, expected 5, found 9"),
        (15, 900, "port.init.revision", "Required >= v9.0, found v0.4."),
    ],
)
def test_a_bootloader_for_other_silicon_resets(at: int, value: int, wanted: str, words: str) -> None:
    it = scene()
    it.machine.flash.load(at, value.to_bytes(2, "little"))
    report = it.boot()
    assert (report.outcome, code(report)) == (Outcome.RESET, wanted)
    assert words in said(report)


# Signatures


def test_a_signature_block_whose_signature_is_wrong_stops_the_first_boot() -> None:
    it = scene(V2, signed="v2")
    sector = bytearray(it.machine.flash.read(0x5000, 0x1000))
    first, second = bytearray(sector[:1216]), bytearray(sector[:1216])
    second[812] ^= 1  # the signature; the block's own CRC is made to fit again
    second[1196:1200] = zlib.crc32(second[:1196]).to_bytes(4, "little")
    it.machine.flash.load(0x5000, bytes(first + second))
    report = it.boot()
    assert code(report) == "port.secure_boot.signature"
    assert report.efuse_programs == ()


def test_secure_boot_without_a_readable_digest_refuses_applications() -> None:
    it = scene(V2, signed="v2")
    assert it.boot().booted
    it.machine.efuses = it.machine.efuses.burn_fields({"SECURE_BOOT_KEY_REVOKE0": 1}).latched()
    assert not it.boot().booted


def test_secure_boot_v1_needs_a_key_for_applications() -> None:
    it = scene(V1, chip="esp32", signed="v1")
    it.bootloader = IdfBootloader(conf=it.bootloader.conf)
    assert code(it.boot()) == "idf.app.signature"


def test_a_key_of_a_host_for_secure_boot_v1_is_used() -> None:
    it = scene(V1, chip="esp32", signed="v1")
    it.machine.efuses = it.machine.efuses.burn_block(2, bytes(range(32))).latched()
    assert it.boot().booted
    assert it.machine.efuses.block(2) == bytes(range(32))


def test_a_key_for_secure_boot_v1_with_half_its_protections_is_refused() -> None:
    it = scene(V1, chip="esp32", signed="v1")
    fuses = it.machine.efuses.burn_block(2, bytes(range(32)))
    it.machine.efuses = fuses.burn_fields({"RD_DIS.BLOCK2": 1}).latched()
    assert code(it.boot()) == "idf.secure_boot_v1.key"


def test_secure_boot_v1_notices_what_it_cannot_burn() -> None:
    it = scene(V1, chip="esp32", signed="v1")
    it.machine.efuses = it.machine.efuses.burn_fields({"WR_DIS.ABS_DONE_0": 1}).latched()
    assert code(it.boot()) == "idf.secure_boot_v1.burn"


def test_jtag_that_stays_open_is_a_warning() -> None:
    options = {"CONFIG_SECURE_BOOT_ALLOW_JTAG": "y", "CONFIG_SECURE_BOOT_ALLOW_ROM_BASIC": "y"}
    it = scene(V1, options, chip="esp32", signed="v1")
    report = it.boot()
    assert report.booted
    assert ("idf.jtag.open", Verdict.WARN) in [(f.code, f.verdict) for f in report.findings]
    assert not it.machine.efuses.is_set("CONSOLE_DEBUG_DISABLE")


# Both keys in one block


def test_on_the_c2_one_without_the_other_stops() -> None:
    it = c2_scene()
    it.machine.efuses = it.machine.efuses.burn_fields({"SPI_BOOT_CRYPT_CNT": 3}).latched()
    assert code(it.boot()) == "idf.together.half"


def test_on_the_c2_a_burn_that_fails_is_noticed() -> None:
    it = c2_scene()
    it.machine.efuses = it.machine.efuses.burn_fields({"WR_DIS.RD_DIS": 1}).latched()
    report = it.boot()
    assert code(report) == "idf.together.burn"
    assert report.flash_ops == ()


# Anti-rollback


def chosen(sequence: int, state: OtaState = OtaState.VALID) -> bytes:
    entry = OtaSelectEntry(ota_seq=sequence, ota_state=state, crc=sequence_crc(sequence))
    return replace(erased_otadata(), entries=(entry, erased_otadata().entries[1])).pack()


def test_a_first_boot_without_factory_burns_the_version_of_the_slot_it_finds() -> None:
    it = scene(ANTI_ROLLBACK, table=NO_FACTORY.pack())
    it.machine.flash.load(OTA_0, app("zero", secure_version=2))
    report = it.boot()
    assert report.version == "zero"
    assert it.machine.efuses.number("SECURE_VERSION") == 0b11
    assert it.otadata().entries[0].ota_seq == 1


def test_a_secure_version_beyond_the_field_is_not_burned() -> None:
    it = scene(ANTI_ROLLBACK, table=NO_FACTORY.pack())
    it.machine.flash.load(OTA_0, app("zero", secure_version=17))
    it.machine.flash.load(OTADATA, chosen(1))
    report = it.boot()
    assert report.version == "zero"
    assert report.efuse_programs == ()
    assert "idf.anti_rollback.full" in [finding.code for finding in report.findings]


def test_a_partition_of_a_type_of_ones_own_is_encrypted_when_flagged() -> None:
    own = make_partition("mine", 0x40, 1, 0x310000, 0x1000)
    flagged = make_partition("secret", 0x40, 0, 0x311000, 0x1000)
    table = make_table([*WHOLE, own, replace(flagged, flags=1)])
    it = scene(ENCRYPTION, table=table.pack())
    for at in (0x310000, 0x311000):
        it.machine.flash.load(at, b"words of an application")
    assert it.boot().booted
    assert it.machine.flash.read(0x310000, 8) == b"words of"
    assert it.machine.flash.read(0x311000, 8) != b"words of"
    assert it.machine.view().read(0x311000, 8) == b"words of"


def test_other_bootloaders_and_tables_are_encrypted_when_they_are_valid_in_plaintext() -> None:
    more = [
        make_partition("primary", 2, 0, 0x0, 0x8000),
        make_partition("spare", 2, 1, 0x310000, 0x8000),
        make_partition("empty", 2, 2, 0x318000, 0x8000),
        make_partition("table", 3, 1, 0x320000, 0x1000),
        make_partition("no_table", 3, 1, 0x321000, 0x1000),
        make_partition("tee", 1, 0x90, 0x322000, 0x2000),
    ]
    it = scene(ENCRYPTION, table=make_table([*WHOLE, *more]).pack())
    it.machine.flash.load(0x310000, make_bootloader_image(5, size=0x5000))
    it.machine.flash.load(0x320000, WHOLE.pack())
    for at in (0x318000, 0x321000, 0x322000):
        it.machine.flash.load(at, b"neither of them, sixteen bytes..")
    report = it.boot()
    assert report.booted
    view = it.machine.view()
    assert view.read(0x310000, 1) == b"\xe9"
    assert view.read(0x320000, 2) == b"\xaa\x50"
    assert view.read(0x322000, 8) == b"neither "
    assert [it.machine.flash.read(at, 8) for at in (0x318000, 0x321000)] == [b"neither "] * 2
    erased = [op.address for op in report.flash_ops if isinstance(op, Erase)]
    assert erased.count(0) == 1


def test_nvs_with_the_flag_is_encrypted_as_the_code_has_it() -> None:
    table = make_table([replace(p, flags=1) if p.name == "nvs" else p for p in WHOLE])
    it = scene(ENCRYPTION, table=table.pack())
    it.machine.flash.load(NVS, b"a page of nvs...")
    assert it.boot().booted
    assert it.machine.view().read(NVS, 6) == b"a page"


def test_a_key_of_the_key_manager_is_not_modelled() -> None:
    it = scene(ENCRYPTION, {"CONFIG_SECURE_FLASH_ENCRYPTION_KEY_SOURCE_KEY_MGR": "y"}, chip="esp32c5")
    with pytest.raises(NotModelledError, match="Key Manager"):
        it.boot()


def test_secure_boot_v1_knows_no_repeated_coding() -> None:
    it = scene(V1, chip="esp32", signed="v1")
    it.machine.efuses = it.machine.efuses.burn_fields({"CODING_SCHEME": 2}).latched()
    report = it.boot()
    assert report.failure is not None
    assert report.failure.code == "idf.secure_boot_v1.coding"


@pytest.mark.parametrize(("oldest", "newest", "boots"), [(101, 0xFFFF, False), (0, 99, False), (100, 199, True)])
def test_an_application_may_ask_for_the_factory_s_data(oldest: int, newest: int, boots: bool) -> None:
    desc = AppDesc(version=b"one".ljust(32, b"\0"), min_efuse_blk_rev_full=oldest, max_efuse_blk_rev_full=newest)
    header = EspImageHeader(segment_count=1, entry_addr=0x4200_0020, chip_id=5)
    it = scene()
    for slot in SLOTS:
        it.machine.flash.load(slot, make_image(header, [Segment(0x3C00_0020, desc.pack())]).pack())
    it.machine.efuses = it.machine.efuses.burn_fields({"BLK_VERSION_MAJOR": 1}).latched()
    report = it.boot()
    assert report.booted is boots
    assert boots or code(report) == "idf.app.efuse_block"


def mapped_app(chip: str, first: bytes, *, load_addr: int = 0x20, second: int | None = None) -> bytes:
    """An application whose first segment is mapped flash, and a second segment where one is wanted."""
    facts = load_chip(chip)
    start = image_target(chip).flash[0].start
    segments = [Segment(start + load_addr, first)]
    if second is not None:
        segments.append(Segment(start + second, bytes(64)))
    header = EspImageHeader(segment_count=len(segments), entry_addr=start + load_addr, chip_id=facts.chip_id)
    return make_image(header, segments).pack()


@pytest.mark.parametrize("chip", CHIP_NAMES)
def test_an_application_without_a_description_starts_only_where_pages_of_flash_have_one_size(chip: str) -> None:
    it = in_every_slot(scene(chip=chip), mapped_app(chip, bytes(0x100)))
    report = it.boot()
    if chip in ("esp32c2", "esp32c6", "esp32c61", "esp32h2"):
        assert code(report) == "idf.app.description"
        assert "Failed to fetch app description header!" in said(report)
    else:
        assert report.booted


def test_an_application_too_short_for_a_description_is_refused() -> None:
    report = in_every_slot(scene(), mapped_app("esp32c3", bytes(0xFC))).boot()
    assert code(report) == "idf.app.description"
    assert "Segment 0: length 0xfc is too short for app description" in said(report)


def test_what_stands_for_the_factory_s_data_counts_without_a_description_too() -> None:
    first = bytearray(0x100)
    first[0xB0:0xB2] = (200).to_bytes(2, "little")  # min_efuse_blk_rev_full
    assert code(in_every_slot(scene(), mapped_app("esp32c3", bytes(first))).boot()) == "idf.app.efuse_block"


@pytest.mark.parametrize(
    ("chip", "bits", "options", "load_addr", "second", "boots"),
    [
        ("esp32c3", 16, {}, 0x20, 0x1_0128, True),
        ("esp32c3", 16, {}, 0x24, None, False),
        ("esp32c3", 16, {}, 0x20, 0x1_0130, False),
        ("esp32c3", 13, {}, 0x2020, None, False),  # its pages have one size, whatever the description says
        ("esp32c6", 13, {}, 0x2020, 0x4128, True),
        ("esp32c6", 15, {}, 0x2020, None, False),
        ("esp32c6", 0, {}, 0x4020, None, False),  # old applications do not say: as the bootloader was built
        ("esp32c6", 0, {"CONFIG_MMU_PAGE_SIZE": "0x4000"}, 0x4020, None, True),
    ],
)
def test_mapped_flash_lies_as_it_is_mapped_page_by_page(
    chip: str, bits: int, options: dict[str, str], load_addr: int, second: int | None, boots: bool
) -> None:
    image = mapped_app(chip, AppDesc(mmu_page_size=bits).pack(), load_addr=load_addr, second=second)
    report = in_every_slot(scene(options, chip=chip), image).boot()
    assert report.booted is boots
    if not boots:
        assert code(report) == "idf.app.place"
        assert "doesn't match data 0x" in said(report)
        assert f"Segment {0 if second is None else 1} load address" in said(report)
    elif bits in (0, 13):
        mismatch = "MMU page size mismatch, configured: 0x10000, found: 0x2000"
        assert (mismatch in said(report)) is (bits == 13)


def test_without_a_factory_application_bad_otadata_tries_all() -> None:
    it = scene(table=NO_FACTORY.pack())
    it.machine.flash.load(OTADATA, OtaSelectEntry(ota_seq=1, ota_state=OtaState.VALID, crc=1).pack())
    report = it.boot()
    assert report.booted
    assert "ota data partition invalid and no factory, will try all partitions" in said(report)
