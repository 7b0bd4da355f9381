"""Memory of this machine, and how much of it this process uses.

Linux reports all of it; other systems report less.
"""

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

PROCESS = Path("/proc/self")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
_SIGNS_OF_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "storage size calculation overflowed",
    "overflow when unpacking long",
)


def peak_bytes() -> int:
    """Peak resident memory of this process so far, in bytes."""
    with suppress(OSError, KeyError):
        # Not ru_maxrss: it includes the peak of the parent process.
        return _status()["VmHWM"]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def resident_bytes() -> int:
    """Resident memory of this process now, in bytes; the peak so far where it is unknown."""
    with suppress(OSError, KeyError):
        return _status()["VmRSS"]
    return peak_bytes()


def reset_peak() -> None:
    """Restart the peak from what is resident now, on systems that support it."""
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")


def available_bytes() -> int:
    """Bytes that a new process can use without swapping, within its control group's limit."""
    with suppress(OSError, AttributeError):
        found = re.search(
            r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE
        )
        free = 1024 * int(found.group(1))  # type: ignore[union-attr]
        return min(free, _group_bytes(CONTROL_GROUPS, free))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice: Python's, or PyTorch's on any device,
    also for sizes beyond 64 bits."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | TypeError)
        and any(sign in str(error).lower() for sign in _SIGNS_OF_OUT_OF_MEMORY)
    )


def mapped_bytes(name: str) -> tuple[int, int]:
    """Size in bytes of the files of this name mapped into this process, and their resident part.

    Both are 0 if unknown.
    """
    size = resident = 0
    is_it = False
    with suppress(OSError):
        for line in (PROCESS / "smaps").read_text(errors="replace").splitlines():
            first, *rest = line.split()
            if not first.endswith(":"):  # a new mapping; its line ends with the file
                is_it = bool(rest) and Path(rest[-1]).name == name
            elif is_it and first in ("Size:", "Rss:"):
                size, resident = (
                    (size + 1024 * int(rest[0]), resident)
                    if first == "Size:"
                    else (size, resident + 1024 * int(rest[0]))
                )
    return size, resident


def _status() -> dict[str, int]:
    """Sizes in bytes from /proc/self/status, by name."""
    lines = (PROCESS / "status").read_text().splitlines()
    return {
        line.partition(":")[0]: 1024 * int(line.split()[1])
        for line in lines
        if line.endswith(" kB")
    }


def _group_bytes(folder: Path, otherwise: int) -> int:
    """Bytes that a control group may still use, not counting its page cache."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        cached = re.search(
            r"^inactive_file (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE
        )
    except (OSError, ValueError):  # no such group, or the limit is the word max
        return otherwise
    return max(0, limit - used + (int(cached.group(1)) if cached else 0))
