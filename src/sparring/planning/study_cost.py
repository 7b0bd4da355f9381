"""Time, memory and disk of a whole study, from plans of its arms, before anything starts."""

import heapq
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from sparring.files import write_atomically
from sparring.regular_files import read_bytes
from sparring.studies.equal_time import reference_arm
from sparring.studies.plan import Study
from sparring.studies.records import RunName, RunRecord, planned_runs
from sparring.studies.typed_json import from_json
from sparring.training.memory_model import MARGIN

COST_FILE = "cost.json"
"""File in a study's folder that keeps what the cost was computed from."""


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What one run of an arm takes, on all images and with its own number of steps.

    Attributes:
        arm: name of the arm.
        measured_as: arm whose steps were measured; empty: seconds are those of finished runs.
        step_seconds: one step.
        training_seconds: everything up to the last checkpoint.
        scoring_seconds: scores on all test sets by all protocols, estimated.
        peak_bytes: peak memory of its process.
        store_bytes: part of it that are decoded images, which all runs share.
        disk_bytes: size of its run folder, at most.
        images: images that it trains on.
        room_bytes: memory that was free on the measured device.
        device: where its steps were measured.
        fits: whether one run fits into the free memory.
        is_rough: whether less than the planned batch was measured.
    """

    arm: str
    measured_as: str = ""
    step_seconds: float = 0.0
    training_seconds: float = 0.0
    scoring_seconds: float = 0.0
    peak_bytes: int = 0
    store_bytes: int = 0
    disk_bytes: int = 0
    images: int = 0
    room_bytes: int = 0
    device: str = "cpu"
    fits: bool = True
    is_rough: bool = True


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Processes that make the runs of a study.

    Attributes:
        count: their number.
        are_here: whether they run on this machine, whose memory and cores they share.
        is_given: whether the user chose the number.
        num_cores: cores of this machine.
        num_gpus: its CUDA devices.
    """

    count: int = 1
    are_here: bool = True
    is_given: bool = False
    num_cores: int = 1
    num_gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class StudyCost:
    """Cost of the runs of a study that are not finished.

    Attributes:
        arms: one run of each arm.
        runs: runs that are left, all pairs included.
        first_runs: those up to the first look of early stopping; equal to `runs` without.
        finished: runs that are finished already.
        seconds: until all pairs are run, divided over the workers.
        first_seconds: until the first look; equal to `seconds` without early stopping.
        disk_bytes: for the runs that are left and decoded images, at most.
        free_disk_bytes: free where the study is; None: not known.
        workers: what makes the runs.
        fitting_workers: workers whose runs fit into the free memory at the same time; None where
            their machines are not known.
        threads: of each run.
        unknown: protocols whose time is not in the estimate, as they train.
        notes: sentences about how the arms were measured.
    """

    arms: tuple[ArmCost, ...]
    runs: int
    first_runs: int
    finished: int
    seconds: float
    first_seconds: float
    disk_bytes: int
    free_disk_bytes: int | None
    workers: Workers
    fitting_workers: int | None
    threads: int = 1
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def tree(self) -> Mapping[str, Any]:
        """The cost as plain values, which `--json` prints."""
        return {**asdict(self), "margin": MARGIN}


def study_cost(
    study: Study,
    arms: Sequence[ArmCost],
    *,
    finished: Collection[RunName] = (),
    workers: Workers = Workers(),
    free_disk_bytes: int | None = None,
    unknown: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> StudyCost:
    """Cost of the runs of a study that are not finished.

    Args:
        study: the plan.
        arms: what one run of each arm takes.
        finished: runs that are not made again.
        workers: what makes the runs; a number that the user did not choose is lowered to what fits
            into memory.
        free_disk_bytes: free where the study is.
        unknown: protocols whose time cannot be estimated.
        notes: sentences about how the arms were measured.
    """
    of_arm = {one.arm: one for one in arms}
    fitting = fitting_workers(arms, workers)
    if fitting is not None and not workers.is_given:
        workers = replace(workers, count=max(1, min(workers.count, fitting)))
    stages = [[name for name in names if name not in finished] for names in _names_by_look(study)]
    spans = [
        _makespan([run_seconds(study, of_arm, name) for name in names], workers.count)
        for names in stages
    ]
    left = [name for names in stages for name in names]
    stored = max((one.store_bytes for one in arms), default=0) if left else 0
    return StudyCost(
        arms=tuple(arms),
        runs=len(left),
        first_runs=len(stages[0]),
        finished=len(study.seeds) * _runs_per_seed(study) - len(left),
        seconds=sum(spans),
        first_seconds=spans[0],
        disk_bytes=stored + sum(of_arm[name.arm].disk_bytes for name in left),
        free_disk_bytes=free_disk_bytes,
        workers=workers,
        fitting_workers=fitting,
        threads=study.threads,
        unknown=tuple(unknown),
        notes=tuple(notes),
    )


def run_seconds(study: Study, arms: Mapping[str, ArmCost], name: RunName) -> float:
    """Seconds that a run takes: those of its arm by its share of the images, or, at equal time,
    those of the arm whose time all others get."""
    own = arms[name.arm]
    timed = arms[reference_arm(study)] if name.budget == "time" else own
    return name.share * timed.training_seconds + own.scoring_seconds


def fitting_workers(arms: Sequence[ArmCost], workers: Workers) -> int | None:
    """Number of runs that fit into the free memory at the same time; decoded images count once.

    None where the memory is not known: on other machines, or without a measurement.
    """
    measured = [one for one in arms if one.peak_bytes and one.room_bytes]
    if not workers.are_here or not measured:
        return None
    stored = max(one.store_bytes for one in measured)
    largest = max(one.peak_bytes - one.store_bytes for one in measured)
    room = min(one.room_bytes for one in measured)
    per_device = int((room / MARGIN - stored) // max(1, largest))
    is_cuda = any(one.device.startswith("cuda") for one in measured)
    return max(0, per_device) * (max(1, workers.num_gpus) if is_cuda else 1)


def from_records(arm: ArmCost | None, name: str, records: Sequence[RunRecord]) -> ArmCost | None:
    """What a run of an arm takes, by its finished runs on all images; what was measured before
    where there is none.

    Args:
        arm: what was measured; None: nothing was.
        name: the arm.
        records: all records of the study.
    """
    own = [
        one
        for one in records
        if one.status == "finished" and (one.name.arm, one.name.budget) == (name, "images")
    ]
    if not own:
        return arm
    whole = median(_spent(one) / one.name.share for one in own)
    training = median(one.seconds / one.name.share for one in own)
    peaks = [one.peak_bytes for one in own if one.peak_bytes]
    return replace(
        arm or ArmCost(arm=name),
        measured_as="",
        step_seconds=median(one.seconds / max(1, one.steps) for one in own),
        training_seconds=training,
        scoring_seconds=max(0.0, whole - training),
        peak_bytes=max(peaks, default=arm.peak_bytes if arm else 0),
        is_rough=False,
    )


def write_arm_costs(folder: Path, arms: Sequence[ArmCost]) -> None:
    """Keep what was measured, so that a study that goes on need not measure again."""
    content = json.dumps([asdict(one) for one in arms], indent=1) + "\n"
    write_atomically(folder / COST_FILE, content.encode())


def read_arm_costs(folder: Path) -> list[ArmCost]:
    """What `write_arm_costs` kept; empty if it is missing or damaged."""
    try:
        return list(from_json(tuple[ArmCost, ...], read_bytes(folder / COST_FILE)))
    except (OSError, ValueError):
        return []


def _spent(record: RunRecord) -> float:
    """Seconds of training and scoring."""
    return max(record.seconds, sum(one.seconds for one in record.attempts))


def _runs_per_seed(study: Study) -> int:
    return len(study.arms) * len(study.shares) * len(study.budgets)


def _names_by_look(study: Study) -> list[list[RunName]]:
    """Runs up to the first look, then up to each later one; all in one without early stopping."""
    ends = sorted({look for look in study.looks if look < len(study.seeds)} | {len(study.seeds)})
    starts = [0, *ends[:-1]]
    return [
        planned_runs(study, study.seeds[first:last])
        for first, last in zip(starts, ends, strict=True)
    ]


def _makespan(seconds: Sequence[float], workers: int) -> float:
    """Seconds until all runs are done, each worker taking the longest that is left."""
    busy = [0.0] * max(1, workers)
    for length in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + length)
    return max(busy)
