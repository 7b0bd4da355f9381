"""Stopping a run by a signal: the current step ends first, so that no half step is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Flag that is set when a signal asks the run to stop."""

    def __init__(self) -> None:
        self.is_set = False


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a stop request within the context; a second signal stops at
    once. Has an effect in the main thread only."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in signals}

    def listen(number: int, frame: FrameType | None) -> None:
        """Request a stop; the second time, stop at once."""
        if request.is_set:
            raise KeyboardInterrupt
        request.is_set = True

    for number in signals:
        signal.signal(number, listen)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
