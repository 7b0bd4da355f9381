"""Scores and costs of the arms of a study, as plain numbers."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparring.studies.plan import Arm
from sparring.studies.records import RunRecord
from sparring.studies.results import Measure, Results


@dataclass(frozen=True, kw_only=True)
class ArmScore:
    """Scores of one arm, or of the encoder from which it started, on one measure.

    Attributes:
        scores: in points, by seed.
        starts: in points, by seed, of the encoders from which the runs started.
    """

    scores: Mapping[int, float]
    starts: Mapping[int, float]

    @property
    def mean(self) -> float | None:
        """Mean over seeds; None without runs."""
        return mean_of(list(self.scores.values()))

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds; None for fewer than two."""
        return sd_of(list(self.scores.values()))

    @property
    def start(self) -> float | None:
        """Mean score of the encoders from which the runs started; None if they were not scored."""
        return mean_of(list(self.starts.values()))

    @property
    def gain(self) -> float | None:
        """Mean, over seeds that have both, of the score minus that of the start."""
        both = sorted(self.scores.keys() & self.starts.keys())
        return mean_of([self.scores[seed] - self.starts[seed] for seed in both])


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What the runs of an arm took: means over seeds, and the largest peak of memory."""

    seconds: float
    images: float
    peak_bytes: int | None


def arm_score(results: Results, arm: str, measure: Measure) -> ArmScore:
    """Scores of an arm on a measure."""
    return ArmScore(scores=results.scores(arm, measure), starts=results.start_scores(arm, measure))


def start_score(results: Results, measure: Measure) -> ArmScore:
    """Scores of the encoders from which runs started, by seed: means over the arms."""
    of_arms = [results.start_scores(arm.name, measure) for arm in results.study.arms]
    seeds = sorted({seed for starts in of_arms for seed in starts})
    found = {seed: [starts[seed] for starts in of_arms if seed in starts] for seed in seeds}
    return ArmScore(
        scores={seed: statistics.fmean(values) for seed, values in found.items()}, starts={}
    )


def arm_cost(results: Results, arm: str, measure: Measure) -> ArmCost | None:
    """What the finished runs of an arm took at a measure's share and budget; None without any."""
    runs = results.of_arm(arm, measure)
    if not runs:
        return None
    peaks = [run.peak_bytes for run in runs if run.peak_bytes is not None]
    return ArmCost(
        seconds=statistics.fmean(run.seconds for run in runs),
        images=statistics.fmean(run.images for run in runs),
        peak_bytes=max(peaks, default=None),
    )


def tuned_more(results: Results, arm: Arm) -> list[str]:
    """Arms against which a planned contrast sets this one, and that were tuned with fewer
    trials."""
    study = results.study
    others = [
        contrast.second if contrast.first == arm.name else contrast.first
        for contrast in study.planned_contrasts()
        if arm.name in (contrast.first, contrast.second)
    ]
    return [
        other
        for other in dict.fromkeys(others)
        if study.arm(other).tuning.trials < arm.tuning.trials
    ]


def finished(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Runs that have scores."""
    return [one for one in records if one.status == "finished"]


def mean_of(values: Sequence[float]) -> float | None:
    """Mean; None of nothing."""
    return statistics.fmean(values) if values else None


def sd_of(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample; None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None
