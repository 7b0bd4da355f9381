"""Learning curves of all arms as figures: means over seeds, with bands."""

from sparring.measures.metric import Metric
from sparring.reporting import sections
from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale
from sparring.studies.page.frame import figure
from sparring.studies.page.view import PageView
from sparring.studies.page.wording import duration_text, level_text, runs_text
from sparring.studies.statistics.curves import Axis, Band, bands
from sparring.training.metrics import METRICS

SCORE = "knn_accuracy"
"""The monitor's measure that stands for the score while a run trains."""
MOST_TIPS = 40
"""Most points of a curve that say their value."""
MOST_BANDS = 4
"""Most arms whose bands are all drawn; of more, those of the primary contrast alone."""
AXES: dict[Axis, str] = {"images": "images seen", "seconds": "seconds of training"}
"""Label of each axis."""
_NOTES = {SCORE: "on labelled training images held out of the vote; mean over seeds"}
_AXIS_NOTES: dict[Axis, str] = {
    "images": "",
    "seconds": "; by the clock, so that other work on the machine counts",
}


def measures_of(view: PageView) -> list[str]:
    """Measures of the monitor that any run has, that of the score first."""
    found = dict.fromkeys(
        name for one in view.results.records for point in one.curve for name in point.measures
    )
    return sorted(
        found,
        key=lambda name: (
            name != SCORE,
            list(METRICS).index(name) if name in METRICS else len(METRICS),
            name,
        ),
    )


def curves_of(view: PageView, name: str, axis: Axis) -> dict[str, Band]:
    """Curve of each arm that has one, in the unit of the page: percent for the score."""
    found = {}
    for arm in view.study.arms:
        band = bands(
            view.results,
            arm.name,
            view.results.primary,
            name=name,
            axis=axis,
            level=1 - view.study.alpha,
        )
        if band is not None:
            found[arm.name] = band
    return found


def curves_figure(view: PageView, name: str, axis: Axis) -> str:
    """Figure of one measure of the monitor over images or seconds; empty without curves."""
    curves = curves_of(view, name, axis)
    if not curves:
        return ""
    metric = METRICS.get(name, Metric("as the monitor measures it"))
    factor = 100.0 if name == SCORE else 1.0
    title = (metric.title or name).removesuffix(", %")
    banded = _banded(view, curves)
    heights = [
        factor * value
        for arm, one in curves.items()
        for values in ((one.mean, one.low, one.high) if arm in banded else (one.mean,))
        if values is not None
        for value in values.tolist()
    ]
    x = Scale.linear(
        [0.0, *(place for one in curves.values() for place in one.x.tolist())],
        label=AXES[axis],
        padding=0.01,
    )
    y = Scale.linear(heights, label="%" if name == SCORE else "")
    plot = Plot(360, 240, x=x, y=y).axis("bottom", has_grid=False).axis("left")
    for arm in banded:
        one = curves[arm]
        if one.low is not None and one.high is not None:
            color, _ = ink_of(view.number(arm))
            plot.band(
                one.x.tolist(), (factor * one.low).tolist(), (factor * one.high).tolist(),
                color=color,
            )  # fmt: skip
    said = [_draw(plot, view, arm, one, factor=factor) for arm, one in curves.items()]
    description = f"Means over seeds with {level_text(view.study)} intervals. {' '.join(said)}"
    return figure(
        f"{title} over {AXES[axis]}",
        plot.svg(f"{title} over {AXES[axis]}", description),
        note=_NOTES.get(name, metric.meaning) + _AXIS_NOTES[axis],
    )


def legend(view: PageView) -> str:
    """Names of all arms after their colours."""
    entries = "".join(
        sections.swatch(number, arm.name) for number, arm in enumerate(view.study.arms)
    )
    return f'<p class="legend">{entries}</p>'


def bands_note(view: PageView) -> str:
    """What lines and bands are, in a sentence."""
    curves = curves_of(view, SCORE, "images") or {}
    which = runs_text(view.results.primary, view.study)
    start = f"Curves are of the runs on {which}. " if which else ""
    seeds = sorted({len(one.seeds) for one in curves.values()})
    if seeds == [1]:
        return f"{start}Each line is one run; without a second seed there is no band."
    level = level_text(view.study)
    text = start + (
        f"A line is the mean over seeds, its band the {level} interval of the mean at each point, "
        "not of the whole curve. Bands of two arms may overlap where the paired difference is "
        "clear: seeds that are good for both arms widen both bands."
    )
    left_out = curves.keys() - set(_banded(view, curves))
    return f"{text} Bands of the other arms are left out." if left_out else text


def value_text(value: float, *, factor: float) -> str:
    """A value of the monitor: percent with one decimal, else three digits."""
    return f"{value:.1f} %" if factor == 100.0 else f"{value:.3g}"


def place_text(place: float, axis: Axis) -> str:
    """A place on the horizontal axis with its unit."""
    return duration_text(place) if axis == "seconds" else f"{place:,.0f} images"


def _banded(view: PageView, curves: dict[str, Band]) -> list[str]:
    """Arms whose bands are drawn."""
    planned = view.study.planned_contrasts()
    if len(curves) <= MOST_BANDS or not planned:
        return list(curves)
    return [arm for arm in curves if arm in (planned[0].first, planned[0].second)]


def _draw(plot: Plot, view: PageView, arm: str, one: Band, *, factor: float) -> str:
    """Draw a curve, and give its ends in words."""
    color, dashes = ink_of(view.number(arm))
    xs, ys = one.x.tolist(), (factor * one.mean).tolist()
    plot.line(xs, ys, color=color, dashes=dashes)
    texts = [_point_text(one, row, factor=factor) for row in range(len(xs))]
    step = -(-len(xs) // MOST_TIPS)
    shown = sorted({*range(0, len(xs), step), len(xs) - 1})
    plot.dots(
        [xs[row] for row in shown],
        [ys[row] for row in shown],
        color=color,
        tips=[f"{arm}, {texts[row]}" for row in shown],
        kind="point",
    )
    seeds = f"{len(one.seeds)} seed{'s' * (len(one.seeds) > 1)}"
    if len(xs) == 1:
        return f"{arm}, {seeds}: {texts[0]}."
    return f"{arm}, {seeds}: {texts[0]}; {texts[-1]}."


def _point_text(one: Band, row: int, *, factor: float) -> str:
    place = place_text(float(one.x[row]), one.axis)
    value = value_text(factor * float(one.mean[row]), factor=factor)
    if one.low is None or one.high is None:
        return f"{place}: {value}"
    low, high = (
        value_text(factor * float(ends[row]), factor=factor) for ends in (one.low, one.high)
    )
    return f"{place}: {value} ({low} to {high})"
