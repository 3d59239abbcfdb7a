"""docs/how-to/rehearse-burns.md, played: a device is read out, the burns are rehearsed on its snapshot, then made."""

import json
from pathlib import Path

import pytest
from tests.support.peers import Ran, peer_path, run_bootwright
from tests.support.virtual import ServedChip, make_chip, served

KEY = bytes(range(1, 33))
#: model → the burns of a release, as espefuse takes them; the same words without the file are ours.
BURNS: dict[str, list[list[str]]] = {
    "esp32c3": [
        ["burn-key", "BLOCK_KEY0", "key.bin", "XTS_AES_128_KEY"],
        ["burn-efuse", "SPI_BOOT_CRYPT_CNT", "7"],
        ["burn-efuse", "DIS_DOWNLOAD_ICACHE", "1", "DIS_PAD_JTAG", "1", "DIS_USB_JTAG", "1", "DIS_DIRECT_BOOT", "1"],
        ["burn-efuse", "DIS_DOWNLOAD_MANUAL_ENCRYPT", "1"],
        ["write-protect-efuse", "DIS_ICACHE"],
        ["burn-key", "BLOCK_KEY1", "digest.bin", "SECURE_BOOT_DIGEST0"],
        ["burn-efuse", "SECURE_BOOT_EN", "1", "SECURE_BOOT_KEY_REVOKE1", "1", "SECURE_BOOT_KEY_REVOKE2", "1"],
        ["write-protect-efuse", "RD_DIS"],
    ],
    "esp32": [
        ["burn-key", "flash_encryption", "key.bin"],
        ["burn-efuse", "FLASH_CRYPT_CONFIG", "0xF", "FLASH_CRYPT_CNT", "127"],
        ["burn-efuse", "DISABLE_DL_ENCRYPT", "1", "DISABLE_DL_DECRYPT", "1", "DISABLE_DL_CACHE", "1"],
        ["burn-efuse", "JTAG_DISABLE", "1", "CONSOLE_DEBUG_DISABLE", "1"],
        ["write-protect-efuse", "DIS_CACHE"],
        ["burn-key", "secure_boot_v2", "digest.bin"],
        ["burn-efuse", "ABS_DONE_1", "1"],
        ["write-protect-efuse", "RD_DIS"],
    ],
}


def ok(ran: Ran) -> str:
    assert ran.code == 0, ran.out + ran.err
    return ran.out


def read_token(device: ServedChip, name: str) -> None:
    out = ok(device.espefuse("dump", "--format", "token"))
    (device.directory / name).write_text(out)


def efuse(folder: Path, *words: str) -> Ran:
    return run_bootwright("efuse", *words, cwd=folder)


@pytest.mark.parametrize("model", BURNS)
def test_what_was_rehearsed_on_the_snapshot_is_what_the_device_holds(model: str, tmp_path: Path) -> None:
    peer_path("espefuse")
    (tmp_path / "key.bin").write_bytes(KEY)
    (tmp_path / "digest.bin").write_bytes(bytes(range(0x80, 0xA0)))
    make_chip(tmp_path, model, name="device")
    with served(tmp_path, "device") as (device,):
        read_token(device, "device.token")
        ok(efuse(tmp_path, "import", "device.token", "device.json"))
        assert efuse(tmp_path, "check", "device.json", "--release").code == 1
        for words in BURNS[model]:
            command = words[0].removesuffix("-efuse") if words[0].startswith("write-protect") else words[0]
            ok(efuse(tmp_path, command, "device.json", *words[1:], "--yes"))
            ok(device.espefuse(*words))
        read_token(device, "after.token")
    diff = json.loads(ok(efuse(tmp_path, "diff", "device.json", "after.token", "--json")))
    hidden = {"esp32": "BLOCK1"}.get(model, "KEY0")
    assert diff["changes"] == []
    assert [(f["code"], f["subject"]) for f in diff["findings"]] == [("efuse.diff.hidden", hidden)]
    last = "UART_DOWNLOAD_DIS" if model == "esp32" else "ENABLE_SECURITY_DOWNLOAD"
    ok(efuse(tmp_path, "burn-efuse", "device.json", last, "1", "--yes"))
    ok(efuse(tmp_path, "check", "device.json", "--release"))


def test_a_served_twin_holds_what_the_device_holds(tmp_path: Path) -> None:
    peer_path("espefuse")
    make_chip(tmp_path, "esp32s3", name="device")
    (tmp_path / "key.bin").write_bytes(KEY)
    with served(tmp_path, "device") as (device,):
        ok(device.espefuse("burn-key", "BLOCK_KEY3", "key.bin", "HMAC_UP", "burn-bit", "BLOCK3", "7"))
        read_token(device, "device.token")
    make_chip(tmp_path, "esp32s3", name="twin")
    ok(efuse(tmp_path, "import", "device.token", "twin.chip", "--force"))
    with served(tmp_path, "twin") as (twin,):
        read_token(twin, "twin.token")
        ok(efuse(tmp_path, "burn-efuse", "twin", "DIS_DIRECT_BOOT", "1", "--yes"))
        assert twin.efuses()["DIS_DIRECT_BOOT"] is True
    tokens = [(tmp_path / name).read_text().split()[-1] for name in ("device.token", "twin.token")]
    assert tokens[0] == tokens[1]
