"""Means, intervals, tests and what pairing bought, against values computed by hand and by scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from sparring.studies.statistics.paired import (
    correlation,
    mean_interval,
    paired_t,
    probability_of_improvement,
    what_pairing_bought,
)

DEMO = [-0.9, -0.8, -1.0]
"""A game minus its twin with three seeds, kNN."""


def test_an_interval_is_mean_and_t_times_standard_error() -> None:
    # mean -0.9, sd 0.1, t(2; 0.975) = 4.302653, 0.1 / sqrt(3) = 0.0577350
    found = mean_interval(DEMO)
    assert found.low == pytest.approx(-0.9 - 4.302653 * 0.0577350, abs=1e-6)
    assert found.high == pytest.approx(-0.9 + 4.302653 * 0.0577350, abs=1e-6)


def test_a_higher_level_makes_a_wider_interval() -> None:
    narrow, wide = mean_interval(DEMO, level=0.9), mean_interval(DEMO, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_t_test_is_the_one_of_scipy() -> None:
    draw = np.random.default_rng(0)
    for pairs in (2, 3, 5, 20):
        first, second = draw.normal(60, 1, pairs), draw.normal(59.5, 1, pairs)
        expected = stats.ttest_rel(first, second)
        found = paired_t(first - second)
        assert found.t == pytest.approx(expected.statistic, rel=1e-12)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
        assert found.df == expected.df
        ends = expected.confidence_interval()
        interval = mean_interval(first - second)
        assert (interval.low, interval.high) == pytest.approx((ends.low, ends.high), rel=1e-10)


def test_a_t_of_two_pairs_is_that_of_cauchys_distribution() -> None:
    # t = 3 with 1 degree of freedom: p = 1 - 2 atan(3) / pi
    found = paired_t([1.0, 2.0])
    assert found.t == pytest.approx(3.0)
    assert found.p == pytest.approx(1 - 2 * math.atan(3) / math.pi)


@pytest.mark.parametrize(
    ("differences", "t", "p"),
    [
        ([0.0, 0.0], 0.0, 1.0),
        ([0.5, 0.5, 0.5], math.inf, 0.0),
        ([-0.5, -0.5], -math.inf, 0.0),
        ([0.1 + 0.2 - 0.3, 0.0], 0.0, 1.0),  # rounding is no difference
        ([0.1 + 0.2, 0.3], math.inf, 0.0),
    ],
)
def test_equal_differences_have_a_rule_and_no_nan(
    differences: list[float], t: float, p: float
) -> None:
    found = paired_t(differences)
    assert (found.t, found.p) == (t, p)
    interval = mean_interval(differences)
    assert interval.high == interval.low == pytest.approx(np.mean(differences), abs=1e-9)


def test_one_pair_is_refused_with_the_number_that_is_needed() -> None:
    for statistic in (mean_interval, paired_t):
        with pytest.raises(ValueError, match="at least 2 pairs, got 1"):
            statistic([0.5])


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval([0.5, math.nan])
    with pytest.raises(ValueError, match="one per pair"):
        paired_t(np.ones((2, 2)))
    with pytest.raises(ValueError, match="level"):
        mean_interval([0.5, 0.4], level=95)


def test_a_correlation_is_pearsons() -> None:
    # deviations (-1, 0, 1) and (-2, 1, 1): 3 / sqrt(2 * 6)
    assert correlation([1, 2, 3], [1, 4, 4]) == pytest.approx(3 / math.sqrt(12))


def test_arms_without_a_correlation_have_none() -> None:
    assert correlation([1, 2], [3, 4]) is None
    assert correlation([1, 1, 1], [3, 4, 5]) is None
    assert what_pairing_bought([1, 2], [3, 4]) is None


def test_arms_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 3 scores"):
        correlation([1, 2], [3, 4, 5])


def test_the_probability_of_improvement_is_that_of_clopper_and_pearson() -> None:
    differences = [0.4, 0.1, 0.8, -0.2, 0.3, 0.6, 0.2]
    found = probability_of_improvement(differences)
    expected = stats.binomtest(6, 7).proportion_ci(method="exact")
    assert found is not None
    assert found.interval is not None
    assert found.value == pytest.approx(6 / 7)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("pairs", "can_reject"), [(5, False), (6, True)])
def test_the_probability_leaves_out_one_half_where_the_sign_test_rejects(
    pairs: int, can_reject: bool
) -> None:
    found = probability_of_improvement([0.1] * pairs)
    assert found is not None
    assert found.interval is not None
    assert (0.5 not in found.interval) is can_reject
    assert bool(stats.binomtest(pairs, pairs).pvalue <= 0.05) is can_reject


def test_a_tie_counts_as_half_and_widens_the_interval_both_ways() -> None:
    found = probability_of_improvement([0.3, 0.0, -0.2, 0.1])
    assert found is not None
    assert found.interval is not None
    assert found.value == pytest.approx(2.5 / 4)
    assert found.interval.low == pytest.approx(stats.binomtest(2, 4).proportion_ci().low)
    assert found.interval.high == pytest.approx(stats.binomtest(3, 4).proportion_ci().high)


def test_ties_alone_say_nothing() -> None:
    found = probability_of_improvement([0.0, 0.0, 0.0])
    assert found is not None
    assert found.interval is not None
    assert (found.value, found.interval.low, found.interval.high) == (0.5, 0.0, 1.0)


def test_two_pairs_have_no_probability_of_improvement() -> None:
    assert probability_of_improvement([0.3, 0.2]) is None


def test_the_interval_of_the_probability_covers_at_least_what_it_says() -> None:
    for pairs in (3, 5, 8, 12, 20):
        for truth in np.linspace(0.05, 0.95, 19):
            covered = 0.0
            for wins in range(pairs + 1):
                found = probability_of_improvement([1.0] * wins + [-1.0] * (pairs - wins))
                assert found is not None
                assert found.interval is not None
                covered += stats.binom.pmf(wins, pairs, truth) * (truth in found.interval)
            assert covered >= 0.95


def test_pairing_that_helps_is_measured() -> None:
    shared = np.array([0.0, 2.0, -2.0, 1.0, -1.0])
    own = np.array([0.1, -0.1, 0.0, 0.2, -0.2])
    found = what_pairing_bought(60 + shared + own, 59 + shared)
    assert found is not None
    assert found.variance_ratio == pytest.approx(
        np.var(own) / (np.var(shared + own) + np.var(shared))
    )
    quantiles = stats.t.ppf(0.975, 4) / stats.t.ppf(0.975, 8)
    assert found.width_ratio == pytest.approx(math.sqrt(found.variance_ratio) * quantiles)
    assert found.interval is not None
    assert found.sentence == (
        "Pairing by seed left less than 1 % of the variance of an unpaired difference (correlation "
        f"of the arms 1.00, 95 % interval {found.interval.low:.2f} to 1.00, 5 seeds); the interval "
        f"is {100 * found.width_ratio:.0f} % as wide."
    )


def test_a_page_says_where_pairing_bought_nothing() -> None:
    found = what_pairing_bought([1.0, 2.0, 3.0], [3.0, 1.0, 2.0])
    assert found is not None
    assert found.correlation == pytest.approx(-0.5)
    assert found.variance_ratio > 1
    assert found.interval is None
    assert "bought nothing" in found.sentence


def test_a_small_gain_is_eaten_by_the_degrees_of_freedom() -> None:
    # Correlation 1/2: half of the variance is left, but t(2) is 1.55 times t(4).
    found = what_pairing_bought([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert found is not None
    assert found.variance_ratio == pytest.approx(0.5)
    assert found.width_ratio > 1
    assert "no gain" in found.sentence


def test_the_interval_of_a_correlation_is_fishers() -> None:
    draw = np.random.default_rng(1)
    first = draw.normal(0, 1, 8)
    second = first + draw.normal(0, 1, 8)
    expected = stats.pearsonr(first, second).confidence_interval()
    found = what_pairing_bought(first, second)
    assert found is not None
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))


def test_arms_that_move_as_one_have_no_interval_to_spread() -> None:
    found = what_pairing_bought([1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0])
    assert found is not None
    assert (found.correlation, found.variance_ratio, found.width_ratio) == pytest.approx((1, 0, 0))
