"""State of a study's runs, read from its files alone, on any machine that sees them."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sparring.config import Tree, read_toml
from sparring.errors import ConfigError
from sparring.planning.study_cost import from_records, read_arm_costs, run_seconds
from sparring.studies import history
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Study
from sparring.studies.records import RunName, RunRecord, planned_runs
from sparring.studies.results import Results
from sparring.studies.study_lock import is_held, is_locked

Status: TypeAlias = Literal["waiting", "running", "stopped", "finished", "failed"]

QUIET_SECONDS = 90.0
"""Age of a run's newest file up to which the run counts as running."""
PATIENCE = 4
"""Pauses between two records of metrics after which a run counts as stopped, if that is longer."""
TAIL_BYTES = 1 << 16
"""Bytes at the end of metrics.jsonl that hold its last records."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """State of one run.

    Attributes:
        name: its place in the study.
        status: `stopped` is a run that has begun and that nothing works on now.
        step: steps made; None before the first record.
        steps: of the whole run; None if not known yet.
        images_per_second: at the last record.
        seconds_left: of a running run; None if not known.
        score: of a finished run on the primary protocol and test set, in points.
        why: why it failed, or was tried again.
    """

    name: RunName
    status: Status
    step: int | None = None
    steps: int | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    score: float | None = None
    why: str = ""

    @property
    def share_done(self) -> float:
        """Share of its steps that are made."""
        return 0.0 if not self.step or not self.steps else min(1.0, self.step / self.steps)


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """State of a study.

    Attributes:
        study: its plan.
        runs: every run of the plan.
        seconds_left: until all pairs are run with as many workers as there are now; None if not
            known, or if nothing runs.
        is_played: whether a process of this machine plays the study, perhaps between runs.
    """

    study: Study
    runs: tuple[RunState, ...]
    seconds_left: float | None
    is_played: bool = False

    def count(self, status: Status) -> int:
        """Number of runs in a state."""
        return sum(run.status == status for run in self.runs)

    def tree(self) -> Mapping[str, Any]:
        """The state as plain values."""
        counts = {
            status: self.count(status)
            for status in ("waiting", "running", "stopped", "finished", "failed")
        }
        runs = [asdict(run) for run in self.runs]
        times = {"seconds_left": self.seconds_left, "is_played": self.is_played}
        return {**counts, **times, "runs": runs}


def study_state(study: Study, folder: StudyFolder, *, now: float | None = None) -> StudyState:
    """State of all runs of a study.

    Args:
        study: its plan.
        folder: its folder; records that are being written are read the next time.
        now: seconds since 1970; None: the clock's.
    """
    now = time.time() if now is None else now
    results = Results(study=study, records=history.current(folder, folder.read_records()))
    runs = tuple(_run_state(results, folder, name, now) for name in planned_runs(study))
    return StudyState(
        study=study,
        runs=runs,
        seconds_left=_seconds_left(results, folder, runs),
        is_played=is_held(folder),
    )


def _run_state(results: Results, folder: StudyFolder, name: RunName, now: float) -> RunState:
    record = results.record(name)
    if record is not None and record.status == "finished":
        return RunState(name=name, status="finished", score=_score(results, record))
    records = last_records(folder.run(name) / "metrics.jsonl")
    age = 0.0 if _is_made_here(folder, name) else now - _newest(folder, name)
    if record is not None and age > QUIET_SECONDS:
        why = record.attempts[-1].outcome if record.attempts else "no reason is recorded"
        return RunState(name=name, status="failed", why=why)
    if not records:
        began = folder.run(name).exists() and age <= QUIET_SECONDS
        return RunState(name=name, status="running" if began else "waiting")
    last, pause = records[-1], _pause(records)
    step, steps = int(last["step"]) + 1, _num_steps(folder.run(name), last)
    is_running = age <= max(QUIET_SECONDS, PATIENCE * pause)
    speed = pause / max(1, step - 1 - int(records[-2]["step"])) if len(records) > 1 else None
    return RunState(
        name=name,
        status="running" if is_running else "stopped",
        step=step,
        steps=steps,
        images_per_second=last.get("images_per_second") if is_running else None,
        seconds_left=speed * (steps - step) if is_running and speed and steps else None,
    )


def _score(results: Results, record: RunRecord) -> float | None:
    """Score on the primary protocol and test set, in points."""
    primary = results.primary
    found = record.scores.get(primary.test, {}).get(primary.protocol)
    return None if found is None else 100 * found


def _is_made_here(folder: StudyFolder, name: RunName) -> bool:
    """Whether a process of this machine holds the lock of a run that is being made."""
    return is_locked(folder.attempts / f".{folder.place(name)}.lock")


def _newest(folder: StudyFolder, name: RunName) -> float:
    """When anything of a run was last written, in seconds since 1970; 0 for never."""
    run, place = folder.run(name), folder.place(name)
    files = [run, run / "metrics.jsonl", run / "checkpoint", run / "scores.json"]
    files.append(folder.attempts / f"{place}.json")
    times = [0.0]
    for path in files:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def last_records(path: Path) -> list[dict[str, Any]]:
    """The last records of metrics.jsonl that begin and end; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                found.append(record)
    return found


def _pause(records: Sequence[Mapping[str, Any]]) -> float:
    """Seconds between the last two records; 0 if a run has just begun or was resumed."""
    if len(records) < 2:
        return 0.0
    last, before = (float(record.get("seconds", 0.0)) for record in (records[-1], records[-2]))
    return max(0.0, last - before)


def _num_steps(run: Path, record: Mapping[str, Any]) -> int | None:
    """Steps of a whole run, by its configuration and by how far a record is."""
    try:
        training: Tree = read_toml(run / "config.toml").get("training", {})
    except ConfigError:
        return None
    epoch, epochs = record.get("epoch"), training.get("epochs")
    steps = training.get("num_steps")
    if not steps and epoch and epochs:
        steps = round((int(record["step"]) + 1) / epoch) * int(epochs)
    return min(int(steps), int(training.get("max_steps") or steps)) if steps else None


def _seconds_left(results: Results, folder: StudyFolder, runs: Sequence[RunState]) -> float | None:
    """Seconds until all runs are done by as many workers as work now."""
    working = [run for run in runs if run.status == "running"]
    kept = {one.arm: one for one in read_arm_costs(folder.path)}
    known = [
        from_records(kept.get(arm.name), arm.name, results.records) for arm in results.study.arms
    ]
    costs = {one.arm: one for one in known if one is not None}
    if not working or len(costs) < len(results.study.arms):
        return None
    left = 0.0
    for run in runs:
        if run.status in ("waiting", "running", "stopped"):
            whole = run_seconds(results.study, costs, run.name)
            left += (1 - run.share_done) * whole
    return left / len(working)
