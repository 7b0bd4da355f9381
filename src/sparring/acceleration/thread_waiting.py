"""A setting needed before torch is imported: how its threads wait for each other."""

import os

from sparring import acceleration

SPINS = "5000"
"""Turns that GNU's OpenMP waits awake before a thread sleeps; its default is 300,000, and 1,000
where it knows that cores are wanted."""


def settle_waiting() -> None:
    """Let threads wait awake for a short time, unless the user has said how.

    Many operations of a step take less time than it takes to wake a thread, so waiting awake pays
    on an idle machine; beside other programs those who wait take the core from those who work. On
    two cores, a narrow ResNet's step at 1,000, 5,000 and 300,000: 1, 1.04 and 1.09 idle; 1, 0.93
    and 0.59 beside one busy program (benchmarks/openmp_spin.py). With fast paths off in the
    environment, the libraries' default stays; a run's configuration comes too late for this one.
    """
    if acceleration.is_on() and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
