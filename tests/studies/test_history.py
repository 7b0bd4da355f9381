"""The plan is written once; what changes later is recorded, told, and kept apart."""

import json
from pathlib import Path

import pytest
from made_studies import made_results, made_study
from small_studies import changed, photos, small_study

from sparring.errors import RunError
from sparring.files import write_atomically
from sparring.studies import history
from sparring.studies.folder import StudyFolder
from sparring.studies.ordering import orders
from sparring.studies.plan import Study
from sparring.studies.study_lock import holds_anything


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """Folder of a study that is not there yet."""
    return StudyFolder(tmp_path / "study")


def with_records(folder: StudyFolder, study: Study) -> None:
    """Write the records of some runs."""
    for record in made_results(study).records:
        folder.write_record(record)


def test_the_plan_is_written_so_that_it_can_be_read_again(folder: StudyFolder) -> None:
    study = made_study(looks=[5, 8], seeds=8, epochs=None)
    assert history.written(folder, study) == ()
    assert history.read_study(folder) == study
    text = folder.plan.read_text()
    assert "\nmargin = 0.5\n" in text
    assert '\n[[arms]]\nname = "adco/queue"\n' in text
    assert '\n[arms.settings]\ndisarmed = "queue"\n' in text
    when, sha256 = history.first_written(folder)
    assert when[:2] == "20"
    assert len(sha256) == 64


def test_the_same_plan_again_goes_on_without_a_change(folder: StudyFolder) -> None:
    study = made_study()
    history.written(folder, study)
    before = folder.plan.read_bytes(), folder.history.read_bytes()
    assert history.written(folder, study) == ()
    assert (folder.plan.read_bytes(), folder.history.read_bytes()) == before
    assert history.changes(folder) == ()


def test_a_change_is_recorded_with_both_values_and_whether_runs_existed(
    folder: StudyFolder,
) -> None:
    study = made_study(seeds=2)
    history.written(folder, study)
    history.written(folder, changed(study, margin=1.0))
    with_records(folder, study)
    now = history.written(folder, changed(study, margin=1.0, seeds=3))
    assert [one.what for one in now] == ["seeds: [0, 1] became [0, 1, 2]"]
    found = history.changes(folder)
    assert [one.what for one in found] == ["margin: 0.5 became 1.0", *(one.what for one in now)]
    assert [one.num_records for one in found] == [0, 6]
    assert str(found[0]).endswith("before any run had ended)")
    assert "after 6 runs had ended" in str(found[1])


def test_another_primary_contrast_and_other_arms_are_told_by_name(folder: StudyFolder) -> None:
    study = made_study(contrasts=[{"first": "adco", "second": "mocov2", "is_primary": True}])
    history.written(folder, study)
    tree = dict(study.tree())
    tree["contrasts"] = [{"first": "adco", "second": "adco/queue", "is_primary": True}]
    tree["arms"] = [
        *tree["arms"][:2],
        {**tree["arms"][2], "settings": {"queue": {"size": 512}}},
        {"name": "simclr", "method": "simclr", "role": "control"},
    ]
    history.written(folder, Study.build(tree))
    found = [one.what for one in history.changes(folder)]
    assert found[0].startswith("arm 'simclr' was added: ")
    assert found[1] == "arm 'mocov2', settings.queue.size: 512 was added"
    assert found[2].startswith("contrast 'adco minus mocov2' was taken out")
    assert found[3].startswith("contrast 'adco minus adco/queue' was added")


def test_a_plan_that_was_edited_by_hand_is_noticed(folder: StudyFolder) -> None:
    study = made_study()
    history.written(folder, study)
    folder.plan.write_text(folder.plan.read_text().replace("margin = 0.5", "margin = 2.0"))
    (told,) = history.changes(folder)
    assert told.by_hand
    assert told.what == "margin: 0.5 became 2.0"
    history.written(folder, history.read_study(folder))
    (kept,) = history.changes(folder)
    assert (kept.what, kept.by_hand) == (told.what, True)


def test_going_back_from_an_edit_by_hand_is_a_second_change(folder: StudyFolder) -> None:
    study = made_study()
    history.written(folder, study)
    folder.plan.write_text(folder.plan.read_text().replace("margin = 0.5", "margin = 2.0"))
    history.written(folder, study)
    assert [one.what for one in history.changes(folder)] == [
        "margin: 0.5 became 2.0",
        "margin: 2.0 became 0.5",
    ]


def test_a_field_that_an_older_version_lacked_is_no_change(folder: StudyFolder) -> None:
    study = made_study()
    history.written(folder, study)
    text = folder.history.read_text()
    assert '"margin": 0.5' in text
    folder.history.write_text(text.replace('"margin": 0.5,', ""))
    assert history.written(folder, study) == ()


def test_records_of_before_a_change_of_settings_are_left_out(
    tmp_path: Path, folder: StudyFolder
) -> None:
    study = small_study(photos(tmp_path), seeds=1)
    made = orders(study, folder)
    history.written(folder, study, orders=made)
    keys = {one.name: one.key for one in made}
    records = [
        type(one)(**{**vars(one), "key": keys[one.name]}) for one in made_results(study).records
    ]
    assert history.current(folder, records) == tuple(records)
    tree = dict(study.tree())
    tree["arms"][2]["settings"] = {"queue": {"size": 64}}
    other = Study.build(tree)
    history.written(folder, other, orders=orders(other, folder))
    assert [one.name.arm for one in history.current(folder, records)] == ["adco", "adco/queue"]
    # Another margin changes no run.
    wider = changed(other, margin=2.0)
    history.written(folder, wider, orders=orders(wider, folder))
    assert len(history.current(folder, records)) == 2


def test_seconds_of_an_arm_with_other_settings_have_to_be_measured_again(
    folder: StudyFolder,
) -> None:
    study = made_study()
    seconds = {arm.name: 0.5 for arm in study.arms}
    history.written(folder, study, step_seconds=seconds)
    assert history.step_seconds(folder, study) == seconds
    tree = dict(study.tree())
    tree["arms"][2]["settings"] = {"queue": {"size": 64}}
    other = Study.build(tree)
    assert history.step_seconds(folder, other) == {"adco": 0.5, "adco/queue": 0.5}
    history.written(folder, other, step_seconds={**seconds, "mocov2": 0.7})
    assert history.step_seconds(folder, other)["mocov2"] == 0.7


def test_what_cannot_be_read_is_told_in_one_line(folder: StudyFolder) -> None:
    with pytest.raises(RunError, match="is not a study"):
        history.read_study(folder)
    assert history.changes(folder) == ()
    history.written(folder, made_study())
    folder.history.write_text("[]")
    with pytest.raises(RunError, match=r"history\.json is damaged"):
        history.changes(folder)
    folder.history.unlink()
    with pytest.raises(RunError, match="nobody can tell whether the plan was changed"):
        history.written(folder, made_study())
    folder.plan.write_text("seeds = 'many'")
    with pytest.raises(RunError, match=r"plan\.toml: .*; put the plan back"):
        history.read_study(folder)


def test_cautions_are_kept_for_outputs_without_the_images(folder: StudyFolder) -> None:
    assert history.cautions(folder) == ()
    history.written(folder, made_study(), cautions=["5 pairs: few."])
    history.written(folder, made_study())
    assert history.cautions(folder) == ("5 pairs: few.",)
    assert history.written(folder, made_study(), cautions=[]) == ()
    assert history.cautions(folder) == ()


def test_paths_of_the_plan_hold_in_any_folder(
    tmp_path: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    history.written(folder, small_study(Path("photos")))
    assert history.read_study(folder).data == str(data)
    monkeypatch.chdir(folder.path)
    assert history.written(folder, small_study(Path("../photos"))) == ()


def test_changes_can_be_told_before_they_are_recorded(folder: StudyFolder) -> None:
    study = made_study()
    assert history.pending(folder, study) == ()
    history.written(folder, study)
    assert history.pending(folder, study) == ()
    other = changed(study, margin=1.0)
    assert [one.what for one in history.pending(folder, other)] == ["margin: 0.5 became 1.0"]
    assert history.changes(folder) == ()


@pytest.mark.parametrize("key", ["keys", "changes", "cautions", "plan", "sha256", "step_seconds"])
def test_a_history_with_values_of_another_kind_is_damaged(folder: StudyFolder, key: str) -> None:
    history.written(folder, made_study())
    folder.history.write_text(json.dumps({**json.loads(folder.history.read_bytes()), key: 3}))
    with pytest.raises(RunError, match=rf"history\.json is damaged \({key}"):
        history.changes(folder)


def test_a_plan_and_the_keys_of_its_runs_are_written_at_once(
    tmp_path: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(photos(tmp_path), seeds=1)
    history.written(folder, study, orders=orders(study, folder))
    keys = {one.name: one.key for one in orders(study, folder)}
    records = [
        type(one)(**{**vars(one), "key": keys[one.name]}) for one in made_results(study).records
    ]
    longer = changed(study, epochs=7)

    def killed(path: Path, content: bytes) -> None:
        """Write history.json, and end before plan.toml is written."""
        if path == folder.plan:
            raise KeyboardInterrupt
        write_atomically(path, content)

    monkeypatch.setattr(history, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        history.written(folder, longer, orders=orders(longer, folder))
    assert history.current(folder, records) == (), "records of the plan of before"


def test_a_study_that_was_killed_before_its_plan_was_written_can_begin_again(
    folder: StudyFolder,
) -> None:
    history.written(folder, made_study())
    assert holds_anything(folder)
    folder.plan.unlink()
    assert not holds_anything(folder)
    assert history.written(folder, made_study(seeds=7)) == ()
    assert history.changes(folder) == ()
    folder.plan.unlink()
    folder.records.mkdir()
    assert holds_anything(folder), "a study that has lost its plan"
