"""Bands of learning curves, and times to a score with runs that never get there."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
from made_studies import made_results, made_study
from scipy import stats

from sparring.studies.records import CurvePoint, RunName
from sparring.studies.results import Results
from sparring.studies.statistics.curves import (
    Axis,
    TimeToScore,
    bands,
    curve_of,
    geometric_estimate,
    time_ratio,
    time_to_score,
)

Looks = Sequence[tuple[int, float, float]]
"""Images, seconds and kNN accuracy of each look."""


def with_curves(looks: dict[tuple[str, int], Looks]) -> Results:
    """A made study in which some runs have these curves, and the others none."""
    results = made_results(made_study(seeds=3))
    records = tuple(
        dataclasses.replace(
            record,
            curve=tuple(
                CurvePoint(images=images, seconds=seconds, measures={"knn_accuracy": score})
                for images, seconds, score in looks.get((record.name.arm, record.name.seed), ())
            ),
        )
        for record in results.records
    )
    return Results(study=results.study, records=records)


def test_a_band_is_mean_and_t_interval_at_every_look() -> None:
    results = made_results(made_study(seeds=4))
    band = bands(results, "adco", results.primary)
    assert band is not None
    assert band.low is not None
    assert band.high is not None
    assert band.x.tolist() == [1000.0 * epoch for epoch in range(1, 11)]
    assert band.seeds == (0, 1, 2, 3)
    heights = np.array(
        [
            [point.measures["knn_accuracy"] for point in record.curve]
            for record in results.of_arm("adco", results.primary)
        ]
    )
    assert band.mean == pytest.approx(heights.mean(axis=0))
    expected = stats.ttest_1samp(heights[:, 3], 0).confidence_interval()
    assert (band.low[3], band.high[3]) == pytest.approx((expected.low, expected.high))


def test_a_band_says_nothing_outside_what_all_seeds_have() -> None:
    results = with_curves(
        {
            ("adco", 0): [(100, 1.0, 0.1), (300, 3.0, 0.3)],
            ("adco", 1): [(200, 2.0, 0.2), (400, 4.0, 0.6)],
        }
    )
    band = bands(results, "adco", results.primary)
    assert band is not None
    assert band.x.tolist() == [200, 300]
    # Straight lines between looks: (0.2 + 0.2) / 2 and (0.3 + 0.4) / 2
    assert band.mean == pytest.approx([0.2, 0.35])
    assert band.seeds == (0, 1)


def test_runs_without_a_place_in_common_have_no_band() -> None:
    results = with_curves(
        {("adco", 0): [(100, 1.0, 0.1)], ("adco", 1): [(200, 2.0, 0.2), (400, 4.0, 0.6)]}
    )
    assert bands(results, "adco", results.primary) is None
    assert bands(results, "mocov2", results.primary) is None
    assert bands(results, "adco", results.primary, name="no such measure") is None


def test_one_seed_has_a_curve_and_no_band() -> None:
    results = with_curves({("adco", 1): [(100, 1.0, 0.1), (300, 3.0, 0.3)]})
    band = bands(results, "adco", results.primary, axis="seconds")
    assert band is not None
    assert (band.low, band.high, band.seeds) == (None, None, (1,))
    assert band.x.tolist() == [1.0, 3.0]


def test_looks_at_many_different_seconds_are_thinned() -> None:
    draw = np.random.default_rng(0)
    looks = {
        ("adco", seed): [
            (number, second, number / 400)
            for number, second in enumerate(np.sort(draw.uniform(0, 100, 400)).tolist())
        ]
        for seed in range(3)
    }
    results = with_curves(looks)
    band = bands(results, "adco", results.primary, axis="seconds")
    assert band is not None
    assert len(band.x) == 200
    assert np.all(np.diff(band.x) > 0)
    assert np.isfinite(band.mean).all()


def test_a_look_made_twice_counts_as_it_was_last_and_gaps_are_left_out() -> None:
    results = with_curves(
        {
            ("adco", 0): [
                (100, 1.0, 0.1),
                (200, 2.0, 0.9),
                (200, 2.5, 0.2),
                (300, 3.0, math.nan),
            ]
        }
    )
    record = results.record(RunName(arm="adco", seed=0))
    assert record is not None
    x, y = curve_of(record, "knn_accuracy", "images")
    assert (x.tolist(), y.tolist()) == ([100, 200], [0.1, 0.2])


def test_the_time_to_a_score_is_read_between_looks() -> None:
    results = with_curves(
        {
            ("adco", 0): [(100, 10.0, 0.1), (200, 30.0, 0.3), (300, 50.0, 0.2)],
            ("adco", 1): [(100, 10.0, 0.25), (200, 30.0, 0.3)],
            ("adco", 2): [(100, 10.0, 0.1), (200, 30.0, 0.15)],
        }
    )
    for axis, reached, first, last in (("images", 150, 100, 200), ("seconds", 20, 10, 30)):
        which: Axis = "images" if axis == "images" else "seconds"
        found = time_to_score(results, "adco", results.primary, score=0.2, axis=which)
        assert found.reached == {0: pytest.approx(reached)}
        assert found.at_first_look == {1: first}
        assert found.never == {2: last}
        assert found.num_runs == 3


def times(
    arm: str, reached: dict[int, float], *, never: dict[int, float] | None = None
) -> TimeToScore:
    return TimeToScore(
        arm=arm, axis="images", score=0.6, reached=reached, at_first_look={}, never=never or {}
    )


def test_a_ratio_of_times_is_geometric_and_paired() -> None:
    found = time_ratio(
        times("game", {0: 100, 1: 200, 2: 400}), times("twin", {0: 200, 1: 400, 2: 400})
    )
    assert found.estimate is not None
    assert found.estimate.interval is not None
    # logs: -log 2, -log 2, 0: mean -2/3 log 2, sd log 2 / sqrt 3, t(2) 4.302653
    assert found.estimate.value == pytest.approx(2 ** (-2 / 3))
    half = 4.302653 * math.log(2) / 3
    assert found.estimate.interval.low == pytest.approx(2 ** (-2 / 3) * math.exp(-half), rel=1e-5)
    assert found.seeds == (0, 1, 2)
    assert found.sentence.startswith("game takes 0.63 times the images of twin to 0.6 (3 seeds, ")
    assert "never" not in found.sentence


def test_runs_that_never_get_there_are_named() -> None:
    found = time_ratio(
        times("game", {0: 100, 1: 200, 2: 400}),
        times("twin", {0: 200, 1: 400}, never={2: 1000}),
    )
    assert found.seeds == (0, 1)
    assert "twin never reaches it with 1 of 3 seeds" in found.sentence
    assert "cannot stand for all" in found.sentence


def test_without_a_seed_in_common_there_is_no_ratio() -> None:
    found = time_ratio(times("game", {0: 100}), times("twin", {}, never={0: 1000}))
    assert found.estimate is None
    assert found.sentence == (
        "no seed tells how long game takes to 0.6 beside twin; twin never reaches it with 1 of 1 "
        "seeds."
    )


def test_one_seed_gives_a_ratio_without_an_interval() -> None:
    found = time_ratio(times("game", {4: 100}), times("twin", {4: 400}))
    assert found.estimate is not None
    assert (found.estimate.value, found.estimate.interval) == (pytest.approx(0.25), None)


def test_times_to_different_scores_have_no_ratio() -> None:
    other = dataclasses.replace(times("twin", {0: 1.0}), score=0.7)
    with pytest.raises(ValueError, match="same score and axis"):
        time_ratio(times("game", {0: 1.0}), other)


def test_no_factors_have_no_mean() -> None:
    assert geometric_estimate(np.array([])) is None
