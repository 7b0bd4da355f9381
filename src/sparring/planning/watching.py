"""Who watches a run while a few of its steps are made: a listener with a clock, and a stage on
which little is learned."""

import time
from collections.abc import Callable, Mapping

import torch

from sparring.config import Settings
from sparring.data.dataset import Dataset
from sparring.methods.stage import Learner
from sparring.optim.schedule import Progress
from sparring.planning.gauges import Gauge
from sparring.training.opponent_pretraining import Rehearsal

TIMED_MOVES = 3
"""Moves from which the time of what is learned before the first step is estimated, after a first
one that is slower."""


class Stopwatch:
    """Listens to a training and notes, after every step, the time and the peak of a memory.

    Args:
        gauge: of the memory.
        tell: told how many steps of how many are made.
        first: number of the first step.
        last: of the last one, plus one.
    """

    def __init__(
        self, gauge: Gauge, tell: Callable[[str, int, int], None], first: int, last: int
    ) -> None:
        self._gauge, self._tell, self._first, self._last = gauge, tell, first, last
        self.times: list[float] = []
        self.cpu_times: list[float] = []
        self.peaks: list[int] = []

    def start(self) -> None:
        """The training begins."""
        self._note()

    def report(self, line: str) -> None:
        """Nothing: the plan tells it later."""

    def count(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        self._tell(what, done, total)

    def observe(self, position: Progress, record: Mapping[str, float], warning: str | None) -> None:
        """A step is made; the last one's look is over, too."""
        self._note()
        self._tell("steps", position.step + 1 - self._first, self._last - self._first)

    def _note(self) -> None:
        self.times.append(time.monotonic())
        self.cpu_times.append(time.process_time())
        self.peaks.append(self._gauge.peak())


class TrialStage:
    """A `Stage` on which a learner makes a few moves, from which the time of all is estimated;
    nothing is kept.

    Args:
        kept: what was learned from these images before: it costs nothing again.
        dataset: images.
        device: where to compute.
    """

    def __init__(self, kept: Rehearsal, dataset: Dataset, device: torch.device) -> None:
        self.dataset, self.device, self.seconds = dataset, device, 0.0
        self._kept = kept

    def learn(self, learner: Learner, *, name: str, settings: Mapping[str, Settings]) -> None:
        """As told by `Stage`, but a few moves only."""
        self._kept.recall(learner, name=name, settings=settings)
        missing, moves = learner.total - learner.done, []
        for _ in range(min(1 + TIMED_MOVES, missing)):
            start = time.monotonic()
            learner.play(self.dataset)
            moves.append(time.monotonic() - start)
        if moves:
            timed = moves[1:] or moves
            self.seconds += missing * sum(timed) / len(timed)
