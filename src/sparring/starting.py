"""What is to be settled before torch is imported: how its threads wait for each other, and how imports go fast."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

AWAKE, BRIEFLY = "20000", "1000"
"""Turns that GNU's OpenMP waits awake before a thread sleeps; its default is 300,000."""


def settle_waiting() -> None:
    """Let threads wait awake on an idle machine and briefly on a busy one, unless the user has said how.

    Many operations of a step take less time than it takes to wake a thread: on two idle cores a narrow ResNet's step is a tenth to a fifth
    faster when they wait awake. Beside one other busy program it is a third slower (benchmarks/openmp_spin.py), as those who wait take
    the core from those who work; 1,000 is what GNU takes itself when it knows of that.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", BRIEFLY if _is_busy() else AWAKE)


def _is_busy() -> bool:
    """Whether others keep half a core or more at work, over the last minute."""
    try:
        return os.getloadavg()[0] >= 0.5
    except (AttributeError, OSError):  # not on Windows
        return True


@contextmanager
def quick_imports() -> Iterator[None]:
    """Leave the garbage collector out for the duration: the hundreds of thousands of objects that imports make are there to stay.

    Looking through them time and again takes a quarter of the time in which PyTorch's companions are imported (benchmarks/start_up.py).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
