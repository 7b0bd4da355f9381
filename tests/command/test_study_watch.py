"""What `sparring compare STUDY --watch` reads from a study's files, and shows."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_studies import made_results, made_study
from rich.console import Console
from study_stand_ins import StandIns, stand_ins

from sparring.command import study_watch
from sparring.command.study_state import RunState, StudyState, last_records, study_state
from sparring.config import toml_text
from sparring.planning.study_cost import ArmCost, write_arm_costs
from sparring.studies import history
from sparring.studies.attempts import AttemptLog
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.plan import Study
from sparring.studies.records import RunName, RunRecord
from sparring.studies.study_lock import locked
from tiny import Command

__all__ = ["stand_ins"]

NOW = 1_000_000.0


def begun(
    folder: StudyFolder, name: RunName, *, step: int, ago: float = 1.0, epochs: int = 10
) -> Path:
    """A run folder that is at this step of 100, and was written to so many seconds ago."""
    run = folder.run(name)
    run.mkdir(parents=True)
    (run / "config.toml").write_text(f"[training]\nepochs = {epochs}\n")
    lines = [
        {"step": at, "epoch": (at + 1) / 10, "seconds": 2.0 * (at + 1), "images_per_second": 512.0}
        for at in range(9, step, 10)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for path in (*run.iterdir(), run):
        os.utime(path, (NOW - ago, NOW - ago))
    return run


def state_of(name: RunName, state: StudyState) -> RunState:
    return next(run for run in state.runs if run.name == name)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study of three arms and two seeds; seed 0 of the first arm is finished."""
    study = made_study(seeds=2)
    found = StudyFolder(tmp_path / "study")
    found.path.mkdir()
    found.plan.write_text(toml_text(study.tree()))
    first = made_results(study).record(RunName(arm="adco", seed=0))
    assert first is not None
    found.write_record(first)
    return found


def test_runs_wait_run_stand_still_are_finished_or_have_failed(folder: StudyFolder) -> None:
    failed = RunName(arm="mocov2", seed=1)
    whole = made_results(made_study(seeds=2)).record(failed)
    assert whole is not None
    attempts = (replace(whole.attempts[0], outcome="out of memory"),)
    folder.write_record(RunRecord(name=failed, key="", status="failed", attempts=attempts))
    begun(folder, RunName(arm="adco", seed=1), step=50)
    begun(folder, RunName(arm="mocov2", seed=0), step=30, ago=500)
    state = study_state(made_study(seeds=2), folder, now=NOW)
    found = {str(run.name): run.status for run in state.runs}
    assert found == {
        "adco, seed 0": "finished",
        "adco, seed 1": "running",
        "adco/queue, seed 0": "waiting",
        "adco/queue, seed 1": "waiting",
        "mocov2, seed 0": "stopped",
        "mocov2, seed 1": "failed",
    }
    assert state_of(failed, state).why == "out of memory"


def test_a_run_that_a_process_holds_is_running_however_long_it_writes_nothing(
    folder: StudyFolder,
) -> None:
    name = RunName(arm="adco", seed=1)
    begun(folder, name, step=100, ago=5000)
    study = made_study(seeds=2)
    assert state_of(name, study_state(study, folder, now=NOW)).status == "stopped"
    order = RunOrder(name=name, key="", study=str(folder.path), data="")
    with AttemptLog(order).alone():
        assert state_of(name, study_state(study, folder, now=NOW)).status == "running"


def test_a_length_in_steps_is_the_length(folder: StudyFolder) -> None:
    name = RunName(arm="adco", seed=1)
    (begun(folder, name, step=50) / "config.toml").write_text(
        "[training]\nepochs = 10\nnum_steps = 80\n"
    )
    assert state_of(name, study_state(made_study(seeds=2), folder, now=NOW)).steps == 80


def test_a_running_run_says_its_step_speed_and_time_left(folder: StudyFolder) -> None:
    name = RunName(arm="adco", seed=1)
    begun(folder, name, step=50)
    run = state_of(name, study_state(made_study(seeds=2), folder, now=NOW))
    assert (run.step, run.steps, run.images_per_second) == (50, 100, 512.0)
    assert run.seconds_left == pytest.approx(50 * 2.0)


def test_the_time_left_counts_what_waits_and_what_runs_by_finished_runs_or_the_plan(
    folder: StudyFolder,
) -> None:
    study = made_study(seeds=2)
    begun(folder, RunName(arm="adco", seed=1), step=50)
    assert study_state(study, folder, now=NOW).seconds_left is None, "of two arms nothing is known"
    write_arm_costs(
        folder.path, [ArmCost(arm=arm.name, training_seconds=1000.0) for arm in study.arms]
    )
    # Four runs of 1,000 s wait, and half of one of 130 s, by the finished run, is left.
    found = study_state(study, folder, now=NOW).seconds_left
    assert found == pytest.approx(4 * 1000 + 130 / 2)


def test_a_line_that_is_being_written_is_read_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_records(path) == []
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"st')
    assert last_records(path) == [{"step": 1}, {"step": 2}]


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(20_000)))
    found = last_records(path)
    assert found[-1] == {"step": 19_999}
    assert len(found) < 10_000


def text_of(state: StudyState, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(study_watch.shown(state, where="study"))
    return capture.get()


def test_the_table_shows_scores_shares_and_reasons(folder: StudyFolder) -> None:
    begun(folder, RunName(arm="adco", seed=1), step=50)
    begun(folder, RunName(arm="mocov2", seed=0), step=30, ago=500)
    shown = text_of(study_state(made_study(seeds=2), folder, now=NOW))
    assert any(line.split()[:1] == ["adco"] and "50 %" in line for line in shown.splitlines())
    assert "30 %?" in shown
    assert "50 of 100" in shown
    assert "512" in shown
    assert "1 of 6 runs finished, 1 running, 1 stopped, 3 waiting" in shown


def test_a_study_of_which_nothing_runs_says_how_to_go_on(folder: StudyFolder) -> None:
    shown = text_of(study_state(made_study(seeds=2), folder, now=NOW))
    assert "nothing runs now; go on with `sparring compare study`" in shown
    with locked(folder):
        shown = text_of(study_state(made_study(seeds=2), folder, now=NOW))
    assert "go on with" not in shown, "its process is about to begin a run"


def test_many_seeds_are_counted_and_the_first_ones_shown(tmp_path: Path) -> None:
    study = made_study(seeds=40)
    shown = text_of(study_state(study, StudyFolder(tmp_path), now=NOW), width=120)
    assert "the first 12 of 40 seeds" in shown
    assert "0 of 120 runs finished, 120 waiting" in shown


def test_without_a_terminal_the_table_is_printed_once(
    command: Command, stand_ins: StandIns, folder: StudyFolder
) -> None:
    done = command("compare", folder.path, "--watch")
    assert (done.code, done.err) == (0, "")
    assert "1 of 6 runs finished, 5 waiting" in done.out
    found = json.loads(command("compare", folder.path, "--watch", "--json").out)
    assert (found["finished"], found["waiting"], len(found["runs"])) == (1, 5, 6)


def test_watching_starts_and_writes_nothing(
    command: Command, stand_ins: StandIns, folder: StudyFolder
) -> None:
    before = sorted(folder.path.rglob("*"))
    command("compare", folder.path, "--watch")
    assert sorted(folder.path.rglob("*")) == before
    assert stand_ins.ran == []


class Terminal:
    """Standard output that is a terminal."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def states(study: Study, *, finished: list[int]) -> Callable[[], StudyState]:
    """One state after the other, with so many finished runs; then Ctrl-C."""
    left = iter(finished)

    def read() -> StudyState:
        number = next(left, None)
        if number is None:
            raise KeyboardInterrupt
        return StudyState(
            study=study,
            seconds_left=None,
            runs=tuple(
                RunState(
                    name=RunName(arm=arm.name, seed=seed),
                    status="finished" if at < number else "waiting",
                )
                for at, (seed, arm) in enumerate(
                    (seed, arm) for seed in study.seeds for arm in study.arms
                )
            ),
        )

    return read


def watched(monkeypatch: pytest.MonkeyPatch, finished: list[int]) -> tuple[str, list[float]]:
    """What a terminal shows of these states, and the pauses between them."""
    terminal, pauses = Terminal(), list[float]()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(study_watch.time, "sleep", pauses.append)
    read: Any = states(made_study(seeds=2), finished=finished)
    study_watch.watch(read, as_json=False, where="study")
    return "".join(terminal.written), pauses


def test_on_a_terminal_the_table_follows_until_the_study_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, pauses = watched(monkeypatch, [1, 3, 6])
    assert len(pauses) == 2
    assert "3 of 6 runs finished" in shown
    assert "next: sparring report study" in shown


def test_ctrl_c_leaves_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, pauses = watched(monkeypatch, [1])
    assert len(pauses) == 1
    assert "Traceback" not in shown


def test_a_run_of_another_plan_is_not_shown_as_finished(folder: StudyFolder) -> None:
    study, name = made_study(seeds=2), RunName(arm="adco", seed=0)
    folder.plan.unlink()
    order = RunOrder(name=name, key="of the plan now", study=str(folder.path), data="photos")
    history.written(folder, study)
    assert state_of(name, study_state(study, folder, now=NOW)).status == "finished"
    history.written(folder, study, orders=[order])
    assert state_of(name, study_state(study, folder, now=NOW)).status == "waiting"
