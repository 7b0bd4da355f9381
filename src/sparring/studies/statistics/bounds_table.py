"""The table of bounds for early stopping, as `scripts/write-bounds` found them by simulation.

A study that looks at n_1 < ... < n_K pairs is told by one number: the greatest over its looks of

    z_k sqrt(n_k / n_K),    z_k = the normal quantile of the two-sided tail of its |t|

at n - 1 degrees of freedom. Where there is no difference, its distribution depends on the looks
alone, neither on the scores nor on their spread. The table holds its quantiles.

The shape is O'Brien and Fleming's: early bounds are severe, so that the last one costs little. At
5, 8 and 12 pairs an overall 0.05 leaves 0.0017, 0.013 and 0.043. Expressed as tails of Student's
distribution, the bounds hold for few pairs, where those for a normal statistic do not.

Sources: O'Brien and Fleming 1979, Biometrics 35, for the shape; Lan and DeMets 1983, Biometrika 70,
for bounds as an error rate that is spent over looks; Jennison and Turnbull 2000, Group Sequential
Methods with Applications to Clinical Trials, for t statistics by their tails.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from scipy import special

from sparring.errors import ConfigError
from sparring.studies.results import Floats

REFERENCE_ALPHA = 0.05
"""Error rate at which futility and the intervals after stopping were found."""
_LARGEST = 12.0
"""Scaled normal quantile beyond which every tail is zero for all purposes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the table holds for one sequence of looks.

    Attributes:
        looks: numbers of pairs, increasing.
        quantiles: normal quantiles of the levels, increasing from 0.
        critical: scaled normal quantile that is reached at each level.
        futility: |t| at each look but the last below which a later claim is unlikely.
        tails: two-sided tails of the interval after stopping at each look but the last.
        coverage: least and greatest share of such intervals that hold the truth.
    """

    looks: tuple[int, ...]
    quantiles: Floats
    critical: Floats
    futility: tuple[float, ...]
    tails: tuple[float, ...]
    coverage: tuple[float, float]

    def critical_at(self, alpha: float) -> float:
        """Scaled normal quantile that a null study reaches at any look with probability alpha.

        Beyond the table's smallest level the sum of the looks' tails takes its place, which is a
        little larger than their union.
        """
        wanted = -float(special.ndtri(alpha / 2))
        if wanted <= self.quantiles[-1]:
            return float(np.interp(wanted, self.quantiles, self.critical))
        low, high = float(self.critical[-1]), _LARGEST
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._sum_of_tails(middle) > alpha else (low, middle)
        return high

    def p_of(self, value: float) -> float:
        """Probability that a null study reaches this scaled normal quantile at any look."""
        if value <= 0:
            return 1.0
        if value > self.critical[-1]:
            smallest = 2 * float(special.ndtr(-self.quantiles[-1]))
            return min(smallest, self._sum_of_tails(value))
        return 2 * float(special.ndtr(-np.interp(value, self.critical, self.quantiles)))

    def tail(self, pairs: float, critical: float) -> float:
        """Two-sided tail at a look of some pairs that reaches the scaled normal quantile."""
        return 2 * float(special.ndtr(-critical * np.sqrt(self.looks[-1] / pairs)))

    def _sum_of_tails(self, critical: float) -> float:
        return sum(self.tail(pairs, critical) for pairs in self.looks)


def row_of(looks: Sequence[int]) -> Row:
    """The table's row of a sequence of looks; a single look is an ordinary t test.

    Args:
        looks: numbers of pairs, increasing, the last one the study's end.

    Raises:
        ConfigError: for looks that the table does not hold.
    """
    looks = tuple(looks)
    if len(looks) == 1 and looks[0] >= 2:
        ends = np.array([0.0, _LARGEST])
        return Row(
            looks=looks, quantiles=ends, critical=ends, futility=(), tails=(), coverage=(0.95, 0.95)
        )
    found = _table().get("-".join(map(str, looks)))
    if found is None:
        numbers = ", ".join(map(str, _table()["numbers"]))
        raise ConfigError(
            f"looks {', '.join(map(str, looks)) or 'none'} (the last one is the number of seeds) "
            f"have no bounds; give two to four of {numbers}, increasing, such as 5, 8, 12 with "
            "12 seeds"
        )
    levels = np.array(_table()["levels"])[::-1]
    return Row(
        looks=looks,
        quantiles=np.array([0.0, *-special.ndtri(levels / 2)]),
        critical=np.array([0.0, *found["critical"][::-1]]),
        futility=tuple(found["futility"]),
        tails=tuple(found["tails"]),
        coverage=(found["coverage"][0], found["coverage"][1]),
    )


@cache
def _table() -> dict[str, Any]:
    path = files("sparring.studies.statistics") / "bounds.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
