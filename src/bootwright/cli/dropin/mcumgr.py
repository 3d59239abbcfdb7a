"""`bootwright mcumgr …` and `bw-mcumgr …`: the Go mcumgr's command lines, answered by our client.

Words, output and exit codes are those of newtmgr's newtmgr/cli: a code that the device answers is printed as
`Error: N` and does not change the exit code; what goes wrong on this side or on the line is, and does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bootwright.cli.dropin import mcumgr_mynewt as mynewt
from bootwright.cli.dropin.mcumgr_caller import Caller, open_session
from bootwright.cli.dropin.mcumgr_help import COMMANDS, help_of
from bootwright.cli.dropin.mcumgr_line import Line, UsageError
from bootwright.errors import BootwrightError, FormatError, RefusedError

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
            raise UsageError(f"Unknown variable {key}", "variables are type and connstring")
    if not kind:
        raise UsageError("Must specify a connection type", f"types: {', '.join(TYPES)}")
    if kind not in TYPES:
        raise UsageError(f"Invalid connection type: {kind}", f"types: {', '.join(TYPES)}")
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
    for character in text:
        if character not in "0123456789abcdefABCDEF":
            why = f"invalid byte: U+{ord(character):04X} {character!r}"
            raise UsageError(f"encoding/hex: {why}", "copy the hash from `image list`")
    if len(text) % 2:
        raise UsageError("encoding/hex: odd length hex string", "copy the hash from `image list`")
    return bytes.fromhex(text)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"open {path}: {why}", "check the path") from None


def _image_upload(line: Line, caller: Caller) -> None:
    from bootwright.cli.smp_files import Bar
    from bootwright.host.smp_upload import Payload, send, warn_of_overwriting

    data = _content(Path(line.word(2, "image to upload")))
    number = line.number("image", 0)
    if number < 0:
        raise UsageError("Invalid image number", "numbers start at 0")
    session = caller.session
    session.contact()
    if not line.switch("noerase", default=True) and caller.ask(2, 1, 5) is None:
        return
    session.negotiate()
    recovery, warnings = warn_of_overwriting(session, int(number))
    for warning in warnings:
        click.echo(f"warning: {warning.because}", err=True)
    bar = Bar(len(data))
    payload = Payload(name=line.words[2], data=data, version="", image_hash=None)
    upgrade = line.switch("upgrade")
    send(session, payload, image=int(number), upgrade=upgrade, recovery=recovery, progress=bar.at)
    bar.end()
    click.echo("Done")


def _image_erase(line: Line, caller: Caller) -> None:
    if caller.ask(2, 1, 5) is not None:
        click.echo("Done")


# --- the other groups ---


def _echo(line: Line, caller: Caller) -> None:
    if len(line.words) != 2:
        raise UsageError("Need to specify one text", 'quote it if it has spaces: echo "a text"')
    answer = caller.ask(2, 0, 0, {"d": line.words[1]})
    if answer is not None:
        click.echo(answer.get("r", ""))


def _reset(line: Line, caller: Caller) -> None:
    if caller.ask(2, 0, 5) is not None:
        click.echo("Done")


def _datetime(line: Line, caller: Caller) -> None:
    if len(line.words) > 1:
        text = line.words[1]
        if text == "now":
            text = datetime.now().astimezone().isoformat(timespec="seconds")
            click.echo(f"Setting time to {text}")
        if caller.ask(2, 0, 4, {"datetime": text}) is not None:
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
    line.word(2, "words for the shell")
    answer = caller.ask(2, 9, 0, {"argv": line.words[2:]})
    if answer is not None:
        said = answer.get("o", "")
        click.echo(f"status={answer.get('ret', 0)}")
        click.echo(said, nl=not said.endswith("\n"))


def _fs_upload(line: Line, caller: Caller) -> None:
    from bootwright.smp.messages import upload_file

    source, target = Path(line.word(2, "source filename")), line.word(3, "target filename")
    content = _content(source)
    caller.session.negotiate()
    program = upload_file(caller.session.link, target, content, lambda at, _: click.echo(str(at)))
    _finish(caller.run(program, None)[1])


def _fs_download(line: Line, caller: Caller) -> None:
    from bootwright.host.files import write_file
    from bootwright.smp.messages import download_file

    source, target = line.word(2, "source filename"), Path(line.word(3, "target filename"))
    content, code = caller.run(download_file(caller.session.link, source, lambda at, _: click.echo(str(at))), b"")
    if not code:
        write_file(target, content)
    _finish(code)


def _finish(code: int) -> None:
    click.echo(f"Error: {code}" if code else "Done")


HERE: dict[tuple[str, ...], Callable[[Line], None]] = {
    ("conn", "add"): _conn_add,
    ("conn", "show"): _conn_show,
    ("conn", "delete"): _conn_delete,
    ("help",): lambda line: click.echo(help_of(tuple(line.words[1:])), nl=False),
    ("version",): lambda line: click.echo("mcumgr (bootwright)"),
}
THERE: dict[tuple[str, ...], Callable[[Line, Caller], None]] = {
    ("image", "list"): _image_list,
    ("image", "test"): _image_test,
    ("image", "confirm"): _image_confirm,
    ("image", "upload"): _image_upload,
    ("image", "erase"): _image_erase,
    ("image", "corelist"): mynewt.core_list,
    ("image", "coreerase"): mynewt.core_erase,
    ("config",): mynewt.config,
    ("crash",): mynewt.crash,
    ("log", "clear"): mynewt.log_clear,
    ("log", "level_list"): mynewt.log_levels,
    ("log", "list"): mynewt.log_list,
    ("log", "module_list"): mynewt.log_modules,
    ("log", "show"): mynewt.log_show,
    ("run", "list"): mynewt.run_list,
    ("run", "test"): mynewt.run_test,
    ("echo",): _echo,
    ("reset",): _reset,
    ("datetime",): _datetime,
    ("taskstat",): _taskstat,
    ("mpstat",): _mpstat,
    ("stat",): _stat,
    ("shell", "exec"): _shell,
    ("fs", "upload"): _fs_upload,
    ("fs", "download"): _fs_download,
}
#: of the original, and not here: its CoAP side, and what works on files of its own
ONLY_THERE = ("completion", "interactive", "res")
ONLY_THERE_OF_IMAGES = ("coreconvert", "coredownload")


def perform(arguments: Sequence[str]) -> int:
    """Do what a command line asks; returns the exit code, 1 as the original's for whatever goes wrong here."""
    key: tuple[str, ...] = ()
    try:
        line = Line.parse(arguments)
        key = _key(line.words)
        if "help" in line.flags or key not in (*HERE, *THERE):
            click.echo(help_of(key), nl=False)
        elif key in HERE:
            HERE[key](line)
        else:
            with open_session(line) as session:
                THERE[key](line, Caller(line, session))
    except BootwrightError as error:
        click.echo(f"Error: {error.message}", err=True)
        if error.hint:
            click.echo(f"  hint: {error.hint}", err=True)
        if isinstance(error, UsageError):
            click.echo(f"\n{key[-1]} - {help_of(key)}", nl=False)
        return 1
    return 0


def _key(words: list[str]) -> tuple[str, ...]:
    """The command that the words begin with; of a group, its name alone asks for its help."""
    for length in (2, 1):
        key = tuple(words[:length])
        if key in HERE or key in THERE:
            return key
    if not words or (len(words) == 1 and key in COMMANDS):
        return tuple(words)
    if words[0] in ONLY_THERE or (words[0] == "image" and words[1] in ONLY_THERE_OF_IMAGES):
        raise RefusedError(f"`{' '.join(words[:2])}` is not offered here", "use the original mcumgr for it")
    known = words[:2] if key in COMMANDS else words[:1]
    raise FormatError(f'unknown command "{" ".join(known)}" for "mcumgr"', "`mcumgr --help` lists them")


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
