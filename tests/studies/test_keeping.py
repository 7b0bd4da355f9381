"""Which kept records count where a study goes on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_studies import made_record

from sparring.studies import history, keeping, keys
from sparring.studies.folder import StudyFolder
from sparring.studies.keeping import counting, kept_step_seconds
from sparring.studies.ordering import orders
from sparring.studies.plan import Study
from sparring.studies.records import RunRecord

WHOLE = 200
"""Steps of 50 epochs of 64 photos in batches of 16."""
THERE = {"sparring": "", "torch": "2.11.0+cu130"}


def study_of(photos: Path, *, temperature: float = 0.1, batch: int = 16) -> Study:
    return Study.build(
        {
            "data": str(photos),
            "seeds": 2,
            "epochs": 1,
            "tests": [{"name": "mine", "data": str(photos)}],
            "settings": {"training": {"batch_size": batch}},
            "arms": [
                {"name": "warm", "method": "simclr", "settings": {"temperature": 0.5}},
                {"name": "cold", "method": "simclr", "settings": {"temperature": temperature}},
            ],
        }
    )


def kept_records(
    study: Study, folder: Path, *, versions: Mapping[str, str] = THERE
) -> list[RunRecord]:
    """Records as another machine's runs would have left them."""
    draw = np.random.default_rng(0)
    environment = {
        "device": "a GPU",
        "torch": versions["torch"],
        "sparring": versions["sparring"] or "not installed",
    }
    return [
        replace(
            made_record(study, study.arm(order.name.arm), order.name, points=0.0, draw=draw),
            key=order.key,
            environment=environment,
        )
        for order in orders(study, folder, versions=versions)
    ]


def test_records_of_another_machine_count_under_the_keys_of_this_one(
    photos: Path, tmp_path: Path
) -> None:
    study = study_of(photos)
    kept = kept_records(study, tmp_path / "there")
    found = counting(kept, study, StudyFolder(tmp_path / "here"))
    here = {order.name: order.key for order in orders(study, tmp_path / "here")}
    assert {one.name: one.key for one in found} == here
    assert not {one.key for one in kept} & set(here.values())
    assert [one.scores for one in found] == [one.scores for one in kept]
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_other_settings_or_of_a_failed_run_does_not_count(
    photos: Path, tmp_path: Path
) -> None:
    kept = kept_records(study_of(photos), tmp_path)
    changed = counting(kept, study_of(photos, temperature=0.2), StudyFolder(tmp_path))
    assert [str(one.name) for one in changed] == ["warm, seed 0", "warm, seed 1"]
    assert counting(kept, study_of(photos, batch=8), StudyFolder(tmp_path)) == ()
    failed = [replace(one, status="failed") for one in kept]
    assert counting(failed, study_of(photos), StudyFolder(tmp_path)) == ()


@pytest.mark.parametrize(("there", "count"), [("1.0", 4), ("0.9", 0), ("", 4)])
def test_a_record_of_another_version_of_the_library_does_not_count(
    there: str, count: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"sparring": "1.0", "torch": "2.14"}
    for module in (keys, keeping):
        monkeypatch.setattr(module, "installed_versions", lambda: here)
    study = study_of(photos)
    kept = kept_records(study, tmp_path, versions={"sparring": there, "torch": "2.11"})
    assert len(counting(kept, study, StudyFolder(tmp_path))) == count


def test_runs_of_equal_time_count_as_the_kept_ones_have_their_lengths(
    photos: Path, tmp_path: Path
) -> None:
    contrast = {"first": "warm", "second": "cold"}
    tree = {**study_of(photos).tree(), "epochs": 50, "equal": "time", "contrasts": [contrast]}
    study = Study.build(tree)
    there = StudyFolder(tmp_path / "there")
    history.written(there, study, step_seconds={"warm": 0.0173, "cold": 0.0061})
    lengths = {
        order.name.arm: order.train["settings"]["training"].get("num_steps", WHOLE)
        for order in orders(study, there)
    }
    assert lengths == {"warm": 71, "cold": WHOLE}
    kept = [
        replace(one, steps=lengths[one.name.arm], seconds=1.22)
        for one in kept_records(study, there.path)
    ]
    assert kept_step_seconds(kept[:1], study) == {}, "an arm has no run"
    assert kept_step_seconds(kept, study_of(photos)) == {}, "a plan of equal images"
    here = StudyFolder(tmp_path / "here")
    history.written(here, study, step_seconds=kept_step_seconds(kept, study))
    assert [one.name for one in counting(kept, study, here)] == [one.name for one in kept]
