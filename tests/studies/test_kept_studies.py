"""The studies that the repository keeps: plans that are read, scores that are complete, and the log
pages that quote them."""

from pathlib import Path

import pytest

from sparring.studies.analysis import analyse
from sparring.studies.folder import StudyFolder
from sparring.studies.history import read_study
from sparring.studies.page.tables import table_files
from sparring.studies.results import Results

ROOT = Path(__file__).parents[2]
LOG = {"games-and-controls": ROOT / "docs" / "log" / "games-and-controls.md"}
"""Kept studies, and the page that quotes each."""


def tables(name: str) -> dict[str, str]:
    """Tables of a kept study by file name."""
    folder = StudyFolder(ROOT / "studies" / name)
    results = Results(study=read_study(folder), records=folder.read_records())
    return dict(table_files(analyse(results, folder), name))


def test_every_kept_study_has_a_page_that_quotes_it() -> None:
    assert {path.name for path in (ROOT / "studies").iterdir()} == set(LOG)


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
    assert len(rows) > 20
    assert [row for row in rows if row not in page] == []


@pytest.mark.parametrize("name", LOG)
def test_kept_studies_are_small_and_hold_no_weights(name: str) -> None:
    files = [path for path in (ROOT / "studies" / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".toml", ".json"}
    assert sum(path.stat().st_size for path in files) < 1_000_000
