"""One run of a study, from its order to its record."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import HELD_OUT, content, tiny_order

from sparring.api import study_runs
from sparring.api.study_runs import make_run
from sparring.errors import SparringError, UsageError
from sparring.evaluation.predictions import Predictions
from sparring.studies.attempts import AttemptLog, attempted
from sparring.studies.collecting import MOST_ROWS, opponent_rows, times_of
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.plan import ScoredSet
from sparring.studies.records import RunRecord
from sparring.training.checkpoint import newest_checkpoint
from sparring.training.run_folder import RunFolder

STEPS = 8
"""Steps of a tiny run: two epochs of 64 images in batches of 16."""


def fails(*_: Any, **__: Any) -> Any:
    raise AssertionError("this is not to be called again")


@pytest.fixture
def order(photos: Path, tmp_path: Path) -> RunOrder:
    return tiny_order(tmp_path / "study", photos)


@pytest.mark.slow
def test_a_record_holds_what_tables_and_figures_need(order: RunOrder) -> None:
    record = make_run(order)
    assert (record.name, record.key, record.status) == (order.name, order.key, "finished")
    assert record.scores["held-out fifth"].keys() == {"knn"}
    assert 0 <= record.start_scores["held-out fifth"]["knn"] <= 1
    assert (record.steps, record.images) == (STEPS, 16 * STEPS)
    assert [point.images for point in record.curve] == [16 * 4, 16 * 8]
    assert record.curve[-1].measures.keys() >= {"knn_accuracy", "effective_rank"}
    assert [row["step"] for row in record.opponent] == list(range(2, STEPS))  # once it is full
    assert {"bank/mass", "step"} <= record.opponent[0].keys()
    assert not {"loss", "seconds", "images_per_second", "epoch"} & record.opponent[0].keys()
    assert record.seconds == record.curve[-1].seconds > 0
    assert record.cpu_seconds is not None
    assert record.cpu_seconds > 0
    assert (record.peak_bytes or 0) > 2**20
    assert record.config["bank"]["size"] == 32
    assert record.environment["threads"] == 1
    assert record.folder == "runs/adco-seed-0"
    study = Path(order.study)
    found = Predictions.read(study / record.predictions["held-out fifth"]["knn"])
    assert found.is_right.mean() == pytest.approx(record.scores["held-out fifth"]["knn"])
    assert StudyFolder(study).read_records() == (record,)


@pytest.mark.slow
def test_a_run_is_scored_on_every_test_set_by_every_protocol(order: RunOrder, photos: Path) -> None:
    tests = (HELD_OUT, ScoredSet(name="the / same", data=str(photos), train_data=str(photos)))
    settings = {"linear": {}, "semi-supervised": {"fractions": [0.5], "draws": 2}}
    short = {"steps": 2, "batch_size": 16}
    settings["semi-supervised"] |= {"tuning": short, "scratch": short}  # type: ignore[dict-item]
    protocols = ("knn", "linear", "semi-supervised")
    record = make_run(replace(order, tests=tests, protocols=protocols, protocol_settings=settings))
    for test in tests:
        assert record.scores[test.name].keys() == set(protocols)
        assert record.start_scores[test.name].keys() == set(protocols)
        assert record.draws[test.name].keys() == {"semi-supervised"}
        draws = record.draws[test.name]["semi-supervised"]
        assert len(draws) == 2
        assert sum(draws) / 2 == pytest.approx(record.scores[test.name]["semi-supervised"])
    files = [path for found in record.predictions.values() for path in found.values()]
    assert len(set(files)) == 6
    assert all((Path(order.study) / path).is_file() for path in files)


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on_without_training_again(
    order: RunOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = replace(order, tests=(HELD_OUT, replace_name(HELD_OUT, "again")))
    evaluate, calls = study_runs.evaluate, []

    def breaks(*given: Any, **options: Any) -> Any:
        calls.append(options["protocols"])
        if len(calls) == 2:
            raise RuntimeError
        return evaluate(*given, **options)

    monkeypatch.setattr(study_runs, "evaluate", breaks)
    with pytest.raises(RuntimeError):
        make_run(order)
    monkeypatch.setattr(study_runs, "train", fails)
    record = make_run(order)
    assert len(calls) == 3
    assert record.scores.keys() == {"held-out fifth", "again"}


def replace_name(test: ScoredSet, name: str) -> ScoredSet:
    return test.model_copy(update={"name": name})


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_run(tiny_order(tmp_path / "whole", photos))
    order, clock = tiny_order(tmp_path / "stopped", photos), study_runs.RunClock

    class Stops(clock):  # type: ignore[misc, valid-type]
        def observe(self, position: Any, *given: Any) -> None:
            super().observe(position, *given)
            if position.step == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(study_runs, "RunClock", Stops)
    with pytest.raises(KeyboardInterrupt):
        attempted(order, call=make_run)
    monkeypatch.setattr(study_runs, "RunClock", clock)
    record = attempted(order, call=make_run)
    assert isinstance(record, RunRecord)
    assert content(record) == content(whole)
    assert [one.outcome for one in record.attempts] == ["stopped by a signal", "finished"]
    weights = [
        (StudyFolder(tmp_path / name).run(order.name) / "backbone.safetensors").read_bytes()
        for name in ("whole", "stopped")
    ]
    assert weights[0] == weights[1]
    times = times_of(RunFolder(StudyFolder(order.study).run(order.name)))
    assert list(times) == list(range(STEPS))
    seconds = [one.seconds for one in times.values()]
    assert seconds == sorted(seconds)


COMMAND = """
import sys
from dataclasses import replace
from pathlib import Path
from sparring.api.study_runs import make_run
from sparring.studies.engines import run_orders
from tiny_study import tiny_order

if __name__ == "__main__":
    order = tiny_order(Path(sys.argv[1]), Path(sys.argv[2]), epochs=1000)
    training = order.train["settings"]["training"] | {"checkpoint_minutes": 60}
    settings = order.train["settings"] | {"training": training}
    run_orders([replace(order, train={**order.train, "settings": settings})], call=make_run)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_training_is_saved_when_its_command_ends(
    number: signal.Signals, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    order = tiny_order(tmp_path / "study", photos, epochs=1000)
    run = RunFolder(StudyFolder(order.study).run(order.name))
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    command = [sys.executable, str(script), order.study, str(photos)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(times_of(run)) > 5)
    assert not run.has_checkpoint()
    process.send_signal(number)
    process.wait(90)
    wait_until(lambda: [one.outcome for one in AttemptLog(order).read()] != [""])
    assert [one.outcome for one in AttemptLog(order).read()] == ["stopped by a signal"]
    assert newest_checkpoint(run.checkpoint)[1]["step"] == list(times_of(run))[-1] + 1


def wait_until(is_true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 120
    while not is_true() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert is_true()


@pytest.mark.slow
def test_threads_are_those_of_the_order_and_are_put_back(order: RunOrder) -> None:
    before = torch.get_num_threads()
    record = make_run(replace(order, threads=before + 1))
    assert record.environment["threads"] == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_the_folder_of_a_run_of_another_plan_is_kept_aside(order: RunOrder, photos: Path) -> None:
    first = attempted(order, call=make_run)
    longer = tiny_order(Path(order.study), photos, epochs=3)
    second = attempted(longer, call=make_run)
    assert isinstance(first, RunRecord)
    assert isinstance(second, RunRecord)
    assert (first.steps, second.steps) == (STEPS, 12)
    assert len(second.attempts) == 1
    names = {path.name for path in StudyFolder(order.study).runs.iterdir()}
    before = order.key[:8].replace(" ", "-")
    assert names == {"adco-seed-0", f"adco-seed-0-before-{before}"}


@pytest.mark.slow
def test_a_run_folder_in_use_may_be_tried_again_later(
    order: RunOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_runs, "PATIENCE_SECONDS", 0.0)
    with (
        RunFolder(StudyFolder(order.study).run(order.name)).locked(),
        pytest.raises(SparringError, match="in use by another process") as error,
    ):
        make_run(order)
    assert not isinstance(error.value, UsageError)


def test_the_call_is_pickled_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(make_run)) is make_run
    assert len(pickle.dumps(make_run)) < 100


def test_importing_the_engines_does_not_import_torch() -> None:
    code = (
        "import sys, sparring.studies.engines, sparring.studies.reuse; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def write_times(run: RunFolder, rows: list[tuple[int, int, float]], *, end: str = "") -> None:
    run.path.mkdir(parents=True)
    lines = [
        f'{{"attempt": {attempt}, "step": {step}, "seconds": {s}, "cpu_seconds": {2 * s}}}\n'
        for attempt, step, s in rows
    ]
    (run.path / "study-times.jsonl").write_text("".join(lines) + end)


def test_seconds_are_summed_over_attempts_without_lost_steps(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    # The second attempt goes on at step 2: what the first made of steps 2 and 3 is made again.
    write_times(run, [(0, 0, 1), (0, 1, 2), (0, 2, 3), (0, 3, 4), (1, 2, 5), (1, 3, 6), (2, 4, 1)])
    found = times_of(run)
    assert [one.seconds for one in found.values()] == [1, 2, 2 + 5, 2 + 6, 2 + 6 + 1]
    assert found[4].cpu_seconds == 2 * 9
    assert list(found) == [0, 1, 2, 3, 4]


def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    write_times(run, [(0, 0, 1.0)], end='{"attempt": 0, "st')
    clock = study_runs.RunClock(run)
    from sparring.optim.schedule import Position

    clock.observe(Position(step=1, num_steps=9, steps_per_epoch=9), {"seconds": 0.5}, None)
    assert [one.seconds for one in times_of(run).values()] == [1.0, 1.5]


def test_a_long_run_keeps_evenly_chosen_records_of_its_opponent() -> None:
    records = [{"step": 10 * number, "loss": 1.0, "bank/mass": 0.5} for number in range(5000)]
    rows = opponent_rows(records)
    assert len(rows) == MOST_ROWS
    assert (rows[0], rows[-1]) == (
        {"step": 0, "bank/mass": 0.5},
        {"step": 49990, "bank/mass": 0.5},
    )


def test_an_attempt_whose_process_was_killed_is_known_afterwards(tmp_path: Path) -> None:
    from toy_calls import succeeds, toy_order

    order = toy_order(tmp_path)
    killed = AttemptLog(order)
    killed.begin()
    record = attempted(order, call=succeeds)
    assert isinstance(record, RunRecord)
    first, second = record.attempts
    assert "killed" in first.outcome
    assert second.outcome == "finished"


@pytest.mark.slow
def test_a_record_tells_its_attempts_even_if_its_process_dies_right_after(
    order: RunOrder,
) -> None:
    AttemptLog(order).begin()
    assert [one.outcome for one in make_run(order).attempts] == ["finished"]
    (written,) = StudyFolder(order.study).read_records()
    assert [one.outcome for one in written.attempts] == ["finished"]


def test_a_damaged_file_of_attempts_costs_their_history_only(tmp_path: Path) -> None:
    from toy_calls import succeeds, toy_order

    order = toy_order(tmp_path)
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "game-seed-0.json").write_text('{"key": "x", "attempts": [{')
    record = attempted(order, call=succeeds)
    assert isinstance(record, RunRecord)
    assert len(record.attempts) == 1
