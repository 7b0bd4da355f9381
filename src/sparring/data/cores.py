"""Cores that decoding may use."""

import os

MAX_WORKERS = 8


def free_cores() -> int:
    """Cores that this process may use for decoding, at most `MAX_WORKERS`."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(MAX_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
