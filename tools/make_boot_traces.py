"""Record traces of odd scenes on the model: tests/vectors/odd.tar.xz.

    python tools/make_boot_traces.py            # writes the archive anew

The scenes are random and reproducible: images with and without dependencies and counters, damaged ones, trailers with
flags that are neither set nor erased, leftovers of swaps, cuts, requests. Small scenes have slots of a few sectors,
slots of unequal size, every alignment, images that end at a sector's edge; `CHOSEN` names those that told a mutant of
the model from the model (`tools/mutate.py --hunt`). They hold what the model does today, so that a change of it is
seen; what the real code does is held by the traces in mcuboot.tar.xz alone.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from bootwright.boot.config import BootConfig, ImageSlots, Mode, single_slot  # noqa: E402
from bootwright.boot.layout import Place, layout_of  # noqa: E402
from bootwright.boot.sectors import stand_in_cipher  # noqa: E402
from bootwright.boot.trace_record import Recorder  # noqa: E402
from bootwright.flash import SECTOR_SIZE, Area  # noqa: E402
from bootwright.formats.mcuboot_image import ImageFlags, ImageVersion  # noqa: E402
from bootwright.formats.mcuboot_sign import Dependency, SignOptions, sign_image  # noqa: E402

SLOT, FLASH, SCRATCH = 0x20000, 0xB0000, 0x50000
PAIRS = ((0x10000, 0x30000), (0x60000, 0x80000))
RAM = 0x20000000
EACH = {
    Mode.SCRATCH: 36,
    Mode.MOVE: 36,
    Mode.OFFSET: 30,
    Mode.OVERWRITE: 16,
    Mode.OVERWRITE_FAST: 20,
    Mode.DIRECT_XIP: 8,
    Mode.DIRECT_XIP_REVERT: 12,
    Mode.RAM_LOAD: 8,
    Mode.RAM_LOAD_REVERT: 12,
    Mode.SINGLE: 4,
}
#: small scenes that are recorded, by their seeds; a trace cannot say that slots differ in size
CHOSEN: dict[Mode, tuple[int, ...]] = {
    Mode.SCRATCH: (0, 2, 3, 11, 13, 14, 17, 24, 31, 39, 53),
    Mode.MOVE: (0, 1, 3, 14, 16, 19, 21, 24, 25, 27, 33, 37, 47, 92, 106, 115),
    Mode.OFFSET: (0, 14, 15, 32, 35, 40, 53, 96, 113, 115, 176, 225, 277),
    Mode.OVERWRITE: (0, 2, 16, 25),
    Mode.OVERWRITE_FAST: (1, 6, 42),
}


def build(dice: random.Random, mode: Mode) -> BootConfig:
    """A build of one or two images, with or without downgrade prevention."""
    images = 1 if mode is Mode.SINGLE else dice.choice((1, 1, 2))
    areas = [
        ImageSlots(Area(f"image {n} primary", PAIRS[n][0], SLOT), Area(f"image {n} secondary", PAIRS[n][1], SLOT))
        for n in range(images)
    ]
    downgrade = not mode.chooses and dice.random() < 0.4
    return BootConfig(
        mode=mode,
        images=(single_slot(areas[0].primary),) if mode is Mode.SINGLE else tuple(areas),
        scratch=Area("scratch", SCRATCH, 0x4000) if mode is Mode.SCRATCH else None,
        downgrade_prevention=downgrade,
        security_counter=downgrade and dice.random() < 0.5,
        max_align=dice.choice((8, 8, 32)),
        ram=Area("RAM", RAM, 0x40000) if mode.loads_to_ram else None,
    )


def version(dice: random.Random) -> ImageVersion:
    """One of few versions, so that equal ones meet."""
    major, minor, revision = (dice.choice((0, 1, 1, 2)) for _ in range(3))
    return ImageVersion(major=major, minor=minor, revision=revision, build=dice.choice((0, 3)))


def image(dice: random.Random, config: BootConfig, number: int, at: int) -> bytes:
    """A hashed image, sometimes damaged."""
    flags = load = 0
    if config.mode.loads_to_ram:
        flags = int(ImageFlags.RAM_LOAD) if dice.random() < 0.9 else 0
        load = RAM + dice.choice((number * 0x20000, 0x3FF00))
    elif dice.random() < 0.1:
        flags = dice.choice((0x10, 0x4, 0x8, 0x200))
    wants = dice.random() < 0.4 and len(config.images) > 1
    options = SignOptions(
        version=version(dice),
        pad_header=True,
        header_size=dice.choice((32, 32, 0x200)),
        load_addr=load,
        rom_fixed=at if dice.random() < 0.2 and config.mode in (Mode.DIRECT_XIP, Mode.DIRECT_XIP_REVERT) else 0,
        extra_flags=flags,
        security_counter=dice.choice((None, 0, 1, 2)),
        dependencies=(Dependency(image=dice.choice((0, 1, 2)), version=ImageVersion(major=1, minor=1)),)
        if wants
        else (),
    )
    payload = bytes(dice.randbytes(3) * dice.choice((20, 900, 2000, 9000)))
    made = bytearray(sign_image(payload, options, None))
    if dice.random() < 0.12:
        made[dice.choice((dice.randrange(32), dice.randrange(len(made)), len(made) - 1 - dice.randrange(40)))] ^= 4
    return bytes(made)


def fill(dice: random.Random, config: BootConfig) -> bytes:
    """The flash at the beginning: images, odd trailers, leftovers of a swap."""
    flash = bytearray(b"\xff" * FLASH)
    layout = layout_of(config)
    for number in range(len(config.images)):
        for slot in (0, 1)[: 1 if config.mode is Mode.SINGLE else 2]:
            place = layout.slots[number][slot]
            base = place.area.address
            if dice.random() < 0.92:
                up = 0x1000 if config.mode is Mode.OFFSET and slot and dice.random() < 0.9 else 0
                made = image(dice, config, number, base)
                flash[base + up : base + up + len(made)] = made
            if dice.random() < 0.85:
                trailer(dice, flash, place, layout.magic)
            if dice.random() < 0.15 and place.status > 0:
                for _ in range(dice.choice((1, 3, 30))):
                    flash[base + place.status + 4 * dice.randrange(dice.choice((4, 40, 1024)))] = dice.choice((1, 2, 3))
                size = dice.choice((0x3000, 0x5123, 0x13000)).to_bytes(4, "little")
                flash[base + place.swap_size : base + place.swap_size + 4] = size
    if layout.scratch is not None and dice.random() < 0.3:
        place = layout.scratch
        flash[SCRATCH + 0x3FF0 : SCRATCH + 0x4000] = layout.magic if dice.random() < 0.7 else dice.randbytes(16)
        flash[SCRATCH + place.swap_info] = dice.choice((0xFF, 2, 3, 0x13))
        size = dice.choice((0x3000, 0x1A000)).to_bytes(4, "little")
        flash[SCRATCH + place.swap_size : SCRATCH + place.swap_size + 4] = size
    return bytes(flash)


def trailer(dice: random.Random, flash: bytearray, place: Place, magic: bytes) -> None:
    """A trailer whose every field may be set, erased or neither."""
    base = place.area.address
    end = base + place.area.size
    kind = dice.random()
    if kind < 0.7:
        flash[end - 16 : end] = magic
    elif kind < 0.8:
        flash[end - 16] = 0x77
    flash[base + place.image_ok] = dice.choice((0xFF, 0xFF, 1, 1, 0, 0x7F))
    flash[base + place.copy_done] = dice.choice((0xFF, 0xFF, 1, 1, 0, 0x7F))
    flash[base + place.swap_info] = dice.choice((0xFF, 2, 3, 4, 0x12, 5))


def small_build(dice: random.Random, mode: Mode) -> BootConfig:
    """Slots of a few sectors, now and then unequal, every alignment."""
    sectors, images = dice.choice((4, 5, 6, 8, 11)), dice.choice((1, 1, 1, 2))
    most = dice.choice((16, 16, 16, 64, 64, sectors + 1, sectors, sectors - 1))
    first = second = sectors
    if dice.random() < 0.15:
        first, second = sectors + dice.choice((0, 1)), sectors + dice.choice((0, 1, 2))
    at, areas = 0x10000, []
    for number in range(images):
        primary = Area(f"image {number} primary", at, first * SECTOR_SIZE)
        secondary = Area(f"image {number} secondary", primary.end, second * SECTOR_SIZE)
        areas.append(ImageSlots(primary, secondary))
        at = secondary.end
    encrypted = dice.random() < 0.12
    max_align = 32 if encrypted else dice.choice((8, 8, 16, 32))
    return BootConfig(
        mode=mode,
        images=tuple(areas),
        scratch=Area("scratch", at, dice.choice((1, 2, 3, 4)) * SECTOR_SIZE) if mode is Mode.SCRATCH else None,
        downgrade_prevention=dice.random() < 0.25,
        max_align=max_align,
        write_align=32 if encrypted else dice.choice([size for size in (4, 4, 8, 16, 32) if size <= max_align]),
        flash_encryption_active=encrypted,
        max_img_sectors=most,
    )


def small_image(dice: random.Random, config: BootConfig, place: Place, number: int) -> bytes:
    """An image that ends anywhere, often beside a sector's edge or where the trailer begins."""
    wants = dice.random() < 0.3 and len(config.images) > 1
    options = SignOptions(
        version=version(dice),
        pad_header=True,
        header_size=dice.choice((32, 32, 0x200)),
        dependencies=(Dependency(image=1 - number, version=ImageVersion(major=1, minor=1)),) if wants else (),
    )
    around = len(sign_image(bytes(16), options, None)) - 16
    fits, most = place.sectors - 2, place.sectors + 1
    edge = SECTOR_SIZE * dice.choice(
        (dice.randrange(fits), dice.randrange(fits), dice.randrange(fits), dice.randrange(most))
    )
    if dice.random() < 0.05:
        edge = place.status
    length = max(edge + dice.choice((-40, -4, -1, 0, 0, 1, 4, dice.randrange(SECTOR_SIZE))) - around, 1)
    payload = (dice.randbytes(61) * (length // 61 + 1))[:length]  # packs well, and no two sectors are alike
    made = bytearray(sign_image(payload, options, None))
    if dice.random() < 0.05:
        made[dice.choice((dice.randrange(32), dice.randrange(len(made)), len(made) - 1 - dice.randrange(40)))] ^= 4
    return bytes(made)


def small_fill(dice: random.Random, config: BootConfig) -> bytes:
    """Two images for each pair of slots; in a third of the scenes leftovers and odd trailers too."""
    layout = layout_of(config)
    end = max(area.end for area in config.areas)
    flash, odd = bytearray(b"\xff" * end), dice.random() < 0.33
    for number, pair in enumerate(layout.slots):
        for slot, place in enumerate(pair):
            up = SECTOR_SIZE if config.mode is Mode.OFFSET and slot and dice.random() < 0.9 else 0
            if dice.random() < 0.96:
                made = small_image(dice, config, place, number)[: place.area.size - up]
                flash[place.area.address + up : place.area.address + up + len(made)] = made
            if odd and place.status >= 0:
                leftovers(dice, config, flash, place)
    if odd and layout.scratch is not None and layout.scratch.status >= 0:
        leftovers(dice, config, flash, layout.scratch)
    if not config.flash_encryption_active:
        return bytes(flash)
    return stand_in_cipher(0, bytes(flash))


def leftovers(dice: random.Random, config: BootConfig, flash: bytearray, place: Place) -> None:
    """A trailer as a swap may leave it, and as none would."""
    layout, base = layout_of(config), place.area.address
    if dice.random() < 0.75:
        trailer(dice, flash, place, layout.magic)
    if dice.random() < 0.4:
        written = dice.randrange(place.status_entries)
        for entry in range(written) if dice.random() < 0.7 else (written,):
            flash[base + place.status + entry * config.write_align] = dice.choice((1, 2, 3))
    if dice.random() < 0.6:
        size = dice.choice((0, 1, SECTOR_SIZE, SECTOR_SIZE + 1, dice.randrange(place.area.size))).to_bytes(4, "little")
        flash[base + place.swap_size : base + place.swap_size + 4] = size
    if config.mode is Mode.OFFSET and dice.random() < 0.6:
        flash[base + place.tlv_sizes : base + place.tlv_sizes + 4] = bytes(
            (dice.randrange(200), 0, dice.randrange(200), 0)
        )


def record(seed: int, mode: Mode) -> tuple[str, dict[str, object]]:
    """One scene and what is done in it."""
    dice = random.Random(seed)
    config = build(dice, mode)
    recorder = Recorder(config, fill(dice, config), name=f"odd-{mode.value}-{seed}", chip="esp32c3")
    for _ in range(4):
        kind = dice.random()
        if kind < 0.8 or mode is Mode.SINGLE:
            stop = dice.choice((None, dice.randrange(1, 30), dice.randrange(1, 200)))
            recorder.boot(stop_before=stop, cut=dice.choice(("clean", "torn")))
        elif kind < 0.9:
            recorder.set_pending(image=dice.randrange(len(config.images)), permanent=dice.random() < 0.5)
        else:
            recorder.set_confirmed(image=dice.randrange(len(config.images)))
    return f"odd-{mode.value}-{seed}", recorder.document()


def small_scene(seed: int, mode: Mode) -> Recorder:
    """A small scene: requests, cuts, now and then a byte of a trailer that somebody changed."""
    dice = random.Random(f"{mode.value} {seed}")
    config = small_build(dice, mode)
    recorder = Recorder(config, small_fill(dice, config), name=f"small-{mode.value}-{seed}", chip="esp32c3")
    for _ in range(dice.choice((2, 4, 4, 6))):
        kind, image = dice.random(), dice.randrange(len(config.images))
        if kind < 0.25:
            recorder.set_pending(image=image, permanent=dice.random() < 0.4)
        elif kind < 0.32:
            recorder.set_confirmed(image=image)
        elif kind < 0.35 and not config.flash_encryption_active:
            place = layout_of(config).slots[image][dice.randrange(2)]
            at = dice.choice((place.swap_info, place.copy_done, place.image_ok, place.magic, place.swap_size))
            recorder.flash_put(place.area.address + at, bytes((dice.choice((0, 1, 2, 3, 4, 0xFF)),)))
        stop = dice.choice((None, dice.randrange(1, 12), dice.randrange(1, 60), dice.randrange(1, 140)))
        recorder.boot(stop_before=stop, cut=dice.choice(("clean", "clean", "torn")))
    return recorder


def main() -> None:
    """Write the archive."""
    with tarfile.open(ROOT / "tests" / "vectors" / "odd.tar.xz", "w:xz", preset=9) as archive:
        chosen = [small_scene(seed, mode).document() for mode, seeds in CHOSEN.items() for seed in seeds]
        scenes = [record(seed, mode) for mode, count in EACH.items() for seed in range(count)]
        for name, document in [*scenes, *((str(document["name"]), document) for document in chosen)]:
            data = (json.dumps(document, separators=(",", ":")) + "\n").encode()
            member = tarfile.TarInfo(f"{name}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    main()
