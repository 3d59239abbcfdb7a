"""ESP-IDF's page "Security Features Enablement Workflows", command by command, on virtual chips.

The commands are the page's (docs/en/security/security-features-enablement-workflows.rst), run through `bootwright
esptool`, `espefuse` and `espsecure`, because it prints option orders that the tools reject. Only names in capitals are
filled in. What the page calls a build of the project is a synthetic image and an sdkconfig.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.idf_scene import FACTORY, WHOLE, app
from tests.support.peers import peer_path, run_bootwright
from tests.support.virtual import ServedChip, make_chip, served

from bootwright.chips.chip import Chip, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.sim.chip_file import peek_chip_file

#: step 5 of the page's flash encryption, and of its Secure Boot: each chip burns those that it has
FLASH_FIELDS = [
    "DISABLE_DL_ENCRYPT",
    "DISABLE_DL_DECRYPT",
    "DISABLE_DL_CACHE",
    "JTAG_DISABLE",
    "DIS_BOOT_REMAP",
    "DIS_DOWNLOAD_ICACHE",
    "DIS_DOWNLOAD_DCACHE",
    "HARD_DIS_JTAG",
    "DIS_DIRECT_BOOT",
    "DIS_LEGACY_SPI_BOOT",
    "DIS_USB_JTAG",
    "DIS_PAD_JTAG",
    "DIS_DOWNLOAD_MANUAL_ENCRYPT",
    "SPI_DOWNLOAD_MSPI_DIS",
    "XTS_DPA_PSEUDO_LEVEL",
]
BOOT_FIELDS = ["SOFT_DIS_JTAG", "SECURE_BOOT_AGGRESSIVE_REVOKE"]
SDKCONFIG = """CONFIG_IDF_TARGET="{chip}"
CONFIG_PARTITION_TABLE_OFFSET=0x8000
CONFIG_SECURE_SIGNED_ON_BOOT=y
CONFIG_SECURE_SIGNED_APPS_{scheme}_SCHEME=y
CONFIG_SECURE_BOOT=y
CONFIG_SECURE_BOOT_V2_ENABLED=y
CONFIG_SECURE_FLASH_ENC_ENABLED=y
CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE=y
"""


@dataclass(frozen=True, slots=True)
class Desk:
    """A board on a desk, and the host beside it."""

    served: ServedChip
    chip: Chip

    def run(self, line: str) -> None:
        """A line of the page, with PORT filled in; a question is answered as the tool asks for it."""
        words = line.replace("PORT", self.served.port).split()
        ran = run_bootwright(*words, stdin="BURN\n", cwd=self.served.directory)
        assert ran.code == 0, f"{line}\n{ran.out}{ran.err}"

    def burn_all(self, names: list[str]) -> None:
        """`espefuse burn-efuse --port PORT EFUSE_NAME 0x1` for those that this chip has."""
        fields = " ".join(f"{name} 0x1" for name in names if self.chip.has_field(name))
        if fields:
            self.run(f"espefuse burn-efuse --port PORT {fields}")

    def frozen(self, name: str) -> bool:
        return self.chip.has_field(name) and self.efuses.write_protected(name)

    @property
    def efuses(self) -> Efuses:
        return peek_chip_file(self.served.directory / "chip.chip")[0].efuses

    def boot(self, *options: str) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.served.switch("boot", *options, "--json").out)
        return answer

    @property
    def flash(self) -> bytes:
        return peek_chip_file(self.served.directory / "chip.chip")[1]


def _is_rsa(chip: Chip) -> bool:
    return "rsa-3072" in chip.secure_boot.schemes


@contextmanager
def desk(folder: Path, model: str) -> Iterator[Desk]:
    peer_path("espefuse")
    chip = load_chip(model)
    (folder / "bootloader.bin").write_bytes(make_bootloader_image(chip.chip_id, size=0x5000))
    (folder / "partition-table.bin").write_bytes(WHOLE.pack())
    (folder / "my-app.bin").write_bytes(app("1.2.3", chip=model))
    (folder / "sdkconfig").write_text(SDKCONFIG.format(chip=model, scheme="RSA" if _is_rsa(chip) else "ECDSA_V2"))
    make_chip(folder, model)
    with served(folder, "chip") as (one,):
        yield Desk(one, chip)


def enable_flash_encryption(here: Desk) -> None:
    """Steps 1 to 5 of "Enable Flash Encryption Externally"."""
    here.run("esptool --port PORT erase-flash")
    here.run("espsecure generate-flash-encryption-key my_flash_encryption_key.bin")
    if here.chip.name == "esp32":
        here.run("espefuse --port PORT burn-key flash_encryption my_flash_encryption_key.bin")
        here.run("espefuse --port PORT --chip esp32 burn-efuse FLASH_CRYPT_CNT 127")
        here.run("espefuse --port PORT --chip esp32 burn-efuse FLASH_CRYPT_CONFIG 0xF")
    else:
        here.run("espefuse --port PORT burn-key BLOCK_KEY0 my_flash_encryption_key.bin XTS_AES_128_KEY")
        here.run(f"espefuse --port PORT --chip {here.chip.name} burn-efuse SPI_BOOT_CRYPT_CNT 7")
    here.burn_all(FLASH_FIELDS)
    for last in ("DIS_CACHE", "DIS_ICACHE"):
        if here.chip.has_field(last):
            here.run(f"espefuse --port PORT write-protect-efuse {last}")


def enable_secure_boot(here: Desk) -> None:
    """Steps 1 to 5 of "Enable Secure Boot v2 Externally"."""
    name = here.chip.name
    scheme = "rsa3072" if _is_rsa(here.chip) else "ecdsa256"
    here.run(f"espsecure generate-signing-key --version 2 --scheme {scheme} secure_boot_signing_key.pem")
    here.run("espsecure digest-sbv2-public-key --keyfile secure_boot_signing_key.pem --output digest.bin")
    if name == "esp32":
        here.run("espefuse --port PORT --chip esp32 burn-key secure_boot_v2 digest.bin")
        here.run("espefuse --port PORT --chip esp32 burn-efuse ABS_DONE_1")
    else:
        here.run(f"espefuse --port PORT --chip {name} burn-key BLOCK_KEY1 digest.bin SECURE_BOOT_DIGEST0")
        here.run(f"espefuse --port PORT --chip {name} burn-efuse SECURE_BOOT_EN")
    frozen = [field for field in BOOT_FIELDS if here.frozen(field)]
    assert frozen == (["SOFT_DIS_JTAG"] if name == "esp32s2" else [])  # the page's order is one too late on the S2
    here.burn_all([field for field in BOOT_FIELDS if field not in frozen])
    here.run("espefuse -p PORT write-protect-efuse RD_DIS")
    if here.chip.secure_boot.revocable:
        here.run(f"espefuse --port PORT --chip {name} burn-efuse SECURE_BOOT_KEY_REVOKE1")
        here.run(f"espefuse --port PORT --chip {name} burn-efuse SECURE_BOOT_KEY_REVOKE2")


def flash_signed_and_encrypted(here: Desk) -> None:
    """Step 7 of both: sign, then encrypt, then flash; `--force`, because esptool cannot tell ciphertext."""
    xts = "" if here.chip.name == "esp32" else "--aes-xts "
    for name in ("bootloader", "my-app"):
        here.run(
            "espsecure sign-data --version 2 --keyfile secure_boot_signing_key.pem"
            f" --output {name}-signed.bin {name}.bin"
        )
    here.run("espsecure signature-info-v2 bootloader-signed.bin")
    for name, address in (
        ("bootloader-signed", here.chip.bootloader_offset),
        ("partition-table", 0x8000),
        ("my-app-signed", FACTORY),
    ):
        here.run(
            f"espsecure encrypt-flash-data {xts}--keyfile my_flash_encryption_key.bin --address {address:#x}"
            f" --output {name}-enc.bin {name}.bin"
        )
        here.run(f"esptool --port PORT --after no-reset write-flash --force {address:#x} {name}-enc.bin")


def models(always: str, more: str) -> list[str]:
    """A chip takes half a minute, so `BOOTWRIGHT_EVERY_CHIP=1` asks for the rest."""
    return always.split() + (more.split() if os.environ.get("BOOTWRIGHT_EVERY_CHIP") else [])


@pytest.mark.parametrize("model", models("esp32c3", "esp32 esp32s2 esp32s3 esp32c5 esp32c6 esp32c61 esp32h2 esp32p4"))
def test_flash_encryption_and_secure_boot_from_the_host(tmp_path: Path, model: str) -> None:
    with desk(tmp_path, model) as here:
        enable_flash_encryption(here)
        enable_secure_boot(here)
        flash_signed_and_encrypted(here)
        last = "UART_DOWNLOAD_DIS" if model == "esp32" else "ENABLE_SECURITY_DOWNLOAD"
        here.run(f"espefuse --port PORT burn-efuse {last}")
        booted = here.boot("--conf", "sdkconfig")
        assert (booted["verdict"], booted["outcome"], booted["version"]) == ("pass", "app", "1.2.3"), booted
        assert booted["efuses_burned"] == []
        assert b"1.2.3" not in here.flash


@pytest.mark.parametrize("model", models("", "esp32c2"))
def test_the_c2_takes_both_keys_in_one_command(tmp_path: Path, model: str) -> None:
    with desk(tmp_path, model) as here:
        here.run("esptool --port PORT erase-flash")
        here.run("espsecure generate-flash-encryption-key --keylen 128 my_flash_encryption_key.bin")
        here.run("espsecure generate-signing-key --version 2 --scheme ecdsa256 secure_boot_signing_key.pem")
        here.run(
            "espefuse --port PORT --chip esp32c2 burn-key-digest secure_boot_signing_key.pem"
            " burn-key BLOCK_KEY0 my_flash_encryption_key.bin XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"
        )
        here.run("espefuse --port PORT --chip esp32c2 burn-efuse SPI_BOOT_CRYPT_CNT 7")
        here.burn_all(FLASH_FIELDS)
        here.run("espefuse --port PORT --chip esp32c2 burn-efuse SECURE_BOOT_EN")
        here.run("espefuse -p PORT write-protect-efuse RD_DIS")
        flash_signed_and_encrypted(here)
        here.run("espefuse --port PORT burn-efuse ENABLE_SECURITY_DOWNLOAD")
        booted = here.boot("--conf", "sdkconfig")
        assert (booted["verdict"], booted["outcome"], booted["version"]) == ("pass", "app", "1.2.3"), booted


def test_plaintext_where_the_chip_expects_ciphertext_is_seen_at_the_first_header(tmp_path: Path) -> None:
    with desk(tmp_path, "esp32c3") as here:
        enable_flash_encryption(here)
        here.run("esptool --port PORT --after no-reset write-flash --force 0x0 bootloader.bin")
        booted = here.boot("--conf", "sdkconfig")
        assert (booted["verdict"], booted["outcome"]) == ("fail", "rom-refused")
        assert "invalid header: 0x" in str(booted["console"])
