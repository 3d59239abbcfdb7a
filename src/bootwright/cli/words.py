"""Words that several commands take: numbers, chips, files."""

from __future__ import annotations

from pathlib import Path

import click

from bootwright.formats.esp_partition_csv import parse_number

FILE = click.Path(path_type=Path)
output_option = click.option("--output", "-o", type=FILE, required=True, help="File to write.")


def number(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A number in any base, with K or M behind if need be."""
    if value is None:
        return None
    parsed = parse_number(value)
    if parsed is None:
        raise click.BadParameter(f"{value!r} is no number; 4096, 0x1000 and 4K are", context, parameter)
    return parsed
