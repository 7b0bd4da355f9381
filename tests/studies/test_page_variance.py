"""The section on variance: bars with what each is of, pairs by seed, and what pairing bought."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_studies import made_results, made_study
from page_views import Checked, view_of

from sparring.studies.findings import Source
from sparring.studies.folder import StudyFolder
from sparring.studies.page.variance import pairing_sentence, section
from sparring.studies.page.view import PageView
from sparring.studies.plan import Study

SOURCES = (
    Source(name="seeds", sd=0.61, what="of the difference from seed to seed"),
    Source(name="test images", sd=0.42, what="of the mean difference"),
    Source(name="draws of the labels", sd=None, what="none: knn draws no labels"),
)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path)


def view(folder: StudyFolder, **how: float) -> PageView:
    results = made_results(made_study(seeds=6), **how)  # type: ignore[arg-type]
    contrasts = results.study.planned_contrasts()
    return view_of(results, folder, variance={one.name: SOURCES for one in contrasts})


def test_each_source_is_a_bar_with_its_number_and_what_it_is_of(folder: StudyFolder) -> None:
    page = section(view(folder))
    for one in SOURCES:
        assert page.count(one.what) >= 2  # of two contrasts
    assert "test images: 0.42 points" in page
    assert page.count('class="bar"') == 2 * 2  # a source that is not known has no bar
    assert page.count(">none</text>") == 2
    for one in SOURCES:
        assert f">{one.name}</text>" in page  # no name is cut


def test_the_longest_source_keeps_its_name(folder: StudyFolder) -> None:
    results = made_results(made_study(seeds=3))
    name = results.study.planned_contrasts()[0].name
    sources = (Source(name="seeds, with endless test images", sd=0.3, what="of what"),)
    page = section(view_of(results, folder, variance={name: sources}))
    assert ">seeds, with endless test images</text>" in page


def test_every_figure_has_a_title_a_description_and_axes(folder: StudyFolder) -> None:
    checked = Checked(section(view(folder)))
    tags = [tag for tag, _ in checked.elements]
    figures = tags.count("svg")
    assert figures == 2 * 3
    assert tags.count("desc") == figures
    assert checked.text.count("points") > figures


def test_pairs_are_told_seed_by_seed_in_words(folder: StudyFolder) -> None:
    shown = view(folder)
    pairs = shown.analysis.findings[0].pairs
    page = section(shown)
    for seed, one, other in zip(pairs.seeds, pairs.first, pairs.second, strict=True):
        assert f"seed {seed}: {one:.1f} and {other:.1f}, difference {one - other:+.1f}" in page


def test_the_interval_of_the_mean_stands_beside_the_differences(folder: StudyFolder) -> None:
    shown = view(folder)
    finding = shown.analysis.findings[0]
    assert finding.interval is not None
    ends = f"interval {finding.interval.low:+.1f} to {finding.interval.high:+.1f}"
    assert ends in section(shown)


def test_a_correlation_that_is_not_positive_means_that_pairing_bought_nothing(
    folder: StudyFolder,
) -> None:
    finding = view(folder).analysis.findings[0]
    apart = replace(finding, pairs=replace(finding.pairs, second=-finding.pairs.first))
    assert pairing_sentence(apart).startswith("Pairing by seed bought nothing")
    helped = view(folder, shared_sd=2.0, own_sd=0.1).analysis.findings[0]
    assert "bought nothing" not in pairing_sentence(helped)


def test_two_pairs_have_no_correlation_and_one_pair_no_section(folder: StudyFolder) -> None:
    two = view_of(made_results(made_study(seeds=2)), folder)
    assert "from 3 pairs on; there are 2" in section(two)
    assert section(view_of(made_results(made_study(seeds=1)), folder)) == ""


def test_arms_without_spread_are_told(folder: StudyFolder) -> None:
    shown = view(folder, shared_sd=0.0, own_sd=0.0)
    assert "no correlation" in section(shown)


def test_names_of_arms_are_escaped(folder: StudyFolder) -> None:
    tree = made_study(seeds=3).tree()
    tree["arms"][2]["name"] = tree["arms"][0]["control"] = '"><script>x</script>'
    page = section(view_of(made_results(Study.build(tree)), folder))
    assert "<script" not in page
    Checked(page)
