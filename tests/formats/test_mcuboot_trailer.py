import pytest

from bootwright.formats.mcuboot_trailer import (
    FlagState,
    MagicState,
    TrailerGeometry,
    UpgradeMode,
    align_of_magic,
    boot_magic,
    decode_flag,
    decode_magic,
    espressif_geometry,
)

S = 0x1C0000


def test_fields_of_an_8_aligned_trailer_lie_where_bootutil_puts_them() -> None:
    trailer = espressif_geometry(S)
    at = [trailer.magic, trailer.image_ok, trailer.copy_done, trailer.swap_info, trailer.swap_size, trailer.status]
    assert [S - offset for offset in at] == [16, 24, 32, 40, 48, 6192]


def test_fields_of_a_32_aligned_trailer_lie_where_bootutil_puts_them() -> None:
    trailer = espressif_geometry(S, flash_encryption=True)
    at = [trailer.magic, trailer.image_ok, trailer.copy_done, trailer.swap_info, trailer.swap_size, trailer.status]
    assert [S - offset for offset in at] == [16, 64, 96, 128, 160, 49312]


def test_flag_offsets_do_not_depend_on_whether_the_encryption_fuse_is_burned() -> None:
    before = espressif_geometry(S, flash_encryption=True, fuse_burned=False)
    after = espressif_geometry(S, flash_encryption=True, fuse_burned=True)
    assert (before.trailer_size, after.trailer_size) == (6304, 49312)
    assert (before.image_ok, before.swap_size) == (after.image_ok, after.swap_size)


@pytest.mark.parametrize(("encryption", "burned", "size"), [(False, False, 60), (True, False, 172), (True, True, 256)])
def test_the_scratch_trailer_holds_the_entries_of_one_sector(encryption: bool, burned: bool, size: int) -> None:
    assert espressif_geometry(S, flash_encryption=encryption, fuse_burned=burned).scratch_trailer_size == size


@pytest.mark.parametrize(
    ("mode", "encryption", "burned", "lost"),
    [
        (UpgradeMode.SWAP_SCRATCH, False, False, 6192),
        (UpgradeMode.SWAP_MOVE, False, False, 12288),
        (UpgradeMode.OVERWRITE_ONLY, False, False, 40),
        (UpgradeMode.SWAP_SCRATCH, True, False, 6304),
        (UpgradeMode.SWAP_SCRATCH, True, True, 49408),
        (UpgradeMode.SWAP_MOVE, True, True, 57344),
        (UpgradeMode.OVERWRITE_ONLY, True, True, 128),
    ],
)
def test_the_largest_image_is_what_the_real_bootloader_accepted(
    mode: UpgradeMode, encryption: bool, burned: bool, lost: int
) -> None:
    geometry = espressif_geometry(S, flash_encryption=encryption, fuse_burned=burned)
    assert geometry.max_image_size(mode) == S - lost


def test_saved_image_keys_and_tlv_sizes_move_what_lies_before_them() -> None:
    plain = TrailerGeometry(slot_size=S)
    swap_offset = TrailerGeometry(slot_size=S, states=2, tlv_sizes_saved=True, key_size=16)
    assert swap_offset.tlv_sizes == plain.swap_size
    assert swap_offset.swap_size == plain.swap_size - 8
    assert [swap_offset.key(0), swap_offset.key(1)] == [swap_offset.swap_size - 16, swap_offset.swap_size - 32]
    assert swap_offset.status == swap_offset.key(1) - 512 * 2 * 4


def test_a_slot_smaller_than_its_trailer_holds_no_image() -> None:
    assert [espressif_geometry(4096).max_image_size(mode) for mode in UpgradeMode] == [0, 0, 0, 4056]


def test_each_alignment_has_its_own_magic_and_takes_the_others_for_bad() -> None:
    assert decode_magic(boot_magic(8), 8) is MagicState.GOOD
    assert decode_magic(boot_magic(8), 32) is MagicState.BAD
    assert decode_magic(boot_magic(32), 32) is MagicState.GOOD
    assert decode_magic(boot_magic(16), 32) is MagicState.BAD
    assert decode_magic(b"\xff" * 16) is MagicState.UNSET
    assert boot_magic(32)[:2] == b"\x20\x00"
    assert boot_magic(32, big_endian=True)[:2] == b"\x00\x20"


def test_a_magic_tells_the_alignment_that_it_was_written_for() -> None:
    assert [align_of_magic(boot_magic(align)) for align in (8, 16, 32)] == [8, 16, 32]
    assert [align_of_magic(magic) for magic in (b"", b"\xff" * 16, b"\x40\x00" + boot_magic(32)[2:])] == [None] * 3


def test_flags_are_set_unset_or_bad() -> None:
    assert [decode_flag(byte) for byte in (0x01, 0xFF, 0x00)] == [FlagState.SET, FlagState.UNSET, FlagState.BAD]
