"""Curves, maps and pictures as HTML fragments that need no other file.

Colours are CSS variables of the page, so figures follow light and dark mode.
"""

import base64
import io
import math
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from sparring.reporting.gallery import EmbeddingMap, Pixels

MAX_POINTS = 200
"""Most points per curve; longer curves show means of neighbouring records."""
MAX_SIDE = 72
"""Longer side of an embedded picture in pixels; pages show it at 36 to 64."""
NUM_COLORS = 6
"""Number of run colours that the page defines as --run0, --run1, ..., and of the colours --line0,
--line1, ... of what is no run."""
NUM_CLASS_COLORS = 10
"""Number of class colours that the page defines as --class0, --class1, ..."""

# A multiple of 8, so that JPEG blocks do not blur one picture of the atlas into the next.
_THUMBNAIL = 32
_THUMBNAIL_SHARE = 0.056  # of the map's width
_MAX_THUMBNAILS = 400

# Colours in matplotlib's output that `_with_page_colours` replaces with CSS variables.
_INK, _LINE = "#00fe00", "#00fe01"
_RUN_COLORS = [f"#01fe{number:02x}" for number in range(NUM_COLORS)]

# Line styles besides colours, for readers and printers that cannot tell colours apart.
DASHES = ("solid", "dashed", "dotted")
_PATTERNS = ("-", (0, (5, 1.4)), (0, (1.6, 1.2)))

_STYLE: Any = {  # matplotlib 3.11 types its keys by name, earlier versions as text
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "sparring",  # the same curve gives the same bytes
    "font.size": 8.5,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _LINE,
    "grid.linewidth": 0.7,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
}


def curves_svg(
    lines: Sequence[tuple[int, Sequence[float], Sequence[float]]],
    *,
    description: str,
    width: float = 3.6,
    x_label: str = "epoch",
    palette: str = "run",
) -> str:
    """Inline SVG of one metric over epochs, a line per run.

    Args:
        lines: (number of the run, epochs, values) per line; the number gives the colour.
        description: text that screen readers read in place of the figure.
        width: figure width in inches, where a letter is about 0.06 wide; the page scales the
            figure.
        x_label: label of the horizontal axis.
        palette: `run`, or `line` if the lines are no runs.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, 1.1 + 0.28 * width), layout="constrained")
        axes = figure.add_subplot()
        for run, epochs, values in lines:
            x, y = binned(epochs, values)
            color = _RUN_COLORS[run % NUM_COLORS]
            if len(x) == 1:  # a line of zero length with round ends is a dot
                axes.plot([*x, *x], [*y, *y], color=color, linewidth=5, solid_capstyle="round")
            else:
                axes.plot(
                    x, y, color=color, linewidth=1.7, linestyle=_PATTERNS[run % len(_PATTERNS)]
                )
        _style_axes(axes, x_label)
        content = io.StringIO()
        figure.savefig(
            content,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _with_page_colours(content.getvalue(), description, palette)


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


def _style_axes(axes: Axes, x_label: str) -> None:
    axes.margins(x=0.01, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=axes.get_xlim()[1] > 2))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, labelpad=1, parse_math=False)


def _with_page_colours(svg: str, description: str, palette: str) -> str:
    """Scalable drawing in the page's font and colours, without ids that other figures share."""
    body = svg[svg.index("<svg") :]
    view_box = re.search(r'viewBox="([^"]+)"', body)
    assert view_box is not None
    inner = body[body.index(">") + 1 :]
    inner = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<defs>.*?</defs>|font-family: [^;]*; ", "", inner, flags=re.DOTALL)
    inner = re.sub(r' (?:clip-path|id|transform)="[^"]*"', "", inner)
    inner = re.sub(
        r'="[^"]*"', lambda attribute: re.sub(r"(\.\d\d)\d+", r"\1", attribute[0]), inner
    )
    inner = inner.replace(_INK, "var(--muted)").replace(_LINE, "var(--line)")
    for run, color in enumerate(_RUN_COLORS):
        inner = inner.replace(color, f"var(--{palette}{run})")
    inner = re.sub(r"\n\s*|<g/>", " ", inner)
    label = escape(description)
    return f'<svg viewBox="{view_box[1]}" role="img" aria-label="{label}">{inner.strip()}'


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


def map_html(embedding: EmbeddingMap, *, description: str) -> str:
    """Embedding map: thumbnails where they do not overlap, dots elsewhere.

    Coloured by class if labelled.
    """
    xy = 0.035 + 0.93 * embedding.xy
    shown = spread_out(xy, distance=_THUMBNAIL_SHARE)
    atlas, columns = _atlas(embedding.thumbnails[shown])
    rows = math.ceil(len(shown) / columns)
    hidden = np.setdiff1d(np.arange(len(xy)), shown)
    dots = "".join(
        f'<circle cx="{100 * xy[i, 0]:.1f}" cy="{100 * xy[i, 1]:.1f}" r=".55"'
        f"{_class_attributes(embedding, i, 'fill')}/>"
        for i in hidden
    )
    thumbnails = "".join(
        f'<i style="left:{100 * xy[i, 0]:.1f}%;top:{100 * xy[i, 1]:.1f}%;'
        f"background-position:{_percent(place % columns, columns)} "
        f'{_percent(place // columns, rows)}"'
        f"{_class_attributes(embedding, i, 'class')}></i>"
        for place, i in enumerate(shown)
    )
    return (
        f'<div class="map" role="img" aria-label="{escape(description)}" '
        f'style="--atlas:url({atlas});--grid:{100 * columns}% {100 * rows}%;'
        f'--side:{100 * _THUMBNAIL_SHARE:.2f}%">'
        f'<svg viewBox="0 0 100 100" aria-hidden="true">{dots}</svg>{thumbnails}</div>'
    )


def spread_out(xy: npt.NDArray[np.float32], *, distance: float) -> npt.NDArray[np.int64]:
    """Indices of points, in order, that are at least `distance` apart.

    This keeps their thumbnails from overlapping.
    """
    chosen: list[int] = []
    for i in range(len(xy)):
        if len(chosen) == _MAX_THUMBNAILS:
            break
        if not chosen or np.abs(xy[chosen] - xy[i]).max(axis=1).min() >= distance:
            chosen.append(i)
    return np.array(chosen, dtype=np.int64)


def _atlas(thumbnails: Pixels) -> tuple[str, int]:
    """All thumbnails in one JPEG, as a data URI, and its number of columns."""
    columns = math.ceil(math.sqrt(len(thumbnails)))
    sheet = Image.new(
        "RGB", (columns * _THUMBNAIL, math.ceil(len(thumbnails) / columns) * _THUMBNAIL)
    )
    for place, thumbnail in enumerate(thumbnails):
        small = Image.fromarray(thumbnail).resize(
            (_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS
        )
        sheet.paste(small, (place % columns * _THUMBNAIL, place // columns * _THUMBNAIL))
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=85, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}", columns


def _percent(place: int, count: int) -> str:
    return f"{100 * place / max(1, count - 1):.3f}%"


def class_name(embedding: EmbeddingMap, label: int) -> str:
    """Name of a class; its number if it has no name, `unknown` for -1."""
    if label < 0:
        return "unknown"
    names = embedding.class_names
    return names[label] if names is not None and label < len(names) else f"class {label}"


def _class_attributes(embedding: EmbeddingMap, row: int, attribute: str) -> str:
    """HTML attributes that give a point the colour and the name of its class."""
    if embedding.labels is None or embedding.labels[row] < 0:
        return ""
    label = int(embedding.labels[row])
    color = label % NUM_CLASS_COLORS
    if attribute == "fill":
        return f' style="fill:var(--class{color})"'
    return f' class="c{color}" title="{escape(class_name(embedding, label))}"'
