from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.smp_line import ESPRESSIF, ZEPHYR, Device, Fault, Profile, VirtualClock, drive, intact

from bootwright.smp import console
from bootwright.smp.client import Link, console_link
from bootwright.smp.errors import SilenceError, UploadError
from bootwright.smp.negotiate import negotiate
from bootwright.smp.upload import Upload, best_chunk

IMAGE = random.Random(1).randbytes(40_000)


def reader_of(image: bytes) -> Callable[[int, memoryview], None]:
    def read_into(offset: int, view: memoryview) -> None:
        view[:] = image[offset : offset + len(view)]

    return read_into


def talk(profile: Profile = ZEPHYR, *, to_device: Fault = intact, to_host: Fault = intact) -> tuple[Link, Device]:
    clock = VirtualClock()
    link = console_link(clock, 8192)
    device = Device(clock, profile)
    drive(negotiate(link), link, device)
    device.to_device, device.to_host = to_device, to_host
    return link, device


def test_an_upload_arrives_and_is_as_large_as_the_device_allows() -> None:
    link, device = talk()
    upload = Upload(link, reader_of(IMAGE), len(IMAGE), sha=bytes(32))
    assert drive(upload.run(), link, device) == len(IMAGE)
    assert device.flash[: len(IMAGE)] == IMAGE
    assert upload.chunk == 992
    assert upload.losses == 0
    assert device.dropped == 0


def test_progress_rises_to_the_end() -> None:
    link, device = talk()
    seen: list[int] = []
    drive(Upload(link, reader_of(IMAGE), len(IMAGE), progress=seen.append).run(), link, device)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, len(IMAGE))


@pytest.mark.parametrize(("profile", "share"), [(ZEPHYR, 0.63), (ESPRESSIF, 0.57)], ids=["zephyr", "espressif"])
def test_at_115200_the_line_is_used_as_well_as_promised_and_nothing_is_dropped(profile: Profile, share: float) -> None:
    image = random.Random(2).randbytes(128 * 1024)
    link, device = talk(profile)
    start = device.clock.ms
    drive(Upload(link, reader_of(image), len(image)).run(), link, device)
    assert device.flash[: len(image)] == image
    assert device.dropped == 0
    line = len(image) * profile.byte_ms
    assert line / (device.clock.ms - start) >= share


@pytest.mark.parametrize("profile", [ZEPHYR, ESPRESSIF], ids=["zephyr", "espressif"])
def test_at_921600_sending_ahead_does_not_collapse(profile: Profile) -> None:
    image = random.Random(2).randbytes(128 * 1024)
    link, device = talk(replace(profile, byte_ms=10_000 / 921_600))
    start = device.clock.ms
    upload = Upload(link, reader_of(image), len(image))
    drive(upload.run(), link, device)
    flash_ms = 128 * (profile.write_ms + profile.erase_ms / 4)
    assert device.flash[: len(image)] == image
    assert device.clock.ms - start < 2.2 * flash_ms
    assert upload.losses <= 2


def test_the_native_espressif_port_is_recognised_without_parameters() -> None:
    link, _ = talk(ESPRESSIF)
    assert (link.largest, link.credit_cap) == (508, 1)


def test_the_zephyr_port_tells_its_parameters() -> None:
    link, _ = talk(ZEPHYR)
    assert (link.largest, link.credit_cap) == (1020, 7)


@pytest.mark.parametrize(("buffer", "largest"), [(257, 252), (1025, 1020), (2049, 2044), (400, 380)])
def test_a_buffer_that_nobody_tells_is_found_by_trying(buffer: int, largest: int) -> None:
    link, _ = talk(replace(ZEPHYR, buffer=buffer, params=False))
    assert (link.largest, link.credit_cap) == (largest, 0)


def test_a_device_that_is_not_there_is_said_to_be_silent() -> None:
    clock = VirtualClock()
    link, device = console_link(clock), Device(clock)
    device.silent = True
    with pytest.raises(SilenceError, match="no answer to group 0 command 6 within 1000 ms, asked 3 times") as caught:
        drive(negotiate(link), link, device)
    assert "port and baud rate" in caught.value.hint


@pytest.mark.parametrize("align", [4, 8, 16, 32])
def test_chunks_suit_every_flash_alignment(align: int) -> None:
    link, device = talk(replace(ZEPHYR, align=align))
    drive(Upload(link, reader_of(IMAGE), len(IMAGE)).run(), link, device)
    assert device.flash[: len(IMAGE)] == IMAGE
    assert device.handled <= len(IMAGE) // 992 + 4


def test_a_device_that_rounds_chunks_down_further_than_we_align_still_gets_the_image() -> None:
    link, device = talk(replace(ZEPHYR, align=48))
    drive(Upload(link, reader_of(IMAGE), len(IMAGE)).run(), link, device)
    assert device.flash[: len(IMAGE)] == IMAGE


def lose(numbers: set[int]) -> Fault:
    counter = iter(range(1_000_000))
    return lambda line: [] if next(counter) in numbers else [(line, 0.0)]


@pytest.mark.parametrize("lost", [0, 1, 5, 11, 12, 13, 100, 240, 440, 470])
def test_one_lost_line_costs_less_than_half_a_second(lost: int) -> None:
    image = IMAGE
    clean_link, clean = talk()
    start = clean.clock.ms
    drive(Upload(clean_link, reader_of(image), len(image)).run(), clean_link, clean)
    usual = clean.clock.ms - start
    link, device = talk(to_device=lose({lost}))
    start = device.clock.ms
    drive(Upload(link, reader_of(image), len(image)).run(), link, device)
    assert device.flash[: len(image)] == image
    cost = device.clock.ms - start - usual
    assert cost < (500 if lost > 12 else 800), "the first answer is waited for a little longer: it may be an erase"


@pytest.mark.parametrize("lost", [0, 1, 2, 20, 39, 40, 41])
def test_one_lost_answer_costs_less_than_half_a_second(lost: int) -> None:
    clean_link, clean = talk()
    start = clean.clock.ms
    drive(Upload(clean_link, reader_of(IMAGE), len(IMAGE)).run(), clean_link, clean)
    usual = clean.clock.ms - start
    link, device = talk(to_host=lose({lost}))
    start = device.clock.ms
    drive(Upload(link, reader_of(IMAGE), len(IMAGE)).run(), link, device)
    assert device.flash[: len(IMAGE)] == IMAGE
    assert device.clock.ms - start - usual < (500 if lost > 1 else 800)


def test_a_slot_that_takes_twelve_seconds_to_erase_is_waited_for_and_erased_once() -> None:
    link, device = talk()
    whole_slot = iter([12_000.0])
    answer = device._answer

    def slow(header: object, body: bytes) -> dict[str, object]:
        reply = answer(header, body)  # type: ignore[arg-type]  # the header is only handed through
        if reply.get("off") and (erase := next(whole_slot, None)):
            device.busy_until += erase
        return reply

    device._answer = slow  # type: ignore[method-assign]  # a device with a slow flash
    upload = Upload(link, reader_of(IMAGE), len(IMAGE))
    drive(upload.run(), link, device)
    assert device.flash[: len(IMAGE)] == IMAGE
    assert upload.losses == 1


def test_a_device_that_falls_silent_ends_the_upload_with_the_last_good_offset() -> None:
    link, device = talk()
    upload = Upload(link, reader_of(IMAGE), len(IMAGE))

    def hush(at: int) -> None:
        device.silent = device.silent or at > 20_000

    upload.progress = hush
    with pytest.raises(UploadError, match="fell silent at offset") as caught:
        drive(upload.run(), link, device)
    assert 20_000 < caught.value.offset < 22_000
    assert caught.value.offset % 32 == 0


def test_a_restarted_client_resumes_where_the_device_stands() -> None:
    link, device = talk()
    first = Upload(link, reader_of(IMAGE), len(IMAGE))
    program = first.run()
    count: int | None = None
    while first.acknowledged < 20_000:
        want = program.send(count)
        count = None
        if isinstance(want, int):
            data = device.receive(want)
            count = len(data)
            link.inbox[:count] = data
        else:
            device.send(bytes(want))
    again = console_link(device.clock, 8192, sequence=77)
    drive(negotiate(again), again, device)
    second = Upload(again, reader_of(IMAGE), len(IMAGE), resume=True)
    drive(second.run(), again, device)
    assert second.resumed_at >= 20_000
    assert device.flash[: len(IMAGE)] == IMAGE


def test_a_device_that_forgot_everything_is_sent_the_image_from_the_start() -> None:
    link, device = talk()
    upload = Upload(link, reader_of(IMAGE), len(IMAGE))
    forgets = iter([True])

    def forget(at: int) -> None:
        if at > 20_000 and next(forgets, False):
            device.expected = device.total = 0

    upload.progress = forget
    drive(upload.run(), link, device)
    assert device.flash[: len(IMAGE)] == IMAGE


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ({"rc": 3}, "refused the upload at offset 0: rc 3, invalid value"),
        ({"err": {"group": 1, "rc": 30}}, "rc 30, image too large for the slot"),
        ({"err": {"group": 1, "rc": 23}}, "rc 23, no MCUboot image"),
        ({}, "at offset 0 with no offset"),
        ({"off": -4}, "at offset 0 with no offset"),
        ({"off": "12"}, "at offset 0 with no offset"),
        ({"off": 40_001}, "at offset 0 with offset 40001 of 40000"),
        ({"off": 0}, "does not get past offset 0 of 40000"),
        ([1], "answered the upload with nonsense: CBOR that is no map"),
        ({1: 2}, "nonsense: CBOR key that is no text"),
        ({"rc": "x"}, "rc -1, unlisted error"),
    ],
)
def test_nonsense_ends_in_one_sentence(reply: object, why: str) -> None:
    link, device = talk()
    device._answer = lambda header, body: reply  # type: ignore[method-assign,assignment,return-value]  # a broken device
    with pytest.raises(UploadError) as caught:
        drive(Upload(link, reader_of(IMAGE), len(IMAGE)).run(), link, device)
    assert why in caught.value.message
    assert caught.value.hint


def test_a_checksum_that_does_not_match_is_no_success() -> None:
    link, device = talk()
    answer = device._answer
    device._answer = lambda header, body: {**answer(header, body), "match": False}  # type: ignore[method-assign]  # as Zephyr
    with pytest.raises(UploadError, match="their checksum is wrong"):
        drive(Upload(link, reader_of(IMAGE), len(IMAGE)).run(), link, device)


def test_an_empty_image_is_refused_before_anything_is_sent() -> None:
    link, device = talk()
    with pytest.raises(UploadError, match="the image is empty"):
        drive(Upload(link, reader_of(b""), 0).run(), link, device)


FAULTS = st.lists(
    st.sampled_from(["", "", "", "", "", "", "lose", "double", "late", "bend"]), min_size=20, max_size=200
)


def faulty(kinds: list[str], seed: int) -> Fault:
    kind = iter(kinds)
    dice = random.Random(seed)

    def fault(line: bytes) -> list[tuple[bytes, float]]:
        what = next(kind, "")
        if what == "lose":
            return []
        if what == "double":
            return [(line, 0.0), (line, dice.uniform(0, 300))]
        if what == "late":
            return [(line, dice.uniform(0, 900))]
        if what == "bend":
            at = dice.randrange(len(line))
            return [(line[:at] + bytes([line[at] ^ 1 << dice.randrange(8)]) + line[at + 1 :], 0.0)]
        return [(line, 0.0)]

    return fault


#: lines faster than any UART; the second one's device has 8 line buffers and real flash
FAST = replace(ZEPHYR, byte_ms=0.0, latency_ms=0.0, write_ms=0.0, erase_ms=0.0)
FAST_LINE = replace(ZEPHYR, byte_ms=0.0)


@settings(max_examples=200)
@given(FAULTS, FAULTS, st.integers(0, 2**32), st.sampled_from([ZEPHYR, ESPRESSIF, FAST, FAST_LINE]))
def test_on_a_bad_line_an_upload_is_complete_and_right_or_says_that_it_failed(
    there: list[str], back: list[str], seed: int, profile: Profile
) -> None:
    image = IMAGE[:9000]
    link, device = talk(profile, to_device=faulty(there, seed), to_host=faulty(back, seed + 1))
    failed: list[UploadError] = []
    try:
        drive(Upload(link, reader_of(image), len(image)).run(), link, device)
    except UploadError as error:
        failed.append(error)
    if failed:
        assert 0 <= failed[0].offset <= len(image)
        assert failed[0].hint
    else:
        assert device.expected == len(image)
        assert device.flash[: len(image)] == image


@given(st.integers(60, 9000), st.integers(20, 120))
def test_the_best_chunk_fits_and_is_made_of_flash_words(largest: int, overhead: int) -> None:
    chunk = best_chunk(console.wire_size, largest, overhead)
    assert chunk % 4 == 0
    assert chunk % 32 == 0 or largest - overhead < 32
    assert overhead + chunk <= largest or chunk == 4


def test_on_a_line_with_flow_control_several_messages_are_under_way() -> None:
    took = {}
    for cap in (0, 7):
        link, device = talk(FAST, to_device=lambda line: [(line, 1.0)], to_host=lambda line: [(line, 1.0)])
        link.credit_cap = cap
        start = device.clock.ms
        drive(Upload(link, reader_of(IMAGE), len(IMAGE)).run(), link, device)
        assert device.flash[: len(IMAGE)] == IMAGE
        took[cap] = device.clock.ms - start
    assert took[7] < 0.4 * took[0]


@pytest.mark.parametrize("profile", [ZEPHYR, ESPRESSIF, FAST], ids=["zephyr", "espressif", "fast"])
def test_no_message_is_left_half_sent_on_a_good_line(profile: Profile) -> None:
    lines: list[bytes] = []

    def listen(line: bytes) -> list[tuple[bytes, float]]:
        lines.append(line)
        return [(line, 0.0)]

    link, device = talk(profile, to_device=listen)
    lines.clear()
    drive(Upload(link, reader_of(IMAGE), len(IMAGE)).run(), link, device)
    assembler = console.Assembler(2048)
    whole = True
    for line in lines:
        first = line[:2] == b"\x06\x09"
        assert first is whole
        whole = bool((assembler.first if first else assembler.next)(line, 2, len(line) - 1))
    assert whole


def test_a_device_that_drops_what_it_cannot_hold_still_gets_the_image_off_a_fast_line() -> None:
    link, device = talk(FAST_LINE)
    drive(negotiate(link), link, device)
    upload = Upload(link, reader_of(IMAGE), len(IMAGE))
    upload.pace.fast = True
    drive(upload.run(), link, device)
    assert device.flash[: len(IMAGE)] == IMAGE
    assert device.dropped > 0
    assert upload.losses <= 8


@pytest.mark.parametrize("profile", [ZEPHYR, ESPRESSIF, FAST], ids=["zephyr", "espressif", "fast"])
def test_a_cable_cut_at_any_frame_costs_only_what_was_not_yet_there(profile: Profile) -> None:
    image = IMAGE[:20_000]
    for frames in range(20):
        link, device = talk(profile)
        begun = device.handled

        def cut(line: bytes, device: Device = device, last: int = begun + frames) -> list[tuple[bytes, float]]:
            return [(line, 0.0)] if device.handled < last else []

        device.to_device = cut
        with pytest.raises(UploadError, match="fell silent"):
            drive(Upload(link, reader_of(image), len(image)).run(), link, device)
        device.to_device = intact
        there = device.expected
        again = console_link(device.clock, 8192)
        drive(negotiate(again), again, device)
        second = Upload(again, reader_of(image), len(image), resume=True)
        drive(second.run(), again, device)
        assert second.resumed_at == there
        assert device.flash[: len(image)] == image
