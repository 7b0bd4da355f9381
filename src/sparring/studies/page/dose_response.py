"""Section of a study's page on dose and response: what each amount of one setting did."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape

from sparring.reporting import sections
from sparring.reporting.drawing import Anchor, Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale
from sparring.reporting.standalone import Panel
from sparring.studies.doses import Dose, DoseCurve, dose_curves, steps
from sparring.studies.findings import Estimate
from sparring.studies.page.dose_words import named, sentences, setting_title
from sparring.studies.page.frame import Column, figure, folded, table
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import (
    NOTHING,
    interval_text,
    level_text,
    measure_text,
    protocol_text,
    seeds_text,
    signed,
)
from sparring.studies.results import Measure

_WIDTH, _HEIGHT = 360.0, 250.0
_LOG_FACTOR = 4.0
"""Ratio of the largest to the smallest value of a setting from which its axis is logarithmic."""
_MOST_TICKS = 6
"""Most values of a setting that are all written below its axis."""
_REACH = 2.0
"""How far beyond the pairs' differences an interval is drawn, in ranges of these."""
_MEAN = "ink"
"""Colour of the curve through the means; arms without a number have their own."""


def section(view: PageView) -> str:
    """Figures, sentences and a table for each group of arms that differ in one numeric setting;
    empty without such a group."""
    curves = dose_curves(view.results)
    if not curves:
        return ""
    lead = f"{reading(curves, view)} Axes of scores are the same in all figures."
    content = _all_figures(curves, view, view.results.primary)
    content += "".join(_table(one, view) for one in curves)
    for measure in _others(view):
        found = dose_curves(view.results, measure)
        if any(one.line for one in found):
            figures = _all_figures(found, view, measure)
            content += folded(f"The same by {measure_text(measure, view.study)}", figures)
    return sections.section("Dose and response", content, lead=lead)


def reading(curves: Sequence[DoseCurve], view: PageView) -> str:
    """How to read the drawings of some curves."""
    text = (
        "Arms that differ in one setting alone. At the left the score of every seed, with a line "
        "through the means; at the right the difference to one of the arms, paired by seed, with "
        f"{level_text(view.study)} intervals by t, each by itself: only the planned contrasts "
        "allow for their number."
    )
    if any(one.is_measured for one in curves):
        text += (
            " The dose of an opponent is its excess loss as measured, mean over the second half of "
            "training: what it adds to the encoder's loss above its disarmed twin on the same step."
        )
    return text


def _others(view: PageView) -> list[Measure]:
    """Measures besides the primary one, of the same runs."""
    first = view.results.primary
    return [
        one
        for one in view.results.measures()
        if one != first and (one.share, one.budget) == (first.share, first.budget)
    ]


def _all_figures(curves: Sequence[DoseCurve], view: PageView, measure: Measure) -> str:
    return "".join(
        f'<div class="plots two">{"".join(map(_figure, panels))}</div>'
        f'<p class="trust">{escape(said(curve, view, measure))}</p>'
        for curve, panels in drawn_curves(curves, view, measure)
    )


def _figure(panel: Panel) -> str:
    return figure(panel.title, panel.svg, note=panel.note)


def drawn_curves(
    curves: Sequence[DoseCurve], view: PageView, measure: Measure, *, width: float = _WIDTH
) -> Iterator[tuple[DoseCurve, tuple[Panel, Panel]]]:
    """Curves that have scores, each with its two drawings, of the score and of the difference to
    the reference; axes of scores are the same in all of them.

    Args:
        curves: to be drawn.
        view: the study.
        measure: of the scores.
        width: of a drawing.
    """
    drawn = [one for one in curves if one.line]
    scores = _score_scale(drawn, measure)
    differences = _difference_scale(drawn, view.study.margin)
    for one in drawn:
        score, difference = (
            Plot(width, _HEIGHT, x=_dose_scale(one), y=y) for y in (scores, differences)
        )
        yield one, (_scores(one, view, score), _differences(one, view, difference))


def said(curve: DoseCurve, view: PageView, measure: Measure) -> str:
    """What a curve allows to say."""
    found = list(steps(curve, level=1 - view.study.alpha))
    protocol = protocol_text(measure.protocol)
    return sentences(curve, found, margin=view.study.margin, protocol=protocol)


def _score_scale(curves: Sequence[DoseCurve], measure: Measure) -> Scale:
    values = [score for one in curves for dose in one.doses for score in dose.scores.values()]
    return Scale.linear(values, label=f"{protocol_text(measure.protocol)}, percent")


def _difference_scale(curves: Sequence[DoseCurve], margin: float) -> Scale:
    """Scale of all differences; an interval may reach a little further than they do."""
    doses = [dose for one in curves for dose in one.doses if dose.amounts]
    values = [value for dose in doses for value in dose.differences.values()]
    low, high = min([-margin, *values]), max([margin, *values])
    room = (high - low) * (_REACH - 1) / 2
    ends = [
        min(max(end, low - room), high + room)
        for dose in doses
        if dose.step is not None and dose.step.interval is not None
        for end in (dose.step.interval.low, dose.step.interval.high)
    ]
    return Scale.linear([low, high, *ends], label="difference, points")


def _dose_scale(curve: DoseCurve) -> Scale:
    """Scale of the doses; of a setting with its values as ticks, logarithmic if they span a large
    factor."""
    drawn = [*curve.line, *curve.marks]
    values = sorted({amount for dose in drawn for amount in dose.amounts.values()})
    label = setting_title(curve)
    if curve.is_measured or len(values) > _MOST_TICKS:
        return Scale.linear(values, label=label, padding=0.06)
    is_log = values[0] > 0 and values[-1] >= _LOG_FACTOR * values[0]
    scale = (Scale.logarithmic if is_log else Scale.linear)(values, label=label)
    names = tuple(f"{value:g}" for value in values)
    return replace(scale, ticks=tuple(values), names=names)


def _scores(curve: DoseCurve, view: PageView, plot: Plot) -> Panel:
    """Drawing of the scores over the dose."""
    plot.axis("bottom", has_grid=False).axis("left")
    means = [(dose.amount or 0.0, dose.score or 0.0) for dose in curve.line]
    plot.line([x for x, _ in means], [score for _, score in means], color=_MEAN)
    for dose in [*curve.line, *curve.marks]:
        _dots(plot, dose, dose.scores, view, unit=" %")
    for dose in curve.marks:
        plot.interval(
            dose.score or 0.0, dose.score or 0.0, dose.amount or 0.0,
            middle=dose.score, along="left", color=ink_of(view.number(dose.arm))[0],
        )  # fmt: skip
        _label(plot, dose, dose.score or 0.0)
    numbers = "; ".join(
        f"{dose.text}: {_numbers(list(dose.scores.values()))} %"
        for dose in [*curve.line, *curve.marks]
    )
    title = f"{curve.game}: score over {_short(curve)}"
    return Panel(svg=plot.svg(title, numbers), title=title, note=_seeds(curve))


def _differences(curve: DoseCurve, view: PageView, plot: Plot) -> Panel:
    """Drawing of the differences to the reference over the dose."""
    reference = next(dose for dose in curve.doses if dose.arm == curve.reference)
    margin = view.study.margin
    tip = f"margin: {margin:g} points either way"
    plot.span(-margin, margin, along="left", color="muted", tip=tip)
    plot.axis("bottom", has_grid=False).axis("left").rule(0.0, along="left")
    joined = [dose for dose in curve.line if dose.differences]
    plot.line(
        [dose.amount or 0.0 for dose in joined],
        [statistics.fmean(dose.differences.values()) for dose in joined],
        color=_MEAN,
    )
    for dose in [*joined, *curve.marks]:
        if dose.step is None:
            plot.dots(
                [dose.amount or 0.0], [0.0], color=_MEAN, tips=[f"{dose.text}: compared with"]
            )
            continue
        _interval(plot, dose, dose.step, view)
        _dots(plot, dose, dose.differences, view, unit=" points")
        if dose in curve.marks:
            _label(plot, dose, dose.step.value)
    numbers = "; ".join(
        f"{dose.text}: {_estimate(dose.step)}" for dose in curve.doses if dose.step is not None
    )
    title = f"{curve.game}: difference to {named(curve, reference)}"
    note = "a dot is a pair; shaded: the margin"
    return Panel(svg=plot.svg(title, numbers), title=title, note=note)


def _dots(
    plot: Plot, dose: Dose, values: Mapping[int, float], view: PageView, *, unit: str
) -> None:
    """Draw every seed of a dose at its own amount."""
    seeds = [seed for seed in values if seed in dose.amounts]
    color, _ = ink_of(view.number(dose.arm))
    plot.dots(
        [dose.amounts[seed] for seed in seeds],
        [values[seed] for seed in seeds],
        color=color,
        tips=[
            f"{dose.arm}, seed {seed}, at {dose.amounts[seed]:.3g}: {values[seed]:.2f}{unit}"
            for seed in seeds
        ],
        kind="dot" if dose.setting is not None else "ring",
    )


def _interval(plot: Plot, dose: Dose, step: Estimate, view: PageView) -> None:
    """Draw the mean difference of a dose with its interval."""
    low = high = step.value
    if step.interval is not None:
        low, high = step.interval.low, step.interval.high
    color = _MEAN if dose.setting is not None else ink_of(view.number(dose.arm))[0]
    plot.interval(
        low, high, dose.amount or 0.0,
        middle=step.value, along="left", color=color, tip=f"{dose.text}: {_estimate(step)}",
    )  # fmt: skip


def _label(plot: Plot, dose: Dose, mean: float) -> None:
    """Write the name of an arm without a number beside its mean, where there is more room."""
    amount = dose.amount or 0.0
    is_left = plot.x.share(amount) > 0.5
    anchor: Anchor = "end" if is_left else "start"
    plot.text(amount, mean, dose.text, anchor=anchor, shift=(-10.0 if is_left else 10.0, 4.0))


def _table(curve: DoseCurve, view: PageView) -> str:
    """Table of a curve: setting, dose, share, score, difference."""
    columns = [Column(title=setting_title(curve, is_set=True), is_number=False)]
    if curve.is_measured:
        columns += [Column(title="Measured", note="nats"), Column(title="Share", note="that plays")]
    reference = next(dose for dose in curve.doses if dose.arm == curve.reference)
    columns += [
        Column(title="Score", note="percent"),
        Column(title="Difference", note=f"to {reference.text}"),
        Column(title="Interval"),
        Column(title="Pairs"),
    ]
    rows = []
    for dose in curve.doses:
        cells = [sections.swatch(view.number(dose.arm), dose.text)]
        if curve.is_measured:
            cells += [_numbers(list(dose.amounts.values()), digits=3)]
            cells += [_numbers(list(dose.shares.values()))]
        cells += [_numbers(list(dose.scores.values()))]
        value = None if dose.step is None else dose.step.value
        inside = None if dose.step is None else dose.step.interval
        cells += [signed(value), interval_text(inside)]
        cells += [NOTHING if dose.step is None else str(len(dose.differences))]
        rows.append(cells)
    note = "mean \u00b1 standard deviation over seeds"
    return table(f"{curve.game} over {_short(curve)}", columns, rows, note=note)


def _numbers(values: Sequence[float], *, digits: int = 2) -> str:
    """Mean of some values, and their standard deviation where there are several."""
    if not values:
        return NOTHING
    mean = f"{round(statistics.fmean(values), digits) + 0.0:.{digits}f}"  # no -0.00
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{mean} \u00b1 {spread:.{digits}f}" if len(values) > 1 else mean


def _estimate(step: Estimate | None) -> str:
    if step is None:
        return NOTHING
    inside = f" {interval_text(step.interval)}" if step.interval is not None else ""
    return f"{signed(step.value)} points{inside}"


def _short(curve: DoseCurve) -> str:
    """Name of the setting without the sections in which it stands."""
    return "measured strength" if curve.is_measured else curve.setting.rpartition(".")[2]


def _seeds(curve: DoseCurve) -> str:
    """Which seeds the dots are, in words."""
    seeds = {seed for dose in curve.doses for seed in dose.scores}
    return f"a dot is one run; {seeds_text(seeds)}"
