"""`sparring compare` as a user meets it: plans, the cost, the question, going on, and refusals."""

import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from study_stand_ins import StandIns, stand_ins

import sparring
from sparring.errors import ConfigError, RunError
from sparring.studies import keys
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Study
from sparring.studies.records import RunName
from sparring.studies.study_lock import locked
from tiny import Command, contents

__all__ = ["stand_ins"]


def arguments(photos: Path, out: Path, *more: str) -> list[str]:
    return [
        "compare",
        *("--data", str(photos), "--methods", "adco,mocov2", "--seeds", "2", "--out", str(out)),
        *more,
    ]


def answer(monkeypatch: pytest.MonkeyPatch, text: str | KeyboardInterrupt) -> None:
    """Sit at a terminal and type this; nothing is the end of the input."""

    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            if isinstance(text, KeyboardInterrupt):
                raise text
            return f"{text}\n" if text else ""

    monkeypatch.setattr(sys, "stdin", Terminal())


# Starting


def test_a_study_shows_its_cost_makes_its_runs_and_prints_the_answer(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    done = command(*arguments(photos, tmp_path / "study", "--yes"))
    assert done.code == 0, done.err
    assert "4 runs" in done.err
    assert "memory: a run needs up to 1.0 GiB" in done.err
    assert "note: 2 pairs" in done.err
    assert [sorted(map(str, names)) for names in stand_ins.ran] == [
        ["adco, seed 0", "adco, seed 1", "mocov2, seed 0", "mocov2, seed 1"]
    ]
    assert ["adco", "minus", "mocov2", "2", "-1.00"] in [
        line.split()[:5] for line in done.out.splitlines()
    ]
    assert f"page: {tmp_path / 'study' / 'study.html'}" in done.out
    assert f"next: sparring report {tmp_path / 'study'} --out study.html" in done.out
    assert len(done.out.splitlines()) <= 24
    assert stand_ins.engines[0]["engine"] == "local"


@pytest.mark.parametrize("typed", ["", KeyboardInterrupt()], ids=["Ctrl-D", "Ctrl-C"])
def test_what_follows_a_question_without_an_answer_has_a_line_of_its_own(
    command: Command,
    stand_ins: StandIns,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: str | KeyboardInterrupt,
) -> None:
    answer(monkeypatch, typed)
    done = command(*arguments(photos, tmp_path / "study"))
    assert "nothing is written" in done.err.splitlines()[-1]
    assert "Start? [y/N] \n" in done.err


def test_the_question_is_asked_before_anything_is_written(
    command: Command,
    stand_ins: StandIns,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer(monkeypatch, "n")
    done = command(*arguments(photos, tmp_path / "study"))
    assert done.code == 0
    assert "Start? [y/N]" in done.err
    assert "nothing is written" in done.err
    assert not (tmp_path / "study").exists()
    assert stand_ins.ran == []
    answer(monkeypatch, "y")
    assert command(*arguments(photos, tmp_path / "study")).code == 0
    assert len(stand_ins.ran) == 1


def test_without_a_terminal_nobody_is_asked_and_nothing_is_written(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    done = command(*arguments(photos, tmp_path / "study"))
    assert done.code == 2
    assert "give --yes" in done.error
    assert "--plan-only" in done.error
    assert list(tmp_path.iterdir()) == []
    assert stand_ins.measured == [], "what nobody can agree to is not measured"


def test_plan_only_prints_a_plan_that_can_be_used_and_writes_nothing(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    done = command(*arguments(photos, tmp_path / "study", "--plan-only", "--margin", "1"))
    assert done.code == 0
    assert list(tmp_path.iterdir()) == []
    assert "# 4 runs" in done.out
    study = Study.build(tomllib.loads(done.out))
    assert (study.margin, study.seeds, len(study.arms)) == (1.0, (0, 1), 2)
    (tmp_path / "PLAN.toml").write_text(done.out)
    again = command("compare", tmp_path / "PLAN.toml", "--out", tmp_path / "study", "--yes")
    assert again.code == 0, again.err
    apart = tmp_path / "elsewhere" / "other"
    found = json.loads(command(*arguments(photos, apart, "--plan-only", "--json")).out)
    assert found["cost"]["runs"] == 4
    assert found["plan"]["data"] == str(photos)


def test_json_holds_the_answer_the_arms_and_the_pairs(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    done = command(*arguments(photos, tmp_path / "study", "--yes", "--json"))
    found = json.loads(done.out)
    assert found["is_over"]
    assert [arm["arm"] for arm in found["arms"]] == ["adco", "mocov2"]
    assert all(arm["seeds"] == 2 for arm in found["arms"])


def test_options_become_fields_of_the_plan(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    more = [
        *("--shares", "1,0.5", "--equal", "both", "--protocol", "linear,knn", "--epochs", "3"),
        *("--threads", "2", "--set", "encoder.width=0.25", "--test", f"mine={photos}"),
    ]
    done = command(*arguments(photos, tmp_path / "study", "--plan-only", *more, "--twins"))
    assert done.code == 0, done.err
    study = Study.build(tomllib.loads(done.out))
    assert (study.shares, study.equal, study.protocols) == ((1.0, 0.5), "both", ("linear", "knn"))
    assert (study.epochs, study.threads) == (3, 2)
    assert study.settings == {"encoder": {"width": 0.25}}
    assert [test.name for test in study.tests] == ["mine"]
    assert [arm.name for arm in study.arms] == ["adco", "adco/queue", "mocov2"]
    assert stand_ins.measured == [True], "equal time needs the steps of every arm"


def test_all_twins_are_those_that_the_methods_declare(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    done = command(*arguments(photos, tmp_path / "study", "--plan-only", "--all-twins"))
    declared = {f"adco/{twin.name}" for twin in sparring.list_methods()["adco"].twins}
    found = {arm.name for arm in Study.build(tomllib.loads(done.out)).arms}
    assert len(declared) > 1
    assert found == {"adco", "mocov2", *declared}
    base = ["compare", "--data", photos, "--methods", "adco", "--controls", "--plan-only"]
    study = Study.build(tomllib.loads(command(*base).out))
    assert [arm.name for arm in study.arms] == ["adco", "mocov2"]


def test_early_stopping_looks_after_five_eight_and_twelve_pairs(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    base = ["compare", "--data", photos, "--methods", "adco,mocov2", "--stop-early"]
    done = command(*base, "--plan-only")
    study = Study.build(tomllib.loads(done.out))
    assert (study.looks, len(study.seeds)) == ((5, 8, 12), 12)
    assert "up to the first look" in done.out
    few = command(*base, "--plan-only", "--seeds", "5")
    assert few.code == 2
    assert "--seeds 8" in few.error


def test_equal_time_is_turned_into_steps_before_the_first_run(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    more = ["--yes", "--equal", "time", "--epochs", "2", "--set", "training.batch_size=16"]
    assert command(*arguments(photos, tmp_path / "study", *more)).code == 0
    assert stand_ins.measured == [True]
    steps = {
        one.name.arm: one.train["settings"]["training"].get("num_steps") for one in stand_ins.orders
    }
    # A step of mocov2 takes 1 s and one of adco 0.5 s; mocov2 keeps the 8 of its epochs.
    assert steps == {"adco": 16, "mocov2": None}
    assert command("compare", tmp_path / "study").code == 0
    assert stand_ins.measured == [True], "what was measured is kept"


# Going on


def test_the_same_command_goes_on_where_it_was_interrupted(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    stand_ins.stop_at = 3
    done = command(*arguments(photos, tmp_path / "study", "--yes"))
    assert done.code == 1
    assert done.error == (
        f"stopped; 3 runs are finished; go on with `sparring compare {tmp_path / 'study'}`"
    )
    stand_ins.stop_at = None
    done = command(*arguments(photos, tmp_path / "study"))
    assert done.code == 0, "what was agreed to once is not asked again"
    assert "3 of 4 runs are finished; 1 run left" in done.err
    assert [len(names) for names in stand_ins.ran] == [3, 1]
    assert len(stand_ins.measured) == 1
    done = command("compare", tmp_path / "study")
    assert done.code == 0
    assert "4 of 4 runs are finished" in done.err
    assert len(stand_ins.ran) == 2, "nothing is left to run"


def test_runs_that_fail_for_good_are_reported_and_tried_again_by_the_next_command(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    failing = RunName(arm="adco", seed=1)
    stand_ins.fails = {failing}
    done = command(*arguments(photos, tmp_path / "study", "--yes"))
    assert done.code == 1
    assert "failed: adco, seed 1: the worker was killed" in done.out
    assert "1 (1 failed)" in done.out
    assert len(stand_ins.ran) == 1, "not tried again and again by one command"
    stand_ins.fails = set()
    done = command("compare", tmp_path / "study")
    assert done.code == 0
    assert stand_ins.ran[-1] == [failing]


def test_a_study_with_looks_runs_the_first_pairs_first(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    base = ["compare", "--data", photos, "--methods", "adco,mocov2", "--stop-early"]
    stand_ins.points = lambda arm, seed: (2.2 if seed % 2 else -0.2) * (arm == "adco")
    assert command(*base, "--yes", "--out", tmp_path / "study").code == 0
    assert [len(names) for names in stand_ins.ran] == [10, 6, 8], "open at 5 and 8 pairs"


def test_a_study_whose_answer_is_clear_at_a_look_stops_there(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    base = ["compare", "--data", photos, "--methods", "adco,mocov2", "--stop-early"]
    stand_ins.points = lambda arm, seed: (3 + 0.1 * seed) * (arm == "adco")
    done = command(*base, "--yes", "--out", tmp_path / "study")
    assert [len(names) for names in stand_ins.ran] == [10]
    assert "better" in done.out
    assert "next: sparring report" in done.out


def test_another_plan_in_the_same_folder_is_refused_with_the_difference(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    command(*arguments(photos, tmp_path / "study", "--yes"))
    before = contents(tmp_path / "study")
    done = command(*arguments(photos, tmp_path / "study", "--yes", "--epochs", "7"))
    assert done.code == 2
    assert "holds a study with another plan" in done.error
    assert "queue_epochs" in done.error
    assert contents(tmp_path / "study") == before


def test_a_plan_that_was_edited_goes_on_after_a_question_and_says_what_changed(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    command(*arguments(photos, tmp_path / "study", "--yes"))
    plan = tmp_path / "PLAN.toml"
    text = (tmp_path / "study" / "plan.toml").read_text()
    plan.write_text(text.replace("seeds = [0, 1]", "seeds = [0, 1, 2]"))
    asked = command("compare", plan, "--out", tmp_path / "study")
    assert (asked.code, "give --yes" in asked.error) == (2, True)
    done = command("compare", plan, "--out", tmp_path / "study", "--yes")
    assert done.code == 0, done.err
    assert "the plan has changed, which every output will say: seeds: [0, 1] became" in done.err
    assert "disk: at most 2 MiB" in done.err, "what was measured holds for arms as they were"
    assert "64.0 GiB are free" in done.err
    assert [len(names) for names in stand_ins.ran] == [4, 2]


def test_finished_runs_of_other_settings_or_versions_are_made_again_after_a_question(
    command: Command,
    stand_ins: StandIns,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command(*arguments(photos, tmp_path / "study", "--yes"))
    monkeypatch.setattr(keys, "VERSIONS", ("sparring", "torch", "another"))
    asked = command("compare", tmp_path / "study")
    assert (asked.code, "give --yes" in asked.error) == (2, True)
    done = command("compare", tmp_path / "study", "--yes")
    assert "4 finished runs were made with other images, settings or another version" in done.err
    assert [len(names) for names in stand_ins.ran] == [4, 4]


def test_equal_runs_of_another_study_are_taken(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    first = tmp_path / "elsewhere" / "first"
    command(*arguments(photos, first, "--yes"))
    more = ["--yes", "--reuse", str(first), "--seeds", "3"]
    done = command(*arguments(photos, tmp_path / "second", *more))
    assert done.code == 0
    assert "2 runs (4 more are finished)" in done.err, "they cost nothing"
    assert f"4 finished runs are taken from {first}" in done.err
    assert [len(names) for names in stand_ins.ran] == [4, 2]
    done = command(*arguments(photos, tmp_path / "third", "--yes"))
    assert f"4 finished runs are taken from {first}" in done.err, "second lies beside it"
    assert len(stand_ins.ran) == 2


# Wrong input


REFUSED: list[tuple[list[str], str]] = [
    (["--seeds", "many"], "--seeds many: expected a number of pairs"),
    (["--seeds", "0"], "from 2 to 1,000"),
    (["--seeds", "inf"], "--seeds inf"),
    (["--seeds", "nan,1"], "--seeds nan,1"),
    (["--seeds", "99999999"], "from 2 to 1,000"),
    (["--seeds", f"{10**30},1"], "at most 18 digits"),
    (["--seeds", "1.5"], "--seeds 1.5"),
    (["--shares", "2"], "shares"),
    (["--equal", "steps"], "equal"),
    (["--margin", "0"], "margin"),
    (["--protocol", "nearest"], "nearest"),
    (["--protocol", "geometry"], "no score against labels"),
    (["--engine", "ray"], "engine 'ray'"),
    (["--workers", "0"], "workers"),
    (["--address", "host:8786"], "belongs to --engine dask"),
    (["--slurm", "partition=gpu"], "belongs to --engine slurm"),
    (["--slurm", "partition", "--engine", "slurm"], "--slurm partition: expected key=value"),
    (["--engine", "slurm"], "no command srun"),
    (["--engine", "dask", "--address", "127.0.0.1:1"], "no dask scheduler answers"),
    (["--set", "seed=4"], "give seeds, as --seeds"),
    (["--set", "training.device=cpu"], "give device, as --device"),
    (["--protocol", "knn,knn"], "knn stands twice"),
    (["--shares", "0.5,0.5"], "0.5 stands twice"),
    (["--set", "bank.size=64"], "arm 'mocov2': unknown setting 'bank'"),
    (["--test", "nowhere"], "no such file or folder"),
    (["--test", "=x"], "expected PATH or NAME=PATH"),
    (["--test", "a=x", "--test", "a=y"], "two test sets are called 'a'"),
    (["--set", "encoder"], "expected key=value"),
    (["--reuse", "nowhere"], "nowhere is not a study"),
    (["--minutes", "0"], "minutes must be a positive number, got 0; give"),
    (["--minutes", "-3"], "minutes must be a positive number, got -3; give"),
    (["--minutes", "nan"], "minutes must be a positive number, got nan; give"),
    (["--minutes", "9", "--engine", "dask"], "--minutes belongs to --engine local"),
    (["--minutes", "9", "--engine", "slurm"], "a job's limit is --slurm minutes=N"),
    (["--minutes", "9", "--plan-only"], "--plan-only makes none; leave one out"),
    (["--minutes", "9", "--watch"], "--watch makes none; leave one out"),
]


@pytest.mark.parametrize(("more", "said"), REFUSED, ids=lambda value: " ".join(value))
def test_a_wrong_option_is_refused_in_one_line_and_nothing_is_written(
    command: Command,
    stand_ins: StandIns,
    photos: Path,
    tmp_path: Path,
    more: Sequence[str],
    said: str,
) -> None:
    done = command(*arguments(photos, tmp_path / "study", "--yes", *more))
    assert done.code == 2
    assert said in done.error
    assert list(tmp_path.iterdir()) == []
    assert stand_ins.ran == []


def test_minutes_that_are_over_end_the_command_well_and_say_how_to_go_on(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "a study", stand_ins.make
    stand_ins.make = lambda orders: whole(orders[:3])
    done = command(*arguments(photos, out, "--yes", "--minutes", "9", "--workers", "1"))
    assert done.code == 0, done.err
    assert f"page: {out / 'study.html'}" in done.out
    assert done.err.splitlines()[-1] == (
        "3 of 4 runs are finished; 1 run left: about 2 minutes; go on with "
        f"`sparring compare '{out}' --minutes 9 --workers 1`"
    )
    stand_ins.make = whole
    done = command("compare", out, "--minutes", "9", "--workers", "1")
    assert done.code == 0, done.err
    assert "go on with" not in done.err
    assert [len(names) for names in stand_ins.ran] == [3, 1]


def test_an_arm_that_needs_more_than_the_minutes_is_named(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    whole = stand_ins.make
    stand_ins.make = lambda orders: whole(orders[:2])
    done = command(*arguments(photos, tmp_path / "study", "--yes", "--minutes", "1"))
    assert done.code == 0, done.err
    assert "a run of adco takes about 2 minutes, which needs more minutes" in done.err


def test_the_engine_is_told_the_limit_and_what_a_run_takes(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    command(*arguments(photos, tmp_path / "study", "--yes", "--minutes", "9", "--workers", "1"))
    limit = stand_ins.limits[-1]
    assert limit is not None
    assert limit.seconds == 540
    assert 0 < limit.left < 540
    name = RunName(arm="adco", seed=0)
    assert limit.durations.seconds(name, workers=1, room=2) == 600, "as measured beforehand"
    assert limit.durations.seconds(name, workers=4, room=2) == 1200
    command("compare", tmp_path / "study", "--minutes", "9")
    sparring.compare(tmp_path / "study", progress=False)
    assert len(stand_ins.limits) == 1, "all runs were finished"


def test_a_plan_needs_images_methods_and_a_folder(command: Command, stand_ins: StandIns) -> None:
    assert "--data PHOTOS --methods" in command("compare", "--out", "study").error
    assert "--out STUDY" in command("compare", "--data", "x", "--methods", "adco").error
    assert "name its folder" in command("compare", "--watch").error


def test_options_of_a_plan_do_not_go_with_a_plan(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    command(*arguments(photos, tmp_path / "study", "--yes"))
    done = command("compare", tmp_path / "study", "--seeds", "9")
    assert (done.code, "'seeds' belongs to a new plan" in done.error) == (2, True)
    done = command("compare", tmp_path / "study", "--out", tmp_path / "other")
    assert (done.code, "leave --out" in done.error) == (2, True)


def test_images_without_labels_are_refused(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for path in (photos / "red").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    done = command(*arguments(folder, tmp_path / "study", "--yes"))
    assert done.code == 2
    assert "labels" in done.error
    assert not (tmp_path / "study").exists()


def test_a_folder_with_something_else_or_without_permission_is_left_alone(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text").write_text("mine")
    done = command(*arguments(photos, tmp_path / "notes", "--yes"))
    assert (done.code, "not an empty folder" in done.error) == (2, True)
    done = command(*arguments(photos, tmp_path / "notes" / "text" / "study", "--yes"))
    assert done.code != 0
    assert "is not a folder" in done.error
    assert (tmp_path / "notes" / "text").read_text() == "mine"
    done = command("compare", tmp_path / "notes")
    assert (done.code, "is not a study" in done.error) == (2, True)


def test_a_study_in_use_is_refused(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    with locked(StudyFolder(tmp_path / "study")):
        done = command(*arguments(photos, tmp_path / "study", "--yes"))
    assert done.code == 2
    assert "is in use by another process" in done.error
    assert (stand_ins.ran, stand_ins.measured) == ([], [])


def test_a_study_is_held_while_it_runs(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    outcomes = []

    def again() -> None:
        stand_ins.while_running = lambda: None
        with pytest.raises(RunError, match="in use by another process"), locked(folder):
            pass
        outcomes.append("refused")

    folder = StudyFolder(tmp_path / "study")
    stand_ins.while_running = again
    assert command(*arguments(photos, tmp_path / "study", "--yes")).code == 0
    assert outcomes == ["refused"]


def test_a_plan_that_cannot_show_anything_is_refused_by_its_reason(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    done = command(*arguments(photos, tmp_path / "study", "--yes", "--seeds", "1"))
    assert done.code == 2
    assert "one seed makes one pair" in done.error
    assert not (tmp_path / "study").exists()


# In Python


def test_compare_returns_the_answer_and_read_study_reads_it_again(
    stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    done = sparring.compare(
        data=photos, methods=["adco", "mocov2"], seeds=2, out=tmp_path / "study", progress=False
    )
    assert done.is_over
    assert done.headline == done.analysis.headline
    assert stand_ins.measured == [], "nobody asked what it costs"
    again = sparring.read_study(tmp_path / "study")
    assert again.arms() == done.arms()
    found = sparring.compare(done.study, out=tmp_path / "own", progress=False)
    assert found.study == done.study
    with pytest.raises(ConfigError, match="unknown argument 'epoch'"):
        sparring.compare(data=photos, methods="adco", epoch=1, out=tmp_path / "x", progress=False)
    with pytest.raises(RunError, match="is not a study"):
        sparring.read_study(tmp_path)


# Reports


def test_a_report_of_a_study_needs_no_run_folders(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path
) -> None:
    command(*arguments(photos, tmp_path / "study", "--yes"))
    done = command("report", tmp_path / "study", "--out", tmp_path / "page.html")
    assert done.code == 0
    page = (tmp_path / "page.html").read_text()
    assert page == sparring.read_study(tmp_path / "study").headline


def test_a_report_of_runs_and_studies_together_is_refused(
    command: Command, stand_ins: StandIns, photos: Path, tmp_path: Path, trained: Path
) -> None:
    command(*arguments(photos, tmp_path / "study", "--yes"))
    page = tmp_path / "page.html"
    done = command("report", tmp_path / "study", trained, "--out", page)
    assert (done.code, "is a study" in done.error) == (2, True)
    done = command("report", tmp_path / "study", tmp_path / "study", "--out", page)
    assert (done.code, "one study or several runs" in done.error) == (2, True)
    assert not page.exists()
    done = command("report", tmp_path / "study", "--data", photos, "--out", page)
    assert (done.code, "names its images" in done.error) == (2, True)
