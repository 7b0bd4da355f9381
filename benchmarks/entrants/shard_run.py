"""From the import of torch to the first training step on tar shards, and the memory of later steps.
Prints figures as JSON: seconds of the clock and of all processes' CPU, and MiB of resident memory.

python shard_run.py PATTERN CACHE STEPS
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch


def cpu_seconds() -> float:
    """CPU time of this process, and of those that have ended that it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


start, start_cpu = time.perf_counter(), cpu_seconds()

from side_by_side import memory_resident  # noqa: E402
from sparring import api  # noqa: E402
from sparring.optim.schedule import Position  # noqa: E402


class Watch:
    """Keeps when things happened, and how much memory the process had then."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.memory: dict[int, float] = {}

    def note(self, what: str) -> None:
        """Keep the time of the first call for this thing."""
        if what not in self.seconds:
            self.seconds[what] = time.perf_counter() - start
            self.seconds[f"{what}, CPU"] = cpu_seconds() - start_cpu

    def report(self, line: str) -> None:
        """The first line comes once the shards are indexed."""
        self.note("indexed")

    def count(self, what: str, done: int, total: int) -> None:
        """Not of interest."""

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """A record of a step."""
        self.note("first step")
        self.memory[position.step] = memory_resident() / 2**20


def main() -> None:
    """Run and print."""
    torch.set_num_threads(1)
    pattern, cache, steps = sys.argv[1:]
    watch = Watch()
    settings = {
        "encoder": {"width": 0.0625},
        "data": {"cache": cache},
        "training": {"log_steps": 10, "monitor_images": 256},
    }
    with tempfile.TemporaryDirectory() as out:
        api.train(
            pattern,
            out=Path(out) / "run",
            method="simclr",
            settings=settings,
            image_size=32,
            batch_size=128,
            epochs=1,
            max_steps=int(steps),
            listener=watch,
            device="cpu",
        )
    found = {
        **watch.seconds,
        "MiB at step 10": watch.memory[10],
        "MiB at the end": watch.memory[max(watch.memory)],
        "highest MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
