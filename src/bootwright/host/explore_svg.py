"""Drawings of an exploration: the graph of states, and what each sector holds over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from math import log2

from bootwright.boot.layout import layout_of
from bootwright.boot.outcome import Booted, Panic
from bootwright.boot.runs import State, stretches
from bootwright.boot.sectors import PAGE, Sectors
from bootwright.host.explore import Exploration
from bootwright.host.explore_check import Phase
from bootwright.host.explore_graph import Node

Group = tuple[int, str, bool]  #: (cuts, what boots, good)

_COLOURS = {"old": "#4e79a7", "new": "#59a14f", "empty": "#eeeeee", "partial": "#edc948", "trailer": "#b07aa1"}
_LEFT, _TOP = 120, 18


def graph(result: Exploration, phase: Phase) -> str:
    """The states of a phase, merged by cuts and by what boots; a line's width grows with the cuts it stands for."""
    bad = {id(violation.node) for violation in result.violations if violation.phase is phase}
    groups: dict[int, Group] = {}
    for node in phase.closure.nodes.values():
        groups[id(node)] = (node.level, _label(phase, node), id(node) not in bad)
    sizes = Counter(groups.values())
    lines = Counter(
        (groups[id(node.parent)], groups[id(node)])
        for node in phase.closure.nodes.values()
        if node.parent is not None and id(node.parent) in groups
    )
    place = dict(_places(sizes))
    width = 160 + 190 * (1 + max(group[0] for group in sizes))
    height = 60 + 80 * max(Counter(group[0] for group in sizes).values())
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="graph of the {escape(phase.name)}">']
    for (source, target), count in lines.items():
        (x1, y1), (x2, y2) = place[source], place[target]
        parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#bbb" stroke-width="{1 + log2(count):.1f}"/>'
        )
    for group, (x, y) in place.items():
        colour = "#59a14f" if group[2] else "#e15759"
        parts.append(f'<circle cx="{x}" cy="{y}" r="{6 + 2 * log2(sizes[group]):.1f}" fill="{colour}"/>')
        cuts = f"{group[0]} cut{'' if group[0] == 1 else 's'}"
        parts.append(f'<text x="{x}" y="{y + 38}" text-anchor="middle">{sizes[group]} states, {cuts}</text>')
        parts.append(f'<text x="{x}" y="{y + 52}" text-anchor="middle">{escape(group[1])}</text>')
    return "".join([*parts, "</svg>"])


def _places(sizes: Counter[Group]) -> Iterator[tuple[Group, tuple[int, int]]]:
    rows: Counter[int] = Counter()
    for group in sorted(sizes):
        yield group, (90 + 190 * group[0], 40 + 80 * rows[group[0]])
        rows[group[0]] += 1


def _label(phase: Phase, node: Node) -> str:
    outcome, _ = phase.closure.outcome(node)
    if isinstance(outcome, Booted):
        return f"boots {outcome.version}"
    return "panics" if isinstance(outcome, Panic) else "nothing boots"


def sectors_over_time(result: Exploration, phase: Phase) -> str:
    """One row for each sector, time from left to right: whose bytes it holds."""
    config = result.question.scene.config
    layout = layout_of(config)
    places = [place for pair in layout.slots for place in pair]
    places += [] if layout.scratch is None else [layout.scratch]
    size = layout.sector_size
    rows = [
        (place.area.name, place.area.address // size + number) for place in places for number in range(place.sectors)
    ]
    pieces = stretches(phase.baseline)
    history = [phase.roots[0].state, *(state for piece, skip in pieces for state in piece.states[skip:])]
    total = len(history)
    flash = phase.closure.runs.flash
    tags = _tags(flash, history[0], [(place.area.name, place.area.address // size, place.sectors) for place in places])
    step = max(2, min(8, 1200 // max(len(rows), 1)))
    wide = 900 / max(total, 1)
    parts = [
        f'<svg viewBox="0 0 {_LEFT + 920} {_TOP + step * len(rows) + 20}" role="img" aria-label="sectors over time">'
    ]
    drawn = ""
    for row, (name, index) in enumerate(rows):
        y = _TOP + row * step
        if name != drawn:
            parts.append(f'<text x="0" y="{y + 10}">{escape(name)}</text>')
            drawn = name
        for begin, end, tag in _stretches_of(history, index, tags, flash):
            x, w = _LEFT + begin * wide, max((end - begin) * wide, 0.4)
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{w:.1f}" height="{step}" fill="{_COLOURS[tag]}"/>')
    parts.append(f'<text x="{_LEFT}" y="12">operation 1</text>')
    parts.append(f'<text x="{_LEFT + 900}" y="12" text-anchor="end">operation {total - 1}</text>')
    return "".join([*parts, "</svg>"])


def legend() -> list[tuple[str, str]]:
    """Colour and meaning."""
    words = {
        "old": "what was in primary",
        "new": "what was in secondary or scratch",
        "empty": "erased",
        "partial": "being written",
        "trailer": "trailer and status",
    }
    return [(_COLOURS[tag], text) for tag, text in words.items()]


def _tags(flash: Sectors, start: State, areas: list[tuple[str, int, int]]) -> dict[int, str]:
    """Which content numbers are whose, by where they lie at the beginning."""
    tags: dict[int, str] = {}
    for name, first, count in areas:
        tag = "old" if "primary" in name else "new"
        for index in range(first, first + count):
            number = _number(start, index)
            if not _sparse(flash.contents.blobs[number]):
                tags.setdefault(number, tag)
    tags[flash.contents.blank] = "empty"
    tags |= {flash.contents.erased(index): "empty" for index in range(flash.size // flash.sector_size)}
    return tags


def _number(state: State, index: int) -> int:
    return state.pages[index // PAGE][index % PAGE]


def _stretches_of(
    history: list[State], index: int, tags: dict[int, str], flash: Sectors
) -> Iterator[tuple[int, int, str]]:
    """(from, to, whose) of one sector."""
    begin, tag = 0, ""
    last = -1
    for at, state in enumerate(history):
        number = _number(state, index)
        if number == last:
            continue
        last = number
        now = tags.get(number) or ("trailer" if _sparse(flash.contents.blobs[number]) else "partial")
        if now != tag:
            if tag:
                yield begin, at, tag
            begin, tag = at, now
    yield begin, len(history), tag


def _sparse(blob: bytes) -> bool:
    """Mostly erased, as a trailer sector is."""
    return blob.count(0xFF) > len(blob) * 7 // 8
