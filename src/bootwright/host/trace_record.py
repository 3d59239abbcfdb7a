"""A scene on a virtual flash, and the trace of what was done in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootwright.boot.config import BootConfig
from bootwright.boot.trace_record import Recorder
from bootwright.errors import FormatError
from bootwright.finding import Answer, Finding, passed, warned
from bootwright.flash import SECTOR_SIZE, Area, NorFlash
from bootwright.host.files import read_bytes, read_text, write_file

ACTIONS = (
    "pending[:permanent][:IMAGE], confirm[:IMAGE], boot, boot:N[:torn], sweep[:torn], put:ADDRESS:FILE or serial:HEX"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The files that a recording begins with; of images, the first is image 0's."""

    conf: Path
    keys: tuple[Path, ...] = ()
    dump: Path | None = None
    primary: tuple[Path, ...] = ()
    secondary: tuple[Path, ...] = ()
    encryption_active: bool = False

    def build(self) -> BootConfig:
        """The bootloader's build.

        Raises:
            FormatError: the configuration or the key cannot be used.
        """
        from bootwright.formats.bootloader_conf import BootloaderConf
        from bootwright.formats.keys import load_public_key
        from bootwright.sim.port_config import bootutil_config

        keys = tuple(load_public_key(read_bytes(key), where=str(key)).der for key in self.keys)
        conf = BootloaderConf.parse(read_text(self.conf), where=str(self.conf))
        config = bootutil_config(conf, keys, encryption_active=self.encryption_active)
        if config.signature is not None and not keys:
            raise FormatError(
                f"{conf.where}: the build verifies {config.signature.value} signatures and no key was given",
                "give the public key with --key",
            )
        return config

    def flash(self, config: BootConfig) -> bytes:
        """The flash before anything was done.

        Raises:
            FormatError: a file that does not fit, or more images than the build has.
        """
        needed = max(-(-area.end // SECTOR_SIZE) * SECTOR_SIZE for area in config.areas)
        content = b"\xff" * needed if self.dump is None else read_bytes(self.dump)
        if len(content) < needed:
            raise FormatError(
                f"{self.dump}: found {len(content):#x} bytes, the layout needs {needed:#x}", "read the whole flash chip"
            )
        flash = NorFlash.holding(content + b"\xff" * (-len(content) % SECTOR_SIZE))
        for paths, word in ((self.primary, "primary"), (self.secondary, "secondary")):
            if len(paths) > len(config.images):
                raise FormatError(
                    f"found {len(paths)} {word} images, the build has {len(config.images)}",
                    "set CONFIG_ESP_IMAGE_NUMBER, or give fewer",
                )
            for path, slots in zip(paths, config.images, strict=False):
                area: Area = getattr(slots, word)
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
    steps = [_step(action, config) for action in actions]
    recorder = Recorder(config, _encrypted(scene.flash(config), config), name=output.stem)
    for step in steps:
        step(recorder)
    document = recorder.document()
    write_file(output, (json.dumps(document) + "\n").encode())
    last = next((step for step in reversed(document["steps"]) if step["do"] == "boot"), None)
    said = "" if last is None else f"; the last boot ended as {last['outcome']} after {last['nops']} operations"
    done = passed("trace.recorded", str(output), f"{len(actions)} steps recorded{said}")
    return Answer(
        command="trace record",
        findings=(done, *_not_compared(config)),
        details={"steps": len(document["steps"]), "final_sha256": document["final_sha256"]},
    )


def _not_compared(config: BootConfig) -> list[Finding]:
    """What no trace of the real code covers."""
    parts = [] if config.mode.compared else [f"mode {config.mode.value}"]
    if len(config.keys) > 1:
        parts.append(f"a build with {len(config.keys)} keys")
    because = "built from the source and not compared with the real code: no trace of it exists"
    return [warned("trace.not_compared", part, because) for part in parts]


def _encrypted(content: bytes, config: BootConfig) -> bytes:
    """Under flash encryption the slots hold what the stand-in cipher makes of them."""
    if not config.flash_encryption_active:
        return content
    from bootwright.boot.sectors import stand_in_cipher

    flash = NorFlash.holding(content)
    for area in config.areas:
        flash.load(area.address, stand_in_cipher(area.address, content[area.address : area.end]))
    return flash.snapshot()


def _step(action: str, config: BootConfig) -> Callable[[Recorder], object]:
    """What an action does; it is understood before the first one is done."""
    word, *rest = action.split(":")
    if word == "pending":
        permanent = rest[:1] == ["permanent"]
        requested = _image(rest[permanent:], config)
        if requested is not None:
            return lambda recorder: recorder.set_pending(image=requested, permanent=permanent)
    elif word == "confirm":
        confirmed = _image(rest, config)
        if confirmed is not None:
            return lambda recorder: recorder.set_confirmed(image=confirmed)
    elif word == "sweep" and rest in ([], ["torn"]):
        return lambda recorder: recorder.sweep(cut="torn" if rest else "clean")
    elif word == "boot" and _is_cut(rest):
        at, cut = int(rest[0]) if rest else None, "torn" if rest[1:] else "clean"
        return lambda recorder: recorder.boot(stop_before=at, cut=cut)
    elif word == "put" and len(rest) > 1 and (address := _number(rest[0])) is not None:
        data = read_bytes(Path(":".join(rest[1:])))
        return lambda recorder: _put(recorder, address, data)
    elif word == "serial" and len(rest) == 1 and (sent := _hex(rest[0])) is not None:
        return lambda recorder: recorder.serial(sent)
    raise FormatError(f"found action {action!r}, expected {ACTIONS}", "operations and images count from 1 and from 0")


def _put(recorder: Recorder, address: int, data: bytes) -> None:
    if address + len(data) > recorder.flash.size:
        raise FormatError(
            f"found {len(data):#x} bytes for {address:#x}, the flash ends at {recorder.flash.size:#x}",
            "begin with a larger dump",
        )
    recorder.flash_put(address, data)


def _image(rest: list[str], config: BootConfig) -> int | None:
    if not rest:
        return 0
    number = _number(rest[0])
    return number if len(rest) == 1 and number is not None and number < len(config.images) else None


def _number(text: str) -> int | None:
    try:
        return int(text, 0) if not text.startswith("-") else None
    except ValueError:
        return None


def _hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _is_cut(rest: list[str]) -> bool:
    return not rest or (rest[0].isdigit() and int(rest[0]) > 0 and rest[1:] in ([], ["torn"]))
