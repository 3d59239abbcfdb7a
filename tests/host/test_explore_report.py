"""The report of an exploration: what a person reads of it, and that a browser can draw it."""

import re
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import pytest
from tests.support.scenes import scene

from bootwright.boot.config import Mode
from bootwright.host.explore import Question, explore
from bootwright.host.explore_check import Property
from bootwright.host.explore_report import headline, render
from bootwright.host.explore_scene import Action


@cache
def page(mode: Mode, action: Action) -> str:
    return render(explore(Question(scene=scene(mode, action))))


def drawings(html: str, label: str) -> list[ElementTree.Element]:
    found = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    return [svg for svg in found if svg.get("aria-label", "").startswith(label)]


def words(drawing: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in drawing.iter("text")]


def test_the_graph_says_what_each_group_of_states_violates() -> None:
    [graph] = drawings(page(Mode.SCRATCH, Action.REVERT), "graph of the revert")
    told = words(graph)
    assert told[:3] == ["no cut", "after 1 cut", "after 2 cuts"]
    assert told.count("1 state") == 1
    assert {"violates boots", "violates reverts"} <= set(told)
    assert len({(circle.get("cx"), circle.get("cy")) for circle in graph.iter("circle")}) == len(
        list(graph.iter("circle"))
    )


def test_no_circle_and_no_word_of_a_graph_leaves_it() -> None:
    for graph in drawings(page(Mode.SCRATCH, Action.REVERT), "graph"):
        _, _, width, height = map(float, graph.attrib["viewBox"].split())
        for circle in graph.iter("circle"):
            x, y, r = (float(circle.attrib[name]) for name in ("cx", "cy", "r"))
            assert r <= x <= width - r
            assert r <= y <= height - r
        assert all(float(text.attrib["y"]) < height for text in graph.iter("text"))


def test_the_picture_of_the_swap_shows_where_the_counter_examples_lose_power() -> None:
    [picture] = drawings(page(Mode.SCRATCH, Action.REVERT), "sectors over time")
    told = words(picture)
    assert {"primary", "secondary", "scratch"} <= set(told)
    assert "power lost after operation 7, on the way to the violation of boots" in told
    lowest = max(float(rect.attrib["y"]) + float(rect.attrib["height"]) for rect in picture.iter("rect"))
    _, _, _, height = map(float, picture.attrib["viewBox"].split())
    assert all(
        lowest < float(text.attrib["y"]) < height for text in picture.iter("text") if "lost" in (text.text or "")
    )


def test_a_counter_example_names_the_trailer_fields_that_an_erase_takes() -> None:
    html = page(Mode.SCRATCH, Action.REVERT)
    assert "erase primary trailer (primary sector 15, swap status … magic)" in html
    assert "erase primary trailer (erase primary sector 14, swap status)" in html
    assert html.index("Counter-examples") < html.index("What was explored")


def test_a_property_with_nothing_to_hold_is_not_shown_as_passed() -> None:
    html = page(Mode.SCRATCH, Action.REVERT)
    assert re.search(r'class="quiet">not asked</td><td>nothing older takes over', html)
    assert not re.search(r'class="pass">pass</td><td>nothing older takes over', html)


def test_the_report_says_what_was_given() -> None:
    html = page(Mode.MOVE, Action.PERMANENT)
    assert "0x10000 to 0x20000, 16 sectors" in html
    assert "1.0.0+0 (20,000 bytes) runs, 2.0.0+0 (20,000 bytes) is the update" in html
    assert "does harm: every property holds" in html
    assert "power lost" not in html


@pytest.mark.parametrize(
    ("kinds", "told"),
    [((Property.BOOTS,), "1 property does not hold"), ((Property.BOOTS, Property.REVERTS), "2 properties do not hold")],
)
def test_the_headline_counts_in_words_that_fit(kinds: tuple[Property, ...], told: str) -> None:
    found = explore(Question(scene=scene(Mode.SCRATCH, Action.REVERT), remedies=False))
    chosen = replace(found, violations=[one for one in found.violations if one.kind in kinds])
    assert told in headline(chosen)
