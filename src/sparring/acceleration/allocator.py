"""Memory that a training frees is kept for its next step, where the C library would hand it back to
the system."""

import ctypes
import sys
from contextlib import suppress
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MAPPED = 32 * 2**20
"""Bytes from which on a tensor is still mapped: freed ones do not fit each other exactly, and large
holes cost more than their pages. No version of glibc takes more than this."""
_LARGEST = 2**31 - 1


@cache
def keep_freed_memory() -> None:
    """Let this process reuse the memory of large tensors; on Linux with glibc, elsewhere nothing
    changes.

    By default what is freed at the end of the heap goes back, and each of its pages costs a fault
    at its next first touch: a step of a narrow ResNet on a CPU takes longer
    (benchmarks/allocator.py). In exchange, memory once used stays with the process.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # another C library has no such function
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _MAPPED)
        library.mallopt(_TRIM_THRESHOLD, _LARGEST)
