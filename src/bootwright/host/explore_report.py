"""The report of an exploration: one HTML page that needs nothing but a browser."""

from __future__ import annotations

from bootwright import __version__
from bootwright.host.explore import Exploration, answer, details
from bootwright.host.explore_svg import graph, legend, sectors_over_time


def headline(result: Exploration) -> str:
    """The whole result in a sentence."""
    if not result.violated:
        return f"No series of power cuts does harm: {result.states} states, every property holds."
    return f"Power cuts can do harm: {len(result.violated)} properties do not hold ({result.states} states)."


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
