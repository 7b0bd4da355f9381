"""Figures as inline SVG, written by hand: small, with a value at every mark, in the page's colours.

A plot is a frame with two scales into which marks are drawn in order, later ones on top:

    plot = Plot(360, 220, x=Scale.linear(xs, label="images seen"), y=Scale.linear(ys, label="%"))
    plot.axis("bottom").axis("left")
    plot.band(xs, lows, highs, color="run0")
    plot.line(xs, means, color="run0", dashes="dashed", tips=["1,000 images: 41.2 %", ...])
    html = plot.svg("kNN accuracy over images", "Means of 5 seeds with 95 % intervals: ...")

Coordinates are values of the scales. Sizes are units of the drawing: at 360 wide, a page on a phone
shows one unit as one pixel, so that texts stay readable; `svg` sets the greatest width on a screen.
Colours are names of the page's variables: `run0` to `run5`, `line0` to `line5`, `untrained`, `ink`,
`muted`, `line`. `inks.ink_of` gives those of an arm.

A text in `tip` or `tips` is what a mark says: the page's script shows it on hover, on touch, and by
arrow keys; without the script it is a `<title>`. A curve with a `name` says its values, and its
plot can be enlarged. Screen readers get the title and the description of the whole figure, so say
the numbers there or in a table beside it.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Literal, Self, TypeAlias

from sparring.reporting.enlarging import Band, frame_attributes, framed, points_attribute
from sparring.reporting.scales import Scale
from sparring.reporting.shapes import (
    LETTER,
    TEXT,
    Side,
    box_of,
    end_path,
    number_of,
    path_of,
    shortened,
)

Anchor: TypeAlias = Literal["start", "middle", "end"]

_PATTERNS = {"solid": "", "dashed": "8 3", "dotted": "2.2 2.2"}
_SHOWN_WIDER = 1.25
"""How much larger than drawn a plot may be shown."""


class Plot:
    """A frame with two scales, and the marks in it.

    Args:
        width: of the whole drawing; 360 fits a phone.
        height: of the whole drawing.
        x: horizontal scale.
        y: vertical scale; `Scale.rows(names)` for named rows.
        margins: room at the top, right, bottom and left of the frame; None: what the texts of both
            axes need.
    """

    def __init__(
        self,
        width: float,
        height: float,
        *,
        x: Scale,
        y: Scale,
        margins: tuple[float, float, float, float] | None = None,
    ) -> None:
        self.width, self.height, self.x, self.y = width, height, x, y
        top, right, bottom, left = margins or self._margins()
        self.left, self.right = left, max(left + 1, width - right)
        self.top, self.bottom = top, max(top + 1, height - bottom)
        self._marks: list[str] = []
        self._has_names = False

    def _margins(self) -> tuple[float, float, float, float]:
        longest = max(map(len, self.y.tick_names()), default=0)
        left = min(0.45 * self.width, longest * LETTER + 8)
        last = max(map(len, self.x.tick_names()), default=0)
        bottom = (18 if self.x.ticks else 4) + (18 if self.x.label else 0)
        return 26 if self.y.label else 8, max(6, last * LETTER / 2), bottom, max(6, left)

    def px(self, value: float) -> float:
        """Horizontal place of a value in the drawing."""
        return self.left + self.x.share(value) * (self.right - self.left)

    def py(self, value: float) -> float:
        """Vertical place of a value in the drawing, downwards."""
        return self.bottom - self.y.share(value) * (self.bottom - self.top)

    def axis(self, side: Side, *, has_grid: bool = True) -> Self:
        """Draw ticks, their numbers and the label of an axis, with lines through the frame."""
        scale = self.x if side == "bottom" else self.y
        names = scale.tick_names()
        if side == "bottom":
            names = scale.names_apart((self.right - self.left) / LETTER)
        for tick, name in zip(scale.ticks, names, strict=True):
            if side == "bottom":
                ends = (self.px(tick), self.top, self.px(tick), self.bottom)
                place: tuple[float, float, Anchor] = (ends[0], self.bottom + 14, "middle")
            else:
                ends = (self.left, self.py(tick), self.right, self.py(tick))
                place = (self.left - 6, ends[1] + 0.35 * TEXT, "end")
            if has_grid:
                self._add(f'<path class="grid" d="{path_of([ends[:2], ends[2:]])}"/>')
            room = self.left - 6 if side == "left" else self.width
            if name:
                self._text(*place[:2], shortened(name, room), anchor=place[2], kind="tick")
        if scale.label and side == "bottom":
            middle = (self.left + self.right) / 2
            self._text(middle, self.bottom + 31, scale.label, anchor="middle", kind="tick axis")
        elif scale.label:
            self._text(2, 12, scale.label, anchor="start", kind="tick axis")
        return self

    def line(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        *,
        color: str,
        dashes: str = "solid",
        tips: Sequence[str] = (),
        name: str = "",
        band: Band | None = None,
    ) -> Self:
        """Draw a curve, broken where a value is not finite, with a mark at each point that says
        its text of `tips`; one with a `name` and rising `xs` says its values, and those of a `band`
        beside them, where it is pointed at."""
        runs: list[list[tuple[float, float]]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                runs[-1].append((self.px(x), self.py(y)))
            elif runs[-1]:
                runs.append([])
        path = " ".join(path_of(run if len(run) > 1 else [*run, *run]) for run in runs if run)
        if path:
            pattern = f' stroke-dasharray="{_PATTERNS[dashes]}"' if _PATTERNS[dashes] else ""
            kind = "curve" if any(len(run) > 1 for run in runs) else "curve lone"
            said = f' data-name="{escape(name)}" {points_attribute(xs, ys, band)}' if name else ""
            self._add(f'<path class="{kind}" d="{path}" stroke="var(--{color})"{pattern}{said}/>')
            self._has_names = self._has_names or bool(name)
        if tips:
            self.dots(xs, ys, color=color, tips=tips, kind="point")
        return self

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], *, color: str
    ) -> Self:
        """Draw a shaded area between two curves; points that are not finite are left out."""
        kept = [
            (x, low, high)
            for x, low, high in zip(xs, lows, highs, strict=True)
            if all(map(math.isfinite, (x, low, high)))
        ]
        there = [(self.px(x), self.py(high)) for x, _, high in kept]
        back = [(self.px(x), self.py(low)) for x, low, _ in reversed(kept)]
        if kept:
            self._add(f'<path class="band" d="{path_of(there + back)}Z" fill="var(--{color})"/>')
        return self

    def span(
        self,
        low: float,
        high: float,
        *,
        along: Side,
        color: str,
        tip: str = "",
        across: tuple[float, float] | None = None,
    ) -> Self:
        """Shade all values from `low` to `high` of an axis, through the frame or, with `across`,
        between two values of the other axis."""
        scale, place = (self.x, self.px) if along == "bottom" else (self.y, self.py)
        ends = sorted(place(self._within(scale, value)) for value in (low, high))
        near, far = self._across(along, across)
        if along == "bottom":
            box = (ends[0], near, ends[1] - ends[0], far - near)
        else:
            box = (near, ends[0], far - near, ends[1] - ends[0])
        return self._mark(f'class="span" fill="var(--{color})" {box_of(box)}', "rect", tip)

    def rule(
        self,
        at: float,
        *,
        along: Side,
        color: str = "ink",
        dashes: str = "solid",
        across: tuple[float, float] | None = None,
    ) -> Self:
        """Draw a line at a value of an axis, such as zero, through the frame or, with `across`,
        between two values of the other axis."""
        near, far = self._across(along, across)
        if along == "bottom":
            ends = [(self.px(at), near), (self.px(at), far)]
        else:
            ends = [(near, self.py(at)), (far, self.py(at))]
        pattern = f' stroke-dasharray="{_PATTERNS[dashes]}"' if _PATTERNS[dashes] else ""
        self._add(f'<path class="rule" d="{path_of(ends)}" stroke="var(--{color})"{pattern}/>')
        return self

    def dots(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        *,
        color: str,
        tips: Sequence[str] = (),
        kind: str = "dot",
    ) -> Self:
        """Draw a dot at each point that is within the frame; kinds are `dot`, `ring` and `point`,
        the last one visible only while it is pointed at."""
        radius = {"point": 2.2}.get(kind, 3.4)
        paint = f'stroke="var(--{color})"' if kind == "ring" else f'fill="var(--{color})"'
        for number, (x, y) in enumerate(zip(xs, ys, strict=True)):
            if self.x.holds(x) and self.y.holds(y):
                place = f'cx="{number_of(self.px(x))}" cy="{number_of(self.py(y))}" r="{radius:g}"'
                tip = tips[number] if number < len(tips) else ""
                self._mark(f'class="{kind}" {place} {paint}', "circle", tip)
        return self

    def interval(
        self,
        low: float,
        high: float,
        at: float,
        *,
        middle: float | None = None,
        along: Side = "bottom",
        color: str = "ink",
        tip: str = "",
    ) -> Self:
        """Draw an interval along an axis, at a place on the other one, with a diamond at its
        middle; an end that leaves the frame is an arrow."""
        scale = self.x if along == "bottom" else self.y
        ends = [self._point(self._within(scale, end), at, along) for end in (low, high)]
        path = path_of(ends)
        for end, value, sign in zip(ends, (low, high), (1, -1), strict=True):
            outwards = sign if along == "bottom" else -sign
            path += end_path(end, along, outwards=outwards, is_arrow=not scale.holds(value))
        if middle is not None and scale.holds(middle):
            x, y = self._point(middle, at, along)
            path += path_of([(x - 5, y), (x, y - 5), (x + 5, y), (x, y + 5)]) + "Z"
        drawn = f'class="interval" d="{path}" stroke="var(--{color})" fill="var(--{color})"'
        return self._mark(drawn, "path", tip)

    def bar(
        self,
        start: float,
        end: float,
        at: float,
        *,
        thickness: float = 16,
        along: Side = "bottom",
        color: str,
        tip: str = "",
    ) -> Self:
        """Draw a bar from one value to another along an axis, at a place on the other one."""
        scale = self.x if along == "bottom" else self.y
        (x0, y0), (x1, y1) = (
            self._point(self._within(scale, value), at, along) for value in (start, end)
        )
        half = thickness / 2
        if along == "bottom":
            box = (min(x0, x1), y0 - half, max(1.0, abs(x1 - x0)), thickness)
        else:
            box = (x0 - half, min(y0, y1), thickness, max(1.0, abs(y1 - y0)))
        return self._mark(f'class="bar" {box_of(box)} fill="var(--{color})"', "rect", tip)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: Anchor = "start",
        shift: tuple[float, float] = (0.0, 0.0),
        kind: str = "label",
    ) -> Self:
        """Write a text at values of the scales, moved by `shift` units to the right and down; kinds
        are `label`, `strong` and `tick`."""
        self._text(self.px(x) + shift[0], self.py(y) + shift[1], text, anchor=anchor, kind=kind)
        return self

    def note(
        self, left: float, top: float, text: str, *, anchor: Anchor = "start", kind: str = "label"
    ) -> Self:
        """Write a text at a place of the drawing itself, such as in a margin."""
        self._text(left, top, text, anchor=anchor, kind=kind)
        return self

    def svg(self, title: str, description: str, *, style: str = "", is_stop: bool = True) -> str:
        """Inline SVG of all that was drawn.

        Args:
            title: name of the figure, for screen readers.
            description: what it shows, with the numbers if no table beside it has them.
            style: further classes.
            is_stop: whether the tab key stops here, so that arrow keys reach the marks; it does in
                any case where curves have names.
        """
        kind = f"plot {style}".strip()
        stop = ' tabindex="0"' if is_stop or self._has_names else ""
        width, height = number_of(self.width), number_of(self.height)
        data, drawn = "", "".join(self._marks)
        if self._has_names:
            frame = (self.left, self.top, self.right, self.bottom)
            data, drawn = frame_attributes(frame, self.x, self.y), framed(self._marks, frame)
        return (
            f'<svg class="{escape(kind)}" viewBox="0 0 {width} {height}" '
            f'style="max-width:{number_of(self.width * _SHOWN_WIDER)}px" '
            f'role="img"{stop}{data}>'
            f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
            f"{drawn}</svg>"
        )

    def _add(self, element: str) -> None:
        self._marks.append(element)

    def _mark(self, attributes: str, tag: str, tip: str) -> Self:
        said = f"><title>{escape(tip)}</title></{tag}>" if tip else "/>"
        self._add(f"<{tag} {attributes}{said}")
        return self

    def _text(self, x: float, y: float, text: str, *, anchor: Anchor, kind: str) -> None:
        side = "" if anchor == "start" else f' text-anchor="{anchor}"'
        place = f'x="{number_of(x)}" y="{number_of(y)}"{side}'
        self._add(f'<text class="{kind}" {place}>{escape(text)}</text>')

    def _point(self, value: float, at: float, along: Side) -> tuple[float, float]:
        """Place in the drawing of a value along one axis and a place on the other."""
        if along == "bottom":
            return self.px(value), self.py(at)
        return self.px(at), self.py(value)

    def _across(self, along: Side, ends: tuple[float, float] | None) -> tuple[float, float]:
        """Places in the drawing between which something across an axis is drawn."""
        if ends is None:
            return (self.top, self.bottom) if along == "bottom" else (self.left, self.right)
        place = self.py if along == "bottom" else self.px
        near, far = sorted(map(place, ends))
        return near, far

    def _within(self, scale: Scale, value: float) -> float:
        """The value, or the end of the scale that it is beyond."""
        low, high = sorted((scale.low, scale.high))
        return min(max(value, low), high)
