"""Which runs a command still starts whose time is limited."""

import time
from collections.abc import Callable, Sequence

from sparring.studies.attempts import STOPPED, AttemptLog, Failure
from sparring.studies.durations import Durations
from sparring.studies.orders import RunOrder
from sparring.studies.records import RunRecord


class TimeLimit:
    """Time for all runs of one command together.

    Args:
        seconds: of the command.
        durations: what is known of how long runs take.
        began: when the command began, by the clock; None: now.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        seconds: float,
        *,
        durations: Durations,
        began: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds, self.durations = seconds, durations
        self._clock = clock
        self._began = clock() if began is None else began

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._began + self.seconds - self._clock())

    def learn(self, answer: RunRecord | Failure, *, beside: float | None = None) -> None:
        """Note how long a run took; see `Durations.learn`."""
        if isinstance(answer, RunRecord):
            self.durations.learn(answer, beside=beside)

    def next_place(self, waiting: Sequence[RunOrder], *, workers: int, room: int) -> int | None:
        """Place of the next run to start; None if none would end in time.

        Args:
            waiting: runs in the order in which they are wanted.
            workers: runs at the same time.
            room: runs that do not slow each other down.
        """

        def expected(order: RunOrder) -> float | None:
            """Seconds until the run would end."""
            whole = self.durations.seconds(order.name, workers=workers, room=room)
            spent = seconds_before_stops(order)
            return None if whole is None or whole <= spent else whole - spent

        return next_place(waiting, expected=expected, left=self.left, whole=self.seconds)


def next_place(
    waiting: Sequence[RunOrder],
    *,
    expected: Callable[[RunOrder], float | None],
    left: float,
    whole: float,
) -> int | None:
    """Place of the first run that ends in time; None if there is none.

    A run of which nothing is known is started. One that is too long for the time that is left lets
    later ones pass, as it comes first in the next command. One that is too long for any command
    lets only its own seed pass: without it, no pair of a later seed is complete.

    Args:
        waiting: runs in the order in which they are wanted.
        expected: seconds until a run would end; None: not known.
        left: seconds.
        whole: seconds of a whole command.
    """
    if left <= 0:
        return None
    only_seed: int | None = None
    for place, order in enumerate(waiting):
        if only_seed not in (None, order.name.seed):
            return None
        seconds = expected(order)
        if seconds is None or seconds <= left:
            return place
        if seconds > whole:
            only_seed = order.name.seed
    return None


def seconds_before_stops(order: RunOrder) -> float:
    """Seconds of the run's attempts that were asked to stop, and saved what they had."""
    return sum(one.seconds for one in AttemptLog(order).read() if one.outcome == STOPPED)
