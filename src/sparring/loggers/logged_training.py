"""Loggers of a training: opened before its first step, told every record, closed however it
ends."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock

from sparring import distributed
from sparring.config import leaves, toml_text
from sparring.errors import StorageError
from sparring.files import write_atomically
from sparring.loggers.choosing import ChosenLogger
from sparring.loggers.logger import End, LoggedRun
from sparring.loggers.own_thread import LoggerThread, Record
from sparring.optim.schedule import Position
from sparring.regular_files import read_text
from sparring.training.loop import Training
from sparring.training.metrics import metrics_of, read_metrics

KEPT = "logs.json"
"""File of the run folder: by logger, what names its curves."""


@contextmanager
def logged(
    training: Training, chosen: Sequence[ChosenLogger], *, report: Callable[[str], None]
) -> Iterator[None]:
    """Log the training that runs inside this context; it goes on as without.

    A logger that fails costs one line, and is off from then on. Of several processes, the main one
    logs.

    Args:
        training: training before its run, at its first step or restored from a checkpoint.
        chosen: loggers, not opened yet.
        report: receives a line about every logger that fails.
    """
    if not chosen or not distributed.is_main():
        yield
        return
    logs = _TrainingLogs(training, chosen, report)
    heard = training.observe

    def observe(position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Tell the listener, then the loggers."""
        if heard is not None:
            heard(position, record, warning)
        logs.log(record)

    training.observe = observe
    end: End = "failed"
    try:
        yield
        end = "finished"
    except KeyboardInterrupt:
        end = "interrupted"
        raise
    finally:
        training.observe = heard
        logs.close(end)


class _TrainingLogs:
    """Open loggers of one training."""

    def __init__(
        self,
        training: Training,
        chosen: Sequence[ChosenLogger],
        report: Callable[[str], None],
    ) -> None:
        self._report = report
        self._path = training.folder.path / KEPT
        self._kept, self._lock = _read_kept(self._path), Lock()
        earlier = partial(_records_before, training.step, training.folder.metrics)
        self._threads = [
            LoggerThread(
                one,
                _logged_run(training, self._kept.get(one.name), report),
                earlier=earlier,
                keep=self._keeper(one.name),
            )
            for one in chosen
        ]

    def log(self, record: Mapping[str, float]) -> None:
        """Hand a record to every logger."""
        step, numbers = _numbers(record)
        for thread in self._threads:
            thread.log(step, numbers)
        self._tell()

    def close(self, end: End) -> None:
        """Close every logger."""
        for thread in self._threads:
            thread.end(end)
        for thread in self._threads:
            thread.wait()
        self._tell()

    def _tell(self) -> None:
        """Tell what the loggers have to say, on the thread of the training."""
        for thread in self._threads:
            for line in thread.lines():
                self._report(line)

    def _keeper(self, name: str) -> Callable[[str], None]:
        def keep(identity: str) -> None:
            """Keep what names the curves of a logger."""
            with self._lock:
                self._kept = {**self._kept, name: identity}
                write_atomically(self._path, (json.dumps(self._kept, indent=2) + "\n").encode())

        return keep


def _logged_run(training: Training, kept: str | None, report: Callable[[str], None]) -> LoggedRun:
    config, folder = training.config, training.folder.path.resolve()
    return LoggedRun(
        name=folder.name,
        folder=folder,
        settings=dict(leaves(config.tree())),
        text=toml_text(config.tree()),
        metrics=metrics_of(config.method, config.opponent),
        first_step=training.step,
        kept=kept,
        report=report,
    )


def _records_before(first_step: int, path: Path) -> Iterator[Record]:
    """Steps and finite numbers of the records before a step, in order."""
    for record in read_metrics(path) if first_step else ():
        if record["step"] < first_step:
            yield _numbers(record)


def _numbers(record: Mapping[str, float | None]) -> Record:
    """Step and finite numbers of a record."""
    step = int(record["step"] or 0)
    found = {
        name: value
        for name, value in record.items()
        if name != "step" and value is not None and math.isfinite(value)
    }
    return step, found


def _read_kept(path: Path) -> dict[str, str]:
    """What names the curves of each logger; empty if the file is missing or damaged."""
    try:
        found = json.loads(read_text(path)) if path.exists() else {}
    except (OSError, ValueError, RecursionError, StorageError):
        return {}
    texts = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in texts if isinstance(value, str)}
