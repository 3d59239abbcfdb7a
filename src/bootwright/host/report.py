"""The report of a rehearsal: one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from bootwright import __version__
from bootwright.finding import Finding, Verdict
from bootwright.host.rehearsal import Kind, Rehearsal, Step
from bootwright.host.report_svg import chain_of_trust, flash_map, timeline

#: (kind, verdict) → the word on a step's badge
_BADGES: Mapping[tuple[Kind, Verdict], str] = MappingProxyType(
    {
        (Kind.CHAIN, Verdict.PASS): "done",
        (Kind.CHAIN, Verdict.FAIL): "failed",
        (Kind.CHAIN, Verdict.NOT_MODELLED): "not modelled",
        (Kind.ATTACK, Verdict.PASS): "refused",
        (Kind.ATTACK, Verdict.FAIL): "got through",
        (Kind.ATTACK, Verdict.NOT_MODELLED): "not modelled",
    }
)


def badge(step: Step) -> str:
    """How a step came out, in a word or two."""
    return _BADGES[step.kind, step.verdict] if step.played else "not played"


def headline(rehearsal: Rehearsal) -> str:
    """The whole result in a sentence."""
    chain = [step for step in rehearsal.steps if step.kind is Kind.CHAIN]
    attacks = [step for step in rehearsal.steps if step.kind is Kind.ATTACK]
    worked = sum(step.verdict is Verdict.PASS for step in chain)
    refused = sum(step.verdict is Verdict.PASS for step in attacks)
    if rehearsal.verdict is Verdict.PASS:
        return f"The chain holds: all {worked} steps worked, all {refused} attacks were refused."
    missing = sum(not step.played for step in rehearsal.steps)
    if missing:
        broken = next(step.id for step in rehearsal.steps if step.verdict is not Verdict.PASS)
        return (
            f"The chain does not hold: {broken} failed, so {missing} of {len(rehearsal.steps)} steps were not played."
        )
    return (
        f"The chain does not hold: {worked} of {len(chain)} steps worked, "
        f"{refused} of {len(attacks)} attacks were refused."
    )


def _wrong(rehearsal: Rehearsal) -> Iterator[tuple[Step, Finding]]:
    """What a reader of a rehearsal that failed looks for first."""
    for step in rehearsal.steps:
        for finding in step.findings:
            if step.played and finding.verdict in (Verdict.FAIL, Verdict.NOT_MODELLED):
                yield step, finding


def render(rehearsal: Rehearsal, *, made: str = "") -> str:
    """The page; `made` says when, in words."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("bootwright.host", "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("rehearsal.html").render(
        rehearsal=rehearsal,
        headline=headline(rehearsal),
        badge=badge,
        flash_map=flash_map(rehearsal),
        chain=chain_of_trust(rehearsal.chain),
        timeline=timeline(rehearsal.steps),
        worked=sum(step.kind is Kind.CHAIN and step.verdict is Verdict.PASS for step in rehearsal.steps),
        refused=sum(step.kind is Kind.ATTACK and step.verdict is Verdict.PASS for step in rehearsal.steps),
        chain_steps=sum(step.kind is Kind.CHAIN for step in rehearsal.steps),
        attack_steps=sum(step.kind is Kind.ATTACK for step in rehearsal.steps),
        unplayed=sum(step.kind is Kind.ATTACK and not step.played for step in rehearsal.steps),
        wrong=tuple(_wrong(rehearsal)),
        boots=sum(event.lane == "boot" for step in rehearsal.steps for event in step.events),
        version=__version__,
        made=made,
    )
