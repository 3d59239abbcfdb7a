"""Write `docs/reference/project-file.md` and `bootloader-conf.md` from the tables that the code reads.

python tools/document_project.py            # --check: exit 1 when a page is not what the tables say
"""

from __future__ import annotations

import sys
from pathlib import Path

from bootwright.formats.conf_options import DEAD, OPTIONS
from bootwright.host.settings import SETTINGS, TABLES

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"

PROJECT = """# The project file, `bootwright.toml`

One file says what a device is made of: its chip, its firmware, its keys, how far it is closed. `bootwright rehearse`
reads it, and later commands share it. Every key may be left away; a key or a table that Bootwright does not know is
refused, so that a misspelt word never passes for a default. `bootwright rehearse --print-project` writes a commented
file with every key in it.

Names of files count from the directory of the project file. Options of the command line (`--app`, `--bootloader`,
`--key-type`, `--mode`, `--fe-key`) take the place of the keys `app.file`, `bootloader.file`, `keys.type`,
`security.mode` and `security.fe_key`; their paths count from where you are.

"""

PROJECT_END = """
## Where the layout comes from

Without `bootloader.conf` the layout is `[layout]`, and what that leaves open is the port's default for the chip. With
`bootloader.conf` those files decide, read exactly as the port's CMake reads them
([bootloader.conf](bootloader-conf.md)), and a `[layout]` beside them is refused. Whatever the chain needs and the files
do not set (Secure Boot V2, flash encryption, downgrade prevention, a signature type) the rehearsal adds, and says so in
a note; `security.downgrade_prevention = false` leaves it off.

A layout is refused when regions share flash, leave the flash, are not made of whole sectors, or have more than the 512
sectors that the port's tables hold.

## Bad input

Every problem is one sentence: what was found, what was expected, where; and a hint. The exit code is 3 for a file that
is missing, empty, truncated, too large or of the wrong kind, for an unknown key, a bad value or overlapping regions; 4
for a key file whose password is missing or wrong; 7 for a chip that the rehearsal does not model.
"""

CONF = """# `bootloader.conf`

The build options of MCUboot's Espressif port. The file looks like Kconfig and is not: a CMake function of the port
turns each line into a `-D` definition and a CMake variable. Bootwright reads it as that function does, and
`bootwright config lint FILE…` says where that differs from what the author meant.

## How lines are read

| line | what happens |
|---|---|
| `NAME=VALUE` | `-DNAME=VALUE`, word for word |
| `NAME=y`, `NAME=Y` | `-DNAME=1` |
| `NAME=n`, `NAME=N` | nothing is defined, but an earlier line of the same file stays in force |
| a `#` anywhere | the whole line is skipped: `NAME=y  # why` sets nothing |
| `NAME=0`, `NAME=no` | defined; the code asks `#ifdef`, so a switch is *on* |
| `NAME` | `-DNAME=NAME` |
| blanks behind the value | become part of the value, so `y ` is not `y` |
| a blank or tab before `=`, a tab before the name | the option gets a name that the compiler never sees |
| blanks only, or a `;` | CMake stops |
| the same name twice | both reach the compiler, which takes the last |
| a later file | replaces the *last* value of an earlier one; its `n` leaves CMake's variable, which chooses sources |

All of these were tried with CMake 3.25 and the port's own function (mcu-tools/mcuboot `2d4bacc3`).

## What `config lint` looks at

`conf.comment.*`, `conf.line.*`, `conf.name.*`, `conf.value.*`, `conf.off.*`, `conf.switch.*`, `conf.option.*`: lines
that do not do what they seem to, dead and unknown options. `conf.layout.*`, `conf.slot.*`: regions that overlap (the
virtual eFuses too), leave the flash, are not whole sectors, have more than 512 sectors, or have no room for an image
beside the trailer. `conf.mode.*`: upgrade modes that the port accepts and does not support. `conf.signature.*`: no
signature at all, several, the wrong library, no key file, a sample key whose private half is public.
`conf.downgrade.*`, `conf.serial.*`, `conf.console.*`, `conf.images.*`, `conf.secure_boot.*`,
`conf.flash_encryption.*`, `conf.download.*`, `conf.release.*`, `conf.efuse.*`: options that need, contradict or
disable each other. With `--chip NAME` also `conf.chip.*`: what that chip's ROM and eFuses make of it, and options
whose source file the port lacks for it. Exit code 0 when nothing fails (warnings do not count), else 1.

## The options

"""


def project_page() -> str:
    """The page of the project file."""
    lines = [PROJECT]
    for table, comment in TABLES.items():
        lines.append(f"## `[{table}]`\n\n{comment}\n\n" if comment else f"## `[{table}]`\n\n")
        lines.append("| key | value | default | meaning |\n|---|---|---|---|\n")
        for row in SETTINGS:
            if row.table == table:
                expected = row.expected.replace("|", "\\|")
                default = row.default or f"`{row.example}`"
                lines.append(f"| `{row.name}` | {expected} | {default} | {row.meaning} |\n")
        lines.append("\n")
    return "".join(lines).rstrip() + "\n" + PROJECT_END


def conf_page() -> str:
    """The page of bootloader.conf."""
    rows = [f"| `{name}` | {OPTIONS[name]}{' (dead)' if name in DEAD else ''} |\n" for name in OPTIONS]
    return CONF + "| option | what it does |\n|---|---|\n" + "".join(rows)


def main() -> int:
    """Write the pages, or compare them."""
    pages = {FOLDER / "project-file.md": project_page(), FOLDER / "bootloader-conf.md": conf_page()}
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
        print(f"run tools/document_project.py: {', '.join(stale)} differ" if stale else "the pages are current")
        return 1 if stale else 0
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
