"""Curves with bands over a common axis, as a figure of a run's report."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparring.reporting.drawing import Plot
from sparring.reporting.figures import ends_text
from sparring.reporting.scales import Scale

WIDTH, HEIGHT = 360, 220
"""Size in units of the drawing; pages scale it."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line of a figure, with a band around it if it has one.

    Attributes:
        name: what it is, on hover.
        color: variable of the page, such as `run0`.
        x: places, rising.
        y: values.
        band: lower and upper ends at each place; None: no band.
        dashes: solid, dashed or dotted.
    """

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None
    dashes: str = "solid"


def band_figure(
    curves: Sequence[Curve],
    *,
    title: str,
    description: str,
    x_label: str = "epoch",
    reaching: Sequence[float] = (),
) -> str:
    """Inline SVG of curves with their bands.

    Args:
        curves: at least one, each with at least one point.
        title: name of the figure, for screen readers.
        description: text that screen readers read in place of the figure; the first and the last
            value of each curve follow it.
        x_label: label of the horizontal axis.
        reaching: values that the vertical axis shows whatever the curves are.
    """
    xs = [x for curve in curves for x in curve.x]
    ys = [*reaching, *(y for curve in curves for y in curve.y)]
    ys += [y for curve in curves if curve.band for ends in curve.band for y in ends]
    plot = Plot(WIDTH, HEIGHT, x=Scale.linear(xs, label=x_label, num_ticks=4), y=Scale.linear(ys))
    plot.axis("bottom").axis("left")
    for curve in curves:
        if curve.band is not None:
            plot.band(curve.x, *curve.band, color=curve.color)
    for curve in curves:
        plot.line(
            curve.x,
            curve.y,
            color=curve.color,
            dashes=curve.dashes,
            name=curve.name,
            band=curve.band,
        )
    ends = [ends_text(one.name, one.x, one.y, unit=x_label) for one in curves]
    return plot.svg(title, f"{description}. {'; '.join(ends)}.")
