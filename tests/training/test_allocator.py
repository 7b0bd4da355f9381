"""Freed memory is taken again without a page fault."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from sparring.training.allocator import keep_freed_memory

if {is_kept}:
    keep_freed_memory()
faults = []
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    large = torch.ones(2**23)
    del large
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.slow
def test_a_large_tensor_reuses_pages() -> None:
    faults = {}
    for is_kept in (False, True):
        program = PROGRAM.format(is_kept=is_kept)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        faults[is_kept] = int(done.stdout)
    if faults[False] < 100:
        pytest.skip("this C library keeps freed memory by itself, or its pages are huge")
    assert faults[True] < faults[False] / 10
