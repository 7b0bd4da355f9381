"""The bootstrap interval and the sign-flip test, against scipy with equal resamples and counts."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sparring.studies.statistics.resampling import (
    MIN_PAIRS_SIGN_FLIP,
    bca_interval,
    pairs_for_sign_flip,
    sign_flip_p,
    smallest_sign_flip_p,
)


def eighths(pairs: int, *, seed: int) -> np.ndarray:
    """Differences whose sums are exact, so that ties are ties."""
    return np.round(np.random.default_rng(seed).exponential(1, pairs) * 8) / 8 - 0.5


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_a_bootstrap_interval_is_that_of_scipy_on_equal_resamples(level: float) -> None:
    values = eighths(16, seed=3)
    expected = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=10_000,
        method="BCa",
        confidence_level=level,
        rng=np.random.default_rng(7),
    ).confidence_interval
    found = bca_interval(values, level=level, seed=7)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_bootstrap_interval_follows_the_skew() -> None:
    values = eighths(16, seed=3)
    found = bca_interval(values)
    assert found is not None
    assert found.high - values.mean() > values.mean() - found.low


def test_a_bootstrap_interval_is_the_same_every_time() -> None:
    values = np.random.default_rng(0).normal(0, 1, 12)
    assert bca_interval(values) == bca_interval(values)
    assert bca_interval(values) != bca_interval(values, seed=1)


def test_resamples_are_drawn_in_parts_without_a_seam() -> None:
    values = eighths(16, seed=4)
    means = values[np.random.default_rng(0).integers(0, 16, (25_000, 16))].mean(axis=1)
    found = bca_interval(values, resamples=25_000)
    assert found is not None
    assert found.low in means or np.min(np.abs(means - found.low)) < 1 / 64


def test_fewer_than_ten_pairs_have_no_bootstrap_interval() -> None:
    assert bca_interval(np.arange(9.0)) is None
    assert bca_interval(np.arange(10.0)) is not None


def test_equal_differences_give_their_mean_alone() -> None:
    found = bca_interval([0.1] * 12)
    assert found is not None
    assert found.low == found.high == pytest.approx(0.1)


def test_one_outlier_gives_a_finite_interval() -> None:
    found = bca_interval([0.0] * 9 + [1000.0])
    assert found is not None
    assert 0 <= found.low < found.high <= 1000


def by_counting(values: np.ndarray) -> float:
    """The definition, slowly."""
    flips = itertools.product((-1, 1), repeat=len(values))
    seen = abs(values.mean())
    sums = [abs((np.array(signs) * values).mean()) >= seen - 1e-12 for signs in flips]
    return float(np.mean(sums))


@pytest.mark.parametrize("pairs", [6, 7, 9])
def test_a_sign_flip_p_counts_all_flips(pairs: int) -> None:
    values = np.random.default_rng(pairs).normal(0.4, 1, pairs)
    assert sign_flip_p(values) == by_counting(values)


def test_a_sign_flip_p_is_that_of_scipys_exact_permutation_test() -> None:
    draw = np.random.default_rng(5)
    first, second = draw.normal(0.5, 1, 8), draw.normal(0, 1, 8)
    expected = stats.permutation_test(
        (first, second),
        lambda one, two, axis: np.mean(one - two, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert sign_flip_p(first - second) == pytest.approx(expected.pvalue, rel=1e-12)


def test_ties_and_zeros_are_counted() -> None:
    values = np.array([0.5, 0.5, -0.5, 0.0, 0.0, 0.5])
    assert sign_flip_p(values) == by_counting(values)
    assert sign_flip_p([0.0] * 7) == 1.0
    assert sign_flip_p([0.1] * 7) == 2 / 2**7  # sums of tenths are not exact


def test_sums_that_differ_by_rounding_alone_are_ties() -> None:
    whole = np.array([1, 2, 3, 4, 5, -6, 7])  # 1 + 2 = 3, and so on: many sums are equal
    assert by_counting(whole) > 0.1
    assert sign_flip_p(whole / 10) == sign_flip_p(whole) == by_counting(whole)


def test_drawn_flips_come_near_all_flips() -> None:
    values = np.random.default_rng(2).normal(0.4, 1, 18)
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    exact = float((np.abs(sums) >= abs(values.sum()) - 1e-9).mean())
    found = sign_flip_p(values)
    assert found is not None
    # Four standard errors of 99,999 draws.
    assert abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 100_000)
    assert found != exact


def test_a_drawn_p_is_never_zero() -> None:
    assert sign_flip_p([5.0] * 40) == 1 / 100_000


def test_five_pairs_have_no_sign_flip_test() -> None:
    assert sign_flip_p([1.0] * 5) is None
    assert sign_flip_p([1.0] * MIN_PAIRS_SIGN_FLIP) == smallest_sign_flip_p(6) == 0.03125


@pytest.mark.parametrize(("contrasts", "pairs"), [(1, 6), (2, 7), (3, 7), (5, 8), (6, 8), (7, 9)])
def test_the_pairs_that_a_sign_flip_test_needs(contrasts: int, pairs: int) -> None:
    assert pairs_for_sign_flip(contrasts=contrasts) == pairs
    assert smallest_sign_flip_p(pairs) <= 0.05 / contrasts < smallest_sign_flip_p(pairs - 1)


def test_the_pairs_needed_are_found_where_a_power_of_two_meets_the_bound() -> None:
    assert pairs_for_sign_flip(alpha=0.0625) == 5
    assert pairs_for_sign_flip(alpha=0.0625, contrasts=2) == 6
    with pytest.raises(ValueError, match="alpha"):
        pairs_for_sign_flip(alpha=0)
