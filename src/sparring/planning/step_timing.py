"""Listeners that time a few steps of a run and of the opponent's pretraining."""

import time
from collections.abc import Callable, Mapping

from sparring.config import Settings
from sparring.data.images import Images
from sparring.methods.learning import Pretrainable
from sparring.optim.schedule import Position
from sparring.planning.memory_readers import MemoryReader
from sparring.training.opponent_pretraining import PretrainingCache


class StepTimer:
    """Listener that records time and peak memory after every training step.

    Args:
        memory: reader of the memory.
        on_progress: called with what is counted, the number done and the total.
        first: number of the first step.
        last: number of the last step plus one.
    """

    def __init__(
        self,
        memory: MemoryReader,
        on_progress: Callable[[str, int, int], None],
        first: int,
        last: int,
    ) -> None:
        self._memory, self._on_progress, self._first, self._last = memory, on_progress, first, last
        self.times: list[float] = []
        self.cpu_times: list[float] = []
        self.peaks: list[int] = []

    def start(self) -> None:
        """Record the start of the training."""
        self._note()

    def report(self, line: str) -> None:
        """Ignore a line of progress: the plan has its own."""

    def count(self, what: str, done: int, total: int) -> None:
        """Forward progress."""
        self._on_progress(what, done, total)

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Record a finished step, including the monitor pass of the last one."""
        self._note()
        self._on_progress("steps", position.step + 1 - self._first, self._last - self._first)

    def _note(self) -> None:
        self.times.append(time.monotonic())
        self.cpu_times.append(time.process_time())
        self.peaks.append(self._memory.peak())


class OpponentPretrainingTimer:
    """Stand-in for the cache of opponents that runs a few steps and estimates the time of all.

    Nothing is kept.

    Args:
        kept: results of earlier pretraining on these images, which cost nothing again.
        images: images to learn from.
        steps: timed steps, >= 0; the first step is slower and not timed.
    """

    def __init__(self, kept: PretrainingCache, images: Images, *, steps: int) -> None:
        self.seconds, self.seed = 0.0, kept.seed
        self._kept, self._images, self._steps = kept, images, steps

    def train(
        self,
        pretraining: Pretrainable,
        *,
        name: str,
        settings: Mapping[str, Settings],
        seed: int = 0,
    ) -> None:
        """Time a few pretraining steps, and add the estimated time of all missing ones to
        `seconds`."""
        self._kept.recall(pretraining, name=name, settings=settings, seed=seed)
        missing, durations = pretraining.total - pretraining.done, []
        for _ in range(min(1 + self._steps, missing) if self._steps else 0):
            start = time.monotonic()
            pretraining.train_step(self._images)
            durations.append(time.monotonic() - start)
        if durations:
            timed = durations[1:] or durations
            self.seconds += missing * sum(timed) / len(timed)
