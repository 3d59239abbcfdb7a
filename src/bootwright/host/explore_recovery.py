"""Whether serial recovery stays reachable, and whether it helps.

The Espressif port looks at the recovery pin before it looks at the slots, so that only a bootloader that erases or
writes outside of its areas loses it. Reaching it is worth something if an upload then boots: that is tried from the
states that the phases begin with and from some of those in which a property is violated, with the erases that the
port's recovery does before an upload.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bootwright.boot.config import BootConfig, SerialErase
from bootwright.boot.espressif_flash import EspressifFlash
from bootwright.boot.header import parse_header
from bootwright.boot.layout import PRIMARY, layout_of
from bootwright.boot.loader import boot_go
from bootwright.boot.outcome import Booted, BootOutcome
from bootwright.boot.probe import UNWATCHED
from bootwright.boot.sectors import Sectors
from bootwright.finding import Finding, failed, passed, warned
from bootwright.flash import FlashOp, Program
from bootwright.host.explore_check import SENTENCES, Property

if TYPE_CHECKING:
    from bootwright.host.explore import Exploration

TRIED = 12  #: violating states that an upload is tried from


def recovery(result: Exploration) -> Iterator[Finding]:
    """The findings about serial recovery."""
    subject, config = SENTENCES[Property.RECOVERY], result.question.scene.config
    if config.serial is None:
        yield passed("explore.recovery", subject, "not built in: CONFIG_ESP_MCUBOOT_SERIAL is not set")
        return
    if result.stray is not None:
        because = f"{result.stray.why} at {result.stray.address:#x} lies outside of the slots and scratch"
        yield failed("explore.recovery", subject, because, "check the layout in bootloader.conf")
        return
    reachable = "nothing outside of the slots and scratch is ever erased or written"
    tried, bad = _uploads(result)
    if bad is None:
        helped = f"; from {tried} states, violating ones among them, an upload was booted" if tried else ""
        yield passed("explore.recovery", subject, reachable + helped)
        return
    because = f"{reachable}, but after an upload {bad}"
    yield warned("explore.recovery", subject, because, "erase the whole slot first: leave out ERASE_PROGRESSIVELY")


def _uploads(result: Exploration) -> tuple[int, str | None]:
    """How many uploads of the update were booted, and how the first one that was not ended."""
    scene = result.question.scene
    image = scene.images[0][1] or scene.images[0][0]
    begins = [phase.roots[0].state for phase in result.phases]
    bad = list({v.node.state.fingerprint: v.node.state for v in result.violations}.values())[:TRIED]
    states = [*begins, *bad]
    if not image:
        return 0, None
    runs = result.phases[0].closure.runs
    for number, state in enumerate(states):
        runs.enter(state)
        flash = runs.flash.copy()
        _run(upload(flash, scene.config, image), flash)
        outcome = _run(boot_go(flash, scene.config), flash)
        if not isinstance(outcome, Booted):
            return number, "nothing boots"
        if outcome.version != parse_header(image).version:
            return number, f"{outcome.version} runs, not the uploaded {parse_header(image).version}"
    return len(states), None


def upload(flash: Sectors, config: BootConfig, image: bytes) -> Program[None]:
    """What an upload to the first slot does to the flash (bs_upload of boot_serial.c, MCUboot 2d4bacc3)."""
    place = layout_of(config).slots[0][PRIMARY]
    esp, step, area = EspressifFlash(flash, config, UNWATCHED), config.sector_size, place.area
    whole = range(0, area.size, step)
    used = range(0, -(-len(image) // step) * step, step)
    last = max(place.status, 0) // step * step
    for offset in whole if config.serial is SerialErase.WHOLE else (*used, *({last} - set(used))):
        yield from esp.erase(area, offset, step, "erase for the upload")
    for offset in used:
        piece = image[offset : offset + step]
        yield from esp.write(area, offset, piece + b"\xff" * (-len(piece) % step), "upload") or ()


def _run(program: Program[BootOutcome] | Program[None], flash: Sectors) -> BootOutcome | None:
    op: FlashOp
    try:
        while True:
            op = next(program)
            flash.apply(op)
    except StopIteration as end:
        outcome: BootOutcome | None = end.value
        return outcome
