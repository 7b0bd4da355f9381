"""Power and pairs needed, against the numbers of the literature and statsmodels."""

import numpy as np
import pytest
from scipy import stats

from sparring.studies.statistics.power import (
    detectable_difference,
    pairs_needed,
    power_of,
    power_sentence,
    sd_interval,
)


@pytest.mark.parametrize(("effect", "pairs"), [(0.5, 34), (1.0, 10), (1.5, 6), (2.0, 5)])
def test_the_pairs_needed_for_a_power_of_eighty_percent(effect: float, pairs: int) -> None:
    assert pairs_needed(1.0, effect) == pairs
    assert pairs_needed(2.0, -2 * effect) == pairs


def test_power_is_that_of_statsmodels() -> None:
    from statsmodels.stats.power import TTestPower

    for pairs in (2, 3, 5, 12, 40):
        for effect in (0.0, 0.3, 1.0, 2.0):
            for alpha in (0.05, 0.01):
                expected = TTestPower().power(effect, pairs, alpha, alternative="two-sided")
                assert power_of(pairs, 2.0, 2 * effect, alpha=alpha) == pytest.approx(
                    float(expected), abs=1e-9
                )


def test_power_is_the_share_of_studies_that_find_the_difference() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(0.8, 1.0, (20_000, 8))
    found = stats.ttest_1samp(values, 0, axis=1).pvalue <= 0.05
    # Three standard errors of 20,000 studies.
    assert abs(found.mean() - power_of(8, 1.0, 0.8)) < 3 * 0.5 / np.sqrt(20_000)


@pytest.mark.parametrize("pairs", [2, 3, 5, 10, 34, 200, 2001])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_power_is_a_number_wherever_it_is_asked_for(pairs: int, alpha: float) -> None:
    # P(|T| > t) is the mean over z of P(chi-square < (n - 1) ((z + moved) / t)^2).
    nodes, weights = np.polynomial.legendre.leggauss(1000)
    z, weights = 9 * nodes, 9 * weights * stats.norm.pdf(9 * nodes)
    bound = stats.t.ppf(1 - alpha / 2, pairs - 1)
    for effect in np.geomspace(0.001, 1000, 300):
        moved = effect * np.sqrt(pairs)
        inner = stats.chi2.cdf((pairs - 1) * ((z + moved) / bound) ** 2, pairs - 1)
        # The sum over nodes is that good; |z + moved| has a corner with one degree of freedom.
        assert power_of(pairs, 1.0, effect, alpha=alpha) == pytest.approx(
            float(weights @ inner), abs=1e-5 if pairs == 2 else 1e-9
        )


def test_without_spread_any_difference_is_found() -> None:
    assert power_of(2, 0.0, 0.1) == 1.0
    assert power_of(2, 0.0, 0.0) == 0.0
    assert pairs_needed(0.0, 0.1) == 2
    assert detectable_difference(2, 0.0) == 0.0


def test_one_pair_finds_nothing() -> None:
    assert power_of(1, 1.0, 5.0) == 0.0
    assert detectable_difference(1, 1.0) is None


def test_tiny_effects_need_pairs_without_end_in_sight() -> None:
    found = pairs_needed(1.0, 1e-4)
    assert found == pytest.approx(((1.959964 + 0.841621) / 1e-4) ** 2, rel=1e-5)


def test_the_pairs_needed_are_the_fewest() -> None:
    for effect in (0.11, 0.4, 0.77, 3.0):
        pairs = pairs_needed(1.0, effect, alpha=0.01)
        assert power_of(pairs, 1.0, effect, alpha=0.01) >= 0.8
        assert pairs == 2 or power_of(pairs - 1, 1.0, effect, alpha=0.01) < 0.8


def test_no_effect_is_never_found() -> None:
    with pytest.raises(ValueError, match="effect must not be 0"):
        pairs_needed(1.0, 0.0)
    with pytest.raises(ValueError, match="sd must be at least 0"):
        power_of(5, -1.0, 1.0)


def test_a_detectable_difference_has_the_power_asked_for() -> None:
    found = detectable_difference(7, 1.3)
    assert found is not None
    assert power_of(7, 1.3, found) == pytest.approx(0.8, abs=1e-9)


def test_the_interval_of_a_spread_is_that_of_chi_square() -> None:
    found = sd_interval([0.0, 1.0, 2.0])
    assert found is not None
    assert found.low == pytest.approx(np.sqrt(2 / stats.chi2.ppf(0.975, 2)))
    assert found.high == pytest.approx(np.sqrt(2 / stats.chi2.ppf(0.025, 2)))
    assert sd_interval([1.0, 1.0]) is None
    assert sd_interval([1.0]) is None


FIVE = np.array([-1.2, -0.4, 0.0, 0.6, 1.0])
"""Differences of a standard deviation of 0.866."""


def test_a_sentence_says_how_many_pairs_would_settle_what_matters() -> None:
    values = FIVE / FIVE.std(ddof=1)
    assert power_sentence(values, 0.5) == (
        "At this spread 34 pairs would be needed to settle a difference of 0.5 points, 29 more "
        "than there are; 5 more would settle one of 1 point."
    )


def test_a_sentence_names_the_coarser_difference_that_is_settled_already() -> None:
    values = FIVE / FIVE.std(ddof=1) / 2
    assert power_sentence(values, 0.4).endswith("; 1 more would settle one of 0.8 points.")
    assert power_sentence(np.tile(values, 3), 0.3).endswith("; these 15 settle one of 0.6 points.")


def test_a_spread_far_beyond_the_margin_is_not_promised_anything() -> None:
    assert "more would" not in power_sentence(1000 * FIVE, 0.5)


def test_a_sentence_says_what_is_settled() -> None:
    assert power_sentence(np.tile(FIVE, 10), 0.5).startswith("At this spread 50 pairs find")
    assert "99 of 100 or more" in power_sentence(FIVE / 100, 0.5)


def test_few_pairs_give_a_range() -> None:
    found = power_sentence([-0.9, -0.8, -1.0], 0.5)
    assert found == (
        "3 pairs show the spread of the differences only roughly (SD 0.1 points, 95 % interval "
        "0.052 to 0.63): between 3 and 15 pairs would be needed to settle a difference of 0.5 "
        "points."
    )


@pytest.mark.parametrize("differences", [[], [0.3], [0.3, 0.3]])
def test_a_spread_that_is_not_known_promises_nothing(differences: list[float]) -> None:
    assert "is not known" in power_sentence(differences, 0.5)


def test_a_number_of_pairs_that_nobody_can_run_is_not_spelled_out() -> None:
    said = power_sentence([-40.0, 55.0], 0.5)
    assert "e+" not in said
    assert "more than 1,000 pairs would be needed" in said


def test_differences_of_nothing_but_zero_ask_whether_the_arms_differ() -> None:
    assert "Look whether the two arms differ" in power_sentence([0.0, 0.0], 0.5)
    assert "differences are equal" in power_sentence([0.4, 0.4], 0.5)
