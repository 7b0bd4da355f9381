"""What the page's script needs to say the values of a plot's curves and to enlarge a part of it."""

import math
from collections.abc import Sequence
from html import escape
from itertools import compress
from typing import TypeAlias

from sparring.reporting.scales import Scale
from sparring.reporting.shapes import box_of, number_of

Frame: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom end of a plot's frame in units of the drawing."""
Band: TypeAlias = tuple[Sequence[float], Sequence[float]]
"""Lower and upper ends beside the values of a curve."""
_INSIDE = tuple(f'<path class="{kind}' for kind in ("curve", "band", "rule"))


def points_attribute(xs: Sequence[float], ys: Sequence[float], band: Band | None) -> str:
    """Attribute with the values of a curve: place, value, and the ends of the band if any."""
    columns = (xs, ys) if band is None else (xs, ys, *band)
    rows = [row for row in zip(*columns, strict=True) if all(map(math.isfinite, row))]
    return f'data-points="{" ".join(",".join(f"{value:.5g}" for value in row) for row in rows)}"'


def frame_attributes(frame: Frame, x: Scale, y: Scale) -> str:
    """Attributes with the frame of a plot and the values at its ends."""
    place = " ".join(map(number_of, frame))
    values = " ".join(f"{value:.6g}" for value in (x.low, x.high, y.low, y.high))
    return f' data-frame="{place}" data-range="{values}" data-unit="{escape(x.label)}"'


def framed(marks: Sequence[str], frame: Frame) -> str:
    """All marks of a plot, curves and areas in a frame of their own, which the script enlarges."""
    left, top, right, bottom = frame
    is_inside = [mark.startswith(_INSIDE) for mark in marks]
    outside = "".join(compress(marks, (not one for one in is_inside)))
    box = (left, top, right - left, bottom - top)
    view = " ".join(map(number_of, box))
    return (
        f'{outside}<svg class="frame" {box_of(box)} viewBox="{view}" preserveAspectRatio="none">'
        f"{''.join(compress(marks, is_inside))}</svg>"
    )
