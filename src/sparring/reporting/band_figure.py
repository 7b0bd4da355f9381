"""Bands and lines over a common axis as inline SVG, with their values on hover."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 220
"""Size in units of the drawing; pages scale it."""
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 8, 34
"""Room around the frame for numbers and labels."""
TEXT = 12
"""Size of texts in units of the drawing."""
_PATTERNS = {"solid": "", "dashed": "7 3", "dotted": "2 3"}


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
    description: str,
    x_label: str = "epoch",
    limits: tuple[float, float] | None = None,
) -> str:
    """Inline SVG of curves with their bands.

    Args:
        curves: at least one, each with at least one point.
        description: text that screen readers read in place of the figure.
        x_label: label of the horizontal axis.
        limits: ends of the vertical axis; None: those of the values.
    """
    xs = [x for curve in curves for x in curve.x]
    frame = _Frame((min(xs), max(xs)), limits or _limits(curves))
    marks = "".join(frame.band(curve) for curve in curves)
    marks += "".join(frame.line(curve) for curve in curves)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}" '
        f'font-size="{TEXT}">{frame.axes(x_label)}{marks}</svg>'
    )


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    values = [y for curve in curves for y in curve.y]
    values += [y for curve in curves if curve.band for ends in curve.band for y in ends]
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def round_ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round values between two ends, about `count` of them, in order.

    Example:
        >>> round_ticks(0.27, 0.97)
        [0.4, 0.6, 0.8]
    """
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * one for one in (1, 2, 5, 10) if unit * one >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{number * step:.6g}") for number in range(first, last + 1)]


class _Frame:
    """The place of values in the drawing."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._x, self._y = x, y

    def place(self, x: float, y: float) -> str:
        """Coordinates of a value, as SVG writes points."""
        across = (x - self._x[0]) / ((self._x[1] - self._x[0]) or 1.0)
        up = (y - self._y[0]) / ((self._y[1] - self._y[0]) or 1.0)
        up = min(max(up, 0.0), 1.0)
        wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return f"{LEFT + across * wide:.1f},{TOP + (1 - up) * high:.1f}"

    def band(self, curve: Curve) -> str:
        """The band of a curve; nothing without."""
        if curve.band is None:
            return ""
        low, high = curve.band
        points = [self.place(x, y) for x, y in zip(curve.x, high, strict=True)]
        points += [self.place(x, y) for x, y in zip(curve.x, low, strict=True)][::-1]
        return f'<polygon points="{" ".join(points)}" fill="var(--{curve.color})" opacity=".18"/>'

    def line(self, curve: Curve) -> str:
        """The line of a curve, and a point with its value at every place."""
        ink = f"var(--{curve.color})"
        points = [self.place(x, y) for x, y in zip(curve.x, curve.y, strict=True)]
        pattern = _PATTERNS[curve.dashes]
        dashes = f' stroke-dasharray="{pattern}"' if pattern else ""
        line = (
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{ink}" '
            f'stroke-width="1.8"{dashes}/>'
        )
        dots = ""
        for point, x, y in zip(points, curve.x, curve.y, strict=True):
            across, down = point.split(",")
            title = escape(f"{curve.name}, {x:g}: {y:.4g}")
            dots += (
                f'<circle cx="{across}" cy="{down}" r="2.6" fill="{ink}">'
                f"<title>{title}</title></circle>"
            )
        return line + dots

    def axes(self, x_label: str) -> str:
        """Grid lines with their numbers, and the label of the horizontal axis."""
        parts = []
        for value in round_ticks(*self._y):
            down = self.place(self._x[0], value).split(",")[1]
            parts.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down}" y2="{down}" '
                'stroke="var(--line)" stroke-width=".8"/>'
                f'<text x="{LEFT - 5}" y="{down}" dy=".32em" text-anchor="end" '
                f'fill="var(--muted)">{value:.3g}</text>'
            )
        for value, anchor in ((self._x[0], "start"), (self._x[1], "end")):
            across = self.place(value, self._y[0]).split(",")[0]
            parts.append(
                f'<text x="{across}" y="{HEIGHT - BOTTOM + 15}" text-anchor="{anchor}" '
                f'fill="var(--muted)">{value:g}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text x="{middle:g}" y="{HEIGHT - 6}" text-anchor="middle" fill="var(--muted)">'
            f"{escape(x_label)}</text>"
        )
        return "".join(parts)
