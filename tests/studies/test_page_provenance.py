"""The section on how a study was made: commands that repeat a run, plan, runs, environment."""

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_studies import made_results, made_study
from page_views import Checked, view_of

from sparring.command.options import settings_tree
from sparring.config import Tree, merged
from sparring.studies import history
from sparring.studies.folder import StudyFolder
from sparring.studies.page.commands import evaluate_commands, in_lines, train_command
from sparring.studies.page.environments import entries
from sparring.studies.page.provenance import section
from sparring.studies.page.view import PageView
from sparring.studies.plan import Arm, Study
from sparring.studies.records import Attempt, RunName, RunRecord
from sparring.training.configure import configure


@pytest.fixture
def view(tmp_path: Path) -> PageView:
    return view_of(made_results(made_study()), StudyFolder(tmp_path))


def changed(view: PageView, change: Callable[[RunRecord], RunRecord]) -> PageView:
    results = view.results
    return view_of(replace(results, records=tuple(map(change, results.records))), view.folder)


def run_of(study: Study, arm: Arm, further: Tree) -> RunRecord:
    """Run whose configuration has further settings than the plan's."""
    config = configure(
        study.data,
        method=arm.method,
        opponent=list(arm.opponent),
        recipe=f"{arm.method}-small",
        settings=merged(study.settings, arm.settings, further),
        seed=3,
        epochs=study.epochs,
    ).tree()
    name = RunName(arm=arm.name, seed=3, share=0.5)
    return RunRecord(name=name, key="", status="finished", config=config)


@pytest.mark.parametrize("place", range(3))
def test_the_command_of_an_arm_gives_its_configuration_again(place: int) -> None:
    study = made_study(settings={"training": {"batch_size": 32}})
    arm = study.arms[place]
    record = run_of(study, arm, {"data": {"limit": 500}, "encoder": {"backbone": "resnet34"}})
    words = shlex.split(train_command(study, arm, record).replace("\\\n", " "))
    assert words[:3] == ["OMP_NUM_THREADS=1", "sparring", "train"]
    options = list(zip(words[3::2], words[4::2], strict=True))
    given = dict(options)
    again = configure(
        given["--data"],
        method=given["--method"],
        recipe=given["--recipe"],
        settings=settings_tree([value for name, value in options if name == "--set"]),
        seed=int(given["--seed"]),
        epochs=int(given["--epochs"]),
    ).tree()
    assert again == record.config
    assert words.count("--set") == 3 + (arm.name == "adco/queue")


def test_opponents_are_given_in_their_order() -> None:
    arm = Arm(name="two", method="simclr", opponent=("perturbation", "generator"))
    command = train_command(Study(data="photos", arms=(arm,)), arm)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[5:10] == [*["--method", "simclr"], "--opponent", "perturbation", "--opponent"]


def test_an_arm_whose_package_is_missing_still_has_a_command() -> None:
    arm = Arm(name="own", method="gone.py:Method", settings={"own": {"rate": 0.5}})
    study = Study(data="photos", arms=(arm,))
    record = RunRecord(
        name=RunName(arm="own", seed=0), key="", status="finished", config={"method": "x"}
    )
    command = train_command(study, arm, record)
    assert "--method gone.py:Method" in command
    assert "own.rate=0.5" in command


def test_long_commands_break_between_options_and_paths_are_quoted() -> None:
    command = in_lines(["sparring", "train", "--data", "my photos", *["--set", "a=1"] * 20])
    assert command.startswith("sparring train --data 'my photos'")
    assert max(map(len, command.splitlines())) <= 100
    assert all(line.endswith(" \\") for line in command.splitlines()[:-1])
    assert shlex.split(command.replace("\\\n", " ")).count("a=1") == 20


def test_every_test_set_has_a_command_with_the_protocols_settings() -> None:
    study = made_study(
        protocol_settings={"linear": {"epochs": 5}},
        tests=[{"name": "fifth", "data": ""}, {"name": "far", "data": "a b", "train_data": "c"}],
    )
    fifth, far = evaluate_commands(study, study.arms[1], 2)
    assert "--data" not in fifth
    assert "--data 'a b' --train-data c" in far
    assert "adco-queue-seed-2" in far
    assert "--set linear.epochs=5" in far


def test_the_page_has_a_command_for_each_arm_and_the_whole_study(view: PageView) -> None:
    text = Checked(section(view)).text
    assert text.count("sparring train") == 3
    assert f"sparring compare {view.folder.plan} --out {view.folder.path}" in text.replace(
        " \\\n   ", ""
    )
    assert "Commands as the runs recorded them (15)" in text


def test_failed_runs_are_shown_with_every_attempt(view: PageView) -> None:
    tries = tuple(
        Attempt(
            started="2026-11-24T10:00:00+0000",
            host="node7",
            seconds=30.0,
            outcome=f"the worker was killed, try {number}",
        )
        for number in range(3)
    )

    def failed(one: RunRecord) -> RunRecord:
        is_failed = one.name == RunName(arm="mocov2", seed=4)
        return replace(one, status="failed", scores={}, attempts=tries) if is_failed else one

    page = section(changed(view, failed))
    assert "1 run was given up and was left out of every number" in page
    for one in tries:
        assert one.outcome in page
    assert "node7" in page
    assert "2026-11-24 10:00" in page
    assert "No run was given up" in section(view)


def test_runs_of_several_attempts_and_of_other_studies_are_listed(view: PageView) -> None:
    def again(one: RunRecord) -> RunRecord:
        if one.name.seed:
            return one
        lost = replace(one.attempts[0], outcome="the machine vanished")
        return replace(one, attempts=(lost, *one.attempts), taken_from="../older")

    page = section(changed(view, again))
    assert "Finished after several attempts (3)" in page
    assert "the machine vanished" in page
    assert "Taken from other studies (3)" in page
    assert "../older" in page


def test_runs_without_a_record_are_listed(tmp_path: Path) -> None:
    study = made_study(seeds=8, looks=[5, 8])
    missing = [RunName(arm=arm.name, seed=seed) for seed in (5, 6, 7) for arm in study.arms]
    page = section(view_of(made_results(study, missing=missing), StudyFolder(tmp_path)))
    assert "9 of 24 planned runs have no record" in page
    assert "a study that stops early does not need" in page
    hole = view_of(made_results(study, missing=missing[1:2]), StudyFolder(tmp_path))
    assert "does not need" not in section(hole)


def test_environments_that_differ_are_marked_with_their_runs(view: PageView) -> None:
    def other(one: RunRecord) -> RunRecord:
        is_other = one.name == RunName(arm="adco", seed=2)
        return replace(one, environment={**one.environment, "torch": "2.9" if is_other else "2.8"})

    page = section(changed(view, other))
    assert "Not all runs had the same torch" in page
    assert "2.9 <small>(1 run: adco, seed 2)</small>" in page
    assert "equal for all" in section(view)


def test_an_entry_that_some_runs_lack_differs(view: PageView) -> None:
    first, *others = view.results.records
    found = entries([replace(first, environment={"threads": 1, "torch": "2.8"}), *others])
    assert [*found["torch"]] == ["2.8", "not recorded"]
    assert [*found["threads"]] == ["1"]


def test_settings_that_differ_between_the_arms_of_a_contrast_are_a_table(view: PageView) -> None:
    page = section(view)
    assert "Settings of adco and mocov2: 1 differs" in page
    assert "Settings of adco and adco/queue: equal" in page


def test_an_arm_whose_runs_differ_in_more_than_the_seed_is_told(view: PageView) -> None:
    def other(one: RunRecord) -> RunRecord:
        return replace(one, config={**one.config, "bank": {"size": 10 + one.name.seed % 2}})

    page = section(changed(view, other))
    assert "Runs of adco differ in bank.size besides the seed." in page
    assert "besides the seed" not in section(view)


def test_arms_that_were_tuned_more_are_marked(view: PageView) -> None:
    tree = made_study().tree()
    tree["arms"][0]["tuning"] = {"trials": 12, "images": "validation photos"}
    page = section(view_of(made_results(Study.build(tree)), view.folder))
    assert "adco was tuned with more trials than adco/queue and mocov2" in page
    assert "validation photos" in page
    assert "The plan says of no arm that its settings were tuned" in section(view)


def test_notes_of_runs_stand_once_with_their_runs(view: PageView) -> None:
    def noted(one: RunRecord) -> RunRecord:
        return replace(one, note="the network was given") if one.name.seed < 1 else one

    assert section(changed(view, noted)).count("the network was given") == 1


def test_the_plan_in_the_folder_is_shown_as_it_was_written(view: PageView) -> None:
    assert "data = &quot;photos&quot;" in section(view)
    view.folder.plan.write_text("# as it was written <down>\n")
    assert "# as it was written &lt;down&gt;" in section(view)


def test_the_time_and_the_hash_of_the_plan_are_shown_and_later_changes_marked(
    view: PageView,
) -> None:
    history.written(view.folder, view.study)
    digest = hashlib.sha256(view.folder.plan.read_bytes()).hexdigest()
    page = section(view)
    assert digest in page
    assert "was not changed since" in page
    history.written(view.folder, made_study(margin=0.25))
    page = section(view)
    assert digest in page  # of the plan as it was first written
    assert "It was changed later, in 1 place" in page
    assert "margin: 0.5 became 0.25" in page


def test_a_damaged_history_is_a_sentence(view: PageView) -> None:
    history.written(view.folder, view.study)
    view.folder.history.write_text("{")
    assert "Whether the plan was changed is not known" in section(view)


def test_what_the_arms_of_a_seed_share_is_listed(view: PageView) -> None:
    page = section(view)
    assert "What the runs of one seed share" in page
    assert "First weights of the backbone: the same for all arms of a seed" in page
    assert "The same for all seeds" not in page
    fixed = made_study(settings={"data": {"limit": 100, "limit_seed": 0}})
    assert "The same for all seeds: data.limit_seed=0." in section(
        view_of(made_results(fixed), view.folder)
    )


def test_a_method_that_is_not_there_is_told(view: PageView) -> None:
    tree = made_study().tree()
    tree["arms"][2]["method"] = "no_such_package.module:Method"
    page = section(view_of(made_results(Study.build(tree)), view.folder))
    assert "What the arms of a seed share cannot be told here" in page


def test_a_study_without_any_run_has_its_plan_and_commands(tmp_path: Path) -> None:
    results = replace(made_results(made_study()), records=())
    page = section(view_of(results, StudyFolder(tmp_path)))
    assert "15 of 15 planned runs have no record" in page
    assert page.count("sparring train") == 3
    Checked(page)


def test_texts_from_outside_are_escaped(view: PageView) -> None:
    hostile = "<script>x</script>"

    def bad(one: RunRecord) -> RunRecord:
        return replace(
            one,
            environment={"command": hostile, hostile: f"{hostile}{one.name.seed}"},
            config={hostile: hostile, "seed": one.name.seed, "a": one.name.arm + hostile},
            note=hostile,
            taken_from=hostile,
            attempts=(replace(one.attempts[0], outcome=hostile, host=hostile),) * 2,
        )

    page = section(changed(view, bad))
    assert "<script" not in page
    Checked(page)
