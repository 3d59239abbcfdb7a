"""Write `src/bootwright/chips/data` from an ESP-IDF checkout.

    python tools/generate_chips.py ~/esp/esp-idf            # a work tree or a bare git directory
    python tools/generate_chips.py ~/esp/esp-idf --check    # exit 1 when the committed tables differ

A chip becomes two files: `<chip>.toml` (traits, eFuse blocks, registers, key purposes) and `<chip>.efuse.csv` (one
row a field). Facts come from ESP-IDF (Apache-2.0), the commit is named in each file; what ESP-IDF does not say in a
form that can be read by a program stands in `BY_HAND` below, with its source.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import io
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "src" / "bootwright" / "chips" / "data"
CHIPS = (
    "esp32", "esp32s2", "esp32s3", "esp32c2", "esp32c3", "esp32c5", "esp32c6", "esp32c61", "esp32h2", "esp32p4",
)  # fmt: skip

#: Tables of other silicon revisions: chip → (file, revisions of the main table, revisions of this one).
OTHER_TABLES = {
    "esp32h2": ("esp_efuse_table_v0.0_v1.1.csv", "", "-101"),
    "esp32p4": ("esp_efuse_table_v3.0.csv", "-299", "300-"),
}

#: What no ESP-IDF table says. Revision: the one a virtual chip gets unless told otherwise (major * 100 + minor).
BY_HAND: dict[str, dict[str, object]] = {
    # UART_DOWNLOAD_DIS and ABS_DONE_1 work from ECO3 on: components/efuse/Kconfig, docs/en/security/secure-boot-v2.rst.
    "esp32": {"title": "ESP32", "default_revision": 301},
    "esp32s2": {"title": "ESP32-S2", "default_revision": 100},
    "esp32s3": {"title": "ESP32-S3", "default_revision": 2},
    "esp32c2": {"title": "ESP32-C2", "default_revision": 200},
    "esp32c3": {"title": "ESP32-C3", "default_revision": 4},
    "esp32c5": {"title": "ESP32-C5", "default_revision": 100},
    "esp32c6": {"title": "ESP32-C6", "default_revision": 2},
    "esp32c61": {"title": "ESP32-C61", "default_revision": 100},
    "esp32h2": {"title": "ESP32-H2", "default_revision": 102},
    "esp32p4": {"title": "ESP32-P4", "default_revision": 301},
}

#: What the ROM prints first, and the public log in which it was seen ("" where none was found).
ROM_BANNERS: dict[str, tuple[list[str], str]] = {
    "esp32": (["ets Jul 29 2019 12:21:46"], "espruino/Espruino#2370"),
    "esp32s2": (["ESP-ROM:esp32s2-rc4-20191025", "Build:Oct 25 2019"], ""),
    "esp32s3": (["ESP-ROM:esp32s3-20210327", "Build:Mar 27 2021"], "espressif/esp-idf#15959"),
    "esp32c2": (["ESP-ROM:esp8684-api2-20220127", "Build:Jan 27 2022"], "wildekek/rdtech-esphome#10"),
    "esp32c3": (["ESP-ROM:esp32c3-api1-20210207", "Build:Feb  7 2021"], "mcu-tools/mcuboot#2221"),
    "esp32c5": (["ESP-ROM:esp32c5-eco2-20250121", "Build:Jan 21 2025"], "espressif/esp-idf#18299"),
    "esp32c6": (["ESP-ROM:esp32c6-20220919", "Build:Sep 19 2022"], "adafruit/circuitpython#10994"),
    "esp32c61": (["ESP-ROM:esp32c61"], ""),
    "esp32h2": (["ESP-ROM:esp32h2-20221101", "Build:Nov  1 2022"], ""),
    "esp32p4": (["ESP-ROM:esp32p4-eco5-20250430", "Build:Apr 30 2025"], "wokwi/wokwi-features#1067"),
}

#: How the ROM of silicon before a revision differs: the revision, its first lines, the public log.
OLDER_ROM = {"esp32": {"before": 300, "banner": ["ets Jun  8 2016 00:22:57"], "seen": "espressif/esp-idf#4589"}}

#: The strapping word of a boot from flash, and how the ROM names resets: [words, public log].
RTC = {"power_on": ["0x1 (POWERON)", ""], "software": ["0x3 (RTC_SW_SYS_RST)", ""]}
LP = {"power_on": ["0x1 (POWERON)", ""], "software": ["0x3 (LP_SW_HPSYS)", ""]}
ROM_RESETS: dict[str, tuple[int, dict[str, list[str]]]] = {
    "esp32": (
        0x13,
        {
            "power_on": ["0x1 (POWERON_RESET)", "schmurtzm/MrDiy-Audio-Notifier#28"],
            "software": ["0x3 (SW_RESET)", "sidddy/flora#14"],
            "watchdog": ["0x10 (RTCWDT_RTC_RESET)", "schmurtzm/MrDiy-Audio-Notifier#28"],
        },
    ),
    "esp32s2": (0x8, RTC | {"watchdog": ["0x7 (TG0WDT_SYS_RST)", ""]}),
    "esp32s3": (0x8, RTC | {"watchdog": ["0x7 (TG0WDT_SYS_RST)", "espressif/esp-idf#12281"]}),
    "esp32c2": (0xC, RTC | {"watchdog": ["0x7 (TG0WDT_SYS_RST)", ""]}),
    "esp32c3": (
        0xC,
        {
            "power_on": ["0x1 (POWERON)", "apache/nuttx#10089"],
            "software": ["0x3 (RTC_SW_SYS_RST)", "espressif/esp-idf#10247"],
            "watchdog": ["0x7 (TG0WDT_SYS_RST)", "esphome/issues#2420"],
        },
    ),
    "esp32c5": (0x18, LP | {"watchdog": ["0x7 (TG0_WDT_HPSYS)", "martin-ger/esp32_nat_router#225"]}),
    "esp32c6": (
        0x8,
        LP | {"power_on": ["0x1 (POWERON)", "adafruit/circuitpython#10994"], "watchdog": ["0x7 (TG0_WDT_HPSYS)", ""]},
    ),
    "esp32c61": (0x8, LP | {"watchdog": ["0x7 (TG0_WDT_HPSYS)", ""]}),
    "esp32h2": (0x8, LP | {"watchdog": ["0x7 (TG0_WDT_HPSYS)", ""]}),
    "esp32p4": (
        0x30F,
        {
            "power_on": ["0x1 (POWERON)", "espressif/esp-idf#14979"],
            "software": ["0x3 (SW_SYS_RESET)", ""],
            "watchdog": ["0x7 (HP_SYS_HP_WDT_RESET)", "espressif/esp-idf#18294"],
        },
    ),
}

#: Fields whose bits every revision has, and from which revision on the silicon heeds them.
HEEDED_SINCE = {
    # components/bootloader_support/src/esp32/secure_boot.c, components/efuse/esp32/esp_efuse_fields.c: ECO3.
    "esp32": {"UART_DOWNLOAD_DIS": 300, "ABS_DONE_1": 300},
    # components/hal/esp32h2/include/hal, soc_caps.h: v1.2.
    "esp32h2": {"ECDSA_CURVE_MODE": 102, "ECC_FORCE_CONST_TIME": 102, "XTS_DPA_PSEUDO_LEVEL": 102},
}

#: What ESP-IDF's release checks ask of a chip: `SOC_EFUSE_…` capability → field
#: (components/bootloader_support/src/flash_encrypt.c, secure_boot.c: `…_cfg_verify_release_mode`).
RELEASE_CAPS = {
    "DIS_DOWNLOAD_ICACHE": "DIS_DOWNLOAD_ICACHE",
    "DIS_DOWNLOAD_DCACHE": "DIS_DOWNLOAD_DCACHE",
    "DIS_DOWNLOAD_MSPI": "SPI_DOWNLOAD_MSPI_DIS",
    "DIS_BOOT_REMAP": "DIS_BOOT_REMAP",
    "DIS_LEGACY_SPI_BOOT": "DIS_LEGACY_SPI_BOOT",
    "DIS_DIRECT_BOOT": "DIS_DIRECT_BOOT",
    "HARD_DIS_JTAG": "HARD_DIS_JTAG",
    "DIS_PAD_JTAG": "DIS_PAD_JTAG",
    "DIS_USB_JTAG": "DIS_USB_JTAG",
    "SOFT_DIS_JTAG": "SOFT_DIS_JTAG",
    "DIS_ICACHE": "DIS_ICACHE",
}
RELEASE_ESP32 = (
    "DISABLE_DL_ENCRYPT", "DISABLE_DL_DECRYPT", "DISABLE_DL_CACHE",
    "JTAG_DISABLE", "CONSOLE_DEBUG_DISABLE", "DIS_CACHE",
)  # fmt: skip

#: WR_DIS and RD_DIS rows whose target the table itself has under no name: target → block.
WR_TARGETS = {"BLK1": 1, "SYS_DATA_PART1": 2, "BLOCK3": 3, "BLOCK_SYS_DATA2": 10}


class Idf:
    """Reads files of one commit of an ESP-IDF checkout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commit = self._git("rev-parse", "HEAD").strip()

    def read(self, name: str) -> str:
        """The text of a file at that commit."""
        return self._git("show", f"{self.commit}:{name}")

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(self.path), *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{self.path}: git {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


@dataclass(frozen=True)
class Row:
    """A field as the table has it: segments are (bit, width), the first holds the value's lowest bits."""

    name: str
    block: int
    segments: tuple[tuple[int, int], ...]
    aliases: tuple[str, ...]
    values: str
    revisions: str = ""
    write_disable: int | None = None
    read_disable: int | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two rows of two tables the same field."""
        return (self.name, self.block, self.segments, self.values, self.write_disable, self.read_disable)


def parse_table(text: str) -> list[Row]:
    """The rows of an `esp_efuse_table.csv`."""
    rows: list[Row] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, block, bit, width, comment = (part.strip() for part in line.split(",", 4))
        segment = (int(bit), 256 if width == "MAX_BLK_LEN" else int(width))
        if not name:
            rows[-1] = replace(rows[-1], segments=(*rows[-1].segments, segment))
            continue
        marks = re.match(r"\[([^]]*)\]", comment)
        aliases = tuple(a for a in marks.group(1).split() if a != name) if marks else ()
        known = re.search(r"\{(.*)\}", comment)
        pairs = re.findall(r'(\d+): "([^"]*)"', known.group(1)) if known else []
        values = "; ".join(f"{number}={word.replace(';', ',')}" for number, word in pairs)
        rows.append(Row(name, int(block.removeprefix("EFUSE_BLK")), (segment,), aliases, values))
    return rows


def read_rows(idf: Idf, chip: str) -> list[Row]:
    """All fields of a chip over its revisions, with their protection bits."""
    folder = f"components/efuse/{chip}"
    rows = parse_table(idf.read(f"{folder}/esp_efuse_table.csv"))
    if chip in OTHER_TABLES:
        name, mine, theirs = OTHER_TABLES[chip]
        other = parse_table(idf.read(f"{folder}/{name}"))
        if mine:
            rows = merge(protections(rows), protections(other), mine, theirs)
        else:  # a handful of rows on top of the main table
            more = [replace(row, name=re.sub(r"^WR_DIS_", "WR_DIS.", row.name), revisions=theirs) for row in other]
            rows = protections(rows + more)
        return rows
    return protections(rows)


def merge(old: list[Row], new: list[Row], old_revisions: str, new_revisions: str) -> list[Row]:
    """Two tables in one, both orders kept; rows of one table only carry their revisions."""
    matcher = difflib.SequenceMatcher(a=[row.key for row in old], b=[row.key for row in new], autojunk=False)
    merged: list[Row] = []
    for what, a, b, c, d in matcher.get_opcodes():
        if what == "equal":
            merged += new[c:d]
        else:
            merged += [replace(row, revisions=old_revisions) for row in old[a:b]]
            merged += [replace(row, revisions=new_revisions) for row in new[c:d]]
    return merged


def protections(rows: list[Row]) -> list[Row]:
    """Give each field the bits of WR_DIS and RD_DIS that freeze and hide it; raises on a contradiction."""
    by_name: dict[str, list[str]] = {}
    for row in rows:
        for name in (row.name, *row.aliases):
            by_name.setdefault(name, []).append(row.name)
    start = {row.name: row.segments[0][0] for row in rows if row.name in ("WR_DIS", "RD_DIS")}
    found: dict[str, dict[str, set[int]]] = {"WR_DIS": {}, "RD_DIS": {}}
    for row in rows:
        register, _, target = row.name.partition(".")
        if not target or register not in found or len(row.segments) != 1 or row.segments[0][1] != 1:
            continue
        others = [alias.partition(".")[2] for alias in row.aliases]
        for candidate in (target, *others, target.removesuffix("_H"), re.sub("_(LO|HI)$", "", target)):
            for name in by_name.get(candidate, ()):
                found[register].setdefault(name, set()).add(row.segments[0][0] - start[register])
    result: list[Row] = []
    for row in rows:
        wr, rd = found["WR_DIS"].get(row.name, set()), found["RD_DIS"].get(row.name, set())
        if len(wr) > 1 or len(rd) > 1:
            raise ValueError(f"{row.name}: WR_DIS {wr}, RD_DIS {rd}")
        result.append(replace(row, write_disable=next(iter(wr), None), read_disable=next(iter(rd), None)))
    return result


@dataclass
class Block:
    """An eFuse block: where it is read, how long it is, what protects it."""

    number: int
    names: list[str]
    read: int
    words: int
    coding: str
    write_disable: int | None = None
    read_disable: list[tuple[int, int, int]] = field(default_factory=list)  # (bit of RD_DIS, first bit, width)


def registers(idf: Idf, chip: str) -> dict[str, int]:
    """Offsets of the eFuse controller's registers."""
    folder = "register/hw_ver3/soc" if chip == "esp32p4" else "register/soc"
    text = idf.read(f"components/soc/{chip}/{folder}/efuse_reg.h")
    found = re.findall(r"^#define EFUSE_(\w+)_REG \(DR_REG_EFUSE0?_BASE \+ (0x[0-9a-f]+)\)", text, re.M)
    return {name: int(offset, 16) for name, offset in found if not name.startswith(("APB2OTP", "INT_", "ECDSA"))}


def base_address(idf: Idf, chip: str) -> int:
    """Where the controller lies in the CPU's address space."""
    folder = "register/hw_ver3/soc" if chip == "esp32p4" else "register/soc"
    text = idf.read(f"components/soc/{chip}/{folder}/reg_base.h")
    known = dict(re.findall(r"^#define (DR_REG_\w+_BASE)\s+(.*)$", text, re.M))

    def value(expression: str) -> int:
        return sum(int(t, 16) if t.startswith("0x") else value(known[t]) for t in re.findall(r"\w+", expression))

    return value(known.get("DR_REG_EFUSE_BASE") or known["DR_REG_EFUSE0_BASE"])


#: Registers that hold a block's read data, by the part of the name before the word's number.
READ_DATA = (
    (r"BLK(\d+)_RDATA", None),
    (r"RD_BLK(\d+)_DATA", None),
    (r"RD_WR_DIS0?$|RD_REPEAT_DATA\d", 0),
    (r"RD_MAC_(SPI_)?SYS_?\d$", 1),
    (r"RD_SYS_PART1_DATA", 2),
    (r"RD_USR_DATA", 3),
    (r"RD_KEY(\d)_DATA", 4),
    (r"RD_SYS_PART2_DATA", 10),
)


def read_blocks(regs: dict[str, int], rows: list[Row]) -> list[Block]:
    """The blocks, from the read registers and the protections of their fields."""
    offsets: dict[int, list[int]] = {}
    for name, offset in regs.items():
        for pattern, number in READ_DATA:
            match = re.match(pattern, name)
            if match:
                group = int(match.group(1)) if "(\\d" in pattern and match.groups() and match.group(1) else 0
                offsets.setdefault((number or 0) + group if number != 1 else 1, []).append(offset)
                break
    simple = min(offsets[0]) == 0  # the ESP32's controller reads BLOCK0 at offset 0 and codes it not at all
    blocks = []
    for number, at in sorted(offsets.items()):
        if sorted(at) != list(range(min(at), min(at) + 4 * len(at), 4)):
            raise ValueError(f"block {number}: registers are not contiguous")
        coding = ("none" if simple else "repeat") if number == 0 else ("by_field" if simple else "rs")
        block = Block(number, [f"BLOCK{number}"], min(at), len(at), coding)
        if number:
            name_block(block, rows)
            protect_block(block, rows)
        blocks.append(block)
    return blocks


def name_block(block: Block, rows: list[Row]) -> None:
    """A field that covers the block gives it its names."""
    for row in rows:
        if row.block == block.number and row.segments[0][0] == 0 and row.segments[0][1] >= 88 and "." not in row.name:
            covers = row.segments[0][1] >= min(32 * block.words, 256)
            block.names += [n for n in (row.name, *row.aliases) if covers and n not in block.names]


def protect_block(block: Block, rows: list[Row]) -> None:
    """All fields of a block share one bit of WR_DIS; RD_DIS hides it whole, or in the C2's key block by halves."""
    mine = [row for row in rows if row.block == block.number]
    writes = {row.write_disable for row in mine} - {None}
    for row in rows:
        register, _, target = row.name.partition(".")
        if register == "WR_DIS" and WR_TARGETS.get(target) == block.number:
            writes.add(row.segments[0][0])
    if len(writes) != 1:
        raise ValueError(f"block {block.number}: WR_DIS bits {writes}")
    block.write_disable = writes.pop()
    start = next(row.segments[0][0] for row in rows if row.name == "RD_DIS")
    reads = {row.read_disable for row in mine} - {None}
    for row in rows:
        register, _, target = row.name.partition(".")
        if register == "RD_DIS" and WR_TARGETS.get(target) == block.number:
            reads.add(row.segments[0][0] - start)
        if register == "RD_DIS" and target in ("KEY0.LOW", "KEY0.HI") and block.number == 3:
            half = 0 if target.endswith("LOW") else 128
            block.read_disable.append((row.segments[0][0] - start, half, 128))
    if reads and not block.read_disable:
        block.read_disable = [(bit, 0, 32 * block.words) for bit in reads if bit is not None]
        if len(reads) != 1:
            raise ValueError(f"block {block.number}: RD_DIS bits {reads}")


def key_purposes(idf: Idf, chip: str) -> dict[str, int]:
    """Name → value of `esp_efuse_purpose_t`; names of newer revisions included."""
    text = idf.read(f"components/efuse/{chip}/include/esp_efuse_chip.h")
    found: dict[str, int] = {}
    for name, value in re.findall(r"ESP_EFUSE_KEY_PURPOSE_(\w+)\s*=\s*(\w+)", text):
        if name != "MAX":
            found[name] = int(value) if value.isdigit() else found[value.removeprefix("ESP_EFUSE_KEY_PURPOSE_")]
    return found


def capabilities(idf: Idf, chip: str) -> dict[str, int]:
    """The integer `SOC_…` and `ESP_ROM_…` macros of the chip."""
    text = idf.read(f"components/soc/{chip}/include/soc/soc_caps.h") + idf.read(
        f"components/esp_rom/{chip}/esp_rom_caps.h"
    )
    found = re.findall(r"^#define ((?:SOC|ESP_ROM)_\w+)\s+\(?(0x[0-9a-fA-F]+|\d+)U?\)?", text, re.M)
    return {name: int(value, 0) for name, value in found}


def bootloader_limit(idf: Idf, chip: str) -> int:
    """Largest bootloader that the ROM verifies under Secure Boot V2, in bytes, without its signature sector."""
    text = idf.read("docs/en/api-guides/bootloader.rst")
    line = re.search(r"IDF_TARGET_MAX_BOOTLOADER_SIZE:(.*)\}", text)
    if line is None:
        raise ValueError("bootloader.rst names no IDF_TARGET_MAX_BOOTLOADER_SIZE")
    sizes: dict[str, int] = {}
    for names, size in re.findall(r"([\w, ]+?) = \"[^\"]*\((0x[0-9A-Fa-f]+) bytes\)\"", line.group(1)):
        for name in re.findall(r"\w+", names):
            sizes[name] = int(size, 16)
    return sizes.get(chip, sizes["default"])


def secure_boot(chip: str, caps: dict[str, int], rows: list[Row]) -> dict[str, object]:
    """The `[secure_boot]` table."""
    names = {row.name for row in rows}
    v1 = bool(caps.get("SOC_SECURE_BOOT_V1"))
    schemes = ["rsa-3072"] if caps.get("SOC_SECURE_BOOT_V2_RSA") or v1 else []
    if caps.get("SOC_SECURE_BOOT_V2_ECC"):
        schemes += ["ecdsa-p192", "ecdsa-p256"]
    if "SECURE_BOOT_SHA384_EN" in names:
        schemes.append("ecdsa-p384")
    one_block = bool(caps.get("SOC_EFUSE_CONSISTS_OF_ONE_KEY_BLOCK"))
    return {
        "version": 2,
        "versions": [1, 2] if v1 else [2],
        "v2_since": 300 if v1 else 0,
        "schemes": schemes,
        "digest_slots": caps["SOC_EFUSE_SECURE_BOOT_KEY_DIGESTS"],
        "digest_length": 16 if one_block else 32,
        "revocable": bool(caps.get("SOC_EFUSE_REVOKE_BOOT_KEY_DIGESTS")),
        "enable_field": "ABS_DONE_1" if v1 else "SECURE_BOOT_EN",
    }


def memory(idf: Idf, chip: str, caps: dict[str, int]) -> dict[str, object]:
    """The `[memory]` table: where the port's loader lets parts of an application go (bootloader_memory_utils.h)."""
    text = idf.read(f"components/soc/{chip}/include/soc/soc.h")
    known = {name: int(value, 16) for name, value in re.findall(r"#define (SOC_\w+)\s+(0x[0-9a-fA-F]+)", text)}
    found: dict[str, object] = {}
    for ours, theirs, supported in (
        ("iram", "IRAM", True),
        ("dram", "DRAM", True),
        ("rtc_iram", "RTC_IRAM", bool(caps.get("SOC_RTC_FAST_MEM_SUPPORTED"))),
        ("rtc_dram", "RTC_DATA", bool(caps.get("SOC_RTC_SLOW_MEM_SUPPORTED"))),
    ):
        found[ours] = [known[f"SOC_{theirs}_LOW"], known[f"SOC_{theirs}_HIGH"]] if supported else []
    return found


def download_cache_fields(idf: Idf, chip: str) -> list[str]:
    """What a first boot burns unless `CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_CACHE` is set."""
    text = idf.read(f"components/bootloader_support/src/{chip}/flash_encryption_secure_features.c")
    part = re.search(r"#ifndef CONFIG_SECURE_FLASH_UART_BOOTLOADER_ALLOW_CACHE(.*?)#else", text, re.S)
    return re.findall(r"write_field_bit\(ESP_EFUSE_(\w+)\)", part.group(1)) if part else []


def flash_encryption(idf: Idf, chip: str, caps: dict[str, int]) -> dict[str, object]:
    """The `[flash_encryption]` table; lengths are the bits of AES keys that eFuse blocks can hold."""
    xts = bool(caps.get("SOC_FLASH_ENCRYPTION_XTS_AES"))
    lengths = [n for n in (128, 256) if caps.get(f"SOC_EFUSE_XTS_AES_KEY_{n}")] if xts else [256]
    return {
        "algorithm": "xts" if xts else "esp32",
        "key_lengths": lengths,
        "derived_key": bool(caps.get("SOC_FLASH_ENCRYPTION_XTS_AES_128_DERIVED")),
        "key_manager": bool(caps.get("SOC_KEY_MANAGER_FE_KEY_DEPLOY")),
        "pseudo_round": bool(caps.get("SOC_FLASH_ENCRYPTION_XTS_AES_SUPPORT_PSEUDO_ROUND")),
        "counter_field": "SPI_BOOT_CRYPT_CNT" if xts else "FLASH_CRYPT_CNT",
        "manual_encrypt_field": "DIS_DOWNLOAD_MANUAL_ENCRYPT" if xts else "DISABLE_DL_ENCRYPT",
        "download_cache_fields": download_cache_fields(idf, chip),
    }


def release_fields(caps: dict[str, int]) -> list[str]:
    """The fields that release mode is checked for, beside counter, keys and protections."""
    if not caps.get("SOC_FLASH_ENCRYPTION_XTS_AES"):
        return list(RELEASE_ESP32)
    named = [name for cap, name in RELEASE_CAPS.items() if caps.get(f"SOC_EFUSE_{cap}")]
    return ["DIS_DOWNLOAD_MANUAL_ENCRYPT", *named]


def chip_id(idf: Idf, chip: str) -> int:
    """`esp_chip_id_t`, as it stands in image headers."""
    text = idf.read("components/bootloader_support/include/esp_app_format.h")
    match = re.search(rf"ESP_CHIP_ID_{chip.upper()}\s*= (0x[0-9A-F]+)", text)
    if match is None:
        raise ValueError(f"{chip}: no chip id")
    return int(match.group(1), 16)


def keys_table(caps: dict[str, int], blocks: list[Block]) -> dict[str, object]:
    """The `[keys]` table: which blocks hold keys, and how their purpose is known."""
    if caps.get("SOC_EFUSE_CONSISTS_OF_ONE_KEY_BLOCK"):
        return {"blocks": [3], "purpose_by": "halves", "last_block_quirk": False}
    if not caps.get("SOC_EFUSE_KEY_PURPOSE_FIELD"):
        return {"blocks": [1, 2, 3], "purpose_by": "position", "last_block_quirk": False}
    numbers = [block.number for block in blocks if any(re.fullmatch(r"KEY\d", name) for name in block.names)]
    quirk = bool(caps.get("SOC_EFUSE_BLOCK9_KEY_PURPOSE_QUIRK"))
    return {"blocks": numbers, "purpose_by": "field", "last_block_quirk": quirk}


#: The controller's registers that a driver of the chip needs, by our name.
CONTROLLER = {
    "pgm_data": "PGM_DATA0", "check_value": "PGM_CHECK_VALUE0", "clk": "CLK", "conf": "CONF", "status": "STATUS",
    "cmd": "CMD", "dac_conf": "DAC_CONF", "rd_tim_conf": "RD_TIM_CONF", "wr_tim_conf1": "WR_TIM_CONF1",
    "wr_tim_conf2": "WR_TIM_CONF2", "date": "DATE", "dec_status": "DEC_STATUS",
}  # fmt: skip


def controller(regs: dict[str, int]) -> dict[str, object]:
    """The `[efuse.registers]` table."""
    table: dict[str, object] = {ours: regs[theirs] for ours, theirs in CONTROLLER.items() if theirs in regs}
    table["repeat_err"] = [at for name, at in regs.items() if re.match(r"RD_REPEAT(_DATA)?_ERR", name)]
    table["rs_err"] = [at for name, at in regs.items() if re.match(r"RD_RS(_DATA)?_ERR", name)]
    table["write"] = [regs[f"BLK{n}_WDATA0"] for n in range(4) if f"BLK{n}_WDATA0" in regs]
    return table


HEX = {"iram", "dram", "rtc_iram", "rtc_dram", "base", "read", "write", "bootloader_offset", "bootloader_limit"}
HEX |= {"repeat_err", "rs_err", *CONTROLLER}


def toml_value(name: str, value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return hex(value) if name in HEX else str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(name, item) for item in value) + "]"
    raise TypeError(f"{name}: {type(value)}")


def table(name: str, values: dict[str, object]) -> str:
    """A TOML table."""
    return "\n".join([f"\n[{name}]", *(f"{key} = {toml_value(key, value)}" for key, value in values.items())]) + "\n"


def revisions(idf: Idf, chip: str) -> list[int]:
    """The silicon revisions that ESP-IDF can be built for, major * 100 + minor."""
    text = idf.read(f"components/esp_hw_support/port/{chip}/Kconfig.hw_support")
    found = re.findall(r'config \w+_REV_MIN_\w+\n(?:\s+depends on .*\n)?\s+bool "Rev v(\d+)\.(\d+)', text)
    return sorted(100 * int(major) + int(minor) for major, minor in found)


def chip_toml(idf: Idf, chip: str, rows: list[Row]) -> str:
    """The text of `<chip>.toml`."""
    caps, regs = capabilities(idf, chip), registers(idf, chip)
    blocks = read_blocks(regs, rows)
    head: dict[str, object] = {
        "name": chip,
        "title": BY_HAND[chip]["title"],
        "chip_id": chip_id(idf, chip),
        "default_revision": BY_HAND[chip]["default_revision"],
        "revisions": revisions(idf, chip),
        "bootloader_offset": caps["ESP_ROM_BOOTLOADER_OFFSET_FLASH"],
        "bootloader_limit": bootloader_limit(idf, chip),
        "release_fields": release_fields(caps),
    }
    text = f"# Generated by tools/generate_chips.py from ESP-IDF {idf.commit} (Apache-2.0).\n"
    text += "\n".join(f"{key} = {toml_value(key, value)}" for key, value in head.items()) + "\n"
    text += table("secure_boot", secure_boot(chip, caps, rows))
    text += table("flash_encryption", flash_encryption(idf, chip, caps))
    banner, seen = ROM_BANNERS[chip]
    boot, resets = ROM_RESETS[chip]
    text += table("rom", {"banner": banner, "seen": seen, "boot": boot})
    text += table("rom.resets", dict(resets))
    if chip in OLDER_ROM:
        text += table("rom.older", dict(OLDER_ROM[chip]))
    text += table("memory", memory(idf, chip, caps))
    serial_jtag, otg = caps.get("SOC_USB_SERIAL_JTAG_SUPPORTED"), caps.get("SOC_USB_OTG_SUPPORTED")
    text += table("usb", {"serial_jtag": bool(serial_jtag), "otg": bool(otg)})
    text += table("keys", keys_table(caps, blocks))
    text += table("key_purposes", dict(key_purposes(idf, chip)))
    text += table("heeded_since", dict(HEEDED_SINCE.get(chip, {})))
    text += table("efuse", {"base": base_address(idf, chip)})
    text += table("efuse.registers", controller(regs))
    for block in blocks:
        values: dict[str, object] = {"number": block.number, "names": block.names, "read": block.read}
        values |= {"words": block.words, "coding": block.coding}
        if block.write_disable is not None:
            values["write_disable"] = block.write_disable
        values["read_disable"] = block.read_disable
        text += table("[efuse.blocks]", values)
    return text


def chip_csv(idf: Idf, rows: list[Row]) -> str:
    """The text of `<chip>.efuse.csv`; further segments of a field follow it in rows without a name."""
    out = io.StringIO()
    out.write(f"# Generated by tools/generate_chips.py from ESP-IDF {idf.commit} (Apache-2.0).\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["name", "block", "bit", "width", "write_disable", "read_disable", "revisions", "aliases", "values"]
    )
    for row in rows:
        wr = "" if row.write_disable is None else row.write_disable
        rd = "" if row.read_disable is None else row.read_disable
        (bit, width), *more = row.segments
        writer.writerow([row.name, row.block, bit, width, wr, rd, row.revisions, " ".join(row.aliases), row.values])
        writer.writerows(["", row.block, bit, width, "", "", "", "", ""] for bit, width in more)
    return out.getvalue()


def generate(idf: Idf) -> dict[str, str]:
    """File name → text, for all chips."""
    files: dict[str, str] = {}
    for chip in CHIPS:
        rows = read_rows(idf, chip)
        files[f"{chip}.toml"] = chip_toml(idf, chip, rows)
        files[f"{chip}.efuse.csv"] = chip_csv(idf, rows)
    return files


def main() -> int:
    """Write the tables, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("idf", type=Path, help="ESP-IDF: a work tree or a bare git directory")
    parser.add_argument("--check", action="store_true", help="compare with the committed tables, write nothing")
    options = parser.parse_args()
    files = generate(Idf(options.idf))
    if options.check:
        differing = [name for name, text in files.items() if not same(DATA / name, text)]
        print("\n".join(f"differs: {name}" for name in differing) or "all tables agree")
        return 1 if differing else 0
    DATA.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (DATA / name).write_text(text)
        print(DATA / name)
    return 0


def same(path: Path, text: str) -> bool:
    """Whether a committed file says the same, whatever commit it names."""
    return path.exists() and path.read_text().split("\n")[1:] == text.split("\n")[1:]


if __name__ == "__main__":
    sys.exit(main())
