"""The share of the images at which one arm equals another on all of them."""

import dataclasses

import numpy as np
import pytest
from made_studies import made_results, made_study

from sparring.studies.results import Results
from sparring.studies.statistics.efficiency import data_efficiency

SHARES = [0.25, 0.5, 1.0]


def with_scores(first: list[list[float]], whole: list[float]) -> Results:
    """A study of three shares: the game's scores by seed and share, and its twin's on all images,
    in points."""
    results = made_results(made_study(seeds=len(first), shares=SHARES))
    records = []
    for record in results.records:
        place = SHARES.index(record.name.share)
        points = 0.0
        if record.name.arm == "adco":
            points = first[record.name.seed][place]
        elif record.name.share == 1:
            points = whole[record.name.seed]
        scores = {"test": {"knn": points / 100, "linear": points / 100}}
        records.append(dataclasses.replace(record, scores=scores))
    return Results(study=results.study, records=tuple(records))


def test_a_share_is_read_off_between_shares_on_a_logarithmic_scale() -> None:
    # Half way between 40 at 0.25 and 44 at 0.5: 0.25 * sqrt 2; then the other way round.
    results = with_scores([[40, 44, 48], [40, 44, 48]], [42, 46])
    found = data_efficiency(results, "adco", "adco/queue", results.primary)
    assert found is not None
    assert found.shares == {0: pytest.approx(0.25 * 2**0.5), 1: pytest.approx(0.5 * 2**0.5)}
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0.5)
    assert found.estimate.interval is not None
    # logs differ by log 2: sd log 2 / sqrt 2, over sqrt 2, times t(1) = 12.7062
    assert found.estimate.interval.high == pytest.approx(
        0.5 * np.exp(12.7062 * np.log(2) / 2), rel=1e-4
    )
    assert found.sentence.startswith("adco on 50 % of the images (95 % interval ")


def test_a_dip_is_noise() -> None:
    results = with_scores([[40, 46, 44]], [45])
    found = data_efficiency(results, "adco", "adco/queue", results.primary)
    assert found is not None
    assert found.shares == {0: pytest.approx(0.5)}  # 46 and 44 are one level of 45


def test_a_seed_that_never_gets_there_is_counted_and_no_mean_is_made_without_it() -> None:
    results = with_scores([[40, 44, 48], [40, 44, 48]], [42, 50])
    found = data_efficiency(results, "adco", "adco/queue", results.primary)
    assert found is not None
    assert found.estimate is None
    assert found.sentence == (
        "adco reaches the score that adco/queue has on all images with 1 of 2 seeds (at 35 % to "
        "35 %)."
    )


def test_the_smallest_share_is_an_upper_bound() -> None:
    results = with_scores([[40, 44, 48], [43, 44, 48]], [42, 42])
    found = data_efficiency(results, "adco", "adco/queue", results.primary)
    assert found is not None
    assert found.at_most == (1,)
    assert found.estimate is not None
    assert found.estimate.interval is None
    assert found.sentence.startswith("adco on at most 30 % of the images equals adco/queue")


def test_one_share_has_no_factor() -> None:
    results = made_results()
    assert data_efficiency(results, "adco", "adco/queue", results.primary) is None


def test_a_seed_without_all_of_its_runs_is_left_out() -> None:
    results = with_scores([[40, 44, 48], [40, 44, 48]], [42, 46])
    kept = tuple(one for one in results.records if (one.name.seed, one.name.share) != (1, 0.5))
    found = data_efficiency(
        Results(study=results.study, records=kept), "adco", "adco/queue", results.primary
    )
    assert found is not None
    assert list(found.shares) == [0]
    assert found.estimate is not None
    assert found.estimate.interval is None
    assert found.sentence.endswith("(one seed).")


def test_no_runs_have_no_factor() -> None:
    results = Results(study=made_study(shares=SHARES), records=())
    assert data_efficiency(results, "adco", "adco/queue", results.primary) is None
