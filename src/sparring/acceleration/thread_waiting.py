"""Settings needed before torch is imported: how its threads wait for each other."""

import os

from sparring import acceleration

SPINS = "5000"
"""Number of iterations that GNU OpenMP spins before a thread sleeps; its default is 300,000, or
1,000 if it knows that there are more threads than cores."""


def settle_waiting() -> None:
    """Let threads spin for a short time before they sleep, unless the user has set it.

    Many operations of a step take less time than waking a thread, so spinning pays on an idle
    machine; next to other programs, spinning threads take the cores from those that work. On two
    cores, a narrow ResNet's step at 1,000, 5,000 and 300,000 spins takes 1, 1.04 and 1.09 on an
    idle machine, and 1, 0.93 and 0.59 next to one busy program (benchmarks/openmp_spin.py).
    With fast paths off in the environment, the libraries' default stays; a run's configuration is
    read too late for this setting.
    """
    if acceleration.is_on() and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
