"""What a number of pairs can settle: power of the paired t test, and pairs needed.

Power here is that of a difference which would matter, never of the one that was seen: that one says
nothing beyond its p-value (Hoenig and Heisey 2001, The American Statistician 55).
"""

import math

from scipy import special

from sparring.studies.findings import Interval
from sparring.studies.statistics.differences import (
    Values,
    as_differences,
    points,
    sd_of,
    t_quantile,
)
from sparring.wording import counted

USUAL_POWER = 0.8
"""Chance of finding a difference from which on it counts as settled; Cohen 1988."""
ROUGH_PAIRS = 4
"""Pairs up to which the standard deviation is known too roughly for a single number of pairs: its
95 % interval at four spans a factor of 6.6, at three 12, at two 72."""
_MOST_PAIRS = 1_000_000
"""Pairs from which on the normal distribution is as good as Student's."""
_NEVER_RUN = 1_000
"""Pairs beyond which a sentence gives no number."""
_COARSER = (1, 2, 4, 8, 16, 32)
"""Multiples of the margin that a sentence looks at."""


def power_of(pairs: int, sd: float, effect: float, *, alpha: float = 0.05) -> float:
    """Chance that a two-sided paired t test finds a true mean difference, in [0, 1].

    P(|T| > t) with T of Student's noncentral distribution: n - 1 degrees of freedom, noncentrality
    effect / sd * sqrt(n). Without spread any difference is found, and none is found where there is
    none.

    Args:
        pairs: number of pairs n; fewer than two find nothing.
        sd: standard deviation of the differences.
        effect: true mean difference, of either sign.
        alpha: error rate of the test.

    Raises:
        ValueError: for a negative or infinite sd or effect, or an alpha outside (0, 1).

    Source: Student's noncentral t; Cohen 1988, Statistical Power Analysis.

    Example:
        >>> round(power_of(34, 1.0, 0.5), 3)
        0.808
    """
    _require(sd, effect, alpha)
    if pairs < 2:
        return 0.0
    if sd == 0:
        return float(effect != 0)
    df, moved = pairs - 1, abs(effect) / sd * math.sqrt(pairs)
    bound = t_quantile(1 - alpha / 2, df)
    above, below = 1 - special.nctdtr(df, moved, bound), special.nctdtr(df, moved, -bound)
    # scipy has no number for a tail below 1e-9, nor for what such a tail leaves to 1.
    above, below = (1.0 if math.isnan(above) else above), (0.0 if math.isnan(below) else below)
    return float(min(1.0, max(0.0, above + below)))


def pairs_needed(
    sd: float, effect: float, *, power: float = USUAL_POWER, alpha: float = 0.05
) -> int:
    """Fewest pairs with which a two-sided paired t test finds a true mean difference.

    Args:
        sd: standard deviation of the differences.
        effect: true mean difference, not 0.
        power: chance of finding it.
        alpha: error rate of the test.

    Raises:
        ValueError: if the effect is 0, which no number of pairs finds, or a number is out of range.

    Example:
        >>> [pairs_needed(1.0, effect) for effect in (0.5, 1.0, 1.5, 2.0)]
        [34, 10, 6, 5]
    """
    _require(sd, effect, alpha)
    if effect == 0 or not alpha < power < 1:
        raise ValueError(
            f"effect must not be 0, and power must be between alpha and 1, got {effect} and {power}"
        )
    normal = float(special.ndtri(1 - alpha / 2)) + float(special.ndtri(power))
    if (by_normal := (normal * sd / effect) ** 2) > _MOST_PAIRS:
        return math.ceil(by_normal)
    low, high = 1, 2
    while power_of(high, sd, effect, alpha=alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if power_of(middle, sd, effect, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    return high


def detectable_difference(
    pairs: int, sd: float, *, power: float = USUAL_POWER, alpha: float = 0.05
) -> float | None:
    """Smallest true mean difference that a number of pairs finds; None for fewer than two pairs.

    Args:
        pairs: number of pairs.
        sd: standard deviation of the differences.
        power: chance of finding it.
        alpha: error rate of the test.

    Example:
        >>> round(detectable_difference(5, 1.0), 2)
        1.68
    """
    if pairs < 2:
        return None
    if sd == 0:
        return 0.0
    low, high = 0.0, sd
    while power_of(pairs, sd, high, alpha=alpha) < power:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        is_found = power_of(pairs, sd, middle, alpha=alpha) >= power
        low, high = (low, middle) if is_found else (middle, high)
    return high


def sd_interval(differences: Values, *, level: float = 0.95) -> Interval | None:
    """Interval of the standard deviation of the differences, by the chi-square distribution.

    Args:
        differences: one per pair, from a normal distribution.
        level: of the interval.

    Returns:
        None for fewer than two pairs, and for equal differences.

    Example:
        >>> found = sd_interval([0.0, 1.0, 2.0])
        >>> round(found.low, 2), round(found.high, 2)
        (0.52, 6.28)
    """
    values = as_differences(differences)
    df, sd = len(values) - 1, sd_of(values)
    if sd == 0:
        return None
    low, high = (
        sd * math.sqrt(df / float(special.chdtri(df, tail)))
        for tail in ((1 - level) / 2, (1 + level) / 2)
    )
    return Interval(low=low, high=high)


def power_sentence(differences: Values, margin: float, *, alpha: float = 0.05) -> str:
    """Sentences on what these pairs, and further ones, could settle.

    A difference is settled where a test at alpha would find it in 80 of 100 studies.

    Args:
        differences: one per pair so far.
        margin: smallest difference that matters, positive, in points.
        alpha: error rate of the test.

    Raises:
        ValueError: if the margin is not positive.

    Example:
        >>> power_sentence([0.3, 1.9, -0.6, 0.6, 1.1], 0.5)
        'At this spread 30 pairs would be needed ...; 4 more would settle one of 1 point.'
    """
    if not margin > 0 or math.isinf(margin):
        raise ValueError(f"margin must be positive, got {margin}; 0.5 points is usual")
    values = as_differences(differences)
    pairs, sd = len(values), sd_of(values)
    if pairs < 2:
        return (
            f"{counted(pairs, 'pair')} cannot show how much differences spread, so how many would "
            f"be needed to settle a difference of {points(margin)} is not known."
        )
    if sd == 0 and not values.any():
        return (
            f"All {pairs} differences are 0, so how many pairs would settle a difference of "
            f"{points(margin)} is not known. Look whether the two arms differ at all: an opponent "
            "that would begin after the last step changes nothing."
        )
    if sd == 0:
        return (
            f"All {pairs} differences are equal, so their spread, and with it the number of pairs "
            f"needed to settle a difference of {points(margin)}, is not known."
        )
    if pairs <= ROUGH_PAIRS:
        return _rough_sentence(values, margin, alpha=alpha)
    return _sentence(pairs, sd, margin, alpha=alpha)


def _sentence(pairs: int, sd: float, margin: float, *, alpha: float) -> str:
    needed = pairs_needed(sd, margin, alpha=alpha)
    if needed <= pairs:
        share = math.floor(100 * power_of(pairs, sd, margin, alpha=alpha))
        often = f"{share} of 100" if share < 99 else "99 of 100 or more"
        return (
            f"At this spread {pairs} pairs find a difference of {points(margin)} in {often} "
            "studies."
        )
    start = (
        f"At this spread {needed:,} pairs would be needed to settle a difference of "
        f"{points(margin)}, {needed - pairs:,} more than there are"
    )
    for factor in _COARSER[1:]:
        more = pairs_needed(sd, factor * margin, alpha=alpha) - pairs
        if more <= 0:
            return f"{start}; these {pairs} settle one of {points(factor * margin)}."
        if more <= pairs:  # a study of twice the size
            return f"{start}; {more} more would settle one of {points(factor * margin)}."
    return f"{start}."


def _rough_sentence(differences: Values, margin: float, *, alpha: float) -> str:
    values = as_differences(differences)
    spread = sd_interval(values)
    assert spread is not None  # the differences are not equal
    few, many = (pairs_needed(sd, margin, alpha=alpha) for sd in (spread.low, spread.high))
    return (
        f"{len(values)} pairs show the spread of the differences only roughly (SD "
        f"{points(sd_of(values))}, 95 % interval {_size(spread.low)} to {_size(spread.high)}): "
        f"between {few:,} and {_many(many)} pairs would be needed to settle a difference of "
        f"{points(margin)}."
    )


def _size(sd: float) -> str:
    """A spread to two significant digits, never as a power of ten."""
    return f"{sd:.2g}" if sd < 99.5 else f"{sd:,.0f}"


def _many(pairs: int) -> str:
    """A number of pairs; one that nobody can run has no digits to be read."""
    return f"{pairs:,}" if pairs <= _NEVER_RUN else f"more than {_NEVER_RUN:,}"


def _require(sd: float, effect: float, alpha: float) -> None:
    if not (0 <= sd < math.inf and math.isfinite(effect) and 0 < alpha < 1):
        raise ValueError(
            f"sd must be at least 0, effect finite and alpha between 0 and 1, got {sd}, {effect} "
            f"and {alpha}"
        )
