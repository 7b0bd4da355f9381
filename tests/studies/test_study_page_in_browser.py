"""The page of a study in a real browser: no error, no request, no overflow, values on hover."""

from pathlib import Path

import pytest
from made_analyses import made_analysis
from made_studies import made_results, made_study

from browser import browser, faults, needs_browser
from sparring.studies.page.page import write_study_page

pytestmark = [needs_browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    results = made_results(made_study(seeds=3), effects={"adco": 1.0})
    return write_study_page(made_analysis(results), folder, folder / "study.html")


def test_the_page_is_free_of_errors_requests_and_overflow(page: Path) -> None:
    assert faults(page) == []


def test_every_mark_of_a_plot_says_its_value_by_arrow_keys(page: Path) -> None:
    with browser() as one:
        one.open(page)
        one.ask("document.querySelector('svg.plot[tabindex]').focus()")
        one.press("Home")
        said = one.ask("document.querySelector('.tip').textContent")
        assert any(character.isdigit() for character in said)
        one.press("Escape")
        assert one.ask("document.querySelector('.tip').textContent") == ""


def test_a_figure_of_its_own_is_shown_in_its_size_and_shrinks_with_its_place(page: Path) -> None:
    holder = page.with_name("holder.html")
    holder.write_text('<img src="study-contrasts.svg" alt="" style="max-width: 100%">')
    with browser() as one:
        one.open(holder, width=390)
        assert one.ask("document.images[0].naturalWidth") == 632
        assert 300 < one.ask("document.images[0].width") < 390
        one.open(page.with_name("study-contrasts.svg"), width=390)
        assert one.ask("document.documentElement.getBoundingClientRect().width") <= 390
        assert one.ask("document.documentElement.scrollWidth") <= 390
        assert one.errors == one.requests == []


def test_a_figure_of_its_own_is_light_or_dark_as_the_reader_prefers(page: Path) -> None:
    paper = "getComputedStyle(document.querySelector('rect')).fill"
    with browser() as one:
        seen = []
        for is_dark in (False, True):
            one.open(page.with_name("study-contrasts.svg"), dark=is_dark)
            seen.append(one.ask(paper))
    assert seen == ["rgb(253, 253, 252)", "rgb(21, 23, 26)"]
