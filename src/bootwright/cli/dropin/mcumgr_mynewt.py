"""The commands of the Go mcumgr that only Mynewt's devices answer: config, crash, run, log, core dumps.

Source: newtmgr, newtmgr/cli and nmxact/nmp (4892d4d). Everybody else's devices refuse them with code 8, as there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from bootwright.cli.dropin.mcumgr_line import Line, UsageError
from bootwright.smp.cbor import Reader
from bootwright.smp.errors import MalformedError

if TYPE_CHECKING:
    from bootwright.cli.dropin.mcumgr_caller import Caller

CONFIG, LOG, CRASH, RUN = 3, 4, 5, 7
CRASHES = ("div0", "jump0", "ref0", "assert", "wdog")
LEVELS = {0: "DEBUG", 1: "INFO", 2: "WARN", 3: "ERROR", 4: "CRITICAL"}
MODULES = {
    0: "DEFAULT",
    1: "OS",
    2: "NEWTMGR",
    3: "NIMBLE_CTLR",
    4: "NIMBLE_HOST",
    5: "NFFS",
    6: "REBOOT",
    8: "TEST",
}
LOG_TYPES = ("STREAM", "MEMORY", "STORAGE")
ENTRY_TYPES = ("str", "cbor", "bin")


def _done(answer: dict[str, Any] | None, word: str = "Done") -> None:
    if answer is not None:
        click.echo(word)


def config(line: Line, caller: Caller) -> None:
    """`config NAME`, `config NAME VALUE`, `config save`."""
    name = line.word(1, "a variable")
    if len(line.words) > 2:
        _done(caller.ask(2, CONFIG, 0, {"name": name, "val": line.words[2]}))
    elif name == "save":
        _done(caller.ask(2, CONFIG, 0, {"save": True}))
    elif (answer := caller.ask(0, CONFIG, 0, {"name": name})) is not None:
        value = answer.get("val", "")
        click.echo(f"Value: {value.decode(errors='replace') if isinstance(value, bytes) else value}")


def crash(line: Line, caller: Caller) -> None:
    """`crash TYPE`."""
    kind = line.word(1, "a crash type")
    if kind not in CRASHES:
        raise UsageError(f"invalid crash type: {kind}", f"types: {', '.join(CRASHES)}")
    _done(caller.ask(2, CRASH, 0, {"t": kind}))


def run_test(line: Line, caller: Caller) -> None:
    """`run test [NAME [TOKEN]]`."""
    name, token = [*line.words[2:4], *["all", ""][len(line.words[2:4]) :]]
    _done(caller.ask(2, RUN, 0, {"testname": name, "token": token}))


def run_list(line: Line, caller: Caller) -> None:
    """`run list`."""
    _names("available tests:", caller.ask(0, RUN, 1), "run_list")


def _names(title: str, answer: dict[str, Any] | None, key: str) -> None:
    if answer is not None:
        click.echo(title)
        for name in sorted(answer.get(key) or []):
            click.echo(f"    {name}")


def core_list(line: Line, caller: Caller) -> None:
    """`image corelist`."""
    said = {0: "Corefile present", 5: "No corefiles"}
    code = caller.code(0, 1, 3)
    click.echo(said.get(code, f"Error: {code}"))


def core_erase(line: Line, caller: Caller) -> None:
    """`image coreerase`."""
    _done(caller.ask(2, 1, 4))


def log_list(line: Line, caller: Caller) -> None:
    """`log list`."""
    _names("available logs:", caller.ask(0, LOG, 5, refusal="error"), "log_list")


def log_modules(line: Line, caller: Caller) -> None:
    """`log module_list`."""
    if (answer := caller.ask(0, LOG, 3, refusal="error")) is not None:
        click.echo("available modules:")
        for name, number in sorted(answer.get("module_map", {}).items()):
            click.echo(f"    {name} ({number})")


def log_levels(line: Line, caller: Caller) -> None:
    """`log level_list`."""
    if (answer := caller.ask(0, LOG, 4, refusal="error")) is not None:
        click.echo("available levels:")
        for name, number in sorted(answer.get("level_map", {}).items(), key=lambda pair: pair[1]):
            click.echo(f"    {number}: {name}")


def log_clear(line: Line, caller: Caller) -> None:
    """`log clear`."""
    _done(caller.ask(2, LOG, 1, refusal="error"), "done")


def log_show(line: Line, caller: Caller) -> None:
    """`log show [NAME [INDEX|last [TIMESTAMP]]]`."""
    words = line.words[2:]
    last = words[1:2] == ["last"]
    index = 0 if last or len(words) < 2 else _number(words[1])
    stamp = -1 if last else _number(words[2]) if len(words) > 2 else 0
    answer, code = caller.answer(0, LOG, 0, {"log_name": words[0] if words else "", "ts": stamp, "index": index})
    click.echo(f"Status: {code}")
    click.echo(f"Next index: {answer.get('next_index', 0)}")
    logs = answer.get("logs") or []
    if not logs:
        click.echo("(no logs retrieved)")
    for log in logs:
        _show_log(log)


def _show_log(log: dict[str, Any]) -> None:
    click.echo(f"Name: {log.get('name', '')}")
    click.echo(f"Type: {_named(LOG_TYPES, log.get('type', 0), 'UNDEFINED')}")
    header = ("[index]", "[timestamp]", "[module]", "[level]", "[type]", "[img]", "[message]")
    click.echo("{:>10} {:>22} | {:>16} {:>16} {:>6} {:>8} {}".format(*header))
    for entry in log.get("entries") or []:
        numbers = [entry.get(key, 0) for key in ("index", "ts", "module", "level")]
        index, stamp, module, level = (number if isinstance(number, int) else 0 for number in numbers)
        kind = _kind(entry.get("type", 0))
        module_text = f"{MODULES.get(module, 'CUSTOM')} ({module})"
        level_text = f"{LEVELS.get(level, 'CUSTOM')} ({level})"
        start = f"{index:>10} {stamp:>20}us | {module_text:>16} {level_text:>16} {kind:>6}"
        click.echo(f"{start} {_hex(entry.get('imghash', b'')):>8} {_message(kind, entry.get('msg', b''))}")


def _kind(value: object) -> str:
    """The kind of an entry; the wire has its name, as bytes or text."""
    if isinstance(value, int):
        return _named(ENTRY_TYPES, value, "???")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _message(kind: str, message: object) -> str:
    if not isinstance(message, bytes):
        return str(message)
    if kind == "cbor":
        try:
            return json.dumps(Reader(message).value(), default=_hex, separators=(",", ":"), sort_keys=True)
        except (MalformedError, TypeError):
            return message.hex()
    return message.decode(errors="replace") if kind == "str" else message.hex()


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _named(names: tuple[str, ...], number: int, other: str) -> str:
    return names[number] if number in range(len(names)) else other


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f'strconv.ParseUint: parsing "{text}": invalid syntax', "give a number") from None
