"""ESP-IDF's page "Security Features Enablement Workflows", command by command, on virtual chips.

The commands are the page's (docs/en/security/security-features-enablement-workflows.rst), run through `bootwright
esptool`, `espefuse` and `espsecure`, because it prints option orders and names that the tools reject. Only what the
page leaves open is filled in: PORT, BLOCK, KEYPURPOSE, EFUSE_NAME. What it calls a build is a synthetic image and an
sdkconfig. Each chip follows the page as it is rendered for that chip.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.support.idf_desk import ENCRYPTION_FIELDS, SECURE_BOOT_FIELDS, Desk, desk
from tests.support.idf_scene import FACTORY, NVS

from bootwright.chips.release import check_release
from bootwright.finding import Verdict

#: chip → (scheme of its Secure Boot, how its flash-encryption key is made)
WAYS = {
    "esp32": ("rsa3072", "esp32"),
    "esp32s2": ("rsa3072", "xts-256"),
    "esp32s3": ("rsa3072", "xts-256-halves"),
    "esp32c3": ("rsa3072", "xts-128"),
    "esp32c6": ("ecdsa256", "xts-128"),
    "esp32c5": ("ecdsa384", "xts-128"),
    "esp32c61": ("ecdsa256", "xts-128"),
    "esp32h2": ("ecdsa256", "xts-128"),
    "esp32p4": ("rsa3072", "xts-256"),
}


def models(always: str, more: str) -> list[str]:
    """A chip takes long, so `BOOTWRIGHT_EVERY_CHIP=1` asks for those that the page says the same of as of another."""
    return always.split() + (more.split() if os.environ.get("BOOTWRIGHT_EVERY_CHIP") else [])


def burn_flash_key(here: Desk, way: str) -> None:
    """Steps 2 and 3 of "Enable Flash Encryption Externally"."""
    length = "--keylen 512 " if way.startswith("xts-256") else ""
    here.run(f"espsecure generate-flash-encryption-key {length}my_flash_encryption_key.bin")
    if way == "esp32":
        here.run("espefuse --port PORT burn-key flash_encryption my_flash_encryption_key.bin")
    elif way == "xts-256-halves":
        here.shell("split", "-b", "32", "my_flash_encryption_key.bin", "my_flash_encryption_key.bin")
        here.run("espefuse --port PORT burn-key BLOCK_KEY0 my_flash_encryption_key.bin.aa XTS_AES_256_KEY_1")
        here.run("espefuse --port PORT burn-key BLOCK_KEY1 my_flash_encryption_key.bin.ab XTS_AES_256_KEY_2")
    else:
        purpose = "XTS_AES_256_KEY" if way == "xts-256" else "XTS_AES_128_KEY"
        here.run(f"espefuse --port PORT burn-key BLOCK_KEY0 my_flash_encryption_key.bin {purpose}")


def enable_flash_encryption(here: Desk, way: str) -> None:
    """Steps 1 to 5 of "Enable Flash Encryption Externally"."""
    name = here.chip.name
    here.run("esptool --port PORT erase-flash")
    burn_flash_key(here, way)
    if name == "esp32":
        here.run("espefuse --port PORT --chip esp32 burn-efuse FLASH_CRYPT_CNT 127")
        here.run("espefuse --port PORT --chip esp32 burn-efuse FLASH_CRYPT_CONFIG 0xF")
    else:
        here.run(f"espefuse --port PORT --chip {name} burn-efuse SPI_BOOT_CRYPT_CNT 7")
    here.burn(ENCRYPTION_FIELDS[name])
    for last in ("DIS_CACHE", "DIS_ICACHE"):
        if here.chip.has_field(last):
            here.run(f"espefuse --port PORT write-protect-efuse {last}")


def make_signing_keys(here: Desk) -> None:
    """Steps 1 and 2 of "Enable Secure Boot v2 Externally", for two keys where the chip takes several."""
    for number in ("", "2") if here.chip.secure_boot.revocable else ("",):
        key = f"secure_boot_signing_key{number}.pem"
        here.run(f"espsecure generate-signing-key --version 2 --scheme {here.scheme} {key}")
        here.run(f"espsecure digest-sbv2-public-key --keyfile {key} --output digest{number}.bin")


def enable_secure_boot(here: Desk) -> None:
    """Steps 1 to 5 of "Enable Secure Boot v2 Externally"."""
    name = here.chip.name
    make_signing_keys(here)
    if name == "esp32":
        here.run("espefuse --port PORT --chip esp32 burn-key secure_boot_v2 digest.bin")
        here.run("espefuse --port PORT --chip esp32 burn-efuse ABS_DONE_1")
    else:
        here.run(f"espefuse --port PORT --chip {name} burn-key BLOCK_KEY2 digest.bin SECURE_BOOT_DIGEST0")
        here.run(f"espefuse --port PORT --chip {name} burn-key BLOCK_KEY3 digest2.bin SECURE_BOOT_DIGEST1")
        here.run(f"espefuse --port PORT --chip {name} burn-efuse SECURE_BOOT_EN")
    if here.scheme == "ecdsa384":
        here.run(f"espefuse --port PORT --chip {name} burn-efuse SECURE_BOOT_SHA384_EN")
    fields = list(SECURE_BOOT_FIELDS[name])
    if name == "esp32s2":  # write-protecting DIS_ICACHE has frozen it: the page's order is one too late on this chip
        assert "SOFT_DIS_JTAG" in here.refused("espefuse burn-efuse --port PORT SOFT_DIS_JTAG 0x1")
        fields.remove("SOFT_DIS_JTAG")
    here.burn(fields)
    here.run("espefuse -p $ESPPORT write-protect-efuse RD_DIS")
    if here.chip.secure_boot.revocable:
        here.run(f"espefuse --port PORT --chip {name} burn-efuse SECURE_BOOT_KEY_REVOKE2")


def sign(here: Desk) -> tuple[str, str]:
    """Step 7 of Secure Boot: the signed bootloader and application."""
    first = "espsecure sign-data --version 2 --keyfile secure_boot_signing_key.pem --output"
    here.run(f"{first} bootloader-signed.bin build/bootloader/bootloader.bin")
    here.run(f"{first} my-app-signed.bin build/my-app.bin")
    here.run("espsecure signature-info-v2 bootloader-signed.bin")
    if not here.chip.secure_boot.revocable:
        return "bootloader-signed.bin", "my-app-signed.bin"
    more = "espsecure sign-data --keyfile secure_boot_signing_key2.pem --version 2 --append-signatures -o"
    here.run(f"{more} bootloader-signed2.bin bootloader-signed.bin")
    here.run(f"{more} my-app-signed2.bin my-app-signed.bin")
    return "bootloader-signed2.bin", "my-app-signed2.bin"


def encrypt_and_flash(here: Desk, bootloader: str, application: str) -> None:
    """Step 7 of flash encryption, on what was signed; `--force`, because esptool cannot tell ciphertext."""
    xts = "" if here.chip.name == "esp32" else "--aes-xts "
    for plain, address, cipher in (
        (bootloader, here.chip.bootloader_offset, "bootloader-enc.bin"),
        ("build/partition_table/partition-table.bin", 0x8000, "partition-table-enc.bin"),
        (application, FACTORY, "my-app-enc.bin"),
    ):
        options = f"{xts}--keyfile my_flash_encryption_key.bin --address {address:#x} --output"
        here.run(f"espsecure encrypt-flash-data {options} {cipher} {plain}")
        here.run(f"espsecure decrypt-flash-data {options} again.bin {cipher}")
        assert (here.folder / "again.bin").read_bytes().startswith((here.folder / plain).read_bytes())
        here.run(f"esptool --port PORT --after no-reset write-flash --force {address:#x} {cipher}")


def secure_the_download_mode(here: Desk) -> None:
    """Steps 8 and 9 of flash encryption, which come last."""
    last = "UART_DOWNLOAD_DIS" if here.chip.name == "esp32" else "ENABLE_SECURITY_DOWNLOAD"
    here.run(f"espefuse --port PORT burn-efuse {last}")
    assert here.burned(last)
    (here.folder / "my_flash_encryption_key.bin").unlink()


def expect_the_documented_state(here: Desk) -> None:
    """Every eFuse of the page is burned, the flash key is hidden, and ESP-IDF's own release check is content."""
    efuses, name = here.efuses, here.chip.name
    for field in (*ENCRYPTION_FIELDS[name], *SECURE_BOOT_FIELDS[name]):
        protected = field.removeprefix("WR_DIS_")
        if protected != field:
            assert efuses.write_protected(protected), field
        elif (name, field) != ("esp32s2", "SOFT_DIS_JTAG"):
            assert here.burned(field), field
    assert efuses.write_protected("RD_DIS")
    for purpose in (purpose for purpose in here.chip.purposes if purpose.is_flash_key):
        for block in efuses.find_keys(purpose.name):
            assert efuses.read_protected(block)
            assert efuses.block_write_protected(block)
    wanted = {"esp32": {"CONSOLE_DEBUG_DISABLE"}}.get(name, set())  # what ESP-IDF asks for and its page leaves out
    missing = {f.subject for f in check_release(efuses) if f.verdict is not Verdict.PASS}
    assert missing == wanted, check_release(efuses)


def expect_a_boot(here: Desk) -> None:
    """The chip runs the application, and the bootloader found nothing left to burn."""
    booted = here.boot("--conf", "sdkconfig")
    assert (booted["verdict"], booted["outcome"], booted["version"]) == ("pass", "app", "1.2.3"), booted
    assert booted["efuses_burned"] == []
    assert b"1.2.3" not in here.flash


@pytest.mark.parametrize("model", models("esp32 esp32s2 esp32s3 esp32c3 esp32c6", "esp32c5 esp32c61 esp32h2 esp32p4"))
def test_flash_encryption_and_secure_boot_from_the_host(tmp_path: Path, model: str) -> None:
    scheme, way = WAYS[model]
    with desk(tmp_path, model, scheme=scheme) as here:
        enable_flash_encryption(here, way)
        enable_secure_boot(here)
        encrypt_and_flash(here, *sign(here))
        secure_the_download_mode(here)
        expect_the_documented_state(here)
        expect_a_boot(here)


def test_the_c2_takes_both_keys_in_one_command(tmp_path: Path) -> None:
    with desk(tmp_path, "esp32c2", scheme="ecdsa256") as here:
        here.run("esptool --port PORT erase-flash")
        here.run("espsecure generate-flash-encryption-key --keylen 128 flash_encryption_key128.bin")
        make_signing_keys(here)
        here.run(
            "espefuse --port PORT --chip esp32c2 burn-key-digest secure_boot_signing_key.pem"
            " burn-key BLOCK_KEY0 flash_encryption_key128.bin XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"
        )
        here.run("espefuse --port PORT --chip esp32c2 burn-efuse SPI_BOOT_CRYPT_CNT 7")
        here.run("espefuse --port PORT --chip esp32c2 burn-efuse SECURE_BOOT_EN")
        here.burn(ENCRYPTION_FIELDS["esp32c2"])
        here.burn(SECURE_BOOT_FIELDS["esp32c2"])
        here.run("espefuse -p $ESPPORT write-protect-efuse RD_DIS")
        (here.folder / "flash_encryption_key128.bin").rename(here.folder / "my_flash_encryption_key.bin")
        encrypt_and_flash(here, *sign(here))
        secure_the_download_mode(here)
        expect_the_documented_state(here)
        expect_a_boot(here)


def test_the_c2_takes_a_whole_flash_key_or_a_digest_alone(tmp_path: Path) -> None:
    with desk(tmp_path, "esp32c2", scheme="ecdsa256") as here:
        here.run("espsecure generate-flash-encryption-key flash_encryption_key256.bin")
        make_signing_keys(here)
        here.run("espefuse --port PORT burn-key BLOCK_KEY0 flash_encryption_key256.bin XTS_AES_128_KEY")
        assert here.burned("XTS_KEY_LENGTH_256")
        here.refused("espefuse --port PORT --chip esp32c2 burn-key KEY_BLOCK0 digest.bin SECURE_BOOT_DIGEST")
        here.served.switch("renew")
        said = here.run("espefuse --port PORT --chip esp32c2 burn-key KEY_BLOCK0 digest.bin SECURE_BOOT_DIGEST")
        assert "KEY_BLOCK0 taken for BLOCK_KEY0" in said
        here.served.switch("renew")
        here.run("espsecure generate-flash-encryption-key --keylen 128 flash_encryption_key128.bin")
        half = "flash_encryption_key128.bin XTS_AES_128_KEY_DERIVED_FROM_128_EFUSE_BITS"
        here.run(f"espefuse --port PORT burn-key BLOCK_KEY0 {half}")
        assert not here.burned("XTS_KEY_LENGTH_256")


def test_the_key_manager_is_chosen_for_good(tmp_path: Path) -> None:
    with desk(tmp_path, "esp32c5") as here:
        (here.folder / "key_recovery_info.bin").write_bytes(bytes(range(64)))
        here.run("esptool --port PORT write-flash 0x0 key_recovery_info.bin")
        here.run("espefuse --port PORT burn-efuse FORCE_USE_KEY_MANAGER_KEY 2")
        nothing = here.refused("espefuse --port PORT burn-efuse KM_XTS_KEY_LENGTH_256 0")  # the tool burns no zero
        assert "KM_XTS_KEY_LENGTH_256" in nothing
        here.run("espefuse --port PORT burn-efuse KM_XTS_KEY_LENGTH_256 1")
        assert here.efuses.number("FORCE_USE_KEY_MANAGER_KEY") == 2
        assert here.burned("KM_XTS_KEY_LENGTH_256")


def test_nvs_is_encrypted_with_keys_that_the_chip_derives_or_that_lie_encrypted_in_flash(tmp_path: Path) -> None:
    with desk(tmp_path, "esp32c3") as here:
        (here.folder / "hmac_key.bin").write_bytes(random.Random(1).randbytes(32))  # the page's generator is ESP-IDF's
        here.run("partition nvs-keys --hmac-key hmac_key.bin --output nvs_encr_key.bin")
        here.run("espefuse --port PORT burn-key BLOCK_KEY4 hmac_key.bin HMAC_UP")
        block = here.efuses.find_key("HMAC_UP")
        assert block is not None
        assert here.efuses.read_protected(block)
        enable_flash_encryption(here, "xts-128")
        here.run(
            "espsecure encrypt-flash-data --aes-xts --keyfile my_flash_encryption_key.bin --address 0x14000"
            " --output nvs_encr_key-enc.bin nvs_encr_key.bin"
        )
        (here.folder / "nvs_encr_partition.bin").write_bytes(bytes(range(256)) * 16)
        here.run("esptool --port PORT --after no-reset write-flash --force 0x14000 nvs_encr_key-enc.bin")
        here.run(f"esptool --port PORT --after no-reset write-flash --force {NVS:#x} nvs_encr_partition.bin")
        read = here.served.directory / "back.bin"
        here.run(f"flash read chip 0x14000 4096 {read} --decrypted")
        assert read.read_bytes() == (here.folder / "nvs_encr_key.bin").read_bytes()


def test_plaintext_where_the_chip_expects_ciphertext_is_seen_at_the_first_header(tmp_path: Path) -> None:
    with desk(tmp_path, "esp32c3") as here:
        enable_flash_encryption(here, "xts-128")
        here.run("esptool --port PORT --after no-reset write-flash --force 0x0 build/bootloader/bootloader.bin")
        booted = here.boot("--conf", "sdkconfig")
        assert (booted["verdict"], booted["outcome"]) == ("fail", "rom-refused")
        assert "invalid header: 0x" in str(booted["console"])
