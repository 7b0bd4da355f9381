"""TensorBoard: curves in event files of the run folder, and the settings as text."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparring.files import make_folder
from sparring.loggers.logger import End, LoggedRun

PREFIX = "events.out.tfevents"
"""Beginning of the names of files that TensorBoard reads."""


class TensorBoardLogger:
    """Logger that writes event files.

    Args:
        place: folder in which the run gets a folder of its own name; None: `tensorboard` in the run
            folder.
    """

    def __init__(self, place: str | None = None) -> None:
        self._place = place
        self._known: set[str] = set()

    def open(self, run: LoggedRun) -> str:
        """Begin an event file; on resuming, TensorBoard drops the points that will come again.

        Returns:
            path of the first event file, relative to the run folder where it is inside.
        """
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._events, self._summaries, self._metrics = event_pb2, summary_pb2, run.metrics
        first = None if run.kept is None else run.folder / run.kept
        goes_on = first is not None and first.is_file()
        folder = first.parent if first is not None and goes_on else self._new_folder(run)
        make_folder(folder)
        path = folder / f"{PREFIX}.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        # Not TensorBoard's own writer: it has a thread, which prints a traceback on a full disk.
        self._writer: Any = RecordWriter(path.open("xb"))
        self._write(file_version="brain.Event:2")
        if goes_on:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(session_log=start, step=run.first_step)
        settings = text_pb("settings", f"```toml\n{run.text}```")
        self._write(summary=settings, step=run.first_step)
        run.report(f"curves: tensorboard --logdir {folder}")
        if goes_on:
            assert run.kept is not None
            return run.kept
        return str(path.relative_to(run.folder) if path.is_relative_to(run.folder) else path)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write one point of each curve."""
        summary = self._summaries.Summary()
        for name, value in numbers.items():
            summary.value.add(tag=name, simple_value=value, metadata=self._described(name))
        self._write(summary=summary, step=step)

    def close(self, end: End) -> None:
        """Close the file; TensorBoard has no word for how a run ended."""
        self._writer.close()

    def _write(self, **content: Any) -> None:
        event = self._events.Event(wall_time=time.time(), **content)
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def _described(self, name: str) -> Any:
        """Title and meaning of a number, which TensorBoard takes from its first point; else
        None."""
        if name in self._known:
            return None
        self._known.add(name)
        found = self._metrics.get(name)
        if found is None:
            return None
        # Some titles end with the unit of a report, where accuracies are shares of 100.
        return self._summaries.SummaryMetadata(
            display_name=found.title.removesuffix(", %") or name, summary_description=found.meaning
        )

    def _new_folder(self, run: LoggedRun) -> Path:
        """Folder without event files for a run's curves."""
        if self._place is None:
            folder = run.folder / "tensorboard"
        else:
            folder = Path(self._place).expanduser().resolve() / run.name
        found, number = folder, 1
        while found.is_dir() and any(found.glob(f"{PREFIX}*")):
            number += 1
            found = folder.with_name(f"{folder.name}-{number}")
        return found
