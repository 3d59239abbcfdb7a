import pytest

from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.sim.registers import EfuseController, Memory, SpiController, int_register, load_registers, sfdp


class Bench:
    """One controller and the state behind it."""

    def __init__(self, model: str, *, fail_shift: int = 0) -> None:
        self.chip = load_chip(model)
        self.state = Efuses.blank(self.chip)
        self.controller = EfuseController(self.chip, lambda: self.state, self._put, fail_shift=fail_shift)

    def _put(self, state: Efuses) -> None:
        self.state = state

    def register(self, name: str) -> int:
        return int_register(self.chip.efuse.registers[name])

    def program(self, block: int, words: dict[int, int], check: tuple[int, ...] = ()) -> None:
        for at in range(8):
            self.controller.write(4 * at, words.get(at, 0))
        for at, word in enumerate(check):
            self.controller.write(0x20 + 4 * at, word)
        self.controller.write(self.register("conf"), 0x5A5A)
        self.controller.write(self.register("cmd"), 2 | block << 2)


@pytest.mark.parametrize("name", CHIP_NAMES)
def test_every_chip_has_a_register_map_and_a_stub_address(name: str) -> None:
    found = load_registers(name)
    assert found.stub
    assert found.gpio_strap.download != found.gpio_strap.normal
    assert (found.magic != 0) == (name in ("esp32", "esp32s2"))


def test_wrong_parity_beside_the_data_spoils_a_block_and_shows_in_the_error_register() -> None:
    bench = Bench("esp32s3")
    bench.program(4, {0: 1}, check=(1, 2, 3))
    assert bench.state.spoiled(4)
    errors = bench.chip.efuse.registers["rs_err"]
    assert isinstance(errors, tuple)
    assert bench.controller.read(errors[0]) == 0xF << 12


def test_the_c3_shows_a_failed_block_one_nibble_late() -> None:
    bench = Bench("esp32c3", fail_shift=1)
    bench.program(4, {0: 1}, check=(1, 2, 3))
    errors = bench.chip.efuse.registers["rs_err"]
    assert isinstance(errors, tuple)
    assert bench.controller.read(errors[0]) == 7 << 12 | 8 << 16


def test_a_command_without_its_opcode_in_conf_does_nothing() -> None:
    bench = Bench("esp32c6")
    bench.controller.write(0, 1)
    bench.controller.write(bench.register("cmd"), 2)
    assert bench.state == Efuses.blank(bench.chip)


def test_read_windows_are_not_written_and_cmd_reads_as_done() -> None:
    bench = Bench("esp32h2")
    bench.controller.write(0x9C, 5)
    assert bench.controller.read(0x9C) == 0
    assert bench.controller.read(bench.register("cmd")) == 0
    bench.controller.write(bench.register("clk"), 7)
    assert bench.controller.read(bench.register("clk")) == 7


def test_the_esp32_programs_every_block_from_registers_of_its_own() -> None:
    bench = Bench("esp32")
    windows = bench.chip.efuse.registers["write"]
    assert isinstance(windows, tuple)
    bench.controller.write(windows[1], 0xAA)
    bench.controller.write(windows[3], 0xBB)
    bench.controller.write(bench.register("conf"), 0x5A5A)
    bench.controller.write(bench.register("cmd"), 2)
    assert (bench.state.bits[1], bench.state.bits[3]) == (0xAA, 0xBB)


def test_under_three_quarter_coding_the_esp32_takes_data_and_check_bytes_together() -> None:
    bench = Bench("esp32")
    bench.state = bench.state.burn_fields({"CODING_SCHEME": 1}).latched()
    windows = bench.chip.efuse.registers["write"]
    assert isinstance(windows, tuple)
    unit = bytes([1, 2, 3, 4, 5, 6, 1 ^ 2 ^ 3 ^ 4 ^ 5 ^ 6, 1 + 2 + 6 + 4 + 10 + 12])
    for at in range(0, 32, 4):
        bench.controller.write(windows[1] + at, int.from_bytes((unit * 4)[at : at + 4], "little"))
    bench.controller.write(bench.register("conf"), 0x5A5A)
    bench.controller.write(bench.register("cmd"), 2)
    assert bench.state.block(1) == unit[:6] * 4
    assert not bench.state.spoiled(1)
    assert bench.controller.read(bench.register("dec_status")) == 0


@pytest.mark.parametrize("model", ["esp32", "esp32c3"])
def test_the_flash_answers_on_the_spi_controller_once_it_is_attached(model: str) -> None:
    at = load_registers(model).spi
    spi = SpiController(at, 4 << 20)

    def ask(opcode: int, bits: int, address: int = 0) -> int:
        spi.write(4, address << 8 if at.address_in_msb else address)
        spi.write(at.miso_dlen, bits - 1)
        spi.write(at.usr2, 7 << 28 | opcode)
        spi.write(0, 1 << 18)
        assert spi.read(0) & 1 << 18 == 0
        return spi.read(at.w0)

    assert ask(0x9F, 24) == 0xFFFFFF
    spi.attached = True
    assert ask(0x9F, 24) == 0x1640EF
    assert ask(0x5A, 32) == int.from_bytes(b"SFDP", "little")
    assert ask(0x5A, 24, 1) == int.from_bytes(b"FDP", "little")
    spi.write(at.w0, 0x42)
    spi.write(at.usr2, 7 << 28 | 0x31)
    spi.write(0, 1 << 18)
    assert ask(0x35, 8) == 0x42


def test_the_flash_states_its_density_where_its_header_points() -> None:
    table = sfdp(8 << 20)
    at = int.from_bytes(table[12:15], "little")
    assert int.from_bytes(table[at + 4 : at + 8], "little") + 1 == 8 * (8 << 20)


def test_memory_keeps_bytes_across_pages_and_starts_as_zeros() -> None:
    memory = Memory()
    assert memory.word(0x4000_0000) == 0
    memory.load(0x4000_0FFE, b"\1\2\3\4")
    assert (memory.word(0x4000_0FFC), memory.word(0x4000_1000)) == (0x0201_0000, 0x0403)
    assert memory.holds(0x4000_0000)
    assert not memory.holds(0x4000_2000)
