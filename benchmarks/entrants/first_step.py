"""From the import of torch to the first training step of a run on a store that exists. Prints the
seconds as JSON.

python first_step.py FOLDER CACHE
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

start = time.perf_counter()

from sparring import api  # noqa: E402
from sparring.optim.schedule import Position  # noqa: E402


class FirstStepError(Exception):
    """The first step is made."""


class Watch:
    """Ends the run at its first record, which is that of the first step."""

    def report(self, line: str) -> None:
        """Not of interest."""

    def count(self, what: str, done: int, total: int) -> None:
        """Not of interest."""

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """The first record."""
        raise FirstStepError


def main() -> None:
    """Run and print."""
    torch.set_num_threads(2)
    imported = time.perf_counter()
    settings = {"encoder": {"width": 0.125}, "data": {"cache": sys.argv[2]}}
    with tempfile.TemporaryDirectory() as out:
        try:
            api.train(
                sys.argv[1],
                out=Path(out) / "run",
                method="simclr",
                settings=settings,
                image_size=32,
                listener=Watch(),
                device="cpu",
            )
        except FirstStepError:
            done = time.perf_counter()
    print(json.dumps({"imports": imported - start, "first step": done - start}))


if __name__ == "__main__":
    main()
