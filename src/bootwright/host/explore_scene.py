"""What is explored: a build, the flash it begins with, and what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from bootwright.boot.config import BootConfig, ImageSlots, Mode
from bootwright.boot.loader import read_status, set_pending
from bootwright.boot.loader_state import Loader
from bootwright.boot.outcome import HaltError
from bootwright.boot.probe import UNWATCHED
from bootwright.boot.sectors import Sectors, stand_in_cipher
from bootwright.boot.swap_type import UPGRADES, SwapType
from bootwright.errors import FormatError
from bootwright.finding import Finding, Verdict, warned
from bootwright.flash import SECTOR_SIZE, Area, Flash, NorFlash, drive
from bootwright.formats.bootloader_conf import BootloaderConf
from bootwright.formats.mcuboot_image import MAGIC, Image, parse_header
from bootwright.host.explore_chip import check_chip
from bootwright.host.files import read_bytes, read_text

if TYPE_CHECKING:
    from bootwright.host.firmware import Payload
    from bootwright.host.project import Firmware
    from bootwright.host.rehearse_inputs import Inputs

TRAILER_ROOM = 0x4000  #: bytes at the end of a slot that a damaged image is not looked for in


class Action(StrEnum):
    """What the application asked for before the power cuts."""

    TEST = "test"  #: run the new image once, keep it only if it confirms itself
    PERMANENT = "permanent"  #: run the new image for good
    REVERT = "revert"  #: the new image ran unconfirmed, the old one comes back


class Pending(StrEnum):
    """What the next boot of a flash is going to do with an image, in words."""

    NOTHING = "nothing is asked for"
    SWAP = "a swap is under way"
    UPDATE = "an update is requested already"
    REVERT = "an unconfirmed image runs: the next boot reverts it"


def pending_in(flash: Flash, config: BootConfig, image: int) -> Pending:
    """What the trailers of an image ask for; nothing where they cannot be read."""
    loader = Loader(flash, config, UNWATCHED)
    loader.image = image
    try:
        if config.mode.swaps:
            status = loader.new_status()
            read_status(loader, status)
            if not status.is_reset or status.swap_type in UPGRADES:
                return Pending.SWAP
        asked = loader.requested_swap()
    except HaltError:
        return Pending.NOTHING
    if asked == SwapType.REVERT and config.mode.swaps:
        return Pending.REVERT
    return Pending.UPDATE if asked in (SwapType.TEST, SwapType.PERM) else Pending.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A build and the images in its slots, without an offset between image and slot."""

    config: BootConfig
    images: tuple[tuple[bytes, bytes], ...]  #: (primary, secondary) of each image; empty bytes: an erased slot
    action: Action
    dump: bytes = b""  #: raw content of the whole flash to begin with, instead of images
    remarks: tuple[Finding, ...] = ()  #: what the configuration does other than it says

    def flash(self) -> Sectors:
        """The flash with the request made, under the stand-in cipher where encryption is active."""
        config, flash = self.config, self.unasked()
        for image, ((_, secondary), pending) in enumerate(zip(self.images, self.pending, strict=True)):
            if (secondary or self.dump) and pending is Pending.NOTHING:
                permanent = self.action is Action.PERMANENT
                drive(set_pending(flash, config, image=image, permanent=permanent), flash.apply)
        return flash

    def unasked(self) -> Sectors:
        """The flash without the request."""
        cipher = stand_in_cipher if self.config.flash_encryption_active else None
        return Sectors.holding(self._content(), cipher=cipher, sector_size=self.config.sector_size)

    @property
    def pending(self) -> tuple[Pending, ...]:
        """What a dump asks for by itself, of each image; nothing where there is no dump."""
        if not self.dump:
            return (Pending.NOTHING,) * len(self.images)
        flash = self.unasked()
        return tuple(pending_in(flash, self.config, image) for image in range(len(self.images)))

    @property
    def ran_before(self) -> bool:
        """Whether it begins with an image that already ran and did not confirm itself."""
        return self.pending[0] is Pending.REVERT

    def _content(self) -> bytes:
        config = self.config
        if self.dump:
            return self.dump
        flash = NorFlash(max(-(-area.end // SECTOR_SIZE) * SECTOR_SIZE for area in config.areas))
        up = config.sector_size if config.mode is Mode.OFFSET else 0
        for slots, (primary, secondary) in zip(config.images, self.images, strict=True):
            for area, data, offset in ((slots.primary, primary, 0), (slots.secondary, secondary, up)):
                if offset + len(data) > area.size:
                    raise FormatError(
                        f"{area.name}: found an image of {len(data):#x} bytes, the slot has {area.size:#x}",
                        "give a smaller image or a larger slot",
                    )
                flash.load(area.address + offset, data)
        if config.flash_encryption_active:
            for area in config.areas:
                flash.load(area.address, stand_in_cipher(area.address, flash.read(area.address, area.size)))
        return flash.snapshot()


def read_conf(paths: Sequence[Path]) -> BootloaderConf:
    """One or several configuration files, later ones over earlier ones.

    Raises:
        FormatError: a line at which CMake stops, or a file that cannot be read.
    """
    conf = BootloaderConf.parse(read_text(paths[0]), where=str(paths[0]))
    for path in paths[1:]:
        conf = conf.then(read_text(path), where=str(path))
    return conf


def scene_from_project(path: Path | None, *, action: Action) -> Scene:
    """The scene of a `bootwright.toml`: its application runs, its update is requested, encryption is on if compiled in.

    Raises:
        BootwrightError: the project cannot be used.
    """
    import secrets

    from bootwright.host.project import load_project
    from bootwright.host.rehearse_inputs import prepare_inputs

    project = load_project(path)
    inputs = prepare_inputs(project, random=secrets.token_bytes)
    app = _signed(inputs, inputs.app, project.app, counter=1)
    update = _signed(inputs, inputs.update, project.update, counter=2)
    images, files = [(app, update)], [(project.app.file, app), (project.update.file, update)]
    if inputs.second is not None:  # image 1 has no update of its own
        second = _signed(inputs, inputs.second, project.second, counter=1)
        images.append((second, b""))
        files.append((project.second.file, second))
    check_chip([(str(file or project.where), image) for file, image in files], project.chip.name)
    return scene_of(
        project.conf,
        images=tuple(images),
        keys=(inputs.signing.public.der,),
        action=action,
        encryption_active=project.conf.flash_encryption,
    )


def _signed(inputs: Inputs, payload: Payload, firmware: Firmware, *, counter: int) -> bytes:
    """An application signed as a rehearsal signs it; `counter` is for builds that ask for one where none is given."""
    from bootwright.formats.mcuboot_image import ImageVersion
    from bootwright.formats.mcuboot_sign import SignOptions, sign_image
    from bootwright.host.rehearse_world import COUNTER

    asked = counter if inputs.project.conf.defined(COUNTER) else None
    options = SignOptions(
        version=ImageVersion.from_text(firmware.version),
        pad_header=True,
        align=32,
        max_align=32,
        security_counter=asked if firmware.security_counter is None else firmware.security_counter,
    )
    return sign_image(payload.data, options, inputs.signing)


def scene_from_files(
    conf: BootloaderConf,
    *,
    primary: Sequence[Path],
    secondary: Sequence[Path],
    keys: Sequence[bytes],
    action: Action,
    encryption_active: bool,
    chip: str | None = None,
) -> Scene:
    """A scene of signed images: the first of each list for image 0, the second for image 1.

    Raises:
        FormatError: a configuration that cannot be, a file that is no MCUboot image, or one of another chip.
        NotModelledError: an upgrade mode beyond the model.
    """
    held = {path: image_file(path) for path in (*primary, *secondary)}
    pairs = tuple(
        (held[one] if one else b"", held[two] if two else b"") for one, two in zip_longest(primary, secondary)
    )
    if len(pairs) > conf.image_count:
        raise FormatError(
            f"{conf.where}: found {len(pairs)} image pairs, expected {conf.image_count}",
            "set CONFIG_ESP_IMAGE_NUMBER, or give fewer images",
        )
    remarks = check_chip([(str(path), image) for path, image in held.items()], chip)
    scene = scene_of(conf, images=pairs, keys=keys, action=action, encryption_active=encryption_active)
    return replace(scene, remarks=(*scene.remarks, *remarks))


def scene_from_dump(
    conf: BootloaderConf, dump: Path, *, keys: Sequence[bytes], action: Action, chip: str | None = None
) -> Scene:
    """A scene that begins with a dump of a whole flash; encrypted flash cannot be taken apart without its key.

    Raises:
        FormatError: the dump is shorter than the layout, or holds an image of another chip.
    """
    empty = ((b"", b""),) * conf.image_count
    scene = scene_of(conf, images=empty, keys=keys, action=action, encryption_active=False)
    content = read_bytes(dump, what="flash dump")
    content += b"\xff" * (-len(content) % SECTOR_SIZE)
    needed = max(area.end for area in scene.config.areas)
    if len(content) < needed:
        raise FormatError(
            f"{dump}: found {len(content):#x} bytes, the layout needs {needed:#x}", "read the whole flash chip"
        )
    scene = with_images(replace(scene, dump=content))
    areas = [area.name for pair in scene.config.images for area in (pair.primary, pair.secondary)]
    held = zip(areas, (image for pair in scene.images for image in pair), strict=True)
    remarks = check_chip([(f"{dump}, {name}", image) for name, image in held if image], chip)
    return replace(scene, remarks=(*scene.remarks, *remarks, *_left_alone(scene)))


def _left_alone(scene: Scene) -> tuple[Finding, ...]:
    """Where a dump is explored as it is, without another request."""
    return tuple(
        warned("explore.flash.pending", slots.primary.name, f"{pending.value}; the dump is explored as it is")
        for slots, pending in zip(scene.config.images, scene.pending, strict=True)
        if pending is not Pending.NOTHING
    )


def with_images(scene: Scene) -> Scene:
    """The images that lie in a dump, for the layouts that are tried against a violation."""
    up = scene.config.sector_size if scene.config.mode is Mode.OFFSET else 0
    flash = scene.flash()
    pairs = tuple(
        (
            image_in(flash.read(pair.primary.address, pair.primary.size)),
            image_in(flash.read(pair.secondary.address + up, pair.secondary.size - up)),
        )
        for pair in scene.config.images
    )
    return replace(scene, images=pairs)


def image_in(slot: bytes) -> bytes:
    """The image at the beginning of a slot, nothing if there is none; a damaged one in full."""
    if slot[:4] != MAGIC.to_bytes(4, "little"):
        return b""
    try:
        image = Image.parse(slot)
    except FormatError:
        end = len(slot.rstrip(b"\xff"))
        return slot[: min(end, len(slot) - TRAILER_ROOM)]
    return slot[: image.size]


def scene_of(
    conf: BootloaderConf,
    *,
    images: tuple[tuple[bytes, bytes], ...],
    keys: Sequence[bytes],
    action: Action,
    encryption_active: bool,
) -> Scene:
    """A scene of a configuration that was read.

    Raises:
        FormatError: the layout cannot be.
    """
    from bootwright.sim.port_config import boot_config

    check_layout(conf)
    remarks = remarks_on(conf)
    config = boot_config(conf, tuple(keys), encryption_active=encryption_active)
    if config.signature is not None and not keys:
        raise FormatError(
            f"{conf.where}: the build verifies {config.signature.value} signatures and no key was given",
            "give the public key with --key, or name its file in CONFIG_ESP_SIGN_KEY_FILE",
        )
    padded = images + ((b"", b""),) * (len(config.images) - len(images))
    return Scene(config=config, images=padded, action=action, remarks=remarks)


#: what stops the port's build: CMake's FATAL_ERROR, an #error, or the linker
_REJECTED = frozenset({"conf.signature.rsa_length", "conf.signature.library", "conf.images.multi_processor"})
#: what is explored all the same: an option read in another way, a strategy of bootutil that the port cannot link
_REMARKED = frozenset({"conf.downgrade.counter_alone", "conf.mode.unsupported"})


def remarks_on(conf: BootloaderConf) -> tuple[Finding, ...]:
    """What the port silently reads in another way than it is written, or does not support, as warnings.

    Raises:
        FormatError: the port would not build this configuration.
    """
    from bootwright.host.conf_lint import lint

    found = lint(conf)
    for finding in found:
        if finding.code in _REJECTED and finding.verdict is Verdict.FAIL:
            raise FormatError(f"{finding.subject}: {finding.because}", finding.next)
    remarks = (*conf.findings, *(finding for finding in found if finding.code in _REMARKED))
    return tuple(warned(one.code, one.subject, one.because, one.next) for one in remarks)


def key_of(conf: BootloaderConf, paths: Sequence[Path]) -> Path | None:
    """The file that CONFIG_ESP_SIGN_KEY_FILE names, beside the configuration or as it stands; None without one."""
    named = conf.value("CONFIG_ESP_SIGN_KEY_FILE")
    if not named:
        return None
    name = named.strip('"')
    places = [*(path.parent / name for path in reversed(paths)), Path(name)]
    return next((place for place in places if place.is_file()), None)


def check_layout(conf: BootloaderConf) -> None:
    """Refuse what the port could not run.

    Raises:
        FormatError: slots that overlap, are not aligned, or have more sectors than the port's table.
    """
    areas = [Area(*region) for region in conf.regions()]
    for area in areas:
        if area.address % SECTOR_SIZE and area.name != "bootloader":
            raise FormatError(
                f"{conf.where}: {area.name} begins at {area.address:#x}, inside a flash sector",
                "align it to 0x1000",
            )
        if area.size > 512 * SECTOR_SIZE:
            raise FormatError(
                f"{conf.where}: {area.name} has {area.size:#x} bytes, the port's sector table ends at 0x200000",
                "make it smaller",
            )
    for first, second in pairwise(areas):
        if first.overlaps(second):
            raise FormatError(
                f"{conf.where}: {first.name} ({first.address:#x} to {first.end:#x}) overlaps {second.name} "
                f"({second.address:#x} to {second.end:#x})",
                "move one of them",
            )


def image_file(path: Path) -> bytes:
    """A signed image.

    Raises:
        FormatError: the file is no MCUboot image.
    """
    data = read_bytes(path, what="MCUboot image")
    parse_header(data, where=str(path))
    return data


def with_layout(scene: Scene, *, mode: Mode, scratch_size: int, extra: int = 0) -> Scene:
    """The same images in another layout: the areas follow each other, slots are larger by `extra` bytes."""
    config = scene.config
    at = config.images[0].primary.address
    slots = []
    for pair in config.images:
        size = pair.primary.size + extra
        slots.append(
            ImageSlots(Area(pair.primary.name, at, size), Area(pair.secondary.name, at + size, size)),
        )
        at += 2 * size
    scratch = Area("scratch", at, scratch_size) if mode is Mode.SCRATCH else None
    return replace(scene, config=replace(config, mode=mode, images=tuple(slots), scratch=scratch), dump=b"")
