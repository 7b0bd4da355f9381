"""The section on learning: curves with bands, scores beside cost, time to a score, shares."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_studies import made_results, made_study
from page_views import Checked, view_of

from sparring.studies.folder import StudyFolder
from sparring.studies.page.curves import section
from sparring.studies.page.final_scores import costed_scores, factor_text
from sparring.studies.page.learning_curves import curves_figure, measures_of
from sparring.studies.page.time_table import race, reference_of, time_section
from sparring.studies.page.view import PageView
from sparring.studies.plan import Study
from sparring.studies.records import CurvePoint, RunRecord
from sparring.studies.statistics.efficiency import data_efficiency


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path)


def changed(view: PageView, change: Callable[[RunRecord], RunRecord]) -> PageView:
    results = view.results
    return view_of(replace(results, records=tuple(map(change, results.records))), view.folder)


def with_curve(record: RunRecord, heights: list[float]) -> RunRecord:
    """The run with these online scores after 100, 200, ... images and 10, 20, ... seconds."""
    curve = tuple(
        CurvePoint(images=100 * n, seconds=10.0 * n, measures={"knn_accuracy": height})
        for n, height in enumerate(heights, start=1)
    )
    return replace(record, curve=curve)


def raced(folder: StudyFolder, curves: dict[str, list[float]], *, seeds: int = 3) -> PageView:
    view = view_of(made_results(made_study(seeds=seeds)), folder)
    return changed(view, lambda one: with_curve(one, curves[one.name.arm]))


def test_there_is_a_curve_with_a_band_for_each_arm_over_images_and_seconds(
    folder: StudyFolder,
) -> None:
    page = section(view_of(made_results(made_study()), folder))
    checked = Checked(page)
    assert "Online kNN over images seen" in checked.text
    assert "Online kNN over seconds of training" in checked.text
    main = page.partition("<details")[0]
    assert main.count('class="band"') == main.count('class="curve"') == 2 * 3
    assert "Other measures of the monitor" in page
    assert "Effective rank over images seen" in page


def test_values_stand_in_the_description_and_on_the_points(folder: StudyFolder) -> None:
    view = raced(folder, {"adco": [0.3, 0.5], "adco/queue": [0.3, 0.4], "mocov2": [0.3, 0.4]})
    page = curves_figure(view, "knn_accuracy", "images")
    said = "100 images: 30.0 % (30.0 % to 30.0 %); 200 images: 50.0 % (50.0 % to 50.0 %)."
    assert f"adco, 3 seeds: {said}" in page
    assert "<title>adco, 200 images: 50.0 % (50.0 % to 50.0 %)</title>" in page
    assert "images seen</text>" in page


def test_one_seed_has_no_band_and_a_sentence_says_so(folder: StudyFolder) -> None:
    page = section(view_of(made_results(made_study(seeds=1)), folder))
    assert 'class="band"' not in page
    assert "without a second seed there is no band" in page


def test_long_curves_stay_small(folder: StudyFolder) -> None:
    view = raced(folder, {arm: list(np.linspace(0.2, 0.6, 500)) for arm in _arms()})
    assert len(curves_figure(view, "knn_accuracy", "images")) < 40_000


def _arms() -> list[str]:
    return [arm.name for arm in made_study().arms]


def test_the_reference_is_the_primary_games_control(folder: StudyFolder) -> None:
    assert reference_of(view_of(made_results(made_study()), folder)) == "mocov2"


def test_times_are_to_what_the_control_ends_with_at_the_same_seed(folder: StudyFolder) -> None:
    curves = {
        "adco": [0.2, 0.6, 0.7],  # reaches 0.4 half way from 100 to 200 images
        "adco/queue": [0.2, 0.3, 0.4],
        "mocov2": [0.1, 0.2, 0.4],
    }
    view = raced(folder, curves)
    found = race(view)
    assert found is not None
    assert dict(found.times["adco", "images"].reached) == {
        0: pytest.approx(150),
        1: pytest.approx(150),
        2: pytest.approx(150),
    }
    assert dict(found.times["mocov2", "seconds"].reached) == dict.fromkeys(range(3), 30.0)
    ratio = found.ratio("adco", "images", level=0.95)
    assert ratio.estimate is not None
    assert ratio.estimate.value == pytest.approx(0.5)
    text = Checked(time_section(view)).text
    assert "40.0 % on average" in text
    assert "0.50 [0.50, 0.50]" in text


def test_a_control_reaches_its_own_end_with_every_seed(folder: StudyFolder) -> None:
    found = race(view_of(made_results(made_study()), folder))
    assert found is not None
    assert len(found.times["mocov2", "images"].reached) == 5


def test_runs_that_never_get_there_are_told_and_not_averaged_silently(
    folder: StudyFolder,
) -> None:
    curves = {"adco": [0.2, 0.5], "adco/queue": [0.2, 0.3], "mocov2": [0.1, 0.4]}
    view = raced(folder, curves)

    def worse(one: RunRecord) -> RunRecord:
        is_worse = one.name.arm == "adco" and one.name.seed == 1
        return with_curve(one, [0.2, 0.3]) if is_worse else one

    page = time_section(changed(view, worse))
    assert "adco never reaches what mocov2 ends with in 1 of 3 runs (seed 1)" in page
    assert "adco/queue never reaches what mocov2 ends with in 3 of 3 runs" in page
    assert "2 seeds only" in page
    assert "never" not in time_section(raced(folder, {**curves, "adco/queue": [0.2, 0.5]}))


def test_a_score_that_is_there_at_the_first_look_gives_no_ratio(folder: StudyFolder) -> None:
    curves = {"adco": [0.5, 0.6], "adco/queue": [0.2, 0.5], "mocov2": [0.1, 0.4]}
    page = time_section(raced(folder, curves))
    assert "adco is there at the first look already in 3 of 3 runs" in page
    assert "at most 100" in page
    assert "warning" not in page  # a note, no alarm


def test_final_scores_stand_over_what_they_cost_where_that_differs(folder: StudyFolder) -> None:
    alike = view_of(made_results(made_study()), folder)
    assert "Final score over" not in section(alike)

    def slower(one: RunRecord) -> RunRecord:
        return replace(one, seconds=2 * one.seconds) if one.name.arm == "adco" else one

    page = section(changed(alike, slower))
    assert "Final score over seconds of training" in page
    assert "Final score over images seen" not in page
    assert "What the monitor saw" in page
    bare = changed(alike, lambda one: replace(slower(one), curve=()))
    assert "What the monitor saw" not in section(bare)
    assert "Final score over seconds of training" in section(bare)


def test_scores_and_costs_are_means_over_seeds(folder: StudyFolder) -> None:
    view = view_of(made_results(made_study(shares=[1.0, 0.5], equal="both")), folder)
    scores = costed_scores(view)
    assert len(scores) == 3 * 2 * 2
    one = next(one for one in scores if (one.arm, one.measure) == ("adco", view.results.primary))
    assert one.score == pytest.approx(
        np.mean([*view.results.scores("adco", view.results.primary).values()])
    )
    assert (one.images, one.seconds, one.seeds) == (10_000, 125.0, 5)


def test_several_shares_give_a_data_efficiency_factor_with_its_interval(
    folder: StudyFolder,
) -> None:
    study = made_study(shares=[1.0, 0.5, 0.25])
    view = view_of(made_results(study, effects={"adco": 3.0}, own_sd=0.1), folder)
    found = data_efficiency(view.results, "adco", "mocov2", view.results.primary)
    assert found is not None
    assert found.estimate is not None
    assert 1.1 < 1 / found.estimate.value < 2
    assert factor_text(found).startswith(f"{1 / found.estimate.value:.2f} [")
    page = section(view)
    assert factor_text(found) in page
    assert "Final score over the share of the images" in page
    assert found.sentence in page


def test_an_arm_that_never_gets_there_has_no_factor(folder: StudyFolder) -> None:
    study = made_study(shares=[1.0, 0.5])
    view = view_of(made_results(study, effects={"adco": -5.0}, own_sd=0.1), folder)
    found = data_efficiency(view.results, "adco", "mocov2", view.results.primary)
    assert found is not None
    assert factor_text(found) == "-"
    assert "reaches the score that mocov2 has on all images with 0 of 5 seeds" in section(view)


def test_one_share_has_no_data_efficiency(folder: StudyFolder) -> None:
    assert "Data efficiency" not in section(view_of(made_results(made_study()), folder))


def test_without_looks_and_unequal_costs_there_is_no_section(folder: StudyFolder) -> None:
    bare = changed(view_of(made_results(made_study()), folder), lambda one: replace(one, curve=()))
    assert section(bare) == ""
    assert time_section(bare) == ""


def test_the_score_is_the_first_measure(folder: StudyFolder) -> None:
    view = view_of(made_results(made_study()), folder)
    assert measures_of(view) == ["knn_accuracy", "effective_rank"]


def test_curves_of_many_arms_keep_the_bands_of_the_primary_contrast(folder: StudyFolder) -> None:
    tree = made_study(seeds=2).tree()
    more = [{"name": f"arm {number}", "method": "mocov2", "role": "control"} for number in range(3)]
    view = view_of(made_results(Study.build({**tree, "arms": [*tree["arms"], *more]})), folder)
    page = curves_figure(view, "knn_accuracy", "images")
    assert page.count('class="band"') == 2
    assert page.count('class="curve"') == 6
    assert "Bands of the other arms are left out" in section(view)


def test_names_of_arms_and_measures_are_escaped(folder: StudyFolder) -> None:
    hostile = "<script>x</script>"
    tree = made_study(seeds=2, shares=[1.0, 0.5]).tree()
    tree["arms"][2]["name"] = tree["arms"][0]["control"] = hostile
    view = view_of(made_results(Study.build(tree)), folder)

    def measured(one: RunRecord) -> RunRecord:
        curve = tuple(
            replace(point, measures={**point.measures, hostile: 1.0}) for point in one.curve
        )
        return replace(one, curve=curve)

    page = section(changed(view, measured))
    assert "<script" not in page
    Checked(page)


def test_the_same_study_gives_the_same_bytes(folder: StudyFolder) -> None:
    view = view_of(made_results(made_study(shares=[1.0, 0.5], equal="both")), folder)
    assert section(view) == section(view)
