"""Early stopping at planned looks, and what stays valid after it.

A study may stop where its primary contrast is settled: where a difference is claimed, where the
difference is shown to be no more than the margin, or where a claim has become unlikely. The bounds
allow for all looks, so claims keep their error rate whichever of them ends the study. Futility is
not binding: going on in spite of it costs no error rate.

The p-values and intervals of a look hold at every look (Jennison and Turnbull 1989, Journal of the
Royal Statistical Society B 51). Once the study has stopped, these intervals are wider than they
need be: they allow for stops that did not happen. `interval_after` gives the interval of a study
that is over.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from sparring.studies.findings import Decision, Interval, Look
from sparring.studies.plan import Study
from sparring.studies.results import Floats
from sparring.studies.statistics.bounds_table import REFERENCE_ALPHA, Row, row_of
from sparring.studies.statistics.differences import (
    Values,
    as_differences,
    is_rounded,
    mean_of,
    sd_of,
)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds of the paired t statistic at each look.

    Attributes:
        looks: numbers of pairs.
        alpha: probability of a claim at any look where there is no difference.
        t: |t| from which on a difference is claimed.
        tails: the same as two-sided tails, which hold for any number of pairs at the look.
        futility: |t| below which a later claim has a chance of less than 0.1; None at the last.
        after: two-sided tails of the interval after stopping for a difference or for the margin;
            those of the table are for 0.05 and are scaled with alpha.
    """

    looks: tuple[int, ...]
    alpha: float
    t: tuple[float, ...]
    tails: tuple[float, ...]
    futility: tuple[float | None, ...]
    after: tuple[float, ...]


def planned_looks(study: Study) -> tuple[int, ...]:
    """Numbers of pairs at which a study is looked at, the last one all its seeds; empty without
    early stopping, and for a single seed."""
    seeds = len(study.seeds)
    if not study.looks or seeds < 2:
        return ()
    return (*sorted({look for look in study.looks if look < seeds}), seeds)


def bounds(looks: Sequence[int], *, alpha: float = 0.05) -> Bounds:
    """Bounds of the paired t statistic for a study with these looks.

    Args:
        looks: numbers of pairs, increasing, the last one the study's end.
        alpha: probability of a claim at any look where there is no difference.

    Raises:
        ConfigError: for looks without bounds in the table.

    Example:
        >>> [round(t, 1) for t in bounds((5, 8, 12)).t]
        [7.5, 3.3, 2.3]
    """
    row = row_of(looks)
    critical = row.critical_at(alpha)
    tails = tuple(row.tail(pairs, critical) for pairs in row.looks)
    return Bounds(
        looks=row.looks,
        alpha=alpha,
        t=tuple(t_of(tail, pairs) for tail, pairs in zip(tails, row.looks)),
        tails=tails,
        futility=(*row.futility, None),
        after=(*(tail * alpha / REFERENCE_ALPHA for tail in row.tails), tails[-1]),
    )


def looks_of(
    differences: Values, study: Study, *, counts: Sequence[int] | None = None
) -> tuple[Look, ...]:
    """State of early stopping at every look that the differences reach.

    A claim is made at alpha over the number of planned contrasts, so that it also holds in their
    family. The intervals have the level 1 - alpha.

    Args:
        differences: of the primary contrast, in the order of the plan's seeds.
        study: the plan.
        counts: pairs that each reached look sees, fewer than planned where runs have failed; None:
            as planned.

    Raises:
        ConfigError: for looks without bounds in the table.
    """
    values, looks = as_differences(differences), planned_looks(study)
    if not looks:
        return ()
    alone = bounds(looks, alpha=study.alpha)
    family = bounds(looks, alpha=study.alpha / max(1, len(study.planned_contrasts())))
    return tuple(
        _look(values[:count], place, alone=alone, family=family, margin=study.margin)
        for place, count in enumerate(_counts(values, looks, counts))
        if count >= 2
    )


def repeated_p(
    differences: Values, looks: Sequence[int], *, counts: Sequence[int] | None = None
) -> float | None:
    """Smallest overall alpha at which a study would have claimed a difference by now.

    It may be read at any look, and Holm's method takes it like any other p-value.

    Args:
        differences: in the order of the plan's seeds.
        looks: planned ones, the last one the study's end.
        counts: as in `looks_of`.

    Returns:
        None before the first look, for fewer than two pairs, and for a few equal differences.

    Source: Jennison and Turnbull 2000, chapter 9.

    Example:
        >>> round(repeated_p([1.0, 2.0, 3.0, 2.0, 2.0], (5,)), 4)  # a single look: the t test
        0.0032
    """
    row, values = row_of(looks), as_differences(differences)
    scaled = [
        _normal(abs(_t(mean, sd, count)), count) * share
        for share, count, mean, sd in _seen(row, values, counts)
    ]
    return row.p_of(max(scaled)) if scaled else None


def repeated_equivalence_p(
    differences: Values,
    margin: float,
    looks: Sequence[int],
    *,
    counts: Sequence[int] | None = None,
) -> float | None:
    """Smallest alpha at which two one-sided tests, one against each end of the margin, would have
    shown by now that the difference is no more than the margin.

    Args:
        differences: in the order of the plan's seeds.
        margin: smallest difference that matters.
        looks: planned ones, the last one the study's end.
        counts: as in `looks_of`.

    Returns:
        None before the first look, for fewer than two pairs, and for a few equal differences.

    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, for the two tests.
    """
    row, values = row_of(looks), as_differences(differences)
    seen = _seen(row, values, counts)
    if not seen:
        return None
    nearer = min(
        max(
            _normal(_t(margin + sign * mean, sd, count), count) * share
            for share, count, mean, sd in seen
        )
        for sign in (1, -1)
    )
    return row.p_of(nearer) / 2 if nearer > 0 else 1 - row.p_of(-nearer) / 2


def interval_after(differences: Values, looks: Sequence[Look], study: Study) -> Interval | None:
    """Interval of a mean difference, given how the study went.

    Before the first look this is the ordinary t interval, for orientation only. While the study
    goes on, or went on after it should have stopped, and at the last look it is the repeated
    interval. After a stop its tail is the one that makes such intervals hold the truth about as
    often as they say, over effects of 0 to 6 standard deviations; where the study stopped because a
    claim is unlikely, the ordinary t interval does.

    Args:
        differences: of any contrast, with the pairs of the last look.
        looks: of the primary contrast; empty before the first.
        study: the plan, with looks.

    Returns:
        None for fewer than two pairs.

    Raises:
        ConfigError: for looks without bounds in the table.
    """
    values = as_differences(differences)
    if len(values) < 2:
        return None
    return _interval(values, _tail_after(looks, study))


def t_of(tail: float, pairs: int) -> float:
    """|t| of a two-sided tail at n - 1 degrees of freedom."""
    return -float(special.stdtrit(pairs - 1, tail / 2))


def _tail_after(looks: Sequence[Look], study: Study) -> float:
    """Two-sided tail of the interval of a study that went like this."""
    if not looks:
        return study.alpha
    found, last = bounds(planned_looks(study), alpha=study.alpha), looks[-1]
    place = found.looks.index(last.planned)
    went_on = any(look.decision.startswith("stop") for look in looks[:-1])
    if last.decision == "go on" or went_on:
        return found.tails[place]
    if last.decision == "stop: futile" and not _is_within(last.interval, study.margin):
        return study.alpha
    return found.after[place]


def _normal(t: float, pairs: int) -> float:
    """Normal quantile of the upper tail of a t."""
    return -float(special.ndtri(special.stdtr(pairs - 1, -t)))


def _counts(values: Floats, looks: Sequence[int], counts: Sequence[int] | None) -> list[int]:
    if counts is not None:
        return list(counts)
    return [look for look in looks if look <= len(values)]


def _seen(
    row: Row, values: Floats, counts: Sequence[int] | None
) -> list[tuple[float, int, float, float]]:
    """Weight, pairs, mean and standard deviation of each look with at least two pairs, whose spread
    is more than rounding."""
    return [
        (math.sqrt(pairs / row.looks[-1]), count, mean_of(values[:count]), sd_of(values[:count]))
        for pairs, count in zip(row.looks, _counts(values, row.looks, counts))
        if count >= 2 and not is_rounded(values[:count])
    ]


def _look(values: Floats, place: int, *, alone: Bounds, family: Bounds, margin: float) -> Look:
    """State of early stopping at one look."""
    count = len(values)
    t = _t(mean_of(values), sd_of(values), count)
    bound, futility = t_of(family.tails[place], count), alone.futility[place]
    interval = _interval(values, alone.tails[place])
    decision: Decision = "go on"
    if futility is None:
        decision = "last look"
    elif is_rounded(values) and t != 0:
        decision = "go on"  # without a spread nothing is settled
    elif abs(t) >= bound:
        decision = "stop: difference"
    elif abs(t) < futility or _is_within(interval, margin):
        decision = "stop: futile"
    return Look(
        pairs=count,
        t=t,
        bound=bound,
        futility=futility,
        interval=interval,
        decision=decision,
        planned=alone.looks[place],
    )


def _is_within(interval: Interval, margin: float) -> bool:
    return -margin < interval.low and interval.high < margin


def _interval(values: Floats, tail: float) -> Interval:
    half = t_of(tail, len(values)) * sd_of(values) / math.sqrt(len(values))
    return Interval(low=mean_of(values) - half, high=mean_of(values) + half)


def _t(mean: float, sd: float, pairs: int) -> float:
    """Paired t; infinite for equal differences other than 0."""
    if sd == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / sd * math.sqrt(pairs)
