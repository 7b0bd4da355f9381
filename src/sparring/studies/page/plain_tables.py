"""Tables of a study: as plain values for programs, and as short texts for people and papers."""

from dataclasses import dataclass
from typing import TypeAlias

from sparring.studies.findings import Analysis, Estimate, Finding, Interval
from sparring.studies.page.arm_numbers import ArmScore, arm_cost, arm_score, start_score
from sparring.studies.page.arm_table import start_title
from sparring.studies.page.wording import (
    NOTHING,
    conclusion_text,
    estimate_text,
    level_text,
    measure_text,
    p_text,
    points,
    protocol_text,
    runs_text,
    signed,
)
from sparring.studies.plan import Arm
from sparring.studies.results import Measure, Results

Cell: TypeAlias = str | int | float | None
PLUS_MINUS = "\u00b1"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: texts, whole numbers, other numbers, and None where there is none.

    Attributes:
        caption: what it shows.
        columns: titles.
        rows: cells.
        num_names: columns at the left that are names; the others are set flush right.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    num_names: int = 1


def arms_table(results: Results) -> Table:
    """One row for each arm and measure, the primary measure first."""
    columns = (
        *("arm", "role", "protocol", "test", "share", "budget", "seeds", "mean", "sd"),
        *("untrained", "gain", "seconds", "images", "peak_mib", "trials", "trials_on"),
    )
    return Table(
        caption="Scores of the arms in percent: mean and standard deviation over seeds",
        columns=columns,
        rows=tuple(
            _arm_row(results, arm, measure)
            for measure in results.measures()
            for arm in results.study.arms
        ),
    )


def contrasts_table(analysis: Analysis) -> Table:
    """One row for each contrast and measure: the planned contrasts first, then those on other
    measures."""
    columns = (
        *("contrast", "protocol", "test", "share", "budget", "pairs", "mean", "low", "high", "sd"),
        *("p", "p_holm", "bca_low", "bca_high", "p_sign_flip", "p_better", "p_equivalence"),
        *("correlation", "conclusion"),
    )
    planned = {id(one) for one in analysis.findings}
    return Table(
        caption="Differences of arms in points, paired by seed",
        columns=columns,
        rows=tuple(
            _contrast_row(one, is_planned=id(one) in planned)
            for one in (*analysis.findings, *analysis.further)
        ),
    )


def _arm_row(results: Results, arm: Arm, measure: Measure) -> tuple[Cell, ...]:
    score, cost = arm_score(results, arm.name, measure), arm_cost(results, arm.name, measure)
    costs: tuple[Cell, ...] = (None, None, None)
    if cost is not None:
        peak = None if cost.peak_bytes is None else cost.peak_bytes / 2**20
        costs = (cost.seconds, round(cost.images), peak)
    measured = (measure.protocol, measure.test, measure.share, measure.budget)
    numbers = (len(score.scores), score.mean, score.sd, score.start, score.gain)
    tuning = (arm.tuning.trials, arm.tuning.images)
    return (arm.name, arm.role, *measured, *numbers, *costs, *tuning)


def _contrast_row(one: Finding, *, is_planned: bool) -> tuple[Cell, ...]:
    measure = one.measure
    return (
        one.contrast.name,
        *(measure.protocol, measure.test, measure.share, measure.budget, len(one.pairs)),
        one.mean,
        *_ends(one.interval),
        one.sd,
        *((one.p, one.p_holm) if is_planned else (None, None)),
        *_ends(one.bootstrap),
        one.p_sign_flip if is_planned else None,
        None if one.probability is None else one.probability.value,
        one.p_equivalence if is_planned else None,
        one.correlation,
        one.conclusion if is_planned else "",
    )


def _ends(interval: Interval | None) -> tuple[Cell, Cell]:
    return (None, None) if interval is None else (interval.low, interval.high)


def arms_in_short(results: Results) -> list[Table]:
    """For each share and budget, mean and standard deviation of every arm on every measure."""
    keys = dict.fromkeys((one.budget, one.share) for one in results.measures())
    return [
        _short_arms(results, [one for one in results.measures() if _key(one) == key])
        for key in keys
    ]


def contrasts_in_short(analysis: Analysis) -> Table:
    """Each contrast on each measure: difference, interval, adjusted p, conclusion."""
    study = analysis.results.study
    planned = {id(one) for one in analysis.findings}
    return Table(
        caption=f"Differences in points, paired by seed: means with {level_text(study)} intervals; "
        f"p adjusted (Holm) over the planned contrasts on the primary measure",
        columns=("Contrast", "Measure", "Conclusion", "Pairs", "Difference", "p (Holm)"),
        rows=tuple(
            (
                one.contrast.name,
                measure_text(one.measure, study),
                conclusion_text(one, study) if id(one) in planned else NOTHING,
                len(one.pairs),
                NOTHING
                if one.mean is None
                else estimate_text(Estimate(value=one.mean, interval=one.interval)),
                p_text(one.p_holm if id(one) in planned else None),
            )
            for one in (*analysis.findings, *analysis.further)
        ),
        num_names=3,
    )


def _short_arms(results: Results, measures: list[Measure]) -> Table:
    study = results.study
    runs = runs_text(measures[0], study)
    starts = [start_score(results, one) for one in measures]
    start = [
        start_title(results),
        str(len(starts[0].scores)),
        *map(_short, starts),
        NOTHING,
    ]
    rows = [start]
    for arm in study.arms:
        scores = [arm_score(results, arm.name, one) for one in measures]
        number = str(len(scores[0].scores))
        rows.append([arm.name, number, *map(_short, scores), signed(scores[0].gain)])
    return Table(
        caption=f"Scores in percent, mean {PLUS_MINUS} standard deviation over "
        f"seeds{f'; {runs}' if runs else ''}",
        columns=(
            "Arm",
            "Runs",
            *(f"{protocol_text(one.protocol)} on {one.test}" for one in measures),
            f"Gain, {protocol_text(measures[0].protocol)}",
        ),
        rows=tuple(map(tuple, rows)),
    )


def _key(measure: Measure) -> tuple[str, float]:
    return measure.budget, measure.share


def _short(score: ArmScore) -> str:
    if score.sd is None:
        return points(score.mean)
    return f"{points(score.mean)} {PLUS_MINUS} {points(score.sd)}"
