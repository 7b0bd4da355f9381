"""The scores of a study as pairs: both arms of a contrast, seed by seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.studies.plan import Budget, Study
from sparring.studies.records import RunName, RunRecord

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number per run: by which protocol, on which test set, at which share and budget."""

    protocol: str
    test: str
    share: float = 1.0
    budget: Budget = "images"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Scores of two arms in points (percent of accuracy), element i of both with `seeds[i]`."""

    seeds: tuple[int, ...]
    first: Floats
    second: Floats

    @property
    def differences(self) -> Floats:
        """First minus second, (pairs,)."""
        return self.first - self.second

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Plan and records of a study."""

    study: Study
    records: tuple[RunRecord, ...]

    def record(self, name: RunName) -> RunRecord | None:
        """The record of a run; None if there is none yet."""
        return next((one for one in self.records if one.name == name), None)

    def of_arm(self, arm: str, measure: Measure) -> list[RunRecord]:
        """Finished runs of an arm at the measure's share and budget, by seed."""
        found = [
            one
            for one in self.records
            if one.name.arm == arm
            and one.status == "finished"
            and (one.name.share, one.name.budget) == (measure.share, measure.budget)
        ]
        return sorted(found, key=lambda one: one.name.seed)

    def scores(self, arm: str, measure: Measure) -> dict[int, float]:
        """Scores of an arm in points, by seed."""
        return {
            one.name.seed: 100 * one.scores[measure.test][measure.protocol]
            for one in self.of_arm(arm, measure)
            if measure.protocol in one.scores.get(measure.test, {})
        }

    def start_scores(self, arm: str, measure: Measure) -> dict[int, float]:
        """Scores in points, by seed, of the encoders from which an arm's runs started."""
        return {
            one.name.seed: 100 * one.start_scores[measure.test][measure.protocol]
            for one in self.of_arm(arm, measure)
            if measure.protocol in one.start_scores.get(measure.test, {})
        }

    def pairs(self, first: str, second: str, measure: Measure) -> Pairs:
        """Scores of two arms for all seeds that both have."""
        return paired(self.scores(first, measure), self.scores(second, measure))

    @property
    def primary(self) -> Measure:
        """The measure of the study's main question."""
        study = self.study
        return Measure(
            protocol=study.protocols[0],
            test=study.tests[0].name,
            share=max(study.shares),
            budget=study.primary_budget,
        )

    def measures(self) -> list[Measure]:
        """All measures of the plan, the primary one first."""
        study = self.study
        found = [
            Measure(protocol=protocol, test=test.name, share=share, budget=budget)
            for budget in study.budgets
            for share in sorted(study.shares, reverse=True)
            for test in study.tests
            for protocol in study.protocols
        ]
        return sorted(found, key=lambda one: one != self.primary)

    @property
    def failed(self) -> list[RunRecord]:
        """Runs that have been given up."""
        return [one for one in self.records if one.status == "failed"]


def paired(first: dict[int, float], second: dict[int, float]) -> Pairs:
    """Values that two arms have for the same seeds."""
    seeds = tuple(sorted(first.keys() & second.keys()))
    return Pairs(
        seeds=seeds,
        first=_floats([first[seed] for seed in seeds]),
        second=_floats([second[seed] for seed in seeds]),
    )


def _floats(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)
