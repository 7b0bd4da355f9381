"""Figures of a study as files: SVG that is well-formed, needs nothing else and explains itself."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from made_analyses import made_analysis
from made_doses import TEMPERATURES, dosed_results, dosed_study
from made_studies import made_results, made_study
from test_study_page import HOSTILE, hostile_study, many_arms, rich_study

from sparring.reporting.plain_looks import colors
from sparring.studies.folder import StudyFolder
from sparring.studies.page.beside import download_links, names_beside, write_beside
from sparring.studies.page.figure_files import _safe, figure_files
from sparring.studies.page.view import PageView
from sparring.studies.results import Results

SVG = "{http://www.w3.org/2000/svg}"
SHAPES = {
    "one pair": lambda: made_results(made_study(seeds=1)),
    "five pairs": made_results,
    "looks, shares, budgets, test sets": lambda: made_results(rich_study(), effects={"adco": 1.0}),
    "hostile and long names": lambda: made_results(hostile_study()),
    "thirty arms": lambda: made_results(many_arms()),
    "two curves": dosed_results,
    "one run of each dose": lambda: dosed_results(dosed_study(seeds=1)),
}


def view_of(results: Results) -> PageView:
    return PageView(analysis=made_analysis(results), folder=StudyFolder("nowhere"))


def figures_of(results: Results) -> dict[str, str]:
    return figure_files(view_of(results), "study")


def read(text: str) -> Element:
    return ElementTree.fromstring(text)


def texts(root: Element) -> list[str]:
    return [one.text or "" for one in root.iter(f"{SVG}text")]


def only(files: Mapping[str, str], ending: str) -> Element:
    return read(files[f"study-{ending}.svg"])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_figure_is_well_formed_and_needs_nothing_else(shape: str) -> None:
    files = figures_of(SHAPES[shape]())
    assert files
    for text in files.values():
        root = read(text)
        tags = {one.tag.removeprefix(SVG) for one in root.iter()}
        assert tags <= {"svg", "title", "desc", "style", "g", "rect", "path", "circle", "text"}
        assert [one.tag for one in root][:2] == [f"{SVG}title", f"{SVG}desc"]
        names = {name for one in root.iter() for name in one.attrib}
        assert not any("href" in name or name.startswith(("on", "data")) for name in names)
        bare = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert re.search(r"(?i)https?:|@import|url\(|var\(", bare) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_all_of_a_figure_is_within_its_size(shape: str) -> None:
    for text in figures_of(SHAPES[shape]()).values():
        root = read(text)
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
        assert width < 650
        for group in (root, *root.iter(f"{SVG}g")):
            moved = re.fullmatch(r"translate\((\S+) (\S+)\)", group.get("transform", ""))
            left, top = map(float, moved.groups()) if moved else (0.0, 0.0)
            for one in group.findall(f"{SVG}text"):
                place = left + float(one.attrib["x"])
                assert 0 < top + float(one.attrib["y"]) < height
                wide = 0.5 * float(one.attrib["font-size"]) * len(one.text or "")
                share = {"end": 1.0, "middle": 0.5}.get(one.get("text-anchor", ""), 0.0)
                assert place - share * wide >= 0
                assert place + (1 - share) * wide <= width


def test_the_contrasts_say_how_they_are_read_and_hold_their_numbers() -> None:
    view = view_of(made_results(made_study(seeds=3)))
    root = only(figure_files(view, "study"), "contrasts")
    shown, said = " ".join(texts(root)), root.findtext(f"{SVG}desc", "")
    assert root.findtext(f"{SVG}title") == "made"
    assert "Planned contrasts, kNN on test" in shown
    for part in ("percent of accuracy", "the margin of 0.5 points", "3 pairs, seeds 0, 1 and 2."):
        assert part in shown
        assert part in said or part == "percent of accuracy"
    for finding in view.analysis.findings:
        assert finding.contrast.name in shown
        assert finding.mean is not None
        assert f"{finding.contrast.name}: {finding.mean:+.2f} [" in said


def test_a_study_that_goes_on_says_how_many_of_its_pairs_there_are() -> None:
    whole = made_results(made_study(seeds=5))
    early = tuple(one for one in whole.records if one.name.seed < 3)
    said = only(figures_of(replace(whole, records=early)), "contrasts").findtext(f"{SVG}desc", "")
    assert said.endswith("3 of 5 planned pairs, seeds 0, 1 and 2.")
    uneven = tuple(one for one in early if (one.name.arm, one.name.seed) != ("mocov2", 0))
    said = only(figures_of(replace(whole, records=uneven)), "contrasts").findtext(f"{SVG}desc", "")
    assert said.endswith("Contrasts have 2 to 3 of 5 planned pairs.")


def test_a_curve_is_two_drawings_with_a_legend_of_its_arms() -> None:
    root = only(figures_of(dosed_results()), "dose-temperature")
    shown = texts(root)
    for part in ("mocov2: score over temperature", "mocov2: difference to temperature 0.2"):
        assert part in shown
    assert {f"mocov2 at {value}" for value in TEMPERATURES} <= set(shown)
    assert "a dot is one run; seeds 0, 1 and 2" in shown
    assert "The diamond is the mean; the shaded band is" in " ".join(shown)
    said = root.findtext(f"{SVG}desc", "")
    for part in ("0.07: 40.", "Whether kNN rises or falls", "difference to temperature 0.2: 0.07:"):
        assert part in said


def test_an_arm_without_a_number_is_a_ring_in_drawing_and_legend() -> None:
    root = only(figures_of(dosed_results()), "dose-strength")
    rings = [one for one in root.iter(f"{SVG}circle") if one.get("stroke")]
    assert len(rings) == 2 * 3 + 1
    assert "adco at released" in texts(root)


@pytest.mark.parametrize("shape", ["five pairs", "two curves"])
def test_light_colours_are_attributes_and_each_has_its_dark_one(shape: str) -> None:
    light, dark = colors()
    instead = {light[name]: dark[name] for name in light}
    for text in figures_of(SHAPES[shape]()).values():
        root = read(text)
        style = root.findtext(f"{SVG}style", "")
        assert style.startswith("@media (prefers-color-scheme: dark) {")
        drawn = {
            (name, value)
            for one in root.iter()
            for name, value in one.attrib.items()
            if name in ("fill", "stroke") and value != "none"
        }
        assert ("fill", light["paper"]) in drawn
        rules = re.findall(r"\[(\w+)=\"(#\w+)\"\] \{ (\w+): (#\w+) \}", style)
        assert {(name, value) for name, value, _, _ in rules} == drawn
        assert all(name == paint and instead[was] == now for name, was, paint, now in rules)


def test_no_light_colour_of_a_figure_has_two_dark_ones() -> None:
    light, dark = colors()
    plain = [name for name in light if not name.startswith(("class", "alarm", "wrong"))]
    assert len({light[name] for name in plain}) == len(plain)
    assert light.keys() == dark.keys()


def test_every_mark_is_drawn_with_its_looks() -> None:
    root = only(figures_of(dosed_results()), "dose-strength")
    curves = [one for one in root.iter(f"{SVG}path") if one.get("stroke-width") == "1.8"]
    assert {one.get("fill") for one in curves} >= {"none"}  # a curve is no area
    assert all(one.get("font-size") for one in root.iter(f"{SVG}text"))
    assert not [one for one in root.iter() if one is not root and one.get("class")]


def test_a_text_has_no_edge_that_would_cover_its_letters() -> None:
    root = only(figures_of(dosed_results()), "dose-strength")
    paper = colors()[0]["paper"]
    edged = [one for one in root.iter(f"{SVG}text") if one.get("stroke")]
    assert [one.text for one in edged] == ["released", "released"]
    assert {one.get("fill") for one in edged} == {paper}
    assert texts(root).count("released") == 4


@pytest.mark.parametrize("shape", ["five pairs", "two curves"])
def test_the_same_study_gives_the_same_figures(shape: str) -> None:
    assert figures_of(SHAPES[shape]()) == figures_of(SHAPES[shape]())


def test_names_cannot_break_out_of_a_figure() -> None:
    results = made_results(hostile_study())
    study = results.study.model_copy(update={"name": HOSTILE + "\x00\x1b\ud800"})
    (text,) = figures_of(replace(results, study=study)).values()
    assert "<script" not in text
    assert read(text).findtext(f"{SVG}title", "") == HOSTILE + 3 * "\ufffd"
    text.encode("utf-8")


def test_a_study_without_a_pair_or_a_curve_has_no_figure_of_it() -> None:
    assert figures_of(replace(dosed_results(), records=())) == {}
    assert list(figures_of(made_results())) == ["study-contrasts.svg"]
    alone = made_study(arms=[{"name": "alone", "method": "adco"}], contrasts=[])
    assert figures_of(made_results(alone)) == {}


def test_the_only_curve_needs_no_setting_in_its_name() -> None:
    results = dosed_results()
    one = tuple(run for run in results.records if run.name.arm.startswith("mocov2"))
    assert list(figures_of(replace(results, records=one))) == ["study-dose.svg"]
    assert list(figures_of(results)) == [
        "study-contrasts.svg", "study-dose-strength.svg", "study-dose-temperature.svg"
    ]  # fmt: skip


def test_curves_of_one_setting_are_told_apart_by_game_then_by_reference() -> None:
    arms = [
        {"name": f"{name} at {value}", "method": method, "role": "control",
         "settings": {"temperature": value, "width": number}}
        for number, (name, method) in enumerate([("A/b", "mocov2"), ("c", "mocov2"), ("d", "byol")])
        for value in TEMPERATURES
    ]  # fmt: skip
    names = list(figures_of(dosed_results(made_study(seeds=3, arms=arms, contrasts=[]))))
    assert names == [
        "study-dose-temperature-a-b-at-0-07.svg",
        "study-dose-temperature-c-at-0-07.svg",
        "study-dose-temperature-byol.svg",
    ]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("perturbation.strength", "perturbation-strength"),
        ("strength simclr+perturbation", "strength-simclr-perturbation"),
        ("../../Etc/passwd\n", "etc-passwd"),
        ("x" * 99, "x" * 40),
    ],
)
def test_parts_of_names_are_letters_digits_and_hyphens(text: str, safe: str) -> None:
    assert _safe(text) == safe


def test_tables_and_figures_lie_beside_the_page_and_are_saved_from_it(tmp_path: Path) -> None:
    view = view_of(dosed_results())
    written = write_beside(view, tmp_path / "study.html")
    names = [path.name for path in written]
    assert names == names_beside(view.analysis, view.folder, "study")
    assert names[-3:] == list(figure_files(view, "study"))
    assert written[-1].read_text() == figure_files(view, "study")[names[-1]]
    links = download_links(view, "study")
    assert re.findall(r'download="([^"]+)"', links) == names
    assert links.count("data:image/svg+xml;") == 3
