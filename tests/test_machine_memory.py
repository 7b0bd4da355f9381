"""Memory of this process and of this machine."""

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from sparring import machine_memory as memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems report less")
MIB = 2**20


def test_peak_remembers_what_is_no_longer_resident() -> None:
    before = memory.resident_bytes()
    with mmap.mmap(
        -1, 64 * MIB
    ) as block:  # mapped directly: an allocator might reuse memory it holds
        block.write(b"1" * len(block))
    assert memory.peak_bytes() >= before + 60 * MIB
    assert memory.resident_bytes() <= memory.peak_bytes()


def test_mapped_file_is_found_by_its_name_and_resident_as_far_as_it_was_read(
    tmp_path: Path,
) -> None:
    assert memory.mapped_bytes("block.bin") == (0, 0)
    (tmp_path / "block.bin").write_bytes(bytes(16 * MIB))
    mapped = np.memmap(tmp_path / "block.bin", np.uint8, mode="r")
    size, resident = memory.mapped_bytes("block.bin")
    assert size == 16 * MIB
    assert resident < size
    assert not mapped[: 8 * MIB].any()
    assert 8 * MIB <= memory.mapped_bytes("block.bin")[1] <= size
    assert memory.mapped_bytes("lock.bin") == (0, 0)


def test_a_control_group_limits_what_is_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = memory.available_bytes()
    (tmp_path / "memory.current").write_text(str(30 * MIB))
    (tmp_path / "memory.stat").write_text(f"anon 3\ninactive_file {10 * MIB}\n")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path)
    (tmp_path / "memory.max").write_text(str(100 * MIB))
    assert memory.available_bytes() == 80 * MIB
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == pytest.approx(free, rel=0.5)  # other processes come and go
