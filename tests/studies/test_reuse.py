"""Finished runs are recognised by content, across studies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_calls import toy_order, toy_record

from sparring.evaluation.predictions import Predictions
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.plan import ScoredSet
from sparring.studies.records import RunName, RunRecord
from sparring.studies.reuse import neighbours, reuse

PREDICTIONS = Predictions(
    keys=("a", "b"), classes=("x", "y"), targets=np.array([0, 1]), predicted=np.array([0, 0])
)
FILE = "predictions/game-seed-0/0-test-knn.npz"


@pytest.fixture
def order(tmp_path: Path) -> RunOrder:
    return toy_order(tmp_path / "studies" / "new")


@pytest.fixture
def other(order: RunOrder) -> Path:
    """A study beside the order's, in which its run is finished under another name."""
    folder = Path(order.study).with_name("old")
    study = StudyFolder(folder)
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_bytes(PREDICTIONS.encoded())
    study.plan.write_text("")
    study.write_record(there(order))
    return folder


def there(order: RunOrder) -> RunRecord:
    return replace(
        toy_record(order),
        name=RunName(arm="the game", seed=7),
        predictions={"test": {"knn": FILE}},
        folder="runs/the-game",
    )


def test_a_finished_run_of_the_study_itself_is_found(order: RunOrder) -> None:
    record = toy_record(order)
    StudyFolder(order.study).write_record(record)
    found = reuse([order, toy_order(Path(order.study), 1)])
    assert found.records == (record,)
    assert found.taken == ()
    assert [one.name.seed for one in found.left] == [1]


def test_a_run_of_the_study_with_another_key_is_made_again(order: RunOrder) -> None:
    StudyFolder(order.study).write_record(replace(toy_record(order), key="of another plan"))
    assert reuse([order]).left == (order,)


def test_a_failed_run_is_made_again(order: RunOrder) -> None:
    StudyFolder(order.study).write_record(replace(toy_record(order), status="failed", scores={}))
    assert reuse([order]).left == (order,)


def test_a_damaged_record_of_the_study_is_made_again(order: RunOrder) -> None:
    study = StudyFolder(order.study)
    study.write_record(toy_record(order))
    (study.records / "game-seed-0.json").write_text("{")
    assert reuse([order]).left == (order,)


def test_an_equal_run_of_a_study_beside_this_one_is_taken_over(
    order: RunOrder, other: Path
) -> None:
    (record,) = reuse([order]).records
    assert (record.name, record.key, record.taken_from) == (order.name, order.key, str(other))
    assert record.scores == toy_record(order).scores
    assert record.folder == ""
    study = StudyFolder(order.study)
    assert study.read_records() == (record,)
    assert Predictions.read(study.path / record.predictions["test"]["knn"]) == PREDICTIONS
    assert reuse([order]).records == (record,)


def test_a_study_elsewhere_is_looked_into_when_it_is_named(
    order: RunOrder, other: Path, tmp_path: Path
) -> None:
    elsewhere = other.rename(tmp_path / "elsewhere")
    assert reuse([order]).left == (order,)
    assert reuse([order], others=[elsewhere]).taken[0].taken_from == str(elsewhere)


def test_studies_beside_this_one_are_left_alone_when_asked(order: RunOrder, other: Path) -> None:
    assert neighbours(order.study) == [other]
    assert reuse([order], beside=False).left == (order,)


@pytest.mark.parametrize(
    "change",
    [
        {"key": "of other images"},
        {"status": "failed"},
        {"environment": {"sparring": "0.0.1"}},
        {"scores": {"another test set": {"knn": 0.5}}},
        {"predictions": {"test": {"knn": "predictions/missing.npz"}}},
        {"predictions": {"test": {"knn": "../outside.npz"}}},
    ],
)
def test_a_run_that_does_not_match_is_not_taken_over(
    order: RunOrder, other: Path, change: dict[str, object]
) -> None:
    (other.parent / "outside.npz").write_bytes(PREDICTIONS.encoded())
    StudyFolder(other).write_record(replace(there(order), **change))  # type: ignore[arg-type]
    assert reuse([order]).left == (order,)
    assert not StudyFolder(order.study).records.exists()


def test_damaged_predictions_are_not_taken_over(order: RunOrder, other: Path) -> None:
    (other / FILE).write_bytes(b"PK not really")
    assert reuse([order]).left == (order,)


def test_a_damaged_record_of_another_study_hides_no_other(order: RunOrder, other: Path) -> None:
    (other / "records" / "a-seed-0.json").write_text('{"name": 3}')
    (other / "records" / "b-seed-0.json").write_bytes(b"\xff")
    assert len(reuse([order]).taken) == 1


def test_a_run_without_the_asked_test_sets_is_made_again(order: RunOrder, other: Path) -> None:
    more = replace(order, tests=(*order.tests, ScoredSet(name="second", data="more")))
    assert reuse([more]).left == (more,)


def test_a_run_that_was_taken_over_says_where_it_was_made(order: RunOrder, other: Path) -> None:
    third = replace(order, study=str(Path(order.study).with_name("third")))
    StudyFolder(order.study).path.mkdir()
    StudyFolder(order.study).plan.write_text("")
    assert reuse([order]).taken
    other.rename(other.parent.parent / "gone")
    (record,) = reuse([third]).taken
    assert record.taken_from == str(other)


def test_an_equal_run_of_the_study_itself_is_taken_under_another_name(order: RunOrder) -> None:
    StudyFolder(order.study).write_record(toy_record(order))
    equal = replace(order, name=replace(order.name, budget="time"))
    found = reuse([equal])
    assert found.left == ()
    (record,) = found.taken
    assert record.name == equal.name
    assert record.taken_from == f"this study ({order.name})"
    assert len(StudyFolder(order.study).read_records()) == 2
