"""The tables of docs/evidence.md and README.md: they say what the kept studies say, and a question
that no run has answered reads "not run"; every plan can be configured."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import evidence
import evidence_figures
from sparring.studies.configs import arm_configs
from sparring.studies.contrast_checks import unequal_budgets, unequal_twins
from sparring.studies.findings import Conclusion
from sparring.studies.reading import read_plan
from test_docs import ROOT

PLANS = sorted(path.parent.name for path in (ROOT / "studies").glob("*/plan.toml"))
QUESTIONS = evidence.questions()
ROWS = [row for question in QUESTIONS for row in evidence.rows(question)]


@pytest.mark.parametrize("page", evidence.PAGES, ids=lambda page: page.stem)
def test_tables_are_those_of_the_kept_studies(page: Path) -> None:
    text = page.read_text()
    assert evidence.filled(text) == text, "scripts/write-evidence was not run"
    wrong = re.sub(r"\| [+-]\d\.\d\d ", "| +9.99 ", text)
    assert wrong != text
    assert evidence.filled(wrong) == text


def test_figures_are_those_of_the_kept_studies() -> None:
    made = dict(evidence_figures.figures(QUESTIONS))
    kept = (evidence.ROOT / "docs" / "images").glob("*.svg")
    assert {path.name: path.read_text() for path in kept} == made
    assert "evidence.svg" in made
    assert len(made) > 1


def test_every_plan_belongs_to_a_question_but_that_of_the_demo() -> None:
    asked = {one.name for question in QUESTIONS for one in question.asked}
    assert {*asked, "demo-strength"} == set(PLANS)


def test_studies_without_runs_read_not_run() -> None:
    for row in ROWS:
        is_kept = (ROOT / "studies" / row.asked.name / "records").is_dir()
        assert (row.verdict == evidence.NOT_RUN) == (not is_kept), row.asked.name
    assert evidence.whole_table().count(f"| {evidence.NOT_RUN} |") == sum(
        row.verdict == evidence.NOT_RUN for row in ROWS
    )


def test_each_row_has_the_numbers_of_its_contrasts() -> None:
    row = next(one for one in ROWS if (one.asked.name, one.game) == ("games-and-controls", "adco"))
    assert row.twin is not None
    assert row.control is not None
    assert (row.twin.contrast.second, row.control.contrast.second) == ("adco/queue", "mocov2")
    line = next(line for line in evidence.whole_table().splitlines() if "| adco |" in line)
    assert f"{row.twin.mean:+.2f}" in line
    assert f"{row.control.mean:+.2f}" in line


def test_of_several_controls_the_best_one_counts() -> None:
    row = next(row for row in ROWS if row.asked.name == "short-adco")
    assert row.control is not None
    assert row.asked.analysis is not None
    others = [
        one.mean
        for one in row.asked.analysis.findings
        if one.contrast.second.startswith("mocov2") and one.mean is not None
    ]
    assert len(others) == 3
    assert row.control.mean == min(others)


@pytest.mark.parametrize(
    ("twin", "control", "verdict"),
    [
        ("better", "better", "above its twin and its control"),
        ("better", "no evidence", "above its twin; its control: cannot tell"),
        ("no evidence", "no evidence", "cannot tell"),
        ("no more than the margin", "worse", "level with its twin; below its control"),
    ],
)
def test_verdicts_say_no_more_than_the_conclusions(
    twin: Conclusion, control: Conclusion, verdict: str
) -> None:
    row = next(one for one in ROWS if (one.asked.name, one.game) == ("games-and-controls", "adco"))
    assert row.twin is not None
    assert row.control is not None
    one = replace(row.twin, conclusion=twin)
    other = replace(row.control, conclusion=control)
    assert replace(row, twin=one, control=other).verdict == verdict


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_can_be_configured_and_is_fair(name: str) -> None:
    study = read_plan(ROOT / "studies" / name / "plan.toml")
    configs = arm_configs(study)
    assert list(unequal_twins(study, configs)) == []
    unequal = list(unequal_budgets(study, configs))
    assert bool(unequal) == ("unequal budgets" in study.allowed)
    assert study.margin == 0.5
