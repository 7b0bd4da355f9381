"""Cores that this process may use, and those of them for decoding."""

import os

MAX_WORKERS = 8


def num_cores() -> int:
    """Cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def free_cores() -> int:
    """Cores that this process may use for decoding, at most `MAX_WORKERS`."""
    return max(1, min(MAX_WORKERS, num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
