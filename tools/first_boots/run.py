"""Play random first boots on the real C code and on the model, and show where they differ.

    python tools/first_boots/run.py IDF MCUBOOT [--chips esp32,esp32c2] [--builds 40] [--cases 40] [--seed 1]

IDF and MCUBOOT are clones (work trees or bare) of espressif/esp-idf and mcu-tools/mcuboot. What decides over eFuses is
compiled natively from them, unchanged but for pointer sizes: the port's main.c, secure_boot.c and flash_encrypt.c,
ESP-IDF's eFuse component with each chip's tables, the features that each chip closes, and the choice of trusted keys.
`board.c` is the chip around it, which obeys WR_DIS and RD_DIS. Images, signatures and the choice of the application are
given, not computed. Compared are every program command (block and data), every flash operation, the end, and all
eFuses. Needs gcc on a 64-bit x86 or ARM; nothing of the sources stays.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from cases import LAYOUT, VIRTUAL_OFFSET, Case, case_of, key_type_of, options_of

from bootwright.boot.outcome import NoImage
from bootwright.chips.chip import CHIP_NAMES, load_chip
from bootwright.chips.efuses import Efuses
from bootwright.chips.ownership import freezes, hides
from bootwright.errors import BootwrightError
from bootwright.flash import Area, Erase, FlashOp, NorFlash, Write
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.esp_image import make_bootloader_image
from bootwright.formats.esp_secure_boot import sign_v2
from bootwright.formats.esp_signature_block import key_digest_v2
from bootwright.formats.keys import KeyType, PrivateKey, generate_key
from bootwright.sim import first_boot
from bootwright.sim.board import BurnEfuse
from bootwright.sim.encrypted_flash import EncryptedFlash, is_encryption_on
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.machine import Machine, _Powered
from bootwright.sim.rom_boot import Cause

HERE = Path(__file__).resolve().parent
IDF_COMMIT, MCUBOOT_COMMIT = "v6.0", "2d4bacc3"
COMPONENTS = ("efuse", "bootloader_support", "soc", "hal", "esp_common", "esp_rom", "esp_hal_security")
IMAGE_LENGTH, FLASH_SIZE = 0x5010, 4 << 20
#: headers whose place board.h takes: MCUboot's, and ESP-IDF's that need the rest of ESP-IDF
LEFT_OUT = """
    bootutil/bootutil.h bootutil/image.h bootutil/bootutil_log.h bootutil/fault_injection_hardening.h
    bootloader_init.h bootloader_random.h bootloader_soc.h esp_loader.h bootloader_sha.h esp_mcuboot_image.h
    bootloader_utility.h bootloader_flash_priv.h esp_rom_sys.h esp_types.h esp_rom_efuse.h esp_rom_crc.h esp_check.h
    esp_crypto_periph_clk.h esp_key_mgr.h esp_private/esp_clk.h os/os_malloc.h hal/wdt_hal.h hal/key_mgr_hal.h
    hal/key_mgr_ll.h hal/mspi_ll.h hal/spi_flash_encrypted_ll.h hal/ecdsa_ll.h rom/efuse.h esp_attr.h esp_assert.h
    esp_fault.h esp_log.h
"""
#: the same code with pointers of 64 bits
WIDER = (
    (r"uintptr_t\* ([wr])_data = \(uintptr_t\*\)", r"uint32_t* \1_data = (uint32_t*)(uintptr_t)"),
    (r"\(uint32_t\) *&write_mass", r"(uintptr_t)&write_mass"),
    (r'"../bootloader_flash/include/bootloader_flash_priv.h"', '"board.h"'),
)
KEY_API = {
    "field": "with_key_purposes",
    "position": "without_key_purposes/three_key_blocks",
    "halves": "without_key_purposes/one_key_block",
}


@dataclass(frozen=True)
class Sources:
    """The real code, unpacked into a folder that is thrown away."""

    folder: Path

    @classmethod
    def unpack(cls, idf: Path, mcuboot: Path, folder: Path) -> Sources:
        """Take what is needed of both repositories, at the commits that the model follows."""
        for repository, commit, paths in (
            (idf, IDF_COMMIT, [f"components/{name}" for name in COMPONENTS]),
            (mcuboot, MCUBOOT_COMMIT, ["boot/espressif"]),
        ):
            packed = folder / "packed.tar"
            subprocess.run(["git", "-C", repository, "archive", "-o", packed, commit, *paths], check=True)
            subprocess.run(["tar", "-xf", packed, "-C", folder], check=True)
            packed.unlink()
        for name in LEFT_OUT.split():
            path = folder / "headers" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('#pragma once\n#include "board.h"\n')
        (folder / "headers/hal/assert.h").write_text("#include <assert.h>\n#define HAL_ASSERT assert\n")
        return cls(folder)

    def build(self, chip_name: str, options: Mapping[str, str]) -> Path:
        """The port for a chip with these options, as a program of this computer."""
        chip, made = load_chip(chip_name), self.folder / chip_name
        made.mkdir(exist_ok=True)
        files = []
        for number, source in enumerate(self._files(chip_name, options)):
            text = source.read_text()
            for found, instead in WIDER:
                text = re.sub(found, instead, text)
            files.append(made / f"{number}_{source.name}")
            files[-1].write_text(text)
        base = chip.efuse.base
        symbols = {"EFUSE": base, "EFUSE0": base, "_loader_bss_start": 0x1000, "_loader_bss_end": 0x1000}
        program = made / "port"
        command = ["gcc", "-w", "-O0", "-fno-pie", "-no-pie", "-std=gnu17", "-Dmain=port_main", "-DBOOTLOADER_BUILD=1"]
        command += [f"-D{name}={value}" for name, value in options.items()]
        command += [f"-I{path}" for path in self._include(chip_name)]
        command += [f"-Wl,--defsym={name}={value:#x}" for name, value in symbols.items()]
        subprocess.run([*command, *files, HERE / "board.c", HERE / "rom.c", "-o", program], check=True)
        return program

    def _files(self, chip: str, options: Mapping[str, str]) -> Iterator[Path]:
        efuse, support = self.folder / "components/efuse", self.folder / "components/bootloader_support/src"
        port = self.folder / "boot/espressif"
        yield from (efuse / "src" / f"esp_efuse_{part}.c" for part in ("api", "fields", "utility"))
        yield from (efuse / chip / f"esp_efuse_{part}.c" for part in ("fields", "utility", "table"))
        yield efuse / "src/efuse_controller/keys" / KEY_API[load_chip(chip).keys.purpose_by] / "esp_efuse_api_key.c"
        if chip == "esp32h2":
            yield efuse / chip / "esp_efuse_table_v0.0_v1.1.c"  # as the port's CMake file does
        yield port / "main.c"
        if "CONFIG_SECURE_BOOT" in options:
            yield port / "hal/src/secure_boot.c"
            yield support / "secure_boot_v2/secure_boot_signatures_bootloader.c"
            yield support / chip / "secure_boot_secure_features.c"
        if "CONFIG_SECURE_FLASH_ENC_ENABLED" in options:
            yield port / "hal/src/flash_encrypt.c"
            yield support / chip / "flash_encryption_secure_features.c"

    def _include(self, chip: str) -> Iterator[Path]:
        yield HERE
        yield self.folder / "headers"
        yield self.folder / "boot/espressif/hal/include" / chip
        parts = f"""efuse/include efuse/private_include efuse/{chip}/include efuse/{chip}/private_include
            esp_common/include soc/include soc/{chip}/include soc/{chip}/register soc/{chip}/register/hw_ver3
            hal/platform_port/include hal/include hal/{chip}/include bootloader_support/include
            bootloader_support/private_include bootloader_support/src/secure_boot_v2 esp_rom/include
            esp_rom/{chip}/include esp_rom/{chip}/include/{chip} esp_rom/{chip}/include/{chip}/rom
            esp_hal_security/include esp_hal_security/{chip}/include"""
        yield from (self.folder / "components" / part for part in parts.split())


def play_real(program: Path, case: Case, digests: Sequence[bytes], key_type: KeyType) -> list[str]:
    """What the compiled code does."""
    chip = case.chip
    lines = [f"block {number} {data.hex()}" for number, data in case.blocks.items()]
    for name, regions in (("freezes", freezes), ("hides", hides)):
        for block in chip.blocks:
            for bit, mask in regions(chip, case.revision, block.number):
                words = " ".join(f"{mask >> 32 * word & 0xFFFFFFFF:x}" for word in range(8))
                lines.append(f"{name} {block.number} {bit} {words}")
    lines += [f"digest {digest.hex()}" for digest in digests]
    numbers = {
        "app_ok": case.app_ok,
        "image_ok": case.image_ok,
        "image_length": IMAGE_LENGTH,
        "primary_plain": case.primary_plain,
        "revision": case.revision,
        "rd_dis_bit": chip.field("RD_DIS").bit,
        "flash_size": FLASH_SIZE,
        "curve": 1 if key_type is KeyType.ECDSA_P192 else 2,
    }
    lines += [f"{name} {int(value)}" for name, value in numbers.items()]
    done = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


class Port(McubootPort):
    """The model of the port, with an application that is given and not looked for."""

    __slots__ = ()
    app_ok = True

    def _boot_go(self, run):
        if not Port.app_ok:
            return self._no_image(run, NoImage(why=()))
        return _Found()
        yield


@dataclass(frozen=True)
class _Found:
    version: str = "1.0.0"
    image_offset: int = 0x20000


def play_model(case: Case, options: Mapping[str, str], signers: Sequence[PrivateKey]) -> list[str]:
    """What the model does.

    Raises:
        NotModelledError: a state that the model does not know, and says so.
    """
    chip, flash = case.chip, NorFlash(FLASH_SIZE)
    image = bytearray(make_bootloader_image(chip.chip_id, size=IMAGE_LENGTH))
    image[0x100] ^= not case.image_ok
    image = image.ljust(-(-len(image) // 4096) * 4096, b"\xff")
    flash.load(chip.bootloader_offset, signed := sign_v2(bytes(image), signers) if signers else bytes(image))
    if case.primary_plain:
        flash.load(0x20020, (0xACE637D3).to_bytes(4, "little"))
    efuses = Efuses.holding(chip, case.blocks, revision=case.revision)
    if is_encryption_on(efuses):
        area = Area("bootloader", chip.bootloader_offset, len(signed))
        flash.load(area.address, b"\xff" * area.size)
        EncryptedFlash.at_reset(flash, efuses).apply(Write(area.address, signed, encrypted=True))
    counter = itertools.count(1)
    machine = Machine(
        chip, flash=flash, efuses=efuses, entropy=lambda length: bytes(next(counter) & 255 for _ in range(length))
    )
    Port.app_ok = case.app_ok
    conf = BootloaderConf.parse("\n".join(f"{name}={value}" for name, value in options.items()))
    powered = _Recorded(machine, None, Cause.POWER_ON)
    ended = powered._drive(Port(conf=conf).run(powered))
    powered.lines.append(f"END {ended.outcome}")
    final = [(block.number, machine.efuses.bits[block.number].to_bytes(block.size, "little")) for block in chip.blocks]
    return [*powered.lines, *(f"F {number} {data.hex()}" for number, data in final)]


class _Recorded(_Powered):
    """A machine that writes down what is done to it as board.c does."""

    def __init__(self, machine: Machine, cut: None, cause: Cause) -> None:
        super().__init__(machine, cut, cause)
        self.lines: list[str] = []

    def _burn(self, step: BurnEfuse) -> None:
        self.lines.append(f"P {step.block} {step.data.hex()}")
        super()._burn(step)

    def _change(self, op: FlashOp) -> None:
        if isinstance(op, Erase):
            self.lines.append(f"E {op.address:x} {op.length:x}")
        elif op.address == VIRTUAL_OFFSET:
            self.lines.append(f"V 0 {op.data.hex()}")
        else:
            self.lines.append(f"{'WE' if op.encrypted else 'W'} {op.address:x} {len(op.data):x}")
        super()._change(op)


@cache
def signer_of(key_type: KeyType, number: int) -> PrivateKey:
    """One key for each number, made once."""
    return generate_key(key_type)


def main() -> int:
    """Play and compare; exit 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("idf", type=Path)
    parser.add_argument("mcuboot", type=Path)
    parser.add_argument("--chips", default=",".join(CHIP_NAMES))
    parser.add_argument("--builds", type=int, default=40)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    first_boot.start_application = lambda run, booted: None  # the loader burns nothing
    chips = asked.chips.split(",")
    same = different = unknown = 0
    with tempfile.TemporaryDirectory(prefix="first-boots-") as folder:
        sources = Sources.unpack(asked.idf, asked.mcuboot, Path(folder))
        for number in range(asked.builds):
            chip, r = load_chip(chips[number % len(chips)]), Random(asked.seed + number)
            options = options_of(r, chip)
            key_type = key_type_of(r, chip, options)
            program = sources.build(chip.name, options)
            signers = [signer_of(key_type, index) for index in range(3)]
            digests = [key_digest_v2(signer.public) for signer in signers]
            for _ in range(asked.cases):
                case = case_of(r, chip, options, digests)
                try:
                    model = play_model(case, options, signers[: case.signatures])
                except BootwrightError:
                    unknown += 1
                    continue
                real = play_real(program, case, digests[: case.signatures], key_type)
                same, different = same + (model == real), different + (model != real)
                if model != real:
                    chosen = [f"{name}={value}" for name, value in options.items() if name not in LAYOUT]
                    print(case, *chosen, {n: data.hex() for n, data in case.blocks.items() if any(data)}, sep="\n  ")
                    print(*difflib.unified_diff(real, model, "the code", "the model", lineterm="", n=0), sep="\n")
    print(f"{same} first boots alike, {different} not, {unknown} not modelled; seed {asked.seed}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
