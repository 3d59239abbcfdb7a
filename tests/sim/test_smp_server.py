from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.smp_served import Bench, signed, signed_build

from bootwright.boot.config import Mode
from bootwright.boot.swap_type import SwapType
from bootwright.sim.smp_image import flags_of
from bootwright.smp import header as h
from bootwright.smp import messages
from bootwright.smp.client import read, write
from bootwright.smp.errors import RefusedByDeviceError, UploadError
from bootwright.smp.negotiate import negotiate
from bootwright.smp.upload import Upload


def running(**changes: object) -> Bench:
    bench = Bench(signed_build(**changes), primary=signed("1.0.0"))
    bench.run(negotiate(bench.link))
    return bench


def upload(bench: Bench, payload: bytes, **options: Any) -> Upload:
    def read_into(offset: int, view: memoryview) -> None:
        view[:] = payload[offset : offset + len(view)]

    sending = Upload(bench.link, read_into, len(payload), sha=hashlib.sha256(payload).digest(), **options)
    bench.run(sending.run())
    return sending


def refusal(call: Callable[[], object]) -> tuple[int, int]:
    with pytest.raises(RefusedByDeviceError) as caught:
        call()
    return caught.value.group, caught.value.rc


def test_an_echo_comes_back_over_serial_and_udp() -> None:
    bench = running()
    assert bench.run(messages.echo(bench.link, "grüß dich")) == "grüß dich"
    assert bench.run_udp(messages.echo(bench.datagrams, "hello")) == "hello"


def test_the_parameters_are_told_and_used() -> None:
    bench = running()
    assert bench.run(messages.params(bench.link)) == (2048, 4)
    assert bench.link.largest == 2044
    bench.run_udp(negotiate(bench.datagrams))
    assert bench.datagrams.largest == 1472


def test_an_update_is_uploaded_tested_and_confirmed() -> None:
    bench = running()
    upload(bench, signed("2.0.0"))
    listed = bench.run(messages.image_list(bench.link))
    assert [(one.slot, one.version) for one in listed] == [(0, "1.0.0"), (1, "2.0.0")]
    tested = bench.run(messages.set_image_state(bench.link, listed[1].hash, False))
    assert (tested[1].pending, tested[1].permanent) == (True, False)
    bench.run(messages.reset(bench.link))
    bench.wait(0.3)
    now = bench.run(messages.image_list(bench.link))
    assert [(one.version, one.active, one.confirmed) for one in now] == [("2.0.0", True, False), ("1.0.0", False, True)]
    kept = bench.run(messages.set_image_state(bench.link, None, True))
    assert kept[0].confirmed
    bench.board.reset()
    assert bench.run(messages.image_list(bench.link))[0].version == "2.0.0"


@pytest.mark.parametrize("mode", [Mode.MOVE, Mode.SCRATCH, Mode.OFFSET])
def test_an_update_that_nobody_confirms_is_reverted(mode: Mode) -> None:
    bench = running(mode=mode, slot_size=200 << 10)
    upload(bench, signed("2.0.0"))
    listed = bench.run(messages.image_list(bench.link))
    bench.run(messages.set_image_state(bench.link, listed[1].hash, False))
    bench.board.reset()
    assert bench.run(messages.image_list(bench.link))[0].version == "2.0.0"
    bench.board.reset()
    assert bench.run(messages.image_list(bench.link))[0].version == "1.0.0"


def test_a_permanent_update_stays() -> None:
    bench = running()
    upload(bench, signed("2.0.0"))
    listed = bench.run(messages.image_list(bench.link))
    wanted = bench.run(messages.set_image_state(bench.link, listed[1].hash, True))
    assert (wanted[1].pending, wanted[1].permanent) == (True, True)
    for _ in range(2):
        bench.board.reset()
        assert bench.run(messages.image_list(bench.link))[0].version == "2.0.0"


def test_the_second_image_has_its_own_slots() -> None:
    bench = running(images=2, slot_size=96 << 10)
    upload(bench, signed("3.0.0"), image=1)
    listed = bench.run(messages.image_list(bench.link))
    assert [(one.image, one.slot, one.version) for one in listed] == [
        (0, 0, "1.0.0"),
        (1, 0, "1.0.0"),
        (1, 1, "3.0.0"),
    ]
    info = bench.run(messages.slot_info(bench.link))
    assert [(row.image, row.slot, row.size, row.upload_image_id) for row in info] == [
        (0, 0, 96 << 10, None),
        (0, 1, 96 << 10, 0),
        (1, 0, 96 << 10, None),
        (1, 1, 96 << 10, 1),
    ]


def test_an_erased_slot_is_empty() -> None:
    bench = running()
    upload(bench, signed("2.0.0"))
    bench.run(messages.erase(bench.link))
    assert [one.slot for one in bench.run(messages.image_list(bench.link))] == [0]
    assert refusal(lambda: bench.run(messages.erase(bench.link, 0))) == (h.IMAGE, 9)
    assert refusal(lambda: bench.run(messages.erase(bench.link, 7))) == (h.IMAGE, 14)


def test_an_upload_that_was_begun_is_recognised_by_its_hash() -> None:
    bench = running()
    image = signed("2.0.0")
    sha = hashlib.sha256(image).digest()
    first = {"off": 0, "len": len(image), "sha": sha, "data": image[:512]}
    assert bench.run(write(bench.link, h.IMAGE, h.IMAGE_UPLOAD, first)) == {"off": 512}
    assert bench.run(write(bench.link, h.IMAGE, h.IMAGE_UPLOAD, {"off": 512, "data": image[512:1024]})) == {"off": 1024}
    assert bench.run(write(bench.link, h.IMAGE, h.IMAGE_UPLOAD, first)) == {"off": 1024}
    sending = upload(bench, image)
    assert sending.acknowledged == len(image)
    assert bench.run(messages.image_list(bench.link))[1].version == "2.0.0"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"off": 0, "data": b"x" * 32}, (h.IMAGE, 21)),
        ({"off": 0, "data": b"x" * 31, "len": 99}, (h.IMAGE, 22)),
        ({"off": 0, "data": b"x" * 32, "len": 99}, (h.IMAGE, 23)),
        ({"off": 0, "data": signed()[:32], "len": 99, "image": 4}, (h.IMAGE, 9)),
        ({"off": 0, "data": signed()[:32], "len": 1 << 20}, (h.IMAGE, 30)),
        ({"off": 0, "data": signed()[:64], "len": 40}, (h.IMAGE, 31)),
        ({"off": 0, "data": signed()[:64], "len": 400, "upgrade": True}, (h.IMAGE, 27)),
        ({"data": b""}, (-1, 3)),
        ({"off": "0", "data": b""}, (-1, 3)),
    ],
)
def test_an_upload_that_cannot_be_is_refused_with_its_code(request_: dict[str, object], code: tuple[int, int]) -> None:
    bench = running()
    assert refusal(lambda: bench.run(write(bench.link, h.IMAGE, h.IMAGE_UPLOAD, request_))) == code


def test_a_pending_image_is_not_overwritten() -> None:
    bench = running()
    upload(bench, signed("2.0.0"))
    digest = bench.run(messages.image_list(bench.link))[1].hash
    bench.run(messages.set_image_state(bench.link, digest, False))
    with pytest.raises(UploadError, match="no free slot"):
        upload(bench, signed("3.0.0"))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"confirm": False}, (h.IMAGE, 24)),
        ({"hash": b"x" * 32, "confirm": False}, (h.IMAGE, 8)),
        ({"hash": 4}, (-1, 3)),
    ],
)
def test_a_state_that_cannot_be_is_refused(request_: dict[str, object], code: tuple[int, int]) -> None:
    bench = running()
    assert refusal(lambda: bench.run(write(bench.link, h.IMAGE, h.IMAGE_STATE, request_))) == code


def test_the_running_image_cannot_be_put_to_test() -> None:
    bench = running()
    digest = bench.run(messages.image_list(bench.link))[0].hash
    assert refusal(lambda: bench.run(messages.set_image_state(bench.link, digest, False))) == (h.IMAGE, 33)


def test_clients_of_version_1_get_codes_of_version_1() -> None:
    bench = running()
    bench.link.version = h.V1
    request = {"hash": b"x" * 32, "confirm": False}
    assert refusal(lambda: bench.run(write(bench.link, h.IMAGE, h.IMAGE_STATE, request))) == (-1, 5)


def test_a_reset_into_the_bootloader_ends_in_recovery_once() -> None:
    bench = running()
    bench.run(messages.reset(bench.link, boot_mode=1))
    bench.wait(0.3)
    assert bench.board.doing == "recovery"
    bench.board.reset()
    assert bench.board.doing == "application"
    assert refusal(lambda: bench.run(messages.reset(bench.link, boot_mode=9))) == (-1, 3)


def test_the_clock_can_be_set_and_read() -> None:
    bench = running()
    bench.run(messages.set_datetime(bench.link, "2026-11-21T12:34:56"))
    assert bench.run(messages.datetime(bench.link)).startswith("2026-11-21T12:34:5")
    assert refusal(lambda: bench.run(messages.set_datetime(bench.link, "tomorrow"))) == (-1, 3)


def test_the_system_describes_itself() -> None:
    bench = running()
    assert bench.run(messages.os_info(bench.link, "sp")) == "Zephyr cortex-m33"
    assert bench.run(messages.os_info(bench.link)).startswith("Zephyr unnamed")
    assert refusal(lambda: bench.run(messages.os_info(bench.link, "q"))) == (h.OS, 2)
    assert bench.run(messages.bootloader(bench.link)) == ("MCUboot", 3, False)
    query = {"query": "colour"}
    assert refusal(lambda: bench.run(read(bench.link, h.OS, h.OS_BOOTLOADER, query))) == (h.OS, 3)
    assert "idle" in bench.run(messages.taskstat(bench.link))
    assert bench.run(messages.mpstat(bench.link))["smp"]["nblks"] == 4


def test_a_bootloader_that_forbids_downgrades_says_so() -> None:
    bench = running(downgrade_prevention=True)
    assert bench.run(messages.bootloader(bench.link)).no_downgrade


def test_statistics_are_listed_and_read() -> None:
    bench = running()
    assert bench.run(messages.stat_list(bench.link)) == ["smp_svr_stats"]
    assert bench.run(messages.stat_data(bench.link, "smp_svr_stats"))["boots"] == 1
    assert refusal(lambda: bench.run(messages.stat_data(bench.link, "none"))) == (h.STAT, 3)


def test_settings_are_kept_over_a_reset_until_they_are_erased() -> None:
    bench = running()
    bench.run(messages.set_setting(bench.link, "a/b", b"value"))
    bench.run(write(bench.link, h.SETTINGS, h.SETTINGS_STORE))
    bench.board.reset()
    assert bench.run(messages.setting(bench.link, "a/b")) == b"value"
    assert bench.run(messages.setting(bench.link, "a/b", 2)) == b"va"
    bench.run(messages.delete_setting(bench.link, "a/b"))
    assert refusal(lambda: bench.run(messages.setting(bench.link, "a/b"))) == (h.SETTINGS, 3)
    assert refusal(lambda: bench.run(messages.delete_setting(bench.link, "a/b"))) == (h.SETTINGS, 3)
    assert refusal(lambda: bench.run(messages.setting(bench.link, "x" * 40))) == (h.SETTINGS, 2)
    bench.run(messages.set_setting(bench.link, "c", b"1"))
    bench.run(messages.erase_storage(bench.link))
    assert bench.board.state.settings == {}
    assert refusal(lambda: bench.run(write(bench.link, h.SETTINGS, h.SETTINGS_VALUE, {"name": "c"}))) == (-1, 3)


def test_files_go_there_and_back() -> None:
    bench = running()
    content = bytes(range(256)) * 12
    seen: list[int] = []
    bench.run(messages.upload_file(bench.link, "/lfs/a", content, lambda at, _: seen.append(at)))
    assert seen[-1] == len(content)
    assert bench.run(messages.download_file(bench.link, "/lfs/a")) == content
    assert bench.run(messages.file_status(bench.link, "/lfs/a")) == len(content)
    assert bench.run(messages.file_hash(bench.link, "/lfs/a")) == hashlib.sha256(content).digest()
    assert bench.run(messages.file_hash(bench.link, "/lfs/a", "crc32")) == zlib.crc32(content)
    part = bench.run(read(bench.link, h.FS, h.FS_HASH, {"name": "/lfs/a", "off": 4, "len": 8}))
    assert part == {"type": "crc32", "off": 4, "len": 8, "output": zlib.crc32(content[4:12])}
    assert "sha256" in bench.run(read(bench.link, h.FS, h.FS_TYPES))["types"]
    bench.run(write(bench.link, h.FS, h.FS_CLOSE))


@pytest.mark.parametrize(
    ("ask", "command", "request_", "code"),
    [
        (read, h.FS_STATUS, {"name": "no"}, 3),
        (read, h.FS_FILE, {"name": "a", "off": 99}, 12),
        (read, h.FS_HASH, {"name": "a", "type": "md5"}, 13),
        (read, h.FS_HASH, {"name": "a", "off": 99}, 12),
        (write, h.FS_FILE, {"name": "", "off": 0, "data": b""}, 2),
        (write, h.FS_FILE, {"name": "a", "off": 7, "data": b""}, 11),
    ],
)
def test_files_that_cannot_be_are_refused(
    ask: Callable[..., Any], command: int, request_: dict[str, object], code: int
) -> None:
    bench = running()
    bench.board.state.files["a"] = b"abc"
    assert refusal(lambda: bench.run(ask(bench.link, h.FS, command, request_))) == (h.FS, code)


def test_the_shell_runs_its_commands() -> None:
    bench = running()
    assert bench.run(messages.shell(bench.link, ["kernel", "version"])) == ("Zephyr version 4.3.0\n", 0)
    assert bench.run(messages.shell(bench.link, ["echo one two"])) == ("one two\n", 0)
    assert bench.run(messages.shell(bench.link, ["kernel", "uptime"]))[0].startswith("Uptime:")
    assert bench.run(messages.shell(bench.link, ["rm"])) == ("rm: command not found\n", -8)
    assert refusal(lambda: bench.run(write(bench.link, h.SHELL, h.SHELL_EXEC, {"argv": 3}))) == (-1, 3)


def test_the_groups_are_counted_and_listed() -> None:
    bench = running()
    count = bench.run(read(bench.link, h.ENUM, h.ENUM_COUNT))["count"]
    assert len(bench.run(read(bench.link, h.ENUM, h.ENUM_LIST))["groups"]) == count


@pytest.mark.parametrize(("group", "command"), [(h.OS, 99), (h.LOG, 0), (h.IMAGE, 3), (64, 0)])
def test_what_is_not_there_is_not_supported(group: int, command: int) -> None:
    bench = running()
    assert refusal(lambda: bench.run(read(bench.link, group, command))) == (-1, 8)


@pytest.mark.parametrize("body", [b"\xff", b"\x80", b"\x01"])
def test_a_body_that_is_no_map_is_invalid(body: bytes) -> None:
    bench = running()
    message = h.pack(h.Header(h.WRITE, h.V2, 0, len(body), h.OS, 3, h.OS_ECHO)) + body
    answer = bench.board.datagram(message)
    assert answer[8:] == bytes.fromhex("bf62726303ff")


@pytest.mark.parametrize("swap_type", [SwapType.NONE, SwapType.TEST, SwapType.PERM, SwapType.REVERT])
def test_flags_never_name_two_active_slots(swap_type: SwapType) -> None:
    flags = [flags_of(swap_type, slot, 0) for slot in (0, 1)]
    assert [one["active"] for one in flags] == [True, False]
    assert sum(one["confirmed"] for one in flags) == 1
