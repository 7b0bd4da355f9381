"""What a run of a study leaves behind, collected into its record."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparring.config import Tree
from sparring.files import write_atomically
from sparring.measures.negatives import NEGATIVE_METRICS
from sparring.optim.schedule import Position
from sparring.regular_files import read_bytes
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.records import CurvePoint, RunRecord
from sparring.studies.typed_json import from_json
from sparring.training.metrics import METRICS, read_metrics
from sparring.training.run_folder import RunFolder

LOOKS = ("knn_accuracy", "alignment", "uniformity", "effective_rank", "embedding_std")
"""The monitor's measures."""
MOST_ROWS = 200
"""Most records of the opponent's metrics that are kept."""


@dataclass(kw_only=True)
class RunProgress:
    """How far a run of a study is, in a small file of its run folder.

    Attributes:
        key: of the order that it belongs to.
        steps: of the finished training; 0 before.
        peak_bytes: peak memory of the training.
        scores: {test set: {protocol: what was found}}, for those that are scored.
    """

    key: str
    steps: int = 0
    peak_bytes: int | None = None
    scores: dict[str, dict[str, Tree]] = field(default_factory=dict)

    @classmethod
    def read(cls, run: RunFolder, key: str) -> "RunProgress":
        """The progress that a run folder holds; none if it is of another order, or damaged."""
        with suppress(OSError, ValueError):
            found = from_json(cls, read_bytes(_progress_file(run)))
            if found.key == key and run.backbone.exists() and run.has_checkpoint():
                return found
        return cls(key=key)

    def write(self, run: RunFolder) -> None:
        """Save the progress."""
        write_atomically(_progress_file(run), (json.dumps(vars(self), indent=1) + "\n").encode())


class RunClock:
    """Listener of a training that notes the time of each record, over all attempts.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path = run.path / "study-times.jsonl"
        rows = _read_rows(self._path)
        self._attempt = 1 + max((row["attempt"] for row in rows), default=-1)
        if rows:  # without a line that was cut off
            write_atomically(self._path, b"".join(map(_line, rows)))
        self._cpu_start = time.process_time()

    def report(self, line: str) -> None:
        """Take no notice of a line."""

    def count(self, what: str, done: int, total: int) -> None:
        """Take no notice of the progress of other work."""

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Note the time of a record of the training."""
        cpu = round(time.process_time() - self._cpu_start, 3)
        row = {"attempt": self._attempt, "step": position.step}
        with self._path.open("ab") as file:
            file.write(_line({**row, "seconds": record["seconds"], "cpu_seconds": cpu}))


@dataclass(frozen=True)
class Spent:
    """Time that a training had taken at some step, over all attempts."""

    seconds: float
    cpu_seconds: float


def times_of(run: RunFolder) -> dict[int, Spent]:
    """Time spent by each recorded step, in order.

    Each attempt's clock begins anew. What an attempt made after its last checkpoint was made again,
    and counts once.
    """
    kept: list[dict[str, Any]] = []
    attempt = None
    for row in _read_rows(run.path / "study-times.jsonl"):
        if row["attempt"] != attempt:
            attempt = row["attempt"]
            kept = [one for one in kept if one["step"] < row["step"]]
        kept.append(row)
    found: dict[int, Spent] = {}
    before = last = Spent(0.0, 0.0)
    for number, row in enumerate(kept):
        if number and row["attempt"] != kept[number - 1]["attempt"]:
            before = last
        last = Spent(before.seconds + row["seconds"], before.cpu_seconds + row["cpu_seconds"])
        found[row["step"]] = last
    return found


def collected(order: RunOrder, progress: RunProgress) -> RunRecord:
    """The record of a run whose training and scores are complete, without its attempts."""
    study = StudyFolder(order.study)
    run = RunFolder(study.run(order.name))
    config, records, times = run.read_config(), read_metrics(run.metrics), times_of(run)
    batch = config.training.batch_size
    spent = list(times.values())[-1] if times else Spent(0.0, 0.0)
    return RunRecord(
        name=order.name,
        key=order.key,
        status="finished",
        scores=_each(progress, "score"),
        start_scores=_each(progress, "start"),
        draws=_each(progress, "draws"),
        curve=tuple(curve(records, times, batch_size=batch)),
        opponent=tuple(opponent_rows(records)),
        steps=progress.steps,
        images=progress.steps * batch,
        seconds=round(spent.seconds, 3),
        cpu_seconds=round(spent.cpu_seconds, 3) if times else None,
        peak_bytes=progress.peak_bytes,
        predictions=_each(progress, "predictions"),
        config=config.tree(),
        environment=run.read_environment(),
        folder=str(run.path.relative_to(study.path)),
    )


def curve(
    records: Iterable[Mapping[str, float]], times: Mapping[int, Spent], *, batch_size: int
) -> Iterable[CurvePoint]:
    """Looks of the monitor.

    Args:
        records: of metrics.jsonl.
        times: see `times_of`.
        batch_size: images of a step.
    """
    seconds = 0.0
    for record in records:
        step = int(record["step"])
        seconds = times[step].seconds if step in times else seconds
        measures = {name: record[name] for name in LOOKS if record.get(name) is not None}
        if measures:
            yield CurvePoint(
                images=(step + 1) * batch_size, seconds=round(seconds, 3), measures=measures
            )


def opponent_rows(records: Sequence[Mapping[str, float | None]]) -> list[dict[str, float]]:
    """The method's own metrics at each record: all looks of the monitor, and of the other records
    at most `MOST_ROWS`, evenly chosen."""
    rows = []
    for record in records:
        own = {
            name: value
            for name, value in record.items()
            if value is not None and name not in METRICS and not name.startswith("learning_rate/")
        }
        if own and record["step"] is not None:
            rows.append({"step": record["step"], **own})
    looks = [row for row in rows if row.keys() & NEGATIVE_METRICS.keys()]
    others = [row for row in rows if not row.keys() & NEGATIVE_METRICS.keys()]
    if len(others) > MOST_ROWS:
        last = len(others) - 1
        others = [others[round(last * number / (MOST_ROWS - 1))] for number in range(MOST_ROWS)]
    return sorted([*looks, *others], key=lambda row: row["step"])


def _each(progress: RunProgress, key: str) -> dict[str, dict[str, Any]]:
    """One thing that was found, by test set and protocol."""
    return {
        test: {
            protocol: tuple(one[key]) if isinstance(one[key], list) else one[key]
            for protocol, one in found.items()
            if one.get(key) not in (None, "", [])
        }
        for test, found in progress.scores.items()
    }


def _progress_file(run: RunFolder) -> Path:
    return run.path / "study-progress.json"


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of `RunClock`, up to the first that is damaged."""
    rows: list[dict[str, Any]] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        for line in path.read_bytes().splitlines():
            row = json.loads(line)
            numbers = {name: float(row[name]) for name in ("seconds", "cpu_seconds")}
            rows.append({"attempt": int(row["attempt"]), "step": int(row["step"]), **numbers})
    return rows
