"""A study folder from a stranger is data: nothing that its files name is run, and nothing that
its records name outside of it is read."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from made_predictions import CLASSES, with_predictions
from made_studies import made_results, made_study
from study_stand_ins import StandIns, stand_ins

import sparring
from sparring.errors import ConfigError, RunError
from sparring.studies import history
from sparring.studies.attempts import AttemptLog
from sparring.studies.collecting import RunProgress
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.page.votes import ballot
from sparring.studies.records import RunName
from sparring.studies.statistics.rightness import images_of_pairs
from sparring.training.run_folder import RunFolder
from tiny import Command

__all__ = ["stand_ins"]


def foreign(folder: Path, **fields: object) -> StudyFolder:
    """A study with all its records, whose plan names what its sender liked."""
    study = made_study(**fields)
    place = StudyFolder(folder)
    history.written(place, study)
    for record in made_results(made_study()).records:
        place.write_record(record)
    return place


def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A Python file that leaves a mark when it is imported, and the mark."""
    mark = tmp_path / "imported"
    code = tmp_path / "trap.py"
    code.write_text(f"open({str(mark)!r}, 'w').close()\n")
    return code, mark


def with_method(text: str) -> list[dict[str, object]]:
    tree = made_study().tree()["arms"]
    return [{**tree[0], "method": text}, *tree[1:]]


@pytest.mark.parametrize("part", ["method", "opponent", "protocol"])
def test_going_on_with_a_study_imports_no_code_that_its_plan_names(
    command: Command, stand_ins: StandIns, tmp_path: Path, part: str
) -> None:
    code, mark = trap(tmp_path)
    fields: dict[str, object] = {"protocols": ["knn", f"{code}:Trap"]}
    if part != "protocol":
        arms = made_study().tree()["arms"]
        own = f"{code}:Trap"
        fields = {"arms": [{**arms[0], part: own if part == "method" else [own]}, *arms[1:]]}
    study = foreign(tmp_path / "study", **fields)
    for more in ([], ["--yes"], ["--plan-only"]):
        done = command("compare", str(study.path), *more)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        assert "a study folder runs none" in done.err
    with pytest.raises(RunError, match="runs none"):
        sparring.compare(study.path, progress=False)
    assert not mark.exists()


def test_reporting_or_watching_a_study_imports_no_code_that_its_plan_names(
    command: Command, tmp_path: Path
) -> None:
    code, mark = trap(tmp_path)
    study = foreign(tmp_path / "study", arms=with_method(f"{code}:Trap"))
    done = command("report", str(study.path), "--out", str(tmp_path / "page.html"))
    assert done.code == 0, done.err
    assert command("compare", str(study.path), "--watch", "--json").code == 0
    assert not mark.exists()


@pytest.mark.parametrize("key", ["data", "test", "train_data", "tuning"])
def test_no_command_is_started_for_a_study_folder_or_a_plan(
    command: Command, photos: Path, tmp_path: Path, key: str
) -> None:
    mark = tmp_path / "started"
    pipe = f"pipe:touch {mark}"
    fields: dict[str, object] = {"data": str(photos), "settings": {"data": {"streaming": True}}}
    if key == "data":
        fields["data"] = pipe
    elif key == "tuning":
        arms = made_study().tree()["arms"]
        fields["arms"] = [{**arms[0], "tuning": {"trials": 3, "images": pipe}}, *arms[1:]]
    else:
        sets = {"test": {"data": pipe}, "train_data": {"data": str(photos), "train_data": pipe}}
        fields["tests"] = [{"name": "test", **sets[key]}]
    study = foreign(tmp_path / "study", **fields)
    done = command("compare", str(study.path), "--yes")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "a study folder starts none" in done.err
    done = command("compare", str(study.plan), "--out", str(tmp_path / "other"), "--yes")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "a plan starts none" in done.err
    done = command("report", str(study.path), "--out", str(tmp_path / "page.html"))
    assert done.code == 0, done.err
    assert not mark.exists()


def test_a_plan_that_the_user_names_may_name_classes(tmp_path: Path) -> None:
    code, mark = trap(tmp_path)
    study = foreign(tmp_path / "study", arms=with_method(f"{code}:Trap"))
    with pytest.raises(ConfigError, match="has no 'Trap'"):
        sparring.compare(study.plan, out=study.path, progress=False)
    assert mark.exists()


def test_predictions_outside_the_study_are_not_read(tmp_path: Path) -> None:
    study = made_study()
    inside, folder = StudyFolder(tmp_path / "inside"), StudyFolder(tmp_path / "study")
    keys, rates = [f"{name}/1.png" for name in CLASSES], {arm.name: 0.5 for arm in study.arms}
    results = with_predictions(made_results(study), inside, keys, rates=rates)
    folder.path.mkdir()
    outside = tuple(
        replace(
            one,
            predictions={
                test: {protocol: f"../inside/{path}" for protocol, path in found.items()}
                for test, found in one.predictions.items()
            },
        )
        for one in results.records
    )
    contrast, measure = study.planned_contrasts()[0], results.primary
    assert ballot(results, inside, contrast, measure) is not None
    found = replace(results, records=outside)
    with pytest.raises(RunError, match="is not below"):
        images_of_pairs(found, contrast, measure, folder)
    assert ballot(found, folder, contrast, measure) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scores", {"test": {"knn": "0.5"}}),
        ("scores", {"test": {"knn": math.nan}}),
        ("scores", []),
        ("predictions", "x"),
        ("draws", {"test": {"knn": 1}}),
        ("curve", [{"images": 1, "seconds": "a", "measures": {}}]),
        ("attempts", [{"started": 1, "host": "a", "seconds": 1.0, "outcome": ""}]),
        ("opponent", [{"step": None}]),
        ("status", "done"),
        ("config", 3),
        ("seconds", None),
    ],
)
def test_a_record_with_values_of_another_kind_is_damaged_in_one_line(
    command: Command, tmp_path: Path, key: str, value: object
) -> None:
    study = foreign(tmp_path / "study")
    path = next(study.records.iterdir())
    path.write_text(json.dumps({**json.loads(path.read_bytes()), key: value}))
    done = command("report", str(study.path), "--out", str(tmp_path / "page.html"))
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "is damaged" in done.err
    assert path.name in done.err


def test_a_record_that_is_a_pipe_is_told_and_not_waited_for(
    command: Command, tmp_path: Path
) -> None:
    study = foreign(tmp_path / "study")
    path = next(study.records.iterdir())
    path.unlink()
    os.mkfifo(path)
    done = command("report", str(study.path), "--out", str(tmp_path / "page.html"))
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "a named pipe" in done.err


def order_in(study: StudyFolder) -> RunOrder:
    """A run that its study has not finished."""
    return RunOrder(
        name=RunName(arm="adco", seed=99), key="key", study=str(study.path), data="photos"
    )


@pytest.mark.parametrize(
    "damage", ["[]", '{"key": "key", "attempts": [{"started": 3}]}', '{"key": 1}', "x", "[" * 9999]
)
def test_damaged_attempts_and_progress_count_as_none(tmp_path: Path, damage: str) -> None:
    study = foreign(tmp_path / "study")
    order, log = order_in(study), AttemptLog(order_in(study))
    study.attempts.mkdir()
    (study.attempts / f"{study.place(order.name)}.json").write_text(damage)
    assert log.read() == ()
    log.begin()
    assert [one.outcome for one in log.read()] == [""]
    run = RunFolder(study.run(order.name))
    run.checkpoint.mkdir(parents=True)
    run.backbone.touch()
    (run.path / "study-progress.json").write_text(damage)
    assert RunProgress.read(run, "key").scores == {}


def test_the_run_folder_of_another_order_is_moved_aside_within_the_study(tmp_path: Path) -> None:
    study = foreign(tmp_path / "study")
    order = order_in(study)
    study.run(order.name).mkdir(parents=True)
    study.attempts.mkdir()
    (study.attempts / f"{study.place(order.name)}.json").write_text(
        json.dumps({"key": "/../../x", "attempts": []})
    )
    AttemptLog(order).begin()
    assert [path.parent for path in study.runs.iterdir()] == [study.runs]
    assert not (tmp_path / "x").exists()
    assert len(list(study.runs.iterdir())) == 1
