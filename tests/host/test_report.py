"""The report is one page, complete, to scale, and says what the rehearsal found."""

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest

from bootwright.finding import failed
from bootwright.host.project import load_project
from bootwright.host.rehearsal import Rehearsal
from bootwright.host.rehearse import prepare, rehearse
from bootwright.host.report import render
from bootwright.host.report_svg import WIDTH, chain_of_trust, flash_map, timeline


@cache
def rehearsal() -> Rehearsal:
    return rehearse(prepare(load_project(None, security_mode="release"))).rehearsal


class Page(HTMLParser):
    """Collects what a page refers to, its text, and whether its tags close."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.links += [str(given[name]) for name in ("href", "src", "xlink:href") if name in given]
        self.ids += [str(given["id"])] if "id" in given else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_but_a_browser() -> None:
    source = render(rehearsal(), made="today")
    page = Page(source)
    assert page.open == []
    assert {link.removeprefix("#") for link in page.links} == {step.id for step in rehearsal().steps}
    assert set(page.ids) >= {step.id for step in rehearsal().steps}
    assert "<script" not in source
    assert "@import" not in source
    assert set(re.findall(r"https?://[^\"' ]+", source)) == {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"url\(([^)]*)\)", source)) <= {"#hatch", "#head"}
    assert len(page.ids) == len(set(page.ids))


def test_the_page_says_everything_that_was_found() -> None:
    result = rehearsal()
    text = re.sub(r"\s+", " ", Page(render(result)).text)
    for step in result.steps:
        assert step.title in text
        for finding in step.findings:
            assert re.sub(r"\s+", " ", finding.because) in text
            assert finding.code in text
    for fuse in result.fuses:
        assert fuse.name in text
    for note in result.notes:
        assert note.because in text
    assert "They were not executed" in text


def test_the_flash_map_is_to_scale() -> None:
    result = rehearsal()
    svg = flash_map(result)
    scale = WIDTH / result.flash_size
    drawn = {
        (float(x), float(width))
        for x, width in re.findall(
            r'<rect x="([\d.]+)" y="\d+" width="([\d.]+)" height="40" class="(?:plain|cipher)', svg
        )
    }
    for run in result.before.runs + result.after.runs:
        if run.content.value != "erased":
            assert any(
                abs(x - run.address * scale) < 0.01 and abs(width - max(run.size * scale, 0.8)) < 0.01
                for x, width in drawn
            )
    for name, address, _ in result.regions:
        assert name in svg
        assert f"{address:#x}" in svg


def test_the_chain_shows_each_link_and_its_checks() -> None:
    svg = chain_of_trust(rehearsal().chain)
    for part in ("Key digest", "Signature block", "Bootloader", "Application", "MCUboot checks (model)"):
        assert part in svg
    assert svg.count('class="check-mark"') >= 8


def test_the_timeline_has_a_column_for_every_step() -> None:
    result = rehearsal()
    svg = timeline(result.steps)
    assert all(f">{step.id}</text>" in svg for step in result.steps)
    assert svg.count("fuse-mark") == 5
    assert 'class="power-mark bad"' in svg


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b&c'])
def test_names_and_findings_are_text_and_never_markup(name: str) -> None:
    result = rehearsal()
    bad = replace(result.steps[0], findings=(failed("a.b", name, name, name),), console=(name,), story=(name,))
    page = render(replace(result, name=name, steps=(bad, *result.steps[1:])))
    assert "<script" not in page
    assert name in Page(page).text


def test_a_failed_rehearsal_looks_failed() -> None:
    result = rehearsal()
    bad = replace(result.steps[-2], findings=(failed("attack.got_through", "boot", "it booted"),))
    text = Page(render(replace(result, steps=(*result.steps[:-2], bad, result.steps[-1])))).text
    assert "FAILED" in text
    assert "The chain does not hold: 9 of 9 steps worked, 8 of 9 attacks were refused." in text
    assert "got through" in text
    assert "What went wrong" in text


def test_a_passed_rehearsal_has_no_list_of_what_went_wrong() -> None:
    assert "What went wrong" not in Page(render(rehearsal())).text


def test_steps_that_were_not_played_are_counted_and_not_listed_as_wrong() -> None:
    result = rehearsal()
    first, *others = result.steps
    broken = replace(first, findings=(failed("key.type", "signing key", "a wrong key"),))
    skipped = [replace(step, findings=(failed("rehearse.step.not_played", step.id, "not played"),)) for step in others]
    unplayed = [replace(step, played=False) for step in skipped]
    page = Page(render(replace(result, steps=(broken, *unplayed), fuses=(), chain=())))
    text = re.sub(r"\s+", " ", page.text)
    assert "The chain does not hold: keys failed, so 17 of 18 steps were not played." in text
    assert page.links == ["#keys", *(f"#{step.id}" for step in result.steps)]  # what went wrong, then the timeline
    assert "attacks were refused, 9 were not played" in text
    assert "None: no eFuse was burned." in text
