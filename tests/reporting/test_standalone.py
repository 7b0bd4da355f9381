"""Plots as SVG files of their own: captions, legend and notes around them, looks as attributes."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from sparring.reporting.drawing import Plot
from sparring.reporting.scales import Scale
from sparring.reporting.standalone import Key, Panel, svg_file

SVG = "{http://www.w3.org/2000/svg}"


def plot(width: float = 280.0) -> str:
    """A plot with a mark of each kind that has a look of its own."""
    scale = Scale(low=0, high=10, ticks=(0.0, 5.0, 10.0), label="x")
    drawn = Plot(width, 200, x=scale, y=scale).axis("bottom").axis("left")
    drawn.span(1, 2, along="left", color="muted").rule(0, along="left")
    drawn.line([0, 5, 10], [1, 4, 2], color="run0", dashes="dashed", tips=["a", "b", "c"])
    drawn.dots([5], [5], color="run1", tips=["five"]).dots([6], [6], color="run2", kind="ring")
    return drawn.interval(2, 6, 5, middle=4).text(5, 5, "here").svg("Plot", "x: 5")


def root_of(*panels: Panel, title: str = "Figure", **more: object) -> Element:
    return ElementTree.fromstring(svg_file(panels, title=title, **more))


def lines(root: Element) -> list[tuple[str, float, float]]:
    """Text, left and height of each text that is no part of a plot."""
    return [
        (one.text or "", float(one.attrib["x"]), float(one.attrib["y"]))
        for one in root.findall(f"{SVG}text")
    ]


def test_plots_stand_side_by_side_at_the_height_that_the_longest_caption_leaves() -> None:
    long = "a title that is much longer than its plot is wide, so that it takes several lines"
    root = root_of(Panel(svg=plot(), title="short", note="note"), Panel(svg=plot(), title=long))
    places = [one.attrib["transform"] for one in root.iter(f"{SVG}g") if "transform" in one.attrib]
    (left, top), (right, other) = (one[10:-1].split() for one in places)
    assert (left, right) == ("16", "316")
    assert top == other
    assert float(top) > max(height for _, _, height in lines(root))
    assert root.attrib["width"] == "612"


def test_notes_are_broken_into_lines_and_make_the_file_higher() -> None:
    alone = root_of(Panel(svg=plot()))
    noted = root_of(Panel(svg=plot()), notes=["word " * 60, "unbroken" * 30])
    assert len(lines(noted)) > len(lines(alone)) + 10
    assert float(noted.attrib["height"]) > float(alone.attrib["height"]) + 160
    assert max(len(text) for text, *_ in lines(noted)) < 50


def test_a_legend_goes_on_in_the_next_line_and_cuts_a_name_that_fits_none() -> None:
    names = ["first arm", "second arm", "third arm", "fourth arm", "an endless name " * 9]
    keys = [Key(color=f"run{number}", name=name) for number, name in enumerate(names)]
    found = lines(root_of(Panel(svg=plot()), legend=keys))[-5:]
    assert [text for text, *_ in found[:4]] == names[:4]
    assert ".." in found[4][0]
    begins = {height: left for _, left, height in reversed(found)}
    assert len(begins) == 3
    assert set(begins.values()) == {30.0}


def test_screen_readers_get_the_title_the_numbers_and_the_notes() -> None:
    root = root_of(Panel(svg=plot()), subtitle="kNN on test", notes=["A dot is a run."])
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") == "Figure"
    assert root.findtext(f"{SVG}desc") == "kNN on test. Plot: x: 5. A dot is a run."


def test_marks_that_only_a_script_shows_are_left_out_and_others_keep_their_values() -> None:
    circles = list(root_of(Panel(svg=plot())).iter(f"{SVG}circle"))
    assert [one.findtext(f"{SVG}title") for one in circles] == ["five", None]


def test_looks_are_those_of_the_page_as_attributes() -> None:
    root = root_of(Panel(svg=plot()))
    (curve,) = [one for one in root.iter(f"{SVG}path") if "stroke-dasharray" in one.attrib]
    assert {name: curve.attrib[name] for name in ("fill", "stroke", "stroke-width")} == {
        "fill": "none",
        "stroke": "#0072b2",
        "stroke-width": "1.8",
    }
    ring = list(root.iter(f"{SVG}circle"))[1]
    assert (ring.attrib["fill"], ring.attrib["stroke"]) == ("#fdfdfc", "#009e73")
    title, *_ = root.iter(f"{SVG}text")
    assert (title.attrib["font-size"], title.attrib["font-weight"]) == ("15", "600")
    assert "system-ui" in root.attrib["font-family"]
