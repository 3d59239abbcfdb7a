"""The pictures of the report: flash map, chain of trust, timeline. Colours are the page's CSS."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from bootwright.host.rehearsal import Content, Event, FlashPicture, Kind, Link, Rehearsal, Step

WIDTH = 1120  #: of every picture, in its own units

_CLASSES = {
    Content.ERASED: "erased",
    Content.PLAIN: "plain",
    Content.CIPHER: "cipher",
    Content.CIPHER_ERASED: "cipher-erased",
}


def flash_map(rehearsal: Rehearsal) -> str:
    """Both states of the flash to scale, sector by sector, with the regions between them."""
    scale = WIDTH / rehearsal.flash_size
    parts = [_defs()]
    parts.append(_text(0, 14, rehearsal.before.title, "title"))
    parts += _bar(rehearsal.before, 24, scale)
    parts += _regions(rehearsal, 70, scale)
    parts += _bar(rehearsal.after, 154, scale)
    parts += _ruler(rehearsal.flash_size, 202, scale)
    parts.append(_text(0, 246, rehearsal.after.title, "title"))
    return _svg(252, "The flash before and after the rehearsal, to scale", parts)


def _defs() -> str:
    return (
        '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="5" height="5" class="cipher-erased-ground"/><rect width="1.6" height="5" class="cipher"/>'
        "</pattern></defs>"
    )


def _bar(picture: FlashPicture, top: int, scale: float) -> Iterator[str]:
    yield f'<rect x="0" y="{top}" width="{WIDTH}" height="40" class="erased"/>'
    for run in picture.runs:
        if run.content is Content.ERASED:
            continue
        title = f"{run.address:#08x}..{run.address + run.size:#08x}  {run.content.value}"
        yield (
            f'<rect x="{run.address * scale:.2f}" y="{top}" width="{max(run.size * scale, 0.8):.2f}" height="40" '
            f'class="{_CLASSES[run.content]}"><title>{title}</title></rect>'
        )
    yield f'<rect x="0.5" y="{top + 0.5}" width="{WIDTH - 1}" height="39" class="frame"/>'


def _regions(rehearsal: Rehearsal, top: int, scale: float) -> Iterator[str]:
    """A bracket for each region, and its label where no other label is."""
    ends = [-1.0, -1.0]
    for name, address, size in rehearsal.regions:
        left, right = address * scale, (address + size) * scale
        yield f'<path d="M{left + 0.5:.2f} {top} v7 H{right - 0.5:.2f} v-7" class="bracket"/>'
        yield f'<path d="M{left + 0.5:.2f} {top + 78} v-7 H{right - 0.5:.2f} v7" class="bracket"/>'
        label = f"{name} · {_bytes(size)}"
        place = f"{address:#x}–{address + size:#x}"
        width = max(6.6 * len(label), 7.1 * len(place))
        middle = min(max((left + right) / 2, width / 2), WIDTH - width / 2)
        row = 0 if middle - width / 2 > ends[0] else 1
        ends[row] = middle + width / 2 + 12
        y = top + 32 + 22 * row
        yield f'<path d="M{(left + right) / 2:.2f} {top + 7} V{y - 13}" class="leader"/>' if row else ""
        yield _text(middle, y, label, "label", anchor="middle")
        if row == 0:
            yield _text(middle, y + 16, place, "address", anchor="middle")


def _ruler(flash_size: int, top: int, scale: float) -> Iterator[str]:
    step = flash_size // 8
    for at in range(0, flash_size + 1, step):
        x = min(max(at * scale, 0.5), WIDTH - 0.5)
        anchor = "start" if at == 0 else "end" if at == flash_size else "middle"
        yield f'<path d="M{x:.2f} {top - 6} v6" class="tick"/>'
        yield _text(x, top + 14, f"{at:#x}" if at else "0", "address", anchor=anchor)


def _bytes(size: int) -> str:
    return f"{size >> 20} MB" if size % (1 << 20) == 0 else f"{size >> 10} KB"


_NODE = 196
_GAP = (WIDTH - 5 * _NODE) / 4


def chain_of_trust(links: tuple[Link, ...]) -> str:
    """One box a link, and between them who checks what."""
    parts = [
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" class="arrow-head"/></marker></defs>'
    ]
    height = 0
    for number, link in enumerate(links):
        x = number * (_NODE + _GAP)
        if number:
            parts.append(f'<path d="M{x - _GAP + 4:.1f} 52 H{x - 4:.1f}" class="arrow" marker-end="url(#head)"/>')
        parts.append(f'<rect x="{x + 0.5:.1f}" y="6" width="{_NODE - 1}" height="92" rx="10" class="node"/>')
        parts.append(_text(x + 14, 32, link.title, "node-title"))
        parts.append(_text(x + 14, 54, link.holder, "node-holder"))
        parts.append(_text(x + 14, 80, link.value, "node-value"))
        y = 122
        parts.append(_text(x + 2, y, link.checker, "checker"))
        for check in link.checks:
            for row, line in enumerate(textwrap.wrap(check, 31)):
                y += 17
                if row == 0:
                    parts.append(f'<path d="M{x + 3:.1f} {y - 5} l3 3.2 l6 -7" class="check-mark"/>')
                parts.append(_text(x + 18, y, line, "check"))
            y += 4
        height = max(height, y)
    return _svg(height + 10, "The chain of trust, from the eFuse to the application", parts)


@dataclass(frozen=True, slots=True)
class _Lane:
    key: str
    label: str
    y: int


_LANES = (
    _Lane("boot", "boots", 34),
    _Lane("efuse", "eFuse bits", 84),
    _Lane("flash", "flash operations", 144),
    _Lane("power", "power", 184),
)
_LEFT = 112


def timeline(steps: tuple[Step, ...]) -> str:
    """A column a step, a lane each for boots, eFuses, flash and power."""
    column = (WIDTH - _LEFT) / max(len(steps), 1)
    most = max((event.amount for step in steps for event in step.events if event.lane == "flash"), default=1)
    parts: list[str] = []
    for lane in _LANES:
        parts.append(_text(0, lane.y + 4, lane.label, "lane"))
        parts.append(f'<path d="M{_LEFT} {lane.y + (14 if lane.key == "flash" else 0)} H{WIDTH}" class="lane-line"/>')
    for number, step in enumerate(steps):
        x = _LEFT + column * (number + 0.5)
        if step.kind is Kind.ATTACK:
            parts.append(
                f'<rect x="{x - column / 2:.1f}" y="8" width="{column:.1f}" height="192" class="attack-ground"/>'
            )
        parts += _column(step, x, column, most)
        parts.append(
            f'<a href="#{escape(step.id)}"><text x="{x + 4:.1f}" y="220" class="step-label" text-anchor="end" '
            f'transform="rotate(-38 {x + 4:.1f} 220)">{escape(step.id)}</text></a>'
        )
    return _svg(312, "What happened to the chip, step by step", parts)


def _column(step: Step, x: float, column: float, most: int) -> Iterator[str]:
    for lane in _LANES:
        events = [event for event in step.events if event.lane == lane.key]
        if not events:
            continue
        if lane.key == "flash":
            total = sum(event.amount for event in events)
            high = 8 + 40 * math.log1p(total) / math.log1p(max(most, 2))
            title = ", ".join(f"{event.amount} {event.what}" for event in events)
            yield (
                f'<rect x="{x - 7:.1f}" y="{lane.y + 14 - high:.1f}" width="14" height="{high:.1f}" rx="2" '
                f'class="flash-bar"><title>{escape(title)}</title></rect>'
            )
            yield _text(x, lane.y + 10 - high, str(total), "count", anchor="middle")
            continue
        if lane.key == "efuse":
            yield _text(x, lane.y - 13, str(sum(event.amount for event in events)), "count", anchor="middle")
        shown = events[:5]
        space = min(15.0, column / (len(shown) + 0.5))
        for index, event in enumerate(shown):
            yield _mark(event, x + (index - (len(shown) - 1) / 2) * space, lane.y)


def _mark(event: Event, x: float, y: int) -> str:
    title = f"<title>{escape(event.what)}</title>"
    if event.lane == "efuse":
        return f'<path d="M{x:.1f} {y - 6} l5 6 l-5 6 l-5 -6 z" class="fuse-mark">{title}</path>'
    if event.lane == "power":
        kind = "bad" if event.bad else "quiet"
        return (
            f'<path d="M{x + 2:.1f} {y - 8} l-6 9 h5 l-3 8 l8 -10 h-5 l3 -7 z" class="power-mark {kind}">{title}</path>'
        )
    if event.bad:
        return f'<path d="M{x - 4.5:.1f} {y - 4.5} l9 9 m0 -9 l-9 9" class="boot-refused">{title}</path>'
    return f'<circle cx="{x:.1f}" cy="{y}" r="5" class="boot-mark">{title}</circle>'


def _text(x: float, y: float, content: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def _svg(height: float, title: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
