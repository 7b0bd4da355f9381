"""Hand-written figures: scales, marks, texts."""

import math
import re

import pytest

from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale, nice_ticks
from sparring.reporting.shapes import shortened


def plot(**scales: Scale) -> Plot:
    """Frame of 100 units between values 0 and 10, without margins."""
    given = {"x": Scale(low=0, high=10), "y": Scale(low=0, high=10), **scales}
    return Plot(100, 100, margins=(0, 0, 0, 0), **given)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (-1.3, 1.1, (-1.0, -0.5, 0.0, 0.5, 1.0)),
        (40.2, 43.9, (41.0, 42.0, 43.0)),
        (0.0, 50_000.0, (0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0)),
    ],
)
def test_ticks_are_round_numbers_within_the_range(
    low: float, high: float, ticks: tuple[float, ...]
) -> None:
    assert nice_ticks(low, high) == ticks


def test_ticks_of_one_step_have_equal_decimals() -> None:
    scale = Scale.linear([0.0, 1.2], num_ticks=6)
    assert scale.tick_names()[:3] == ("0.0", "0.2", "0.4")
    assert Scale.linear([0.0, 60_000.0]).tick_names()[1].endswith("k")


def test_numbers_of_one_axis_have_one_unit() -> None:
    names = Scale.linear([0.0, 15_000.0], num_ticks=6).tick_names()
    assert names == ("0", "2.5k", "5.0k", "7.5k", "10.0k", "12.5k", "15.0k")


def test_numbers_too_close_to_be_read_are_thinned_and_keep_zero() -> None:
    scale = Scale.linear([-1.8, 0.5], num_ticks=9)
    assert len(scale.ticks) > 8
    assert "" not in scale.names_apart(100)
    thin = scale.names_apart(50)
    assert thin[scale.ticks.index(0.0)] == "0.00"
    assert [name == "" for name in thin[-3:]] in ([True, False, True], [False, True, False])
    drawn = Plot(340, 80, x=scale, y=Scale(low=0, high=1)).axis("bottom").svg("title", "numbers")
    assert drawn.count("</text>") < len(scale.ticks)
    assert drawn.count('class="grid"') == len(scale.ticks)


def test_a_scale_of_equal_values_still_has_a_width() -> None:
    for values in ([], [3.0], [0.0, 0.0], [math.nan], [math.inf, 2.0]):
        scale = Scale.linear(values)
        assert scale.low < scale.high
        assert scale.ticks


def test_equal_factors_are_equally_far_apart_on_a_logarithmic_scale() -> None:
    scale = Scale.logarithmic([10.0, 1000.0, 0.0, -1.0])
    gaps = [scale.share(100) - scale.share(10), scale.share(1000) - scale.share(100)]
    assert gaps[0] == pytest.approx(gaps[1])
    assert {10.0, 100.0, 1000.0} <= set(scale.ticks)


def test_low_values_are_at_the_left_and_at_the_bottom() -> None:
    drawn = plot()
    assert (drawn.px(0), drawn.py(0)) == (0, 100)
    assert (drawn.px(10), drawn.py(10)) == (100, 0)


def test_rows_are_read_downwards() -> None:
    drawn = plot(y=Scale.rows(["first", "second"]))
    assert (drawn.py(0), drawn.py(1)) == (25, 75)


def test_a_curve_is_broken_where_a_value_is_not_finite() -> None:
    html = plot().line([0, 1, 2, 3, 4], [1, 2, math.nan, 3, 4], color="run0").svg("t", "d")
    path = re.search(r'class="curve" d="([^"]+)"', html)
    assert path is not None
    assert path[1] == "M0 90L10 80 M30 70L40 60"


def test_a_point_outside_the_frame_is_not_drawn() -> None:
    html = plot().dots([5, 50, math.nan], [5, 5, 5], color="run0").svg("t", "d")
    assert html.count("<circle") == 1


def test_an_interval_that_leaves_the_frame_ends_in_an_arrow() -> None:
    inside = plot().interval(2, 8, 5, middle=5).svg("t", "d")
    beyond = plot().interval(-5, 8, 5, middle=5).svg("t", "d")
    assert "M0 50L80 50" in beyond
    assert "M6 46L0 50L6 54" in beyond
    assert "M20 46L20 54" in inside


def test_a_vertical_interval_points_up_where_it_leaves_the_frame_at_the_top() -> None:
    html = plot().interval(2, 50, 5, along="left").svg("t", "d")
    assert "M46 6L50 0L54 6" in html


def test_a_shaded_span_ends_at_the_frame() -> None:
    html = plot().span(-5, 5, along="bottom", color="muted").svg("t", "d")
    assert 'x="0" y="0" width="50" height="100"' in html


def test_a_figure_has_a_role_a_title_and_a_description_and_escapes_texts() -> None:
    html = plot().dots([1], [1], color="run0", tips=["<b>&"]).svg("<i>", '"d" & <e>')
    assert 'role="img"' in html
    assert "<title>&lt;i&gt;</title><desc>&quot;d&quot; &amp; &lt;e&gt;</desc>" in html
    assert "<title>&lt;b&gt;&amp;</title></circle>" in html
    assert 'tabindex="0"' in html
    assert "tabindex" not in plot().svg("t", "d", is_stop=False)


def test_colours_and_dashes_are_those_of_the_report() -> None:
    assert ink_of(None) == ("untrained", "solid")
    assert [ink_of(number) for number in (0, 1, 2, 7)] == [
        ("run0", "solid"),
        ("run1", "dashed"),
        ("run2", "dotted"),
        ("run1", "dashed"),
    ]


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("short", 100) == "short"
    cut = shortened("a-very-long-name/queue", 100)
    assert cut.startswith("a-ve")
    assert cut.endswith("queue")
    assert ".." in cut
    assert len(cut) <= 14
