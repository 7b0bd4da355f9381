"""Adjusted p-values and two one-sided tests, against hand-computed values and statsmodels."""

import numpy as np
import pytest
from scipy import stats

from sparring.studies.statistics.equivalence import equivalence_p
from sparring.studies.statistics.multiple import holm
from sparring.studies.statistics.paired import mean_interval


def test_holm_multiplies_step_by_step() -> None:
    # sorted 0.005 x4, 0.01 x3, 0.03 x2, 0.04 x1 -> 0.02, 0.03, 0.06, 0.06 (not 0.04)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_cannot_be_tested_is_left_out() -> None:
    assert holm([None, 0.02, None, 0.01]) == [None, 0.02, None, 0.02]
    assert holm([None]) == [None]
    assert holm([]) == []


def test_adjusted_values_are_at_most_one_and_ties_are_equal() -> None:
    assert holm([0.6, 0.7, 0.01, 0.01]) == pytest.approx([1, 1, 0.04, 0.04])


def test_a_p_value_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        holm([1.5])


def test_holm_is_that_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    draw = np.random.default_rng(0)
    for num_contrasts in (1, 2, 5, 12):
        p_values = draw.uniform(0, 1, num_contrasts) ** 3
        expected = multipletests(p_values, method="holm")[1]
        assert holm(p_values.tolist()) == pytest.approx(expected.tolist(), rel=1e-12)


def test_two_one_sided_tests_are_those_of_statsmodels() -> None:
    from statsmodels.stats.weightstats import ttost_paired

    draw = np.random.default_rng(1)
    for pairs in (2, 3, 5, 12):
        first, second = draw.normal(60, 0.3, pairs), draw.normal(60.1, 0.3, pairs)
        expected = ttost_paired(first, second, -0.5, 0.5)[0]
        assert equivalence_p(first - second, 0.5) == pytest.approx(expected, rel=1e-10)


def test_an_equivalence_p_by_hand() -> None:
    # mean 0.05, sd 0.129099, n 4: t = 0.45 * 2 / 0.129099 = 6.9714, 3 degrees of freedom
    assert equivalence_p([0.1, -0.1, 0.2, 0.0], 0.5) == pytest.approx(
        stats.t.sf(6.971370, 3), rel=1e-5
    )


def test_equivalence_is_claimed_where_the_ninety_percent_interval_lies_within() -> None:
    draw = np.random.default_rng(2)
    claims = 0
    for _ in range(200):
        differences = draw.normal(0.1, 0.4, 6)
        interval = mean_interval(differences, level=0.9)
        p = equivalence_p(differences, 0.5)
        assert p is not None
        assert (p < 0.05) is (max(-interval.low, interval.high) < 0.5)
        claims += p < 0.05
    assert 20 < claims < 180


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([0.4, 0.4], 0.0), ([0.5, 0.5], 1.0), ([-0.6, -0.6], 1.0), ([0.0, 0.0], 0.0)],
)
def test_equal_differences_are_within_the_margin_or_not(
    differences: list[float], expected: float
) -> None:
    assert equivalence_p(differences, 0.5) == expected


def test_one_pair_cannot_show_equivalence() -> None:
    assert equivalence_p([0.0], 0.5) is None
    assert equivalence_p([], 0.5) is None


def test_a_margin_must_be_positive() -> None:
    with pytest.raises(ValueError, match="margin must be positive, got 0"):
        equivalence_p([0.1, 0.2], 0)


def test_no_evidence_and_no_more_than_the_margin_are_different_answers() -> None:
    from sparring.studies.statistics.paired import paired_t

    wide, narrow = [2.0, -1.9, 0.9, -0.8], [0.1, -0.1, 0.05, 0.0]
    assert paired_t(wide).p > 0.5
    assert paired_t(narrow).p > 0.5
    wide_p, narrow_p = equivalence_p(wide, 0.5), equivalence_p(narrow, 0.5)
    assert wide_p is not None
    assert narrow_p is not None
    assert wide_p > 0.2
    assert narrow_p < 0.01
