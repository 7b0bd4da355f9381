"""Shapes of a drawing as text: paths, boxes, numbers with one decimal, and the width of texts."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

Side: TypeAlias = Literal["bottom", "left"]

TEXT = 12.0
"""Size of texts in units of the drawing."""
LETTER = 0.56 * TEXT
"""About the width of a letter."""


def path_of(points: Sequence[tuple[float, float]]) -> str:
    """Path through some points."""
    return "M" + "L".join(f"{number_of(x)} {number_of(y)}" for x, y in points)


def box_of(box: tuple[float, float, float, float]) -> str:
    """Attributes of a rectangle: left, top, width, height."""
    names = ("x", "y", "width", "height")
    return " ".join(f'{name}="{number_of(value)}"' for name, value in zip(names, box, strict=True))


def number_of(value: float) -> str:
    """A number of the drawing with at most one decimal."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def end_path(place: tuple[float, float], along: Side, *, outwards: int, is_arrow: bool) -> str:
    """Path of an interval's end: a short line across it, or an arrow.

    Args:
        place: of the end in the drawing.
        along: the axis along which the interval lies.
        outwards: -1 if the interval goes on to the right or downwards from here, which turns the
            arrow.
        is_arrow: whether the interval ends beyond the frame.
    """
    (x, y), across = place, 4.0
    back = 6.0 * outwards if is_arrow else 0.0
    if along == "bottom":
        ends = [(x + back, y - across), (x, y), (x + back, y + across)]
    else:
        ends = [(x - across, y + back), (x, y), (x + across, y + back)]
    return path_of(ends if is_arrow else [ends[0], ends[2]])


def shortened(text: str, width: float) -> str:
    """The text, cut in its middle so that it fits a width in units of the drawing."""
    room = max(4, int(width / LETTER))
    if len(text) <= room:
        return text
    head = (room - 2) // 2
    return f"{text[:head]}..{text[len(text) - (room - 2 - head) :]}"
