"""What watches a run while a few of its steps are made: a listener with a clock, and a cache of
opponents that lets them learn a little only."""

import time
from collections.abc import Callable, Mapping

from sparring.config import Settings
from sparring.data.images import Images
from sparring.methods.learning import Pretrainable
from sparring.optim.schedule import Position
from sparring.planning.gauges import Gauge
from sparring.training.opponent_pretraining import PretrainingCache

TIMED_STEPS = 3
"""Steps from which the time of what is learned before the first step is estimated, after a first
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

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """A step is made; the last one's look is over, too."""
        self._note()
        self._tell("steps", position.step + 1 - self._first, self._last - self._first)

    def _note(self) -> None:
        self.times.append(time.monotonic())
        self.cpu_times.append(time.process_time())
        self.peaks.append(self._gauge.peak())


class TrialCache:
    """An `OpponentCache` that makes a few steps only, from which the time of all is estimated;
    nothing is kept.

    Args:
        kept: what was learned from these images before: it costs nothing again.
        images: images to learn from.
    """

    def __init__(self, kept: PretrainingCache, images: Images) -> None:
        self.seconds = 0.0
        self._kept, self._images = kept, images

    def train(
        self, pretraining: Pretrainable, *, name: str, settings: Mapping[str, Settings]
    ) -> None:
        """Make a few steps and estimate the time of all."""
        self._kept.recall(pretraining, name=name, settings=settings)
        missing, steps = pretraining.total - pretraining.done, []
        for _ in range(min(1 + TIMED_STEPS, missing)):
            start = time.monotonic()
            pretraining.train_step(self._images)
            steps.append(time.monotonic() - start)
        if steps:
            timed = steps[1:] or steps
            self.seconds += missing * sum(timed) / len(timed)
