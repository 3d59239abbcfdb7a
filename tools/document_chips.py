"""Write `docs/reference/chips.md` from the chips' tables.

python tools/document_chips.py            # --check: exit 1 when the page is not what the tables say
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from bootwright.chips.chip import CHIP_NAMES, Chip, load_chip, meanings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "chips.md"

INTRO = """# Chips

This page is written by `tools/document_chips.py` from the tables in `src/bootwright/chips/data`, which
`tools/generate_chips.py` makes from ESP-IDF. A chip is two files there: `<chip>.toml` (traits, eFuse blocks, registers,
key purposes) and `<chip>.efuse.csv` (one row a field). `bootwright efuse fields CHIP` lists all fields of a chip.

"""

TRAITS: tuple[tuple[str, Callable[[Chip], object]], ...] = (
    ("id in image headers", lambda c: c.chip_id),
    ("bootloader at", lambda c: f"{c.bootloader_offset:#x}"),
    ("largest bootloader under Secure Boot V2", lambda c: f"{c.bootloader_limit // 1024} KB"),
    ("Secure Boot versions", lambda c: ", ".join(map(str, c.secure_boot.versions))),
    ("… keys of version 2", lambda c: ", ".join(c.secure_boot.schemes)),
    ("… digests", lambda c: c.secure_boot.digest_slots),
    ("… revocable", lambda c: _yes(c.secure_boot.revocable)),
    ("… switched on by", lambda c: f"`{c.secure_boot.enable_field}`"),
    ("flash encryption", lambda c: "XTS-AES" if c.flash_encryption.algorithm == "xts" else "AES-256, ESP32's own mode"),
    ("… AES key bits in eFuse", lambda c: ", ".join(map(str, c.flash_encryption.key_lengths))),
    ("… key from half a block", lambda c: _yes(c.flash_encryption.derived_key)),
    ("… Key Manager", lambda c: _yes(c.flash_encryption.key_manager)),
    ("… pseudo rounds", lambda c: _yes(c.flash_encryption.pseudo_round)),
    ("… counter", lambda c: f"`{c.flash_encryption.counter_field}`"),
    ("key blocks", lambda c: ", ".join(c.blocks[n].name for n in c.keys.blocks)),
    ("last block takes no flash key", lambda c: _yes(c.keys.last_block_quirk)),
    ("USB-Serial-JTAG, USB-OTG", lambda c: f"{_yes(c.usb.serial_jtag)}, {_yes(c.usb.otg)}"),
    ("eFuse controller at", lambda c: f"{c.efuse.base:#x}"),
    ("silicon revisions", lambda c: c.revisions_text.replace("v", "")),
    ("revision of a new virtual chip", lambda c: f"{c.default_revision // 100}.{c.default_revision % 100}"),
)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def page() -> str:
    """The whole page."""
    chips = [load_chip(name) for name in CHIP_NAMES]
    return INTRO + traits(chips) + purposes(chips) + locks(chips) + sum_of_meanings(chips)


def traits(chips: list[Chip]) -> str:
    """One column a trait, one row a chip, in two tables that fit a page."""
    text = "## Traits\n\n"
    for part in (TRAITS[:8], TRAITS[8:14], TRAITS[14:]):
        text += "| chip | " + " | ".join(name for name, _ in part) + " |\n"
        text += "|---" * (len(part) + 1) + "|\n"
        for chip in chips:
            text += f"| {chip.title} | " + " | ".join(str(trait(chip)) for _, trait in part) + " |\n"
        text += "\n"
    return text


def purposes(chips: list[Chip]) -> str:
    """Key purposes with their values."""
    text = "## Key purposes\n\nReversed: the key file's bytes lie in the block in reverse order. Secret: `burn-key` "
    text += "read-protects the block.\n\n| purpose | reversed | secret | value on |\n|---|---|---|---|\n"
    names = dict.fromkeys(p.name for chip in chips for p in chip.purposes)
    for name in names:
        found = [(chip.title, p) for chip in chips for p in chip.purposes if p.name == name]
        places = ", ".join(f"{title} {p.value}" for title, p in found)
        text += f"| `{name}` | {_yes(found[0][1].reversed)} | {_yes(found[0][1].secret)} | {places} |\n"
    return text + "\n"


def locks(chips: list[Chip]) -> str:
    """Which fields freeze together: the bits of WR_DIS that several security fields share."""
    known = meanings()
    text = "## What freezes together\n\nEach bit of `WR_DIS` freezes all fields of its row at once, unburned or not. "
    text += "Only rows with several fields that have a meaning below are listed.\n\n"
    text += "| chip | bit of WR_DIS | fields |\n|---|---|---|\n"
    for chip in chips:
        groups: dict[int, list[str]] = {}
        for field in chip.fields_at(chip.default_revision):
            if field.block == 0 and field.write_disable is not None and field.name in known:
                groups.setdefault(field.write_disable, []).append(f"`{field.name}`")
        for bit, names in sorted(groups.items()):
            if len(names) > 1:
                text += f"| {chip.title} | {bit} | {', '.join(names)} |\n"
    return text + "\n"


def sum_of_meanings(chips: list[Chip]) -> str:
    """The security-relevant fields, and which chips have them."""
    text = "## Fields\n\n| field | meaning | chips |\n|---|---|---|\n"
    for name, meaning in meanings().items():
        having = [chip.title.removeprefix("ESP32-") for chip in chips if any(f.name == name for f in chip.fields)]
        if having:
            text += f"| `{name}` | {meaning} | {'all' if len(having) == len(chips) else ', '.join(having)} |\n"
    return text


def main() -> int:
    """Write the page, or compare it."""
    if "--check" in sys.argv[1:]:
        current = PAGE.exists() and PAGE.read_text() == page()
        print("the page is current" if current else "docs/reference/chips.md differs: run tools/document_chips.py")
        return 0 if current else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
