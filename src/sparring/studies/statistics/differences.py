"""What every statistic of paired differences starts from: checked values, mean, and spread."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

from sparring.studies.results import Floats

Values: TypeAlias = Sequence[float] | npt.NDArray[np.floating]

ROUNDING = 1e-9
"""Values nearer than this are equal: scores are in points, and a test set of a million images
moves them in steps of 1e-4."""
SPREAD_PAIRS = 6
"""Pairs from which on equal differences are taken for more than rounding: of null studies whose
standard deviation is one image, 12 % of those of two pairs and 3 % of those of three have equal
differences (docs/statistics.md)."""


def as_differences(values: Values, *, at_least: int = 0, what: str = "this statistic") -> Floats:
    """Differences as an array: (pairs,), float64.

    Args:
        values: one difference per pair.
        at_least: fewest pairs that are accepted.
        what: what needs them, for the message.

    Raises:
        ValueError: if a value is not finite, if they are no list, or if they are too few.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"differences must be a list, one per pair, got an array of {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"differences must be finite, got {found.tolist()}")
    if len(found) < at_least:
        raise ValueError(f"{what} needs at least {at_least} pairs, got {len(found)}")
    return found


def mean_of(values: Floats) -> float:
    """Mean, exactly 0 where only rounding is left of it."""
    mean = float(values.mean())
    return 0.0 if abs(mean) < ROUNDING else mean


def sd_of(values: Floats) -> float:
    """Sample standard deviation (n - 1), exactly 0 where only rounding is left of it; 0 for one
    value."""
    if len(values) < 2:
        return 0.0
    sd = float(values.std(ddof=1))
    return 0.0 if sd < ROUNDING else sd


def is_rounded(values: Floats) -> bool:
    """Whether a few differences are equal, as happens by chance since scores move in steps of one
    image: their spread is then no estimate of anything."""
    return len(values) < SPREAD_PAIRS and sd_of(values) == 0


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t distribution."""
    return float(special.stdtrit(df, probability))


def require_level(level: float) -> None:
    """Raise an error unless a confidence level lies between 0 and 1.

    Raises:
        ValueError: otherwise.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}; 0.95 is usual")


def points(value: float) -> str:
    """A size in points, to two significant digits or as given: `0.5 points`, `1 point`."""
    shown = f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return f"{shown} point{'s' * (shown != '1')}"


def percent(share: float) -> str:
    """A share in words: `31 %`, `less than 1 %`."""
    return f"{100 * share:.0f} %" if share >= 0.01 else "less than 1 %"
