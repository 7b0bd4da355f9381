"""What needs no normal distribution: the bootstrap interval and the sign-flip test."""

import math

import numpy as np
from scipy import special

from sparring.studies.findings import Interval
from sparring.studies.results import Floats
from sparring.studies.statistics.differences import (
    ROUNDING,
    Values,
    as_differences,
    mean_of,
    require_level,
    sd_of,
)

MIN_PAIRS_BOOTSTRAP = 10
"""Pairs from which on a bootstrap interval is given; with fewer it is far too short."""
MIN_PAIRS_SIGN_FLIP = 6
"""Pairs from which on the sign-flip test can reject at 0.05."""
MAX_PAIRS_EXACT = 16
"""Pairs up to which all sign flips are counted: 65,536."""
SAMPLED_FLIPS = 99_999
"""Sign flips that are drawn for more pairs."""
_ROWS = 10_000
"""Resamples that are held in memory at once."""


def bca_interval(
    differences: Values, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval | None:
    """Bias-corrected and accelerated bootstrap interval of the mean difference.

    The ends are quantiles of the bootstrap means at Phi(z0 + (z0 + z) / (1 - a (z0 + z))): z0 from
    the share of bootstrap means below the mean, a from the skewness of the jackknife. Equal
    differences give the mean alone.

    Args:
        differences: one per pair.
        level: of the interval.
        resamples: number of bootstrap resamples.
        seed: draws the resamples.

    Returns:
        None for fewer than ten pairs.

    Source: Efron 1987, Journal of the American Statistical Association 82, eqs. 2.3, 7.3.
    """
    require_level(level)
    values = as_differences(differences)
    pairs = len(values)
    if pairs < MIN_PAIRS_BOOTSTRAP:
        return None
    mean = mean_of(values)
    if sd_of(values) == 0:
        return Interval(low=mean, high=mean)
    draw = np.random.default_rng(seed)
    means = np.concatenate(
        [
            values[draw.integers(0, pairs, (min(_ROWS, resamples - done), pairs))].mean(axis=1)
            for done in range(0, resamples, _ROWS)
        ]
    )
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(means, _bca_places(values, means, tails))
    return Interval(low=float(low), high=float(high))


def sign_flip_p(differences: Values, *, seed: int = 0) -> float | None:
    """p-value of the sign-flip permutation test, two-sided.

    Where an arm's name says nothing, each difference could as well have the other sign. p is the
    share of all 2^n choices of signs whose |mean| is at least the one seen. Up to 16 pairs all are
    counted. For more, 99,999 are drawn, and p is (b + 1) / (m + 1), so that it never is 0.

    Args:
        differences: one per pair.
        seed: draws the flips for more than 16 pairs.

    Returns:
        None for fewer than six pairs, which cannot reject at 0.05.

    Source: Fisher 1935, The Design of Experiments, section 21; Pitman 1937; Phipson and Smyth 2010
    for (b + 1) / (m + 1).

    Example:
        >>> sign_flip_p([0.5, 0.2, 0.9, 0.4, 0.1, 0.3])
        0.03125
    """
    values = as_differences(differences)
    pairs = len(values)
    if pairs < MIN_PAIRS_SIGN_FLIP:
        return None
    seen = abs(float(values.sum())) - ROUNDING * pairs
    if pairs <= MAX_PAIRS_EXACT:
        sums = _flipped_sums(values)
        return float((np.abs(sums) >= seen).mean())
    draw, found = np.random.default_rng(seed), 0
    for done in range(0, SAMPLED_FLIPS, _ROWS):
        signs = draw.integers(0, 2, (min(_ROWS, SAMPLED_FLIPS - done), pairs)) * 2.0 - 1
        found += int((np.abs(signs @ values) >= seen).sum())
    return (found + 1) / (SAMPLED_FLIPS + 1)


def smallest_sign_flip_p(pairs: int) -> float:
    """Smallest p-value that the sign-flip test can give: 2^(1 - pairs).

    Example:
        >>> smallest_sign_flip_p(5), smallest_sign_flip_p(8)
        (0.0625, 0.0078125)
    """
    return min(1.0, 2.0 ** (1 - pairs))


def pairs_for_sign_flip(*, alpha: float = 0.05, contrasts: int = 1) -> int:
    """Pairs from which on the sign-flip test can reject any of several contrasts.

    Holm's method compares the smallest p-value of m contrasts with alpha / m.

    Args:
        alpha: error rate of the family.
        contrasts: number m of contrasts in it.

    Raises:
        ValueError: if alpha is not between 0 and 1, or there is no contrast.

    Example:
        >>> pairs_for_sign_flip(), pairs_for_sign_flip(contrasts=5)
        (6, 8)
    """
    if not 0 < alpha < 1 or contrasts < 1:
        raise ValueError(
            f"alpha must be between 0 and 1 and contrasts at least 1, got {alpha} and {contrasts}"
        )
    pairs = max(1, math.floor(1 - math.log2(alpha / contrasts)) - 1)
    while smallest_sign_flip_p(pairs) > alpha / contrasts:
        pairs += 1
    return pairs


def _bca_places(values: Floats, means: Floats, tails: Floats) -> Floats:
    """Shares of the bootstrap means between which the interval lies."""
    mean = values.mean()
    below = (means < mean - ROUNDING).mean()
    share = below + (np.abs(means - mean) <= ROUNDING).mean() / 2
    inside = 1 / (len(means) + 1)  # so that z0 is finite where the mean is an extreme
    bias = special.ndtri(np.clip(share, inside, 1 - inside))
    centred = values - mean
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    moved = bias + special.ndtri(tails)
    # |a| < 1 / 6 for a mean, so the divisor is positive for every |z| < 6.
    return np.asarray(special.ndtr(bias + moved / (1 - acceleration * moved)), dtype=np.float64)


def _flipped_sums(values: Floats) -> Floats:
    """Sums of the values for all choices of signs, (2^pairs,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
