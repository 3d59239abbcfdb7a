"""MCUboot's Espressif readme, its chapters Secure Boot, Flash Encryption and Security Chain, command by command.

The commands are the readme's (MCUboot 2d4bacc3, docs/readme-espressif.md), run with the original tools on every chip of
the port; only names in angle brackets are filled in. Where the readme resets the board, the virtual chip boots. For the
chips that sign with ECDSA, `espsecure` is told so, which the readme forgets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support.keys import key_of
from tests.support.peers import peer_path, run_peer
from tests.support.virtual import ServedChip, make_chip, served

from bootwright.chips.chip import CHIP_NAMES, Chip, load_chip
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.keys import KeyType
from bootwright.host.firmware import make_application
from bootwright.host.layout import Layout, conf_text, security_lines, signing_lines
from bootwright.host.settings import Mode
from bootwright.sim.chip_file import peek_chip_file

LAYOUT = Layout(slot_size=0x40000, primary=0x20000, secondary=0x60000, scratch=0xA0000, scratch_size=0x10000)
SECURE_BOOT = ("CONFIG_SECURE_BOOT", "CONFIG_SECURE_SIGNED", "CONFIG_SECURE_BOOT_SUPPORTS")
FLASH_ENCRYPTION = ("CONFIG_SECURE_FLASH", "CONFIG_SECURE_BOOT_ALLOW_JTAG")
#: -ff of the readme's write_flash: what the synthetic bootloader's header says already
SPEED = {"esp32c2": "30m", "esp32h2": "24m"}


def every_chip(*, first: str) -> list[str]:
    """The port is built for all ten; `BOOTWRIGHT_FEW_CHIPS=1` takes the first alone, for who works on these tests."""
    chips = [first, *(name for name in CHIP_NAMES if name != first)]
    return chips[:1] if os.environ.get("BOOTWRIGHT_FEW_CHIPS") else chips


@dataclass(frozen=True, slots=True)
class Scene:
    """One board and the readme's words for it."""

    served: ServedChip
    chip: Chip

    @property
    def folder(self) -> Path:
        return self.served.directory

    @property
    def scheme(self) -> str:
        return "rsa" if "rsa-3072" in self.chip.secure_boot.schemes else "ecdsa"

    def run(self, line: str) -> str:
        """A line of the readme; the question of espefuse is answered as it asks for it."""
        tool, *words = line.split()
        ran = run_peer(tool, *words, stdin="BURN\n", cwd=self.folder)
        assert ran.code == 0, f"{line}\n{ran.out}{ran.err}"
        return ran.out

    def flash(self, address: int, name: str) -> None:
        speed = SPEED.get(self.chip.name, "40m")
        self.run(
            f"esptool.py -p {self.served.port} -b 2000000 --after no_reset --chip {self.chip.name} write_flash"
            f" --flash_mode dio --flash_size 4MB --flash_freq {speed} {address:#x} {name}"
        )

    def boot(self, *options: str) -> dict[str, object]:
        ran = self.served.switch("boot", *options, "--json")
        answer: dict[str, object] = json.loads(ran.out)
        return answer

    def burned(self, name: str) -> bool:
        return peek_chip_file(self.folder / "chip.chip")[0].efuses.is_set(name)

    @property
    def raw_flash(self) -> bytes:
        return peek_chip_file(self.folder / "chip.chip")[1]


@contextmanager
def scene(folder: Path, model: str, wanted: Callable[[str], bool], *, mode: Mode = Mode.DEVELOPMENT) -> Iterator[Scene]:
    peer_path("esptool.py")
    chip = load_chip(model)
    key = key_of(KeyType.ECDSA_P256, 0)
    (folder / "app_key.pem").write_bytes(key.pem())
    (folder / "app_public.pem").write_bytes(key.public.pem)
    (folder / "bootloader.bin").write_bytes(make_bootloader_image(chip.chip_id, size=0x6000))
    (folder / "app.bin").write_bytes(make_application(chip, size=0x8000))
    make_chip(folder, model)
    with served(folder, "chip") as (one,):
        found = Scene(one, chip)
        lines = security_lines(mode, scheme=found.scheme)
        layout = replace(LAYOUT, bootloader_offset=chip.bootloader_offset).lines()
        (folder / "bootloader.conf").write_text(
            conf_text(layout, signing_lines("ecdsa-p256"), [line for line in lines if wanted(line)])
        )
        yield found


def sign_bootloader(here: Scene) -> None:
    scheme = "" if here.scheme == "rsa" else " --scheme ecdsa256"
    here.run(f"espsecure.py generate_signing_key --version 2{scheme} sb_key.pem")
    here.run("espsecure.py sign_data --version 2 --keyfile sb_key.pem -o signed_bootloader.bin bootloader.bin")


def sign_application(here: Scene, align: str = "--align 32 --max-align 32") -> None:
    here.run(
        f"imgtool sign -k app_key.pem --pad --pad-sig {align} -v 0 -H 32 --pad-header"
        f" -S {LAYOUT.slot_size:#x} app.bin signed_app.bin"
    )


def first_boot(here: Scene) -> dict[str, object]:
    return here.boot("--conf", "bootloader.conf", "--key", "app_public.pem")


def secure_boot_only(line: str) -> bool:
    return line.startswith(SECURE_BOOT)


def encryption_only(line: str) -> bool:
    return line.startswith(FLASH_ENCRYPTION)


def everything(line: str) -> bool:
    return True


@pytest.mark.parametrize("model", every_chip(first="esp32c3"))
def test_secure_boot(tmp_path: Path, model: str) -> None:
    with scene(tmp_path, model, secure_boot_only) as here:
        sign_bootloader(here)
        sign_application(here, "--align 4")
        here.flash(here.chip.bootloader_offset, "signed_bootloader.bin")
        here.flash(LAYOUT.primary, "signed_app.bin")
        assert not here.burned(here.chip.secure_boot.enable_field)
        first = first_boot(here)
        assert (first["verdict"], first["outcome"]) == ("pass", "app"), first
        assert here.burned(here.chip.secure_boot.enable_field)
        assert here.boot()["outcome"] == "app"
        (here.folder / "other.bin").write_bytes(make_bootloader_image(here.chip.chip_id, size=0x6000, seed=b"other"))
        here.flash(here.chip.bootloader_offset, "other.bin")
        unsigned = here.boot()
        assert unsigned["outcome"] == "rom-refused"
        assert "secure boot verification failed" in str(unsigned["console"])


@pytest.mark.parametrize("model", every_chip(first="esp32c3"))
def test_flash_encryption_with_a_key_of_the_devices_own(tmp_path: Path, model: str) -> None:
    with scene(tmp_path, model, encryption_only) as here:
        here.run(f"esptool.py -p {here.served.port} erase_flash")
        sign_application(here)
        here.flash(here.chip.bootloader_offset, "bootloader.bin")
        here.flash(LAYOUT.primary, "signed_app.bin")
        plain = (here.folder / "signed_app.bin").read_bytes()
        first = first_boot(here)
        assert (first["verdict"], first["outcome"], first["reboots"]) == ("pass", "app", 1), first
        assert here.burned(here.chip.flash_encryption.counter_field)
        assert here.raw_flash[LAYOUT.primary :][:0x1000] != plain[:0x1000]
        assert here.boot()["outcome"] == "app"


@pytest.mark.parametrize("model", every_chip(first="esp32"))
def test_flash_encryption_with_a_key_of_the_hosts(tmp_path: Path, model: str) -> None:
    with scene(tmp_path, model, encryption_only) as here:
        here.run(f"esptool.py -p {here.served.port} erase_flash")
        here.run("espsecure.py generate_flash_encryption_key key.bin")
        block = "flash_encryption key.bin" if model == "esp32" else "BLOCK_KEY0 key.bin XTS_AES_128_KEY"
        here.run(f"espefuse.py --port {here.served.port} burn_key {block}")
        sign_application(here)
        here.flash(here.chip.bootloader_offset, "bootloader.bin")
        here.flash(LAYOUT.primary, "signed_app.bin")
        first = first_boot(here)
        assert (first["verdict"], first["outcome"]) == ("pass", "app"), first
        xts = "" if model == "esp32" else "--aes_xts "
        here.run(
            f"espsecure.py encrypt_flash_data {xts}--keyfile key.bin --address {LAYOUT.primary:#x}"
            " --output cipher.bin signed_app.bin"
        )
        cipher = (here.folder / "cipher.bin").read_bytes()
        assert here.raw_flash[LAYOUT.primary :][: len(cipher)] == cipher
        here.flash(LAYOUT.primary, "cipher.bin")
        assert here.boot()["outcome"] == "app"


#: not the C2: its port encrypts before it burns the keys that it stages together (tests/sim/test_secure_features.py)
@pytest.mark.parametrize("model", [name for name in every_chip(first="esp32s2") if name != "esp32c2"])
def test_the_whole_chain_in_release_mode_ends_closed(tmp_path: Path, model: str) -> None:
    with scene(tmp_path, model, everything, mode=Mode.RELEASE) as here:
        sign_bootloader(here)
        sign_application(here)
        here.run(f"esptool.py -p {here.served.port} erase_flash")
        here.flash(here.chip.bootloader_offset, "signed_bootloader.bin")
        here.flash(LAYOUT.primary, "signed_app.bin")
        first = first_boot(here)
        assert (first["verdict"], first["outcome"]) == ("pass", "app"), first
        assert here.burned(here.chip.secure_boot.enable_field)
        assert here.burned(here.chip.flash_encryption.counter_field)
        assert here.burned(here.chip.flash_encryption.manual_encrypt_field)
        assert here.boot()["outcome"] == "app"
        refused = here.served.esptool("write-flash", f"{LAYOUT.primary:#x}", "signed_app.bin")
        assert refused.code == 2
        assert "Data must be encrypted appropriately" in " ".join((refused.out + refused.err).split())
