"""Every try to make a run: when, where, how long, and how it ended, whoever asked for it.

The process that makes a run keeps a small file of its attempts and holds a lock meanwhile. So an
attempt whose process was killed is known afterwards, and two processes never make one run at once.
"""

import fcntl
import json
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sparring.errors import SparringError, UsageError
from sparring.files import make_folder, open_without_following, write_atomically
from sparring.regular_files import read_bytes
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunCall, RunOrder
from sparring.studies.records import Attempt, RunRecord
from sparring.studies.typed_json import from_json

FINISHED = "finished"
STOPPED = "stopped by a signal"
"""Outcome of an attempt that was asked to end; it is no failure."""
KILLED = "its process was killed, or its machine was lost"
"""Outcome of an attempt whose process ended without a word."""
_WAIT_SECONDS = 0.2
_LONGEST_REASON = 300


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Answer of an attempt that gave no record.

    Attributes:
        reason: one line.
        is_final: whether trying again cannot mend it.
    """

    reason: str
    is_final: bool = False


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Content of the file of a run's attempts."""

    key: str
    attempts: tuple[Attempt, ...]


class AttemptLog:
    """The attempts at one run of a study.

    Args:
        order: of the run.
    """

    def __init__(self, order: RunOrder) -> None:
        self._order, self._folder = order, StudyFolder(order.study)
        place = self._folder.place(order.name)
        self._path = self._folder.attempts / f"{place}.json"
        self._lock = self._folder.attempts / f".{place}.lock"
        self._began = 0.0

    def read(self) -> tuple[Attempt, ...]:
        """All attempts at the run as it is ordered now; an open one has an empty outcome."""
        kept = self._kept()
        return kept.attempts if kept is not None and kept.key == self._order.key else ()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process makes the run, and keep others from it meanwhile; where files
        cannot be locked, the lock of the run folder remains.

        Raises:
            StorageError: if the study cannot be written.
        """
        make_folder(self._lock.parent)
        number = open_without_following(self._lock, os.O_RDWR | os.O_CREAT)
        try:
            while True:
                try:
                    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(_WAIT_SECONDS)
                    continue
                except OSError:
                    pass
                break
            yield
        finally:
            os.close(number)

    def begin(self) -> None:
        """Open an attempt. One that is still open was killed; a run folder of another order is
        moved aside."""
        kept = self._kept()
        if kept is not None and kept.key != self._order.key:
            self._move_aside(kept.key)
        self.close_open(KILLED)
        self._began = time.time()
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self._began))
        self._write((*self.read(), Attempt(started=started, host=host(), seconds=0.0, outcome="")))

    def end(self, outcome: str) -> None:
        """Close the attempt that `begin` opened."""
        self._close(outcome, max(0.0, time.time() - self._began))

    def close_open(self, outcome: str) -> None:
        """Close an attempt of a process that has ended, as of its last sign of life."""
        attempts = self.read()
        if attempts and not attempts[-1].outcome:
            with suppress(ValueError):
                self._close(outcome, max(0.0, self._last_sign() - attempts[-1].began))

    def read_as_finished(self) -> tuple[Attempt, ...]:
        """All attempts, the open one as if it were finished now."""
        *before, last = self.read() or (None,)
        if last is None or last.outcome:
            return self.read()
        seconds = max(0.0, time.time() - last.began)
        return (*before, replace(last, outcome=FINISHED, seconds=round(seconds, 3)))

    def add(self, outcome: str) -> None:
        """Add an attempt that ended before its process could say that it had begun."""
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._write(
            (*self.read(), Attempt(started=started, host=host(), seconds=0.0, outcome=outcome))
        )

    def _close(self, outcome: str, seconds: float) -> None:
        *before, last = self.read()
        self._write((*before, replace(last, outcome=outcome, seconds=round(seconds, 3))))

    def _last_sign(self) -> float:
        """When the attempt's file or a file of the run folder was last written."""
        run = self._folder.run(self._order.name)
        files = [self._path, *run.glob("*"), *run.glob("checkpoint/*")]
        times = [0.0]
        for path in files:
            with suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(times)

    def _move_aside(self, key: str) -> None:
        """Keep the run folder of another order, which had this key, under another name."""
        run = self._folder.run(self._order.name)
        old = re.sub(r"[^\w.-]+", "-", key[:8])
        aside = run.with_name(f"{run.name}-before-{old}")
        number = 1
        while aside.exists():
            number += 1
            aside = run.with_name(f"{run.name}-before-{old}-{number}")
        with suppress(FileNotFoundError):
            run.rename(aside)

    def _kept(self) -> "_Kept | None":
        """What the file of the attempts holds; None if it is missing or damaged."""
        return _read(self._path)

    def _write(self, attempts: tuple[Attempt, ...]) -> None:
        tree = {"key": self._order.key, "attempts": [asdict(one) for one in attempts]}
        write_atomically(self._path, (json.dumps(tree, indent=1) + "\n").encode())


def attempts_of(folder: StudyFolder) -> list[Attempt]:
    """All attempts that a study knows of, whatever came of them; damaged files are left out."""
    kept = (_read(path) for path in sorted(folder.attempts.glob("*.json")))
    return [attempt for one in kept if one is not None for attempt in one.attempts]


def attempted(order: RunOrder, *, call: RunCall) -> RunRecord | Failure:
    """The record of a run, which is then in its study, or why there is none.

    A finished run is not made again. Engines send this function anywhere.

    Args:
        order: what to do.
        call: makes the run, or goes on with it.

    Raises:
        KeyboardInterrupt: if the call was asked to stop.
    """
    log, folder = AttemptLog(order), StudyFolder(order.study)
    with log.alone():
        if (there := finished_record(order)) is not None:
            return there
        log.begin()
        try:
            record = call(order)
        except Exception as error:
            failure = Failure(reason=reason_of(error), is_final=isinstance(error, UsageError))
            log.end(failure.reason)
            return failure
        except BaseException:
            log.end(STOPPED)
            raise
        log.end(FINISHED)
        record = replace(record, attempts=log.read())
        folder.write_record(record)
    return record


def finished_record(order: RunOrder) -> RunRecord | None:
    """The record of a finished run of this order in its own study; None if there is none, or it is
    damaged."""
    folder = StudyFolder(order.study)
    with suppress(OSError, ValueError):
        path = folder.records / f"{folder.place(order.name)}.json"
        record = RunRecord.decoded(read_bytes(path))
        if (record.key, record.name, record.status) == (order.key, order.name, "finished"):
            return record
    return None


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    if isinstance(error, SparringError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _read(path: Path) -> "_Kept | None":
    """What a file of attempts holds; None if it is missing or damaged."""
    with suppress(OSError, ValueError):
        return from_json(_Kept, read_bytes(path))
    return None


def host() -> str:
    """Name of this machine without its domain."""
    return platform.node().partition(".")[0]
