"""Data efficiency: the share of the images at which one arm equals another on all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sparring.evaluation.pretraining_again.interpolation import smallest_x_reaching
from sparring.studies.findings import Estimate
from sparring.studies.results import Measure, Results
from sparring.studies.statistics.curves import geometric_estimate
from sparring.studies.statistics.differences import percent


@dataclass(frozen=True, kw_only=True)
class DataEfficiency:
    """Share of the images at which the first arm reaches the second's score on all of them.

    Attributes:
        estimate: geometric mean over seeds and its interval by t of the logarithms; None where a
            seed never gets there, since the others are then a choice of the lucky; without interval
            for one seed, and where a seed gets there with the smallest share, so that the value is
            an upper bound.
        shares: share of each seed, None for one that does not get there.
        at_most: seeds that get there with the smallest share measured already.
        sentence: the same in words.
    """

    estimate: Estimate | None
    shares: Mapping[int, float | None]
    at_most: tuple[int, ...]
    sentence: str


def data_efficiency(
    results: Results, first: str, second: str, measure: Measure, *, level: float = 0.95
) -> DataEfficiency | None:
    """Share of the images at which the first arm equals the second on all, seed by seed.

    The first arm's scores are made to rise with the share, and between two shares the score is
    linear in the logarithm of the share. Nothing is extrapolated.

    Args:
        results: plan and records.
        first: name of the arm that is to need fewer images.
        second: name of the arm whose score on all images is to be reached.
        measure: protocol, test set and budget; its share is not used.
        level: of the interval.

    Returns:
        None if the plan has fewer than two shares, or no seed has all runs.
    """
    shares = sorted(set(results.study.shares))
    if len(shares) < 2:
        return None
    own = [results.scores(first, replace(measure, share=share)) for share in shares]
    whole = results.scores(second, replace(measure, share=shares[-1]))
    seeds = sorted(whole.keys() & set.intersection(*(set(scores) for scores in own)))
    if not seeds:
        return None
    found: dict[int, float | None] = {}
    for seed in seeds:
        points = [(share, scores[seed]) for share, scores in zip(shares, own, strict=True)]
        found[seed] = smallest_x_reaching(points, whole[seed])
    reached = [share for share in found.values() if share is not None]
    at_most = tuple(seed for seed, share in found.items() if share == shares[0])
    estimate = None
    if len(reached) == len(seeds):
        estimate = geometric_estimate(np.log(np.array(reached) / shares[-1]), level=level)
        if estimate is not None and at_most:
            estimate = Estimate(value=estimate.value)
    return DataEfficiency(
        estimate=estimate,
        shares=found,
        at_most=at_most,
        sentence=_sentence(
            first, second, estimate, reached=reached, at_most=at_most, seeds=seeds, level=level
        ),
    )


def _sentence(
    first: str,
    second: str,
    estimate: Estimate | None,
    *,
    reached: list[float],
    at_most: tuple[int, ...],
    seeds: list[int],
    level: float,
) -> str:
    if estimate is None:
        between = f" (at {percent(min(reached))} to {percent(max(reached))})" if reached else ""
        return (
            f"{first} reaches the score that {second} has on all images with {len(reached)} of "
            f"{len(seeds)} seeds{between}."
        )
    value = percent(estimate.value)
    if at_most:
        return (
            f"{first} on at most {value} of the images equals {second} on all of them; with "
            f"{len(at_most)} of {len(seeds)} seeds it does so on the smallest share measured."
        )
    if estimate.interval is None:
        return f"{first} on {value} of the images equals {second} on all of them (one seed)."
    ends = estimate.interval
    return (
        f"{first} on {value} of the images ({percent(level)} interval {percent(ends.low)} to "
        f"{percent(ends.high)}, {len(seeds)} seeds) equals {second} on all of them."
    )
