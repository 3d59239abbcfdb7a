"""`bootwright explore`: can any series of power cuts brick this device, lose the update, or run something else?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bootwright.cli.show import json_option, show

if TYPE_CHECKING:
    from bootwright.finding import Answer
    from bootwright.host.explore import Exploration
    from bootwright.host.explore_scene import Scene

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("project", required=False, type=FILE)
@click.option("--config", "confs", multiple=True, type=FILE, help="bootloader.conf; later files override earlier ones.")
@click.option(
    "--key",
    type=FILE,
    help="Key to verify with (PEM; only its public half is used); else CONFIG_ESP_SIGN_KEY_FILE of --config.",
)
@click.option("--primary", multiple=True, type=FILE, help="Signed image that runs; again for a second image.")
@click.option("--secondary", multiple=True, type=FILE, help="Signed image of the update; again for a second image.")
@click.option("--flash", "dump", type=FILE, help="Begin with a dump of the whole flash instead of images.")
@click.option("--chip", help="Refuse images of another chip than this, say esp32c3 (a project names its own).")
@click.option("--encryption-inactive", is_flag=True, help="Flash encryption is compiled in but not yet on in eFuse.")
@click.option(
    "--action",
    type=click.Choice(["test", "permanent", "revert"]),
    default="test",
    show_default=True,
    help="What is asked for.",
)
@click.option(
    "--mode",
    type=click.Choice(["exhaustive", "single", "sample"]),
    default="exhaustive",
    show_default=True,
    help="Every series of cuts, every single cut, or series at random.",
)
@click.option(
    "--cuts",
    type=click.Choice(["clean", "torn", "bits"]),
    default="clean",
    show_default=True,
    help="What a cut leaves of its operation: nothing, a half, or any bits.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="For sample and bits.")
@click.option(
    "--samples", type=click.IntRange(1), default=1000, show_default=True, help="Random series in sample mode."
)
@click.option("--max-states", type=click.IntRange(1), default=100_000, show_default=True, help="Of each phase.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; without it as many as there are cores, up to 4.")
@click.option("--provisioning", is_flag=True, help="Cut the first boot of PROJECT instead (eFuses, encryption).")
@click.option("--points", type=click.IntRange(1), default=24, show_default=True, help="Flash cuts for --provisioning.")
@click.option("--no-remedies", is_flag=True, help="Do not look for a layout that helps.")
@click.option("--traces", type=FILE, help="Write each counter-example as a trace into this folder.")
@click.option("--report", type=FILE, help="Write an HTML report here.")
@json_option
@click.pass_context
def explore(
    context: click.Context,
    project: Path | None,
    confs: tuple[Path, ...],
    key: Path | None,
    primary: tuple[Path, ...],
    secondary: tuple[Path, ...],
    dump: Path | None,
    chip: str | None,
    encryption_inactive: bool,
    action: str,
    mode: str,
    cuts: str,
    seed: int,
    samples: int,
    max_states: int,
    jobs: int | None,
    provisioning: bool,
    points: int,
    no_remedies: bool,
    traces: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Follow an update through every series of power cuts.

    For PROJECT (a bootwright.toml), or for a bootloader.conf with two images. Checks that the device always boots an
    authentic image, never loses an update silently, reverts what is not confirmed and keeps what is; each violated
    property comes with the shortest counter-example. Exit code 1 when a property is violated.
    """
    from bootwright.host.explore import Question, Reach, explore
    from bootwright.host.explore_answer import answer
    from bootwright.host.explore_graph import Cuts
    from bootwright.host.explore_jobs import usable_cores

    if chip is not None and not confs:
        raise click.UsageError("give --chip with --config; a project names its own chip")
    shown = sys.stderr.isatty() and not as_json
    if provisioning:
        context.exit(show(_provisioning(project, points, seed, shown=shown), as_json=as_json))
    if project is not None and confs:
        raise click.UsageError("give a project or --config, not both")
    scene = _scene(project, confs, key, primary, secondary, dump, chip, action, not encryption_inactive)
    result = explore(
        Question(
            scene=scene,
            reach=Reach(mode),
            cuts=Cuts(cuts),
            seed=seed,
            samples=samples,
            max_states=max_states,
            remedies=not no_remedies,
            jobs=jobs or usable_cores(),
            progress=_progress() if shown else None,
        )
    )
    if shown:
        sys.stderr.write("\r\x1b[K")
    if traces is not None:
        _write_traces(result, traces)
    if report is not None:
        _write_report(result, report)
    context.exit(show(answer(result), as_json=as_json, text=_text(result)))


def _provisioning(project: Path | None, points: int, seed: int, *, shown: bool) -> Answer:
    from bootwright.host.explore_provisioning import explore_provisioning

    report = _progress() if shown else None
    found = explore_provisioning(project, flash_points=points, seed=seed, progress=report)
    if shown:
        sys.stderr.write("\r\x1b[K")
    return found


def _scene(
    project: Path | None,
    confs: tuple[Path, ...],
    key: Path | None,
    primary: tuple[Path, ...],
    secondary: tuple[Path, ...],
    dump: Path | None,
    chip: str | None,
    action: str,
    encryption: bool,
) -> Scene:
    from bootwright.formats.keys import load_public_key
    from bootwright.host.explore_scene import (
        Action,
        key_of,
        read_conf,
        scene_from_dump,
        scene_from_files,
        scene_from_project,
    )
    from bootwright.host.files import read_bytes

    if not confs:
        return scene_from_project(project, action=Action(action))
    conf = read_conf(confs)
    key = key or key_of(conf, confs)
    keys = () if key is None else (load_public_key(read_bytes(key, what="key"), where=str(key)).der,)
    if dump is not None:
        return scene_from_dump(conf, dump, keys=keys, action=Action(action), chip=chip)
    if not secondary:
        raise click.UsageError("give the images with --primary and --secondary, or a dump with --flash")
    return scene_from_files(
        conf,
        primary=primary,
        secondary=secondary,
        keys=keys,
        action=Action(action),
        encryption_active=encryption and conf.flash_encryption,
        chip=chip,
    )


def _progress() -> Callable[[str, int, int], None]:
    def report(name: str, found: int, left: int) -> None:
        done = found - left
        bar = "#" * (20 * done // max(found, 1))
        sys.stderr.write(f"\r\x1b[K{name}: [{bar:<20}] {found} states found, {left} left")
        sys.stderr.flush()

    return report


def _text(result: Exploration) -> str:
    """What a person reads before the findings."""
    from bootwright.host.explore_answer import details

    told = details(result)
    lines = [
        f"swap strategy {told['strategy']}, action {told['action']}, {told['cuts']} cuts, {told['mode']}: "
        f"{told['states']} states",
        *(f"bounded: {bound}" for bound in told["bounds"]),
    ]
    for phase in told["phases"]:
        lines.append(
            f"  {phase['name']}: {phase['operations']} operations without a cut, {phase['states']} states, "
            f"runs {' or '.join(phase['runs'])}, up to {phase['deepest']} cuts in a row"
        )
    if result.wear is not None and result.wear.erases:
        wear = result.wear
        sector, times = wear.most_worn[0]
        lines.append(
            f"  wear: {wear.erases} sector erases, about {wear.seconds:.1f} s with a Winbond W25Q32JV (typical); "
            f"{sector} is erased {times} times"
        )
    for example in result.counterexamples:
        lines += [
            "",
            f"Counter-example ({example.violation.kind.value}):",
            *(f"  {line}" for line in example.story.lines),
        ]
    for remedy in result.remedies:
        verdict = remedy.detail or (", ".join(remedy.violated) + " violated" if remedy.violated else "no violation")
        lines.append(f"  tried {remedy.name}: {verdict} ({remedy.states} states)")
    return "\n".join(lines)


def _write_traces(result: Exploration, folder: Path) -> None:
    import json

    from bootwright.host.files import write_file

    folder.mkdir(parents=True, exist_ok=True)
    for example in result.counterexamples:
        name = f"counter-example-{example.violation.kind.value}.json"
        write_file(folder / name, (json.dumps(example.story.trace) + "\n").encode())


def _write_report(result: Exploration, path: Path) -> None:
    from bootwright.host.explore_report import render
    from bootwright.host.files import write_file

    write_file(path, render(result).encode())
