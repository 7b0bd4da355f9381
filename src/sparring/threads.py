"""How PyTorch's threads wait for each other on a CPU; to be settled before torch is imported."""

import os

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
