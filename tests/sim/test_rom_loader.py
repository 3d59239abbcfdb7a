"""The loader on a chip in a file, spoken to byte by byte."""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootwright.chips.chip import load_chip
from bootwright.sim.chip_file import create_chip_file, open_chip_file
from bootwright.sim.factory import factory_efuses
from bootwright.sim.virtual_chip import Booted, Mode, Uart, VirtualChip
from bootwright.wire import slip
from bootwright.wire.rom import ROM_SYNC_VALUE, STUB_GREETING, SYNC_DATA, Opcode, Request, Response, data_request

MAC = bytes.fromhex("240ac4010203")


class Host:
    """A tool at the other end of the line."""

    def __init__(self, chip: VirtualChip) -> None:
        self.chip = chip
        self.uart = chip.uart("uart0")
        self._decoder = slip.Decoder()

    def packets(self, request: Request | bytes) -> list[bytes]:
        packet = request if isinstance(request, bytes) else request.pack()
        self.uart.take()
        self.uart.receive(slip.encode(packet))
        return self._decoder.feed(self.uart.take())

    def ask(self, op: int, data: bytes = b"") -> Response:
        return Response.parse(self.packets(Request(op, data))[0])

    def words(self, op: int, *words: int) -> Response:
        return self.ask(op, struct.pack(f"<{len(words)}I", *words))

    def block(self, op: Opcode, data: bytes, sequence: int = 0) -> bytes:
        return Response.parse(self.packets(data_request(op, data, sequence))[0]).data

    def become_stub(self) -> list[bytes]:
        entry = self.chip.registers.stub[0]
        self.words(Opcode.MEM_BEGIN, 8, 1, 0x1800, entry)
        self.block(Opcode.MEM_DATA, b"any code")
        return self.packets(Request(Opcode.MEM_END, struct.pack("<II", 0, entry)))


@pytest.fixture
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    model = getattr(request, "param", "esp32c3")
    path = tmp_path / "chip.chip"
    create_chip_file(path, factory_efuses(load_chip(model), mac=MAC), 1 << 20)
    with open_chip_file(path) as file:
        yield Host(VirtualChip(file, boot=lambda chip: Booted("booted\r\n")))


def test_a_rom_answers_sync_eight_times_with_its_value(host: Host) -> None:
    answers = [Response.parse(packet) for packet in host.packets(Request(Opcode.SYNC, SYNC_DATA))]
    assert [answer.value for answer in answers] == [ROM_SYNC_VALUE] * 8
    assert answers[0].data == bytes(4)


def test_ram_code_where_tools_put_their_stub_greets_and_then_answers_as_the_stub(host: Host) -> None:
    answer, greeting = host.become_stub()
    assert Response.parse(answer).data == bytes(4)
    assert greeting == STUB_GREETING
    assert host.chip.mode is Mode.STUB
    assert host.ask(Opcode.SYNC, SYNC_DATA).value == 0
    assert host.words(Opcode.ERASE_REGION, 0, 4096).data == bytes(2)


def test_other_ram_code_ends_the_conversation(host: Host) -> None:
    host.words(Opcode.MEM_BEGIN, 4, 1, 0x1800, 0x50000000)
    host.block(Opcode.MEM_DATA, b"code")
    host.words(Opcode.MEM_END, 0, 0x50000000)
    assert host.chip.mode is Mode.CODE
    assert host.packets(Request(Opcode.SYNC, SYNC_DATA)) == []
    host.chip.reset()
    assert len(host.packets(Request(Opcode.SYNC, SYNC_DATA))) == 8


def test_the_rom_writes_what_it_is_sent_and_digests_it_in_letters(host: Host) -> None:
    data = bytes(range(256)) * 4
    assert host.words(Opcode.FLASH_BEGIN, len(data), 1, 0x400, 0x1000, 0).data == bytes(4)
    assert host.block(Opcode.FLASH_DATA, data) == bytes(4)
    digest = host.words(Opcode.SPI_FLASH_MD5, 0x1000, len(data), 0, 0).data
    assert digest[:32].decode() == hashlib.md5(data).hexdigest()
    assert host.chip.read_flash(0x1000, len(data)) == data


def test_the_stub_inflates_and_erases_only_what_it_writes(host: Host) -> None:
    host.chip.write_flash(0, b"\0" * 0x4000)
    host.become_stub()
    packed = zlib.compress(b"firmware" * 512)
    host.words(Opcode.FLASH_DEFL_BEGIN, 4096, 1, 0x4000, 0x1000, 0)
    assert host.block(Opcode.FLASH_DEFL_DATA, packed) == bytes(2)
    assert host.chip.read_flash(0, 0x4000) == bytes(0x1000) + b"firmware" * 512 + bytes(0x2000)


def test_the_stub_tells_of_a_failed_block_with_the_next_one(host: Host) -> None:
    host.become_stub()
    host.words(Opcode.FLASH_DEFL_BEGIN, 4096, 2, 0x4000, 0x1000, 0)
    assert host.block(Opcode.FLASH_DEFL_DATA, b"no deflate") == bytes(2)
    assert host.block(Opcode.FLASH_DEFL_DATA, b"no deflate") == b"\xc7\0"


def test_a_bomb_is_stopped_at_the_size_that_was_announced(host: Host) -> None:
    host.become_stub()
    host.words(Opcode.FLASH_DEFL_BEGIN, 16, 1, 0x4000, 0, 0)
    host.block(Opcode.FLASH_DEFL_DATA, zlib.compress(b"x" * 10_000_000))
    assert host.words(Opcode.FLASH_END, 1).data == b"\xc9\0"
    assert host.chip.read_flash(0, 64) == b"\xff" * 64


def test_flash_is_read_in_packets_each_confirmed_and_the_digest_comes_last(host: Host) -> None:
    host.chip.write_flash(0, b"0123456789")
    host.become_stub()
    answer, first, second = host.packets(Request(Opcode.READ_FLASH, struct.pack("<4I", 0, 10, 4, 2)))
    assert (Response.parse(answer).data, first, second) == (bytes(2), b"0123", b"4567")
    assert host.packets(struct.pack("<I", 4)) == [b"89"]
    assert host.packets(struct.pack("<I", 8)) == []
    assert host.packets(struct.pack("<I", 10)) == [hashlib.md5(b"0123456789").digest()]


def test_a_wrong_checksum_is_refused_and_writes_nothing(host: Host) -> None:
    host.words(Opcode.FLASH_BEGIN, 4, 1, 0x400, 0, 0)
    good = data_request(Opcode.FLASH_DATA, b"data", 0)
    bad = Request(good.op, good.data, good.checksum ^ 1)
    assert Response.parse(host.packets(bad)[0]).data == b"\x01\x07\0\0"
    assert host.chip.read_flash(0, 4) == b"\xff" * 4


def test_a_write_beyond_the_flash_is_refused(host: Host) -> None:
    assert host.words(Opcode.FLASH_BEGIN, 0x2000, 8, 0x400, (1 << 20) - 0x1000, 0).data[:1] == b"\x01"


@pytest.mark.parametrize("host", ["esp32"], indirect=True)
def test_the_esp32_does_not_know_the_security_info(host: Host) -> None:
    answers = [Response.parse(packet) for packet in host.packets(Request(Opcode.GET_SECURITY_INFO))]
    assert [(answer.op, answer.data) for answer in answers] == [(Opcode.SYNC, b"\x01\x05\0\0")] * 8
    assert host.words(Opcode.READ_REG, 0x40001000).value == 0x00F01D83


@pytest.mark.parametrize(("host", "length"), [("esp32s2", 12), ("esp32c3", 20)], indirect=["host"])
def test_the_security_info_is_as_long_as_on_the_chip(host: Host, length: int) -> None:
    assert len(host.ask(Opcode.GET_SECURITY_INFO).data) == length + 4


def test_secure_download_mode_takes_force_at_the_next_reset_and_leaves_only_writing(host: Host) -> None:
    host.chip.set_efuses(host.chip.efuses.burn_fields({"ENABLE_SECURITY_DOWNLOAD": 1}))
    assert host.words(Opcode.READ_REG, 0x40001000).data == bytes(4)
    host.chip.reset()
    assert host.words(Opcode.READ_REG, 0x40001000).data == b"\x01\x05\0\0"
    assert host.words(Opcode.SPI_FLASH_MD5, 0, 16, 0, 0).data == b"\x01\x05\0\0"
    assert host.words(Opcode.FLASH_BEGIN, 4, 1, 0x400, 0, 0).data == bytes(4)
    assert host.block(Opcode.FLASH_DATA, b"data") == bytes(4)
    assert host.ask(Opcode.GET_SECURITY_INFO).data[0] & 4


@pytest.mark.parametrize(
    ("host", "field"), [("esp32c3", "DIS_DOWNLOAD_MODE"), ("esp32", "UART_DOWNLOAD_DIS")], indirect=["host"]
)
def test_a_chip_whose_download_mode_is_burned_shut_says_nothing_to_tools(host: Host, field: str) -> None:
    host.chip.set_efuses(host.chip.efuses.burn_fields({field: 1}))
    host.chip.reset()
    assert host.packets(Request(Opcode.SYNC, SYNC_DATA)) == []


def test_an_efuse_is_burned_by_the_program_command_and_protections_wait_for_the_read_command(host: Host) -> None:
    base, registers = host.chip.chip.efuse.base, host.chip.chip.efuse.registers

    def write(offset: int, value: int) -> None:
        assert host.words(Opcode.WRITE_REG, base + offset, value, 0xFFFFFFFF, 0).data == bytes(4)

    conf, cmd, key0 = int(str(registers["conf"])), int(str(registers["cmd"])), 0x9C
    write(0, 0xCAFE)
    write(conf, 0x5A5A)
    write(cmd, 2 | 4 << 2)
    write(0, 0)
    write(4, 1)
    write(cmd, 2)
    assert host.words(Opcode.READ_REG, base + key0).value == 0xCAFE
    write(conf, 0x5AA5)
    write(cmd, 1)
    assert host.words(Opcode.READ_REG, base + key0).value == 0
    assert host.chip.efuses.block(4)[:2] == b"\xfe\xca"


def test_the_first_port_that_is_understood_keeps_the_loader(host: Host) -> None:
    usb = host.chip.uart("usb")
    host.uart.take()
    usb.take()
    usb.receive(b"garbage\xc0")
    assert host.ask(Opcode.SYNC, SYNC_DATA).value
    usb.receive(slip.encode(Request(Opcode.SYNC, SYNC_DATA).pack()))
    assert usb.take() == b""


def test_a_host_at_another_rate_than_the_chip_was_told_is_not_understood(host: Host) -> None:
    host.uart.host_baud = 115200
    host.words(Opcode.CHANGE_BAUDRATE, 921600, 0)
    assert host.packets(Request(Opcode.SYNC, SYNC_DATA)) == []
    host.uart.host_baud = 921600
    assert len(host.packets(Request(Opcode.SYNC, SYNC_DATA))) == 8


REQUESTS = st.builds(
    Request, st.sampled_from([*Opcode, 0x00, 0x0C, 0x42, 0xD4, 0xFF]), st.binary(max_size=64), st.integers(0, 2**32 - 1)
)
WORDS = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 64) | st.just(4096), max_size=6)
NOISE = st.one_of(
    st.binary(max_size=200),
    REQUESTS.map(lambda request: slip.encode(request.pack())),
    st.builds(
        lambda op, words: slip.encode(Request(op, struct.pack(f"<{len(words)}I", *words)).pack()),
        st.sampled_from(list(Opcode)),
        WORDS,
    ),
    st.builds(
        lambda op, data: slip.encode(data_request(op, data, 0).pack()),
        st.sampled_from([Opcode.FLASH_DATA, Opcode.FLASH_DEFL_DATA, Opcode.MEM_DATA]),
        st.binary(max_size=64),
    ),
    st.integers(0, 2**32 - 1).map(lambda count: slip.encode(struct.pack("<I", count))),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NOISE, max_size=12), st.booleans())
def test_the_loader_survives_any_byte_stream_and_still_answers(host: Host, noise: list[bytes], stub: bool) -> None:
    host.chip.reset()
    if stub:
        host.become_stub()
    for piece in noise:
        host.uart.receive(piece)
    host.chip.reset()
    assert len(host.packets(Request(Opcode.SYNC, SYNC_DATA))) == 8


def test_console_output_goes_to_every_port_but_uart1(host: Host) -> None:
    ports = {name: host.chip.uart(name) for name in ("uart0", "uart1", "usb")}
    for uart in ports.values():
        uart.take()
    host.chip.say("hello")
    assert {name: uart.take() for name, uart in ports.items()} == {"uart0": b"hello", "uart1": b"", "usb": b"hello"}
    assert isinstance(ports["usb"], Uart)
