"""Final scores beside what they cost: images seen, seconds, and the share of the images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale
from sparring.studies.findings import Interval
from sparring.studies.page.frame import Column, figure, table
from sparring.studies.page.learning_curves import AXES, place_text
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import NOTHING, level_text, protocol_text
from sparring.studies.plan import Contrast
from sparring.studies.results import Measure
from sparring.studies.statistics.curves import Axis
from sparring.studies.statistics.efficiency import DataEfficiency, data_efficiency
from sparring.studies.statistics.paired import mean_interval

LEAST_SPREAD = 0.02
"""Relative spread of the costs from which on scores are shown over them."""

APART = 0.012
"""Distance of the marks of neighbouring arms at one cost, as a share of the axis."""


@dataclass(frozen=True, kw_only=True)
class CostedScore:
    """Final score of an arm at one share and budget, and what its runs cost, as means over seeds.

    Attributes:
        arm: name of the arm.
        measure: share and budget, with the primary protocol and test set.
        score: in points.
        interval: of the score by t over seeds; None for one seed.
        images: images seen.
        seconds: of training.
        seeds: number of runs.
    """

    arm: str
    measure: Measure
    score: float
    interval: Interval | None
    images: float
    seconds: float
    seeds: int


def costed_scores(view: PageView) -> list[CostedScore]:
    """Final score and cost of each arm at each share and budget, in the order of the plan."""
    results, study = view.results, view.study
    found = []
    for arm in study.arms:
        for budget in study.budgets:
            for share in sorted(study.shares):
                measure = replace(results.primary, share=share, budget=budget)
                scores = results.scores(arm.name, measure)
                runs = [one for one in results.of_arm(arm.name, measure) if one.name.seed in scores]
                if not runs:
                    continue
                values = np.array([*scores.values()])
                several = len(values) > 1
                found.append(
                    CostedScore(
                        arm=arm.name,
                        measure=measure,
                        score=float(values.mean()),
                        interval=mean_interval(values, level=1 - study.alpha) if several else None,
                        images=float(np.mean([one.images for one in runs])),
                        seconds=float(np.mean([one.seconds for one in runs])),
                        seeds=len(runs),
                    )
                )
    return found


def final_figures(view: PageView) -> str:
    """Final scores over images and over seconds, each where the runs differ in it; else empty."""
    scores = costed_scores(view)
    return "".join(_final_figure(view, scores, axis) for axis in AXES if _differs(scores, axis))


def _differs(scores: Sequence[CostedScore], axis: Axis) -> bool:
    costs = [getattr(one, axis) for one in scores]
    return len(costs) > 1 and max(costs) > (1 + LEAST_SPREAD) * max(min(costs), 1e-9)


def _final_figure(view: PageView, scores: Sequence[CostedScore], axis: Axis) -> str:
    """One mark with its interval per arm, share and budget; rings are runs of equal time."""
    title = f"Final score over {AXES[axis]}"
    ends = [end for one in scores if (i := one.interval) for end in (i.low, i.high)]
    plot = Plot(
        360,
        240,
        x=Scale.linear([0.0, *(getattr(one, axis) for one in scores)], label=AXES[axis]),
        y=Scale.linear([*(one.score for one in scores), *ends], label="score, %"),
    )
    plot.axis("bottom", has_grid=False).axis("left")
    said, num_arms = [], len(view.study.arms)
    for number, arm in enumerate(view.study.arms):
        color, dashes = ink_of(number)
        aside = APART * (number - (num_arms - 1) / 2) * (plot.x.high - plot.x.low)
        for budget in view.study.budgets:
            own = [one for one in scores if (one.arm, one.measure.budget) == (arm.name, budget)]
            own.sort(key=lambda one: float(getattr(one, axis)))
            xs = [float(getattr(one, axis)) + aside for one in own]
            plot.line(xs, [one.score for one in own], color=color, dashes=dashes)
            for x, one in zip(xs, own, strict=True):
                said.append(_said(view, one, axis))
                if one.interval is not None:
                    low, high = one.interval.low, one.interval.high
                    plot.interval(low, high, x, along="left", color=color, tip=said[-1])
                kind = "ring" if budget == "time" and len(view.study.budgets) > 1 else "dot"
                plot.dots([x], [one.score], color=color, kind=kind, tips=[said[-1]])
    primary, level = view.results.primary, level_text(view.study)
    note = f"{protocol_text(primary.protocol)} on {primary.test}; means with {level} intervals, "
    note += "those of different arms set a little apart"
    if len(view.study.budgets) > 1:
        note += "; dots: runs of equal images, rings: of equal time"
    return figure(title, plot.svg(title, f"{'; '.join(said)}."), note=note)


def _said(view: PageView, one: CostedScore, axis: Axis) -> str:
    parts = [one.arm]
    if len(view.study.shares) > 1:
        parts.append(f"{100 * one.measure.share:g} % of the images")
    if len(view.study.budgets) > 1:
        parts.append(f"equal {one.measure.budget}")
    inside = one.interval
    between = f" ({inside.low:.1f} to {inside.high:.1f})" if inside else ""
    place = place_text(float(getattr(one, axis)), axis)
    return f"{', '.join(parts)}, {place}: {one.score:.1f} %{between}"


def share_section(view: PageView) -> str:
    """Scores over shares of the images, and how many images an arm saves; empty for one share."""
    if len(set(view.study.shares)) < 2:
        return ""
    scores = [one for one in costed_scores(view) if one.measure.budget == view.study.primary_budget]
    if not scores:
        return ""
    return (
        '<h3 class="below">Data efficiency</h3>'
        f'<div class="plots two">{_share_figure(view, scores)}</div>{_factor_table(view)}'
    )


def _share_figure(view: PageView, scores: Sequence[CostedScore]) -> str:
    title = "Final score over the share of the images"
    bounds = [end for one in scores if (i := one.interval) for end in (i.low, i.high)]
    shares = sorted(set(view.study.shares))
    scale = replace(
        Scale.logarithmic(shares, label="share of the images to train on"),
        ticks=tuple(shares),
        names=tuple(f"{100 * share:g} %" for share in shares),
    )
    y = Scale.linear([*(one.score for one in scores), *bounds], label="score, %")
    plot = Plot(360, 240, x=scale, y=y).axis("bottom", has_grid=False).axis("left")
    said = []
    for arm in view.study.arms:
        own = [one for one in scores if one.arm == arm.name]
        color, dashes = ink_of(view.number(arm.name))
        xs = [one.measure.share for one in own]
        if all(one.interval is not None for one in own):
            lows = [one.interval.low for one in own if one.interval]
            highs = [one.interval.high for one in own if one.interval]
            plot.band(xs, lows, highs, color=color)
        texts = [_share_text(one) for one in own]
        plot.line(xs, [one.score for one in own], color=color, dashes=dashes, tips=texts)
        said += texts
    level = level_text(view.study)
    note = f"{protocol_text(scores[0].measure.protocol)} on {scores[0].measure.test}; "
    note += f"the share is drawn anew for each seed; bands are {level} intervals of the mean"
    return figure(title, plot.svg(title, f"{'; '.join(said)}."), note=note)


def _share_text(one: CostedScore) -> str:
    inside = one.interval
    between = f" ({inside.low:.1f} to {inside.high:.1f})" if inside else ""
    return f"{one.arm}, {100 * one.measure.share:g} % of the images: {one.score:.1f} %{between}"


def _factor_table(view: PageView) -> str:
    """How many times fewer images the first arm of each contrast needs."""
    found = [
        (contrast, efficiency)
        for contrast in view.study.planned_contrasts()
        if (efficiency := _efficiency(view, contrast)) is not None
    ]
    if not found:
        return ""
    level = level_text(view.study)
    columns = [
        Column(title="Contrast", is_number=False),
        Column(title="Factor", note=f"{level} interval"),
        Column(title="Seeds", note="that get there"),
    ]
    rows = [
        [
            escape(contrast.name),
            factor_text(one),
            f"{sum(share is not None for share in one.shares.values())} of {len(one.shares)}",
        ]
        for contrast, one in found
    ]
    note = (
        "How many times fewer images the first arm needs to score what the second does with all of "
        "them, seed by seed, by straight lines in the logarithm of the share; nothing is "
        "extrapolated below the smallest share."
    )
    words = "".join(f"<li>{escape(one.sentence)}</li>" for _, one in found)
    return f"{table('Data-efficiency factor', columns, rows, note=note)}<ul>{words}</ul>"


def _efficiency(view: PageView, contrast: Contrast) -> DataEfficiency | None:
    return data_efficiency(
        view.results,
        contrast.first,
        contrast.second,
        view.results.primary,
        level=1 - view.study.alpha,
    )


def factor_text(found: DataEfficiency) -> str:
    """Factor by which the first arm needs fewer images, with its interval."""
    if found.estimate is None:
        return NOTHING
    factor, inside = f"{1 / found.estimate.value:.2f}", found.estimate.interval
    if found.at_most:
        return f"at least {factor}"
    return factor if inside is None else f"{factor} [{1 / inside.high:.2f}, {1 / inside.low:.2f}]"
