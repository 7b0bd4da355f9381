"""Freed memory is reused without a page fault."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from sparring.acceleration.allocator import keep_freed_memory

if {is_kept}:
    keep_freed_memory()
faults = []
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    large = torch.ones(3 * 2**21)  # 24 MiB, below what is mapped
    del large
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


HABIT = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""glibc's thresholds before it adapts them to a program: such a tensor goes back to the system at
once."""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.slow
def test_a_large_tensor_reuses_pages() -> None:
    faults = {}
    for is_kept in (False, True):
        program = PROGRAM.format(is_kept=is_kept)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | HABIT,
            capture_output=True,
            text=True,
            check=True,
        )
        faults[is_kept] = int(done.stdout)
    if faults[False] < 100:
        pytest.skip("not glibc, or its pages are huge")
    assert faults[True] < faults[False] / 10
