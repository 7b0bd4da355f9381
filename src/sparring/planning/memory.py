"""How much memory there is on this machine, and how much of it this process has taken. Linux tells
all; elsewhere less is known."""

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

PROCESS = Path("/proc/self")
GROUPS = Path("/sys/fs/cgroup")


def peak_bytes() -> int:
    """Most resident memory that this process has had so far."""
    with suppress(OSError, KeyError):
        return _status()[
            "VmHWM"
        ]  # the other number remembers the process from which this one was started
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def resident_bytes() -> int:
    """Resident memory of this process now; where that is not known, the most so far."""
    with suppress(OSError, KeyError):
        return _status()["VmRSS"]
    return peak_bytes()


def forget_peak() -> None:
    """Let the peak begin anew from what is resident now, where the system can do that."""
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")


def available_bytes() -> int:
    """Memory that a new process can have without pushing others out, in this control group if there
    is one."""
    with suppress(OSError, AttributeError):
        found = re.search(
            r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE
        )
        free = 1024 * int(found.group(1))  # type: ignore[union-attr]
        return min(free, _group_bytes(GROUPS, free))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def mapped_bytes(name: str) -> tuple[int, int]:
    """Size of the files of this name that are mapped into this process, and how much of them is
    resident; zeros if not known."""
    size = resident = 0
    is_it = False
    with suppress(OSError):
        for line in (PROCESS / "smaps").read_text(errors="replace").splitlines():
            first, *rest = line.split()
            if not first.endswith(":"):  # a new mapping, which ends with its file
                is_it = bool(rest) and Path(rest[-1]).name == name
            elif is_it and first in ("Size:", "Rss:"):
                size, resident = (
                    (size + 1024 * int(rest[0]), resident)
                    if first == "Size:"
                    else (size, resident + 1024 * int(rest[0]))
                )
    return size, resident


def _status() -> dict[str, int]:
    """Sizes in bytes by their names in the process's status."""
    lines = (PROCESS / "status").read_text().splitlines()
    return {
        line.partition(":")[0]: 1024 * int(line.split()[1])
        for line in lines
        if line.endswith(" kB")
    }


def _group_bytes(folder: Path, otherwise: int) -> int:
    """What a control group may still take, its caches not counted."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        cached = re.search(
            r"^inactive_file (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE
        )
    except (OSError, ValueError):  # no such group, or the limit is the word max
        return otherwise
    return max(0, limit - used + (int(cached.group(1)) if cached else 0))
