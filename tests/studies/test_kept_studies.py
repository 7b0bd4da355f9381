"""The studies that the repository keeps: plans that are read, scores that are complete, and the log
pages that quote them; and plans whose runs are not kept, which share those that are equal."""

from pathlib import Path

import pytest

from sparring.config import Tree, leaves
from sparring.studies.analysis import analyse
from sparring.studies.configs import arm_config
from sparring.studies.folder import StudyFolder
from sparring.studies.history import read_study
from sparring.studies.page.tables import table_files
from sparring.studies.plan import Study
from sparring.studies.plan_gaps import incomplete
from sparring.studies.reading import read_plan
from sparring.studies.results import Results

ROOT = Path(__file__).parents[2]
LOG = {
    name: ROOT / "docs" / "log" / page
    for name, page in {
        "games-and-controls": "games-and-controls.md",
        "strength-adco": "strength-of-adco.md",
        "demo-strength": "demo-settings.md",
        "short-adco": "short-adco.md",
        "short-hcl": "short-hcl.md",
    }.items()
}
"""Kept studies, and the page that quotes each."""
PLANS = sorted(path.parent.name for path in (ROOT / "studies").glob("*/plan.toml"))
CURVES = [name for name in PLANS if name.partition("-")[0] in ("strength", "temperature")]
"""Studies of dose and response."""


def tables(name: str) -> dict[str, str]:
    """Tables of a kept study by file name."""
    folder = StudyFolder(ROOT / "studies" / name)
    results = Results(study=read_study(folder), records=folder.read_records())
    return dict(table_files(analyse(results, folder), name))


def plan(name: str) -> Study:
    return read_plan(ROOT / "studies" / name / "plan.toml")


def settings(study: Study, arm: str) -> Tree:
    """All settings of an arm, by their dotted names."""
    return dict(leaves(arm_config(study, study.arm(arm)).tree()))


def differing(study: Study) -> set[str]:
    """Names of the settings in which the arms of the planned contrasts differ."""
    return {
        name
        for one in study.planned_contrasts()
        for name, value in settings(study, one.first).items()
        if value != settings(study, one.second)[name]
    }


def test_every_kept_study_has_a_page_that_quotes_it() -> None:
    kept = {name for name in PLANS if (ROOT / "studies" / name / "records").exists()}
    assert kept == set(LOG)


@pytest.mark.parametrize("name", LOG)
def test_tables_of_the_log_are_those_of_the_kept_scores(name: str) -> None:
    made = tables(name)
    page = LOG[name].read_text()
    rows = [
        line
        for file in (f"{name}-arms.md", f"{name}-contrasts.md")
        for line in made[file].splitlines()
        if line.startswith("|") and "Linear probe" not in line
    ]
    assert len(rows) > 10
    assert [row for row in rows if row not in page] == []


@pytest.mark.parametrize("name", LOG)
def test_kept_studies_are_small_and_hold_no_weights(name: str) -> None:
    files = [path for path in (ROOT / "studies" / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".toml", ".json"}
    assert sum(path.stat().st_size for path in files) < 1_000_000


@pytest.mark.parametrize("name", CURVES)
def test_arms_of_a_curve_differ_in_one_setting_alone(name: str) -> None:
    study = plan(name)
    (setting,) = differing(study)
    assert setting.rpartition(".")[2] == name.partition("-")[0]
    assert list(incomplete(study)) == [] or name == "strength-mining"


def test_curves_have_equal_budgets_seeds_and_images() -> None:
    plans = [plan(name) for name in CURVES]
    assert len(plans) == 5
    common = [(one.seeds, one.epochs, one.protocols, one.threads, one.settings) for one in plans]
    assert all(one == common[0] for one in common)
    places = [
        [Path(place).name for place in (one.data, *(test.data for test in one.tests))]
        for one in plans
    ]
    assert all(one == places[0] for one in places)
    assert len(set(places[0])) == 3  # the primary score is on other images than the test set


def test_temperatures_are_the_same_runs_in_all_studies() -> None:
    found: dict[str, list[Tree]] = {}
    for name in CURVES:
        study = plan(name)
        for arm in study.arms:
            if arm.role == "control":
                own = settings(study, arm.name)
                own["data.path"] = ""  # the same images, told by their content
                found.setdefault(arm.name, []).append(own)
    assert {name: len(times) for name, times in found.items() if "simclr" in name} == {
        f"simclr at temperature {value}": 3 for value in (0.05, 0.1, 0.2, 0.5)
    }
    assert all(one == same[0] for same in found.values() for one in same)
    values = [tuple(sorted(same[0].items(), key=str)) for same in found.values()]
    assert len({str(one) for one in values}) == len(values)
