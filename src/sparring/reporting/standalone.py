"""Figures as files: plots of a page with their titles, legend and notes as one SVG, which needs no
page around it, no other file and no script."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from sparring.reporting.plain_looks import ROOT, font, resolve
from sparring.reporting.shapes import LETTER, TEXT, number_of, shortened

_EDGE, _GAP = 16.0, 20.0
"""Room around all, and between plots."""
_LINE = 1.35
"""Height of a line of text, in sizes of its letters."""
_TITLE, _CAPTION = 15.0, 13.0
"""Sizes of the title, and of the titles of plots."""
_WORDS, _BOLD = 0.53, 0.9
"""Width of a letter of running text in sizes of its letters, and the share of the usual letters
that fit into a bold line."""
_MARK = 14.0
"""Room for a mark of the legend."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A plot with its caption.

    Attributes:
        svg: the plot, as `Plot.svg` gives it.
        title: above the plot.
        note: below the title, such as what a dot is.
    """

    svg: str
    title: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Key:
    """Entry of a legend.

    Attributes:
        color: name of a colour of the page, such as `run0`.
        name: what has the colour.
        is_ring: whether its marks are rings, not dots.
    """

    color: str
    name: str
    is_ring: bool = False


def svg_file(
    panels: Sequence[Panel],
    *,
    title: str,
    subtitle: str = "",
    legend: Sequence[Key] = (),
    notes: Sequence[str] = (),
) -> str:
    """Text of an SVG file with plots side by side, light or dark as the reader prefers.

    Screen readers get the title, and as its description what the plots say of themselves and the
    notes.

    Args:
        panels: plots, from left to right.
        title: of the whole, on top.
        subtitle: below the title.
        legend: colours, below the plots.
        notes: paragraphs that say how to read the figure, below all.
    """
    plots = [ElementTree.fromstring(_legal(one.svg)) for one in panels]
    widths = [_size(one)[0] for one in plots]
    sheet = _Sheet(sum(widths) + _GAP * (len(widths) - 1) + 2 * _EDGE)
    sheet.paragraph(title, size=_TITLE, kind="strong")
    sheet.paragraph(subtitle)
    sheet.plots(panels, plots)
    sheet.legend(legend)
    for note in notes:
        sheet.paragraph(note, kind="tick", above=6)
    said = [f"{one.findtext('title', '')}: {_sentence(one.findtext('desc', ''))}" for one in plots]
    return sheet.text(title, " ".join(filter(None, [subtitle and f"{subtitle}.", *said, *notes])))


class _Sheet:
    """A file that is filled from the top down.

    Args:
        width: of all, in units of the drawing.
    """

    def __init__(self, width: float) -> None:
        self.width, self.top = width, _EDGE
        self.content = Element("g")

    def paragraph(
        self,
        text: str,
        *,
        size: float = TEXT,
        kind: str = "text",
        above: float = 0.0,
        within: tuple[float, float] | None = None,
    ) -> None:
        """Write a text in lines that fit between two places from the left."""
        left, right = within or (_EDGE, self.width - _EDGE)
        self.top += above if text else 0.0
        room = (_BOLD if kind == "strong" else 1.0) * (right - left)
        for line in _lines(text, room, size=size):
            self._write(left, line, size=size, kind=kind)
            self.top += _LINE * size

    def plots(self, panels: Sequence[Panel], plots: Sequence[Element]) -> None:
        """Place plots side by side, all at the height that the longest caption leaves."""
        start, left, places, tops = self.top + 10, _EDGE, [], []
        for panel, plot in zip(panels, plots, strict=True):
            self.top, right = start, left + _size(plot)[0]
            self.paragraph(panel.title, size=_CAPTION, kind="strong", within=(left, right))
            self.paragraph(panel.note, kind="tick", within=(left, right))
            places.append(left)
            tops.append(self.top)
            left = right + _GAP
        self.top = max(tops) + 6
        for place, plot in zip(places, plots, strict=True):
            moved = f"translate({number_of(place)} {number_of(self.top)})"
            group = SubElement(self.content, "g", transform=moved)
            group.extend([one for one in plot if one.tag not in ("title", "desc")])
        self.top += max(_size(one)[1] for one in plots)

    def legend(self, keys: Sequence[Key]) -> None:
        """Write names beside marks of their colours, as many to a line as fit."""
        left, room = _EDGE, self.width - _EDGE
        self.top += 12 if keys else 0
        for key in keys:
            if left > _EDGE and left + _MARK + LETTER * len(key.name) > room:
                left, self.top = _EDGE, self.top + _LINE * TEXT
            name = shortened(key.name, room - left - _MARK)
            self._key(left, key)
            self._write(left + _MARK, name, size=TEXT, kind="text")
            left += _MARK + LETTER * len(name) + 16
        self.top += _LINE * TEXT if keys else 0

    def text(self, title: str, description: str) -> str:
        """The whole file."""
        width, height = number_of(self.width), number_of(self.top + _EDGE - 4)
        root = Element("svg", xmlns="http://www.w3.org/2000/svg", width=width, height=height)
        root.attrib |= {"viewBox": f"0 0 {width} {height}", "preserveAspectRatio": "xMidYMin"}
        root.attrib |= {"class": ROOT, "role": "img", "font-family": font()}
        root.set("style", "max-width:100%")  # in a narrow window; images have the size above
        SubElement(root, "title").text = _legal(title)
        SubElement(root, "desc").text = _legal(description)
        style = SubElement(root, "style")
        SubElement(root, "rect", width=width, height=height, fill="var(--paper)")
        root.extend(self.content)
        style.text = resolve(root)
        return ElementTree.tostring(root, encoding="unicode") + "\n"

    def _key(self, left: float, key: Key) -> None:
        kind, paint = ("ring", "stroke") if key.is_ring else ("dot", "fill")
        place = {"cx": number_of(left + 4), "cy": number_of(self.top + 8), "r": "3.8"}
        SubElement(self.content, "circle", {"class": kind, **place, paint: f"var(--{key.color})"})

    def _write(self, left: float, text: str, *, size: float, kind: str) -> None:
        place = {"x": number_of(left), "y": number_of(self.top + size)}
        sized = {} if size == TEXT else {"font-size": f"{size:g}"}
        SubElement(self.content, "text", {"class": kind, **place, **sized}).text = _legal(text)


def _lines(text: str, width: float, *, size: float) -> list[str]:
    """A text in lines that fit a width; words that are longer than a line are cut."""
    letters = max(4, int(width / (_WORDS * size)))
    return textwrap.wrap(" ".join(text.split()), letters)


def _size(plot: Element) -> tuple[float, float]:
    """Width and height of a plot."""
    *_, width, height = plot.get("viewBox", "").split()
    return float(width), float(height)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _legal(text: str) -> str:
    """The text without letters that XML does not have."""
    return _NOT_XML.sub("\ufffd", text)
