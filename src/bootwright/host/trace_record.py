"""A scene on a virtual flash, and the trace of what was done in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bootwright.boot.config import BootConfig
from bootwright.boot.trace_record import Recorder
from bootwright.errors import FormatError
from bootwright.finding import Answer, passed
from bootwright.flash import SECTOR_SIZE, Area, NorFlash
from bootwright.host.files import read_bytes, read_text, write_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The files that a recording begins with."""

    conf: Path
    key: Path | None = None
    dump: Path | None = None
    primary: Path | None = None
    secondary: Path | None = None
    encryption_active: bool = False

    def build(self) -> BootConfig:
        """The bootloader's build.

        Raises:
            FormatError: the configuration or the key cannot be used.
        """
        from bootwright.formats.bootloader_conf import BootloaderConf
        from bootwright.formats.keys import load_public_key
        from bootwright.sim.port_config import boot_config

        keys = () if self.key is None else (load_public_key(read_bytes(self.key), where=str(self.key)).der,)
        conf = BootloaderConf.parse(read_text(self.conf), where=str(self.conf))
        return boot_config(conf, keys, encryption_active=self.encryption_active)

    def flash(self, config: BootConfig) -> bytes:
        """The flash before anything was done."""
        if self.dump is not None:
            content = read_bytes(self.dump)
        else:
            content = b"\xff" * max(-(-area.end // SECTOR_SIZE) * SECTOR_SIZE for area in config.areas)
        flash = NorFlash.holding(content)
        for path, area in ((self.primary, config.images[0].primary), (self.secondary, config.images[0].secondary)):
            if path is not None:
                flash.load(area.address, _fitting(path, area))
        return flash.snapshot()


def _fitting(path: Path, area: Area) -> bytes:
    data = read_bytes(path)
    if len(data) > area.size:
        raise FormatError(f"{path}: found {len(data):#x} bytes, {area.name} has {area.size:#x}", "take a smaller image")
    return data


def record(scene: Scene, actions: tuple[str, ...], output: Path) -> Answer:
    """Do `actions` in order and write the trace.

    Raises:
        FormatError: a file or an action cannot be used.
    """
    config = scene.build()
    recorder = Recorder(config, _encrypted(scene.flash(config), config), name=output.stem)
    for action in actions:
        _do(recorder, action)
    document = recorder.document()
    write_file(output, (json.dumps(document) + "\n").encode())
    last = next((step for step in reversed(document["steps"]) if step["do"] == "boot"), None)
    said = "" if last is None else f"; the last boot ended as {last['outcome']} after {last['nops']} operations"
    return Answer(
        command="trace record",
        findings=(passed("trace.recorded", str(output), f"{len(actions)} steps recorded{said}"),),
        details={"steps": len(document["steps"]), "final_sha256": document["final_sha256"]},
    )


def _encrypted(content: bytes, config: BootConfig) -> bytes:
    """Under flash encryption the slots hold what the stand-in cipher makes of them."""
    if not config.flash_encryption_active:
        return content
    from bootwright.boot.sectors import stand_in_cipher

    flash = NorFlash.holding(content)
    for area in config.areas:
        flash.load(area.address, stand_in_cipher(area.address, content[area.address : area.end]))
    return flash.snapshot()


def _do(recorder: Recorder, action: str) -> None:
    word, *rest = action.split(":")
    if (word, rest) in (("pending", []), ("pending", ["permanent"])):
        recorder.set_pending(permanent=bool(rest))
    elif (word, rest) == ("confirm", []):
        recorder.set_confirmed()
    elif word == "sweep" and rest in ([], ["torn"]):
        recorder.sweep(cut="torn" if rest else "clean")
    elif word == "boot" and _is_cut(rest):
        recorder.boot(stop_before=int(rest[0]) if rest else None, cut="torn" if rest[1:] else "clean")
    else:
        raise FormatError(
            f"found action {action!r}, expected pending[:permanent], confirm, boot, boot:N[:torn] or sweep[:torn]",
            "operations are counted from 1",
        )


def _is_cut(rest: list[str]) -> bool:
    return not rest or (rest[0].isdigit() and int(rest[0]) > 0 and rest[1:] in ([], ["torn"]))
