"""Stopping a run by a signal: the current step ends first, so that no half step is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals that stop a run: Ctrl-C, the usual request to end, a closed terminal, and the warning
that SLURM sends ahead of a time limit (`--signal=USR1@120`)."""


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
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    found = {number: signal.getsignal(number) for number in SIGNALS}
    previous = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}

    def listen(number: int, frame: FrameType | None) -> None:
        """Request a stop; the second time, stop at once."""
        if request.is_set:
            raise KeyboardInterrupt
        request.is_set = True

    for number in previous:
        signal.signal(number, listen)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
