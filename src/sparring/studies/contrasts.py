"""Findings: a planned contrast on one measure, with everything the pairs allow to say."""

from collections.abc import Sequence
from dataclasses import replace

from sparring.studies.conclusions import SETTLED, conclusion, described, sentence
from sparring.studies.findings import Finding, Interval
from sparring.studies.plan import Contrast
from sparring.studies.progress import Progress
from sparring.studies.results import Floats, Measure, Results
from sparring.studies.statistics.differences import is_rounded, mean_of, sd_of
from sparring.studies.statistics.equivalence import equivalence_p
from sparring.studies.statistics.multiple import holm
from sparring.studies.statistics.paired import (
    correlation,
    mean_interval,
    paired_t,
    probability_of_improvement,
)
from sparring.studies.statistics.power import power_sentence
from sparring.studies.statistics.resampling import bca_interval, sign_flip_p
from sparring.studies.statistics.sequential import (
    interval_after,
    repeated_equivalence_p,
    repeated_p,
)


def planned_findings(
    results: Results, progress: Progress, *, resamples: int
) -> tuple[Finding, ...]:
    """The planned contrasts on the primary measure, the primary one first; claims by Holm's method.

    Args:
        results: plan and records.
        progress: of the study.
        resamples: of bootstrap intervals; 0: none are made.
    """
    contrasts = results.study.planned_contrasts()
    found = [
        _finding(results, one, results.primary, progress, resamples=resamples) for one in contrasts
    ]
    if found and progress.looks:
        found[0] = replace(found[0], looks=progress.looks)
    # A contrast that cannot be tested stays in the family, since it was planned.
    adjusted = holm([1.0 if one.p is None else one.p for one in found])
    return tuple(
        _concluded(replace(one, p_holm=None if one.p is None else p), results, progress)
        for one, p in zip(found, adjusted)
    )


def further_findings(results: Results, progress: Progress) -> tuple[Finding, ...]:
    """The planned contrasts on all other measures, described without a claim.

    No family of tests covers them, so that each can look like a difference by chance.
    """
    return tuple(
        replace(found, sentence=described(found, results.study))
        for measure in results.measures()
        if measure != results.primary
        for contrast in results.study.planned_contrasts()
        for found in [_finding(results, contrast, measure, progress, resamples=0)]
    )


def interval_of(differences: Floats, results: Results, progress: Progress) -> Interval | None:
    """Interval of a mean difference of the pairs that count; None for fewer than two."""
    if len(differences) < 2:
        return None
    if progress.planned:
        return interval_after(differences, progress.looks, results.study)
    return mean_interval(differences, level=1 - results.study.alpha)


def _finding(
    results: Results, contrast: Contrast, measure: Measure, progress: Progress, *, resamples: int
) -> Finding:
    """A contrast on a measure, without its family and its conclusion."""
    study = results.study
    every = results.pairs(contrast.first, contrast.second, measure)
    pairs = progress.counted(every)
    counts = progress.counts(every, study.seeds)
    values, has_two = pairs.differences, len(pairs) >= 2
    p, equal = _p_values(values, progress, counts, margin=study.margin)
    return Finding(
        contrast=contrast,
        measure=measure,
        pairs=pairs,
        mean=mean_of(values) if len(pairs) else None,
        sd=sd_of(values) if has_two else None,
        interval=interval_of(values, results, progress),
        p=p,
        p_holm=None,
        bootstrap=(
            bca_interval(values, level=1 - study.alpha, resamples=resamples) if resamples else None
        ),
        p_sign_flip=sign_flip_p(values) if progress.is_tested else None,
        probability=probability_of_improvement(values, level=1 - study.alpha),
        p_equivalence=equal,
        correlation=correlation(pairs.first, pairs.second),
        looks=(),
        conclusion="no evidence" if has_two else "too few pairs",
        sentence="",
        power="",
    )


def _p_values(
    values: Floats, progress: Progress, counts: Sequence[int], *, margin: float
) -> tuple[float | None, float | None]:
    """p-values of no difference, and of a difference that reaches the margin; None where nothing
    may be claimed: too few pairs, before a look, or differences that are equal by rounding."""
    if len(values) < 2 or not progress.is_tested or is_rounded(values):
        return None, None
    now = equivalence_p(values, margin)
    if not progress.planned:
        return paired_t(values).p, now
    looks = progress.planned
    equal = repeated_equivalence_p(values, margin, looks, counts=counts)
    # What an early look showed may not be claimed where later pairs contradict it.
    equal = None if equal is None or now is None else max(equal, now)
    return repeated_p(values, looks, counts=counts), equal


def _concluded(finding: Finding, results: Results, progress: Progress) -> Finding:
    """A finding of the primary measure with its conclusion, in words too."""
    study = results.study
    found = replace(finding, conclusion=conclusion(finding, alpha=study.alpha))
    power = ""
    if found.conclusion not in SETTLED and len(found.pairs):
        family = max(1, len(study.planned_contrasts()))
        power = power_sentence(found.pairs.differences, study.margin, alpha=study.alpha / family)
    return replace(found, sentence=sentence(found, study, progress), power=power)
