"""Stopping a run by a signal: the current step ends first, so that no half step is saved, and all
processes of a run stop after the same step."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sparring import distributed

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals that stop a run: Ctrl-C, the usual request to end, a closed terminal, and the warning
that SLURM sends ahead of a time limit (`--signal=USR1@120`)."""


REPEAT_SECONDS = 1.0
"""Time within which a second signal counts as the first one again, if there are several processes:
what starts them passes on what they may have received themselves."""
ASK_SECONDS = 1.0
"""Time between two questions of the processes to one another whether one of them is to stop."""
MOST_STEPS = 64
"""Most steps between two questions."""


class StoppedAtOnce(KeyboardInterrupt):
    """A second signal ended a run in the middle of a step.

    Attributes:
        num_lost: number of steps made since the last checkpoint.
    """

    def __init__(self, num_lost: int) -> None:
        super().__init__()
        self.num_lost = num_lost


class StopRequest:
    """Flag that is set when a signal asks the run to stop."""

    def __init__(self) -> None:
        self.is_set = False


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn `SIGNALS` into a stop request within the context; a second signal stops at once. Has an
    effect in the main thread only. A signal that is ignored from outside, as SIGHUP under nohup,
    stays ignored."""
    request, first_at = StopRequest(), time.monotonic()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    found = {number: signal.getsignal(number) for number in SIGNALS}
    previous = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}

    def listen(number: int, frame: FrameType | None) -> None:
        """Request a stop; the second time, stop at once."""
        nonlocal first_at
        now = time.monotonic()
        if not request.is_set:
            request.is_set, first_at = True, now
        elif distributed.num_processes() == 1 or now - first_at > REPEAT_SECONDS:
            raise KeyboardInterrupt

    for number in previous:
        signal.signal(number, listen)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class AgreedStop:
    """Stop request of any process, which all processes follow after the same step.

    About every `ASK_SECONDS` the processes find out whether one of them is asked to stop, on the
    CPU and while steps go on: a question that is put after one step is answered a number of steps
    later. That number follows from the slowest process's time per step, so it is the same for all.
    A run stops after two questions at most, and a single process after its step.

    Args:
        request: request to this process.
    """

    def __init__(self, request: StopRequest) -> None:
        self.is_set = False
        self._request = request
        self._question: distributed.Largest | None = None
        self._asked_at = time.monotonic()
        self._num_steps = self._num_left = 1

    def follows(self) -> bool:
        """Whether the run stops now; every process must call this after every step."""
        if distributed.num_processes() == 1:
            self.is_set = self._request.is_set
            return self.is_set
        self._num_left -= 1
        if self._num_left == 0:
            now = time.monotonic()
            seconds, self._asked_at = (now - self._asked_at) / self._num_steps, now
            if not self.settle():
                self._question = distributed.Largest(int(self._request.is_set), int(1e6 * seconds))
            self._num_left = self._num_steps
        return self.is_set

    def settle(self) -> bool:
        """Whether the run stops by what has been asked so far; every process must call this after
        the last step."""
        if self._question is not None:
            is_set, microseconds = self._question.result()
            self._question, self.is_set = None, bool(is_set)
            self._num_steps = min(
                max(1, int(1e6 * ASK_SECONDS) // max(1, microseconds)), MOST_STEPS
            )
        return self.is_set
