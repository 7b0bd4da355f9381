"""Findings that are computed in the shortest way, for tests of pages."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from sparring.studies.findings import (
    Analysis,
    Attribution,
    Conclusion,
    Estimate,
    Finding,
    Interval,
    Look,
    Part,
    Source,
)
from sparring.studies.plan import Contrast
from sparring.studies.results import Measure, Results


def made_analysis(
    results: Results, *, headline: str = "It depends.", cautions: Sequence[str] = ()
) -> Analysis:
    """Analysis with a finding for every planned contrast and measure."""
    contrasts = results.study.planned_contrasts()
    primary, *others = results.measures()
    findings = tuple(made_finding(results, one, primary, is_planned=True) for one in contrasts)
    return Analysis(
        results=results,
        findings=findings,
        further=tuple(
            made_finding(results, one, measure) for measure in others for one in contrasts
        ),
        attributions=tuple(
            _attribution(results, arm.name, primary)
            for arm in results.study.arms
            if arm.role == "game" and results.scores(arm.name, primary)
        ),
        variance={
            one.contrast.name: (Source(name="seeds", sd=one.sd, what="differences over seeds"),)
            for one in findings
        },
        headline=headline,
        cautions=tuple(cautions),
    )


def made_finding(
    results: Results, contrast: Contrast, measure: Measure, *, is_planned: bool = False
) -> Finding:
    """A contrast's numbers by t."""
    pairs = results.pairs(contrast.first, contrast.second, measure)
    gaps, count = pairs.differences, len(pairs)
    mean = float(gaps.mean()) if count else None
    sd = float(gaps.std(ddof=1)) if count > 1 else None
    inside, p = _interval(gaps) if count > 1 else (None, None)
    conclusion: Conclusion = "too few pairs"
    if inside is not None and mean is not None:
        conclusion = "no evidence" if 0.0 in inside else ("better" if mean > 0 else "worse")
    share = float((gaps > 0).mean()) if count else None
    return Finding(
        contrast=contrast,
        measure=measure,
        pairs=pairs,
        mean=mean,
        sd=sd,
        interval=inside,
        p=p,
        p_holm=p if is_planned else None,
        bootstrap=inside if count >= 10 else None,
        p_sign_flip=p if count >= 6 else None,
        probability=None
        if share is None
        else Estimate(value=share, interval=Interval(low=share / 2, high=(1 + share) / 2)),
        p_equivalence=0.4 if count > 1 else None,
        correlation=float(np.corrcoef(pairs.first, pairs.second)[0, 1]) if count > 2 else None,
        looks=_looks(results, pairs.differences) if is_planned and contrast.is_primary else (),
        conclusion=conclusion,
        sentence=f"{contrast.name}: {count} pairs.",
        power="4 more pairs would settle a difference of 1 point." if count else "",
    )


def _interval(gaps: np.ndarray) -> tuple[Interval, float]:
    count = len(gaps)
    error = float(gaps.std(ddof=1)) / count**0.5
    half = float(stats.t.ppf(0.975, count - 1)) * error
    middle = float(gaps.mean())
    p = float(2 * stats.t.sf(abs(middle / error), count - 1))
    return Interval(low=middle - half, high=middle + half), p


def _looks(results: Results, gaps: np.ndarray) -> tuple[Look, ...]:
    found = []
    planned = results.study.looks
    for number, count in enumerate(planned):
        if count > len(gaps):
            break
        inside, _ = _interval(gaps[:count])
        error = float(gaps[:count].std(ddof=1)) / count**0.5
        is_last = number == len(planned) - 1
        t, bound = float(gaps[:count].mean()) / error, 4.0 - number * 0.6
        decision = "last look" if is_last else ("stop: difference" if abs(t) > bound else "go on")
        found.append(
            Look(
                pairs=count,
                t=t,
                bound=bound,
                futility=None if is_last else 0.3 + 0.4 * number,
                interval=Interval(low=1.4 * inside.low, high=1.4 * inside.high),
                decision=decision,
            )
        )
    return tuple(found)


def _attribution(results: Results, game: str, measure: Measure) -> Attribution:
    study = results.study
    control = study.arm(game).control
    twins = [one.name for one in study.arms if one.twin_of == game]
    steps = [name for name in (control, *twins[:1], game) if name]
    parts, before, last = [], results.start_scores(game, measure), "untrained"
    for name in steps:
        now = results.scores(name, measure)
        gaps = np.array([now[seed] - before[seed] for seed in sorted(now.keys() & before.keys())])
        inside = _interval(gaps)[0] if len(gaps) > 1 else None
        estimate = Estimate(value=float(gaps.mean()) if len(gaps) else 0.0, interval=inside)
        parts.append(
            Part(name=f"{name} over {last}", what=f"{name} minus {last}", estimate=estimate)
        )
        before, last = now, name
    return Attribution(game=game, measure=measure, parts=tuple(parts))
