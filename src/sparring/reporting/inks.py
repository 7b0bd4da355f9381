"""Colours, dashes and markers by number: variables of the page, and shapes to tell apart what has
one colour.

A class has one of 10 colours and one of 7 shapes, in step, so that 70 classes differ and no reader
needs to see colours. `report.css` holds the values of the colours.
"""

from typing import NamedTuple

NUM_COLORS = 6
"""Number of run colours that the page defines as --run0, --run1, ..., and of the colours --line0,
--line1, ... of what is no run."""
NUM_CLASS_COLORS = 10
"""Number of class colours that the page defines as --class0, --class1, ..."""

# Line styles besides colours, for readers and printers that cannot tell colours apart.
DASHES = ("solid", "dashed", "dotted")


class Marker(NamedTuple):
    """Shape of a class's points.

    Attributes:
        moves: of a path, from the point's place: (letter, coordinates in half widths) of each part.
        is_dot: whether it is a round dot, drawn by a line of no length.
    """

    moves: tuple[tuple[str, tuple[float, ...]], ...]
    is_dot: bool = False


MARKERS = (
    Marker((("h", (0.0,)),), is_dot=True),
    Marker((("m", (-0.9, -0.9)), ("h", (1.8,)), ("v", (1.8,)), ("h", (-1.8,)), ("z", ()))),
    Marker((("m", (0.0, -1.2)), ("l", (1.15, 2.0)), ("h", (-2.3,)), ("z", ()))),
    Marker((("m", (-1.1, -1.1)), ("l", (2.2, 2.2)), ("m", (0.0, -2.2)), ("l", (-2.2, 2.2)))),
    Marker(
        (("m", (0.0, -1.4)), ("l", (1.4, 1.4)), ("l", (-1.4, 1.4)), ("l", (-1.4, -1.4)), ("z", ()))
    ),
    Marker((("m", (-1.4, 0.0)), ("h", (2.8,)), ("m", (-1.4, -1.4)), ("v", (2.8,)))),
    Marker((("m", (0.0, 1.2)), ("l", (1.15, -2.0)), ("h", (-2.3,)), ("z", ()))),
)
"""Shapes of points; their number and that of the colours have no common divisor."""


def ink_of(number: int | None) -> tuple[str, str]:
    """Colour and dashes of an arm, as `sections.swatch` shows them; None: the untrained encoder."""
    if number is None:
        return "untrained", "solid"
    return f"run{number % NUM_COLORS}", DASHES[number % len(DASHES)]


def class_color(label: int) -> str:
    """Name of a class's colour, such as `class3`; `muted` for -1, an unknown class."""
    return "muted" if label < 0 else f"class{label % NUM_CLASS_COLORS}"


def class_marker(label: int) -> Marker:
    """Shape of a class's points; a dot for -1, an unknown class."""
    return MARKERS[max(label, 0) % len(MARKERS)]


def marker_path(label: int, x: float, y: float, *, radius: float) -> str:
    """Part of a path that draws one point of a class at a place."""
    moves = "".join(
        letter + " ".join(f"{round(radius * value, 2) + 0.0:g}" for value in values)
        for letter, values in class_marker(label).moves
    )
    return f"M{x:.1f} {y:.1f}{moves}"


def marked(label: int, path: str, *, radius: float, name: str = "") -> str:
    """SVG path of points of one class, drawn as `marker_path` says.

    Args:
        label: the class; -1 is unknown.
        path: one or many of `marker_path`.
        radius: half the width of a point.
        name: of the class, as HTML, for the page's script.
    """
    width = 2 * radius if class_marker(label).is_dot else 0.5 * radius
    said = f' data-name="{name}"' if name else ""
    return (
        f'<path class="shape" data-class="{label}"{said} style="--c:var(--{class_color(label)})" '
        f'stroke-width="{width:.2g}" d="{path}"/>'
    )


def legend_mark(label: int) -> str:
    """Marker of a class for a legend, as inline SVG."""
    path = marker_path(label, 5, 5, radius=3)
    return (
        f'<svg class="marker" viewBox="0 0 10 10" aria-hidden="true">'
        f"{marked(label, path, radius=3)}</svg>"
    )
