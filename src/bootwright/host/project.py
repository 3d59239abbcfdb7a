"""The project: what a `bootwright.toml` and the command line say, checked, in one value."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bootwright.chips.chip import Chip, load_chip
from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.keys import PasswordError
from bootwright.host.conf_lint import lint
from bootwright.host.files import read_text
from bootwright.host.layout import (
    check_conf,
    conf_text,
    default_layout,
    downgrade_lines,
    security_lines,
    signing_lines,
)
from bootwright.host.settings import SETTINGS, TABLES, FlashKey, Mode, Upgrade, Value, read_value, setting

BUILT_IN = "built-in project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """An application to sign: its file, None for one made for the purpose, and what its header will say."""

    file: Path | None = None
    version: str = "1.0.0"
    security_counter: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """Where the keys lie; None means one drawn for the occasion."""

    signing: str | None = None  #: a provider string, see `bootwright.host.keys`
    secure_boot: str | None = None
    flash_encryption: Path | None = None
    password: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Everything that a rehearsal, a flashing or a provisioning starts from."""

    name: str
    chip: Chip
    app: Firmware
    update: Firmware
    second: Firmware  #: image 1, where the bootloader is built for two
    bootloader: Path | None
    conf: BootloaderConf  #: the options the bootloader is built with, layout included
    key_type: str
    keys: KeyFiles
    fe_key: FlashKey
    where: str = BUILT_IN
    added: tuple[str, ...] = ()  #: options that the chain needs and the bootloader.conf files did not set
    doubts: tuple[Finding, ...] = ()  #: what `config lint` says of the bootloader.conf files with those options

    @property
    def mode(self) -> Mode:
        """Development or release."""
        return Mode.RELEASE if self.conf.release_mode else Mode.DEVELOPMENT


Given = Mapping[tuple[str, str], Value]


def load_project(path: Path | None, **overrides: Value | None) -> Project:
    """The project of a file, or the built-in one; `overrides` are keys such as `app_file`, None where not given.

    Raises:
        FormatError: a value, a key or a region that cannot be.
    """
    if path is None:
        return make_project({}, folder=Path(), where=BUILT_IN, overrides=overrides)
    return parse_project(read_text(path, what="project file"), folder=path.parent, where=str(path), **overrides)


def parse_project(source: str, *, folder: Path, where: str, **overrides: Value | None) -> Project:
    """The project that a TOML text describes; file names in it count from `folder`.

    Raises:
        FormatError: no TOML, an unknown key, a value that is not what its key expects, or a layout that cannot be.
    """
    return make_project(_read(_document(source, where), where), folder=folder, where=where, overrides=overrides)


def _document(source: str, where: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"{where}: found no valid TOML: {error}", "correct the line that it names") from None


def _checked(overrides: Mapping[str, Value | None]) -> Given:
    """The values of the command line under the names of the file's keys."""
    checked: dict[tuple[str, str], Value] = {}
    for name, value in overrides.items():
        table, _, key = name.partition("_")
        if value is not None:
            checked[table, key] = read_value(setting(table, key), value, "command line")
    return checked


def given_values(path: Path | None, **overrides: Value | None) -> Given:
    """What a project file and the command line say, every value checked, and nothing else looked at.

    Raises:
        FormatError: an unknown key, or a value that is not what its key expects.
    """
    given = {} if path is None else _read(_document(read_text(path, what="project file"), str(path)), str(path))
    return {**given, **_checked(overrides)}


def make_project(given: Given, *, folder: Path, where: str, overrides: Mapping[str, Value | None]) -> Project:
    """A project from checked values, those of the command line above those of the file.

    Raises:
        FormatError: they contradict each other, or the layout cannot be.
    """
    outside = _checked(overrides)
    values = {**given, **outside}
    inside = given.keys() - outside.keys()  # a path of the command line counts from where the user is

    def path(table: str, key: str) -> Path | None:
        found = values.get((table, key))
        return None if found is None else (folder / str(found) if (table, key) in inside else Path(str(found)))

    chip = load_chip(str(values.get(("project", "chip"), "esp32c3")))
    conf = _conf(values, chip, folder, where)
    app = Firmware(
        file=path("app", "file"),
        version=str(values.get(("app", "version"), "1.0.0")),
        security_counter=_number(values.get(("app", "security_counter"))),
    )
    update = Firmware(
        file=path("update", "file") or app.file,
        version=str(values.get(("update", "version"), "1.1.0")),
        security_counter=_number(values.get(("update", "security_counter"))),
    )
    second = Firmware(
        file=path("second", "file"),
        version=str(values.get(("second", "version"), "1.0.0")),
        security_counter=_number(values.get(("second", "security_counter"))),
    )
    alone = next((key for table, key in values if table == "second" and conf.image_count < 2), None)
    if alone is not None:
        raise FormatError(
            f"{where}: found second.{alone} with a bootloader for one image, expected CONFIG_ESP_IMAGE_NUMBER=2",
            "name a bootloader.conf for two images under [bootloader] conf, or delete [second]",
        )
    keys = KeyFiles(
        signing=_provider(values.get(("keys", "signing")), folder),
        secure_boot=_provider(values.get(("keys", "secure_boot")), folder),
        flash_encryption=path("keys", "flash_encryption"),
        password=_password(values.get(("keys", "password_env"))),
    )
    fe_key = FlashKey(str(values.get(("security", "fe_key"), FlashKey.DEVICE)))
    if keys.flash_encryption is not None and fe_key is FlashKey.DEVICE:
        raise FormatError(
            f"{where}: found keys.flash_encryption with a key that the device makes itself, expected one of them",
            'set security.fe_key = "host", or delete keys.flash_encryption',
        )
    return Project(
        name=str(values.get(("project", "name"), folder.resolve().name if where != BUILT_IN else BUILT_IN)),
        chip=chip,
        app=app,
        update=update,
        second=second,
        bootloader=path("bootloader", "file"),
        conf=conf,
        key_type=conf.signature or "ed25519",
        keys=keys,
        fe_key=fe_key,
        where=where,
        added=_added(conf) if ("bootloader", "conf") in values else (),
        doubts=tuple(_doubts(conf, chip)) if ("bootloader", "conf") in values else (),
    )


def _read(document: Mapping[str, Any], where: str) -> Given:
    """The values of a document, every table and key known."""
    given: dict[tuple[str, str], Value] = {}
    for table, content in document.items():
        if table not in TABLES:
            raise _unknown(f"[{table}]" if isinstance(content, dict) else table, table, list(TABLES), where)
        if not isinstance(content, dict):
            raise FormatError(
                f"{where}: found {table} = {content!r}, expected a table [{table}]", "see --print-project"
            )
        rows = {row.name: row for row in SETTINGS if row.table == table}
        for key, value in content.items():
            if key not in rows:
                raise _unknown(f"{table}.{key}", key, list(rows), where)
            given[table, key] = read_value(rows[key], value, where)
    return given


def _unknown(shown: str, word: str, known: list[str], where: str) -> FormatError:
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "bootwright rehearse --print-project shows every key"
    return FormatError(f"{where}: found the unknown key {shown}, expected one of {', '.join(known)}", hint)


def _conf(values: Given, chip: Chip, folder: Path, where: str) -> BootloaderConf:
    """The bootloader's options: from its files, or made from `[layout]`; the security chain on top."""
    files = values.get(("bootloader", "conf"))
    layout = {key: value for (table, key), value in values.items() if table == "layout"}
    if files is None:
        conf = _made(values, layout, chip, where)
    elif layout:
        raise FormatError(
            f"{where}: found layout.{next(iter(layout))} beside bootloader.conf, expected the layout in one place",
            "delete [layout], or bootloader.conf",
        )
    else:
        assert isinstance(files, tuple)
        conf = _from_files(files, folder)
    wanted = values.get(("keys", "type"))
    if conf.signature is None:
        conf = conf.then(conf_text(signing_lines(str(wanted or "ed25519"))), where="rehearsal")
    elif wanted not in (None, conf.signature):
        raise FormatError(
            f"{where}: found keys of type {wanted}, expected {conf.signature}, which {conf.where} builds for",
            "change keys.type or the CONFIG_ESP_SIGN_… options",
        )
    conf = _secured(conf, values, chip)
    check_conf(replace(conf, where=where if files is None else conf.where))
    return conf


def _added(conf: BootloaderConf) -> tuple[str, ...]:
    return tuple(sorted({line.name for line in conf.definitions if line.where.startswith("rehearsal:")}))


def _doubts(conf: BootloaderConf, chip: Chip) -> Iterator[Finding]:
    """What the linter has against the files, as warnings: the rehearsal itself gives the verdict."""
    for finding in lint(conf, chip=chip):
        if finding.verdict is not Verdict.PASS and not finding.subject.startswith("rehearsal:"):
            yield replace(finding, verdict=Verdict.WARN)


def _made(values: Given, layout: Mapping[str, Value], chip: Chip, where: str) -> BootloaderConf:
    base = default_layout(chip.name, chip.bootloader_offset)
    numbers: dict[str, Any] = {key: value for key, value in layout.items() if key != "upgrade"}
    made = replace(base, upgrade=Upgrade(str(layout.get("upgrade", base.upgrade))), **numbers)
    if made.flash_size % (1 << 20):
        raise FormatError(
            f"{where}: found a flash of {made.flash_size:#x} bytes, expected whole megabytes",
            "the chips that MCUboot runs on have 2MB or more",
        )
    return BootloaderConf.parse(conf_text(made.lines()), where=where)


def _from_files(files: tuple[str, ...], folder: Path) -> BootloaderConf:
    first, *later = [folder / name for name in files]
    conf = BootloaderConf.parse(read_text(first, what="bootloader.conf"), where=str(first))
    for file in later:
        conf = conf.then(read_text(file, what="bootloader.conf"), where=str(file))
    return conf


def _secured(conf: BootloaderConf, values: Given, chip: Chip) -> BootloaderConf:
    """With Secure Boot and flash encryption switched on, in the mode that is asked for."""
    given = values.get(("security", "mode"))
    mode = Mode(str(given)) if given else Mode.RELEASE if conf.release_mode else Mode.DEVELOPMENT
    missing = not (conf.secure_boot and conf.flash_encryption)
    if missing or (given and conf.release_mode != (mode is Mode.RELEASE)):
        undone = conf_text(["CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE=n"])
        scheme = "rsa" if "rsa-3072" in chip.secure_boot.schemes else "ecdsa"
        conf = conf.then(undone, where="rehearsal") if conf.release_mode and mode is Mode.DEVELOPMENT else conf
        conf = conf.then(
            conf_text(security_lines(mode, scheme=scheme, shared_block=chip.keys.purpose_by == "halves")),
            where="rehearsal",
        )
    prevented = values.get(("security", "downgrade_prevention"))
    already = conf.defined("CONFIG_ESP_DOWNGRADE_PREVENTION")
    if prevented is None:
        prevented = True
    if bool(prevented) != already:
        conf = conf.then(conf_text(downgrade_lines(bool(prevented))), where="rehearsal")
    return conf


def _provider(value: Value | None, folder: Path) -> str | None:
    """A provider string; a file in it counts from the project file."""
    if value is None:
        return None
    scheme, colon, rest = str(value).partition(":")
    if colon and scheme in ("pkcs11", "exec"):
        return str(value)
    return str(folder / (rest if colon and scheme == "file" else str(value)))


def _number(value: Value | None) -> int | None:
    return value if isinstance(value, int) else None


def _password(variable: Value | None) -> bytes | None:
    if variable is None:
        return None
    word = os.environ.get(str(variable))
    if word is None:
        raise PasswordError(
            f"found no environment variable {variable}, expected the password of the key files in it",
            f"set {variable}, or delete keys.password_env",
        )
    return word.encode()
