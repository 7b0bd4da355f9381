"""Two arms paired by seed: their mean difference, how sure it is, and what pairing bought.

A set of differences without spread has rules of its own, since t is then no number: the interval is
the mean alone, and p is 1 if the mean is 0, else 0.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from sparring.studies.findings import Estimate, Interval
from sparring.studies.results import Floats
from sparring.studies.statistics.differences import (
    ROUNDING,
    Values,
    as_differences,
    mean_of,
    percent,
    require_level,
    sd_of,
    t_quantile,
)
from sparring.wording import counted

MIN_PAIRS_CORRELATION = 3
"""Pairs from which on arms have a correlation; with two it is always 1 or -1."""
MIN_PAIRS_PROBABILITY = 3
"""Pairs from which on a share of wins is given."""


@dataclass(frozen=True, kw_only=True)
class TTest:
    """Paired t test of no mean difference, two-sided.

    Attributes:
        t: mean over its standard error; infinite where the differences are equal and not 0.
        p: probability of a |t| this large where there is no difference.
        df: degrees of freedom, pairs less one.
    """

    t: float
    p: float
    df: int


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What pairing by seed bought.

    Attributes:
        correlation: Pearson's, of the arms over seeds.
        interval: 95 % interval of the correlation; None for fewer than four pairs.
        variance_ratio: variance of a paired difference over that of an unpaired one; below 1 where
            pairing helps.
        width_ratio: width of the paired t interval over that of the unpaired one, which has twice
            the degrees of freedom.
        sentence: the same in words.
    """

    correlation: float
    interval: Interval | None
    variance_ratio: float
    width_ratio: float
    sentence: str


def mean_interval(differences: Values, *, level: float = 0.95) -> Interval:
    """Interval of the mean difference by Student's t.

    mean +- t(n - 1) sd / sqrt(n). Equal differences give the mean alone.

    Args:
        differences: one per pair, at least two.
        level: share of such intervals that hold the true mean.

    Raises:
        ValueError: for fewer than two pairs.

    Source: Student 1908, Biometrika 6.

    Example:
        >>> found = mean_interval([-0.9, -0.8, -1.0])
        >>> round(found.low, 3), round(found.high, 3)
        (-1.148, -0.652)
    """
    require_level(level)
    values = as_differences(differences, at_least=2, what="an interval of the mean")
    mean, pairs = mean_of(values), len(values)
    half = t_quantile((1 + level) / 2, pairs - 1) * sd_of(values) / math.sqrt(pairs)
    return Interval(low=mean - half, high=mean + half)


def paired_t(differences: Values) -> TTest:
    """Paired t test, two-sided.

    Equal differences give p = 1 if they are 0, else p = 0 and an infinite t.

    Args:
        differences: one per pair, at least two.

    Raises:
        ValueError: for fewer than two pairs.

    Source: Student 1908, Biometrika 6.

    Example:
        >>> paired_t([1.0, 2.0, 3.0])
        TTest(t=3.4641..., p=0.0741..., df=2)
    """
    values = as_differences(differences, at_least=2, what="a t test")
    df, mean, sd = len(values) - 1, mean_of(values), sd_of(values)
    if sd == 0:
        t = math.copysign(math.inf, mean) if mean else 0.0
        return TTest(t=t, p=float(mean == 0), df=df)
    t = mean * math.sqrt(len(values)) / sd
    return TTest(t=t, p=min(1.0, 2 * float(special.stdtr(df, -abs(t)))), df=df)


def correlation(first: Values, second: Values) -> float | None:
    """Pearson's correlation of two arms over seeds, in [-1, 1].

    None for fewer than three pairs, and where an arm has the same score with every seed.

    Args:
        first: scores of one arm.
        second: scores of the other arm with the same seeds.

    Raises:
        ValueError: if they differ in length.
    """
    one, two = _arms(first, second)
    if len(one) < MIN_PAIRS_CORRELATION or sd_of(one) == 0 or sd_of(two) == 0:
        return None
    a, b = one - one.mean(), two - two.mean()
    return float(np.clip(a @ b / math.sqrt((a @ a) * (b @ b)), -1, 1))


def probability_of_improvement(differences: Values, *, level: float = 0.95) -> Estimate | None:
    """Probability that the first arm scores higher on the next seed, in [0, 1].

    The share of seeds on which it did, a tie as half. The ends of the interval are those of Clopper
    and Pearson: the lower one counts ties as losses, the upper one as wins, so that it holds the
    truth at least as often as it says. It leaves out one half exactly where the sign test rejects:
    never below six pairs at 95 %.

    Pairs are kept. The form of Agarwal et al. 2021 compares every run of one arm with every run of
    the other, as Mann and Whitney 1947 do. It answers another question, whether a run of one arm
    beats a run of the other with another seed, and what seeds share would count as noise there.

    Args:
        differences: one per pair.
        level: of the interval.

    Returns:
        None for fewer than three pairs.

    Source: Clopper and Pearson 1934, Biometrika 26; Arbuthnott 1710 for the sign test.

    Example:
        >>> found = probability_of_improvement([0.4, 0.1, 0.8, -0.2, 0.3])
        >>> found.value, round(found.interval.low, 3), round(found.interval.high, 3)
        (0.8, 0.284, 0.995)
    """
    require_level(level)
    values = as_differences(differences)
    if len(values) < MIN_PAIRS_PROBABILITY:
        return None
    wins, losses = int((values > ROUNDING).sum()), int((values < -ROUNDING).sum())
    low = _share_exceeded(wins, len(values), tail=(1 - level) / 2)
    high = 1 - _share_exceeded(losses, len(values), tail=(1 - level) / 2)
    share = (wins + (len(values) - wins - losses) / 2) / len(values)
    return Estimate(value=share, interval=Interval(low=low, high=high))


def what_pairing_bought(first: Values, second: Values) -> Pairing | None:
    """What pairing by seed bought over comparing the same runs unpaired.

    Args:
        first: scores of one arm.
        second: scores of the other arm with the same seeds.

    Returns:
        None where the correlation of the arms is not known.

    Source: Fisher 1921, Metron 1, for the interval of a correlation.

    Example:
        >>> found = what_pairing_bought([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0])
        >>> round(found.correlation, 3), round(found.variance_ratio, 3)
        (0.983, 0.055)
    """
    one, two = _arms(first, second)
    found = correlation(one, two)
    if found is None:
        return None
    pairs = len(one)
    unpaired = sd_of(one) ** 2 + sd_of(two) ** 2
    ratio = sd_of(one - two) ** 2 / unpaired
    width = math.sqrt(ratio) * t_quantile(0.975, pairs - 1) / t_quantile(0.975, 2 * pairs - 2)
    interval = _correlation_interval(found, pairs)
    return Pairing(
        correlation=found,
        interval=interval,
        variance_ratio=ratio,
        width_ratio=width,
        sentence=_pairing_sentence(found, interval, ratio=ratio, width=width, pairs=pairs),
    )


def _arms(first: Values, second: Values) -> tuple[Floats, Floats]:
    one, two = as_differences(first), as_differences(second)
    if len(one) != len(two):
        raise ValueError(
            f"arms must have a score for each seed, got {len(one)} and {len(two)} scores"
        )
    return one, two


def _share_exceeded(count: int, total: int, *, tail: float) -> float:
    """Clopper and Pearson's lower end: the share below which `count` of `total` would be a surprise
    of probability `tail`."""
    return float(special.betaincinv(count, total - count + 1, tail)) if count else 0.0


def _correlation_interval(value: float, pairs: int) -> Interval | None:
    if pairs < 4:
        return None
    if abs(value) > 1 - 1e-12:
        return Interval(low=value, high=value)
    centre, half = math.atanh(value), float(special.ndtri(0.975)) / math.sqrt(pairs - 3)
    return Interval(low=math.tanh(centre - half), high=math.tanh(centre + half))


def _pairing_sentence(
    value: float, interval: Interval | None, *, ratio: float, width: float, pairs: int
) -> str:
    between = f", 95 % interval {interval.low:.2f} to {interval.high:.2f}" if interval else ""
    known = f"correlation of the arms {value:.2f}{between}, {counted(pairs, 'seed')}"
    if value <= 0:
        return (
            f"Pairing by seed bought nothing: a seed that is good for one arm is not good for the "
            f"other ({known})."
        )
    start = (
        f"Pairing by seed left {percent(ratio)} of the variance of an unpaired difference ({known})"
    )
    if width >= 1:
        return (
            f"{start}, but with so few pairs this is no gain: the paired interval is "
            f"{width:.1f} times as wide as the unpaired one."
        )
    return f"{start}; the interval is {percent(width)} as wide."
