"""A study of real, tiny runs from its plan to its page."""

import json
from pathlib import Path

import pytest

import sparring
from sparring.studies.attempts import attempts_of
from sparring.studies.durations import Durations
from sparring.studies.engines.time_limit import TimeLimit
from sparring.studies.folder import StudyFolder
from sparring.studies.history import plan_text
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


def test_a_run_that_overstays_the_minutes_is_saved_and_the_next_call_goes_on_with_it(
    photos: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(photos).model_copy(update={"epochs": 25})
    folder = StudyFolder(tmp_path / "study")
    plan = tmp_path / "plan.toml"
    plan.write_text(plan_text(study))

    def left(limit: TimeLimit) -> float:
        """The time is over once the first run has made some steps."""
        rows = [path.read_bytes() for path in folder.runs.glob("*/study-times.jsonl")]
        return 0.0 if any(one.count(b"\n") > 5 for one in rows) else 0.2

    with monkeypatch.context() as patch:
        patch.setattr(TimeLimit, "left", property(left))
        patch.setattr(Durations, "seconds", lambda *_, **__: None)
        more = ["--yes", "--minutes", "9", "--workers", "1"]
        done = command("compare", plan, "--out", folder.path, *more)
    assert done.code == 0, done.err
    assert folder.read_records() == ()
    assert (folder.path / "study.html").is_file()
    assert "adco, seed 0: the minutes are over; it is saved" in done.err
    assert "0 of 4 runs are finished; 4 runs left" in done.err
    (attempt,) = attempts_of(folder)
    assert attempt.outcome == "stopped by a signal"
    done = command("compare", folder.path, "--minutes", "9", "--workers", "1")
    assert done.code == 0, done.err
    first, *others = sorted(folder.read_records(), key=lambda one: -len(one.attempts))
    assert [one.outcome for one in first.attempts] == ["stopped by a signal", "finished"]
    assert [len(one.attempts) for one in others] == [1, 1, 1]
    assert {one.steps for one in (first, *others)} == {100}
