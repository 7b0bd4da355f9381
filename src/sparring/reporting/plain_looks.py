"""The looks of the page's plots as plain attributes of SVG, for files that no page surrounds.

`report.css` is the home of the looks. Most programs that open an SVG know no variables, so that
colours are resolved to the light ones; a style for readers who prefer dark stands beside them.
"""

import copy
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from xml.etree.ElementTree import Element

ROOT = "sparring"
"""Class of a file's root, so that its style changes nothing of a page that it is copied into."""
_PAINTS = ("fill", "stroke")
_ATTRIBUTES = {
    *_PAINTS,
    *("opacity", "fill-opacity", "stroke-width", "stroke-linejoin", "stroke-linecap"),
    *("font-size", "font-weight"),
}
"""Declarations of the page's style that SVG has as attributes."""
_UNSEEN = "point"
"""Kind of the marks that only a page's script shows."""
_CROSSED = "label"
"""Kind of the texts that lines may cross."""
_VARIABLE = re.compile(r"var\(--([\w-]+)\)")


def font() -> str:
    """Fonts of the page, the reader's own."""
    found = re.search(r"font: \S+ (system-ui[^;]*);", _style())
    assert found is not None
    return found[1].replace('"', "'")


def resolve(root: Element) -> str:
    """Give every element its looks as attributes, in the light colours, and return the style that
    sets the dark ones where they are preferred."""
    _clear(root)
    light, dark = colors()
    used: dict[tuple[str, str], str] = {}
    for one in root.iter():
        for paint in _PAINTS:
            found = _VARIABLE.fullmatch(one.get(paint, ""))
            if found is not None:
                one.set(paint, light[found[1]])
                used[paint, light[found[1]]] = dark[found[1]]
    rules = (
        f'.{ROOT} [{paint}="{seen}"] {{ {paint}: {instead} }}'
        for (paint, seen), instead in sorted(used.items())
    )
    return f"@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}"


@cache
def colors() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Light and dark colours of the page by name."""
    light, dark, *_ = re.findall(r":root \{(.*?)\}", _style(), re.DOTALL)
    found = [dict(re.findall(r"--([\w-]+): (#\w+);", rule)) for rule in (light, dark)]
    return found[0], found[1]


def _clear(parent: Element) -> None:
    """Turn the kinds of all elements below one into attributes, but for sizes that are given; what
    only a script shows goes."""
    for one in list(parent):
        kinds = one.attrib.pop("class", "").split()
        if _UNSEEN in kinds:
            parent.remove(one)
            continue
        given = {"font-size": one.attrib["font-size"]} if "font-size" in one.attrib else {}
        for kind in (one.tag, *(f".{kind}" for kind in kinds)):
            one.attrib.update(_looks().get(kind, {}))
        one.attrib.update(given)
        if one.tag == "text":
            _halo(parent, one, is_needed=_CROSSED in kinds)
        _clear(one)


def _halo(parent: Element, text: Element, *, is_needed: bool) -> None:
    """Take the edge in the paper's colour from a text, and put it below as one of its own where
    lines may cross: many programs draw the edge above the letters."""
    halo = copy.deepcopy(text)
    for name in ("stroke", "stroke-width", "stroke-linejoin"):
        text.attrib.pop(name, None)
    if is_needed:
        halo.attrib.update({"fill": halo.attrib.get("stroke", "none"), "aria-hidden": "true"})
        parent.insert(list(parent).index(text), halo)


@cache
def _looks() -> Mapping[str, Mapping[str, str]]:
    """Attributes of SVG by kind of mark, as the page's style has them."""
    found: dict[str, dict[str, str]] = {}
    for kind, rule in re.findall(r"^svg\.plot (\.?\w+) \{ (.*?) \}$", _style(), re.MULTILINE):
        own = (one.partition(": ") for one in rule.strip("; ").split("; "))
        declared = {name: value.removesuffix("px") for name, _, value in own}
        known = {name: declared[name] for name in declared if name in _ATTRIBUTES}
        found.setdefault(kind, {}).update(known)
    return found


@cache
def _style() -> str:
    return (files("sparring.reporting") / "report.css").read_text(encoding="utf-8")
