"""A study's page is well-formed, self-contained, safe, readable without sight of its figures."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_analyses import made_analysis
from made_studies import made_results, made_study

from sparring.errors import StorageError
from sparring.studies.analysis import analyse
from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.page import page as page_module
from sparring.studies.page.contrasts import contrasts
from sparring.studies.page.page import study_html, write_study_page
from sparring.studies.page.view import PageView
from sparring.studies.plan import Study
from sparring.studies.results import Results

VOID = {"meta", "img", "br", "hr", "input", "link"}
RESOURCES = {"src", "href", "xlink:href", "srcset", "poster", "action", "data", "background"}
HOSTILE = "<script>alert('x')</script>&\"|$_{a}"
MAIN = {"first": "adco", "second": "adco/queue", "is_primary": True}
LONG = "an-arm-named-after-all-of-its-settings/temperature=0.12/queue=65536/momentum=0.999/more"
NUMBER = re.compile(r"[+-]?\d+\.\d\d(?!\d)")


class Checker(HTMLParser):
    """Parser that checks nesting and collects texts, resources, headings and tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.resources: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.unscoped = 0
        self.tables: list[bool] = []
        self.figures: list[list[str]] = []
        self.text, self.drawn = "", ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"{tag} has an attribute twice"
        self.resources += [value or "" for name, value in attrs if name in RESOURCES]
        self.ids += [given["id"] or ""] if "id" in given else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.unscoped += tag == "th" and "scope" not in given
        if tag == "table":
            self.tables.append(False)
        if tag == "caption":
            self.tables[-1] = True
        if tag == "svg":
            assert given["role"] == "img"
            self.figures.append([])
        elif "svg" in self.open and self.open[-1] == "svg":
            self.figures[-1].append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "svg" in self.open:
            self.drawn += f" {data}" if self.open[-1] in ("title", "desc") else ""
        elif self.open and self.open[-1] not in ("style", "script"):
            self.text += f" {data}"


def html_of(results: Results, **fields: object) -> str:
    analysis = dataclasses.replace(made_analysis(results), **fields)
    return study_html(PageView(analysis=analysis, folder=StudyFolder("nowhere")))


def contrasts_of(results: Results) -> str:
    analysis = analyse(results)
    return contrasts(PageView(analysis=analysis, folder=StudyFolder("nowhere")))


def rich_study() -> Study:
    """Two games with twins, looks, shares, budgets and test sets."""
    tuned = {"trials": 12, "images": "a fifth of the images"}
    arms = [
        {"name": "adco", "method": "adco", "control": "mocov2", "tuning": tuned},
        {"name": "adco/queue", "method": "adco", "role": "twin", "twin_of": "adco"},
        {"name": "hcl", "method": "hcl", "control": "mocov2"},
        {"name": "mocov2", "method": "mocov2", "role": "control"},
    ]
    contrasts = [
        {"first": "adco", "second": "adco/queue", "is_primary": True},
        {"first": "adco", "second": "mocov2"},
    ]
    return made_study(
        seeds=12,
        looks=[5, 8, 12],
        shares=[1.0, 0.1],
        equal="both",
        tests=[{"name": "test", "data": "t"}, {"name": "other city", "data": "u"}],
        arms=arms,
        contrasts=contrasts,
    )


def with_failed(results: Results) -> Results:
    first, *others = results.records
    failed = dataclasses.replace(first, status="failed", scores={}, start_scores={})
    return Results(study=results.study, records=(failed, *others))


def many_arms() -> Study:
    arms = [{"name": f"arm {number}", "method": "adco", "control": "last"} for number in range(29)]
    return made_study(arms=[*arms, {"name": "last", "method": "mocov2", "role": "control"}])


def hostile_study() -> Study:
    arms = [
        {"name": HOSTILE, "method": "adco", "control": LONG},
        {"name": f"{HOSTILE}/twin", "method": "adco", "role": "twin", "twin_of": HOSTILE},
        {"name": LONG, "method": "mocov2", "role": "control"},
    ]
    fields = {
        "tests": [{"name": HOSTILE, "data": HOSTILE}],
        "contrasts": [{"first": HOSTILE, "second": f"{HOSTILE}/twin", "is_primary": True}],
    }
    return made_study(seeds=3, looks=[2, 3], name=HOSTILE, data=HOSTILE, arms=arms, **fields)


SHAPES = {
    "one pair": lambda: made_results(made_study(seeds=1)),
    "three pairs": lambda: made_results(made_study(seeds=3)),
    "looks, shares, budgets, test sets": lambda: made_results(rich_study(), effects={"adco": 1.0}),
    "a failed run": lambda: with_failed(made_results()),
    "hostile and long names": lambda: made_results(hostile_study()),
    "thirty arms": lambda: made_results(many_arms()),
    "one measure": lambda: made_results(made_study(protocols=["knn"])),
    "no runs": lambda: Results(study=made_study(), records=()),
    "no contrast": lambda: made_results(
        made_study(arms=[{"name": "alone", "method": "adco"}], contrasts=[])
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_page_is_well_formed_and_needs_nothing_else(shape: str) -> None:
    page = html_of(SHAPES[shape]())
    checked = Checker(page)
    assert all(found.startswith(("#", "data:")) for found in checked.resources)
    assert re.search(r"(?i)@import|url\((?!data:)|fetch\(|XMLHttp|https?://", page) is None
    assert len(page.encode()) < 5_000_000
    assert len(checked.ids) == len(set(checked.ids))
    assert {one[1:] for one in checked.resources if one.startswith("#")} <= set(checked.ids)


@pytest.mark.parametrize("shape", SHAPES)
def test_headings_tables_and_figures_say_what_they_are(shape: str) -> None:
    checked = Checker(html_of(SHAPES[shape]()))
    assert checked.headings[0] == 1
    assert checked.headings.count(1) == 1
    steps = zip(checked.headings, checked.headings[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)
    assert checked.unscoped == 0
    assert all(checked.tables)
    assert all(tags[:2] == ["title", "desc"] for tags in checked.figures)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_of_a_figure_stands_in_a_text_or_table_too(shape: str) -> None:
    checked = Checker(html_of(SHAPES[shape]()))
    drawn, said = set(NUMBER.findall(checked.drawn)), set(NUMBER.findall(checked.text))
    assert drawn - said == set()
    if shape not in ("no runs", "no contrast"):
        assert len(drawn) > 5


def test_names_cannot_break_out_of_the_page() -> None:
    page = html_of(made_results(hostile_study()), headline=HOSTILE, cautions=(HOSTILE,))
    assert "<script>alert" not in page
    assert page.count("<script>") == page.count("</script>") == 1
    assert HOSTILE in Checker(page).text


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_study_page(made_analysis(made_results()), tmp_path, tmp_path / "a" / "study.html")
    again = write_study_page(made_analysis(made_results()), tmp_path, tmp_path / "b" / "study.html")
    assert first.read_bytes() == again.read_bytes()
    names = sorted(path.name for path in first.parent.iterdir())
    assert names == [
        *("study-arms.csv", "study-arms.md", "study-arms.tex", "study-contrasts.csv"),
        *("study-contrasts.md", "study-contrasts.svg", "study-contrasts.tex", "study.html"),
    ]


def test_a_page_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_study_page(made_analysis(made_results()), tmp_path, tmp_path / "file" / "study.html")


def test_the_headline_stands_first_and_its_second_sentence_below() -> None:
    page = html_of(made_results(), headline="It paid: +1.2 points. The control did not.")
    assert "<h1>It paid: <span>+1.2 points</span>.</h1>" in page
    assert '<p class="trust">The control did not.</p>' in page


def test_a_second_sentence_may_begin_with_the_name_of_an_arm() -> None:
    page = html_of(made_results(), headline="It paid (3 pairs). adco beats adco/frozen.")
    assert "<h1>It paid <span>(3 pairs).</span></h1>" in page
    assert '<p class="trust">adco beats adco/frozen.</p>' in page


def test_a_waterfall_says_over_how_many_seeds_its_means_are() -> None:
    assert "means over the 5 seeds that all of these have" in html_of(made_results())


def test_a_bracket_of_the_headline_stays_on_one_line_where_it_fits() -> None:
    page = html_of(made_results(), headline="It paid (95 % interval -1.8 to 0.4, 3 pairs).")
    assert "<h1>It paid <span>(95 % interval -1.8 to 0.4, 3 pairs).</span></h1>" in page


def test_a_table_explains_the_columns_that_it_has() -> None:
    assert "P(better): probability that the first arm" in html_of(made_results())
    assert "two one-sided tests" in html_of(made_results())
    alone = contrasts_of(made_results(made_study(seeds=1)))
    assert "P(better)" not in alone
    assert "two one-sided tests" not in alone


def test_failed_runs_cautions_and_notes_stand_before_the_numbers() -> None:
    results = with_failed(made_results())
    noted = dataclasses.replace(results.records[1], note="stopped by hand")
    results = Results(
        study=results.study, records=(results.records[0], noted, *results.records[2:])
    )
    page = html_of(results, cautions=("Only one data set.",))
    head = page[: page.index("<section")]
    for text in ("1 run failed", "adco, seed 0", "Only one data set.", "stopped by hand"):
        assert text in head


def test_a_failed_run_that_a_caution_names_is_said_once() -> None:
    page = html_of(with_failed(made_results()), cautions=("1 run failed (adco, seed 0).",))
    assert page.count("1 run failed") == 1


def test_changes_of_the_plan_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "changed after it was written down" not in html_of(made_results())
    monkeypatch.setattr(page_module, "_changes", lambda folder: ["margin: 0.5 became 0.2"])
    head = html_of(made_results()).partition("<section")[0]
    assert "The plan was changed after it was written down: margin: 0.5 became 0.2." in head


def test_a_study_that_stopped_early_says_so_with_its_look() -> None:
    study = made_study(seeds=12, looks=[5, 8, 12], contrasts=[MAIN])
    results = made_results(study, effects={"adco": 9.0})
    some = tuple(one for one in results.records if one.name.seed < 5)
    page = html_of(Results(study=study, records=some))
    assert "Stopped early, at look 1 of 3, after 5 pairs" in page
    assert "5 of 12 in all arms" in page
    assert "Early stopping" not in html_of(made_results())


def test_a_first_bound_far_out_does_not_squeeze_t() -> None:
    study = made_study(seeds=12, looks=[5, 8, 12], contrasts=[MAIN])
    analysis = made_analysis(made_results(study, effects={"adco": 0.3}))
    first, *others = analysis.findings[0].looks
    looks = (dataclasses.replace(first, bound=60.0), *others)
    found = dataclasses.replace(analysis.findings[0], looks=looks)
    page = html_of(analysis.results, findings=(found,))
    assert "bound 60.0, off the scale" in page
    plot = page.partition("t statistic of")[2].partition("</svg>")[0]
    ticks = re.findall(r'class="tick"[^>]*>(-?[0-9.]+)</text>', plot)
    assert max(map(float, ticks)) < 20


def test_an_arm_that_was_tuned_more_is_marked() -> None:
    page = html_of(made_results(rich_study()))
    assert "12 trials on a fifth of the images" in page
    assert '<small class="badge">more than adco/queue and mocov2</small>' in page
    assert 'class="badge"' not in html_of(made_results())


def test_measures_without_a_plan_claim_nothing() -> None:
    page = html_of(made_results(effects={"adco": 5.0}))
    planned, _, further = page.partition("On other measures")
    assert "adco is better" in planned
    assert "is better" not in further.partition("<section")[0]


def test_a_wide_interval_does_not_squeeze_the_pairs() -> None:
    results = made_results(made_study(seeds=2), own_sd=1.0)
    analysis = made_analysis(results)
    spread = max(abs(one) for find in analysis.findings for one in find.pairs.differences)
    assert max(find.interval.high for find in analysis.findings if find.interval) > 3 * spread
    plot = contrasts(PageView(analysis=analysis, folder=StudyFolder("nowhere"))).partition(
        "</svg>"
    )[0]
    ticks = re.findall(r'class="tick"[^>]*>(-?[0-9.]+)</text>', plot)
    assert max(map(float, ticks)) < 4 * spread
    assert re.search(r'class="interval" d="M[^"]*L[^"]*M[^"]*L[^"]*L', plot)  # an arrow


def test_every_section_is_linked_from_the_top() -> None:
    page = html_of(made_results(rich_study()))
    links = re.findall(r'<li><a href="#(part\d+)">(.*?)</a>', page)
    assert [title for _, title in links][:3] == ["Arms", "Contrasts", "Early stopping"]
    for name, title in links:
        assert f'<section id="{name}"><h2>{title}</h2>' in page


def test_paper_shows_the_light_colours_and_opened_details() -> None:
    page = html_of(made_results())
    light = re.search(r"@media print \{ :root \{([^}]*)\}", page)
    assert light is not None
    assert "--paper: #fdfdfc" in light[1]
    assert "beforeprint" in page
    assert "details::details-content" in page


def test_the_number_of_images_and_the_version_are_among_the_facts() -> None:
    results = made_results()
    records = tuple(
        dataclasses.replace(one, environment={"sparring": "0.7.0", "device": "cpu"})
        for one in results.records
    )
    text = Checker(html_of(Results(study=results.study, records=records))).text
    for fact in ("10,000", "0.7.0", "cpu", "2026-11-24", "15 finished, 0 failed", "0.5 points"):
        assert fact in text


def test_an_analysis_without_findings_still_makes_a_page() -> None:
    analysis = made_analysis(made_results())
    bare = Analysis(
        results=analysis.results,
        findings=(),
        further=(),
        attributions=(),
        variance={},
        headline="Nothing is compared.",
        cautions=(),
    )
    page = study_html(PageView(analysis=bare, folder=StudyFolder("nowhere")))
    assert "The plan has no contrast" in page
