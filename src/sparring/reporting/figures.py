"""Curves and pictures as HTML fragments that need no other file.

Colours are CSS variables of the page, so figures follow light and dark mode.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparring.reporting.drawing import Plot
from sparring.reporting.gallery import Pixels
from sparring.reporting.inks import DASHES, NUM_COLORS
from sparring.reporting.scales import Scale

MAX_POINTS = 200
"""Most points per curve; longer curves show means of neighbouring records."""
MAX_SIDE = 72
"""Longer side of an embedded picture in pixels; pages show it at 36 to 64."""
WIDTH, HEIGHT = 360.0, 220.0
"""Size of a figure in units of the drawing; pages scale it."""


class Line(NamedTuple):
    """One line of a figure.

    Attributes:
        number: gives colour and dashes.
        name: what it is, said when it is pointed at.
        x: places, rising.
        y: values.
    """

    number: int
    name: str
    x: Sequence[float]
    y: Sequence[float]


def curves_svg(
    lines: Sequence[Line],
    *,
    description: str,
    width: float = WIDTH,
    x_label: str = "epoch",
    palette: str = "run",
) -> str:
    """Inline SVG of one metric over epochs, a line per run.

    Args:
        lines: at least one, each with at least one point.
        description: text that screen readers read in place of the figure; the first and the last
            value of each line follow it.
        width: in units of the drawing, where a letter is about 7 wide.
        x_label: label of the horizontal axis.
        palette: `run`, or `line` if the lines are no runs.
    """
    shown = [(one, *binned(one.x, one.y)) for one in lines]
    x = Scale.linear([v for _, xs, _ in shown for v in xs.tolist()], label=x_label, padding=0.01)
    y = Scale.linear([v for _, _, ys in shown for v in ys.tolist()], padding=0.06)
    plot = Plot(width, HEIGHT * (0.4 + 0.6 * width / WIDTH), x=x, y=y)
    plot.axis("bottom", has_grid=False).axis("left")
    for one, xs, ys in shown:
        plot.line(
            xs.tolist(),
            ys.tolist(),
            color=f"{palette}{one.number % NUM_COLORS}",
            dashes=DASHES[one.number % len(DASHES)],
            name=one.name,
        )
    ends = [ends_text(one.name, xs.tolist(), ys.tolist(), unit=x_label) for one, xs, ys in shown]
    return plot.svg(description, f"{'; '.join(ends)}.")


def ends_text(name: str, x: Sequence[float], y: Sequence[float], *, unit: str) -> str:
    """First and last value of a curve in words, for the description of its figure."""
    last = f"{y[-1]:.4g} at {unit} {x[-1]:.4g}"
    return f"{name}: {last}" if len(x) == 1 else f"{name}: {y[0]:.4g} at {unit} {x[0]:.4g}, {last}"


def binned(
    epochs: Sequence[float], values: Sequence[float], count: int = MAX_POINTS
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Curve of at most `count` points: means over equal numbers of neighbouring records."""
    x, y = np.asarray(epochs, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(x) <= count:
        return x, y
    edges = np.linspace(0, len(x), count + 1).astype(int)
    sizes = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / sizes, np.add.reduceat(y, edges[:-1]) / sizes


def picture(image: Pixels, *, text: str, style: str = "") -> str:
    """`<img>` with embedded pixels; large images are reduced to `MAX_SIDE`."""
    kind = f' class="{style}"' if style else ""
    return f'<img{kind} src="{data_uri(image)}" alt="{escape(text)}" title="{escape(text)}">'


def data_uri(image: Pixels) -> str:
    """Data URI of an image: PNG up to 40 pixels a side, otherwise JPEG reduced to `MAX_SIDE`."""
    height, width = image.shape[:2]
    content, kind = io.BytesIO(), "png"
    opened = Image.fromarray(image)
    if max(height, width) > 40:
        kind = "jpeg"
        opened.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        opened.save(content, "JPEG", quality=85)
    else:
        opened.save(content, "PNG", optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
