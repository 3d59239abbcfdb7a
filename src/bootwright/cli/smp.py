"""`bootwright smp`: talk to a device that speaks SMP, be it an application or MCUboot's serial recovery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bootwright.cli.noun import Noun
from bootwright.cli.show import json_option, show
from bootwright.cli.smp_files import FILE, Bar, image_options, payload_of, rules_of
from bootwright.errors import FormatError, RefusedError
from bootwright.finding import Answer, Finding, failed, passed

if TYPE_CHECKING:
    from bootwright.host.smp import Session
    from bootwright.smp.messages import ImageEntry


def asks(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that talks to a device."""
    for option in (
        json_option,
        click.option("--baud", type=click.IntRange(min=1), default=115200, show_default=True, help="Of a serial port."),
        click.option(
            "-p",
            "--port",
            required=True,
            envvar="BOOTWRIGHT_PORT",
            metavar="ADDRESS",
            help="Serial port, socket://host:port, rfc2217://host:port, udp://host[:1337] or ble://ADDRESS"
            " [env: BOOTWRIGHT_PORT].",
        ),
    ):
        command = option(command)
    return command


def session_on(port: str, baud: int) -> Session:
    """A session with a device that answers; the caller closes it."""
    session = _open(port, baud)
    try:
        session.contact()
    except BaseException:
        session.close()
        raise
    return session


def _open(port: str, baud: int, on_text: Callable[[bytes], None] | None = None) -> Session:
    from bootwright.host.smp import Session

    return Session.open(port, baud=baud, on_text=on_text)


@click.group(cls=Noun)
def smp() -> None:
    """Talk to MCUboot's serial recovery, or to an application's SMP server (mcumgr)."""


@smp.command()
@click.argument("text")
@asks
@click.pass_context
def echo(context: click.Context, text: str, port: str, baud: int, as_json: bool) -> None:
    """Have the device say TEXT."""
    from bootwright.smp.messages import echo as echo_program

    with session_on(port, baud) as session:
        said = session.run(echo_program(session.link, text))
    same = said == text
    finding = (
        passed("smp.echo", port, "the device says the same")
        if same
        else failed("smp.echo.other", port, f"the device says {said!r}")
    )
    answer = Answer(command="smp echo", findings=(finding,), details={"said": said})
    context.exit(show(answer, as_json=as_json, text=said))


@smp.group(cls=Noun)
def image() -> None:
    """The images in the device's slots."""


@image.command("list")
@asks
@click.pass_context
def list_command(context: click.Context, port: str, baud: int, as_json: bool) -> None:
    """List the images. MCUboot's recovery lists only those that it would boot."""
    from bootwright.smp.messages import image_list

    with session_on(port, baud) as session:
        entries = session.run(image_list(session.link))
    _show_images(context, "smp image list", entries, as_json=as_json)


def _show_images(
    context: click.Context,
    command: str,
    entries: list[ImageEntry],
    *,
    as_json: bool,
    findings: tuple[Finding, ...] = (),
) -> None:
    rows = [_row(entry) for entry in entries]
    text = "\n".join(_line(entry) for entry in entries) or "no image that the device would list"
    context.exit(show(Answer(command=command, findings=findings, details={"images": rows}), as_json=as_json, text=text))


_FLAGS = ("active", "confirmed", "pending", "permanent", "bootable")


def _row(entry: ImageEntry) -> dict[str, object]:
    flags = {flag: getattr(entry, flag) for flag in _FLAGS}
    digest = entry.hash.hex() if entry.hash is not None else None
    return {"image": entry.image, "slot": entry.slot, "version": entry.version, "hash": digest, **flags}


def _line(entry: ImageEntry) -> str:
    flags = " ".join(flag for flag in _FLAGS if getattr(entry, flag)) or "-"
    digest = entry.hash.hex() if entry.hash is not None else "no hash told"
    return f"image {entry.image} slot {entry.slot}  {entry.version:<12} {flags}\n    {digest}"


@image.command()
@click.argument("file", type=FILE)
@click.option("--upgrade", is_flag=True, help="Have an application refuse a version that is not newer.")
@image_options
@asks
@click.pass_context
def upload(
    context: click.Context,
    file: Path,
    *,
    upgrade: bool,
    number: int,
    keys: tuple[Path, ...],
    decryption_key: Path | None,
    conf: Path | None,
    slot_size: int | None,
    any_file: bool,
    port: str,
    baud: int,
    as_json: bool,
) -> None:
    """Upload FILE; an interrupted upload goes on where it stopped.

    An application stores it in a secondary slot, MCUboot's recovery overwrites the primary one.
    """
    from bootwright.host.smp_upload import send, told_rules, warn_of_overwriting

    rules = rules_of(keys, decryption_key, conf, slot_size)
    payload, judged = payload_of(file, rules, any_file=any_file)
    with session_on(port, baud) as session:
        session.negotiate()
        if (told := told_rules(session, number, rules)) is not rules:
            payload, judged = payload_of(file, told, any_file=any_file)
        recovery, warnings = warn_of_overwriting(session, number)
        for warning in warnings:
            click.echo(f"warning: {warning.because}", err=True)
        bar = Bar(len(payload.data))
        sent = send(session, payload, image=number, upgrade=upgrade, recovery=recovery, progress=bar.at)
        bar.end()
    answer = Answer(
        command="smp image upload", findings=(*judged, *warnings, *sent.findings), details={"upload": sent.as_dict()}
    )
    text = f"{sent.size} bytes in {sent.seconds:.1f} s, {sent.rate / 1024:.1f} KiB/s"
    context.exit(show(answer, as_json=as_json, text=text))


@image.command()
@click.argument("hash_text", metavar="HASH")
@asks
@click.pass_context
def test(context: click.Context, hash_text: str, port: str, baud: int, as_json: bool) -> None:
    """Boot the image of HASH (its start will do) at the next reset, once; unless confirmed, the old one comes back."""
    _set_state(context, "smp image test", hash_text, port, baud, confirm=False, as_json=as_json)


@image.command()
@click.argument("hash_text", metavar="[HASH]", required=False)
@asks
@click.pass_context
def confirm(context: click.Context, hash_text: str | None, port: str, baud: int, as_json: bool) -> None:
    """Keep the running image, or boot the one of HASH at the next reset for good."""
    _set_state(context, "smp image confirm", hash_text, port, baud, confirm=True, as_json=as_json)


def _set_state(
    context: click.Context, command: str, hash_text: str | None, port: str, baud: int, *, confirm: bool, as_json: bool
) -> None:
    from bootwright.smp.messages import set_image_state

    with session_on(port, baud) as session:
        wanted = None if hash_text is None else _find_hash(session, hash_text)
        entries = session.run(set_image_state(session.link, wanted, confirm))
    _show_images(context, command, entries, as_json=as_json)


def _find_hash(session: Session, text: str) -> bytes:
    """The one listed hash that begins like this."""
    from bootwright.smp.messages import image_list

    prefix = text.lower()
    if not prefix or set(prefix) - set("0123456789abcdef"):
        raise FormatError(f"{text!r} is no hash, expected hexadecimal digits", "copy it from `image list`")
    if len(prefix) in (64, 96, 128):
        return bytes.fromhex(prefix)
    found = {entry.hash for entry in session.run(image_list(session.link)) if entry.hash}
    matching = [one for one in found if one.hex().startswith(prefix)]
    if not found:
        raise RefusedError(
            "the device tells no hashes, so no image can be named by one",
            "MCUboot's recovery on Espressif chips tells none and sets no states: reset into the application for that",
        )
    if len(matching) != 1:
        why = "give more digits of it" if matching else "`image list` shows the hashes that there are"
        raise RefusedError(f"{len(matching)} images of the device have a hash that begins with {text}", why)
    return matching[0]


@image.command()
@click.option("--slot", type=click.IntRange(0, 31), default=None, help="Default: the secondary slot of image 0.")
@asks
@click.pass_context
def erase(context: click.Context, slot: int | None, port: str, baud: int, as_json: bool) -> None:
    """Erase a slot."""
    from bootwright.smp.messages import erase as erase_program

    with session_on(port, baud) as session:
        session.run(erase_program(session.link, slot))
    finding = passed("smp.erased", f"slot {1 if slot is None else slot}", "erased")
    context.exit(show(Answer(command="smp image erase", findings=(finding,)), as_json=as_json))


@smp.command("slot-info")
@asks
@click.pass_context
def slot_info_command(context: click.Context, port: str, baud: int, as_json: bool) -> None:
    """Say how large the slots are, and which image number an upload to them takes."""
    from bootwright.smp.messages import slot_info

    with session_on(port, baud) as session:
        slots = session.run(slot_info(session.link))
    rows = [slot._asdict() for slot in slots]
    text = "\n".join(
        f"image {slot.image} slot {slot.slot}  {slot.size:#x} bytes"
        + ("" if slot.upload_image_id is None else f", upload as image {slot.upload_image_id}")
        for slot in slots
    )
    context.exit(show(Answer(command="smp slot-info", details={"slots": rows}), as_json=as_json, text=text))


@smp.command()
@click.option("--bootloader", is_flag=True, help="Have an application restart into the bootloader (boot_mode 1).")
@click.option("--force", is_flag=True, help="Even if the application would rather not.")
@asks
@click.pass_context
def reset(context: click.Context, *, bootloader: bool, force: bool, port: str, baud: int, as_json: bool) -> None:
    """Restart the device."""
    from bootwright.smp.messages import reset as reset_program

    with session_on(port, baud) as session:
        session.run(reset_program(session.link, force=force, boot_mode=1 if bootloader else None))
    finding = passed("smp.reset", port, "restarts into the bootloader" if bootloader else "restarts")
    context.exit(show(Answer(command="smp reset", findings=(finding,)), as_json=as_json))


@smp.group("os", cls=Noun)
def os_group() -> None:
    """The device's system."""


@os_group.command()
@asks
@click.pass_context
def info(context: click.Context, port: str, baud: int, as_json: bool) -> None:
    """Say what answers: bootloader or application, its buffers, its name, its bootloader's mode."""
    from bootwright.host.smp_info import gather

    with session_on(port, baud) as session:
        found = gather(session)
    text = "\n".join(f"{key}: {value}" for key, value in found.items() if value is not None)
    context.exit(show(Answer(command="smp os info", details={"info": found}), as_json=as_json, text=text))


@smp.command()
@click.argument("file", type=FILE)
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds.")
@click.option("--watch", "watch_s", type=click.FloatRange(min=0), default=3.0, show_default=True, help="Seconds.")
@image_options
@asks
@click.pass_context
def recover(
    context: click.Context,
    file: Path,
    *,
    wait_s: float,
    watch_s: float,
    number: int,
    keys: tuple[Path, ...],
    decryption_key: Path | None,
    conf: Path | None,
    slot_size: int | None,
    any_file: bool,
    port: str,
    baud: int,
    as_json: bool,
) -> None:
    """Bring a device back with FILE: wait for its bootloader, upload, look, restart, watch it boot."""
    from bootwright.host.smp_recover import catch
    from bootwright.host.smp_recover import recover as recover_device
    from bootwright.host.smp_upload import told_rules

    rules = rules_of(keys, decryption_key, conf, slot_size)
    payload, judged = payload_of(file, rules, any_file=any_file)
    console: list[str] = []

    def hear(line: bytes) -> None:
        console.append(line.decode(errors="replace"))

    def say(text: str) -> None:
        click.echo(text, err=True)

    def open_session() -> Session:
        return _open(port, baud, hear)

    say(f"waiting for a bootloader on {port}")
    session, waited = catch(open_session, wait_s=wait_s, say=say)
    bar = Bar(len(payload.data))
    with session:
        session.negotiate()
        if (told := told_rules(session, number, rules)) is not rules:
            payload, judged = payload_of(file, told, any_file=any_file)
        done = recover_device(
            session,
            payload,
            image=number,
            watch_s=watch_s,
            waited_s=waited,
            console=console,
            say=lambda text: say(f"warning: {text}"),
            progress=bar.at,
        )
    bar.end()
    details = {"upload": done.sent.as_dict(), "waited_s": round(done.waited_s, 2), "console": list(done.console)}
    answer = Answer(command="smp recover", findings=(*judged, *done.findings), details=details)
    text = "\n".join([f"{done.sent.size} bytes, {done.sent.rate / 1024:.1f} KiB/s", *done.console])
    context.exit(show(answer, as_json=as_json, text=text))
