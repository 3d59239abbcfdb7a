"""The rehearsal: every step in order on one virtual chip, and what the chip looked like before and after."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bootwright.finding import Finding, Verdict, warned
from bootwright.host.bench import Bench, picture
from bootwright.host.files import make_directory, write_file, write_secret
from bootwright.host.flash_key import key_file
from bootwright.host.layout import conf_text
from bootwright.host.project import Project
from bootwright.host.rehearsal import Rehearsal, Step
from bootwright.host.rehearse_attacks import ATTACKS
from bootwright.host.rehearse_chain import CHAIN, POWER_CUT
from bootwright.host.rehearse_inputs import Inputs, Random, prepare_inputs
from bootwright.host.rehearse_story import chain_links, fuse_changes
from bootwright.host.rehearse_world import Act, World
from bootwright.sim.first_boot import McubootPort
from bootwright.sim.machine import Machine

ACTS: tuple[Act, ...] = (*CHAIN, *ATTACKS, POWER_CUT)
STEP_IDS = tuple(act.id for act in ACTS)

#: chips whose first boots were compared with traces of the real bootloader binary
TRACED = ("esp32c3",)

#: without these there is no chip to go on with
_FOUNDATION = STEP_IDS[: STEP_IDS.index("boot") + 1]


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file that `--keep` writes."""

    name: str
    data: bytes
    secret: bool = False

    def __repr__(self) -> str:
        return f"Artefact({self.name}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rehearsal, and the files that it made on the way."""

    rehearsal: Rehearsal
    artefacts: tuple[Artefact, ...]


def prepare(project: Project, *, random: Random = os.urandom) -> Inputs:
    """Read everything that the project names, so that all that can be wrong with files is said before the curtain.

    Raises:
        BootwrightError: a file that cannot be used, in one sentence.
    """
    return prepare_inputs(project, random=random)


def rehearse(inputs: Inputs, *, on_step: Callable[[str], None] = lambda title: None) -> Outcome:
    """Play every step; `on_step` hears the title of each before it begins.

    Raises:
        FormatError: a signed image does not fit its slot.
    """
    began = time.perf_counter()
    world = set_the_stage(inputs)
    steps: list[Step] = []
    broken = ""
    for act in ACTS:
        on_step(act.title)
        start = time.perf_counter()
        before = world.bench.copy()
        step = act.skipped(broken) if broken else act.perform(world)
        steps.append(replace(step, seconds=time.perf_counter() - start))
        if step.verdict is not Verdict.PASS and act.id in _FOUNDATION:
            broken = broken or step.id
        elif step.verdict is not Verdict.PASS:
            world.bench = before  # the steps that follow build on what worked
    after = picture(world.bench, "After the rehearsal")
    project, region_rows = inputs.project, inputs.project.conf.regions()
    rehearsal = Rehearsal(
        name=project.name,
        chip=project.chip.name,
        mode=project.mode.value,
        key_type=project.key_type,
        fe_key=project.fe_key.value,
        regions=tuple((region.name, region.address, region.size) for region in region_rows),
        flash_size=world.bench.machine.flash.size,
        steps=tuple(steps),
        notes=tuple(_notes(inputs)),
        before=world.before or picture(world.bench, "As flashed"),
        after=after,
        fuses=fuse_changes(world),
        chain=chain_links(world),
        seconds=time.perf_counter() - began,
    )
    return Outcome(rehearsal, tuple(_artefacts(world)))


def set_the_stage(inputs: Inputs) -> World:
    """A new chip, and nothing done yet."""
    conf = inputs.project.conf
    machine = Machine(inputs.project.chip, flash_size=conf.flash_size, entropy=inputs.random)
    return World(inputs, Bench(machine, McubootPort(conf=conf, keys=(inputs.signing.public.der,))))


def _notes(inputs: Inputs) -> Iterator[Finding]:
    """What a reader must know to read the result right."""
    project = inputs.project
    given = "the file's" if project.bootloader else "a synthetic image's"
    yield warned(
        "rehearse.bootloader.modelled",
        "bootloader",
        f"The bootloader's bytes ({given}) were padded, signed, measured, verified by the virtual ROM and encrypted. "
        "They were not executed: what the bootloader does is the behaviour of Bootwright's model of MCUboot and its "
        "Espressif port.",
        "The model is compared with the real code, operation by operation: docs/explanation/what-rehearse-proves.md.",
    )
    yield warned(
        "rehearse.chip.modelled",
        "chip",
        f"The {project.chip.title} is a model: eFuses, ROM checks and the flash-encryption unit follow public "
        "documents, sources and logs, and were not compared with silicon.",
    )
    if project.chip.name not in TRACED:
        yield warned(
            "rehearse.chip.untraced",
            "first boot",
            f"The first boot of the {project.chip.title} follows the sources of the port and of ESP-IDF; only that of "
            f"{', '.join(TRACED)} was compared with traces of the real bootloader.",
        )
    if project.added:
        yield warned(
            "rehearse.conf.added",
            "bootloader.conf",
            "The rehearsal added options that the chain needs and the bootloader.conf does not set: "
            f"{', '.join(project.added)}.",
            "Add them to the bootloader.conf that you build with.",
        )
    yield from project.doubts


def _artefacts(world: World) -> Iterator[Artefact]:
    inputs = world.inputs
    if inputs.given_signing is None:
        yield Artefact("signing.pem", inputs.drawn_signing.pem(), secret=True)
    if inputs.given_secure_boot is None:
        yield Artefact("secure_boot.pem", inputs.drawn_secure_boot.pem(), secret=True)
    if inputs.given_flash_key is None and (key := key_file(world.bench.efuses)):
        yield Artefact("flash_encryption.bin", key, secret=True)
    yield Artefact("signing.pub.pem", inputs.signing.public.pem)
    yield Artefact("bootloader.conf", _conf_file(inputs.project).encode())
    yield Artefact("bootloader.bin", inputs.bootloader.data)
    images = {
        "app-signed": world.app,
        "update-signed": world.update,
        "second-signed": world.second,
        "bootloader-signed": world.bootloader,
    }
    for name, data in images.items():
        if data:
            yield Artefact(f"{name}.bin", data)
    if world.plain_flash:
        yield Artefact("flash-plaintext.bin", world.plain_flash)
        yield Artefact("flash-final.bin", world.bench.raw)


def _conf_file(project: Project) -> str:
    return conf_text(f"{line.name}={line.value}" for line in project.conf.definitions)


def keep_artefacts(artefacts: tuple[Artefact, ...], folder: Path) -> None:
    """Write them all; keys only for their owner.

    Raises:
        RefusedError: the directory cannot be written.
    """
    make_directory(folder)
    for artefact in artefacts:
        write = write_secret if artefact.secret else write_file
        write(folder / artefact.name, artefact.data)
