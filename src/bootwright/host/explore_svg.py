"""Drawings of an exploration: the graph of states, and what each sector holds over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from math import log2

from bootwright.boot.layout import layout_of
from bootwright.boot.outcome import Booted, Panic
from bootwright.boot.run import State, stretches
from bootwright.boot.sectors import PAGE, Sectors
from bootwright.host.explore import Exploration
from bootwright.host.explore_check import Phase, versions_of
from bootwright.host.explore_graph import Node

Group = tuple[int, str, str]  #: (cuts, what boots, properties that it violates)

_COLOURS = {"old": "#4e79a7", "new": "#59a14f", "empty": "#e4e4e4", "partial": "#edc948", "trailer": "#b07aa1"}
_GOOD, _BAD = "#59a14f", "#e15759"
_PITCH, _HEAD = 190, 22  #: of the graph: width of a column, height of its head
_LEFT, _TOP, _GAP = 90, 22, 10  #: of the picture: room for names, for the heads, between areas
_WIDE = 900  #: of the whole time


def graph(result: Exploration, phase: Phase) -> str:
    """The states of a phase, merged by cuts and by what boots; a line's width grows with the cuts it stands for."""
    bad = _violated_by_node(result, phase)
    groups: dict[int, Group] = {}
    for node in phase.closure.nodes.values():
        groups[id(node)] = (node.level, _label(phase, node), bad.get(id(node), ""))
    sizes = Counter(groups.values())
    lines = Counter(
        (groups[id(node.parent)], groups[id(node)])
        for node in phase.closure.nodes.values()
        if node.parent is not None and id(node.parent) in groups
    )
    levels = sorted({group[0] for group in sizes})
    radius = {group: 6 + 2 * log2(count) for group, count in sizes.items()}
    pitch = 2 * max(radius.values()) + 62
    place = dict(_places(sizes, levels, pitch))
    width = _PITCH * len(levels)
    height = _HEAD + pitch * max(Counter(group[0] for group in sizes).values())
    parts = [
        f'<svg viewBox="0 0 {width} {height:.0f}" style="max-width: {width}px" role="img" '
        f'aria-label="graph of the {escape(phase.name)}">'
    ]
    for (source, target), count in lines.items():
        (x1, y1), (x2, y2) = place[source], place[target]
        middle = (x1 + x2) / 2  # lines leave and arrive level, so that they cross no words
        parts.append(
            f'<path d="M{x1:.0f} {y1:.0f}C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2:.0f} {y2:.0f}" '
            f'fill="none" stroke="#bbb" stroke-width="{1 + log2(count):.1f}"/>'
        )
    for column, level in enumerate(levels):
        parts.append(_words(_PITCH * (column + 0.5), 14, f"after {counted(level, 'cut')}" if level else "no cut"))
    for group, (x, y) in place.items():
        colour = _BAD if group[2] else _GOOD
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius[group]:.1f}" fill="{colour}"/>')
        below = y + radius[group]
        told = (counted(sizes[group], "state"), group[1], *([f"violates {group[2]}"] if group[2] else []))
        parts += [_words(x, below + 14 * number, line) for number, line in enumerate(told, 1)]
    return "".join([*parts, "</svg>"])


def _violated_by_node(result: Exploration, phase: Phase) -> dict[int, str]:
    """The properties that a state violates, by the identity of its node."""
    kinds: dict[int, set[str]] = {}
    for violation in result.violations:
        if violation.phase is phase:
            kinds.setdefault(id(violation.node), set()).add(violation.kind.value)
    return {node: ", ".join(sorted(names)) for node, names in kinds.items()}


def _places(sizes: Counter[Group], levels: list[int], pitch: float) -> Iterator[tuple[Group, tuple[float, float]]]:
    """The middle of each group: a column for each number of cuts, what works above what does not."""
    rows: Counter[int] = Counter()
    for group in sorted(sizes, key=lambda group: (group[0], group[2], group[1])):
        yield group, (_PITCH * (levels.index(group[0]) + 0.5), _HEAD + pitch * rows[group[0]] + pitch / 2 - 22)
        rows[group[0]] += 1


def _words(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(text)}</text>'


def counted(number: int, noun: str) -> str:
    """A number and what it counts, in the right form."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _label(phase: Phase, node: Node) -> str:
    outcome, _ = phase.closure.outcome(node)
    if isinstance(outcome, Booted):
        return f"runs {' and '.join(versions_of(outcome) or ())}"
    return "the bootloader stops" if isinstance(outcome, Panic) else "nothing boots"


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
    wide = _WIDE / max(total, 1)
    cuts = _first_cuts(result, phase)
    height = _TOP + step * len(rows) + _GAP * len(places) + 16 * len(cuts)
    parts = [f'<svg viewBox="0 0 {_LEFT + _WIDE + 20} {height}" role="img" aria-label="sectors over time">']
    y, drawn = _TOP - _GAP, ""
    for name, index in rows:
        if name != drawn:
            y += _GAP
            parts.append(f'<text x="0" y="{y + 10}">{escape(name)}</text>')
            drawn = name
        for begin, end, tag in _stretches_of(history, index, tags, flash):
            x, w = _LEFT + begin * wide, max((end - begin) * wide, 0.4)
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{w:.1f}" height="{step}" fill="{_COLOURS[tag]}"/>')
        y += step
    parts.append(f'<text x="{_LEFT}" y="12">begin</text>')
    parts.append(f'<text x="{_LEFT + _WIDE}" y="12" text-anchor="end">after operation {total - 1}</text>')
    for number, (after, kinds) in enumerate(cuts.items(), 1):
        x, at = _LEFT + (after + 1) * wide, y + 16 * number
        left = after > total / 2
        anchor, beside = ("end", x - 4) if left else ("start", x + 4)
        told = f"power lost after operation {after}, on the way to the violation of {', '.join(kinds)}"
        parts.append(f'<path d="M{x:.1f} {_TOP - 5}V{at + 4}" stroke="{_BAD}" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{beside:.1f}" y="{at + 3}" text-anchor="{anchor}">{escape(told)}</text>')
    return "".join([*parts, "</svg>"])


def _first_cuts(result: Exploration, phase: Phase) -> dict[int, list[str]]:
    """Where the counter-examples first lose power in the boot that is drawn: operations done, and what is violated."""
    cuts: dict[int, list[str]] = {}
    for example in result.counterexamples:
        violation = example.violation
        way = violation.node.way()
        if violation.phase is phase and violation.node.root == 0 and way:
            cuts.setdefault(way[0].after, []).append(violation.kind.value)
    return cuts


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
