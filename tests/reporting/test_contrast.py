"""Contrast of the page's colours by the formula of WCAG 2, in light and in dark mode."""

import re
from importlib.resources import files
from itertools import pairwise, product

import pytest

from sparring.reporting.inks import (
    MARKERS,
    NUM_CLASS_COLORS,
    NUM_COLORS,
    class_color,
    class_marker,
)

STYLE = (files("sparring.reporting") / "report.css").read_text(encoding="utf-8")


def colours(*, dark: bool) -> dict[str, str]:
    """Variables of the page's style; dark mode changes some of the light ones."""
    rules = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[: 1 + dark]
    return {
        name: value for rule in rules for name, value in re.findall(r"--([\w-]+): (#\w+)", rule)
    }


def channels(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def luminance(parts: list[float]) -> float:
    """Relative luminance, WCAG 2.2."""
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: list[float], other: list[float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_gives_the_known_ends() -> None:
    assert contrast([0.0] * 3, [1.0] * 3) == pytest.approx(21)
    assert contrast(channels("#777777"), [1.0] * 3) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("paper", ["paper", "raised"])
def test_drawn_colours_have_a_contrast_of_three(paper: str, dark: bool) -> None:
    found = colours(dark=dark)
    drawn = [f"class{number}" for number in range(NUM_CLASS_COLORS)]
    drawn += [f"{kind}{number}" for kind in ("run", "line") for number in range(NUM_COLORS)]
    drawn += ["untrained", "right", "wrong"]
    ratios = {name: contrast(channels(found[name]), channels(found[paper])) for name in drawn}
    assert {name: ratio for name, ratio in ratios.items() if ratio < 3} == {}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_texts_have_a_contrast_of_four_and_a_half(dark: bool) -> None:
    found = colours(dark=dark)
    on = [(text, paper) for text in ("ink", "muted") for paper in ("paper", "raised")]
    on += [("alarm", "alarm-paper"), ("paper", "ink")]
    ratios = {one: contrast(channels(found[one[0]]), channels(found[one[1]])) for one in on}
    assert {one: ratio for one, ratio in ratios.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("tint", ["run0", "run1"])
def test_numbers_are_readable_on_the_deepest_cell_of_a_confusion_matrix(
    tint: str, dark: bool
) -> None:
    found = colours(dark=dark)
    deepest = [int(value) / 100 for value in re.findall(r"--deepest: (\d+)%", STYLE)][dark]
    pairs = zip(channels(found[tint]), channels(found["raised"]), strict=True)
    cell = [deepest * top + (1 - deepest) * below for top, below in pairs]
    assert contrast(channels(found["ink"]), cell) >= 4.5


def test_seventy_classes_differ_in_colour_or_shape_and_neighbours_in_both() -> None:
    looks = [(class_color(label), class_marker(label)) for label in range(70)]
    assert len(set(looks)) == 70 == NUM_CLASS_COLORS * len(MARKERS)
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in pairwise(looks))
    assert set(looks) == set(product({a for a, _ in looks}, MARKERS))


def test_classes_of_one_colour_differ_in_lightness_or_hue_from_all_others() -> None:
    for dark in (False, True):
        found = [channels(colours(dark=dark)[f"class{n}"]) for n in range(NUM_CLASS_COLORS)]
        gaps = [
            sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
            for place, one in enumerate(found)
            for other in found[:place]
        ]
        assert min(gaps) > 0.2
