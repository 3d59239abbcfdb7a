"""`bootwright mcumgr …` and `bw-mcumgr …`: the Go mcumgr's command lines, answered by our client.

Words, output and exit codes are those of newtmgr's newtmgr/cli: a code that the device answers is printed as
`Error: N` and does not change the exit code; what goes wrong on this side or on the line is, and does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bootwright.cli.dropin.mcumgr_line import USAGE, Line
from bootwright.errors import BootwrightError, FormatError, RefusedError

if TYPE_CHECKING:
    from bootwright.host.smp import Session


class Caller:
    """Asks a device, with the timeout and tries of the command line; prints a refusal as the original does."""

    def __init__(self, line: Line, session: Session) -> None:
        self._session = session
        self._timeout_ms = int(line.number("timeout", 10) * 1000)
        self._tries = max(int(line.number("tries", 1)), 1)

    @property
    def session(self) -> Session:
        """The session under it."""
        return self._session

    def ask(self, op: int, group: int, command: int, body: dict[str, object] | None = None) -> dict[str, Any] | None:
        """The answer, None after a refusal."""
        from bootwright.host.smp import translated
        from bootwright.smp.errors import RefusedByDeviceError, SilenceError, SmpError

        session = self._session
        program = session.link.request(op, group, command, body, timeout_ms=self._timeout_ms, tries=self._tries)
        try:
            return session.drive(program)
        except RefusedByDeviceError as error:
            click.echo(f"Error: {error.rc}")
            return None
        except SilenceError as error:
            raise RefusedError("NMP timeout", error.hint) from None
        except SmpError as error:
            raise translated(error, session.transport.address) from None


def _session(line: Line) -> Session:
    from bootwright.host.mcumgr_profiles import Profile, Profiles
    from bootwright.host.smp import Session
    from bootwright.smp.header import V1

    name = line.flags.get("conn", "")
    known = Profiles().all().get(name)
    if known is None and (name or "connstring" not in line.flags):
        raise FormatError(
            f"Unknown connection profile: {name}" if name else "Need to specify connection profile",
            "`conn add` makes one; or give --conntype and --connstring",
        )
    kind = line.flags.get("conntype") or (known.kind if known else "")
    string = line.flags.get("connstring") or (known.string if known else "")
    extra = line.flags.get("connextra", "")
    address, baud = Profile(name, kind, f"{string},{extra}" if extra else string).address()
    return Session.open(address, baud=baud or 115200, version=V1)


# --- conn ---


def _conn_add(line: Line) -> None:
    from bootwright.host.mcumgr_profiles import TYPES, Profile, Profiles

    name = line.word(2, "connection profile name")
    kind = string = ""
    for word in line.words[3:]:
        key, _, value = word.partition("=")
        if key == "type":
            kind = value
        elif key == "connstring":
            string = value
        else:
            raise FormatError(f"Unknown variable {key}", "variables are type and connstring")
    if not kind:
        raise FormatError("Must specify a connection type", f"types: {', '.join(TYPES)}")
    if kind not in TYPES:
        raise FormatError(f"Invalid connection type: {kind}", f"types: {', '.join(TYPES)}")
    Profiles().add(Profile(name, kind, string))
    click.echo(f"Connection profile {name} successfully added")


def _conn_show(line: Line) -> None:
    from bootwright.host.mcumgr_profiles import Profiles

    name = line.words[2] if len(line.words) > 2 else ""
    found = [profile for key, profile in sorted(Profiles().all().items()) if name in ("", key)]
    if not found:
        click.echo(f"No connection profiles found matching {name}" if name else "No connection profiles found!")
        return
    click.echo("Connection profiles: ")
    for profile in found:
        click.echo(f"  {profile.name}: type={profile.kind}, connstring='{profile.string}'")


def _conn_delete(line: Line) -> None:
    from bootwright.host.mcumgr_profiles import Profiles

    name = line.word(2, "connection profile name")
    Profiles().delete(name)
    click.echo(f"Connection profile {name} successfully deleted.")


# --- image ---


def _print_images(answer: dict[str, Any] | None) -> None:
    if answer is None:
        return
    click.echo("Images:")
    for entry in answer.get("images", []):
        click.echo(f" image={entry.get('image', 0)} slot={entry.get('slot', 0)}")
        click.echo(f"    version: {entry.get('version', '')}")
        click.echo(f"    bootable: {'true' if entry.get('bootable') else 'false'}")
        flags = [flag for flag in ("active", "confirmed", "pending", "permanent") if entry.get(flag)]
        click.echo(f"    flags: {' '.join(flags)}")
        click.echo(f"    hash: {entry['hash'].hex() if entry.get('hash') else 'Unavailable'}")
    status = answer.get("splitStatus", 0)
    click.echo(f"Split status: {SPLIT[status] if status in range(len(SPLIT)) else 'Unknown!'} ({status})")


SPLIT = ("N/A", "Non-matching", "Matching")


def _image_list(line: Line, caller: Caller) -> None:
    _print_images(caller.ask(0, 1, 0))


def _image_test(line: Line, caller: Caller) -> None:
    _print_images(caller.ask(2, 1, 0, {"hash": _hash(line.word(2, "a hash")), "confirm": False}))


def _image_confirm(line: Line, caller: Caller) -> None:
    body: dict[str, object] = {"confirm": True}
    if len(line.words) > 2:
        body["hash"] = _hash(line.words[2])
    _print_images(caller.ask(2, 1, 0, body))


def _hash(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise FormatError(f"encoding/hex: invalid byte in {text!r}", "copy the hash from `image list`") from None


def _image_upload(line: Line, caller: Caller) -> None:
    from bootwright.cli.smp import Bar
    from bootwright.host.files import read_bytes
    from bootwright.host.smp_upload import Payload, send, warn_of_overwriting

    data = read_bytes(Path(line.word(2, "image to upload")), what="image")
    number = line.number("image", 0)
    if number < 0:
        raise FormatError("Invalid image number", "numbers start at 0")
    session = caller.session
    session.contact()
    session.negotiate()
    recovery, warnings = warn_of_overwriting(session, int(number))
    for warning in warnings:
        click.echo(f"warning: {warning.because}", err=True)
    bar = Bar(len(data))
    payload = Payload(name=line.words[2], data=data, version="", image_hash=None)
    upgrade = "upgrade" in line.flags
    send(session, payload, image=int(number), upgrade=upgrade, recovery=recovery, progress=bar.at)
    bar.end()
    click.echo("Done")


def _image_erase(line: Line, caller: Caller) -> None:
    if caller.ask(2, 1, 5) is not None:
        click.echo("Done")


# --- the other groups ---


def _echo(line: Line, caller: Caller) -> None:
    answer = caller.ask(2, 0, 0, {"d": " ".join(line.words[1:])})
    if answer is not None:
        click.echo(answer.get("r", ""))


def _reset(line: Line, caller: Caller) -> None:
    if caller.ask(2, 0, 5) is not None:
        click.echo("Done")


def _datetime(line: Line, caller: Caller) -> None:
    if len(line.words) > 1:
        click.echo(f"Setting time to {line.words[1]}")
        if caller.ask(2, 0, 4, {"datetime": line.words[1]}) is not None:
            click.echo("Done")
        return
    answer = caller.ask(0, 0, 4)
    if answer is not None:
        click.echo(f"Datetime(RFC 3339 format): {answer.get('datetime', '')}")


_TASK_COLUMNS = ("prio", "tid", "runtime", "cswcnt", "stksiz", "stkuse", "last_checkin", "next_checkin")


def _taskstat(line: Line, caller: Caller) -> None:
    answer = caller.ask(0, 0, 2)
    if answer is None:
        return
    click.echo(
        f"  {'task':>8}\t{'pri':>3} {'tid':>3} {'runtime':>8} {'csw':>8} {'stksz':>8} {'stkuse':>8}"
        f" {'last_checkin':>8} {'next_checkin':>8}"
    )
    for name, task in sorted(answer.get("tasks", {}).items()):
        first, second, *rest = (task.get(column, 0) for column in _TASK_COLUMNS)
        click.echo(f"  {name:>8}\t{first:3d} {second:3d} " + " ".join(f"{value:8d}" for value in rest))


def _mpstat(line: Line, caller: Caller) -> None:
    answer = caller.ask(0, 0, 3)
    if answer is None:
        return
    pools = answer.get("mpools", answer)
    click.echo(f"{'name':>32} {'blksz':>5} {'cnt':>4} {'free':>4} {'min':>4}")
    for name, pool in sorted(pools.items()):
        if isinstance(pool, dict):
            numbers = [pool.get(column, 0) for column in ("blksiz", "nblks", "nfree", "min")]
            click.echo("{:>32} {:5d} {:4d} {:4d} {:4d}".format(name, *numbers))


def _stat(line: Line, caller: Caller) -> None:
    name = line.word(1, "a statistics group")
    if name == "list":
        answer = caller.ask(0, 2, 1)
        groups = sorted(answer.get("stat_list", [])) if answer is not None else None
        if groups is not None:
            click.echo("stat groups:" if groups else "stat groups: none")
            for group in groups:
                click.echo(f"    {group}")
        return
    answer = caller.ask(0, 2, 0, {"name": name})
    if answer is not None:
        click.echo(f"stat group: {answer.get('name', name)}")
        for key, value in sorted(answer.get("fields", {}).items()):
            click.echo(f"{value:10d} {key}")
        if not answer.get("fields"):
            click.echo("    (empty)")


def _shell(line: Line, caller: Caller) -> None:
    if line.word(1, "exec") != "exec":
        raise FormatError(f"unknown command {line.words[1]!r} for mcumgr shell", "shell exec WORDS…")
    answer = caller.ask(2, 9, 0, {"argv": line.words[2:]})
    if answer is not None:
        said = answer.get("o", "")
        click.echo(f"status={answer.get('ret', 0)}")
        click.echo(said, nl=not said.endswith("\n"))


def _fs_upload(line: Line, caller: Caller) -> None:
    from bootwright.smp.messages import upload_file

    source, target = Path(line.word(2, "source filename")), line.word(3, "target filename")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise FormatError(f"open {source}: {error.strerror}", "check the path") from None
    caller.session.negotiate()
    caller.session.run(upload_file(caller.session.link, target, content, lambda at, _: click.echo(str(at))))
    click.echo("Done")


def _fs_download(line: Line, caller: Caller) -> None:
    from bootwright.host.files import write_file
    from bootwright.smp.messages import download_file

    source, target = line.word(2, "source filename"), Path(line.word(3, "target filename"))
    content = caller.session.run(download_file(caller.session.link, source, lambda at, _: click.echo(str(at))))
    write_file(target, content)
    click.echo("Done")


HERE: dict[tuple[str, ...], Callable[[Line], None]] = {
    ("conn", "add"): _conn_add,
    ("conn", "show"): _conn_show,
    ("conn", "delete"): _conn_delete,
    ("version",): lambda line: click.echo("mcumgr (bootwright)"),
}
THERE: dict[tuple[str, ...], Callable[[Line, Caller], None]] = {
    ("image", "list"): _image_list,
    ("image", "test"): _image_test,
    ("image", "confirm"): _image_confirm,
    ("image", "upload"): _image_upload,
    ("image", "erase"): _image_erase,
    ("echo",): _echo,
    ("reset",): _reset,
    ("datetime",): _datetime,
    ("taskstat",): _taskstat,
    ("mpstat",): _mpstat,
    ("stat",): _stat,
    ("shell",): _shell,
    ("fs", "upload"): _fs_upload,
    ("fs", "download"): _fs_download,
}
#: of the original, and not here: Mynewt's own groups and its CoAP side
ONLY_THERE = ("config", "crash", "interactive", "log", "res", "run")


def perform(arguments: Sequence[str]) -> int:
    """Do what a command line asks; returns the exit code, 1 as the original's for whatever goes wrong here."""
    try:
        line = Line.parse(arguments)
        if "help" in line.flags or not line.words:
            click.echo(USAGE, nl=False)
            return 0
        key = _key(line.words)
        if key in HERE:
            HERE[key](line)
        else:
            with _session(line) as session:
                THERE[key](line, Caller(line, session))
    except BootwrightError as error:
        click.echo(f"Error: {error.message}", err=True)
        if error.hint:
            click.echo(f"  hint: {error.hint}", err=True)
        return 1
    return 0


def _key(words: list[str]) -> tuple[str, ...]:
    for length in (2, 1):
        key = tuple(words[:length])
        if key in HERE or key in THERE:
            return key
    if words[0] in ONLY_THERE or (words[:1] == ["image"] and words[1:2] and words[1].startswith("core")):
        raise RefusedError(f"`{' '.join(words[:2])}` is not offered here", "use the original mcumgr for it")
    raise FormatError(f'unknown command "{" ".join(words[:2])}" for "mcumgr"', "`mcumgr --help` lists them")


def run() -> None:
    """The console script `bw-mcumgr`."""
    sys.exit(perform(sys.argv[1:]))


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, arguments: tuple[str, ...]) -> None:
    """The Go mcumgr's command line, verbatim."""
    context.exit(perform(arguments))
