"""`bootwright chip`: a virtual chip, its ports and its switches."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.finding import Answer

_SIZES = {"K": 1 << 10, "M": 1 << 20}


def flash_size_of(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """A flash size as people write it: 4MB, 16M, 0x400000; flashes come in powers of two."""
    if value is None:
        return None
    text = value.upper().removesuffix("B").removesuffix("I")
    try:
        size = int(text[:-1], 0) * _SIZES[text[-1]] if text[-1:] in _SIZES else int(text, 0)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no size; 4MB, 16M or 0x400000 are") from None
    if size not in {1 << n for n in range(18, 28)}:
        raise click.BadParameter(f"there is no flash of {value}; sizes are powers of two from 256KB to 128MB")
    return size


def port_wish(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """`pty`, `tcp:PORT` or `rfc2217:PORT` as (kind, port number)."""
    if value is None:
        return None
    kind, _, number = value.partition(":")
    is_port = kind in ("tcp", "rfc2217") and number.isdigit() and int(number) < 1 << 16
    if not is_port and value != "pty":
        raise click.BadParameter(f"{value!r} is none of pty, tcp:PORT, rfc2217:PORT")
    return kind, int(number or 0)


def pin_levels(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """`PIN=LEVEL` words as pin → level."""
    levels = {}
    for value in values:
        pin, _, level = value.partition("=")
        if not pin.isdigit() or level not in ("0", "1"):
            raise click.BadParameter(f"{value!r} is no PIN=LEVEL such as 9=1")
        levels[pin] = int(level)
    return levels


MAX_PORT = 65535
NEIGHBOUR = "zephyr-neighbour"


@click.group(cls=Noun)
def chip() -> None:
    """A virtual chip: make one, serve it on a port, handle its switches."""


@chip.command("new", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("model")
@click.argument("name")
@click.option("--flash", "flash_size", callback=flash_size_of, help="Size of its flash: 4MB, 16M.  [required]")
@click.option("--mac", metavar="XX:XX:XX:XX:XX:XX", help="Its MAC address; otherwise one is drawn.")
@click.option("--revision", metavar="MAJOR.MINOR", help="Its silicon revision; otherwise a current one.")
@click.option("--force", is_flag=True, help="Replace an existing chip.")
@json_option
@click.pass_context
def new_command(
    context: click.Context,
    model: str,
    name: str,
    flash_size: int | None,
    mac: str | None,
    revision: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make the chip NAME, an ESP of this MODEL, in ./NAME.chip, strapped for download.

    MODEL zephyr-neighbour makes a board with another MCUboot in ./NAME.neighbour, of 512 KB unless said otherwise; it
    takes the options of `bootwright neighbour new`.
    """
    if model == NEIGHBOUR:
        options = [*context.args, *["--force"] * force, *["--json"] * as_json]
        context.exit(_new_neighbour(name, flash_size or 512 << 10, options))
    if context.args:
        raise click.UsageError(f"{context.args[0]} is no option for {model}")
    if flash_size is None:
        raise click.UsageError("Missing option '--flash'.")
    from bootwright.chips.chip import load_chip
    from bootwright.sim.chip_file import chip_path, create_chip_file
    from bootwright.sim.factory import draw_mac, factory_efuses, parse_mac, parse_revision

    path = chip_path(name)
    address = parse_mac(mac) if mac else draw_mac()
    facts = load_chip(model)
    efuses = factory_efuses(facts, mac=address, revision=parse_revision(revision, facts) if revision else None)
    create_chip_file(path, efuses, flash_size, replacing=force)
    details = {"file": str(path), "chip": efuses.chip.name, "mac": address.hex(":"), "flash_size": flash_size}
    text = f"{path}: {efuses.chip.title} with {flash_size >> 10} KB of flash, MAC {address.hex(':')}"
    context.exit(show(Answer(command="chip new", details=details), as_json=as_json, text=text))


def _new_neighbour(name: str, flash_size: int, options: list[str]) -> int:
    from bootwright.cli.neighbour import new

    sizes = ["--flash-size", str(flash_size), "--slot-size", str(_slot_size(flash_size))]
    words = [str(_neighbour_file(name)), *sizes, *options]
    code: int = new.main(words, prog_name=f"bootwright chip new {NEIGHBOUR}", standalone_mode=False)
    return code


@chip.command("serve")
@click.argument("names", nargs=-1, required=True)
@click.option("--pty", "as_pty", is_flag=True, help="UART0 on a pseudo terminal (the default, and the fastest).")
@click.option("--tcp", type=click.IntRange(0, 65535), metavar="PORT", help="UART0 on a TCP port, 0 for a free one.")
@click.option("--rfc2217", type=click.IntRange(0, 65535), metavar="PORT", help="UART0 with DTR, RTS and baud rate.")
@click.option("--uart0", callback=port_wish, metavar="pty|tcp:PORT|rfc2217:PORT", help="UART0 alone.")
@click.option("--uart1", is_flag=False, flag_value="pty", callback=port_wish, metavar="[…]", help="UART1 alone.")
@click.option("--usb", is_flag=False, flag_value="pty", callback=port_wish, metavar="[…]", help="USB serial alone.")
@click.option(
    "--udp", type=click.IntRange(0, 65535), metavar="PORT", help="The application's SMP over UDP, 0: a free port."
)
def serve_command(
    names: tuple[str, ...],
    as_pty: bool,
    tcp: int | None,
    rfc2217: int | None,
    uart0: tuple[str, int] | None,
    uart1: tuple[str, int] | None,
    usb: tuple[str, int] | None,
    udp: int | None,
) -> None:
    """Serve chips on ports until Ctrl-C, and save them. A neighbour is served alone, its UART on every port asked for.

    Every port is announced on stdout: `uart0 listening on URL`. Several chips take successive TCP ports.
    """
    chosen = [("pty", 0)] * as_pty + [("tcp", tcp)] * (tcp is not None) + [("rfc2217", rfc2217)] * (rfc2217 is not None)
    if len(chosen) + (uart0 is not None) > 1:
        raise click.UsageError("UART0 can have one port: choose one of --pty, --tcp, --rfc2217 and --uart0")
    wishes = {"uart0": uart0 or (chosen[0] if chosen else None), "uart1": uart1, "usb": usb}
    if not any(wishes.values()):
        wishes["uart0"] = ("pty", 0)
    if udp is not None:
        wishes["udp"] = ("udp", udp)
    from bootwright.sim.chip_file import chip_path

    if len(names) == 1 and not chip_path(names[0]).exists() and _neighbour_file(names[0]).exists():
        from bootwright.cli.neighbour import serve_board

        ways = [(uart, wish) for uart, wish in wishes.items() if wish is not None and uart != "udp"]
        uarts = [(uart, kind if kind == "pty" else f"{kind}:{port}") for uart, (kind, port) in ways]
        serve_board(_neighbour_file(names[0]), uarts, udp, recovery=False)
        return
    _serve(names, {uart: (wish[0], wish[1] or 0) for uart, wish in wishes.items() if wish is not None})


def _neighbour_file(name: str) -> Path:
    return Path(name) if name.endswith(".neighbour") else Path(f"{name}.neighbour")


def _slot_size(flash_size: int) -> int:
    """Two equal slots behind a bootloader of 48 KiB, in whole sectors."""
    return (flash_size - (48 << 10)) // 2 // 4096 * 4096


def _serve(names: tuple[str, ...], wishes: Mapping[str, tuple[str, int]]) -> None:
    from bootwright.sim.bench import boot_when_asked
    from bootwright.sim.chip_file import chip_path
    from bootwright.sim.server import ChipServer, PortWish

    highest = max(port for _, port in wishes.values())
    if highest and highest + (len(names) - 1) * len(wishes) > MAX_PORT:
        raise click.UsageError(
            f"{len(names)} chips from port {highest} on go beyond {MAX_PORT}: take 0, or a lower one"
        )
    server = ChipServer(boot=boot_when_asked)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: server.stop())
        announced = []
        for at, name in enumerate(names):
            ports = {uart: PortWish(kind, port and port + at * len(wishes)) for uart, (kind, port) in wishes.items()}
            announced += server.serve(chip_path(name), ports)
        for listening in announced:
            which = f" ({listening.chip})" if len(names) > 1 else ""
            click.echo(f"{listening.uart} listening on {listening.url}{which}")
        server.run()
    finally:
        server.close()


def _act(context: click.Context, name: str, verb: str, arguments: Mapping[str, object], *, as_json: bool) -> None:
    from bootwright.sim.bench import act_on_chip, describe
    from bootwright.sim.chip_file import chip_path

    if not chip_path(name).exists() and _neighbour_file(name).exists():
        from bootwright.host.neighbours import act_on_neighbour

        details = act_on_neighbour(_neighbour_file(name), verb, arguments)
    else:
        details = act_on_chip(chip_path(name), verb, arguments)
    answer = Answer(command=f"chip {verb}", details=details)
    context.exit(show(answer, as_json=as_json, text=describe(verb, details)))


@chip.command("power")
@click.argument("name")
@click.argument("to", type=click.Choice(["off", "on", "cut"]))
@json_option
@click.pass_context
def power_command(context: click.Context, name: str, to: str, as_json: bool) -> None:
    """Switch the supply of NAME; coming on is a reset."""
    _act(context, name, "power", {"to": to}, as_json=as_json)


@chip.command("strap")
@click.argument("name")
@click.argument("to", type=click.Choice(["download", "normal"]))
@json_option
@click.pass_context
def strap_command(context: click.Context, name: str, to: str, as_json: bool) -> None:
    """Hold the boot pin of NAME for download mode or for a normal boot; the next reset samples it."""
    _act(context, name, "strap", {"to": to}, as_json=as_json)


@chip.command("app")
@click.argument("name")
@click.argument("to", type=click.Choice(["smp", "none"]))
@json_option
@click.pass_context
def app_command(context: click.Context, name: str, to: str, as_json: bool) -> None:
    """Choose what the application of NAME does after its next boot: serve SMP (mcumgr) or nothing."""
    _act(context, name, "app", {"to": to}, as_json=as_json)


@chip.command("gpio")
@click.argument("name")
@click.argument("levels", nargs=-1, required=True, callback=pin_levels, metavar="PIN=LEVEL…")
@json_option
@click.pass_context
def gpio_command(context: click.Context, name: str, levels: dict[str, int], as_json: bool) -> None:
    """Drive pins of NAME from outside: 9=1. Bringing the recovery pin to its level restarts the chip into recovery."""
    _act(context, name, "gpio", {"levels": levels}, as_json=as_json)


@chip.command("renew")
@click.argument("name")
@click.option("--unprogrammed", is_flag=True, help="Silicon that no factory has programmed: no address, no revision.")
@json_option
@click.pass_context
def renew_command(context: click.Context, name: str, unprogrammed: bool, as_json: bool) -> None:
    """Put a fresh chip in the place of NAME: blank eFuses, erased flash, the same address and port."""
    _act(context, name, "renew", {"unprogrammed": unprogrammed}, as_json=as_json)


@chip.command("console")
@click.argument("name")
@json_option
@click.pass_context
def console_command(context: click.Context, name: str, as_json: bool) -> None:
    """Show the last that NAME printed."""
    _act(context, name, "console", {}, as_json=as_json)


@chip.command("state")
@click.argument("name")
@json_option
@click.pass_context
def state_command(context: click.Context, name: str, as_json: bool) -> None:
    """Show how NAME is strapped and powered, and what it does."""
    _act(context, name, "state", {}, as_json=as_json)


@chip.command("boot")
@click.argument("name")
@click.option("--conf", type=click.Path(exists=True, dir_okay=False), help="Its bootloader.conf, or an sdkconfig.")
@click.option("--key", "keys", multiple=True, type=click.Path(exists=True, dir_okay=False), help="A key built into it.")
@click.option("--cut", metavar="KIND:N", help="Cut power before efuse:N or flash:N, or within flash-torn:N.")
@json_option
@click.pass_context
def boot_command(
    context: click.Context, name: str, conf: str | None, keys: tuple[str, ...], cut: str | None, as_json: bool
) -> None:
    """Boot NAME from flash once and give the verdict. --conf and --key are remembered."""
    from bootwright.finding import Finding, Verdict
    from bootwright.sim.bench import act_on_chip
    from bootwright.sim.chip_file import chip_path

    arguments = {"conf": _text(conf), "keys": [_public(key) for key in keys], "cut": _cut(cut)}
    details = act_on_chip(chip_path(name), "boot", arguments)
    rows = details.pop("findings")
    findings = tuple(
        Finding(**{**row, "verdict": Verdict(row["verdict"])}) for row in (rows if isinstance(rows, list) else [])
    )
    lines = details["console"] if isinstance(details["console"], list) else []
    text = "\n".join([*lines, "", f"outcome: {details['outcome']}"])
    context.exit(show(Answer(command="chip boot", findings=findings, details=details), as_json=as_json, text=text))


def _text(path: str | None) -> str | None:
    from bootwright.host.files import read_text

    return None if path is None else read_text(Path(path))


def _public(path: str) -> str:
    from bootwright.formats.keys import load_public_key

    return load_public_key(Path(path).read_bytes(), where=path).der.hex()


def _cut(text: str | None) -> list[object] | None:
    if text is None:
        return None
    kind, _, at = text.partition(":")
    if kind not in ("efuse", "flash", "flash-torn") or not at.isdigit():
        raise click.BadParameter(f"{text!r} is none of efuse:N, flash:N, flash-torn:N", param_hint="--cut")
    return [kind, int(at)]


@chip.command("diff")
@click.argument("name")
@click.argument("other", required=False)
@json_option
@click.pass_context
def diff_command(context: click.Context, name: str, other: str | None, as_json: bool) -> None:
    """Show what NAME's eFuses and flash hold more than a new chip, or than OTHER."""
    from bootwright.sim.bench import describe_differences, differences
    from bootwright.sim.chip_file import chip_path

    details = differences(chip_path(name), chip_path(other) if other else None)
    answer = Answer(command="chip diff", details=details)
    context.exit(show(answer, as_json=as_json, text=describe_differences(details)))
