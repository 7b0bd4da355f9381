"""Learning curves of an arm over seeds, and how soon a score is reached.

Between two looks of the monitor a curve is a straight line. Nothing is said of what lies before the
first or after the last look of any seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sparring.studies.findings import Estimate, Interval
from sparring.studies.records import RunRecord
from sparring.studies.results import Floats, Measure, Results
from sparring.studies.statistics.differences import percent, require_level, t_quantile
from sparring.studies.statistics.paired import mean_interval
from sparring.wording import counted

Axis: TypeAlias = Literal["images", "seconds"]

_MOST_POINTS = 200
"""Points of a band; more cannot be told apart on a page."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """Mean learning curve of an arm, with a band of intervals by t over seeds.

    Each interval holds for its own point; the whole curve lies outside somewhere more often.

    Attributes:
        axis: what `x` counts.
        x: images seen or seconds trained, rising: (points,).
        mean: mean over seeds, in the unit of the monitor's measure: (points,).
        low: lower ends; None for a single seed.
        high: upper ends; None for a single seed.
        seeds: seeds of the runs.
    """

    axis: Axis
    x: Floats
    mean: Floats
    low: Floats | None
    high: Floats | None
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TimeToScore:
    """When the runs of an arm first reach a score.

    Attributes:
        arm: name of the arm.
        axis: what the times count.
        score: score to reach, in the unit of the monitor's measure.
        reached: images or seconds at which it was reached, by seed.
        at_first_look: images or seconds of the first look, by seed, where the score was there
            already; the truth is at most that.
        never: images or seconds of the last look, by seed, where the score was never reached.
    """

    arm: str
    axis: Axis
    score: float
    reached: Mapping[int, float]
    at_first_look: Mapping[int, float]
    never: Mapping[int, float]

    @property
    def num_runs(self) -> int:
        """Number of runs that were looked at."""
        return len(self.reached) + len(self.at_first_look) + len(self.never)


@dataclass(frozen=True, kw_only=True)
class TimeRatio:
    """Time to a score of one arm over that of another, paired by seed.

    Attributes:
        estimate: geometric mean of the ratios, below 1 where the first arm is sooner, and its
            interval by t of the log ratios (None for one seed); None if no seed gives a ratio.
        seeds: seeds that give a ratio.
        sentence: the same in words, with the runs that never got there.
    """

    estimate: Estimate | None
    seeds: tuple[int, ...]
    sentence: str


def curve_of(record: RunRecord, name: str, axis: Axis) -> tuple[Floats, Floats]:
    """Learning curve of a run: images or seconds, rising, and the monitor's measure there.

    Looks without the measure are left out. Of several at one place the last one counts.

    Args:
        record: of the run.
        name: measure of the monitor, such as `knn_accuracy`.
        axis: what x counts.
    """
    found = {
        float(getattr(point, axis)): float(point.measures[name])
        for point in record.curve
        if name in point.measures and np.isfinite(point.measures[name])
    }
    x = sorted(found)
    return np.array(x, dtype=np.float64), np.array([found[place] for place in x], dtype=np.float64)


def bands(
    results: Results,
    arm: str,
    measure: Measure,
    *,
    name: str = "knn_accuracy",
    axis: Axis = "images",
    level: float = 0.95,
) -> Band | None:
    """Mean learning curve of an arm and its band over seeds.

    The points are the places of all looks between the latest first and the earliest last look, so
    that every seed is known at each. Runs without this measure are left out.

    Args:
        results: plan and records.
        arm: name of the arm.
        measure: whose share and budget the runs have.
        name: measure of the monitor.
        axis: images seen or seconds trained.
        level: of the intervals.

    Returns:
        None if there is no such run, or if they have no place in common.
    """
    require_level(level)
    runs = [
        (record.name.seed, *curve)
        for record in results.of_arm(arm, measure)
        if len((curve := curve_of(record, name, axis))[0])
    ]
    if not runs:
        return None
    start, end = max(x[0] for _, x, _ in runs), min(x[-1] for _, x, _ in runs)
    places = np.unique(np.concatenate([x for _, x, _ in runs]))
    places = places[(places >= start) & (places <= end)]
    if not len(places):
        return None
    if len(places) > _MOST_POINTS:
        places = np.linspace(start, end, _MOST_POINTS)
    heights = np.stack([np.interp(places, x, y) for _, x, y in runs])
    mean, seeds = heights.mean(axis=0), tuple(seed for seed, _, _ in runs)
    if len(runs) < 2:
        return Band(axis=axis, x=places, mean=mean, low=None, high=None, seeds=seeds)
    factor = t_quantile((1 + level) / 2, len(runs) - 1) / np.sqrt(len(runs))
    half = factor * heights.std(axis=0, ddof=1)
    return Band(axis=axis, x=places, mean=mean, low=mean - half, high=mean + half, seeds=seeds)


def time_to_score(
    results: Results,
    arm: str,
    measure: Measure,
    *,
    score: float,
    name: str = "knn_accuracy",
    axis: Axis = "images",
) -> TimeToScore:
    """When each run of an arm first reaches a score, by straight lines between looks.

    Args:
        results: plan and records.
        arm: name of the arm.
        measure: whose share and budget the runs have.
        score: score to reach, in the unit of the monitor's measure.
        name: measure of the monitor.
        axis: images seen or seconds trained.
    """
    reached, at_first_look, never = {}, {}, {}
    for record in results.of_arm(arm, measure):
        x, y = curve_of(record, name, axis)
        if not len(x):
            continue
        above = np.flatnonzero(y >= score)
        if not len(above):
            never[record.name.seed] = float(x[-1])
        elif above[0] == 0:
            at_first_look[record.name.seed] = float(x[0])
        else:
            around = slice(above[0] - 1, above[0] + 1)  # y rises between these two
            reached[record.name.seed] = float(np.interp(score, y[around], x[around]))
    return TimeToScore(
        arm=arm,
        axis=axis,
        score=score,
        reached=reached,
        at_first_look=at_first_look,
        never=never,
    )


def time_ratio(first: TimeToScore, second: TimeToScore, *, level: float = 0.95) -> TimeRatio:
    """How long the first arm takes to a score beside the second, paired by seed.

    Only seeds with which both arms reach the score after their first look give a ratio. Where runs
    never get there this is no fair sample, and the sentence says so.

    Args:
        first: times of one arm.
        second: times of the other arm to the same score.
        level: of the interval.

    Raises:
        ValueError: if the two are of different scores or axes.
    """
    if (first.score, first.axis) != (second.score, second.axis):
        raise ValueError(
            f"times to {first.score} in {first.axis} and to {second.score} in {second.axis} have "
            "no ratio; take the same score and axis"
        )
    seeds = tuple(sorted(first.reached.keys() & second.reached.keys()))
    logs = np.log([first.reached[seed] / second.reached[seed] for seed in seeds])
    estimate = geometric_estimate(logs, level=level)
    words = [_ratio_words(first, second, estimate, seeds=len(seeds), level=level)]
    words += [found for one in (first, second) if (found := _censored_words(one))]
    if seeds and (first.never or second.never):
        words.append("the ratio is of the other seeds only, and cannot stand for all")
    sentence = "; ".join(words) + "."
    return TimeRatio(estimate=estimate, seeds=seeds, sentence=sentence)


def geometric_estimate(logs: Floats, *, level: float = 0.95) -> Estimate | None:
    """Geometric mean of factors and its interval by t, from their logarithms.

    Args:
        logs: natural logarithm of one factor per seed.
        level: of the interval.

    Returns:
        None without a factor; without an interval for a single one.

    Example:
        >>> found = geometric_estimate(np.log([0.5, 0.5]))
        >>> round(found.value, 3), round(found.interval.low, 3)
        (0.5, 0.5)
    """
    if not len(logs):
        return None
    value = float(np.exp(np.mean(logs)))
    if len(logs) < 2:
        return Estimate(value=value)
    ends = mean_interval(logs, level=level)
    interval = Interval(low=float(np.exp(ends.low)), high=float(np.exp(ends.high)))
    return Estimate(value=value, interval=interval)


def _ratio_words(
    first: TimeToScore,
    second: TimeToScore,
    estimate: Estimate | None,
    *,
    seeds: int,
    level: float,
) -> str:
    if estimate is None:
        return f"no seed tells how long {first.arm} takes to {first.score:g} beside {second.arm}"
    ends = estimate.interval
    between = f", {percent(level)} interval {ends.low:.2g} to {ends.high:.2g}" if ends else ""
    return (
        f"{first.arm} takes {estimate.value:.2g} times the {first.axis} of {second.arm} to "
        f"{first.score:g} ({counted(seeds, 'seed')}{between})"
    )


def _censored_words(times: TimeToScore) -> str:
    found = []
    if times.never:
        found.append(f"never reaches it with {len(times.never)} of {times.num_runs} seeds")
    if times.at_first_look:
        found.append(
            f"is there at the first look with {len(times.at_first_look)} of {times.num_runs} seeds"
        )
    return f"{times.arm} {' and '.join(found)}" if found else ""
