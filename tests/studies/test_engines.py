"""Engines: every run ends with a record, whatever happens to the processes that make it."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from toy_calls import (
    always_dies,
    always_fails,
    dies_once,
    fails_once,
    is_wrong,
    lasts,
    needs_several_limits,
    pids,
    saves_when_asked,
    succeeds,
    toy_order,
    toy_record,
)

from sparring.errors import ConfigError
from sparring.studies.attempts import AttemptLog, attempted
from sparring.studies.engines import run_orders
from sparring.studies.engines.engine import Work
from sparring.studies.engines.local import Worker, variables_of
from sparring.studies.engines.tries import MOST_SPARED, Tries
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunCall, RunOrder
from sparring.studies.records import Attempt, RunRecord
from told import Told

HERE = Path(__file__).parent
Run = Callable[..., list[RunRecord]]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that an engine starts find the toy calls."""
    places = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))


ENGINES = {
    "local": {},
    "dask": {},
    "slurm": {"executor": "local", "minutes": 1},
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) for name in ENGINES])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitit waits less long for the result of a job that was killed."""
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 1)


def run(orders: Sequence[RunOrder], engine: str, **more: object) -> list[RunRecord]:
    given: dict[str, object] = {"engine": engine, "workers": 2, "options": ENGINES[engine], **more}
    return run_orders(orders, **given)  # type: ignore[arg-type]


def outcomes(record: RunRecord) -> list[str]:
    return [one.outcome for one in record.attempts]


def test_every_run_has_a_record_in_the_order_asked_for(engine: str, tmp_path: Path) -> None:
    orders = [toy_order(tmp_path, number) for number in (3, 1, 2)]
    records = run(orders, engine, call=succeeds)
    assert [one.name for one in records] == [one.name for one in orders]
    assert {one.status for one in records} == {"finished"}
    written = StudyFolder(tmp_path).read_records()
    assert written == tuple(sorted(records, key=lambda one: one.name.seed))


def test_a_run_that_fails_is_tried_again_and_says_so(engine: str, tmp_path: Path) -> None:
    heard = Told()
    first, second = run(
        [toy_order(tmp_path, number) for number in (0, 1)], engine, call=fails_once, listener=heard
    )
    assert (first.status, second.status) == ("finished", "finished")
    assert outcomes(first) == ["finished"]
    assert outcomes(second) == ["RuntimeError: the disk hiccuped", "finished"]
    assert any("try 1 of 3 failed (RuntimeError: the disk hiccuped)" in it for it in heard.lines)
    assert heard.counts[-1] == ("runs", 2, 2)


def test_a_finished_run_tells_its_score_its_time_and_how_many_are_done(tmp_path: Path) -> None:
    orders, heard = [toy_order(tmp_path, number) for number in (0, 1)], Told()
    tries = Tries(orders, retries=0, listener=heard)
    tried = Attempt(started="", host="", seconds=41.6, outcome="finished")
    tries.takes(orders[1], replace(toy_record(orders[1]), attempts=(tried,)))
    tries.takes(orders[0], replace(toy_record(orders[0]), scores={}))
    assert heard.lines == [
        "game, seed 1: finished, kNN 51.0, 42 s (1 of 2)",
        "game, seed 0: finished (2 of 2)",
    ]


def test_a_run_that_keeps_failing_is_recorded_and_stops_no_other(
    engine: str, tmp_path: Path
) -> None:
    orders = [toy_order(tmp_path, number) for number in range(3)]
    records = run(orders, engine, call=always_fails)
    assert [one.status for one in records] == ["finished", "failed", "finished"]
    assert outcomes(records[1]) == ["RuntimeError: no luck"] * 3
    assert len(pids(orders[1])) == 3
    assert all(one.host and one.started for one in records[1].attempts)


def test_an_error_that_trying_cannot_mend_is_not_tried_again(engine: str, tmp_path: Path) -> None:
    orders = [toy_order(tmp_path, number) for number in range(2)]
    records = run(orders, engine, call=is_wrong)
    assert [one.status for one in records] == ["finished", "failed"]
    assert outcomes(records[1]) == ["batch size -1 is not positive"]
    assert len(pids(orders[1])) == 1


def test_a_killed_worker_costs_its_run_one_try(engine: str, tmp_path: Path) -> None:
    orders = [toy_order(tmp_path, number) for number in range(3)]
    records = run(orders, engine, call=dies_once)
    assert {one.status for one in records} == {"finished"}
    assert [len(one.attempts) for one in records] == [1, 2, 1]
    assert outcomes(records[1])[-1] == "finished"
    assert "killed" in outcomes(records[1])[0] or "ended early" in outcomes(records[1])[0]


def test_only_the_run_that_keeps_killing_its_worker_is_given_up(
    engine: str, tmp_path: Path
) -> None:
    orders = [toy_order(tmp_path, number) for number in range(4)]
    records = run(orders, engine, call=always_dies, retries=1)
    assert [one.status for one in records] == ["finished", "failed", "finished", "finished"]
    assert len(records[1].attempts) == len(pids(orders[1])) == 2


@pytest.mark.slow
def test_a_local_worker_is_used_for_many_runs(tmp_path: Path) -> None:
    orders = [toy_order(tmp_path, number) for number in range(4)]
    run(orders, "local", call=succeeds, workers=1)
    assert len({pid for order in orders for pid in pids(order)}) == 1


@pytest.mark.slow
def test_a_local_worker_that_died_while_it_was_idle_costs_no_try(tmp_path: Path) -> None:
    worker, orders = Worker({}), [toy_order(tmp_path, number) for number in range(2)]
    try:
        assert worker.submit(orders[0], succeeds).result().name == orders[0].name  # type: ignore[union-attr]
        (process,) = worker.processes
        process.kill()
        process.join()
        time.sleep(0.5)  # the pool notices by itself
        record = worker.submit(orders[1], succeeds).result()
        assert isinstance(record, RunRecord)
        assert outcomes(record) == ["finished"]
    finally:
        worker.close()


def test_a_run_that_another_process_makes_is_waited_for(tmp_path: Path) -> None:
    order, found = toy_order(tmp_path), list[object]()
    waits = threading.Thread(target=lambda: found.append(attempted(order, call=always_fails)))
    with AttemptLog(order).alone():
        waits.start()
        time.sleep(0.5)
        assert not found
        StudyFolder(tmp_path).write_record(toy_record(order))
    waits.join()
    assert found == [toy_record(order)]
    assert not pids(order)


@pytest.mark.slow
def test_runs_of_two_local_workers_are_made_at_the_same_time(tmp_path: Path) -> None:
    orders = [toy_order(tmp_path, number, seconds=3) for number in range(2)]
    run(orders, "local", call=lasts)
    first, second = (pids(order) for order in orders)
    assert first != second


@pytest.mark.slow
def test_a_given_dask_scheduler_is_used_while_its_workers_are_killed_at_random(
    tmp_path: Path,
) -> None:
    import distributed

    orders = [toy_order(tmp_path, number, seconds=0.5) for number in range(6)]
    draw = random.Random(0)
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
        memory_limit=0,
    ) as cluster:
        is_over = threading.Event()

        def kill() -> None:
            """Kill a worker's process from time to time, three in all."""
            for _ in range(3):
                if is_over.wait(draw.uniform(0.3, 1.0)):
                    return
                found = [one.process.process.pid for one in cluster.workers.values() if one.process]
                alive = [pid for pid in found if pid]
                if alive:
                    os.kill(draw.choice(alive), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            records = run(
                orders,
                "dask",
                call=lasts,
                retries=4,
                options={"address": cluster.scheduler_address},
            )
        finally:
            is_over.set()
            killer.join()
    assert {one.status for one in records} == {"finished"}
    assert all(outcomes(one)[-1] == "finished" for one in records)


@pytest.mark.slow
@pytest.mark.parametrize("call", [saves_when_asked, needs_several_limits])
def test_a_job_that_reaches_its_time_limit_is_queued_again_and_goes_on(
    call: RunCall, tmp_path: Path
) -> None:
    order = toy_order(tmp_path, steps=100)
    # The signal comes after ten seconds of a job: a hundred steps of a tenth need two jobs.
    options = {"executor": "local", "minutes": 0.5, "signal_seconds": 20}
    (record,) = run([order], "slurm", call=call, options=options, workers=1)
    assert record.status == "finished"
    assert len(pids(order)) > 1
    assert outcomes(record) == ["stopped by a signal"] * (len(pids(order)) - 1) + ["finished"]


def test_finished_runs_are_not_made_again(tmp_path: Path) -> None:
    orders = [toy_order(tmp_path, number) for number in range(2)]
    for order in orders:
        StudyFolder(tmp_path).write_record(succeeds(order))
    records = run(orders, "local", call=succeeds)
    assert [one.status for one in records] == ["finished", "finished"]
    assert [len(pids(order)) for order in orders] == [1, 1]


def test_an_unknown_engine_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'slrum'; did you mean 'slurm'"):
        run_orders([toy_order(tmp_path)], call=succeeds, engine="slrum")


def test_an_unknown_option_of_an_engine_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dask\.adress.*did you mean 'dask\.address'"):
        run_orders([toy_order(tmp_path)], call=succeeds, engine="dask", options={"adress": "x"})


@pytest.mark.parametrize(("engine", "module"), [("dask", "distributed"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_names_its_extra(
    engine: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install 'sparring\[{engine}\]'"):
        run_orders([toy_order(tmp_path)], call=succeeds, engine=engine)


def test_runs_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    orders = [toy_order(tmp_path, arm="adco/queue"), toy_order(tmp_path, arm="adco-queue")]
    with pytest.raises(ConfigError, match="would share the folder adco-queue-seed-0"):
        run_orders(orders, call=succeeds)


COMMAND = """
import json
import sys
from pathlib import Path
from sparring.studies.attempts import AttemptLog, attempted
from sparring.studies.engines import run_orders
from toy_calls import lasts, toy_order

if __name__ == "__main__":
    orders = [toy_order(Path(sys.argv[1]), number, seconds=float(sys.argv[2])) for number in (0, 1)]
    engine, options = sys.argv[3], json.loads(sys.argv[4])
    try:
        run_orders(orders, call=lasts, engine=engine, workers=2, options=options)
    except KeyboardInterrupt:
        sys.exit(75)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def begun(
    study: Path, *, script: Path, seconds: float, engine: str, **options: str
) -> subprocess.Popen[bytes]:
    """A command whose two runs have begun."""
    script.write_text(COMMAND)
    words = [str(script), str(study), str(seconds), engine, json.dumps(options)]
    process = subprocess.Popen([sys.executable, *words], start_new_session=True)
    orders = [toy_order(study, number, seconds=seconds) for number in (0, 1)]
    give_up_at = time.monotonic() + 120
    while not all(pids(order) for order in orders) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    return process


def workers_end(study: Path, seconds: float) -> bool:
    """Whether the processes of the two runs end within a minute."""
    orders = [toy_order(study, number, seconds=seconds) for number in (0, 1)]
    found = [pid for order in orders for pid in pids(order)]
    assert len(found) == 2
    give_up_at = time.monotonic() + 60
    while any(map(is_running, found)) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    return not any(map(is_running, found))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["local", "dask", "slurm"])
def test_a_signal_stops_the_command_and_its_workers(
    engine: str, number: signal.Signals, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    options = {"executor": "local"} if engine == "slurm" else {}
    process = begun(study, script=tmp_path / "command.py", seconds=600, engine=engine, **options)
    process.send_signal(number)
    assert process.wait(90) == 75
    assert workers_end(study, 600)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "dask"])
def test_workers_end_when_the_command_is_killed(engine: str, tmp_path: Path) -> None:
    study = tmp_path / "study"
    process = begun(study, script=tmp_path / "command.py", seconds=600, engine=engine)
    process.kill()
    process.wait()
    assert workers_end(study, 600)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_of_a_given_dask_scheduler_stop_when_the_command_ends(
    number: signal.Signals, tmp_path: Path
) -> None:
    import distributed

    study = tmp_path / "study"
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as cluster:
        address = cluster.scheduler_address
        script = tmp_path / "command.py"
        process = begun(study, script=script, seconds=600, engine="dask", address=address)
        process.send_signal(number)
        process.wait(90)
        orders = [toy_order(study, number, seconds=600.0) for number in (0, 1)]
        give_up_at = time.monotonic() + 60
        while not all(is_stopped(order) for order in orders) and time.monotonic() < give_up_at:
            time.sleep(0.1)
        assert all(is_stopped(order) for order in orders)
        assert all(map(is_running, [pid for order in orders for pid in pids(order)]))


def is_stopped(order: RunOrder) -> bool:
    return [one.outcome for one in AttemptLog(order).read()] == ["stopped by a signal"]


@pytest.mark.slow
def test_a_stopped_run_is_no_failure_and_goes_on(tmp_path: Path) -> None:
    study = tmp_path / "study"
    process = begun(study, script=tmp_path / "command.py", seconds=4, engine="local")
    process.send_signal(signal.SIGTERM)
    process.wait()
    orders = [toy_order(study, number, seconds=4.0) for number in (0, 1)]
    records = run(orders, "local", call=lasts, retries=0)
    assert [outcomes(one) for one in records] == [["stopped by a signal", "finished"]] * 2


def test_no_process_is_left_behind() -> None:
    assert not multiprocessing.active_children()


def test_each_worker_sees_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 3")
    orders = [toy_order(tmp_path, number, device="cuda") for number in range(3)]
    work = Work(
        orders=orders,
        call=succeeds,
        tries=None,  # type: ignore[arg-type]
        workers=None,
        folder=tmp_path,
        options=None,  # type: ignore[arg-type]
        listener=None,
    )
    assert work.num_workers == 2
    seen = [variables_of(work, number)["CUDA_VISIBLE_DEVICES"] for number in range(2)]
    assert seen == ["5", "3"]


SBATCH = """#!/bin/bash
cp "$1" "$SUBMITTED/$$.sh"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
if [ -z "$last" ]; then
    SLURM_JOB_ID=$$ bash "$1" > /dev/null 2>&1 &
else
    for task in $(seq 0 "$last"); do
        SLURM_ARRAY_JOB_ID=$$ SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=$$ bash "$1" > /dev/null 2>&1 &
    done
fi
echo "Submitted batch job $$"
"""
SRUN = """#!/bin/bash
exec "${@:6}"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the submitted scripts of a cluster that is this machine."""
    programs, submitted = tmp_path / "bin", tmp_path / "submitted"
    programs.mkdir()
    submitted.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SUBMITTED", str(submitted))
    return submitted


@pytest.mark.slow
def test_runs_are_submitted_to_slurm_as_an_array_with_the_given_options(
    cluster: Path, tmp_path: Path
) -> None:
    options = {
        "partition": "gpu",
        "minutes": 90,
        "gpus": 1,
        "memory_gb": 8,
        "further": {"slurm_account": "vision"},
    }
    orders = [toy_order(tmp_path / "study", number) for number in range(3)]
    records = run(orders, "slurm", call=fails_once, options=options)
    assert [len(one.attempts) for one in records] == [1, 2, 1]
    assert {one.status for one in records} == {"finished"}
    scripts = [path.read_text() for path in cluster.iterdir()]
    (array,) = [text for text in scripts if "--array" in text]
    assert len(scripts) == 2
    for line in (
        "--array=0-2%2",
        "--partition=gpu",
        "--time=90",
        "--gpus-per-node=1",
        "--mem=8GB",
        "--account=vision",
        "--cpus-per-task=1",
        "--requeue",
        "--signal=USR2@120",
    ):
        assert f"#SBATCH {line}\n" in array


def test_a_machine_without_slurm_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"engine slurm: .*srun"):
        run_orders([toy_order(tmp_path)], call=succeeds, engine="slurm")


def test_an_unknown_parameter_of_submitit_is_told_in_one_line(
    cluster: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"engine slurm: .*slurm_partitoin"):
        run_orders(
            [toy_order(tmp_path)],
            call=succeeds,
            engine="slurm",
            options={"further": {"slurm_partitoin": "x"}},
        )


def test_a_process_that_dies_before_its_run_began_costs_the_run_no_try(tmp_path: Path) -> None:
    order = toy_order(tmp_path)
    tries = Tries([order], retries=0, listener=None)
    for _ in range(MOST_SPARED):
        assert tries.loses(order, spares_unbegun=True)
    assert not tries.loses(order, spares_unbegun=True)
    begun_run = toy_order(tmp_path, 1)
    others = Tries([begun_run], retries=0, listener=None)
    AttemptLog(begun_run).begin()
    assert not others.loses(begun_run, spares_unbegun=True)
