"""The field's clients on our servers, unmodified, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.peers import Ran, run_peer
from tests.support.smp_process import Ports, board_process
from tests.support.smp_served import signed

from bootwright.formats.mcuboot_image import Image, TlvType


def smpmgr(ports: Ports, *arguments: str | Path) -> Ran:
    return run_peer("smpmgr", "--port", ports.pty, "--timeout", "4", *arguments, timeout_s=60)


def hash_of(version: str) -> str:
    return Image.parse(signed(version)).find(TlvType.SHA256)[0].data.hex()


def new_image(folder: Path, version: str) -> Path:
    path = folder / f"{version}.bin"
    path.write_bytes(signed(version))
    return path


def test_smpmgr_updates_an_application(tmp_path: Path) -> None:
    with board_process(tmp_path) as ports:
        assert "hello" in smpmgr(ports, "os", "echo", "hello").out
        uploaded = smpmgr(ports, "image", "upload", new_image(tmp_path, "2.0.0"))
        assert uploaded.code == 0, uploaded.out + uploaded.err
        listed = smpmgr(ports, "image", "state-read").out
        assert "1.0.0" in listed
        assert "2.0.0" in listed
        assert smpmgr(ports, "image", "state-write", hash_of("2.0.0")).code == 0
        assert smpmgr(ports, "os", "reset").code == 0
        time.sleep(0.6)
        after = smpmgr(ports, "image", "state-read").out
        assert after.index("2.0.0") < after.index("1.0.0")
        assert smpmgr(ports, "image", "erase", "1").code == 0


@pytest.mark.parametrize("profile", ["zephyr", "espressif"])
def test_smpmgr_recovers_a_board(tmp_path: Path, profile: str) -> None:
    with board_process(tmp_path, "--profile", profile, version="", recovery=True) as ports:
        uploaded = smpmgr(ports, "image", "upload", new_image(tmp_path, "3.0.0"))
        assert uploaded.code == 0, uploaded.out + uploaded.err
        assert "3.0.0" in smpmgr(ports, "image", "state-read").out
        assert smpmgr(ports, "os", "reset").code == 0


SMPCLIENT = """
import asyncio, sys
from smpclient import SMPClient
from smpclient.generics import success
from smpclient.requests.image_management import ImageStatesRead
from smpclient.requests.os_management import EchoWrite, MCUMgrParametersRead, DateTimeRead
from smpclient.requests.os_management import BootloaderInformationRead
from smpclient.requests.statistics_management import ListOfGroups, GroupData
from smpclient.requests.settings_management import WriteSetting, ReadSetting
from smpclient.requests.shell_management import Execute
from smpclient.transport.serial import SMPSerialTransport

async def main(address, file):
    client = SMPClient(SMPSerialTransport(), address)
    await client.connect()
    async with asyncio.timeout(60):
        for request in (EchoWrite(d="hi"), MCUMgrParametersRead(), DateTimeRead(), BootloaderInformationRead(),
                        ListOfGroups(), GroupData(name="smp_svr_stats"), WriteSetting(name="a", val=b"1"),
                        ReadSetting(name="a"), Execute(argv=["kernel", "version"])):
            answer = await client.request(request)
            assert success(answer), answer
            print(type(request).__name__, "ok")
        data = open(file, "rb").read()
        async for offset in client.upload(data):
            pass
        print("uploaded", offset)
        states = await client.request(ImageStatesRead())
        for image in states.images:
            print(image.slot, image.version)
    await client.disconnect()

asyncio.run(main(*sys.argv[1:]))
"""


def python(script: str, *arguments: str) -> Ran:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_smpclient_uses_an_applications_groups_and_uploads(tmp_path: Path) -> None:
    pytest.importorskip("smpclient")
    with board_process(tmp_path) as ports:
        done = python(SMPCLIENT, ports.pty, str(new_image(tmp_path, "2.0.0")))
    assert done.code == 0, done.err
    assert f"uploaded {len(signed('2.0.0'))}" in done.out
    assert "0 1.0.0\n1 2.0.0" in done.out


TOOLKIT = """
import sys
from mcumgr_toolkit import MCUmgrClient
kind, address, port, file = sys.argv[1:]
client = MCUmgrClient.serial(address) if kind == "serial" else MCUmgrClient.udp(address, int(port))
client.set_timeout_ms(5000)
client.check_connection()
client.use_auto_frame_size()
data = open(file, "rb").read()
client.image_upload(data)
for image in client.image_get_state():
    print(image.slot, image.version)
if kind == "udp":
    print(client.os_echo("hi"), client.os_application_info("s"), client.os_bootloader_info())
    print(client.os_task_statistics().keys(), client.os_memory_pool_statistics(), client.os_get_datetime())
    print(client.image_slot_info(), client.stats_list_groups(), client.stats_get_group_data("smp_svr_stats"))
    client.settings_write("a", b"1"); print(client.settings_read("a"))
    client.fs_file_upload("/f", b"x" * 900); print(client.fs_file_status("/f"))
    print(client.fs_supported_checksum_types(), client.fs_file_checksum("/f", "sha256"))
    print(client.shell_execute(["kernel", "version"]), client.enum_get_group_ids())
    client.image_erase()
client.os_system_reset()
"""


@pytest.mark.parametrize("profile", ["zephyr", "espressif"])
def test_mcumgr_toolkit_recovers_a_board(tmp_path: Path, profile: str) -> None:
    pytest.importorskip("mcumgr_toolkit")
    with board_process(tmp_path, "--profile", profile, version="", recovery=True) as ports:
        script = TOOLKIT if profile == "zephyr" else TOOLKIT.replace("client.use_auto_frame_size()", "")
        script = script.replace("client.check_connection()", "")
        done = python(script, "serial", ports.pty, "0", str(new_image(tmp_path, "3.0.0")))
    assert done.code == 0, done.err
    assert "0 3.0.0" in done.out


def test_mcumgr_toolkit_uses_every_group_over_udp(tmp_path: Path) -> None:
    pytest.importorskip("mcumgr_toolkit")
    with board_process(tmp_path) as ports:
        image = str(new_image(tmp_path, "2.0.0"))
        done = python(TOOLKIT, "udp", "127.0.0.1", str(ports.udp_port), image)
    assert done.code == 0, done.err
    assert "0 1.0.0\n1 2.0.0" in done.out
