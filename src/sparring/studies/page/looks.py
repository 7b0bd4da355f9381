"""Section of early stopping: the t statistic against its bounds at each look, and the intervals
that hold at every look."""

import math
from collections.abc import Sequence
from html import escape

from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale
from sparring.reporting.sections import section
from sparring.studies.findings import Decision, Finding, Look
from sparring.studies.page.frame import Column, figure, table
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import NOTHING, interval_text, level_text, signed

_DECISIONS: dict[Decision, str] = {
    "stop: difference": "stop: a difference is claimed",
    "stop: futile": "stop: going on is not worth while",
    "go on": "go on",
    "last look": "last look",
}


def looks(view: PageView) -> str:
    """Section of the looks at the primary contrast; empty if there are none."""
    found = [one for one in view.analysis.findings if one.looks]
    if not found:
        return ""
    planned = ", ".join(str(pairs) for pairs in view.study.looks)
    lead = (
        f"The plan allows the study to stop after {planned} pairs. The bounds are wider than those "
        f"of a single test, so that over all looks a difference is claimed by chance in at most "
        f"{100 * view.study.alpha:g} % of studies, and the intervals hold at every look."
    )
    return section("Early stopping", "".join(_looks_at(one, view) for one in found), lead=lead)


def stopped(view: PageView) -> str:
    """Sentence that the study stopped early; empty if it did not."""
    primary = view.analysis.primary
    last = primary.looks[-1] if primary is not None and primary.looks else None
    if last is None or not last.decision.startswith("stop"):
        return ""
    why = {
        "stop: difference": "the difference had passed its bound",
        "stop: futile": "a difference had become too unlikely to be worth more pairs",
    }[last.decision]
    number = f"look {len(primary.looks) if primary else 0} of {len(view.study.looks)}"
    return f"Stopped early, at {number}, after {last.pairs} pairs: {why}."


def _looks_at(finding: Finding, view: PageView) -> str:
    name = finding.contrast.name
    plots = figure(
        "t statistic",
        _t_plot(finding, view),
        note="beyond the dashed bounds: a difference; within a grey bar: futile",
    ) + figure(
        "Mean difference",
        _interval_plot(finding, view),
        note=f"repeated {level_text(view.study)} intervals; shaded: the margin",
    )
    title = f'<h3>{escape(name)}</h3><div class="plots two">{plots}</div>'
    columns = [Column(title="Pairs", is_number=False)]
    columns += [Column(title=text) for text in ("t", "Bound", "Futile below")]
    columns += [
        Column(title="Mean", note="points"),
        Column(title="Repeated interval", note=level_text(view.study)),
        Column(title="Decision", is_number=False),
    ]
    rows = [
        [
            str(look.pairs),
            f"{look.t:.2f}",
            f"{look.bound:.2f}",
            NOTHING if look.futility is None else f"{look.futility:.2f}",
            signed(_mean_at(look, finding)),
            interval_text(look.interval),
            _DECISIONS[look.decision],
        ]
        for look in finding.looks
    ]
    return title + table(f"Looks at {name}", columns, rows)


def _pairs_scale(finding: Finding, view: PageView) -> Scale:
    pairs = sorted({*view.study.looks, *(look.pairs for look in finding.looks)})
    ticks = tuple(float(count) for count in pairs)
    room = max(1.0, 0.12 * (pairs[-1] - pairs[0]))
    return Scale(low=pairs[0] - room, high=pairs[-1] + room, label="pairs", ticks=ticks)


def _mean_at(look: Look, finding: Finding) -> float:
    """Mean difference of the pairs that a look saw."""
    return float(finding.pairs.differences[: look.pairs].mean())


def _t_plot(finding: Finding, view: PageView) -> str:
    """Inline SVG: t at each look, its bounds, and the values that are futile."""
    looks, title = finding.looks, f"t statistic of {finding.contrast.name} at each look"
    xs, ts = [float(look.pairs) for look in looks], [look.t for look in looks]
    most = _most_shown(looks)
    shown = [min(look.bound, most) for look in looks]
    y = Scale.linear([*ts, *shown, *(-one for one in shown)], label="t", padding=0.08)
    plot = Plot(360, 220, x=_pairs_scale(finding, view), y=y)
    plot.axis("bottom", has_grid=False).axis("left").rule(0, along="left")
    for place, look in zip(xs, looks, strict=True):
        if look.futility is not None:
            ends, tip = (-look.futility, look.futility), f"futile: |t| below {look.futility:.2f}"
            plot.bar(*ends, place, thickness=16, along="left", color="line", tip=tip)
    inside = [look.bound if look.bound <= most else math.nan for look in looks]
    for sign in (1, -1):
        plot.line(xs, [sign * bound for bound in inside], color="ink", dashes="dashed")
    for place, look in zip(xs, looks, strict=True):
        tip = f"bound after {look.pairs} pairs: |t| of {look.bound:.2f}"
        if look.bound <= most:
            plot.dots(
                [place] * 2, [look.bound, -look.bound], color="ink", kind="ring", tips=[tip] * 2
            )
        else:
            for sign in (1, -1):
                text = f"bound {sign * look.bound:.1f}, off the scale"
                plot.text(place, sign * most, text, shift=(-12, 4), kind="tick")
    color, _ = ink_of(view.number(finding.contrast.first))
    tips = [f"t after {look.pairs} pairs: {look.t:.2f}" for look in looks]
    plot.line(xs, ts, color=color).dots(xs, ts, color=color, tips=tips)
    said = (f"after {one.pairs} pairs t {one.t:.2f}, bound {one.bound:.2f}" for one in looks)
    return plot.svg(title, "; ".join(said))


def _most_shown(looks: Sequence[Look]) -> float:
    """Bound from which on the plot ends: a first look's may be ten times the last one's, and would
    leave no room for t."""
    return max(1.5 * max(abs(look.t) for look in looks), 2 * min(look.bound for look in looks))


def _interval_plot(finding: Finding, view: PageView) -> str:
    looks, margin = finding.looks, view.study.margin
    ends = [end for look in looks for end in (look.interval.low, look.interval.high)]
    y = Scale.linear([*ends, 0.0, margin, -margin], label="points")
    plot = Plot(360, 220, x=_pairs_scale(finding, view), y=y)
    tip = f"margin: {margin:g} points either way"
    plot.span(-margin, margin, along="left", color="muted", tip=tip)
    plot.axis("bottom", has_grid=False).axis("left").rule(0, along="left")
    color, _ = ink_of(view.number(finding.contrast.first))
    said = []
    for look in looks:
        low, high = look.interval.low, look.interval.high
        mean = _mean_at(look, finding)
        said.append(f"after {look.pairs} pairs: {mean:+.2f} {interval_text(look.interval)}")
        plot.interval(low, high, look.pairs, middle=mean, along="left", color=color, tip=said[-1])
    title = f"Repeated intervals of {finding.contrast.name}"
    return plot.svg(title, "; ".join(said))
