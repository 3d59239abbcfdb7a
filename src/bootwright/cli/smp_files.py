"""The image files that `bootwright smp` sends: what their bootloader would say, and how far they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bootwright.finding import Finding

if TYPE_CHECKING:
    from bootwright.host.smp_upload import Payload, SlotRules

FILE = click.Path(path_type=Path)


def image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is known of the bootloader that shall run the image."""
    for option in (
        click.option("--any-file", is_flag=True, help="Send FILE without judging it."),
        click.option("--slot-size", type=_size, help="Bytes of the slot, if neither device nor --config tells."),
        click.option("--config", "conf", type=FILE, help="The bootloader.conf of the device's MCUboot."),
        click.option("--decryption-key", type=FILE, help="Private key with which MCUboot decrypts images."),
        click.option("--key", "keys", type=FILE, multiple=True, help="Public or private key that MCUboot trusts."),
        click.option(
            "--image",
            "number",
            type=click.IntRange(0, 15),
            default=0,
            show_default=True,
            help="Which image, as `smp slot-info` counts them.",
        ),
    ):
        command = option(command)
    return command


def _size(text: str | int) -> int:
    return int(str(text), 0)


def payload_of(file: Path, rules: SlotRules, *, any_file: bool) -> tuple[Payload, tuple[Finding, ...]]:
    """The file, judged unless it may be anything.

    Raises:
        BootwrightError: it cannot be read, or the bootloader would refuse it.
    """
    from bootwright.host.files import read_bytes
    from bootwright.host.smp_upload import Payload, judge

    data = read_bytes(file, what="image")
    if any_file:
        return Payload(name=str(file), data=data, version="", image_hash=None), ()
    return judge(str(file), data, rules)


def rules_of(
    keys: tuple[Path, ...], decryption_key: Path | None, conf: Path | None, slot_size: int | None
) -> SlotRules:
    """What the options say of the bootloader.

    Raises:
        BootwrightError: a key or the conf cannot be read.
    """
    from bootwright.formats.keys import load_private_key, load_public_key
    from bootwright.host.files import read_bytes
    from bootwright.host.smp_upload import SlotRules, rules_of_conf

    public = tuple(load_public_key(read_bytes(key, what="key"), where=str(key)) for key in keys)
    rules = rules_of_conf(conf, public) if conf is not None else SlotRules(slot_size=slot_size, keys=public)
    if decryption_key is None:
        return rules
    key = load_private_key(read_bytes(decryption_key, what="key"), where=str(decryption_key))
    return replace(rules, decryption=key)


class Bar:
    """Progress on stderr, where a person watches: share, rate and time left."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._start = 0.0
        self._first = 0
        self._shown = 0.0
        self._on = sys.stderr.isatty()

    def at(self, offset: int) -> None:
        """The device has everything up to `offset`."""
        now = time.monotonic()
        if not self._start:
            self._start, self._first = now, offset
        if not self._on or (now - self._shown < 0.1 and offset < self._size):
            return
        self._shown = now
        rate = (offset - self._first) / (now - self._start) if now > self._start else 0.0
        left = f"{(self._size - offset) / rate:.0f} s left" if rate else ""
        filled = 30 * offset // self._size
        bar = "█" * filled + "░" * (30 - filled)
        click.echo(
            f"\r{bar} {100 * offset // self._size:3d} %  {rate / 1024:.1f} KiB/s  {left:<12}", nl=False, err=True
        )

    def end(self) -> None:
        """Leave the line."""
        if self._on:
            click.echo("", err=True)
