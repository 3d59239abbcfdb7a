from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.smp_served import Bench, reader_key, signed, signed_build

from bootwright.boot.config import Mode, SerialErase
from bootwright.boot.outcome import Booted, NoImage
from bootwright.errors import FormatError
from bootwright.flash import Erase, FlashOp
from bootwright.formats.keys import KeyType, generate_key
from bootwright.formats.mcuboot_encrypt import decrypt_image
from bootwright.formats.mcuboot_image import Image
from bootwright.sim.neighbour import Build, Neighbour, dump, load
from bootwright.smp import cbor, console, messages
from bootwright.smp import header as h
from bootwright.smp.client import write
from bootwright.smp.errors import RefusedByDeviceError, SilenceError
from bootwright.smp.negotiate import negotiate
from bootwright.smp.upload import Upload


def recover(bench: Bench, image: bytes) -> Upload:
    def read_into(offset: int, view: memoryview) -> None:
        view[:] = image[offset : offset + len(view)]

    bench.run(negotiate(bench.link))
    upload = Upload(bench.link, read_into, len(image))
    bench.run(upload.run())
    return upload


def test_an_empty_board_boots_nothing_and_says_so() -> None:
    bench = Bench()
    assert isinstance(bench.board.outcome, NoImage)
    assert bench.board.doing == "silent"
    assert b"Unable to find bootable image" in bench.board.take()
    with pytest.raises(SilenceError):
        bench.run(messages.echo(bench.link, "x"))


@pytest.mark.parametrize("profile", ["zephyr", "espressif"])
@pytest.mark.parametrize("erase", list(SerialErase))
@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.SCRATCH])
def test_an_empty_board_is_recovered_and_boots(profile: str, erase: SerialErase, mode: Mode) -> None:
    bench = Bench(signed_build(profile=profile, erase=erase, mode=mode, slot_size=200 << 10), pin=True)
    assert bench.run(messages.image_list(bench.link)) == []
    upload = recover(bench, signed("4.0.0"))
    assert upload.losses == 0
    assert [one.version for one in bench.run(messages.image_list(bench.link))] == ["4.0.0"]
    bench.board.recovery_pin = False
    bench.run(messages.reset(bench.link))
    bench.wait(0.3)
    assert isinstance(bench.board.outcome, Booted)
    assert bench.board.doing == "application"


@pytest.mark.parametrize(("profile", "largest", "credit"), [("zephyr", 1020, 7), ("espressif", 508, 1)])
def test_the_two_ports_differ_on_the_wire(profile: str, largest: int, credit: int) -> None:
    bench = Bench(signed_build(profile=profile), pin=True)
    bench.run(negotiate(bench.link))
    assert (bench.link.largest, bench.link.credit_cap) == (largest, credit)


def test_an_image_of_another_key_is_not_listed_and_does_not_boot() -> None:
    bench = Bench(pin=True)
    recover(bench, signed("6.6.6", trusted=False))
    assert bench.run(messages.image_list(bench.link)) == []
    bench.board.recovery_pin = False
    bench.board.reset()
    assert isinstance(bench.board.outcome, NoImage)


def test_zephyrs_recovery_echoes_tells_slots_and_sets_states() -> None:
    bench = Bench(primary=signed("1.0.0"), pin=True)
    assert bench.run(messages.echo(bench.link, "hi")) == "hi"
    info = bench.run(messages.slot_info(bench.link))
    assert [(row.slot, row.size, row.upload_image_id) for row in info] == [(0, 208 << 10, None), (1, 208 << 10, 0)]
    listed = bench.run(messages.image_list(bench.link))
    assert (listed[0].active, listed[0].confirmed, listed[0].bootable) == (True, True, True)
    bench.board.flash.load(bench.board.config.images[0].secondary.address, signed("2.0.0"))
    digest = bench.run(messages.image_list(bench.link))[1].hash
    pending = bench.run(messages.set_image_state(bench.link, digest, False))
    assert pending[1].pending
    bench.board.recovery_pin = False
    bench.board.reset()
    assert isinstance(bench.board.outcome, Booted)
    assert bench.board.outcome.version == "2.0.0+0"


@pytest.mark.parametrize(
    ("request_", "code"),
    [({"hash": b"x"}, 3), ({"hash": b"x" * 32}, 5), ({"confirm": 1}, 3), ({"confirm": True, "hash": "x"}, 3)],
)
def test_zephyrs_recovery_refuses_states_that_cannot_be(request_: dict[str, object], code: int) -> None:
    bench = Bench(primary=signed("1.0.0"), pin=True)
    with pytest.raises(RefusedByDeviceError) as caught:
        bench.run(write(bench.link, h.IMAGE, h.IMAGE_STATE, request_))
    assert caught.value.rc == code


@pytest.mark.parametrize("request_", [{}, {"d": 4}, {"d": "x", "e": 1}])
def test_zephyrs_recovery_refuses_echoes_that_are_none(request_: dict[str, object]) -> None:
    bench = Bench(pin=True)
    with pytest.raises(RefusedByDeviceError) as caught:
        bench.run(write(bench.link, h.OS, h.OS_ECHO, request_))
    assert caught.value.rc == 3


def test_espressifs_recovery_has_none_of_that() -> None:
    bench = Bench(signed_build(profile="espressif"), primary=signed("1.0.0"), pin=True)
    programs = (messages.echo(bench.link, "x"), messages.slot_info(bench.link), messages.params(bench.link))
    for program in programs:
        with pytest.raises(RefusedByDeviceError) as caught:
            bench.run(program)
        assert caught.value.rc == 8
    listed = bench.run(messages.image_list(bench.link))
    assert (listed[0].version, listed[0].hash, listed[0].active) == ("1.0.0", None, None)


def test_a_command_in_the_window_after_a_reset_keeps_the_board_in_recovery() -> None:
    bench = Bench(signed_build(window=True), primary=signed("1.0.0"))
    assert bench.board.doing == "recovery"
    bench.run(messages.echo(bench.link, "stay"))
    bench.wait(2)
    assert bench.board.doing == "recovery"


def test_without_a_command_in_the_window_the_board_boots() -> None:
    bench = Bench(signed_build(window=True), primary=signed("1.0.0"))
    bench.wait(0.4)
    assert bench.board.doing == "recovery"
    bench.wait(0.2)
    assert bench.board.doing == "application"


def test_a_board_without_a_server_is_silent_after_boot() -> None:
    bench = Bench(signed_build(server=False), primary=signed("1.0.0"))
    assert isinstance(bench.board.outcome, Booted)
    assert bench.board.doing == "silent"
    assert bench.board.datagram(b"\x08\0\0\x01\0\0\0\x06\xa0") == b""


def test_a_board_without_power_is_silent() -> None:
    bench = Bench(primary=signed("1.0.0"))
    bench.board.power_off()
    assert bench.board.feed(b"\x06\x09AAsIAAABAAAABqBzEw==\n") == b""


def test_an_encrypted_image_is_decrypted_in_place_and_boots() -> None:
    image = signed("2.0.0", reader=reader_key())
    bench = Bench(signed_build(decryption=reader_key().pem()), pin=True)
    recover(bench, image)
    (entry,) = bench.run(messages.image_list(bench.link))
    assert (entry.version, entry.slot) == ("2.0.0", 0)
    there = bench.board.flash.read(bench.board.config.images[0].primary.address, len(image))
    assert there == decrypt_image(Image.parse(image), reader_key()).pack()
    bench.board.recovery_pin = False
    bench.run(messages.reset(bench.link))
    bench.wait(1)
    assert bench.board.doing == "application"


@pytest.mark.parametrize(
    ("build", "image"),
    [
        (signed_build(), signed("2.0.0", reader=reader_key())),
        (signed_build(decryption=generate_key(KeyType.X25519).pem()), signed("2.0.0", reader=reader_key())),
        (signed_build(decryption=reader_key().pem()), b"no image at all" * 100),
    ],
)
def test_what_cannot_be_decrypted_is_not_listed_and_does_not_boot(build: Build, image: bytes) -> None:
    bench = Bench(build, pin=True)
    recover(bench, image)
    assert bench.run(messages.image_list(bench.link)) == []
    bench.board.recovery_pin = False
    bench.run(messages.reset(bench.link))
    bench.wait(1)
    assert isinstance(bench.board.outcome, NoImage)


def test_a_plain_image_on_a_board_with_encryption_is_left_alone() -> None:
    bench = Bench(signed_build(decryption=reader_key().pem()), pin=True)
    recover(bench, signed("2.0.0"))
    assert bench.run(messages.image_list(bench.link))[0].version == "2.0.0"


def test_a_board_is_kept_as_text() -> None:
    build = signed_build(images=2, slot_size=64 << 10, decryption=reader_key().pem())
    bench = Bench(build, primary=signed("1.0.0"))
    bench.board.recovery_pin = True
    build, flash, pin = load(dump(bench.board), where="board")
    assert pin
    assert build == bench.board.build
    assert flash.snapshot() == bench.board.flash.snapshot()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 1}', '{"flash": "x"}'])
def test_text_that_is_no_board_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="no virtual neighbour"):
        load(text, where="b")


def test_a_board_with_another_amount_of_flash_is_refused() -> None:
    text = dump(Bench().board).replace('"flash_size": 524288', '"flash_size": 1048576')
    with pytest.raises(FormatError, match="holds 524288 bytes of flash, expected 1048576"):
        load(text, where="b")


def test_slots_that_do_not_fit_are_refused() -> None:
    with pytest.raises(FormatError, match="do not fit a flash of 0x80000"):
        Build(images=2).config()
    with pytest.raises(FormatError, match="do not fit"):
        Build(mode=Mode.SCRATCH, slot_size=232 << 10).config()


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(FormatError, match="'arduino' is no recovery profile"):
        _ = Build(profile="arduino").options


def test_flash_operations_can_be_watched() -> None:
    seen: list[FlashOp] = []
    board = Neighbour(signed_build(), now_s=lambda: 0.0, on_flash=seen.append)
    board.recovery_pin = True
    board.power_on()
    board.feed(b"\n")
    assert seen == []
    bench = Bench(pin=True)
    bench.board._on_flash = seen.append
    recover(bench, signed("1.0.0"))
    assert any(isinstance(op, Erase) for op in seen)


def test_recovery_writes_the_primary_slot_of_the_image_that_is_named() -> None:
    bench = Bench(signed_build(images=2, slot_size=96 << 10), primary=signed("1.0.0"), pin=True)

    def read_into(offset: int, view: memoryview) -> None:
        view[:] = signed("5.0.0")[offset : offset + len(view)]

    bench.run(negotiate(bench.link))
    bench.run(Upload(bench.link, read_into, len(signed("5.0.0")), image=1).run())
    listed = bench.run(messages.image_list(bench.link))
    assert [(one.image, one.slot, one.version) for one in listed] == [(0, 0, "1.0.0"), (1, 0, "5.0.0")]
    bench.board.recovery_pin = False
    bench.run(messages.reset(bench.link))
    bench.wait(0.3)
    assert isinstance(bench.board.outcome, Booted)
    assert [version for _, version in bench.board.outcome.others] == ["5.0.0+0"]


MESSAGES = st.builds(
    lambda head, body: console.encode(h.pack(head) + body),
    st.builds(
        h.Header,
        op=st.integers(0, 7),
        version=st.integers(0, 3),
        flags=st.integers(0, 255),
        length=st.integers(0, 80),
        group=st.sampled_from([0, 1, 2, 3, 8, 9, 10, 63, 64]),
        sequence=st.integers(0, 255),
        command=st.integers(0, 9),
    ),
    st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(
            ["off", "data", "len", "image", "sha", "hash", "confirm", "d", "name", "argv", "slot", "format"]
        ),
        st.integers(-5, 2**33) | st.binary(max_size=40) | st.text(max_size=8) | st.none() | st.booleans(),
        max_size=5,
    ).map(cbor.encode_indefinite),
)


@settings(max_examples=150)
@given(
    st.lists(MESSAGES | st.binary(max_size=140), max_size=12), st.sampled_from(["zephyr", "espressif", "application"])
)
def test_no_bytes_upset_a_board(pieces: list[bytes], kind: str) -> None:
    application = kind == "application"
    bench = Bench(signed_build(profile="zephyr" if application else kind), primary=signed("1.0.0"), pin=not application)
    for piece in pieces:
        bench.board.feed(piece)
        bench.board.datagram(piece)
    bench.board.reset()
    bench.board.feed(b"\n")
    if kind == "espressif":
        bench.run(messages.image_list(bench.link))
    else:
        assert bench.run(messages.params(bench.link)).buf_count in (1, 4)
