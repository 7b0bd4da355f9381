"""Tables of a study as files: CSV, Markdown, LaTeX."""

import csv
import io
import re
from dataclasses import replace

import pytest
from made_analyses import made_analysis
from made_studies import made_results, made_study

from sparring.studies.page.arm_table import start_title
from sparring.studies.page.plain_tables import Table, arms_in_short, arms_table, contrasts_table
from sparring.studies.page.tables import (
    csv_text,
    latex_escaped,
    latex_text,
    markdown_escaped,
    markdown_text,
    table_files,
)

HOSTILE = 'a,"b"\n|c|_{d}^2 $5% & #1 ~\\x <script>'


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_gives_back_every_name_and_number() -> None:
    arms = [
        {"name": HOSTILE, "method": "adco", "control": "mocov2"},
        {"name": "mocov2", "method": "mocov2", "role": "control"},
    ]
    results = made_results(made_study(arms=arms))
    rows = rows_of(csv_text(arms_table(results)))
    assert rows[0]["arm"] == HOSTILE
    scores = results.scores(HOSTILE, results.primary)
    mean = sum(scores.values()) / len(scores)
    assert float(rows[0]["mean"]) == pytest.approx(mean, abs=1e-6)
    assert len(rows) == len(arms) * len(results.measures())


def test_csv_leaves_out_what_is_not_known() -> None:
    analysis = made_analysis(made_results(made_study(seeds=1)))
    (first, *_) = rows_of(csv_text(contrasts_table(analysis)))
    assert (first["pairs"], first["sd"], first["p"], first["low"]) == ("1", "", "", "")
    assert first["conclusion"] == "too few pairs"


def test_contrasts_on_other_measures_carry_no_p_value_and_no_conclusion() -> None:
    analysis = made_analysis(made_results())
    rows = rows_of(csv_text(contrasts_table(analysis)))
    others = rows[len(analysis.findings) :]
    assert others
    assert {(row["p"], row["p_holm"], row["conclusion"]) for row in others} == {("", "", "")}
    assert all(row["p_holm"] for row in rows[: len(analysis.findings)])


def test_short_tables_count_the_runs_that_are_made_and_name_measures_as_the_page_does() -> None:
    whole = made_results(made_study(seeds=5))
    early = tuple(one for one in whole.records if one.name.seed < 3)
    table, *_ = arms_in_short(replace(whole, records=early))
    assert "5" not in table.caption
    assert table.columns[:3] == ("Arm", "Runs", f"kNN on {whole.study.tests[0].name}")
    assert {row[1] for row in table.rows} == {"3"}
    assert table.rows[0][0] == start_title(whole)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b", r"a\_b"),
        ("100 % & more", r"100 \% \& more"),
        ("x^2 ~ {y} $z$ #1", r"x\textasciicircum{}2 \textasciitilde{} \{y\} \$z\$ \#1"),
        ("a\\b", r"a\textbackslash{}b"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("a--b", "a-{}-b"),
        ("two\nlines", "two lines"),
        ("1 \u00b1 2", r"1 $\pm$ 2"),
    ],
)
def test_latex_shows_a_text_as_it_is(text: str, escaped: str) -> None:
    assert latex_escaped(text) == escaped


def test_a_row_of_latex_never_begins_with_an_option_of_the_line_before() -> None:
    table = Table(caption="c", columns=("arm", "n"), rows=(("[x]", 1), ("*y", 2)))
    lines = latex_text([table]).splitlines()
    assert "{}[x] & 1 \\\\" in lines
    assert "{}*y & 2 \\\\" in lines


def test_a_cell_of_markdown_cannot_end_its_row_or_begin_a_tag() -> None:
    shown = markdown_escaped(HOSTILE)
    assert "\n" not in shown
    assert re.search(r"(?<!\\)\|", shown) is None
    assert "<" not in shown
    assert markdown_escaped("[a](b)") == "[a]\\(b)"
    assert markdown_escaped("+1.20 [+0.80, +1.60]") == "+1.20 [+0.80, +1.60]"


def test_every_row_of_markdown_has_a_cell_for_each_column() -> None:
    arms = [
        {"name": "a|b", "method": "adco", "control": "mocov2"},
        {"name": "mocov2", "method": "mocov2", "role": "control"},
    ]
    text = markdown_text(arms_in_short(made_results(made_study(arms=arms))))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_there_is_a_short_table_for_each_share_and_budget() -> None:
    results = made_results(made_study(shares=[1.0, 0.1], equal="both"))
    captions = [table.caption for table in arms_in_short(results)]
    assert len(captions) == len(set(captions)) == 4


def test_tables_are_called_after_the_page_and_are_the_same_each_time() -> None:
    tables = table_files(made_analysis(made_results()), "study")
    assert sorted(tables) == sorted(
        f"study-{what}.{kind}" for what in ("arms", "contrasts") for kind in ("csv", "md", "tex")
    )
    assert tables == table_files(made_analysis(made_results()), "study")
