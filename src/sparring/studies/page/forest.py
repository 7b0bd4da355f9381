"""Forest plots of contrasts: every pair's difference, the mean, its interval, and the margin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale
from sparring.reporting.shapes import LETTER, shortened
from sparring.studies.findings import Estimate, Finding
from sparring.studies.page.frame import NARROW, WIDE
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import (
    conclusion_text,
    estimate_text,
    level_text,
    p_text,
    signed,
)

_WIDE_ROW, _NARROW_ROW, _SMALL_ROW = 50.0, 92.0, 72.0
"""Heights of a row: on a screen, on a phone, and where no conclusion stands below the marks."""
_Texts: TypeAlias = Callable[[Plot, "ForestRow", int], None]
_LABELS, _WORDS = 245.0, 268.0
"""Room for texts at the left and at the right of a wide plot."""


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One contrast in a forest plot.

    Attributes:
        name: of the contrast.
        number: of its first arm in the plan, which gives the colour.
        finding: its numbers.
        conclusion: what they allow to say; empty where nothing is claimed.
    """

    name: str
    number: int
    finding: Finding
    conclusion: str = ""


def forest_rows(
    findings: Sequence[Finding], view: PageView, *, has_conclusions: bool
) -> list[ForestRow]:
    """Rows of a forest plot, in the order of the findings."""
    return [
        ForestRow(
            name=one.contrast.name,
            number=view.number(one.contrast.first),
            finding=one,
            conclusion=conclusion_text(one, view.study) if has_conclusions else "",
        )
        for one in findings
    ]


def forest(rows: Sequence[ForestRow], view: PageView, *, width: float, title: str) -> str:
    """Inline SVG of a forest plot.

    Args:
        rows: contrasts, the first one on top.
        view: the study.
        width: of the drawing; one narrower than a screen's has the texts above and below the marks.
        title: name of the figure.
    """
    margin, is_narrow = view.study.margin, width < WIDE
    texts, height = _layout(rows, width)
    plot = Plot(
        width,
        height * len(rows) + 62,
        x=_scale(rows, margin, num_ticks=5 if width <= NARROW else 7),
        y=Scale(low=len(rows) - 0.5, high=-0.5),
        margins=(22, 14, 40, 14) if is_narrow else (22, _WORDS, 40, _LABELS),
    )
    plot.axis("bottom", has_grid=False)
    plot.note(plot.left, 13, "second arm better", kind="tick")
    plot.note(plot.right, 13, "first arm better", anchor="end", kind="tick")
    # Texts stand between the rows of a narrow plot, so that lines stop there.
    zones = [(place - 16 / height, place + 14 / height) for place in range(len(rows))]
    for zone in zones if is_narrow else [None]:
        plot.span(-margin, margin, along="bottom", color="muted", tip=_tip(margin), across=zone)
        for tick in plot.x.ticks:
            plot.rule(tick, along="bottom", color="line" if tick else "ink", across=zone)
    for place, row in enumerate(rows):
        _draw_marks(plot, row, place, view, unit=1 / height)
        texts(plot, row, place)
    said = "; ".join(f"{row.name}: {_numbers(row)}" for row in rows)
    return plot.svg(title, f"{said}. Shaded: the margin, {margin:g} points either way.")


def _layout(rows: Sequence[ForestRow], width: float) -> tuple[_Texts, float]:
    """What writes the texts of a row, and the height of rows."""
    if width >= WIDE:
        return _wide_texts, _WIDE_ROW
    if width > NARROW or not rows[0].conclusion:
        return _spare_texts, _SMALL_ROW
    return _narrow_texts, _NARROW_ROW


def _scale(rows: Sequence[ForestRow], margin: float, *, num_ticks: int) -> Scale:
    """Scale that holds every difference, and intervals unless they are far wider than those."""
    core = [-margin, margin, *(value for row in rows for value in row.finding.pairs.differences)]
    low, high = min(core), max(core)
    room = high - low
    ends = [
        min(max(end, low - room), high + room)
        for row in rows
        if (inside := row.finding.interval) is not None
        for end in (inside.low, inside.high)
    ]
    label = "difference in points (percent of accuracy)"
    return Scale.linear([*core, *ends], label=label, num_ticks=num_ticks)


def _draw_marks(plot: Plot, row: ForestRow, place: int, view: PageView, *, unit: float) -> None:
    """Dots of the pairs above the middle of a row, the interval below it."""
    finding = row.finding
    color, _ = ink_of(row.number)
    pairs = zip(finding.pairs.seeds, finding.pairs.differences, strict=True)
    tips = [f"{row.name}, seed {seed}: {signed(value)} points" for seed, value in pairs]
    heights = [place - 8 * unit] * len(tips)
    plot.dots(list(finding.pairs.differences), heights, color=color, tips=tips)
    if finding.mean is None:
        return
    inside = finding.interval
    ends = (finding.mean, finding.mean) if inside is None else (inside.low, inside.high)
    tip = f"{row.name}: {_numbers(row)}"
    if inside is not None:
        tip += f" ({level_text(view.study)} interval)"
    plot.interval(*ends, place + 6 * unit, middle=finding.mean, tip=tip)


def _numbers(row: ForestRow) -> str:
    finding = row.finding
    if finding.mean is None:
        return "no pairs yet"
    return estimate_text(Estimate(value=finding.mean, interval=finding.interval))


def _p(row: ForestRow) -> str:
    return "" if row.finding.p_holm is None else f"p (Holm) {p_text(row.finding.p_holm)}"


def _wide_texts(plot: Plot, row: ForestRow, place: int) -> None:
    y = plot.py(place)
    first, second = row.finding.contrast.first, row.finding.contrast.second
    plot.note(2, y - 4, shortened(first, 0.9 * (_LABELS - 20)), kind="strong")
    plot.note(2, y + 12, shortened(f"minus {second}", _LABELS - 20))
    left = plot.right + 18
    plot.note(
        left, y - 4, shortened(row.conclusion or _numbers(row), 0.9 * (_WORDS - 20)), kind="strong"
    )
    more = ", ".join(filter(None, [_numbers(row) if row.conclusion else "", _p(row)]))
    plot.note(left, y + 12, more)


def _spare_texts(plot: Plot, row: ForestRow, place: int) -> None:
    """Name and conclusion above the marks, numbers below."""
    y, words = plot.py(place), shortened(row.conclusion, 0.6 * plot.width)
    room = plot.width - 8 - LETTER * (len(words) + 2 * bool(words))
    plot.note(2, y - 22, shortened(row.name, 0.9 * room), kind="strong")
    if words:
        plot.note(plot.width - 2, y - 22, words, anchor="end")
    plot.note(2, y + 25, _numbers(row))
    plot.note(plot.width - 2, y + 25, _p(row), anchor="end", kind="tick")


def _narrow_texts(plot: Plot, row: ForestRow, place: int) -> None:
    """Name above the marks, numbers and conclusion below."""
    _spare_texts(plot, replace(row, conclusion=""), place)
    plot.note(2, plot.py(place) + 40, shortened(row.conclusion, plot.width - 8))


def _tip(margin: float) -> str:
    return f"margin: {margin:g} points either way"
