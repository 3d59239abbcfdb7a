"""A board on a desk, the host beside it, and what ESP-IDF's workflow page says of the chip on the board."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.idf_scene import WHOLE, app
from tests.support.peers import peer_path, run_bootwright
from tests.support.virtual import ServedChip, make_chip, served

from bootwright.chips.chip import Chip, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.sim.chip_file import peek_chip_file

SDKCONFIG = """CONFIG_IDF_TARGET="{chip}"
CONFIG_PARTITION_TABLE_OFFSET=0x8000
CONFIG_SECURE_SIGNED_ON_BOOT=y
CONFIG_SECURE_SIGNED_APPS_{scheme}_SCHEME=y
CONFIG_SECURE_BOOT=y
CONFIG_SECURE_BOOT_V2_ENABLED=y
CONFIG_SECURE_FLASH_ENC_ENABLED=y
CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE=y
"""
_EVERYWHERE = ("DIS_DIRECT_BOOT", "DIS_USB_JTAG", "DIS_PAD_JTAG", "DIS_DOWNLOAD_MANUAL_ENCRYPT")
#: step 5 of "Enable Flash Encryption Externally", as the page is rendered for each chip (its soc_caps.h decides)
ENCRYPTION_FIELDS: dict[str, tuple[str, ...]] = {
    "esp32": ("DISABLE_DL_ENCRYPT", "DISABLE_DL_DECRYPT", "DISABLE_DL_CACHE", "JTAG_DISABLE"),
    "esp32s2": (
        *("DIS_BOOT_REMAP", "DIS_DOWNLOAD_ICACHE", "DIS_DOWNLOAD_DCACHE"),
        *("HARD_DIS_JTAG", "DIS_LEGACY_SPI_BOOT", "DIS_DOWNLOAD_MANUAL_ENCRYPT"),
    ),
    "esp32s3": (
        *("DIS_DOWNLOAD_ICACHE", "DIS_DOWNLOAD_DCACHE", "HARD_DIS_JTAG"),
        *("DIS_DIRECT_BOOT", "DIS_USB_JTAG", "DIS_DOWNLOAD_MANUAL_ENCRYPT"),
    ),
    "esp32c2": ("DIS_DOWNLOAD_ICACHE", "DIS_DIRECT_BOOT", "DIS_PAD_JTAG", "DIS_DOWNLOAD_MANUAL_ENCRYPT"),
    "esp32c3": ("DIS_DOWNLOAD_ICACHE", *_EVERYWHERE),
    "esp32c6": ("DIS_DOWNLOAD_ICACHE", *_EVERYWHERE),
    "esp32c5": (*_EVERYWHERE, "XTS_DPA_PSEUDO_LEVEL"),
    "esp32c61": (*_EVERYWHERE, "XTS_DPA_PSEUDO_LEVEL"),
    "esp32h2": (*_EVERYWHERE, "XTS_DPA_PSEUDO_LEVEL"),
    "esp32p4": (*_EVERYWHERE, "DIS_DOWNLOAD_MSPI", "XTS_DPA_PSEUDO_LEVEL"),
}
_SIGNED = ("SOFT_DIS_JTAG", "DIS_DIRECT_BOOT", "DIS_USB_JTAG", "DIS_PAD_JTAG", "SECURE_BOOT_AGGRESSIVE_REVOKE")
#: step 5 of "Enable Secure Boot v2 Externally"
SECURE_BOOT_FIELDS: dict[str, tuple[str, ...]] = {
    "esp32": ("JTAG_DISABLE",),
    "esp32s2": (
        *("DIS_BOOT_REMAP", "HARD_DIS_JTAG", "SOFT_DIS_JTAG"),
        *("DIS_LEGACY_SPI_BOOT", "SECURE_BOOT_AGGRESSIVE_REVOKE"),
    ),
    "esp32s3": (
        *("HARD_DIS_JTAG", "SOFT_DIS_JTAG", "DIS_DIRECT_BOOT"),
        *("DIS_USB_JTAG", "SECURE_BOOT_AGGRESSIVE_REVOKE"),
    ),
    "esp32c2": ("DIS_DIRECT_BOOT", "DIS_PAD_JTAG"),
    "esp32c3": _SIGNED,
    "esp32c6": _SIGNED,
    "esp32c5": (*_SIGNED, "WR_DIS_SECURE_BOOT_SHA384_EN"),
    "esp32c61": _SIGNED[1:],
    "esp32h2": (*_SIGNED, "WR_DIS_ECDSA_CURVE_MODE"),
    "esp32p4": _SIGNED,  # the page adds WR_DIS_SECURE_BOOT_SHA384_EN, but no bit of this chip protects that eFuse
}
#: names of the page that are not the eFuse's own
OWN_NAMES = {"DIS_DOWNLOAD_MSPI": "SPI_DOWNLOAD_MSPI_DIS", "HARD_DIS_JTAG": "DIS_PAD_JTAG"}


@dataclass(frozen=True, slots=True)
class Desk:
    """A board and the page's commands for it."""

    served: ServedChip
    chip: Chip
    scheme: str  #: as espsecure calls it: rsa3072, ecdsa256, ecdsa384

    @property
    def folder(self) -> Path:
        return self.served.directory

    def run(self, line: str) -> str:
        """A line of the page through our drop-ins, its port filled in; a question is answered as the tool asks."""
        ran = run_bootwright(*self._words(line), stdin="BURN\n", cwd=self.folder)
        assert ran.code == 0, f"{line}\n{ran.out}{ran.err}"
        return ran.out + ran.err

    def refused(self, line: str) -> str:
        """A line that the page prints and silicon does not take any more."""
        ran = run_bootwright(*self._words(line), stdin="BURN\n", cwd=self.folder)
        assert ran.code != 0, f"{line}\n{ran.out}{ran.err}"
        return ran.out + ran.err

    def shell(self, *words: str) -> None:
        """A line of the page for the shell."""
        subprocess.run(words, cwd=self.folder, check=True)

    def _words(self, line: str) -> list[str]:
        for name in ("$ESPPORT", "PORT"):
            line = line.replace(f" {name} ", f" {self.served.port} ")
        return line.split()

    def burn(self, names: Sequence[str]) -> None:
        """The page's `EFUSE_NAME 0x1`, several at a time as it says."""
        self.run("espefuse burn-efuse --port PORT " + " ".join(f"{name} 0x1" for name in names))

    @property
    def efuses(self) -> Efuses:
        return peek_chip_file(self.folder / "chip.chip")[0].efuses

    @property
    def flash(self) -> bytes:
        return peek_chip_file(self.folder / "chip.chip")[1]

    def burned(self, name: str) -> bool:
        own = name if self.chip.has_field(name, revision=self.efuses.revision) else OWN_NAMES.get(name, name)
        return self.efuses.is_set(own)

    def boot(self, *options: str) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.served.switch("boot", *options, "--json").out)
        return answer


@contextmanager
def desk(folder: Path, model: str, *, scheme: str = "rsa3072") -> Iterator[Desk]:
    """The board with a new chip; the project is built, unsigned and in plaintext."""
    peer_path("espefuse")
    chip = load_chip(model)
    build = folder / "build"
    for name, data in {
        "bootloader/bootloader.bin": make_bootloader_image(chip.chip_id, size=0x5000),
        "partition_table/partition-table.bin": WHOLE.pack(),
        "my-app.bin": app("1.2.3", chip=model),
    }.items():
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_bytes(data)
    (folder / "sdkconfig").write_text(SDKCONFIG.format(chip=model, scheme="RSA" if scheme == "rsa3072" else "ECDSA_V2"))
    make_chip(folder, model)
    with served(folder, "chip") as (one,):
        yield Desk(one, chip, scheme)
