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
