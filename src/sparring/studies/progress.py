"""How far a study is: which runs are over, which seeds count, and how many pairs come next."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sparring.studies.findings import Look
from sparring.studies.plan import Contrast
from sparring.studies.records import RunName
from sparring.studies.results import Measure, Pairs, Results
from sparring.studies.statistics.sequential import looks_of, planned_looks


@dataclass(frozen=True, kw_only=True)
class Progress:
    """State of a study's primary measure.

    Attributes:
        planned: looks of the plan, the last one all its seeds; empty without early stopping.
        reached: how many of them are reached: every run of every planned contrast is over.
        seeds: seeds that count, in the order of the plan: those of the last look that is reached;
            before the first one, and without early stopping, all.
        looks: of the primary contrast.
        pending: runs of the planned contrasts that are still to be made, for any seed of the plan.
    """

    planned: tuple[int, ...]
    reached: int
    seeds: tuple[int, ...]
    looks: tuple[Look, ...]
    pending: int

    @property
    def is_tested(self) -> bool:
        """Whether the plan allows claims by now: at a look, or at the end."""
        return self.reached > 0 if self.planned else not self.pending

    @property
    def is_over(self) -> bool:
        """Whether the study was to stop at the last look that is reached, or has all its runs."""
        return (bool(self.looks) and self.looks[-1].decision != "go on") or not self.pending

    def counted(self, pairs: Pairs) -> Pairs:
        """Pairs whose seeds count, in the order of the plan."""
        places = {seed: place for place, seed in enumerate(pairs.seeds)}
        seeds = tuple(seed for seed in self.seeds if seed in places)
        chosen = [places[seed] for seed in seeds]
        return Pairs(seeds=seeds, first=pairs.first[chosen], second=pairs.second[chosen])

    def counts(self, pairs: Pairs, seeds: tuple[int, ...]) -> list[int]:
        """Pairs that each look that is reached sees, given all seeds of the plan."""
        return [
            sum(seed in pairs.seeds for seed in seeds[:look])
            for look in self.planned[: self.reached]
        ]


def progress(results: Results) -> Progress:
    """How far a study is, by the runs of its planned contrasts on the primary measure.

    Raises:
        ConfigError: for looks without bounds in the table.
    """
    study, made = results.study, {record.name for record in results.records}
    contrast, measure = primary_contrast(results), results.primary
    arms = {name for one in study.planned_contrasts() for name in (one.first, one.second)}
    planned = planned_looks(study) if contrast else ()
    reached = sum(made.issuperset(_names(arms, study.seeds[:look], [measure])) for look in planned)
    found = Progress(
        planned=planned,
        reached=reached,
        seeds=study.seeds[: planned[reached - 1]] if reached else study.seeds,
        looks=(),
        pending=len(set(_names(arms, study.seeds, [measure])) - made),
    )
    if contrast is None or not reached:
        return found
    pairs = results.pairs(contrast.first, contrast.second, measure)
    counts = found.counts(pairs, study.seeds)
    differences = found.counted(pairs).differences
    return replace(found, looks=looks_of(differences, study, counts=counts))


def next_pairs(results: Results) -> int | None:
    """Number of pairs that a study has to have next: those of the look at which runs are missing,
    all of them without early stopping; None when the study is over.

    A run that was given up counts as made. Early stopping asks the primary contrast alone, but a
    look is reached only when every arm has its runs at every share and budget.

    Raises:
        ConfigError: for looks without bounds in the table.
    """
    study, made = results.study, {record.name for record in results.records}
    arms = [arm.name for arm in study.arms]
    numbers = (planned_looks(study) if primary_contrast(results) else ()) or (len(study.seeds),)
    decisions = {look.planned: look.decision for look in progress(results).looks}
    for number in numbers:
        if not made.issuperset(_names(arms, study.seeds[:number], results.measures())):
            return number
        if decisions.get(number, "go on").startswith("stop"):
            return None
    return None


def primary_contrast(results: Results) -> Contrast | None:
    """The contrast of the study's main question; None if none is planned."""
    return next(iter(results.study.planned_contrasts()), None)


def _names(
    arms: Iterable[str], seeds: tuple[int, ...], measures: Iterable[Measure]
) -> list[RunName]:
    places = {(one.share, one.budget) for one in measures}
    return [
        RunName(arm=arm, seed=seed, share=share, budget=budget)
        for arm in arms
        for seed in seeds
        for share, budget in places
    ]
