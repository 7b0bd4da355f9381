"""Protocol details as HTML: complete, escaped, and empty without results."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from sparring.evaluation.protocol import Result, curves, table
from sparring.reporting.details import details
from sparring.reporting.summary import RunSummary

TABLE = table(
    ["class", "images", "accuracy %"], [["cat", 1200, 0.5], ["dog", None, 0.25]], title="By class"
)
CURVES = curves(
    {"FGSM": [(0, 0.9), (1, 0.4)], "PGD": [(0, 0.9), (1, 0.2)]},
    title="Under attack",
    x="grey levels",
    y="accuracy, %",
)


class Page(HTMLParser):
    """HTML parser that checks nesting and collects elements and their text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def run(
    label: str = "AdCo", *, start: Result | None = None, name: str = "knn", **found: Any
) -> RunSummary:
    starts = {} if start is None else {name: start}
    return RunSummary(
        label=label,
        path=f"runs/{label}",
        trained={name: {"accuracy": 0.5, **found}},
        start=starts,
    )


def cells(html: str) -> list[str]:
    return [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", html)]


def test_there_is_no_section_without_details() -> None:
    assert details([]) == ""
    assert details([run()]) == ""
    assert details([run(table=[], curves=[], note="", start={"accuracy": 0.1})]) == ""


def test_a_table_shows_its_title_and_cells_shares_as_percentages_and_gaps_as_dashes() -> None:
    html = details([run(table=TABLE)])
    assert cells(html) == [
        "class",
        "images",
        "accuracy",
        "cat",
        "1,200",
        "50.0 %",
        "dog",
        "-",
        "25.0 %",
    ]
    assert "By class" in Page(html).text
    assert html.count('class="number"') == 2 * 3  # the columns of numbers, their heads too


def test_numbers_beyond_a_share_and_in_other_columns_keep_their_size() -> None:
    html = details(
        [run(table=table(["name", "gain %", "loss"], [["a", 1.5, 0.123456]], title="t"))]
    )
    assert cells(html)[3:] == ["a", "1.5", "0.1235"]


def test_curves_have_a_legend_their_own_axis_and_percentages() -> None:
    html = details([run(curves=CURVES)])
    page = Page(html)
    assert html.count('<svg class="plot"') == 1
    for text in ("Under attack", "grey levels", "accuracy, %", "FGSM", "PGD"):
        assert text in page.text
    assert ">epoch<" not in html
    ticks = [float(label) for label in re.findall(r">([\d.]+)</text>", html)]
    assert max(ticks) >= 80
    assert re.findall(r'class="curve".*?stroke="var\(--line(\d)\)"', html) == ["0", "1"]


def test_more_lines_than_colours_are_drawn_in_several_figures() -> None:
    many = curves(
        {f"line {number}": [(0, 0.1), (1, 0.2)] for number in range(14)}, title="t", x="x", y="y"
    )
    page = Page(details([run(curves=many)]))
    assert page.tags.count("figure") == 3
    assert all(f"line {number}" in page.text for number in range(14))


def test_lists_of_tables_and_curves_are_shown_one_after_the_other() -> None:
    other = table(["kind", "severity 1 %"], [["fog", 0.3]], title="By corruption")
    html = details([run(table=[TABLE, other], curves=[CURVES, CURVES])])
    page = Page(html)
    assert page.text.index("By class") < page.text.index("By corruption")
    assert (page.tags.count("table"), html.count('<svg class="plot"')) == (2, 2)


def test_both_encoders_are_named_and_equal_untrained_ones_shown_once() -> None:
    runs = [
        run("AdCo", table=TABLE, start={"table": TABLE}),
        run("SimCLR", table=TABLE, start={"table": TABLE}),
    ]
    page = Page(details(runs))
    assert re.findall("AdCo|SimCLR|untrained", page.text) == ["AdCo", "SimCLR", "untrained"]
    other = table(["class"], [["bird"]], title="By class")
    page = Page(details([runs[0], run("SimCLR", table=TABLE, start={"table": other})]))
    assert page.text.count("untrained, AdCo") == page.text.count("untrained, SimCLR") == 1


def test_start_weights_are_called_so() -> None:
    summary = RunSummary(
        label="AdCo",
        path="p",
        config={"encoder": {"weights": "timm"}},
        trained={"knn": {"table": TABLE}},
        start={"knn": {"table": TABLE}},
    )
    assert re.findall("AdCo|untrained|start weights", Page(details([summary])).text) == [
        "AdCo",
        "start weights",
    ]


def test_a_result_of_the_untrained_encoder_alone_is_shown_too() -> None:
    summary = RunSummary(label="AdCo", path="p", start={"linear": {"table": TABLE}})
    page = Page(details([summary]))
    assert "Linear probe" in page.text
    assert "untrained" in page.text


def test_each_sentence_appears_once_and_names_its_encoders_unless_it_is_all() -> None:
    runs = [
        run("AdCo", note="few images", warning="it collapsed"),
        run("SimCLR", note="few images"),
    ]
    html = details(runs)
    assert html.count("few images") == 1
    assert '<p class="note">few images</p>' in html
    assert '<p class="warning">AdCo: it collapsed</p>' in html
    assert html.index("it collapsed") < html.index("few images")


def test_protocols_are_in_catalogue_order_with_variants_and_unknown_ones() -> None:
    scores = {name: {"note": f"note of {name}"} for name in ("mine", "linear:adco", "knn")}
    page = Page(details([RunSummary(label="AdCo", path="p", trained=scores)]))
    titles = re.findall(
        r"<summary>(.*?)</summary>", details([RunSummary(label="AdCo", path="p", trained=scores)])
    )
    assert titles == ["Nearest neighbours (kNN)", "Linear probe, adco", "mine"]
    assert page.text.startswith("Details of the protocols")
    assert "1805.01978" in page.text


def test_every_text_from_outside_is_escaped() -> None:
    evil = "<script>alert('&\"')</script>$x_1$"
    found = {
        "note": evil,
        "warning": evil,
        "table": {"title": evil, "columns": [evil], "rows": [[evil]]},
        "curves": {"title": evil, "x": evil, "y": evil, "lines": {evil: [[0, 1], [1, 2]]}},
    }
    html = details([RunSummary(label=evil, path=evil, trained={evil: found})])
    page = Page(html)
    assert "<script" not in html
    assert "script" not in page.tags
    assert page.text.count("alert") >= 9  # escaped, and shown whole
    assert "$x_1$" in page.text


@pytest.mark.parametrize(
    "found",
    [
        {"table": "text"},
        {"table": {"title": "t"}},
        {"table": {"title": "t", "columns": ["a", "b"], "rows": [[1]]}},
        {"table": {"title": "t", "columns": ["a"], "rows": [1]}},
        {"curves": 3},
        {"curves": {"title": "t", "x": "x", "y": "y", "lines": []}},
        {"curves": {"title": "t", "x": "x", "y": "y", "lines": {"a": [[0, None], "b", [1]]}}},
        {"note": 3, "warning": None},
    ],
)
def test_results_of_another_form_are_left_out(found: Result) -> None:
    assert details([run(**found)]) == ""


def test_points_that_are_not_finite_are_left_out_of_a_line() -> None:
    broken = {
        "title": "t",
        "x": "x",
        "y": "y",
        "lines": {"a": [[0, 1.0], [1, None], [2, float("nan")], [3, 2.0]]},
    }
    assert "svg" in Page(details([run(curves=broken)])).tags


def test_equal_runs_give_equal_bytes() -> None:
    assert details([run(table=TABLE, curves=CURVES)]) == details([run(table=TABLE, curves=CURVES)])
