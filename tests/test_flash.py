import pytest

from bootwright.errors import SiliconError
from bootwright.flash import Area, Erase, FlashOp, NorFlash, Program, Write, drive


def test_a_write_only_clears_bits() -> None:
    flash = NorFlash(8192)
    flash.apply(Write(0, b"\xf0"))
    flash.apply(Write(0, b"\x3c"))
    assert flash.read(0, 2) == b"\x30\xff"


def test_erase_takes_whole_sectors_only() -> None:
    flash = NorFlash(8192)
    with pytest.raises(SiliconError, match="not made of whole sectors"):
        flash.apply(Erase(0, 100))
    flash.load(4096, b"\x00" * 10)
    flash.apply(Erase(4096, 4096))
    assert flash.snapshot() == b"\xff" * 8192


def test_nothing_reaches_beyond_the_end() -> None:
    with pytest.raises(SiliconError, match=r"read of 0x2 bytes at 0x1fff leaves the flash of 0x2000 bytes"):
        NorFlash(8192).read(8191, 2)


def test_a_plain_flash_refuses_encrypted_writes() -> None:
    with pytest.raises(SiliconError, match="without an encryption unit"):
        NorFlash(8192).apply(Write(0, b"1", encrypted=True))


def test_a_driver_performs_what_a_program_yields_and_returns_its_result() -> None:
    def program() -> Program[str]:
        yield Erase(0, 4096)
        yield Write(0, b"hi")
        return "done"

    done: list[FlashOp] = []
    assert drive(program(), done.append) == "done"
    assert done == [Erase(0, 4096), Write(0, b"hi")]


def test_areas_overlap_only_when_they_share_a_byte() -> None:
    assert Area("a", 0, 16).overlaps(Area("b", 15, 1))
    assert not Area("a", 0, 16).overlaps(Area("b", 16, 1))
