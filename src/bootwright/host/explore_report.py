"""The report of an exploration: one HTML page that needs nothing but a browser."""

from __future__ import annotations

from bootwright import __version__
from bootwright.boot.config import BootConfig
from bootwright.boot.header import HEADER_SIZE, IMAGE_MAGIC, parse_header
from bootwright.finding import Finding
from bootwright.flash import Area
from bootwright.host.explore import Exploration
from bootwright.host.explore_answer import answer, details
from bootwright.host.explore_check import SENTENCES, Property, by_counter
from bootwright.host.explore_scene import Scene
from bootwright.host.explore_svg import counted, graph, legend, sectors_over_time

#: how a finding begins that says why there was nothing to check
_NOTHING_TO_HOLD = ("not asked", "not a property", "not promised", "not built in")


def headline(result: Exploration) -> str:
    """The whole result in a sentence."""
    states = counted(result.states, "state")
    if not result.violated:
        return f"No series of power cuts that was explored does harm: every property holds ({states})."
    many = len(result.violated)
    hold = "1 property does not hold" if many == 1 else f"{many} properties do not hold"
    return f"Power cuts can do harm: {hold} ({states})."


def scene_lines(scene: Scene) -> list[tuple[str, str]]:
    """What was explored, as pairs of a name and what it is."""
    config = scene.config
    encryption = "active" if config.flash_encryption_active else "not active"
    prevents = "by security counter" if by_counter(config) else "by version"
    rows = [(area.name, f"{area.address:#x} to {area.end:#x}, {_sectors(config, area)}") for area in config.areas]
    for number, (running, offered) in enumerate(scene.images):
        name = "images" if len(scene.images) == 1 else f"images of pair {number}"
        rows.append((name, f"{_image(running)} runs, {_image(offered)} is the update"))
    rows.append(("signature", config.signature.value if config.signature else "none is verified"))
    rows.append(("flash encryption", encryption))
    rows.append(("downgrade prevention", prevents if config.downgrade_prevention else "none"))
    return rows


def _sectors(config: BootConfig, area: Area) -> str:
    return counted(-(-area.size // config.sector_size), "sector")


def _image(data: bytes) -> str:
    if not data:
        return "nothing"
    header = parse_header(data) if len(data) >= HEADER_SIZE else None
    name = header.version if header is not None and header.magic == IMAGE_MAGIC else "no image"
    return f"{name} ({counted(len(data), 'byte')})"


def word(finding: Finding) -> str:
    """How a property came out, in a word."""
    return "not asked" if finding.because.startswith(_NOTHING_TO_HOLD) else finding.verdict.value


def render(result: Exploration) -> str:
    """The page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("bootwright.host", "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = [phase for phase in result.phases if len(phase.closure.nodes) > 1]
    return environment.get_template("explore.html").render(
        headline=headline(result),
        given=scene_lines(result.question.scene),
        word=word,
        sentences={kind.value: SENTENCES[kind] for kind in Property},
        counted=counted,
        answer=answer(result),
        told=details(result),
        graphs=[(phase.name, Markup(graph(result, phase))) for phase in drawn],  # noqa: S704 - escaped where drawn
        pictures=[
            (phase.name, Markup(sectors_over_time(result, phase)))  # noqa: S704 - escaped where drawn
            for phase in drawn
            if phase.baseline.ops
        ],
        legend=legend(),
        version=__version__,
    )
