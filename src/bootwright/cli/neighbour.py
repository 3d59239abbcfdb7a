"""`bootwright neighbour`: a virtual board with MCUboot that is no Espressif chip, to be updated by one."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.errors import FormatError
from bootwright.finding import Answer, passed

FILE = click.Path(path_type=Path)


def _size(text: str | int) -> int:
    return int(str(text), 0)


@click.group(cls=Noun)
def neighbour() -> None:
    """A virtual board that runs Zephyr's MCUboot: an STM32-like target for recovery and updates."""


@neighbour.command()
@click.argument("file", type=FILE)
@click.option(
    "--mode",
    type=click.Choice(["move", "scratch", "overwrite"]),
    default="move",
    show_default=True,
    help="How MCUboot installs an update.",
)
@click.option(
    "--profile",
    type=click.Choice(["zephyr", "espressif"]),
    default="zephyr",
    show_default=True,
    help="Whose port of MCUboot it runs.",
)
@click.option("--flash-size", type=_size, default=512 << 10, show_default=True, help="Bytes of flash.")
@click.option("--slot-size", type=_size, default=208 << 10, show_default=True, help="Bytes of every slot.")
@click.option("--images", type=click.IntRange(1, 2), default=1, show_default=True, help="Images that are updated.")
@click.option("--progressive", is_flag=True, help="Erase ahead of an upload instead of the whole slot.")
@click.option("--window", is_flag=True, help="Wait half a second for a command after each reset.")
@click.option("--no-server", is_flag=True, help="The application speaks no SMP.")
@click.option("--key", type=FILE, help="The public key that MCUboot is built with.")
@click.option("--decryption-key", type=FILE, help="A private key: images in recovery may be encrypted for it.")
@click.option("--image", "image_file", type=FILE, help="An image in the primary slot.")
@click.option("--force", is_flag=True, help="Replace a board that is there.")
@json_option
@click.pass_context
def new(
    context: click.Context,
    file: Path,
    *,
    mode: str,
    profile: str,
    flash_size: int,
    slot_size: int,
    images: int,
    progressive: bool,
    window: bool,
    no_server: bool,
    key: Path | None,
    decryption_key: Path | None,
    image_file: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make a board and keep it in FILE."""
    from bootwright.boot.config import Mode, SerialErase, Signature
    from bootwright.formats.keys import load_public_key
    from bootwright.host.files import read_bytes
    from bootwright.host.neighbours import make_neighbour
    from bootwright.sim.neighbour import Build, Neighbour

    public = load_public_key(read_bytes(key, what="key"), where=str(key)) if key is not None else None
    build = Build(
        flash_size=flash_size,
        slot_size=slot_size,
        images=images,
        mode=Mode(mode),
        erase=SerialErase.PROGRESSIVE if progressive else SerialErase.WHOLE,
        profile=profile,
        window=window,
        signature=Signature(public.key_type.value) if public is not None else None,
        keys=(public.der,) if public is not None else (),
        decryption=read_bytes(decryption_key, what="key") if decryption_key is not None else b"",
        server=not no_server,
    )
    board = Neighbour(build, now_s=time.monotonic)
    if image_file is not None:
        data = read_bytes(image_file, what="image")
        if len(data) > slot_size:
            raise FormatError(f"{image_file} has {len(data)} bytes, the slot {slot_size}", "make the slot larger")
        board.flash.load(board.config.images[0].primary.address, data)
    make_neighbour(file, board, replacing=force)
    finding = passed(
        "neighbour.made", str(file), f"{mode} on {flash_size >> 10} KiB of flash, recovery as in {profile}"
    )
    context.exit(show(Answer(command="neighbour new", findings=(finding,)), as_json=as_json))


@neighbour.command()
@click.argument("file", type=FILE)
@click.option("--uart", multiple=True, help="pty, or tcp:PORT (0: a free one).")
@click.option("--udp", type=click.IntRange(0, 65535), default=None, help="UDP port of the application, 0: a free one.")
@click.option("--recovery", is_flag=True, help="Hold the recovery pin: every reset enters recovery.")
def serve(file: Path, *, uart: tuple[str, ...], udp: int | None, recovery: bool) -> None:
    """Power the board of FILE and serve its ports until interrupted; its flash is kept."""
    serve_board(file, [("uart", way) for way in uart or ("pty",)], udp, recovery=recovery)


def serve_board(file: Path, uarts: Sequence[tuple[str, str]], udp: int | None, *, recovery: bool) -> None:
    """Serve a board on these ports, each (name, way), until a signal ends it."""
    from bootwright.host.neighbours import keep_neighbour, load_neighbour
    from bootwright.sim.neighbour_control import offer_switches
    from bootwright.sim.smp_port import Station

    board = load_neighbour(file)
    held, board.recovery_pin = board.recovery_pin, board.recovery_pin or recovery
    station = Station(board)
    station.on_close(offer_switches(station, board, file))
    for name, way in uarts:
        kind, _, number = way.partition(":")
        if kind not in ("pty", "tcp") or (number and not number.isdigit()):
            raise FormatError(f"{way!r} is no way to serve a UART", "use pty or tcp:PORT")
        url = station.add_pty() if kind == "pty" else station.add_tcp(int(number or 0))
        click.echo(f"{name} listening on {url}")
    if udp is not None:
        click.echo(f"udp listening on {station.add_udp(udp)}")
    board.power_on()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: station.stop())
    try:
        station.run()
    finally:
        station.close()
        board.recovery_pin = held if recovery else board.recovery_pin
        keep_neighbour(file, board)
