"""A study of real, tiny runs from its plan to its page."""

import json
from pathlib import Path

import pytest

import sparring
from sparring.studies.plan import Study
from tiny import Command

pytestmark = pytest.mark.slow
TABLES = ("csv", "md", "tex")


def tiny_study(photos: Path) -> Study:
    """A game and its twin, two seeds, four steps each."""
    settings = {
        "encoder": {"width": 0.0625},
        "projector": {"dim": 16},
        "bank": {"size": 32},
        "training": {"batch_size": 16, "image_size": 16, "monitor_images": 16, "log_steps": 1},
    }
    return Study.build(
        {
            "name": "tiny",
            "data": str(photos),
            "seeds": 2,
            "epochs": 1,
            "protocols": ["knn"],
            "settings": settings,
            "tests": [{"name": "mine", "data": str(photos)}],
            "arms": [
                {"name": "adco", "method": "adco"},
                {
                    "name": "adco/queue",
                    "method": "adco",
                    "settings": {"disarmed": "queue"},
                    "role": "twin",
                    "twin_of": "adco",
                },
            ],
        }
    )


def beside(name: str) -> set[str]:
    """Names of the files beside a page that is called so."""
    tables = {f"{name}-{what}.{kind}" for what in ("arms", "contrasts") for kind in TABLES}
    return {*tables, f"{name}-contrasts.svg"}


def test_a_study_runs_from_its_plan_to_its_page_and_is_read_again_without_its_runs(
    photos: Path, tmp_path: Path, command: Command
) -> None:
    folder = tmp_path / "study"
    done = sparring.compare(tiny_study(photos), out=folder, workers=1, progress=False)
    assert done.is_over
    assert done.failed == []
    (finding,) = done.findings
    assert finding.pairs.seeds == (0, 1)
    assert all(path.stat().st_size > 0 for path in done.files)
    assert {path.name for path in done.files} == {"study.html", *beside("study")}
    whole = (folder / "study.html").read_text()
    assert whole.count('class="hardpairs"') == 2, "the pairs of the game and of its twin"
    again = command("compare", folder)
    assert again.code == 0, again.err
    assert "4 of 4 runs are finished" in again.err
    assert "study.html, with 6 tables and 1 figure beside it" in " ".join(again.out.split())
    found = json.loads(command("compare", folder, "--watch", "--json").out)
    assert found["finished"] == 4
    (folder / "runs").rename(tmp_path / "moved")
    page = tmp_path / "page.html"
    assert command("report", folder, "--out", page).code == 0
    assert "adco/queue" in page.read_text()
    assert {path.name for path in tmp_path.glob("page-*")} == beside("page")
    assert 'class="hardpairs"' not in page.read_text()
