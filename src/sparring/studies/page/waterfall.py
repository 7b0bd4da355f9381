"""Section of attribution: what control, twin and game each add to the untrained encoder."""

from html import escape

from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale
from sparring.reporting.sections import section
from sparring.reporting.shapes import LETTER, shortened
from sparring.studies.findings import Attribution, Part
from sparring.studies.page.arm_numbers import mean_of
from sparring.studies.page.arm_table import start_title
from sparring.studies.page.frame import Column, figure, table
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import (
    estimate_text,
    interval_text,
    level_text,
    points,
    signed,
)
from sparring.studies.results import Results
from sparring.wording import counted

_ROW = 44.0
_BAR = 0.23
"""How far a bar is below the middle of its row, as a share of the row."""


def waterfalls(view: PageView) -> str:
    """Section with a waterfall and a table for each game; empty without attributions."""
    found = view.analysis.attributions
    if not found:
        return ""
    lead = (
        "A step is the mean difference of two encoders with the same seed: from the untrained one "
        "to the control, from the control to the twin, from the twin to the game. What the "
        "opponent itself adds is the last step. Lines are intervals of the steps "
        f"({level_text(view.study)})."
    )
    plots = "".join(_figure(one, view) for one in found)
    return section(
        "Where the score comes from",
        f'<div class="plots two">{plots}</div>{_table(found)}',
        lead=lead,
    )


def _figure(one: Attribution, view: PageView) -> str:
    base = _base(one, view.results)
    end = base + sum(part.estimate.value for part in one.parts)
    count = counted(len(_seeds(one, view.results)), "seed")
    note = (
        f"{start_title(view.results)} {points(base)} %, {one.game} {points(end)} %: means over the "
        f"{count} that all of these have"
    )
    return figure(one.game, _waterfall(one, view), note=note)


def _waterfall(one: Attribution, view: PageView) -> str:
    """Inline SVG: a bar per step, from where the last one ended."""
    base = _base(one, view.results)
    ends = [base]
    for part in one.parts:
        ends.append(ends[-1] + part.estimate.value)
    x = Scale.linear([*ends, *_whiskers(one, ends)], label="score, percent", num_ticks=4)
    names = [start_title(view.results), *(part.name for part in one.parts), one.game]
    values = [f"{points(base)} %", *(estimate_text(part.estimate) for part in one.parts)]
    values.append(f"{points(ends[-1])} %")
    height = _ROW * len(names) + 46
    rows = Scale(low=len(names) - 0.5, high=-0.5)
    plot = Plot(360, height, x=x, y=rows, margins=(6, 14, 40, 14)).axis("bottom", has_grid=False)
    for place, end in enumerate(ends):
        across = (place + _BAR - 0.16, place + 1 + _BAR + 0.16)
        plot.rule(end, along="bottom", color="untrained", across=across)
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        y = plot.py(place) - 8
        for tick in x.ticks:
            plot.rule(tick, along="bottom", color="line", across=(place - 0.06, place + 0.5))
        plot.note(4, y, shortened(name, 0.9 * (340 - LETTER * len(value))), kind="strong")
        plot.note(plot.width - 4, y, value, anchor="end")
    for place, part in enumerate(one.parts, start=1):
        _draw_part(plot, part, place + _BAR, ends[place - 1], ends[place])
    for place, end, inks, name in (
        (0, base, ink_of(None), names[0]),
        (len(names) - 1, ends[-1], ink_of(view.number(one.game)), one.game),
    ):
        tip = f"{name}: {points(end)} %"
        plot.dots([end], [place + _BAR], color=inks[0], tips=[tip])
    said = "; ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))
    return plot.svg(f"Where the score of {one.game} comes from", said)


def _base(one: Attribution, results: Results) -> float:
    """Mean score of the untrained encoder over the seeds of the steps."""
    starts = results.start_scores(_chain(one, results)[0], one.measure)
    return mean_of([starts[seed] for seed in _seeds(one, results)]) or 0.0


def _chain(one: Attribution, results: Results) -> list[str]:
    """Arms of a waterfall, from the control to the game."""
    game = results.study.arm(one.game)
    twins = [arm.name for arm in results.study.arms if arm.twin_of == game.name]
    return [name for name in (game.control, *twins[:1], game.name) if name]


def _seeds(one: Attribution, results: Results) -> list[int]:
    """Seeds of the steps: those that all arms of the waterfall have."""
    chain = _chain(one, results)
    starts = results.start_scores(chain[0], one.measure)
    return sorted(set(starts).intersection(*(results.scores(name, one.measure) for name in chain)))


def _draw_part(plot: Plot, part: Part, at: float, start: float, end: float) -> None:
    color = "right" if part.estimate.value >= 0 else "wrong"
    tip = f"{part.name}: {estimate_text(part.estimate)} points"
    plot.bar(start, end, at, color=color, thickness=14, tip=tip)
    inside = part.estimate.interval
    if inside is not None:
        plot.interval(start + inside.low, start + inside.high, at, tip=tip)


def _whiskers(one: Attribution, ends: list[float]) -> list[float]:
    """Ends of the intervals on the axis of scores, none further out than the steps are long."""
    room = max(ends) - min(ends)
    found = [
        start + end
        for start, part in zip(ends, one.parts, strict=False)
        if (inside := part.estimate.interval) is not None
        for end in (inside.low, inside.high)
    ]
    return [min(max(value, min(ends) - room), max(ends) + room) for value in found]


def _table(found: tuple[Attribution, ...]) -> str:
    columns = [
        Column(title="Step", is_number=False),
        Column(title="What it is", is_number=False),
        Column(title="Adds", note="points"),
        Column(title="Interval"),
    ]
    several = len(found) > 1
    rows = [
        [
            escape(f"{one.game}: {part.name}" if several else part.name),
            escape(part.what),
            signed(part.estimate.value),
            interval_text(part.estimate.interval),
        ]
        for one in found
        for part in one.parts
    ]
    return table("Steps from the untrained encoder to the game", columns, rows)
