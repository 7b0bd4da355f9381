"""Allocator setting that keeps freed memory for the next training step.

By default the C library returns much of it to the system.
"""

import ctypes
import sys
from contextlib import suppress
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MAPPED = 32 * 2**20
"""Bytes from which on a tensor is still mapped separately: freed large blocks rarely fit the next
request, and large holes cost more than page faults. No version of glibc accepts more."""
_LARGEST = 2**31 - 1


@cache
def keep_freed_memory() -> None:
    """Let this process reuse the memory of large tensors.

    Has an effect on Linux with glibc only.

    By default, freed memory at the end of the heap goes back to the system, and each page costs a
    fault when it is next touched, which slows a step of a narrow ResNet on a CPU
    (benchmarks/allocator.py). The price: memory once used stays with the process.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # C libraries other than glibc lack this function
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _MAPPED)
        library.mallopt(_TRIM_THRESHOLD, _LARGEST)
