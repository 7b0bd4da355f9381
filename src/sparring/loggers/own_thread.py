"""A logger on a thread of its own, so that a slow disk or a lost server holds up no step."""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TypeAlias

from sparring.loggers.choosing import ChosenLogger
from sparring.loggers.logger import End, LoggedRun

Record: TypeAlias = tuple[int, Mapping[str, float]]
"""Step, and the numbers of its record."""

CLOSE_SECONDS = 60.0
"""Longest time for which the end of a run waits for a logger, for example for an upload."""


class LoggerThread:
    """One logger of a run, opened at once; what it raises turns it off.

    Args:
        chosen: the logger.
        run: run for it to open.
        earlier: gives the records before the run's first step, for curves that are new.
        keep: keeps what the logger's `open` returned.
    """

    def __init__(
        self,
        chosen: ChosenLogger,
        run: LoggedRun,
        *,
        earlier: Callable[[], Iterable[Record]],
        keep: Callable[[str], None],
    ) -> None:
        self._name, self._logger = chosen.name, chosen.logger
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._run = replace(run, report=self._lines.put)
        self._earlier, self._keep = earlier, keep
        self._queue: SimpleQueue[Record | End] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"log {chosen.name}", daemon=True)
        self._thread.start()

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Hand over a record without waiting."""
        self._queue.put((step, numbers))

    def lines(self) -> list[str]:
        """What the logger has to tell since the last call: its own lines, and why it is off."""
        found = []
        with suppress(Empty):
            while True:
                found.append(self._lines.get_nowait())
        return found

    def end(self, end: End) -> None:
        """Ask for the end, without waiting."""
        self._queue.put(end)

    def wait(self) -> None:
        """Wait for the end that was asked for, `CLOSE_SECONDS` at most."""
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._turn_off(f"it has not ended within {CLOSE_SECONDS:.0f} s, and is left alone")

    def _work(self) -> None:
        """Open, log and close; after a failure, close what there is, whatever that raises."""
        end: End | None = None
        try:
            self._open()
            while not isinstance(item := self._queue.get(), str):
                self._logger.log(*item)
            end = item
            self._logger.close(end)
        except (Exception, SystemExit) as error:  # a logger may raise anything
            reason = " ".join(str(error).split())
            self._turn_off(f"{type(error).__name__}{f': {reason}' if reason else ''}")
            if end is None:
                with suppress(Exception, SystemExit):
                    self._logger.close("failed")

    def _open(self) -> None:
        """Open the logger, and give new curves what was recorded before."""
        found = self._logger.open(self._run)
        if found != self._run.kept:
            self._keep(found)
            for record in self._earlier():
                self._logger.log(*record)

    def _turn_off(self, reason: str) -> None:
        self._lines.put(f"warning: --log {self._name} is off, the training goes on: {reason}")
